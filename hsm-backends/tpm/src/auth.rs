//! The authorization value of the keys of a vault: where it comes from, and what of it the TPM is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tss_esapi::structures::Auth;
use vault::{Ask, Error, Interact, Kind, Result, SecretBytes};

use crate::address::Address;

/// Where the value comes from. A file is read whenever a key is loaded and never kept. What a person entered is kept, wiped
/// when the vault goes, because the same person is not there when the TPM comes back.
pub(crate) enum AuthSource {
    File(PathBuf),
    Kept(SecretBytes),
}

/// The longest value that a key with SHA-256 names can have (TPM 2.0 Part 1, 17.6.4.3: the size of its name's digest).
const LONGEST: usize = 32;

impl AuthSource {
    /// Asks for the value where no file holds it.
    pub(crate) fn settle(address: &Address, interact: &Arc<dyn Interact>) -> Result<Self> {
        if let Some(path) = &address.auth_file {
            // Said now and not at the first use.
            SecretBytes::read_file(path)?;
            return Ok(Self::File(path.clone()));
        }
        let of = format!("the TPM's keys in `{}`", address.path.display());
        interact.secret(&Ask::Pin { of }).map(Self::Kept).map_err(|e| match e.kind() {
            Kind::Presence => e.with_hint(
                "name a file that holds the authorization value: `auth-source=file:PATH` in the vault's URI",
            ),
            _ => e,
        })
    }

    /// Whether a person gave it.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// The value as the TPM takes it: as it is when it fits, its SHA-256 when it is longer.
    pub(crate) fn value(&self) -> Result<SecretBytes> {
        let read;
        let secret = match self {
            Self::File(path) => {
                read = SecretBytes::read_file(path)?;
                &read
            }
            Self::Kept(kept) => kept,
        };
        Ok(SecretBytes::new(if secret.len() > LONGEST {
            Sha256::digest(secret.expose()).to_vec()
        } else {
            secret.expose().to_vec()
        }))
    }
}

/// The library's form of a value. It wipes itself.
pub(crate) fn auth(value: &SecretBytes) -> Result<Auth> {
    Auth::try_from(value.expose()).map_err(|_| {
        Error::new(Kind::Backend, format!("an authorization value of {} bytes was not taken", value.len()))
    })
}

impl fmt::Debug for AuthSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Kept(_) => f.write_str("Kept(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_or_is_hashed() {
        let value = |text: &str| AuthSource::Kept(SecretBytes::new(text.into())).value().unwrap();
        assert_eq!(value("hunter2").expose(), b"hunter2");
        assert_eq!(value(&"x".repeat(32)).expose(), "x".repeat(32).as_bytes());
        assert_eq!(value(&"x".repeat(33)).expose(), Sha256::digest("x".repeat(33)).as_slice());
        let kept = AuthSource::Kept(SecretBytes::new(b"hunter2".to_vec()));
        assert_eq!(format!("{kept:?}"), "Kept(..)");
    }
}
