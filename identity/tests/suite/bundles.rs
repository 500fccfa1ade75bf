//! The issuer bundle: what is known of an issuer, encoded and read again.

use identity::{Identity, IssuerBundle, PurposeKeyAttestation, Refusal, Rule, verify};

use crate::raw::{self, Item};
use crate::seeds::ed25519;
use crate::world::{START, World, YEAR, attest, refused, rotated, verdict, window};

#[test]
fn it_says_the_same_after_it_travelled() {
    let world = World::new();
    let new = ed25519(3);
    let issuer = rotated(&world.issuer, &world.primary, &new, 1000, false);
    let anew = attest(&issuer, &new, &world.key, window(1000, YEAR));
    let now = START.after(1010);
    for (bundle, attestations, expected) in [
        (IssuerBundle::new(issuer.clone(), vec![anew.clone()]), Some(1), "ok"),
        // None known is not the same as there being none: the first leaves the overlap, the second does not.
        (IssuerBundle::new(issuer.clone(), vec![]), Some(0), "not-latest-change"),
        (IssuerBundle::history_only(issuer.clone()), None, "ok"),
    ] {
        let bytes = bundle.encode().unwrap();
        let hex = bundle.to_hex().unwrap();
        assert_eq!(hex, hex::encode(&bytes));
        for received in [bundle, IssuerBundle::decode(&bytes).unwrap(), IssuerBundle::from_hex(&hex).unwrap()]
        {
            assert_eq!(received.identifier(), issuer.identifier());
            assert_eq!(received.identity().as_bytes(), issuer.as_bytes());
            assert_eq!(received.attestations().map(<[_]>::len), attestations);
            assert_eq!(verdict(&verify(&world.credential, &received, None, now, Rule::default())), expected);
        }
    }
    let history = IssuerBundle::from_hex(&issuer.to_hex()).unwrap();
    assert!(history.attestations().is_none(), "a bare history is one too");
}

/// array [history, array of attestations], as docs/formats.md has it.
#[test]
fn its_layout_is_the_history_and_the_attestations() {
    let world = World::new();
    let bundle = IssuerBundle::new(world.issuer.clone(), vec![world.attestation.clone()]);
    let history = Item::Raw(world.issuer.as_bytes().to_vec());
    let attestation = Item::Raw(world.attestation.encode().unwrap());
    let by_hand = raw::array([history.clone(), raw::array([attestation.clone()])]);
    assert_eq!(bundle.encode().unwrap(), by_hand.encode());
    let only = IssuerBundle::history_only(world.issuer.clone());
    assert_eq!(only.encode().unwrap(), raw::array([history.clone()]).encode());

    let read = |items: Vec<Item>| IssuerBundle::from_hex(&hex::encode(Item::Array(items).encode()));
    assert_eq!(verdict(&read(vec![history.clone(), raw::array([attestation.clone()]), Item::Uint(1)])), "ok");
    let credential = Item::Raw(world.credential.encode().unwrap());
    assert_eq!(verdict(&read(vec![history.clone(), raw::array([credential])])), "malformed");
    assert_eq!(verdict(&read(vec![history.clone(), attestation])), "malformed");
    assert_eq!(verdict(&read(vec![raw::array([]), raw::array([])])), "empty-history");
    assert_eq!(verdict(&read(vec![])), "empty-history", "read as a history without a change");
}

#[test]
fn its_history_is_verified_and_the_reason_said() {
    let world = World::new();
    let mut history = world.issuer.as_bytes().to_vec();
    *history.last_mut().unwrap() ^= 1;
    refused(IssuerBundle::from_hex(&hex::encode(&history)), Refusal::Signature);
    let bundle = raw::array([Item::Raw(history), raw::array([])]).encode();
    refused(IssuerBundle::decode(&bundle), Refusal::Signature);
    refused(IssuerBundle::from_hex(&hex::encode(bundle)), Refusal::Signature);

    let bundle = IssuerBundle::new(world.issuer.clone(), vec![world.attestation.clone()]).encode().unwrap();
    for cut in 0..bundle.len() {
        assert_eq!(verdict(&IssuerBundle::decode(&bundle[..cut])), "malformed", "cut at {cut}");
        assert_ne!(verdict(&IssuerBundle::from_hex(&hex::encode(&bundle[..cut]))), "ok", "cut at {cut}");
    }
    let trailing = [&bundle[..], &[0]].concat();
    refused(IssuerBundle::decode(&trailing), Refusal::TrailingBytes);
    refused(IssuerBundle::from_hex(&hex::encode(trailing)), Refusal::TrailingBytes);
}

#[test]
fn an_attestation_in_it_is_checked_when_it_is_needed() {
    let world = World::new();
    let mut attestation = world.attestation.encode().unwrap();
    *attestation.last_mut().unwrap() ^= 1;
    let attestation = PurposeKeyAttestation::decode(&attestation).unwrap();
    let new = ed25519(3);
    let issuer: Identity = rotated(&world.issuer, &world.primary, &new, 1000, false);
    let bundle = IssuerBundle::new(issuer, vec![attestation]).encode().unwrap();
    let bundle = IssuerBundle::decode(&bundle).unwrap();
    let checked = verify(&world.credential, &bundle, None, START.after(1010), Rule::default());
    refused(checked, Refusal::NotLatestChange);
}
