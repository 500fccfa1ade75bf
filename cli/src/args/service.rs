//! `service …`, `worker …`

use clap::{Args, Subcommand};

use super::node::At;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a service that a node does not have by itself
    #[command(after_help = "Examples:
  ockam-kms service start hop --at n1
  ockam-kms service start hop --addr bridge --at n1")]
    Start(Start),
    /// List the services of a node
    #[command(after_help = "Example:\n  ockam-kms service list --at n1")]
    List(At),
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Which one: `hop` passes messages on, for anybody who reaches it
    #[arg(value_parser = ["hop"])]
    pub(crate) service: String,
    /// Where; its own name when nothing is given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerVerb {
    /// List the workers of a node
    #[command(after_help = "Example:\n  ockam-kms worker list --at n1")]
    List(At),
}
