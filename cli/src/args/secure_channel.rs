//! `secure-channel …`, `secure-channel-listener …`

use clap::{Args, Subcommand};

use super::node::{At, Consent, Party, Wait};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Open a secure channel; prints the address that leads through it
    #[command(after_help = "Examples:
  ockam-kms secure-channel create --from n1 --to /node/n2/service/api
  ockam-kms secure-channel create --from n1 --to /node/n2/node/n3/service/api \\
    --authorized I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c
  ockam-kms secure-channel create --from n1 --to /node/n2/service/api |
    ockam-kms message send hello --from n1 --to -/service/uppercase")]
    Create(Create),
    /// List the secure channels of a node
    #[command(after_help = "Example:\n  ockam-kms secure-channel list --at n1")]
    List(At),
    /// Show a secure channel; or open one to a listener, and show who is there
    #[command(after_help = "Examples:
  ockam-kms secure-channel show 0123456789abcdef --at n1
  ockam-kms secure-channel show --at /node/n1/service/0123456789abcdef
  ockam-kms secure-channel show --at /dnsaddr/example.com/tcp/4000/service/api")]
    Show(Show),
    /// Close a secure channel
    #[command(after_help = "Example:\n  ockam-kms secure-channel delete 0123456789abcdef --at n1 --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The node that opens it
    #[arg(long, value_name = "NODE")]
    pub(crate) from: Option<String>,
    /// The way to the listener
    #[arg(long, value_name = "ROUTE", allow_hyphen_values = true)]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) party: Party,
    /// A credential to present, as hex, in a file, or `-` for standard input; stored ones are presented without
    #[arg(short, long, value_name = "HEX|PATH|-", allow_hyphen_values = true)]
    pub(crate) credential: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its address, where --at names a node
    pub(crate) address: Option<String>,
    /// The node that has it, the way to it, or the way to a listener
    #[arg(long, value_name = "NODE|ROUTE", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,
    /// Who opens a channel to a listener; the default identity when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its address
    pub(crate) address: String,
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

#[derive(Debug, Subcommand)]
pub(crate) enum ListenerVerb {
    /// Take secure channels at an address of a node
    #[command(after_help = "Example:
  ockam-kms secure-channel-listener create private --at n1 \\
    --authorized I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c")]
    Create(ListenerCreate),
    /// List where a node takes secure channels
    #[command(after_help = "Example:\n  ockam-kms secure-channel-listener list --at n1")]
    List(At),
    /// Show where a node takes secure channels
    #[command(after_help = "Example:\n  ockam-kms secure-channel-listener show api --at n1")]
    Show(Which),
    /// Take no more secure channels there; those that are open stay
    #[command(after_help = "Example:\n  ockam-kms secure-channel-listener delete private --at n1")]
    Delete(ListenerDelete),
}

/// Nobody is asked for consent here: it is made again as easily.
#[derive(Debug, Args)]
pub(crate) struct ListenerDelete {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerCreate {
    /// The address
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) party: Party,
}
