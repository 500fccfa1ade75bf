//! Transcripts that are followed: files whose commands are run by a shell, in order, in a fresh directory, and whose recorded
//! output has to come out again. `UPDATE_GOLDEN=1` writes down what came out.
//!
//! ```text
//! # A comment
//! $ ockam-kms vault create          through pipes: what a script gets
//! tty$ ockam-kms vault show         at a terminal: what a person gets
//! ! note: …                         standard error
//! [66]                              the exit code, unless it is 0
//! ```
//!
//! A command that ends with a backslash goes on in the next line. What differs from run to run has a name in the output
//! (`I<1>`, `<hex>`, `<time>`), so a value that a later command needs goes through a file: `… | tee id`, then `$(cat id)`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Kms, Ran, difference};
use crate::softhsm::SoftHsm;

/// Where the transcripts are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cli")
}

/// How a command was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Its output went into a pipe.
    Pipe,
    /// Its output went to a terminal.
    Terminal,
}

/// One command of a transcript.
#[derive(Clone, Debug)]
pub struct Step {
    /// How it was run.
    pub to: To,
    /// The command, without the backslashes at ends of lines.
    pub command: String,
    /// Its exit code.
    pub code: i32,
    // As it stands in the file: comments and empty lines before it, then its own lines.
    source: String,
    recorded: String,
}

/// The steps of a transcript, and what stands after the last.
///
/// # Panics
/// When its first line is output of nothing.
#[must_use]
pub fn steps(text: &str) -> (Vec<Step>, String) {
    let mut steps: Vec<Step> = Vec::new();
    let (mut before, mut lines) = (String::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or("# the end");
        if line.starts_with('#') || (line.is_empty() && is_input(next)) {
            writeln!(before, "{line}").unwrap();
            continue;
        }
        let typed = line.strip_prefix("tty$ ").map(|command| (To::Terminal, command));
        let Some((to, first)) = typed.or_else(|| Some((To::Pipe, line.strip_prefix("$ ")?))) else {
            let step = steps.last_mut().expect("output follows a command");
            writeln!(step.recorded, "{line}").unwrap();
            let code = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse().ok());
            step.code = code.unwrap_or(step.code);
            continue;
        };
        let (mut source, mut command) = (std::mem::take(&mut before), first.to_owned());
        writeln!(source, "{line}").unwrap();
        while command.ends_with('\\') {
            command.pop();
            let more = lines.next().expect("a backslash is followed by a line");
            writeln!(source, "{more}").unwrap();
            command.push_str(more.trim_start());
        }
        steps.push(Step { to, command, code: 0, source, recorded: String::new() });
    }
    (steps, before)
}

/// Whether a line is a comment or a command, and not output.
fn is_input(line: &str) -> bool {
    ["#", "$ ", "tty$ "].iter().any(|mark| line.starts_with(mark))
}

impl Kms {
    /// Follows a transcript and compares what comes out with what is recorded.
    ///
    /// # Panics
    /// When it differs, or the file does not exist.
    pub fn follow(mut self, name: &str) {
        let path = directory().join(format!("{name}.txt"));
        let recorded = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_tokens, hsm) = SoftHsm::prepare();
        self.set("SOFTHSM2_CONF", hsm.conf());
        let (steps, end) = steps(&recorded);
        let mut found = String::new();
        for step in &steps {
            let ran = self.shell(&step.command, step.to);
            found.push_str(&step.source);
            let mut output = String::new();
            for (mark, text) in [("", &ran.stdout), ("! ", &ran.stderr)] {
                for line in text.trim_end_matches(['\n', ' ']).lines() {
                    writeln!(output, "{mark}{line}").unwrap();
                }
            }
            let taken = output.lines().find(|line| is_input(line));
            assert!(taken.is_none(), "`{}` prints {taken:?}, which would be read as a command", step.command);
            found.push_str(&self.redactor.redact(&output));
            if ran.code != 0 {
                writeln!(found, "[{}]", ran.code).unwrap();
            }
        }
        found.push_str(&end);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, found).unwrap();
            return;
        }
        assert!(
            found == recorded,
            "golden/cli/{name}.txt differs: read the difference, then accept it with\n\
             UPDATE_GOLDEN=1 cargo nextest run -p ockam-kms-tests --test cli_transcripts --no-fail-fast\n{}",
            difference(&recorded, &found)
        );
    }

    /// Runs a line of shell in the directory.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn shell(&self, line: &str, to: To) -> Ran {
        // The variables of every run, and the program under its name.
        let program = self.command(&[]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).env_clear().current_dir(self.directory.path()).stdin(Stdio::null());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let beside = Path::new(program.get_program()).parent().unwrap().display().to_string();
        command.env("PATH", format!("{beside}:/usr/sbin:/usr/bin:/sbin:/bin"));
        command.stderr(Stdio::piped());
        let terminal = match to {
            To::Pipe => {
                command.stdout(Stdio::piped());
                None
            }
            To::Terminal => {
                let (controller, terminal) = terminal();
                command.stdout(terminal);
                Some(controller)
            }
        };
        let child = command.spawn().unwrap();
        // Our copies of the terminal's other end, without which its reader never comes to an end.
        drop(command);
        let shown = terminal.map(|controller| std::thread::spawn(move || read_to_end(controller)));
        let output = child.wait_with_output().unwrap();
        let stdout = shown.map_or(output.stdout, |shown| shown.join().unwrap());
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap().replace("\r\n", "\n"),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn terminal() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (File::from(controller), terminal)
}

/// What is shown at a terminal until the last program has let go of it.
fn read_to_end(mut controller: File) -> Vec<u8> {
    let (mut shown, mut bytes) = (Vec::new(), [0_u8; 4096]);
    while let Ok(read @ 1..) = controller.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..read]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read_as_it_is_written() {
        let text = "# One\n$ a \\\n    b\nout\n\nmore\n! err\n[3]\n\n# Two\n\ntty$ c\n# end\n";
        let (steps, end) = steps(text);
        let seen: Vec<_> = steps.iter().map(|step| (step.to, step.command.as_str(), step.code)).collect();
        assert_eq!(seen, [(To::Pipe, "a b", 3), (To::Terminal, "c", 0)]);
        assert_eq!(steps[0].recorded, "out\n\nmore\n! err\n[3]\n");
        let again: String =
            steps.iter().flat_map(|step| [step.source.as_str(), step.recorded.as_str()]).collect();
        assert_eq!(again + &end, text);
    }
}
