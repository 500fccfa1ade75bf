//! Our program, as somebody runs it who has installed it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, wanted, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

/// A directory with homes in it.
pub(crate) struct Program(tempfile::TempDir);

impl Program {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("kms").tempdir().unwrap())
    }

    fn command(&self, home: &Path, arguments: &[&str]) -> Command {
        let program =
            std::env::var_os("OCKAM_KMS").expect("OCKAM_KMS has to name the program, as in README.md");
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("OCKAM_KMS_HOME", home);
        command
    }

    /// Runs it in one of the homes. Its threads are not those of the nodes of this process: they go on meanwhile.
    pub(crate) fn run(&self, home: &str, arguments: &[&str], input: &str) -> Ran {
        tokio::task::block_in_place(|| {
            let mut command = self.command(&self.0.path().join(home), arguments);
            let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = pipes.spawn().unwrap();
            // A program that reads nothing may be gone already.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap();
            Ran {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8(output.stdout).unwrap().trim_end().to_owned(),
                stderr: String::from_utf8(output.stderr).unwrap(),
            }
        })
    }

    /// An identity of this name in a home of the same name.
    pub(crate) fn identity(&self, name: &str) -> String {
        self.run(name, &["identity", "create", name], "").code(0).stdout
    }
}

/// No server outlives its test.
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.command(&self.0.path().join("authority"), &["authority", "stop", "--force"]).output();
    }
}
