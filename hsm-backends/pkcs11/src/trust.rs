//! Which module files are loaded. A module runs inside this process and sees every PIN, so whoever can write its file, or
//! a directory on the way to it, owns the process. Before a module is loaded, every step from `/` to the file is
//! checked, symbolic links included; a step is refused when
//!
//! * it belongs to somebody other than root and the user that runs this process,
//! * everybody may write it, or a group other than root's (gid 0) may. A directory with the sticky bit is let through,
//!   since only the owner of a file can replace it there and the file's owner is checked in turn.
//!
//! Access lists and capabilities are not looked at: the mode bits bound what an access list grants (its mask shows
//! as the group's bits).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use vault::{Error, Kind, Result};

/// The most symbolic links that are followed, as many as Linux does.
const MAX_LINKS: usize = 40;
const WRITABLE_BY_ALL: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// Checks the path of a module and resolves its symbolic links.
///
/// # Errors
/// [`Kind::Invalid`] when it is not absolute or no file, [`Kind::NotFound`] when there is none, [`Kind::Denied`] when
/// others can write it.
pub(crate) fn check(path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(Error::new(
            Kind::Invalid,
            format!("the module path `{}` is not absolute", path.display()),
        )
        .with_hint("write it from the root, as in `module-path=/usr/lib/softhsm/libsofthsm2.so`"));
    }
    let mut ahead: VecDeque<OsString> = steps(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    judge(&here, &metadata(&here)?)?;
    while let Some(step) = ahead.pop_front() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        let found = metadata(&next)?;
        judge(&next, &found)?;
        if !found.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` has too many symbolic links", path.display()),
            ));
        }
        let target = std::fs::read_link(&next).map_err(|e| unreadable(&next, e))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for step in steps(&target).into_iter().rev() {
            ahead.push_front(step);
        }
    }
    if !metadata(&here)?.is_file() {
        return Err(Error::new(Kind::Invalid, format!("the module `{}` is not a file", here.display())));
    }
    Ok(here)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn metadata(path: &Path) -> Result<Metadata> {
    path.symlink_metadata().map_err(|e| unreadable(path, e))
}

fn unreadable(path: &Path, e: io::Error) -> Error {
    if e.kind() == io::ErrorKind::NotFound {
        return Error::new(Kind::NotFound, format!("there is no PKCS#11 module `{}`", path.display()))
            .with_hint("install the module of your device, or correct `module-path`");
    }
    Error::new(Kind::Denied, format!("cannot look at `{}`: {e}", path.display())).with_source(e)
}

fn judge(path: &Path, found: &Metadata) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::new(Kind::Denied, format!("the PKCS#11 module is not loaded: `{}` {why}", path.display()))
            .with_hint(
                "install it where only root can write: a module sees every PIN that passes through it",
            ))
    };
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != user {
        return refuse(format!("belongs to user {}", found.uid()));
    }
    // The mode of a symbolic link means nothing: its directory and its owner say who can replace it.
    if found.is_symlink() || (found.is_dir() && found.mode() & STICKY != 0) {
        return Ok(());
    }
    if found.mode() & WRITABLE_BY_ALL != 0 {
        return refuse("can be written by everybody".to_owned());
    }
    if found.mode() & WRITABLE_BY_GROUP != 0 && found.gid() != 0 {
        return refuse(format!("can be written by group {}", found.gid()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn who_can_write_a_step_decides() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let inner = root.join("inner");
        let file = inner.join("module.so");
        fs::create_dir(&inner).unwrap();
        fs::write(&file, b"").unwrap();
        mode(&root, 0o755);
        let nobodys_group = fs::metadata(&file).unwrap().gid() != 0;
        for (dir_mode, file_mode, good) in [
            (0o755, 0o644, true),
            (0o700, 0o600, true),
            (0o755, 0o646, false),
            (0o755, 0o666, false),
            (0o777, 0o644, false),
            (0o1777, 0o644, true),
            (0o775, 0o644, !nobodys_group),
            (0o755, 0o664, !nobodys_group),
        ] {
            mode(&inner, dir_mode);
            mode(&file, file_mode);
            match check(&file) {
                Ok(path) => assert!(good && path == file, "{dir_mode:o} {file_mode:o}"),
                Err(e) => assert!(!good && e.kind() == Kind::Denied, "{dir_mode:o} {file_mode:o}: {e}"),
            }
        }
    }

    #[test]
    fn links_are_followed_and_their_way_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        mode(&root, 0o755);
        let (good, open) = (root.join("good"), root.join("open"));
        fs::create_dir(&good).unwrap();
        fs::create_dir(&open).unwrap();
        let file = good.join("module.so");
        fs::write(&file, b"").unwrap();
        mode(&file, 0o644);
        symlink("good/../good/module.so", root.join("link.so")).unwrap();
        symlink(root.join("link.so"), open.join("link.so")).unwrap();
        assert_eq!(check(&root.join("link.so")).unwrap(), file);
        assert_eq!(check(&open.join("link.so")).unwrap(), file);
        // Whoever may write the directory of a link may point it elsewhere.
        mode(&open, 0o777);
        assert_eq!(check(&open.join("link.so")).unwrap_err().kind(), Kind::Denied);
        symlink(root.join("loop"), root.join("loop")).unwrap();
        assert_eq!(check(&root.join("loop")).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn only_an_absolute_path_to_a_file_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(check(Path::new("libsofthsm2.so")).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(check(&root).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(check(&root.join("missing.so")).unwrap_err().kind(), Kind::NotFound);
    }
}
