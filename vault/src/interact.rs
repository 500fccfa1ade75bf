//! Asking a person. A library never reads a terminal or an environment variable: whoever opens a vault passes in an
//! [`Interact`], and the default answers that nobody is here.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::secret::SecretBytes;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// The user PIN of a token.
    Pin {
        /// Which token, as a person knows it.
        of: String,
    },
    /// The key that unblocks the PIN of a card.
    Puk {
        /// Which card, as a person knows it.
        of: String,
    },
    /// The key that allows to make and remove keys on a card, in hexadecimal.
    ManagementKey {
        /// Which card, as a person knows it.
        of: String,
    },
    /// The passphrase of a software vault.
    Passphrase {
        /// Which vault.
        of: String,
    },
}

/// Somebody, or nobody, who can be asked.
pub trait Interact: Send + Sync + fmt::Debug {
    /// Asks for a secret. Called on a thread that may block.
    ///
    /// # Errors
    /// [`Kind::Presence`] when nobody can be asked.
    fn secret(&self, ask: &Ask) -> Result<SecretBytes>;

    /// Says that the device named so waits for a touch now. Comes right before the device is asked, once for each use of
    /// a key that wants one; whoever has nobody to tell does nothing.
    fn touch_now(&self, _of: &str) {}
}

/// Nobody is here: every question is an error that says how to answer without a person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Interact for Nobody {
    fn secret(&self, ask: &Ask) -> Result<SecretBytes> {
        Err(match ask {
            Ask::Pin { of } => {
                Error::new(Kind::Presence, format!("the PIN of {of} is needed and nobody can be asked"))
                    .with_hint("name a file that holds it: `pin-source=file:PATH` in the vault's URI")
            }
            Ask::Puk { of } => {
                Error::new(Kind::Presence, format!("the PUK of {of} is needed and nobody can be asked"))
                    .with_hint("name a file that holds it")
            }
            Ask::ManagementKey { of } => Error::new(
                Kind::Presence,
                format!("the management key of {of} is needed and nobody can be asked"),
            )
            .with_hint("name a file that holds it: `management-key-source=file:PATH` in the vault's URI"),
            Ask::Passphrase { of } => Error::new(
                Kind::Presence,
                format!("the passphrase of {of} is needed and nobody can be asked"),
            )
            .with_hint("pass it with --passphrase-file PATH, or `-` for standard input"),
        })
    }
}
