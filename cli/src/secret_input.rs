//! Where secrets come from: standard input, a file, or a person; never an argument or a variable.
//!
//! Standard input is read from the descriptor itself: what `std::io::stdin()` has read stays in a buffer that nobody wipes.

use std::fs::File;
use std::io::Read;
use std::mem::discriminant;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vault::{Ask, Interact, SecretBytes};
use zeroize::Zeroizing;

use crate::error::{Error, Result, io};
use crate::exit::Kind;

/// The longest text that is read whole: a ticket with two change histories, or a credential, as hex.
const MAX_TEXT: usize = 1024 * 1024;

/// A place that holds a secret on its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// The source that a pair of options (`--pin -`, `--pin-file PATH`) names. What else stands for `-` is a secret on the
    /// command line, which others can read: it is refused, and not repeated.
    pub(crate) fn of(what: &str, inline: Option<&str>, file: Option<&Path>) -> Result<Option<Self>> {
        match (inline, file) {
            (Some("-"), None) => Ok(Some(Self::Stdin)),
            (Some(_), None) => Err(Error::usage(format!("a {what} is never an argument: others can see it"))
                .with_hint(format!(
                    "pass `--{what} -` and write it to standard input, or use --{what}-file PATH"
                ))),
            (None, Some(path)) if path == Path::new("-") => Ok(Some(Self::Stdin)),
            (None, Some(path)) => Ok(Some(Self::File(path.to_owned()))),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Error::usage(format!("both --{what} and --{what}-file are given"))),
        }
    }

    /// The secret.
    pub(crate) fn read(&self) -> vault::Result<SecretBytes> {
        match self {
            // Byte by byte: the next secret on standard input is left for whoever asks next.
            Self::Stdin => SecretBytes::read_line(stdin().map_err(|e| {
                vault::Error::new(vault::Kind::Backend, "standard input cannot be read").with_source(e)
            })?),
            Self::File(path) => SecretBytes::read_file(path),
        }
    }
}

/// The descriptor of standard input, without the buffer of `std::io::stdin()`.
pub(crate) fn stdin() -> std::io::Result<File> {
    std::io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Answers what vaults ask for: from the sources that were named, else by asking a person, else with an error.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) pin: Option<Source>,
    pub(crate) passphrase: Option<Source>,
    pub(crate) person: Arc<dyn Interact>,
    // One question at a time, so that lines of standard input are not mixed up.
    pub(crate) turn: Mutex<()>,
    pub(crate) heard: Arc<Heard>,
}

/// The PIN and the passphrase that were read from standard input: a server that is started then needs the same, and cannot
/// read them again. Kept by a command that starts one in the background, and by no other.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    keeps: AtomicBool,
    secrets: Mutex<Vec<(Ask, SecretBytes)>>,
}

impl Heard {
    /// From here on.
    pub(crate) fn keep(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    fn add(&self, ask: &Ask, secret: &SecretBytes) {
        if self.keeps.load(Ordering::Relaxed) {
            self.secrets().push((ask.clone(), SecretBytes::new(secret.expose().to_vec())));
        }
    }

    /// The first that was an answer to a question of this kind.
    pub(crate) fn take(&self, ask: &Ask) -> Option<SecretBytes> {
        let mut secrets = self.secrets();
        let found = secrets.iter().position(|(asked, _)| discriminant(asked) == discriminant(ask))?;
        Some(secrets.remove(found).1)
    }

    fn secrets(&self) -> MutexGuard<'_, Vec<(Ask, SecretBytes)>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interact for Answers {
    fn secret(&self, ask: &Ask) -> vault::Result<SecretBytes> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let source = match ask {
            Ask::Pin { .. } => self.pin.as_ref(),
            Ask::Passphrase { .. } => self.passphrase.as_ref(),
            _ => None,
        };
        let secret = source.map_or_else(|| self.person.secret(ask), Source::read)?;
        if source == Some(&Source::Stdin) {
            self.heard.add(ask, &secret);
        }
        Ok(secret)
    }

    fn touch_now(&self, of: &str) {
        self.person.touch_now(of);
    }
}

/// Text that may be given as it is, as `-` for standard input, or as the name of a file: a ticket, a credential, a change
/// history. Trimmed, wiped when dropped.
pub(crate) fn text(given: &str, what: &str) -> Result<Zeroizing<String>> {
    if given == "-" {
        let file = stdin()
            .map_err(|e| Error::new(Kind::Unavailable, "standard input cannot be read").with_source(e))?;
        return read(file, Path::new("-"), what);
    }
    // Long hex is no file name, and asking the system about it would be an error of its own.
    if given.len() < 4096 && Path::new(given).is_file() {
        return file_text(Path::new(given), what);
    }
    Ok(Zeroizing::new(given.trim().to_owned()))
}

/// The text in a file, or on standard input for `-`.
pub(crate) fn file_text(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    if path == Path::new("-") {
        return text("-", what);
    }
    read(File::open(path).map_err(|e| io("read", path, e))?, path, what)
}

fn read(mut from: impl Read, path: &Path, what: &str) -> Result<Zeroizing<String>> {
    // Room for everything from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0_u8; MAX_TEXT + 1]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io("read", path, e)),
        }
    }
    if length > MAX_TEXT {
        return Err(Error::invalid(format!("`{}` holds more than {MAX_TEXT} bytes", path.display()))
            .with_hint(format!("it should hold one {what} and nothing else")));
    }
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.map(|text| Zeroizing::new(text.trim().to_owned()))
        .ok_or_else(|| Error::invalid(format!("`{}` does not hold text", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let error = Source::of("pin", Some("hunter2"), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("hunter2"));
        assert_eq!(Source::of("pin", Some("-"), None).unwrap(), Some(Source::Stdin));
        assert_eq!(Source::of("pin", None, Some(Path::new("-"))).unwrap(), Some(Source::Stdin));
        assert_eq!(Source::of("pin", None, Some(Path::new("p"))).unwrap(), Some(Source::File("p".into())));
    }

    #[test]
    fn text_has_a_limit() {
        assert_eq!(*read(&b" ab\n"[..], Path::new("x"), "ticket").unwrap(), "ab");
        assert!(read(&vec![b'a'; MAX_TEXT + 1][..], Path::new("x"), "ticket").is_err());
        assert_eq!(read(&vec![b'a'; MAX_TEXT][..], Path::new("x"), "ticket").unwrap().len(), MAX_TEXT);
        assert!(read(&b"\xff"[..], Path::new("x"), "ticket").is_err());
    }
}
