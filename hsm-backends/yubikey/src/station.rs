//! What all workers of a vault share: where the card is, its secrets, and whom to tell.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vault::{Ask, Error, Interact, Kind, Nobody, Result, SecretBytes};

use crate::address::Address;

/// Where the PIN comes from. A file is read for every login and never kept; a PIN that a person entered is kept, since the
/// same person is not there when the card comes back.
enum Pin {
    File(PathBuf),
    Kept(SecretBytes),
    /// Nobody was asked: the card is not used.
    Unasked,
}

/// See the module.
pub(crate) struct Station {
    pub(crate) address: Address,
    pub(crate) interact: Arc<dyn Interact>,
    pin: Pin,
    /// A PIN that the card refused: the same is not sent again.
    refused: Mutex<Option<SecretBytes>>,
    management: Mutex<Option<SecretBytes>>,
}

impl Station {
    /// Asks for the PIN where no file holds it.
    pub(crate) fn new(address: Address, interact: Arc<dyn Interact>) -> Result<Self> {
        let pin = match &address.pin_file {
            Some(path) => Pin::File(path.clone()),
            None => Pin::Kept(interact.secret(&Ask::Pin { of: address.card() })?),
        };
        Ok(Self { address, interact, pin, refused: Mutex::new(None), management: Mutex::new(None) })
    }

    /// For a card whose secrets are to be changed: whoever changes them brings them along.
    pub(crate) fn without_pin(address: Address) -> Self {
        let interact = Arc::new(Nobody);
        Self { address, interact, pin: Pin::Unasked, refused: Mutex::new(None), management: Mutex::new(None) }
    }

    /// The PIN, unless the card refused it already.
    pub(crate) fn pin(&self) -> Result<SecretBytes> {
        let pin = match &self.pin {
            Pin::File(path) => SecretBytes::read_file(path)?,
            Pin::Kept(pin) => SecretBytes::new(pin.expose().to_vec()),
            Pin::Unasked => return Err(Error::new(Kind::Presence, "the PIN is not known")),
        };
        let card = self.address.card();
        if !(6..=8).contains(&pin.len()) {
            return Err(Error::new(Kind::Denied, format!("the PIN for {card} is not of 6 to 8 characters"))
                .with_hint("correct the file that holds it; nothing was sent to the card"));
        }
        if lock(&self.refused).as_ref().is_some_and(|refused| refused.same_as(&pin)) {
            return Err(Error::new(Kind::Denied, format!("{card} refused this PIN before")).with_hint(
                "correct the file that holds it, or open the vault again; the PIN was not sent again",
            ));
        }
        Ok(pin)
    }

    /// Remembers that the card refused a PIN.
    pub(crate) fn refused(&self, pin: SecretBytes) {
        *lock(&self.refused) = Some(pin);
    }

    /// Asks for the management key, where it is not in a file and nobody said it yet. May take as long as a person does.
    pub(crate) fn learn_management_key(&self) -> Result<()> {
        if self.address.management_file.is_some() || lock(&self.management).is_some() {
            return Ok(());
        }
        let told = self.interact.secret(&Ask::ManagementKey { of: self.address.card() })?;
        let key = management_key(&told)?;
        *lock(&self.management) = Some(key);
        Ok(())
    }

    /// The management key.
    pub(crate) fn management_key(&self) -> Result<SecretBytes> {
        if let Some(path) = &self.address.management_file {
            return management_key(&SecretBytes::read_file(path)?);
        }
        match lock(&self.management).as_ref() {
            Some(key) => Ok(SecretBytes::new(key.expose().to_vec())),
            None => Err(Error::new(Kind::Presence, "the management key is not known")),
        }
    }
}

/// A management key from its hexadecimal digits: 16, 24 or 32 bytes.
pub(crate) fn management_key(text: &SecretBytes) -> Result<SecretBytes> {
    let bad = || {
        Error::new(Kind::Denied, "what was given is no management key").with_hint(
            "it is 32, 48 or 64 hexadecimal digits, as `ockam-kms vault change-management-key` writes it",
        )
    };
    let key = SecretBytes::new(hex::decode(text.expose()).map_err(|_| bad())?);
    if matches!(key.len(), 16 | 24 | 32) { Ok(key) } else { Err(bad()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").field("address", &self.address).finish_non_exhaustive()
    }
}
