//! What the program says of itself: its version, and, from the definition of its arguments, completions and manual pages.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::args::program::{Completion, Manpages};
use crate::backends;
use crate::error::{Error, Result, io};
use crate::exit::Kind;
use crate::output::Report;

pub(super) fn version() -> Report {
    let version = env!("CARGO_PKG_VERSION");
    let backends: Vec<_> = backends::registry().schemes().map(::vault::Scheme::name).collect();
    Report::new(
        format!("ockam-kms {version}\nbackends: {}", backends.join(", ")),
        json!({ "version": version, "backends": backends }),
    )
    .machine(version)
}

pub(super) fn completion(completion: &Completion) -> Result<Report> {
    let shell = completion.shell.or(completion.named).ok_or_else(|| Error::usage("the shell is missing"))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ockam-kms", &mut script);
    let script = String::from_utf8(script)
        .map_err(|e| Error::new(Kind::Internal, "the script is no text").with_source(e))?;
    // clap#6421: for a program with a hyphen in its name, bash looks for its commands under one name and finds them under
    // another.
    let script = script.replace("ockam__subcmd__kms", "ockam__kms");
    let json = json!({ "shell": shell.to_string(), "script": script });
    Ok(Report::new(script.trim_end(), json).machine(script))
}

pub(super) fn manpages(manpages: &Manpages) -> Result<Report> {
    let directory = manpages.directory.as_deref().or(manpages.named.as_deref());
    let directory = directory.ok_or_else(|| Error::usage("the directory is missing"))?;
    if !directory.exists() {
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::set_permissions(directory, Permissions::from_mode(0o755)))
            .map_err(|e| io("create", directory, e))?;
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    page(&command, directory, &mut pages)?;
    pages.sort();
    let shown = directory.display();
    let json = json!({ "directory": shown.to_string(), "pages": pages });
    Ok(Report::new(format!("the manual pages are written to `{shown}`"), json).machine(shown.to_string()))
}

/// Writes the page of a command and those of the commands below it.
fn page(command: &clap::Command, directory: &Path, pages: &mut Vec<String>) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(below, directory, pages)?;
    }
    let man = Man::new(command.clone()).manual("Ockam KMS");
    let mut bytes = Vec::new();
    man.render(&mut bytes).map_err(|e| Error::new(Kind::Internal, "a page has no form").with_source(e))?;
    let text = examples(&String::from_utf8_lossy(&bytes));
    let path = directory.join(man.get_filename());
    // Unlike everything else that is written, a manual is for everybody.
    std::fs::write(&path, text)
        .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o644)))
        .map_err(|e| io("write", &path, e))?;
    pages.push(man.get_filename());
    Ok(())
}

/// What follows the options of every command of ours is examples: they get their own name, and lines that stay as they are.
fn examples(page: &str) -> String {
    let Some((before, extra)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (extra, after) = extra.split_once(".SH ").unwrap_or((extra, ""));
    let lines = extra.split_once('\n').map_or(extra, |(_title, lines)| lines);
    let next = if after.is_empty() { "" } else { ".SH " };
    format!("{before}.SH EXAMPLES\n.nf\n{lines}.fi\n{next}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines() {
        assert_eq!(
            examples(".SH NAME\nx\n.SH EXTRA\nExample:\n  a\n  b\n.SH VERSION\nv1\n"),
            ".SH NAME\nx\n.SH EXAMPLES\n.nf\n  a\n  b\n.fi\n.SH VERSION\nv1\n"
        );
        assert_eq!(examples(".SH NAME\nx\n"), ".SH NAME\nx\n");
    }
}
