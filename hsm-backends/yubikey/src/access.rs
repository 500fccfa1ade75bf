//! Changing the secrets of a card: PIN, PUK and management key. A card that still has those of the factory is no vault yet,
//! so this needs none; and whoever changes a secret shows the present one, which is asked for by nobody here.

use std::fmt;
use std::sync::Arc;

use ::yubikey::piv::ManagementSlotId;
use ::yubikey::{Error as DriverError, YubiKey};
use vault::device::{Answer, Effect, Pool, Settings, indeterminate};
use vault::{Error, KeyUri, Kind, Result, SecretBytes};

use crate::address::Address;
use crate::card::{Card, spare_the_last_try};
use crate::desk::Desk;
use crate::errors::{Done, Remedy, Trouble, left};
use crate::management::{ManagementAlgorithm, ManagementKey};
use crate::quirks;
use crate::station::Station;

/// What a card is guarded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Whoever uses a key enters it.
    Pin,
    /// Unblocks the PIN.
    Puk,
    /// Whoever makes or destroys a key shows it.
    ManagementKey,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "PIN",
            Self::Puk => "PUK",
            Self::ManagementKey => "management key",
        })
    }
}

/// How a card stands. Asking spends no try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version of its firmware.
    pub firmware: String,
    /// How many tries the PIN has left.
    pub pin_tries: u8,
    /// How many tries the PUK has left.
    pub puk_tries: u8,
    /// Of which type the management key is.
    pub management_key: ManagementAlgorithm,
    /// Of which type a new management key should be: the best that the firmware has.
    pub best_management_key: ManagementAlgorithm,
}

impl Standing {
    /// How many tries a secret has left; wrong management keys are not counted.
    #[must_use]
    pub fn tries(&self, of: Secret) -> Option<u8> {
        match of {
            Secret::Pin => Some(self.pin_tries),
            Secret::Puk => Some(self.puk_tries),
            Secret::ManagementKey => None,
        }
    }
}

/// A card whose secrets can be changed.
pub struct CardAccess {
    address: Address,
    pool: Pool<Desk>,
}

impl CardAccess {
    /// The card that the URI of a vault names, be it one yet or not. Nothing is asked of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the URI names no card, [`Kind::Exhausted`] when the system gives no threads.
    pub fn new(uri: &KeyUri) -> Result<Self> {
        let address = Address::parse(uri)?;
        let station = Arc::new(Station::without_pin(address.clone()));
        let settings = Settings { workers: 1, ..Settings::default() };
        let pool = Pool::start(&address.card(), settings, move || Desk::without_pin(Arc::clone(&station)))?;
        Ok(Self { address, pool })
    }

    /// The card, as a person knows it.
    #[must_use]
    pub fn card(&self) -> String {
        self.address.card()
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.address.serial
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when it is away, and whatever else a card answers.
    pub async fn standing(&self) -> Result<Standing> {
        self.request(Effect::Reads, standing).await
    }

    /// Refuses, as a change would, when a try of this secret would be the last.
    ///
    /// # Errors
    /// [`Kind::Denied`].
    pub fn spare_the_last_try(&self, secret: Secret, standing: &Standing) -> Result<()> {
        standing.tries(secret).map_or(Ok(()), |left| spare_the_last_try(&self.address, secret, left))
    }

    /// Changes the PIN. Says how the card stands then.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the new one is none that a card takes, is the present one or that of the factory;
    /// [`Kind::Denied`] when the present one is wrong, or trying it would spend the last try.
    pub async fn change_pin(&self, present: SecretBytes, new: SecretBytes) -> Result<Standing> {
        self.change(Secret::Pin, Secret::Pin, present, new, YubiKey::change_pin).await
    }

    /// Changes the PUK. Says how the card stands then.
    ///
    /// # Errors
    /// As [`change_pin`](Self::change_pin).
    pub async fn change_puk(&self, present: SecretBytes, new: SecretBytes) -> Result<Standing> {
        self.change(Secret::Puk, Secret::Puk, present, new, YubiKey::change_puk).await
    }

    /// Gives the card a new PIN, with all its tries, by the PUK. Says how the card stands then.
    ///
    /// # Errors
    /// As [`change_pin`](Self::change_pin).
    pub async fn unblock_pin(&self, puk: SecretBytes, new: SecretBytes) -> Result<Standing> {
        self.change(Secret::Puk, Secret::Pin, puk, new, YubiKey::unblock_pin).await
    }

    /// Changes the management key, and its type. Says how the card stands then.
    ///
    /// # Errors
    /// [`Kind::Denied`] when the present one is wrong, [`Kind::Unsupported`] for a type that the firmware does not have.
    pub async fn change_management_key(&self, present: SecretBytes, new: ManagementKey) -> Result<Standing> {
        self.request(Effect::Changes, move |card| {
            if new.algorithm() != ManagementAlgorithm::TripleDes && !quirks::has_aes(card.version()?) {
                let text = format!("{} has no management keys of type {}", card.name(), new.algorithm());
                return Err(Error::new(Kind::Unsupported, text)
                    .with_hint("AES needs firmware 5.4.2; this card takes `3des`")
                    .into());
            }
            card.manage_with(&present)?;
            card.sent = true;
            let key = new.to_driver()?;
            let name = card.name();
            card.call(|driver| key.set_manual(driver, false))
                .map_err(|trouble| card.explained(trouble))
                .map_err(|trouble| answered(&name, Secret::ManagementKey, Secret::ManagementKey, trouble))?;
            // Nothing else opens it any more, so its word is not enough.
            card.manage_with(new.bytes()).map_err(|trouble| match trouble {
                Trouble::Decided(error) if error.kind() == Kind::Denied => {
                    Trouble::Nonsense("that it took the new management key, and refuses it")
                }
                other => other,
            })?;
            standing(card)
        })
        .await
    }

    async fn change(
        &self,
        shown: Secret,
        changed: Secret,
        present: SecretBytes,
        new: SecretBytes,
        call: fn(&mut YubiKey, &[u8], &[u8]) -> ::yubikey::Result<()>,
    ) -> Result<Standing> {
        check_present(&self.card(), shown, &present)?;
        check_new(changed, &new)?;
        if shown == changed && present.same_as(&new) {
            return Err(Error::new(Kind::Invalid, format!("the new {changed} is the present one"))
                .with_hint("nothing was sent to the card; choose another"));
        }
        self.request(Effect::Changes, move |card| {
            let slot = if shown == Secret::Pin { ManagementSlotId::Pin } else { ManagementSlotId::Puk };
            let left = card.tries_left(slot)?;
            spare_the_last_try(card.address(), shown, left)?;
            card.sent = true;
            let name = card.name();
            card.call(|driver| call(driver, present.expose(), new.expose()))
                .map_err(|trouble| card.explained(trouble))
                .map_err(|trouble| answered(&name, shown, changed, trouble))?;
            standing(card)
        })
        .await
    }

    fn request<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnMut(&mut Card) -> Done<T> + Send + 'static,
    ) -> Answer<T> {
        self.pool.submit(effect, move |desk, _| desk.attempt(work))
    }
}

impl fmt::Debug for CardAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardAccess").field("address", &self.address).finish_non_exhaustive()
    }
}

fn standing(card: &mut Card) -> Done<Standing> {
    let version = card.version()?;
    let best_management_key =
        if quirks::has_aes(version) { ManagementAlgorithm::Aes256 } else { ManagementAlgorithm::TripleDes };
    Ok(Standing {
        firmware: version.to_string(),
        pin_tries: card.tries_left(ManagementSlotId::Pin)?,
        puk_tries: card.tries_left(ManagementSlotId::Puk)?,
        management_key: ManagementAlgorithm::of_driver(card.management_algorithm()?),
        best_management_key,
    })
}

/// What a card says to a change.
fn answered(card: &str, shown: Secret, changed: Secret, trouble: Trouble) -> Trouble {
    let error = match trouble {
        Trouble::Answer(DriverError::WrongPin { tries: tries @ 1.. }) => {
            Error::new(Kind::Denied, format!("{card} refused the {shown}, {}", left(tries)))
                .with_hint("nothing was changed; the last try is never spent by this program")
        }
        Trouble::Answer(DriverError::WrongPin { .. } | DriverError::PinLocked) => {
            Error::new(Kind::Denied, format!("the {shown} of {card} is locked: its tries are used up"))
        }
        // It is there, and refuses: see `quirks::says_nothing`.
        Trouble::Answer(DriverError::GenericError) => {
            Error::new(Kind::Invalid, format!("{card} does not take the new {changed}"))
                .with_hint("nothing was changed; a card that demands complexity refuses simple ones")
        }
        lost if lost.remedy() == Remedy::Reconnect => {
            let error = indeterminate(lost.into_error(card, false)).with_hint(format!(
                "the {changed} may have been changed: try which of the two the card takes"
            ));
            return Trouble::Lost(error);
        }
        other => return other,
    };
    Trouble::Decided(error)
}

fn fits(secret: &SecretBytes) -> bool {
    (6..=8).contains(&secret.len()) && secret.expose().iter().all(|byte| (b' '..=b'~').contains(byte))
}

fn check_present(card: &str, secret: Secret, present: &SecretBytes) -> Result<()> {
    if fits(present) {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, format!("the {secret} that was given for {card} is none"))
        .with_hint("it has 6 to 8 characters; nothing was sent to the card"))
}

/// What the factory puts in.
const OF_THE_FACTORY: [&[u8]; 2] = [b"123456", b"12345678"];

fn check_new(secret: Secret, new: &SecretBytes) -> Result<()> {
    if !fits(new) {
        return Err(Error::new(Kind::Invalid, format!("the new {secret} is none that a card takes"))
            .with_hint("a PIN or PUK has 6 to 8 characters of ASCII; nothing was sent to the card"));
    }
    if OF_THE_FACTORY.contains(&new.expose()) {
        return Err(Error::new(
            Kind::Invalid,
            format!("the new {secret} is one that every card leaves the factory with"),
        )
        .with_hint("everybody knows it; choose another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_new_pin_fits_and_is_not_everybodys() {
        for good in ["730519", "73051942", "a b#Z~"] {
            check_new(Secret::Pin, &secret(good)).unwrap();
        }
        for bad in ["", "12345", "123456789", "12345\u{e9}", "1234\t6", "123456", "12345678"] {
            let error = check_new(Secret::Puk, &secret(bad)).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{bad}");
            assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn a_change_that_was_lost_may_have_happened() {
        let said =
            |driver| answered("c", Secret::Puk, Secret::Pin, Trouble::Answer(driver)).into_error("c", true);
        let lost = said(DriverError::PcscError { inner: Some(pcsc::Error::RemovedCard) });
        assert_eq!((lost.kind(), lost.retry()), (Kind::Unavailable, vault::Retry::Indeterminate));
        assert!(lost.hint().unwrap().contains("PIN"));
        let wrong = said(DriverError::WrongPin { tries: 1 });
        assert_eq!(wrong.to_string(), "c refused the PUK, 1 try is left");
        assert_eq!(said(DriverError::PinLocked).kind(), Kind::Denied);
        assert_eq!(said(DriverError::GenericError).kind(), Kind::Invalid);
    }
}
