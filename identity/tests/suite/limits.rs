//! Limits, at the limit and one beyond.

use std::time::{Duration, Instant};

use identity::{
    Attributes, Credential, CredentialDraft, Identity, IssuerBundle, MAX_ATTESTATIONS, MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTES, MAX_BYTES, MAX_CHANGES, MEMBER_SCHEMA, PurposeKeyAttestation, Refusal,
    RequestKeyAttestation, Rotation, Rule, verify,
};
use vault::{Algorithm, block_on};

use crate::raw::{self, CHANGE, CREDENTIAL, Item};
use crate::seeds::{self, ed25519};
use crate::world::{START, World, attest, raw_window, refused, verdict, window};

/// A history of one change, padded to this many bytes by items that decoders skip.
fn padded(bytes: usize) -> Vec<u8> {
    let primary = ed25519(1);
    let body = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, raw_window(0, 9000)));
    let with = |padding: usize| {
        let items =
            [raw::bytes(body.clone()), raw::sign(&body, &primary), Item::Null, raw::bytes(vec![0; padding])];
        raw::array([raw::array(items)]).encode()
    };
    let around = with(70_000).len() - 70_000;
    with(bytes - around)
}

#[test]
fn bytes() {
    assert_eq!((padded(MAX_BYTES).len(), padded(MAX_BYTES + 1).len()), (MAX_BYTES, MAX_BYTES + 1));
    assert_eq!(Identity::import(&padded(MAX_BYTES)).unwrap().len(), 1);
    refused(Identity::import(&padded(MAX_BYTES + 1)), Refusal::TooLarge);
    refused(Identity::import_hex(&hex::encode(padded(MAX_BYTES + 1))), Refusal::TooLarge);
    let zeros = vec![0; MAX_BYTES + 1];
    refused(Credential::decode(&zeros), Refusal::TooLarge);
    refused(PurposeKeyAttestation::decode(&zeros), Refusal::TooLarge);
    refused(RequestKeyAttestation::decode(&zeros), Refusal::TooLarge);
    refused(IssuerBundle::decode(&zeros), Refusal::TooLarge);
    refused(Credential::from_hex(&hex::encode(&zeros)), Refusal::TooLarge);
    refused(Credential::from_hex(&"no hex".repeat(MAX_BYTES)), Refusal::TooLarge);
    assert_eq!(verdict(&Credential::decode(&zeros[1..])), "malformed");
}

#[test]
fn changes() {
    let keys = [ed25519(1), ed25519(2)];
    let mut items = Vec::new();
    let mut previous = None;
    for n in 0..=MAX_CHANGES {
        let (new, old) = (&keys[n % 2], &keys[(n + 1) % 2]);
        let body = raw::body(1, CHANGE, &raw::change_data(previous, new, false, raw_window(0, 9000)));
        items.push(raw::change(&body, new, (n > 0).then_some(old)));
        previous = Some(identity::ChangeHash::of(&body));
    }
    let history = |n: usize| Item::Array(items[..n].to_vec()).encode();
    assert!(history(MAX_CHANGES + 1).len() <= MAX_BYTES, "it is the number that refuses");
    refused(Identity::import(&history(MAX_CHANGES + 1)), Refusal::TooLarge);
    let largest = Identity::import(&history(MAX_CHANGES)).unwrap();
    assert_eq!(largest.len(), MAX_CHANGES);

    // Rotating further is refused before a key signs.
    let (old, old_vault) = seeds::in_vault(Algorithm::Ed25519, 2);
    let rotation = Rotation { valid: window(0, 9000), revoke_purpose_keys: false };
    refused(block_on(largest.rotate(&old, &keys[0], rotation)), Refusal::TooLarge);
    assert_eq!(old_vault.signed(), 0);
    let one_less = Identity::import(&history(MAX_CHANGES - 1)).unwrap();
    assert_eq!(block_on(one_less.rotate(&keys[0], &old, rotation)).unwrap().len(), MAX_CHANGES);
}

#[test]
fn a_rotation_that_would_not_fit_is_refused_before_a_key_signs() {
    let (old, vault) = seeds::in_vault(Algorithm::Ed25519, 1);
    let rotation = Rotation { valid: window(0, 9000), revoke_purpose_keys: false };
    let large = Identity::import(&padded(MAX_BYTES - 511)).unwrap();
    refused(block_on(large.rotate(&old, &ed25519(2), rotation)), Refusal::TooLarge);
    assert_eq!(vault.signed(), 0);
    let fits = Identity::import(&padded(MAX_BYTES - 512)).unwrap();
    assert_eq!(block_on(fits.rotate(&old, &ed25519(2), rotation)).unwrap().len(), 2);
}

#[test]
fn attributes() {
    let world = World::new();
    let names: Vec<_> = (0..=MAX_ATTRIBUTES).map(|n| format!("name-{n:03}")).collect();
    let pairs = |n: usize| names[..n].iter().map(|name| (name.as_str(), "value"));
    assert_eq!(Attributes::new(MEMBER_SCHEMA, pairs(MAX_ATTRIBUTES)).unwrap().iter().count(), MAX_ATTRIBUTES);
    assert_eq!(verdict(&Attributes::new(MEMBER_SCHEMA, pairs(MAX_ATTRIBUTES + 1))), "invalid");

    let received = |n: usize| {
        let pairs: Vec<_> = names[..n].iter().map(|name| (name.as_bytes(), &b"value"[..])).collect();
        let subject = Some(world.member.identifier());
        let data = raw::credential_data(subject, raw::attributes(1, &pairs), raw_window(100, 300));
        let signed = raw::signed(&raw::body(1, CREDENTIAL, &data), &world.key);
        let attestation = Item::Raw(world.attestation.encode().unwrap());
        let credential = Credential::decode(&raw::array([signed, attestation]).encode()).unwrap();
        let issuer = IssuerBundle::history_only(world.issuer.clone());
        verify(&credential, &issuer, None, START.after(200), Rule::Reference)
    };
    assert_eq!(received(MAX_ATTRIBUTES).unwrap().attributes().iter().count(), MAX_ATTRIBUTES);
    refused(received(MAX_ATTRIBUTES + 1), Refusal::TooLarge);
}

#[test]
fn names_and_values() {
    let (longest, longer) = ("x".repeat(MAX_ATTRIBUTE_BYTES), "x".repeat(MAX_ATTRIBUTE_BYTES + 1));
    assert_eq!(verdict(&Attributes::new(1, [(longest.as_str(), longest.as_str())])), "ok");
    for (name, value) in [(longer.as_str(), "x"), ("x", longer.as_str())] {
        let error = Attributes::new(1, [(name, value)]).unwrap_err();
        assert!(error.to_string().len() < 200, "the name is cut in the message");
    }
}

#[test]
fn a_credential_that_nobody_would_take_is_not_drafted() {
    let world = World::new();
    let proof = world.attestation.verify(&world.issuer, START).unwrap();
    let value = "v".repeat(MAX_ATTRIBUTE_BYTES);
    let names: Vec<_> = (0..64).map(|n| format!("{n}")).collect();
    let draft = |n: usize| {
        let pairs = names[..n].iter().map(|name| (name.as_str(), value.as_str()));
        let attributes = Attributes::new(1, pairs).unwrap();
        CredentialDraft::new(&world.attestation, &proof, &world.member, &attributes, START, 60)
    };
    refused(draft(64), Refusal::TooLarge);
    let largest = block_on(draft(63).unwrap().sign(&world.key)).unwrap();
    let received = Credential::decode(&largest.encode().unwrap()).unwrap();
    assert_eq!(received.attributes().unwrap().iter().count(), 63);
}

#[test]
fn the_largest_credential_that_is_drafted_is_taken() {
    let world = World::new();
    let proof = world.attestation.verify(&world.issuer, START).unwrap();
    let value = "v".repeat(MAX_ATTRIBUTE_BYTES);
    let names: Vec<_> = (0..63).map(|n| format!("{n}")).collect();
    let draft = |last: usize| {
        let pairs = names.iter().map(|name| (name.as_str(), value.as_str()));
        let attributes = Attributes::new(1, pairs.chain([("last", &value[..last])])).unwrap();
        CredentialDraft::new(&world.attestation, &proof, &world.member, &attributes, START, 60)
    };
    let lengths: Vec<usize> = (1..=MAX_ATTRIBUTE_BYTES).collect();
    let fitting = lengths.partition_point(|length| draft(*length).is_ok());
    assert!(0 < fitting && fitting < lengths.len(), "{fitting}");
    refused(draft(lengths[fitting]), Refusal::TooLarge);
    let largest = block_on(draft(lengths[fitting - 1]).unwrap().sign(&world.key)).unwrap();
    let bytes = largest.encode().unwrap();
    assert!(MAX_BYTES - 256 < bytes.len() && bytes.len() <= MAX_BYTES, "{}", bytes.len());
    assert!(Credential::decode(&bytes).is_ok());
}

#[test]
fn attestations_of_a_bundle() {
    let world = World::new();
    let attestation = attest(&world.issuer, &world.primary, &world.key, window(0, 9000));
    let bundle = |n| IssuerBundle::new(world.issuer.clone(), vec![attestation.clone(); n]).encode().unwrap();
    let read = IssuerBundle::decode(&bundle(MAX_ATTESTATIONS)).unwrap();
    assert_eq!(read.attestations().unwrap().len(), MAX_ATTESTATIONS);
    refused(IssuerBundle::decode(&bundle(MAX_ATTESTATIONS + 1)), Refusal::TooLarge);
}

/// A length costs nothing to claim: neither memory nor time nor stack may follow it.
#[test]
fn claimed_lengths_and_depths_cost_nothing() {
    let begun = Instant::now();
    for head in [0x9b, 0xbb, 0x5b, 0x7b] {
        let claimed = [&[head][..], &[0xff; 8]].concat();
        let inside = [&[0x82, 0x58, 13, 0x83, 1, 1][..], &claimed, &[0; 8]].concat();
        for bytes in [&claimed, &[&[0x81][..], &claimed].concat(), &inside] {
            assert_eq!(verdict(&Identity::import(bytes)), "malformed");
            assert_eq!(verdict(&Credential::decode(bytes)), "malformed");
            assert_eq!(verdict(&PurposeKeyAttestation::decode(bytes)), "malformed");
            assert_eq!(verdict(&IssuerBundle::decode(bytes)), "malformed");
        }
    }
    // Nested where a decoder skips: a change's fourth item.
    let deep = padded(MAX_BYTES).iter().map(|byte| if *byte == 0 { 0x81 } else { *byte }).collect::<Vec<_>>();
    assert_ne!(verdict(&Identity::import(&deep)), "ok");
    let primary = ed25519(1);
    let body = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, raw_window(0, 9000)));
    for opening in [0x81, 0x9f, 0xa1, 0xbf, 0xc1, 0x5f] {
        let nested = Item::Raw([opening].repeat(200_000));
        let items = [raw::bytes(body.clone()), raw::sign(&body, &primary), Item::Null, nested];
        assert_eq!(verdict(&Identity::import(&raw::array([raw::array(items)]).encode())), "malformed");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
