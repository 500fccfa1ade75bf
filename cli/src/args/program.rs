//! What concerns the program itself: `completion`, `manpages`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Accepted for scripts that pass it: nobody but this machine is asked
    #[arg(long, hide = true, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The same: there is nothing else of ours
    #[arg(long, hide = true)]
    pub(crate) all: bool,
    /// Say what would be destroyed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum, required_unless_present = "named", conflicts_with = "named")]
    pub(crate) shell: Option<Shell>,
    /// The same, as the reference spells it
    #[arg(short = 's', long = "shell", id = "named", hide = true, value_enum, value_name = "SHELL")]
    pub(crate) named: Option<Shell>,
}

#[derive(Debug, Args)]
pub(crate) struct Manpages {
    /// The directory to write them to, made when it does not exist
    #[arg(required_unless_present = "named", conflicts_with = "named")]
    pub(crate) directory: Option<PathBuf>,
    /// The same, as the reference spells it
    #[arg(short = 'd', long = "dir", id = "named", hide = true, value_name = "DIRECTORY")]
    pub(crate) named: Option<PathBuf>,
    /// Accepted for scripts that pass it: pages are never compressed
    #[arg(short = 'n', long, hide = true)]
    pub(crate) no_compression: bool,
}
