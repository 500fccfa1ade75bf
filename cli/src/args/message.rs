//! `message …`

use clap::{Args, Subcommand};

use super::node::{Trust, Wait};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send a message along a route, and print the answer
    #[command(after_help = "Examples:
  ockam-kms message send hello --from n1 --to /node/n2/service/uppercase
  ockam-kms message send hello --to /node/n2/secure/api/service/echo
  ockam-kms message send 00ff --hex --from n1 --to /service/echo --timeout 30s")]
    Send(Send),
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The message: a text, or bytes as hex with --hex
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: String,
    /// The node that sends it; one that lives as long as the command when none is given
    #[arg(short, long, value_name = "NODE")]
    pub(crate) from: Option<String>,
    /// The way
    #[arg(short, long, value_name = "ROUTE", allow_hyphen_values = true)]
    pub(crate) to: String,
    /// Message and answer are bytes as hex
    #[arg(long)]
    pub(crate) hex: bool,
    /// Who one is in channels that the way opens; the node's own identity when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
