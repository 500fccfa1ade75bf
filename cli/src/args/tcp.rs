//! `tcp-connection …`, `tcp-listener …`

use clap::{Args, Subcommand};

use super::node::{At, Consent};

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionVerb {
    /// Connect a node to an address by TCP; prints the address that leads through the connection
    #[command(after_help = "Example:\n  ockam-kms tcp-connection create --from n1 --to 127.0.0.1:4000")]
    Create(Connect),
    /// List the TCP connections of a node
    #[command(after_help = "Example:\n  ockam-kms tcp-connection list --at n1")]
    List(At),
    /// Show a TCP connection
    #[command(after_help = "Example:\n  ockam-kms tcp-connection show 127.0.0.1:4000 --at n1")]
    Show(Which),
    /// End a TCP connection
    #[command(after_help = "Example:\n  ockam-kms tcp-connection delete 127.0.0.1:4000 --at n1 --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The node that connects
    #[arg(long, value_name = "NODE")]
    pub(crate) from: Option<String>,
    /// Where to
    #[arg(short, long, value_name = "HOST:PORT")]
    pub(crate) to: String,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The address that `list` shows, or host and port
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
    /// Have a node listen for TCP connections at one more address
    #[command(after_help = "Example:\n  ockam-kms tcp-listener create 127.0.0.1:4000 --at n1")]
    Create(Which),
    /// List the TCP listeners of a node
    #[command(after_help = "Example:\n  ockam-kms tcp-listener list --at n1")]
    List(At),
    /// Show a TCP listener
    #[command(after_help = "Example:\n  ockam-kms tcp-listener show 127.0.0.1:4000 --at n1")]
    Show(Which),
    /// Listen no more; connections that are open stay
    #[command(after_help = "Example:\n  ockam-kms tcp-listener delete 127.0.0.1:4000 --at n1 --yes")]
    Delete(Delete),
}
