//! Bytes that were altered, cut, or are noise: never a panic, and never anything but what was signed.

use identity::{
    Credential, Identity, IssuerBundle, PurposeKeyAttestation, Relation, RequestKeyAttestation, Rule, verify,
};
use proptest::prelude::*;
use vault::block_on;

use crate::seeds::{ed25519, p256};
use crate::world::{START, World, rotated, verdict, window};

/// Histories of both key types, with and without rotations.
fn histories() -> Vec<Identity> {
    let world = World::with(p256(1), ed25519(2));
    let two = rotated(&world.issuer, &world.primary, &ed25519(3), 10, true);
    let three = rotated(&two, &ed25519(3), &p256(4), 20, false);
    vec![crate::world::identity(&ed25519(9)), world.issuer, two, three]
}

/// What was altered is refused, or says the same: other encodings of what surrounds the signed bodies, and the first
/// change's previous signature, are not covered by any signature.
fn same_or_refused(original: &Identity, bytes: &[u8]) -> bool {
    match Identity::import(bytes) {
        Ok(read) => {
            assert_eq!(read.compared_to(original), Relation::Equal, "{}", hex::encode(bytes));
            assert_eq!(read.identifier(), original.identifier());
            true
        }
        Err(_) => false,
    }
}

fn credential_same_or_refused(world: &World, bytes: &[u8]) -> bool {
    let Ok(credential) = Credential::decode(bytes) else { return false };
    let issuer = IssuerBundle::history_only(world.issuer.clone());
    let good = verify(&world.credential, &issuer, None, START.after(200), Rule::Reference).unwrap();
    match verify(&credential, &issuer, None, START.after(200), Rule::Reference) {
        Ok(read) => {
            assert_eq!((read.subject(), read.issuer()), (good.subject(), good.issuer()));
            assert_eq!(read.attributes(), good.attributes());
            assert_eq!((read.created_at(), read.expires_at()), (good.created_at(), good.expires_at()));
            true
        }
        Err(_) => false,
    }
}

/// Every variation of the bytes by one bit.
fn one_bit(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut altered = bytes.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        altered
    })
}

#[test]
fn a_history_with_any_bit_flipped_is_refused() {
    for original in histories() {
        let taken = one_bit(original.as_bytes()).filter(|bytes| same_or_refused(&original, bytes)).count();
        assert_eq!(taken, 0);
    }
}

#[test]
fn a_credential_with_any_bit_flipped_is_refused() {
    let world = World::with(ed25519(1), p256(2));
    let bytes = world.credential.encode().unwrap();
    assert!(credential_same_or_refused(&world, &bytes));
    assert_eq!(one_bit(&bytes).filter(|bytes| credential_same_or_refused(&world, bytes)).count(), 0);
}

#[test]
fn an_attestation_and_a_request_key_with_any_bit_flipped_are_refused() {
    let world = World::new();
    let now = START.after(200);
    let attestation = |bytes: &[u8]| PurposeKeyAttestation::decode(bytes)?.verify(&world.issuer, now);
    let request_key = |bytes: &[u8]| RequestKeyAttestation::decode(bytes)?.verify(&world.issuer, now);
    let bytes = world.attestation.encode().unwrap();
    assert!(attestation(&bytes).is_ok());
    assert!(one_bit(&bytes).all(|bytes| attestation(&bytes).is_err()));
    let key = world.key.public();
    let made = RequestKeyAttestation::attest(&world.issuer, &world.primary, key, window(0, 900));
    let bytes = block_on(made).unwrap().encode().unwrap();
    assert!(request_key(&bytes).is_ok());
    assert!(one_bit(&bytes).all(|bytes| request_key(&bytes).is_err()));
}

#[test]
fn whatever_is_cut_off_at_any_byte_is_malformed() {
    for original in histories() {
        let bytes = original.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(verdict(&Identity::import(&bytes[..cut])), "malformed", "cut at {cut}");
            assert_ne!(verdict(&Identity::import(&bytes[cut + 1..])), "ok", "begun after {cut}");
        }
        let trailing = [bytes, &[0]].concat();
        assert_eq!(verdict(&Identity::import(&trailing)), "trailing-bytes");
    }
    let world = World::new();
    let (credential, attestation) = (world.credential.encode().unwrap(), world.attestation.encode().unwrap());
    for cut in 0..credential.len() {
        assert_eq!(verdict(&Credential::decode(&credential[..cut])), "malformed", "cut at {cut}");
    }
    for cut in 0..attestation.len() {
        assert_eq!(verdict(&PurposeKeyAttestation::decode(&attestation[..cut])), "malformed", "cut at {cut}");
    }
    assert_eq!(verdict(&Credential::decode(&[&credential[..], &[0xf6]].concat())), "trailing-bytes");
    assert_eq!(verdict(&PurposeKeyAttestation::decode(&[&attestation[..], &[0]].concat())), "trailing-bytes");
}

/// What can be done to bytes.
#[derive(Clone, Debug)]
enum Edit {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        index().prop_map(Edit::Remove),
        (index(), index(), 1..80_u8).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
    ]
}

fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits {
        let length = bytes.len();
        match edit {
            Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
            Edit::Insert(at, byte) => bytes.insert(at.index(length + 1), *byte),
            Edit::Remove(at) => drop(bytes.remove(at.index(length))),
            Edit::Copy(from, to, count) => {
                let (from, to) = (from.index(length), to.index(length));
                let count = usize::from(*count).min(length - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edited_history_says_the_same_or_nothing(which in 0..4_usize, edits in prop::collection::vec(edit(), 1..4)) {
        thread_local!(static HISTORIES: Vec<Identity> = histories());
        HISTORIES.with(|histories| {
            let original = &histories[which];
            same_or_refused(original, &edited(original.as_bytes(), &edits));
        });
    }

    #[test]
    fn an_edited_credential_says_the_same_or_nothing(edits in prop::collection::vec(edit(), 1..4)) {
        thread_local!(static WORLD: (World, Vec<u8>) = {
            let world = World::new();
            let bytes = world.credential.encode().unwrap();
            (world, bytes)
        });
        WORLD.with(|(world, bytes)| credential_same_or_refused(world, &edited(bytes, &edits)));
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Identity::import(&noise).is_err());
        prop_assert!(Credential::decode(&noise).is_err());
        prop_assert!(PurposeKeyAttestation::decode(&noise).is_err());
        prop_assert!(RequestKeyAttestation::decode(&noise).is_err());
        prop_assert!(IssuerBundle::decode(&noise).is_err());
    }

    #[test]
    fn noise_is_no_text_either(text in "\\PC*") {
        prop_assert!(Identity::import_hex(&text).is_err());
        prop_assert!(Credential::from_hex(&text).is_err());
        prop_assert!(IssuerBundle::from_hex(&text).is_err());
        prop_assert!(text.parse::<identity::Identifier>().is_err());
    }
}
