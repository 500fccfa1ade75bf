//! What the card remembers without power: in a file that is replaced after every change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ockam_kms_tests::piv;
use serde::{Deserialize, Serialize};

use crate::keys;

/// The key in a slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) algorithm: u8,
    pub(crate) secret: [u8; 32],
    pub(crate) pin_policy: u8,
    pub(crate) touch_policy: u8,
    /// 1 generated here, 2 imported.
    pub(crate) origin: u8,
}

/// A PIN or PUK and its tries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) value: [u8; 8],
    pub(crate) most: u8,
    pub(crate) left: u8,
}

impl Reference {
    fn new(text: &[u8]) -> Self {
        let mut value = [0xff; 8];
        value[..text.len()].copy_from_slice(text);
        Self { value, most: 3, left: 3 }
    }

    /// Compares, and counts: the status word of a failure.
    pub(crate) fn check(&mut self, value: &[u8]) -> Result<(), u16> {
        if self.left == 0 {
            return Err(0x6983);
        }
        if value == self.value {
            self.left = self.most;
            return Ok(());
        }
        self.left -= 1;
        Err(self.refusal())
    }

    /// What is answered to a wrong value, or to a question without one.
    pub(crate) fn refusal(&self) -> u16 {
        if self.left == 0 { 0x6983 } else { 0x63c0 | u16::from(self.left) }
    }
}

/// The management key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Management {
    pub(crate) algorithm: u8,
    pub(crate) key: Vec<u8>,
}

pub(crate) const DEFAULT_PIN: &[u8] = b"123456";
pub(crate) const DEFAULT_PUK: &[u8] = b"12345678";
pub(crate) const DEFAULT_MANAGEMENT: [u8; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) serial: u32,
    pub(crate) version: [u8; 3],
    pub(crate) pin: Reference,
    pub(crate) puk: Reference,
    pub(crate) management: Management,
    pub(crate) slots: BTreeMap<u8, Slot>,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// The maker's key, which signs the card's own attestation key.
    pub(crate) maker: [u8; 32],
    pub(crate) attestation: [u8; 32],
}

impl State {
    /// As it leaves the factory.
    pub(crate) fn new(version: [u8; 3], serial: u32) -> Self {
        let algorithm = if version >= [5, 7, 0] { 0x0a } else { 0x03 };
        Self {
            serial,
            version,
            pin: Reference::new(DEFAULT_PIN),
            puk: Reference::new(DEFAULT_PUK),
            management: Management { algorithm, key: DEFAULT_MANAGEMENT.to_vec() },
            slots: BTreeMap::new(),
            objects: BTreeMap::new(),
            maker: keys::random_scalar(),
            attestation: keys::random_scalar(),
        }
    }

    /// With secrets of its own, as its owner has it.
    pub(crate) fn issued(mut self) -> Self {
        self.pin = Reference::new(piv::PIN.as_bytes());
        self.puk = Reference::new(piv::PUK.as_bytes());
        self.management.key = hex::decode(piv::MANAGEMENT_KEY).unwrap();
        self
    }

    pub(crate) fn has_default(&self, reference: u8) -> bool {
        match reference {
            0x80 => self.pin.value == Reference::new(DEFAULT_PIN).value,
            0x81 => self.puk.value == Reference::new(DEFAULT_PUK).value,
            _ => self.management.key == DEFAULT_MANAGEMENT,
        }
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Memory(PathBuf);

impl Memory {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn load(&self) -> Option<State> {
        let text = std::fs::read(&self.0).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub(crate) fn save(&self, state: &State) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(state).unwrap()).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}
