//! Secret bytes: boxed, filled in place, wiped on drop, never printed, compared in constant time.

use std::fmt;
use std::io::Read;
use std::path::Path;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Kind, Result};

/// Secret bytes of a length known only at run time. No `Clone`, no `PartialEq`, no serialisation.
pub struct SecretBytes(Zeroizing<Box<[u8]>>);

/// The longest PIN or passphrase that is read, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

impl SecretBytes {
    /// Takes the bytes over, leaving nothing behind but what the caller copied before.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let boxed = bytes.as_slice().into();
        bytes.zeroize();
        Self(Zeroizing::new(boxed))
    }

    /// Fresh random bytes from the operating system.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub fn random(length: usize) -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; length].into_boxed_slice());
        getrandom::fill(&mut bytes).map_err(|e| {
            Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
        })?;
        Ok(Self(bytes))
    }

    /// Reads one line, without its end, straight into a wiped buffer. The reader must not buffer by itself: what
    /// `std::io::stdin()` has read stays in memory that nobody wipes, so pass a `File` of the descriptor.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an empty or overlong line, [`Kind::Backend`] when reading fails.
    pub fn read_line(mut from: impl Read) -> Result<Self> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 1));
        let mut byte = Zeroizing::new([0_u8; 1]);
        loop {
            let read = from
                .read(byte.as_mut_slice())
                .map_err(|e| Error::new(Kind::Backend, "reading the secret failed").with_source(e))?;
            let [next] = *byte;
            if read == 0 || next == b'\n' {
                break;
            }
            if buffer.len() >= MAX_PASSPHRASE {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("a secret of more than {MAX_PASSPHRASE} bytes"),
                ));
            }
            buffer.push(next);
        }
        if buffer.last() == Some(&b'\r') {
            buffer.pop();
        }
        if buffer.is_empty() {
            return Err(Error::new(Kind::Invalid, "the secret is empty")
                .with_hint("put it on the first line of the file or of standard input"));
        }
        Ok(Self(Zeroizing::new(buffer.as_slice().into())))
    }

    /// Reads the first line of a file; see [`read_line`](Self::read_line).
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such file, else as `read_line`.
    pub fn read_file(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| {
            let kind = if e.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Denied };
            Error::new(kind, format!("cannot read the secret file `{}`", path.display())).with_source(e)
        })?;
        Self::read_line(file)
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes themselves: the one place where they can be looked at.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as an array, when there are exactly `N`.
    #[must_use]
    pub fn expose_array<const N: usize>(&self) -> Option<&[u8; N]> {
        self.expose().try_into().ok()
    }

    /// Compares in time that does not depend on where the bytes differ.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_line_only() {
        let secret = SecretBytes::read_line(&b"hunter2\r\nnext"[..]).unwrap();
        assert_eq!(secret.expose(), b"hunter2");
        assert_eq!(format!("{secret:?}"), "SecretBytes(..)");
    }

    #[test]
    fn refuses_nothing_and_too_much() {
        assert!(SecretBytes::read_line(&b"\n"[..]).is_err());
        assert!(SecretBytes::read_line(&[b'x'; MAX_PASSPHRASE + 1][..]).is_err());
        assert_eq!(SecretBytes::read_line(&[b'x'; MAX_PASSPHRASE][..]).unwrap().len(), MAX_PASSPHRASE);
    }

    #[test]
    fn compares_by_content() {
        let one = SecretBytes::new(vec![1, 2, 3]);
        assert!(one.same_as(&SecretBytes::new(vec![1, 2, 3])));
        assert!(!one.same_as(&SecretBytes::new(vec![1, 2, 4])));
        assert!(!one.same_as(&SecretBytes::new(vec![1, 2])));
    }
}
