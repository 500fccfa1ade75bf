//! `credential …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::identity::Encoding;
use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Issue a credential
    #[command(after_help = "Example:
  ockam-kms credential issue --as issuer \\
    --for I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c \\
    -a role=member --ttl 30m")]
    Issue(Issue),
    /// Check a credential: prints true or false
    #[command(after_help = "Examples:
  ockam-kms credential verify --issuer issuer --credential-path credential.hex
  ockam-kms credential verify --issuer issuer --credential 8282 --exit-code")]
    Verify(Verify),
    /// Store a credential after checking it
    #[command(after_help = "Example:\n  ockam-kms credential store --issuer issuer --scope mine \\
    --credential-path credential.hex")]
    Store(Store),
    /// List the stored credentials
    #[command(after_help = "Example:\n  ockam-kms credential list --output json")]
    List(List),
    /// Show what a credential says, without checking it
    #[command(after_help = "Examples:
  ockam-kms credential show --credential-path credential.hex
  ockam-kms credential show mine --encoding hex")]
    Show(Show),
}

/// A credential, as text.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// The credential, as hex; `-` is standard input
    #[arg(long, value_name = "HEX|-", allow_hyphen_values = true, conflicts_with = "credential_path")]
    pub(crate) credential: Option<String>,
    /// The file that holds the credential, as hex
    #[arg(long, value_name = "PATH")]
    pub(crate) credential_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleName {
    /// An attestation under an earlier change is refused
    Reference,
    /// It is good while the issuer attests the same key anew, or for the overlap
    Continuous,
}

/// How a credential is checked.
#[derive(Debug, Args)]
pub(crate) struct Checking {
    /// The issuer's change history with its current attestations, as hex or in a file
    #[arg(long, value_name = "HEX|PATH|-", allow_hyphen_values = true)]
    pub(crate) issuer_bundle: Option<String>,
    /// The subject that it has to be about: an identifier or the name of an identity
    #[arg(long, value_name = "IDENTIFIER|NAME")]
    pub(crate) subject: Option<String>,
    /// What is done with an attestation under an earlier change
    #[arg(long, value_enum, default_value_t = RuleName::Continuous)]
    pub(crate) rule: RuleName,
    /// How long credentials from before a rotation stay good when the issuer's current attestations are not known
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::seconds_or_none)]
    pub(crate) overlap: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The identity that issues; the default one when none is given
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// The subject: an identifier that is known here, or the name of an identity
    #[arg(long = "for", value_name = "IDENTIFIER|NAME")]
    pub(crate) subject: String,
    /// An attribute; `name` alone means `name=true`. May be repeated
    #[arg(short, long = "attribute", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub(crate) attributes: Vec<String>,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration::seconds)]
    pub(crate) ttl: u64,
    /// How a terminal gets it
    #[arg(long, value_enum, default_value_t = Encoding::Plain)]
    pub(crate) encoding: Encoding,
    /// The vault of the issuer's key, to be sure
    #[arg(value_name = "VAULT")]
    pub(crate) vault: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) given: Given,
    /// The issuer: an identifier that is known here, the name of an identity, or a change history as hex
    #[arg(long, value_name = "IDENTIFIER|NAME|HEX", required_unless_present = "issuer_bundle")]
    pub(crate) issuer: Option<String>,
    #[command(flatten)]
    pub(crate) checking: Checking,
    /// End with exit code 65 when it is not valid
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(flatten)]
    pub(crate) given: Given,
    /// The issuer: an identifier that is known here, the name of an identity, or a change history as hex
    #[arg(long, value_name = "IDENTIFIER|NAME|HEX", required_unless_present = "issuer_bundle")]
    pub(crate) issuer: Option<String>,
    #[command(flatten)]
    pub(crate) checking: Checking,
    /// What it is for: a name of your own
    #[arg(long)]
    pub(crate) scope: String,
    /// The node it is for: not used yet
    #[arg(long, hide = true)]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those about this subject
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) subject: Option<String>,
    /// Only those of this issuer
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) issuer: Option<String>,
    /// The node they are for: not used yet
    #[arg(long, hide = true)]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The scope of a stored credential
    #[arg(conflicts_with_all = ["credential", "credential_path"], required_unless_present_any = ["credential", "credential_path"])]
    pub(crate) scope: Option<String>,
    #[command(flatten)]
    pub(crate) given: Given,
    /// How a terminal gets it
    #[arg(long, value_enum, default_value_t = Encoding::Plain)]
    pub(crate) encoding: Encoding,
}
