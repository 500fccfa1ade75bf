//! `conflict …`

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the conflicts, those that were decided among them
    #[command(after_help = "Examples:
  ockam-kms conflict list --output json
  ockam-kms conflict list --at authority-demo")]
    List(List),
    /// Show both histories of a conflict, change by change
    #[command(after_help = "Examples:
  ockam-kms conflict show partner
  ockam-kms conflict show IDENTIFIER --at authority-demo")]
    Show(Show),
    /// Say which of the two histories counts, or forget both; until then the identity is blocked
    #[command(after_help = "Examples:
  ockam-kms conflict decide partner --keep known
  ockam-kms conflict decide partner --keep shown --dry-run
  ockam-kms conflict decide IDENTIFIER --keep known --at authority-demo
  ockam-kms conflict decide partner --forget --yes")]
    Decide(Decide),
}

/// Who met the conflicts.
#[derive(Debug, Args)]
pub(crate) struct MetBy {
    /// An authority that runs from this home, for what its members showed to it; this home itself when none is named
    #[arg(long, value_name = "NAME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) met: MetBy,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The identifier of the identity that the histories are of, or its name
    #[arg(value_name = "IDENTIFIER|NAME")]
    pub(crate) about: String,
    #[command(flatten)]
    pub(crate) met: MetBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// The history that was known before
    Known,
    /// The history that contradicts it
    Shown,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// The identifier of the identity that the histories are of, or its name
    #[arg(value_name = "IDENTIFIER|NAME")]
    pub(crate) about: String,
    /// The history that counts from now on; the evidence stays, and the other history is refused without blocking
    #[arg(long, value_enum, required_unless_present = "forget")]
    pub(crate) keep: Option<Keep>,
    /// Forget both histories and the evidence: the next history that is shown is believed. No authority forgets
    #[arg(long, conflicts_with_all = ["keep", "at"])]
    pub(crate) forget: bool,
    /// Do not ask before both are forgotten
    #[arg(short, long, requires = "forget")]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) met: MetBy,
}
