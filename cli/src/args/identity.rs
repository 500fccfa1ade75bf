//! `identity …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create an identity, or store somebody else's
    #[command(after_help = "Examples:
  ockam-kms identity create
  ockam-kms identity create issuer --vault hsm --key-type p256
  ockam-kms identity create issuer --vault hsm --key pkcs11:object=ceremony-2026
  ockam-kms identity create partner --identity 8182")]
    Create(Create),
    /// List the identities
    #[command(after_help = "Example:\n  ockam-kms identity list --output json")]
    List,
    /// Show an identity, or the default one
    #[command(after_help = "Example:\n  ockam-kms identity show issuer --full --encoding hex")]
    Show(Show),
    /// Make an identity the default, or say which one is
    #[command(after_help = "Example:\n  ockam-kms identity default issuer")]
    Default(Named),
    /// Check a change history; exit code 65 when it is refused
    #[command(after_help = "Examples:
  ockam-kms identity verify issuer
  ockam-kms identity verify --identity 8182
  ockam-kms identity show issuer --full --encoding hex | ockam-kms identity verify -")]
    Verify(Verify),
    /// Give an identity a new primary key; its identifier stays
    #[command(after_help = "Examples:
  ockam-kms identity rotate issuer
  ockam-kms identity rotate member --to-vault hsm --key-type p256
  ockam-kms identity rotate issuer --dry-run")]
    Rotate(Rotate),
    /// Forget an identity and destroy its keys
    #[command(after_help = "Example:\n  ockam-kms identity delete old --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name; `default` for the first identity, else a random one. One that exists is told as it is, and refused (exit
    /// code 73) when another option says something else of it
    pub(crate) name: Option<String>,
    /// The vault that holds the key; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
    /// ed25519 or p256; by default the first of them that the vault has
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["key", "identity"])]
    pub(crate) key_type: Option<String>,
    /// Adopt the key of this URI, which exists in the vault; at AWS KMS a key's id alone will do
    #[arg(short, long, value_name = "URI", alias = "key-id", conflicts_with = "identity")]
    pub(crate) key: Option<String>,
    /// Store somebody else's identity: a change history as hex, a file, or `-`
    #[arg(long, value_name = "HEX|PATH|-", allow_hyphen_values = true)]
    pub(crate) identity: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    Plain,
    Hex,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The name of the identity, or the identifier of one that is known
    pub(crate) name: Option<String>,
    /// The whole change history
    #[arg(short, long)]
    pub(crate) full: bool,
    /// How the change history is written
    #[arg(long, value_enum, default_value_t = Encoding::Plain, requires = "full")]
    pub(crate) encoding: Encoding,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name of the identity
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The name of an identity, or a change history as hex, a file, or `-`; the default identity when nothing is given
    #[arg(value_name = "NAME|HEX|PATH|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// A change history as hex, a file, or `-`
    #[arg(long, value_name = "HEX|PATH|-", allow_hyphen_values = true, conflicts_with_all = ["input", "path"])]
    pub(crate) identity: Option<String>,
    /// A file that holds a change history as hex
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    pub(crate) path: Option<PathBuf>,
    /// The identifier that it has to have
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) expected: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The name of the identity; the default one when none is given
    pub(crate) name: Option<String>,
    /// The vault of the new key; the old key's when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) to_vault: Option<String>,
    /// Adopt the key of this URI, which exists in that vault
    #[arg(long, value_name = "URI", conflicts_with = "key_type")]
    pub(crate) to_key: Option<String>,
    /// ed25519 or p256; by default the old key's type
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<String>,
    /// Revoke every purpose key that was attested before
    #[arg(long)]
    pub(crate) revoke_purpose_keys: bool,
    /// Keep the old key in its vault
    #[arg(long)]
    pub(crate) keep_old_key: bool,
    /// Check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The name of the identity
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every identity
    #[arg(long)]
    pub(crate) all: bool,
    /// Leave the keys in their vaults
    #[arg(long)]
    pub(crate) keep_keys: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
