//! `vault …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a software vault, or register an HSM token or a key service
    #[command(after_help = "Examples:
  ockam-kms vault create
  ockam-kms vault create locked --passphrase-file /run/secrets/passphrase
  ockam-kms vault create sealed --kek vault=hsm
  ockam-kms vault create hsm --token ca \\
    --module-path /usr/lib/softhsm/libsofthsm2.so --pin-file /etc/ca.pin
  ockam-kms vault create hsm \\
    --uri 'pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ca.pin'
  ockam-kms vault create cloud --uri 'awskms:region=eu-west-1;namespace=prod'
  ockam-kms vault create tpm --uri 'tpm:?tcti=device:/dev/tpmrm0&auth-source=file:/etc/tpm.auth'")]
    Create(Create),
    /// List the vaults
    #[command(after_help = "Example:\n  ockam-kms vault list --output json")]
    List,
    /// Show a vault, or the default one
    #[command(after_help = "Example:\n  ockam-kms vault show hsm")]
    Show(Named),
    /// Make a vault the default, or say which one is
    #[command(after_help = "Example:\n  ockam-kms vault default hsm")]
    Default(Named),
    /// Try out what a vault can do, with throw-away keys
    #[command(after_help = "Example:\n  ockam-kms vault check hsm")]
    Check(Named),
    /// Change what locks a software vault; its keys stay as they are
    #[command(after_help = "Examples:
  ockam-kms vault rekey default --kek vault=hsm
  ockam-kms vault rekey default --kek vault=hsm,key=storage --dry-run
  ockam-kms vault rekey default --key-file /media/key/default.kek
  ockam-kms vault rekey locked --passphrase-file /run/old --new-passphrase-file /run/new")]
    Rekey(Rekey),
    /// Move a software vault to another directory
    #[command(after_help = "Example:\n  ockam-kms vault move default --path /srv/vaults/default")]
    Move(Move),
    /// Forget a vault; a software vault in the home is removed with its keys
    #[command(after_help = "Example:\n  ockam-kms vault delete old --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name; `default` for the first vault, else a random one
    pub(crate) name: Option<String>,
    /// The directory of a software vault, instead of one in the home
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) path: Option<PathBuf>,
    /// Register the vault that this URI names
    #[arg(long, value_name = "URI", conflicts_with_all = ["path", "token", "key_file"])]
    pub(crate) uri: Option<String>,
    /// Register the PKCS#11 token of this label
    #[arg(long, value_name = "LABEL", requires = "module_path", conflicts_with_all = ["path", "key_file"])]
    pub(crate) token: Option<String>,
    /// The PKCS#11 module of the token's vendor
    #[arg(long, value_name = "PATH", requires = "token")]
    pub(crate) module_path: Option<PathBuf>,
    /// Lock a software vault with the key in this file, made when it does not exist
    #[arg(long, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,
    /// Lock a software vault with a passphrase that is asked for
    #[arg(long, conflicts_with_all = ["key_file", "uri", "token"])]
    pub(crate) ask_passphrase: bool,
    /// Lock a software vault with a sealing key of another vault: a new one, or one that exists
    #[arg(long, value_name = "vault=NAME[,key=KEY]", conflicts_with_all = ["key_file", "uri", "token", "ask_passphrase"])]
    pub(crate) kek: Option<String>,
    /// Register AWS KMS in the region that `AWS_REGION` names
    #[arg(long, conflicts_with_all = ["path", "uri", "token", "key_file", "ask_passphrase", "kek"])]
    pub(crate) aws_kms: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name of the vault
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("lock"))]
pub(crate) struct Rekey {
    /// The name of the vault
    pub(crate) name: String,
    /// Lock it with a sealing key of another vault: a new one, or one that exists
    #[arg(long, group = "lock", value_name = "vault=NAME[,key=KEY]")]
    pub(crate) kek: Option<String>,
    /// Lock it with the key in this file, made when it does not exist
    #[arg(long, group = "lock", value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,
    /// Lock it with a key file beside its keys, as a vault without options is
    #[arg(long, group = "lock")]
    pub(crate) own_key_file: bool,
    /// Lock it with a passphrase that is asked for
    #[arg(long, group = "lock")]
    pub(crate) ask_passphrase: bool,
    /// Lock it with a passphrase from standard input, after the present one: `--new-passphrase -`
    #[arg(long, group = "lock", value_name = "-", allow_hyphen_values = true)]
    pub(crate) new_passphrase: Option<String>,
    /// Lock it with a passphrase from the first line of a file
    #[arg(long, group = "lock", value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The name of the vault
    pub(crate) name: String,
    /// The directory it moves to, which must not exist yet
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) path: PathBuf,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The name of the vault
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every vault
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
