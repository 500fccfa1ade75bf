//! Request keys: attested in a body of our own, for a day at most.

use identity::{REQUEST_KEY_SECONDS, Refusal, RequestKeyAttestation, Timestamp};
use vault::{Algorithm, Signer, block_on};

use crate::raw::{self, REQUEST_KEY};
use crate::seeds::{self, ed25519, p256};
use crate::world::{START, YEAR, identity, raw_window, refused, rotated, verdict, window};

fn day(from: u64) -> identity::Validity {
    window(from, from + REQUEST_KEY_SECONDS)
}

#[test]
fn it_says_whose_key_it_is_and_until_when() {
    for (primary, key) in [(ed25519(1), ed25519(2)), (p256(1), p256(2)), (p256(1), ed25519(2))] {
        let owner = identity(&primary);
        let made = block_on(RequestKeyAttestation::attest(&owner, &primary, key.public(), day(0))).unwrap();
        let received = RequestKeyAttestation::decode(&made.encode().unwrap()).unwrap();
        assert_eq!(received.encode().unwrap(), made.encode().unwrap());
        assert_eq!(received.subject(), owner.identifier());
        assert_eq!(received.change_hash(), owner.latest().hash());
        assert_eq!(received.expires_at(), START.after(REQUEST_KEY_SECONDS));
        let proof = received.verify(&owner, START.after(REQUEST_KEY_SECONDS)).unwrap();
        assert_eq!((proof.subject(), proof.key()), (owner.identifier(), key.public()));
        assert_eq!(proof.expires_at(), received.expires_at());
        refused(received.verify(&owner, START.after(REQUEST_KEY_SECONDS + 1)), Refusal::Expired);
        refused(received.verify(&owner, Timestamp(START.0 - 61)), Refusal::Future);
        assert!(received.verify(&owner, Timestamp(START.0 - 60)).is_ok());
        assert!(format!("{received:?}").contains(&owner.identifier().to_string()));
    }
}

/// The layout of docs/formats.md, byte for byte.
#[test]
fn its_body_is_of_type_16() {
    let (primary, key) = (ed25519(1), p256(2));
    let owner = identity(&primary);
    let made = block_on(RequestKeyAttestation::attest(&owner, &primary, key.public(), day(5))).unwrap();
    let window = raw_window(5, 5 + REQUEST_KEY_SECONDS);
    let data =
        raw::attestation_data(owner.identifier(), owner.latest().hash(), raw::key(key.public()), window);
    let by_hand = raw::signed(&raw::body(1, REQUEST_KEY, &data), &primary).encode();
    assert_eq!(made.encode().unwrap(), by_hand);
    // array(2), byte string of one length byte, then version 1 and type 16.
    assert_eq!(by_hand[..6], [0x82, 0x58, by_hand[2], 0x83, 0x01, 0x10]);
}

#[test]
fn each_rule_on_its_own() {
    let (primary, key) = (ed25519(1), ed25519(2));
    let owner = block_on(identity::Identity::create(&primary, window(100, 2 * REQUEST_KEY_SECONDS))).unwrap();
    let stranger = identity(&ed25519(7));
    let last = 2 * REQUEST_KEY_SECONDS;
    let check = |of: &identity::Identity, under: &identity::Identity, signer: &Signer, from, until| {
        let data = raw::attestation_data(
            of.identifier(),
            under.latest().hash(),
            raw::key(key.public()),
            raw_window(from, until),
        );
        let signed = raw::signed(&raw::body(1, REQUEST_KEY, &data), signer).encode();
        verdict(&RequestKeyAttestation::decode(&signed).unwrap().verify(&owner, START.after(last - 10)))
    };
    let from = last - REQUEST_KEY_SECONDS;
    assert_eq!(check(&owner, &owner, &primary, from, last), "ok", "a whole day");
    assert_eq!(check(&owner, &owner, &primary, from - 1, last), "too-long");
    assert_eq!(check(&owner, &owner, &primary, from + 1, last + 1), "outlives-change");
    assert_eq!(check(&owner, &owner, &primary, 99, 200), "before-change");
    assert_eq!(check(&owner, &owner, &primary, 100, 200), "expired");
    assert_eq!(check(&owner, &owner, &primary, last + 51, last), "future");
    assert_eq!(check(&owner, &owner, &key, from, last), "signature");
    assert_eq!(check(&stranger, &owner, &primary, from, last), "other-subject");
    assert_eq!(check(&owner, &stranger, &primary, from, last), "not-latest-change");
}

#[test]
fn a_key_that_is_no_point_of_its_curve_is_refused() {
    let primary = ed25519(1);
    let owner = identity(&primary);
    let attested = |key| {
        let data = raw::attestation_data(owner.identifier(), owner.latest().hash(), key, raw_window(0, 900));
        let signed = raw::signed(&raw::body(1, REQUEST_KEY, &data), &primary).encode();
        RequestKeyAttestation::decode(&signed).unwrap().verify(&owner, START)
    };
    assert!(attested(raw::key(primary.public())).is_ok());
    refused(attested(raw::variant(0, raw::bytes([2; 32]))), Refusal::Signature);
    refused(attested(raw::variant(1, raw::bytes([&[4][..], &[1; 64]].concat()))), Refusal::Signature);
}

#[test]
fn it_ends_with_a_rotation() {
    let (primary, new) = (ed25519(1), ed25519(2));
    let owner = identity(&primary);
    let key = block_on(RequestKeyAttestation::attest(&owner, &primary, ed25519(3).public(), day(0))).unwrap();
    let after = rotated(&owner, &primary, &new, 50, false);
    assert!(key.verify(&owner, START.after(60)).is_ok());
    refused(key.verify(&after, START.after(60)), Refusal::NotLatestChange);
}

#[test]
fn attesting_refuses_before_the_key_signs() {
    let (primary, vault) = seeds::in_vault(Algorithm::EcdsaP256, 1);
    let owner = block_on(identity::Identity::create(&primary, window(100, YEAR))).unwrap();
    let before = vault.signed();
    let key = ed25519(2);
    let attest = |signer: &Signer, from, until| {
        verdict(&block_on(RequestKeyAttestation::attest(&owner, signer, key.public(), window(from, until))))
    };
    assert_eq!(attest(&key, 100, 200), "invalid");
    assert_eq!(attest(&primary, 200, 200), "invalid");
    assert_eq!(attest(&primary, 200, 199), "invalid");
    assert_eq!(attest(&primary, 100, 101 + REQUEST_KEY_SECONDS), "too-long");
    assert_eq!(attest(&primary, 99, 200), "before-change");
    assert_eq!(attest(&primary, YEAR - 1, YEAR + 1), "outlives-change");
    assert_eq!(vault.signed(), before);
    assert_eq!(attest(&primary, 100, 100 + REQUEST_KEY_SECONDS), "ok");
    vault.break_down();
    assert_eq!(attest(&primary, 100, 200), "vault");
}
