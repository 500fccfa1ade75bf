//! What a test makes the card do: files in its directory.
//!
//! `fault` holds one line and is removed when it strikes, before the next command with that instruction:
//! `pull INS` the card is gone, `hang INS` it answers nothing until the file `go` is there, `cut INS` and `grow INS` the
//! answer has another length, `flip INS` its last byte is another. `INS` is in hexadecimal, `*` for any; a number after it
//! is how many commands with that instruction go through before.
//! `waits` is there while the card waits for a touch, and the file `touch` is one (it is removed).

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the card waits for a touch, as the real one does.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct Faults(PathBuf);

impl Faults {
    pub(crate) fn in_directory(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn take(&self, kinds: &[&str], instruction: u8) -> Option<String> {
        let path = self.0.join("fault");
        let text = fs::read_to_string(&path).ok()?;
        let mut words = text.split_whitespace();
        let (kind, which) = (words.next()?, words.next()?);
        let before: u32 = words.next().map_or(0, |number| number.parse().unwrap());
        let strikes = which == "*" || u8::from_str_radix(which, 16) == Ok(instruction);
        if !strikes || !kinds.contains(&kind) {
            return None;
        }
        if before > 0 {
            fs::write(path, format!("{kind} {which} {}", before - 1)).unwrap();
            return None;
        }
        fs::remove_file(path).unwrap();
        Some(kind.to_owned())
    }

    /// Strikes before a command is looked at.
    pub(crate) fn before(&self, instruction: u8) {
        match self.take(&["pull", "hang"], instruction).as_deref() {
            Some("pull") => {
                fs::write(self.0.join("out"), "").unwrap();
                std::process::exit(0);
            }
            Some(_) => {
                while !self.0.join("go").exists() {
                    sleep(LOOK);
                }
            }
            None => {}
        }
    }

    /// Changes an answer.
    pub(crate) fn bend(&self, instruction: u8, mut answer: Vec<u8>) -> Vec<u8> {
        match self.take(&["cut", "grow", "flip"], instruction).as_deref() {
            Some("cut") => {
                answer.pop();
            }
            Some("grow") => answer.push(0x55),
            Some(_) => {
                if let Some(last) = answer.last_mut() {
                    *last ^= 1;
                }
            }
            None => {}
        }
        answer
    }

    /// Whether somebody touched it in time.
    pub(crate) fn wait_for_touch(&self) -> Option<()> {
        let waits = self.0.join("waits");
        fs::write(&waits, "").unwrap();
        let until = Instant::now() + PATIENCE;
        let touched = loop {
            if fs::remove_file(self.0.join("touch")).is_ok() {
                break Some(());
            }
            if Instant::now() >= until {
                break None;
            }
            sleep(LOOK);
        };
        let _ = fs::remove_file(waits);
        touched
    }
}
