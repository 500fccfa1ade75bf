//! A connection to the card on which the PIN was entered.

use std::sync::Arc;

use ::yubikey::piv::{self, AlgorithmId, ManagementSlotId, Origin, SlotAlgorithmId, SlotId};
use ::yubikey::{Error as DriverError, MgmAlgorithmId, MgmKey, PinPolicy, TouchPolicy, Version, YubiKey};
use vault::{Algorithm, Error, Kind, PurposeKind, Result, SecretBytes};

use crate::access::Secret;
use crate::address::Address;
use crate::errors::{self, Done, Trouble};
use crate::ledger::{self, Fingerprint, Ledger};
use crate::quirks::{self, shielded};
use crate::slots::Slot;
use crate::station::Station;

/// What is in a slot.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Empty,
    Key(Facts),
    /// A key of a type that is not used here.
    Other,
}

/// What the card says of a key.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) curve: Curve,
    pub(crate) public: Vec<u8>,
    pub(crate) generated: bool,
    pub(crate) pin: PinPolicy,
    pub(crate) touch: TouchPolicy,
}

impl Facts {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        ledger::fingerprint(&self.public)
    }
}

/// The types of keys of the card that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    Ed25519,
    X25519,
}

impl Curve {
    pub(crate) fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::EcdsaP256 | Algorithm::EcdhP256 | Algorithm::EciesP256 => Some(Self::P256),
            Algorithm::Ed25519 => Some(Self::Ed25519),
            Algorithm::X25519 => Some(Self::X25519),
            _ => None,
        }
    }

    /// What a key of this type is when it is used for this purpose.
    pub(crate) fn used_for(self, purpose: PurposeKind) -> Option<Algorithm> {
        match (self, purpose) {
            (Self::P256, PurposeKind::Signing) => Some(Algorithm::EcdsaP256),
            (Self::P256, PurposeKind::Agreement) => Some(Algorithm::EcdhP256),
            (Self::P256, PurposeKind::Sealing) => Some(Algorithm::EciesP256),
            (Self::Ed25519, PurposeKind::Signing) => Some(Algorithm::Ed25519),
            (Self::X25519, PurposeKind::Agreement) => Some(Algorithm::X25519),
            _ => None,
        }
    }

    fn of_driver(id: AlgorithmId) -> Option<Self> {
        match id {
            AlgorithmId::EccP256 => Some(Self::P256),
            AlgorithmId::Ed25519 => Some(Self::Ed25519),
            AlgorithmId::X25519 => Some(Self::X25519),
            _ => None,
        }
    }

    fn to_driver(self) -> AlgorithmId {
        match self {
            Self::P256 => AlgorithmId::EccP256,
            Self::Ed25519 => AlgorithmId::Ed25519,
            Self::X25519 => AlgorithmId::X25519,
        }
    }

    fn public_length(self) -> usize {
        if self == Self::P256 { 65 } else { 32 }
    }
}

/// The secrets of a card: where it keeps them, what they are called, and what `ykman` calls changing them.
pub(crate) const SECRETS: [(ManagementSlotId, &str, &str); 3] = [
    (ManagementSlotId::Pin, "PIN", "change-pin"),
    (ManagementSlotId::Puk, "PUK", "change-puk"),
    (ManagementSlotId::Management, "management key", "change-management-key"),
];

/// See the module.
pub(crate) struct Card {
    /// Not there once the connection is given up.
    driver: Option<YubiKey>,
    station: Arc<Station>,
    may_manage: bool,
    /// Whether something that changes the card was sent for the request at hand.
    pub(crate) sent: bool,
}

impl Card {
    /// Finds the card, looks whether its secrets are those of the factory, and enters the PIN.
    pub(crate) fn connect(station: &Arc<Station>) -> Done<Self> {
        let mut card = Self::reach(station)?;
        card.check_secrets()?;
        card.enter_pin()?;
        Ok(card)
    }

    /// Finds the card.
    pub(crate) fn reach(station: &Arc<Station>) -> Done<Self> {
        let name = station.address.card();
        let serial = station.address.serial.into();
        let driver = shielded(|| YubiKey::open_by_serial(serial)).map_err(|trouble| match trouble {
            Trouble::Answer(DriverError::NotFound) => Trouble::Decided(errors::away(&name)),
            other => other,
        })?;
        let card =
            Self { driver: Some(driver), station: Arc::clone(station), may_manage: false, sent: false };
        quirks::check_version(&name, card.version()?)?;
        Ok(card)
    }

    pub(crate) fn touch_policy(&self) -> TouchPolicy {
        self.station.address.touch
    }

    pub(crate) fn address(&self) -> &Address {
        &self.station.address
    }

    /// Ends the connection and resets the card, so that nobody after us finds the PIN entered.
    pub(crate) fn close(mut self) {
        drop(self.driver.take());
    }

    pub(crate) fn name(&self) -> String {
        self.station.address.card()
    }

    pub(crate) fn version(&self) -> Done<Version> {
        self.driver.as_ref().map(YubiKey::version).ok_or_else(|| errors::away(&self.name()).into())
    }

    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut YubiKey) -> ::yubikey::Result<T>) -> Done<T> {
        match &mut self.driver {
            Some(driver) => shielded(|| call(driver)),
            None => Err(errors::away(&self.name()).into()),
        }
    }

    /// What an error means that the driver has for two things: see [`quirks`].
    pub(crate) fn explained(&mut self, trouble: Trouble) -> Trouble {
        if !quirks::says_nothing(&trouble) {
            return trouble;
        }
        // One that answers an easy question is there, so the error was its answer.
        match self.tries_left(ManagementSlotId::Pin) {
            Ok(_) => trouble,
            Err(other) if quirks::says_nothing(&other) => quirks::not_transacted(),
            Err(other) => other,
        }
    }

    /// Refuses a card that anybody can use who read its manual. The card says so itself: no try is spent.
    fn check_secrets(&mut self) -> Done<()> {
        if self.station.address.allow_default_secrets {
            return Ok(());
        }
        for (slot, what, verb) in SECRETS {
            if self.has_factory_secret(slot)? {
                return Err(Error::new(
                    Kind::Denied,
                    format!("{} has the {what} that it left the factory with", self.name()),
                )
                .with_hint(format!(
                    "{} changes it; for a card that guards nothing, add `allow-default-secrets=yes` to the URI",
                    self.station.address.command(verb)
                ))
                .into());
            }
        }
        Ok(())
    }

    /// Whether the card does not say that a secret was changed. Asking costs no try.
    pub(crate) fn has_factory_secret(&mut self, slot: ManagementSlotId) -> Done<bool> {
        let metadata = self.call(|driver| piv::metadata(driver, SlotId::Management(slot)))?;
        Ok(metadata.default != Some(false))
    }

    /// How many tries are left for the PIN or the PUK. Asking costs none.
    pub(crate) fn tries_left(&mut self, of: ManagementSlotId) -> Done<u8> {
        let metadata = self.call(|driver| piv::metadata(driver, SlotId::Management(of)))?;
        metadata.retries.map(|retries| retries.remaining_count).ok_or(Trouble::Nonsense("no count of tries"))
    }

    /// Enters the PIN, unless it is the last try.
    fn enter_pin(&mut self) -> Done<()> {
        let pin = self.station.pin()?;
        let left = self.tries_left(ManagementSlotId::Pin)?;
        spare_the_last_try(&self.station.address, Secret::Pin, left)?;
        let entered = self.call(|driver| driver.verify_pin(pin.expose()));
        if matches!(entered, Err(Trouble::Answer(DriverError::WrongPin { .. }))) {
            self.station.refused(pin);
        }
        entered
    }

    /// Shows the management key, once for a connection.
    pub(crate) fn manage(&mut self) -> Done<()> {
        if !self.may_manage {
            let key = self.station.management_key()?;
            self.manage_with(&key)?;
            self.may_manage = true;
        }
        Ok(())
    }

    /// Of which type the management key is.
    pub(crate) fn management_algorithm(&mut self) -> Done<MgmAlgorithmId> {
        let slot = SlotId::Management(ManagementSlotId::Management);
        match self.call(|driver| piv::metadata(driver, slot))?.algorithm {
            SlotAlgorithmId::Management(algorithm) => Ok(algorithm),
            _ => Err(Trouble::Nonsense("no type of its management key")),
        }
    }

    /// Shows this management key.
    pub(crate) fn manage_with(&mut self, key: &SecretBytes) -> Done<()> {
        let algorithm = self.management_algorithm()?;
        let name = self.name();
        let wrong = || {
            Error::new(Kind::Denied, format!("{name} refused the management key"))
                .with_hint("name the file that holds the right one: `management-key-source=file:PATH`")
        };
        let key = MgmKey::from_bytes(key.expose(), Some(algorithm)).map_err(|_| wrong())?;
        self.call(|driver| driver.authenticate(&key)).map_err(|trouble| match trouble {
            Trouble::Answer(DriverError::AuthenticationError) => Trouble::Decided(wrong()),
            other => other,
        })
    }

    /// What is in a slot.
    pub(crate) fn look(&mut self, slot: Slot) -> Done<Content> {
        let id = slot.id()?;
        let metadata = match self.call(|driver| piv::metadata(driver, id)) {
            Ok(metadata) => metadata,
            Err(Trouble::Answer(DriverError::NotFound)) => return Ok(Content::Empty),
            // A type that the driver has not heard of is a key all the same.
            Err(Trouble::Answer(DriverError::AlgorithmError)) => return Ok(Content::Other),
            Err(other) => return Err(other),
        };
        let SlotAlgorithmId::Asymmetric(algorithm) = metadata.algorithm else { return Ok(Content::Other) };
        let Some(curve) = Curve::of_driver(algorithm) else { return Ok(Content::Other) };
        let (Some((pin, touch)), Some(origin), Some(public)) =
            (metadata.policy, metadata.origin, metadata.public)
        else {
            return Err(Trouble::Nonsense("half of what it has to say of a key"));
        };
        let public = public.subject_public_key.raw_bytes().to_vec();
        if public.len() != curve.public_length() {
            return Err(Trouble::Nonsense("a public key of the wrong length"));
        }
        Ok(Content::Key(Facts { curve, public, generated: origin == Origin::Generated, pin, touch }))
    }

    /// The ledger.
    pub(crate) fn ledger(&mut self) -> Done<Ledger> {
        match self.call(|driver| driver.fetch_object(ledger::OBJECT)) {
            Ok(bytes) => Ok(Ledger::decode(&bytes)?),
            Err(Trouble::Answer(DriverError::NotFound)) => Ok(Ledger::default()),
            Err(other) => Err(other),
        }
    }

    /// Writes the ledger and reads it back: another program may write at the same time.
    pub(crate) fn write_ledger(&mut self, ledger: &Ledger) -> Done<()> {
        self.manage()?;
        let mut bytes = ledger.encode();
        self.sent = true;
        self.call(|driver| driver.save_object(ledger::OBJECT, &mut bytes))?;
        if self.ledger()? == *ledger {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, format!("another program changes the keys of {}", self.name()))
            .with_retry(vault::Retry::Indeterminate)
            .with_hint("let one program at a time make or remove keys, then try again")
            .into())
    }

    /// Makes a key in a slot, over whatever is there. Says its public half.
    pub(crate) fn generate(&mut self, slot: Slot, curve: Curve, touch: TouchPolicy) -> Done<Vec<u8>> {
        self.manage()?;
        let id = slot.id()?;
        self.sent = true;
        let made =
            self.call(|driver| piv::generate(driver, id, curve.to_driver(), PinPolicy::Once, touch))?;
        Ok(made.subject_public_key.raw_bytes().to_vec())
    }

    /// Signs: a digest for P-256, a message for Ed25519.
    pub(crate) fn sign(&mut self, slot: Slot, facts: &Facts, input: &[u8]) -> Done<Vec<u8>> {
        self.use_key(slot, facts, |driver, id, algorithm| piv::sign_data(driver, input, algorithm, id))
    }

    /// Agrees with a peer's public key.
    pub(crate) fn agree(&mut self, slot: Slot, facts: &Facts, peer: &[u8]) -> Done<SecretBytes> {
        let shared = self
            .use_key(slot, facts, |driver, id, algorithm| piv::decrypt_data(driver, peer, algorithm, id))?;
        let shared = SecretBytes::new(shared);
        if shared.len() == 32 { Ok(shared) } else { Err(Trouble::Nonsense("a secret of the wrong length")) }
    }

    fn use_key(
        &mut self,
        slot: Slot,
        facts: &Facts,
        call: impl FnOnce(&mut YubiKey, SlotId, AlgorithmId) -> ::yubikey::Result<::yubikey::Buffer>,
    ) -> Done<Vec<u8>> {
        let (id, algorithm) = (slot.id()?, facts.curve.to_driver());
        let touched = matches!(facts.touch, TouchPolicy::Always | TouchPolicy::Cached);
        // Entered right before a touch, too, so that a refusal can only mean that nobody came.
        if facts.pin == PinPolicy::Always || touched {
            self.enter_pin()?;
        }
        if touched {
            self.station.interact.touch_now(&self.name());
        }
        let used = self.call(|driver| call(driver, id, algorithm));
        match used {
            Err(Trouble::Answer(DriverError::AuthenticationError)) if touched => {
                Err(Error::new(Kind::Presence, format!("nobody touched {} in time", self.name()))
                    .with_hint("touch it while it blinks")
                    .into())
            }
            other => Ok(std::mem::take(&mut *other?)),
        }
    }
}

/// Refuses to spend the last try of a PIN or PUK.
pub(crate) fn spare_the_last_try(of: &Address, secret: Secret, left: u8) -> Result<()> {
    let (card, unblock) = (of.card(), of.command("unblock-pin"));
    let (text, hint) = match (left, secret) {
        (2.., _) => return Ok(()),
        (0, Secret::Pin) => ("is locked", format!("{unblock} gives it new tries, by the PUK")),
        (0, _) => (
            "is locked",
            "the card works on with its PIN; only a reset, which destroys every key on it, gives it another"
                .to_owned(),
        ),
        (1, Secret::Pin) => (
            "has one try left",
            format!("this program never spends the last one: {unblock} gives all tries back, by the PUK"),
        ),
        (1, _) => (
            "has one try left",
            "this program never spends the last one: enter it with another tool, which gives all tries back"
                .to_owned(),
        ),
    };
    Err(Error::new(Kind::Denied, format!("the {secret} of {card} {text}")).with_hint(hint))
}

impl Drop for Card {
    /// Gives the connection up as it is. Closing it the usual way resets the card, and whoever else uses it would have to
    /// enter the PIN again.
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            let _ = driver.disconnect(pcsc::Disposition::LeaveCard);
        }
    }
}
