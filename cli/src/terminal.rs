//! Asking the person at the terminal, without showing what is typed.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use vault::{Ask, Error, Interact, Kind, MAX_PASSPHRASE, Result, SecretBytes};
use zeroize::Zeroizing;

use crate::interrupt;

/// The person at the terminal, when there is one and they may be asked.
pub(crate) fn person(no_input: bool) -> Arc<dyn Interact> {
    if may_ask(no_input) { Arc::new(Person) } else { Arc::new(Nobody) }
}

fn may_ask(no_input: bool) -> bool {
    !no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Nobody can be asked: says which option answers instead.
#[derive(Debug)]
struct Nobody;

impl Interact for Nobody {
    fn secret(&self, ask: &Ask) -> Result<SecretBytes> {
        let (what, of, option) = match ask {
            Ask::Pin { of } => ("PIN", of.as_str(), "pin"),
            Ask::Puk { of } => ("PUK", of.as_str(), "puk"),
            Ask::ManagementKey { of } => {
                return Err(Error::new(
                    Kind::Presence,
                    format!("the management key of {of} is needed, and nobody can be asked"),
                )
                .with_hint(
                    "name a file that holds it in the vault's URI: `management-key-source=file:PATH`",
                ));
            }
            Ask::Passphrase { of } => ("passphrase", of.as_str(), "passphrase"),
            _ => ("secret", "a vault", "passphrase"),
        };
        Err(Error::new(Kind::Presence, format!("the {what} of {of} is needed, and nobody can be asked"))
            .with_hint(format!(
                "pass it with --{option}-file PATH, or write it to standard input and add `--{option} -`"
            )))
    }
}

/// Whether somebody can be asked to confirm.
pub(crate) fn confirm(no_input: bool, question: &str) -> Option<bool> {
    if !may_ask(no_input) {
        return None;
    }
    let mut terminal = open().ok()?;
    write!(terminal, "{question} [y/N] ").ok()?;
    let answer = SecretBytes::read_line(&terminal).ok();
    Some(answer.is_some_and(|answer| matches!(answer.expose(), b"y" | b"Y" | b"yes")))
}

#[derive(Debug)]
struct Person;

impl Interact for Person {
    fn secret(&self, ask: &Ask) -> Result<SecretBytes> {
        let prompt = match ask {
            Ask::Pin { of } => format!("PIN of {of}: "),
            Ask::Puk { of } => format!("PUK of {of}: "),
            Ask::ManagementKey { of } => format!("Management key of {of}: "),
            Ask::Passphrase { of } => format!("Passphrase of {of}: "),
            _ => "Secret: ".to_owned(),
        };
        hidden_line(&prompt)
    }

    fn touch_now(&self, of: &str) {
        if let Ok(mut terminal) = open() {
            let _ = writeln!(terminal, "Touch {of} now: it blinks.");
        }
    }
}

/// A new passphrase, typed twice.
pub(crate) fn new_passphrase() -> Result<SecretBytes> {
    typed_twice("passphrase")
}

/// A new PIN or PUK, typed twice, when somebody can be asked.
#[cfg(feature = "yubikey")]
pub(crate) fn new_secret(no_input: bool, what: &str, option: &str) -> Result<SecretBytes> {
    if may_ask(no_input) {
        return typed_twice(what);
    }
    Err(Error::new(Kind::Presence, format!("the new {what} is needed, and nobody can be asked")).with_hint(
        format!("pass it with --{option}-file PATH, or write it to standard input and add `--{option} -`"),
    ))
}

fn typed_twice(what: &str) -> Result<SecretBytes> {
    let first = hidden_line(&format!("New {what}: "))?;
    let second = hidden_line("The same again: ")?;
    if first.same_as(&second) {
        Ok(first)
    } else {
        Err(Error::new(Kind::Invalid, format!("the two {what}s differ")).with_hint("try again"))
    }
}

fn hidden_line(prompt: &str) -> Result<SecretBytes> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::Presence, "the terminal cannot be asked")
            .with_hint("name a file that holds the secret")
            .with_source(e)
    };
    let mut terminal = open().map_err(failed)?;
    let silence = Silence::on(&terminal).map_err(|e| failed(e.into()))?;
    terminal.write_all(prompt.as_bytes()).map_err(failed)?;
    let typed = typed(&terminal);
    drop(silence);
    let _ = terminal.write_all(b"\n");
    match typed.map_err(failed)? {
        Typed::Line(line) => SecretBytes::read_line(line.as_slice()),
        Typed::Interrupt => {
            interrupt::pressed();
            Err(Error::new(Kind::Presence, "interrupted"))
        }
    }
}

enum Typed {
    Line(Zeroizing<Vec<u8>>),
    Interrupt,
}

/// Reads keys until the end of the line. The terminal does not edit lines now, so that Ctrl-C reaches us as a key and
/// cannot end the process while nothing is shown.
fn typed(mut terminal: impl Read) -> std::io::Result<Typed> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 1));
    let mut key = Zeroizing::new([0_u8; 1]);
    loop {
        let read = terminal.read(key.as_mut_slice())?;
        let [pressed] = *key;
        match pressed {
            _ if read == 0 => break,
            b'\r' | b'\n' | 0x04 => break,
            0x03 => return Ok(Typed::Interrupt),
            0x08 | 0x7f => drop(line.pop()),
            // One more than is allowed is kept, so that too much is refused and not cut.
            _ if line.len() <= MAX_PASSPHRASE => line.push(pressed),
            _ => {}
        }
    }
    Ok(Typed::Line(line))
}

fn open() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// The terminal as it was, while it does not show what is typed.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Makes the terminal show again what is typed, also when the program ends while it asks.
pub(crate) fn restore() {
    if let Some((terminal, before)) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}

/// The terminal does not show what is typed while this lives.
struct Silence(());

impl Silence {
    fn on(terminal: &File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        let terminal = terminal
            .try_clone()
            .map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))?;
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, before));
        Ok(Self(()))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(keys: &[u8]) -> Option<Vec<u8>> {
        match typed(keys).unwrap() {
            Typed::Line(line) => Some(line.to_vec()),
            Typed::Interrupt => None,
        }
    }

    #[test]
    fn keys_become_a_line() {
        assert_eq!(line(b"pax\x7fs\rrest").unwrap(), b"pas");
        assert_eq!(line(b"\x08a").unwrap(), b"a");
        assert_eq!(line(b"end").unwrap(), b"end");
        assert!(line(b"abc\x03").is_none());
        assert_eq!(line(&[b'x'; 5000]).unwrap().len(), MAX_PASSPHRASE + 1, "which is refused later");
    }
}
