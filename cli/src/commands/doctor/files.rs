//! The files of the home: whose they are, who may read them, and what a writer that died left behind.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Chart;

const CHECK: &str = "files";

/// Looks at every file below a directory; answers when the newest was written, and which.
pub(super) fn look(chart: &mut Chart, top: &Path, writing: bool) -> Option<(SystemTime, PathBuf)> {
    let us = rustix::process::geteuid().as_raw();
    let (mut newest, mut count): (Option<(SystemTime, PathBuf)>, usize) = (None, 0);
    let mut ahead = vec![top.to_owned()];
    while let Some(path) = ahead.pop() {
        // What is gone meanwhile is not there.
        let Ok(found) = path.symlink_metadata() else { continue };
        count += 1;
        let shown = path.display();
        if found.uid() != us {
            chart.fault(
                CHECK,
                format!("`{shown}` belongs to another user ({})", found.uid()),
                format!("find out who put it there; then: chown {us} {shown}"),
            );
        }
        if found.is_symlink() {
            chart.fault(
                CHECK,
                format!("`{shown}` is a symbolic link"),
                "nothing of ours is one: put in its place what it points to, or remove it",
            );
            continue;
        }
        if found.mode() & 0o077 != 0 {
            chart.fault(
                CHECK,
                format!("`{shown}` is open to others (mode {:o})", found.mode() & 0o777),
                format!("chmod go= {shown}"),
            );
        }
        if found.is_dir() {
            match std::fs::read_dir(&path) {
                Ok(entries) => ahead.extend(entries.flatten().map(|entry| entry.path())),
                Err(error) => chart.failed(CHECK, "a directory", crate::error::io("list", &path, error)),
            }
            continue;
        }
        if is_unfinished(&path) && !writing {
            chart.fault(
                CHECK,
                format!("`{shown}` was never finished: whoever wrote it died"),
                format!("nothing reads it: rm {shown}"),
            );
        }
        if let Ok(written) = found.modified()
            && newest.as_ref().is_none_or(|(time, _)| *time < written)
        {
            newest = Some((written, path));
        }
    }
    chart.looked_at(CHECK, format!("{count} files and directories: owner, mode, leftovers"));
    newest
}

/// Files that are moved into place once they are whole, and logs that were being passed on.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with(".new-") || (name.starts_with("audit-") && name.ends_with(".jsonl"))
}
