//! What devices said of keys: kept with the key, under a hash of its public half, so that it can be shown again, or looked at
//! years later.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::record::{Name, Records};

#[derive(Debug, Serialize, Deserialize)]
struct KeyAttestationRecord {
    /// The envelope, as hex.
    attestation: String,
}

fn record_name(public: &[u8]) -> Result<Name> {
    Ok(Name::new(&hex::encode(Sha256::digest(public)))?)
}

impl Home {
    fn key_attestation_records(&self) -> Records<KeyAttestationRecord> {
        Records::new(self.dir("key-attestations"), "key attestation")
    }

    /// Stores the encoded evidence about the key with this public half; earlier evidence is replaced.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn store_key_attestation(&self, writer: &Writer, public: &[u8], attestation: &[u8]) -> Result<()> {
        let record = KeyAttestationRecord { attestation: hex::encode(attestation) };
        self.key_attestation_records().put(writer, &record_name(public)?, &record)
    }

    /// The encoded evidence about the key with this public half, if any is stored.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored breaks its own rules.
    pub fn key_attestation(&self, public: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.key_attestation_records().find(&record_name(public)?)?;
        let decoded = found.map(|record| hex::decode(record.attestation)).transpose();
        decoded.map_err(|e| {
            Error::new(Kind::Corrupt, "a stored key attestation breaks its own rules")
                .with_hint("have the device say it again: `ockam-kms key attest`")
                .with_source(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_evidence_is_kept_for_each_key() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("home")).unwrap();
        let writer = home.write().unwrap();
        assert_eq!(home.key_attestation(b"a").unwrap(), None);
        home.store_key_attestation(&writer, b"a", b"first").unwrap();
        home.store_key_attestation(&writer, b"a", b"second").unwrap();
        home.store_key_attestation(&writer, b"b", b"other").unwrap();
        assert_eq!(home.key_attestation(b"a").unwrap().unwrap(), b"second");
        assert_eq!(home.key_attestation(b"b").unwrap().unwrap(), b"other");
    }
}
