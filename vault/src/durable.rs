//! Files that are there, whole, after a power cut: written beside, synced, moved into place, directory synced. Directories
//! are 0700 and files 0600 under any umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the names of unfinished files start with.
const UNFINISHED: &str = ".new-";
/// What they end with: random digits, so that two writers of one file do not meet.
const RANDOM_DIGITS: usize = 16;

/// Makes a directory that only the owner can enter, and its parents, and syncs what holds them.
///
/// # Errors
/// Whatever the file system says.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<_> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o700))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        sync_dir(parent(dir))?;
    }
    Ok(())
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when it does, without touching it; else whatever the file system says.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_beside(path, bytes)?;
    // A hard link, unlike a rename, refuses to replace.
    let linked = fs::hard_link(&unfinished, path);
    let removed = fs::remove_file(&unfinished);
    linked?;
    removed?;
    sync_dir(parent(path))
}

/// Writes a file, replacing what was there in one step: a reader sees the old bytes or the new ones.
///
/// # Errors
/// Whatever the file system says; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_beside(path, bytes)?;
    if let Err(e) = fs::rename(&unfinished, path) {
        let _ = fs::remove_file(&unfinished);
        return Err(e);
    }
    sync_dir(parent(path))
}

/// Removes a file.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is none; else whatever the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_dir(parent(path))
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when there is more; else whatever the file system says.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Removes what writers that died more than an hour ago left unfinished.
///
/// # Errors
/// Whatever the file system says.
pub fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let old = || entry.metadata().and_then(|meta| meta.modified()).ok()?.elapsed().ok();
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && old().is_some_and(|age| age > Duration::from_secs(3600))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Removes what writers of this one file that died left unfinished, however young it is: for a file that nobody else is
/// writing.
///
/// # Errors
/// Whatever the file system says.
pub fn forget(path: &Path) -> io::Result<()> {
    let prefix = unfinished_prefix(path)?;
    for entry in fs::read_dir(parent(path))? {
        let entry = entry?;
        let random = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)).map(str::len);
        if random == Some(RANDOM_DIGITS) {
            fs::remove_file(entry.path())?;
        }
    }
    sync_dir(parent(path))
}

/// Makes what happened in a directory (a new name, a removed one) survive a power cut.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
    let unfinished = parent(path).join(format!("{}{}", unfinished_prefix(path)?, hex::encode(random)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok(unfinished),
        Err(e) => {
            let _ = fs::remove_file(&unfinished);
            Err(e)
        }
    }
}

/// The name of an unfinished file without its random part: it says what the file was to become.
fn unfinished_prefix(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    Ok(format!("{UNFINISHED}{name}-"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_never_replace_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        assert_eq!(mode(&deep), 0o700);
        let file = deep.join("f");
        write_new(&file, b"one").unwrap();
        assert_eq!(write_new(&file, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&file, 3).unwrap(), b"one");
        assert_eq!(read(&file, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(mode(&file), 0o600);
        replace(&file, b"three").unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"three");
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1, "nothing unfinished is left behind");
        remove(&file).unwrap();
        assert_eq!(remove(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_dead_writer_left_of_one_file_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let left = write_beside(&dir.path().join("k.json"), b"{}").unwrap();
        let others = [
            write_beside(&dir.path().join("k.json-0123456789abcdef"), b"{}").unwrap(),
            write_beside(&dir.path().join("kk.json"), b"{}").unwrap(),
        ];
        forget(&dir.path().join("k.json")).unwrap();
        assert!(!left.exists());
        assert!(others.iter().all(|other| other.exists()));
    }
}
