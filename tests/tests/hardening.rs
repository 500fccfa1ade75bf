//! What the program keeps from others of its own user, and from the disk, seen from outside: the files of /proc, and what
//! another process may read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its world should stop")]

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ockam_kms_tests::ockam_kms;

/// Whom the program runs as when the test is root: root may look into everything, so the test would see nothing.
const NOBODY: u32 = 65534;

/// A directory of a user that is not root, with the program in it.
struct User {
    directory: tempfile::TempDir,
    id: u32,
}

impl User {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().metadata().unwrap().uid();
        let id = if own == 0 { NOBODY } else { own };
        std::fs::copy(ockam_kms(), directory.path().join("ockam-kms")).unwrap();
        if own == 0 {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::create_dir(directory.path().join("own")).unwrap();
            chown(directory.path().join("own"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { directory, id }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command of that user.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("OCKAM_KMS_HOME", self.path("own/home"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.directory.path().metadata().unwrap().uid() == 0 {
            command.uid(self.id).gid(self.id);
        }
        command
    }

    fn kms(&self, arguments: &[&str]) -> Command {
        self.command(self.path("ockam-kms"), arguments)
    }

    /// What that user may read of a process.
    fn reads(&self, pid: u32, file: &str) -> Option<Vec<u8>> {
        let output = self.command("cat", &[&format!("/proc/{pid}/{file}")]).output().unwrap();
        (output.status.success() && !output.stdout.is_empty()).then_some(output.stdout)
    }
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.trim_start_matches(name).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn owner(pid: u32) -> u32 {
    Path::new(&format!("/proc/{pid}/environ")).metadata().unwrap().uid()
}

#[test]
fn a_server_dumps_no_core_lets_nobody_in_and_locks_its_keys() {
    let user = User::new();
    let create = [
        "authority",
        "create",
        "--foreground",
        "--project-identifier",
        "demo",
        "--trusted-identities",
        "{}",
        "--http-address",
        "127.0.0.1:0",
    ];
    // With as large a core as the system grants, so that it is the program that refuses it.
    let mut shell = user.command("sh", &["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"]);
    shell.arg(user.path("ockam-kms")).args(create);
    let mut server = Running(shell.spawn().unwrap());
    let mut ready = [0_u8; 14];
    server.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"authority-demo");
    let pid = server.0.id();
    // The control is another process of the same user: into that one it may look.
    let control = Running(user.command("sleep", &["600"]).spawn().unwrap());

    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert_eq!(field(&limits, "Max core file size"), "0 0 bytes");
    assert_eq!((owner(pid), owner(control.0.id())), (0, user.id));
    for file in ["environ", "maps", "auxv"] {
        assert_eq!(user.reads(pid, file), None, "{file}");
        assert!(user.reads(control.0.id(), file).is_some(), "{file}");
    }
    let locked = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        field(&status, "VmLck:").trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // The vault's data key, the primary key and the credential key.
    assert!(locked(pid) >= 12, "{}", locked(pid));
    assert_eq!(locked(control.0.id()), 0);
}

#[test]
fn memory_that_cannot_be_locked_is_told() {
    let user = User::new();
    let made = user.kms(&["vault", "create"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let limited = |limit: &str, quiet: &str| {
        let line = format!("ulimit -l {limit} && exec \"$@\"");
        let mut shell = user.command("bash", &["-c", &line, "bash"]);
        shell.arg(user.path("ockam-kms")).args(["key", "generate", quiet]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    // The limit is in KiB; with 8 there is room for two keys.
    for limit in ["0", "8", "60"] {
        let told = limited(limit, "--quiet=false");
        assert!(told.starts_with("note: keys in memory may be written to swap"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert_eq!(limited("64", "--quiet=false"), "");
    assert_eq!(limited("0", "--quiet"), "");
}
