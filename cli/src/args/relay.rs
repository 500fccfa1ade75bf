//! `relay …`

use clap::{Args, Subcommand};

use super::node::{At, Consent, Party, Wait};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Register a relay at another node: what is sent to it comes to this one
    #[command(after_help = "Examples:
  ockam-kms relay create blue --at /node/n2 --to n1
  ockam-kms message send hello --from n3 \\
    --to /node/n2/service/forward_to_blue/service/uppercase")]
    Create(Create),
    /// List the relays that a node has at others
    #[command(after_help = "Example:\n  ockam-kms relay list --to n1")]
    List(List),
    /// Show a relay
    #[command(after_help = "Example:\n  ockam-kms relay show blue --at n1")]
    Show(Which),
    /// Take nothing more from a relay
    #[command(after_help = "Example:\n  ockam-kms relay delete blue --at n1 --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name of the relay
    #[arg(default_value = "default")]
    pub(crate) name: String,
    /// The node that is reached through it
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,
    /// The way to the node that has the relay, or the name of a node of this home; the node of the default project when none is
    /// given
    #[arg(long, value_name = "ROUTE", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,
    /// What the relay is called there, where its address is `forward_to_ADDRESS`; its name when none is given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) relay_address: Option<String>,
    /// Do not wait for the other node: the relay is registered as soon as that takes it
    #[arg(long)]
    pub(crate) no_connection_wait: bool,
    /// Accepted for scripts that pass it, and changes nothing: `--at` says whether it is at a project
    #[arg(long)]
    pub(crate) project_relay: bool,
    #[command(flatten)]
    pub(crate) party: Party,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The node that is reached through them; the default one when none is given
    #[arg(long, alias = "at", value_name = "NODE")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The name of the relay
    #[arg(default_value = "default")]
    pub(crate) name: String,
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
