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
    /// Change the PIN of a YubiKey
    #[command(after_help = "Examples:
  ockam-kms vault change-pin hsm
  ockam-kms vault change-pin hsm --pin-file /run/old --new-pin-file /run/new
  printf '%s\\n' 123456 730519 | \\
    ockam-kms vault change-pin --uri yubikey:serial=12345678 --pin - --new-pin -")]
    ChangePin(ChangePin),
    /// Change the PUK of a YubiKey, which unblocks its PIN
    #[command(after_help = "Examples:
  ockam-kms vault change-puk hsm
  ockam-kms vault change-puk hsm --puk-file /run/old --new-puk-file /run/new")]
    ChangePuk(ChangePuk),
    /// Change the management key of a YubiKey, which makes and destroys keys
    #[command(after_help = "Examples:
  ockam-kms vault change-management-key hsm --new-management-key-file /etc/piv.new
  ockam-kms vault change-management-key hsm --algorithm aes256 \\
    --management-key-file /run/old --new-management-key-file /run/new
  ockam-kms vault change-management-key hsm --new-management-key-file new --dry-run")]
    ChangeManagementKey(ChangeManagementKey),
    /// Give a YubiKey a new PIN, with all its tries, by the PUK
    #[command(after_help = "Examples:
  ockam-kms vault unblock-pin hsm
  ockam-kms vault unblock-pin hsm --puk-file /run/puk --new-pin-file /run/new")]
    UnblockPin(UnblockPin),
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

/// A YubiKey, be it a vault yet or not.
#[derive(Debug, Args)]
pub(crate) struct Card {
    /// The name of the vault; the default one when it is left out
    pub(crate) name: Option<String>,
    /// The card that this URI names, which need not be a vault
    #[arg(long, value_name = "URI", conflicts_with = "name")]
    pub(crate) uri: Option<String>,
    /// Say what would be changed and how many tries there are, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewPin {
    /// Read the new PIN from standard input, after the present secret: `--new-pin -`
    #[arg(long, value_name = "-", allow_hyphen_values = true, conflicts_with = "new_pin_file")]
    pub(crate) new_pin: Option<String>,
    /// Read the new PIN from the first line of a file
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) new_pin_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Puk {
    /// Read the PUK from standard input: `--puk -`
    #[arg(long, value_name = "-", allow_hyphen_values = true, conflicts_with = "puk_file")]
    pub(crate) puk: Option<String>,
    /// Read the PUK from the first line of a file
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) puk_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangePin {
    #[command(flatten)]
    pub(crate) card: Card,
    #[command(flatten)]
    pub(crate) new: NewPin,
}

#[derive(Debug, Args)]
pub(crate) struct ChangePuk {
    #[command(flatten)]
    pub(crate) card: Card,
    #[command(flatten)]
    pub(crate) present: Puk,
    /// Read the new PUK from standard input, after the present one: `--new-puk -`
    #[arg(long, value_name = "-", allow_hyphen_values = true, conflicts_with = "new_puk_file")]
    pub(crate) new_puk: Option<String>,
    /// Read the new PUK from the first line of a file
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) new_puk_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeManagementKey {
    #[command(flatten)]
    pub(crate) card: Card,
    /// Read the present management key from standard input: `--management-key -`
    #[arg(long, value_name = "-", allow_hyphen_values = true, conflicts_with = "management_key_file")]
    pub(crate) management_key: Option<String>,
    /// Read the present management key from the first line of a file
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) management_key_file: Option<PathBuf>,
    /// Read the new management key from standard input, after the present one
    #[arg(long, value_name = "-", allow_hyphen_values = true, conflicts_with = "new_management_key_file")]
    pub(crate) new_management_key: Option<String>,
    /// Read the new management key from a file, which is made with a random key when it does not exist
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) new_management_key_file: Option<PathBuf>,
    /// Its type: aes256, aes192, aes128 or 3des; the best that the firmware has when it is left out
    #[arg(long, value_name = "TYPE")]
    pub(crate) algorithm: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnblockPin {
    #[command(flatten)]
    pub(crate) card: Card,
    #[command(flatten)]
    pub(crate) puk: Puk,
    #[command(flatten)]
    pub(crate) new: NewPin,
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
