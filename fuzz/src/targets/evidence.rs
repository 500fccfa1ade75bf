//! What devices say of their keys.

use evidence::{Anchors, KeyAttestation, Protection};

/// An envelope: what decodes is written as it was read, and without an anchor nothing counts as attested.
pub fn key_attestation(data: &[u8]) {
    let Ok(read) = KeyAttestation::decode(data) else { return };
    let written = read.encode().expect("what was read can be written");
    assert_eq!(KeyAttestation::decode(&written).as_ref(), Ok(&read));
    if let Ok(facts) = read.verify(&Anchors::none(), read.made_at()) {
        assert_ne!(facts.protection, Protection::Attested, "nobody is trusted");
    }
}
