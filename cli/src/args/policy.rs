//! `policy …`

use clap::{Args, Subcommand, ValueEnum};

use super::credential::{Checking, Given};
use super::node::{At, Consent};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Evaluate a policy, on a verified credential or on attributes to try it out
    #[command(after_help = "Examples:
  ockam-kms policy eval 'member and not guest' -a member
  ockam-kms policy eval '(= subject.role \"member\")' --issuer issuer --credential-path c.hex
  ockam-kms policy eval member -a member=no --exit-code")]
    Eval(Eval),
    /// Read a policy, show what it says in full, and warn of what is likely not meant
    #[command(after_help = "Examples:
  ockam-kms policy check 'member and not banned'
  ockam-kms policy check '(or (= subject.team \"x\") (= subject.role \"lead\"))' --exit-code")]
    Check(Check),
    /// Set who reaches a resource of a node, or all resources of a type
    #[command(after_help = "Examples:
  ockam-kms policy create --at n1 --resource echo --allow 'member and not guest'
  ockam-kms policy create --at n1 --resource-type relay --allow '(= subject.role \"edge\")'")]
    Create(Create),
    /// Show a policy of a node
    #[command(after_help = "Example:\n  ockam-kms policy show echo --at n1")]
    Show(Which),
    /// List the policies of a node
    #[command(after_help = "Example:\n  ockam-kms policy list --at n1")]
    List(List),
    /// Forget a policy of a node
    #[command(after_help = "Example:\n  ockam-kms policy delete echo --at n1 --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) at: At,
    /// The type of resources that it is for: `echoer` or `relay`
    #[arg(long, value_name = "TYPE", required_unless_present = "resource", conflicts_with = "resource")]
    pub(crate) resource_type: Option<String>,
    /// The resource that it is for
    #[arg(long, value_name = "NAME")]
    pub(crate) resource: Option<String>,
    /// Who reaches it: a policy, in the short form or as an S-expression
    #[arg(long, visible_alias = "expression", value_name = "POLICY", allow_hyphen_values = true)]
    pub(crate) allow: String,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// What it is for: a resource, or a type of resources
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only that for this resource or type
    pub(crate) resource: Option<String>,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The policy, in the short form or as an S-expression
    #[arg(allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// End with exit code 65 when there are warnings too
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// How a policy is read and evaluated.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MeaningName {
    /// As the reference does, its accidents included: to compare with it
    Exact,
    /// As everything of ours decides
    Strict,
}

impl From<MeaningName> for policy_lang::Meaning {
    fn from(name: MeaningName) -> Self {
        match name {
            MeaningName::Exact => Self::Exact,
            MeaningName::Strict => Self::Strict,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The policy, in the short form or as an S-expression
    #[arg(allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// An attribute of the subject, to try things out; `name` alone means `name=true`. May be repeated
    #[arg(short, long = "attribute", value_name = "NAME=VALUE", allow_hyphen_values = true, conflicts_with_all = ["credential", "credential_path", "issuer", "issuer_bundle"])]
    pub(crate) attributes: Vec<String>,
    #[command(flatten)]
    pub(crate) given: Given,
    /// The issuer: an identifier that is known here, the name of an identity, or a change history as hex
    #[arg(long, value_name = "IDENTIFIER|NAME|HEX")]
    pub(crate) issuer: Option<String>,
    #[command(flatten)]
    pub(crate) checking: Checking,
    /// How the policy is read and evaluated
    #[arg(long, value_enum, default_value_t = MeaningName::Strict)]
    pub(crate) meaning: MeaningName,
    /// End with exit code 77 on deny, 65 when the text is no policy
    #[arg(long)]
    pub(crate) exit_code: bool,
}
