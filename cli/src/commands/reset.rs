//! `reset`: everything in the home is gone.

use std::path::PathBuf;

use home::{Home, Name, ServerRecord};
use serde_json::json;
use vault::Scheme;

use super::server;
use crate::args::program::Reset;
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Result, io};
use crate::output::Report;

pub(super) fn run(context: &Context, reset: &Reset) -> Result<Report> {
    let home = context.home()?;
    let running: Vec<_> = home.servers()?.into_iter().filter(|(.., running)| *running).collect();
    if reset.dry_run {
        return preview(home, &running).map(Preview::report);
    }
    let question = format!(
        "Delete everything in `{}`? Keys in software, identities, credentials and the data of authorities are gone for good.",
        home.path().display()
    );
    context.confirm(reset.yes, &question)?;
    for (name, ..) in &running {
        server::end(context, name, true)?;
    }
    // Whoever writes is done, and what another command begins meanwhile it begins in an empty home.
    let writer = context.writer()?;
    for path in inside(home)? {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|e| io("remove", &path, e))?;
    }
    drop(writer);
    let path = home.path().display().to_string();
    Ok(Report::new(format!("everything in `{path}` is deleted"), json!({ "home": path })).machine(path))
}

/// What is in the home, but for what makes it one: the header first, or else a home that is half removed would be none; the
/// lock, which is held.
fn inside(home: &Home) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(home.path()).map_err(|e| io("list", home.path(), e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| io("list", home.path(), e))?;
        if !["home.json", "lock"].iter().any(|kept| entry.file_name() == *kept) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn preview(home: &Home, running: &[(Name, ServerRecord, bool)]) -> Result<Preview> {
    let mut preview = Preview::default();
    for (name, record, _) in running {
        preview.destroys(format!("the process {} of the server `{name}`", record.pid));
    }
    for (name, record) in home.identities()? {
        preview.destroys(format!("the record of the identity `{name}`, {}", record.identifier()));
    }
    for (name, record) in home.vaults()? {
        let uri = record.uri()?;
        let inside = uri
            .text("path")
            .ok()
            .flatten()
            .is_some_and(|path| home.path().join(path).starts_with(home.path()));
        match uri.scheme() {
            Scheme::Soft if inside => preview.destroys(format!("the vault `{name}` and its keys, for good")),
            _ => preview.keeps(format!("the keys of the vault `{name}`, which are elsewhere: `{uri}`")),
        }
    }
    preview.destroys(format!("everything else in `{}`", home.path().display()));
    Ok(preview)
}
