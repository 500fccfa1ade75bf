//! N things get N checks: wherever there is a list, the one that is bad is found at every place of it. A check that looks at
//! the same one N times is what the controls here stand for.

use std::collections::BTreeMap;

use identity::{
    Attributes, Credential, Identity, IssuerBundle, MAX_ATTESTATIONS, MEMBER_SCHEMA, PurposeKey,
    PurposeKeyAttestation, Rule, verify,
};
use vault::block_on;

use crate::raw::{self, CHANGE, Item};
use crate::seeds::ed25519;
use crate::world::{START, World, attest, raw_window, rotated, verdict, window};

const N: usize = 50;

/// Whether a check finds the one bad attribute at every place among [`N`].
fn finds_each(taken: impl Fn(&[(String, String)]) -> bool) -> bool {
    let good: Vec<_> = (0..N).map(|n| (format!("name-{n:02}"), format!("value {n}"))).collect();
    assert!(taken(&good), "all good");
    (0..N).all(|bad| {
        let mut names = good.clone();
        // The same first letters, so that the order stays.
        names[bad].0.push(' ');
        let mut values = good.clone();
        values[bad].1 = "v".repeat(identity::MAX_ATTRIBUTE_BYTES + 1);
        !taken(&names) && !taken(&values)
    })
}

#[test]
fn every_attribute_is_checked() {
    let pairs = |list: &[(String, String)]| {
        Attributes::new(MEMBER_SCHEMA, list.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .is_ok()
    };
    assert!(finds_each(pairs));
    // The control: as many checks as there are attributes, all of the first one.
    let aliased = |list: &[(String, String)]| {
        list.iter().all(|_| identity::check_attribute(&list[0].0, &list[0].1).is_ok())
    };
    assert!(!finds_each(aliased), "a check of one attribute N times goes unnoticed");
}

/// Every attribute of a credential is the one that was drafted: none is another's.
#[test]
fn every_attribute_comes_back_with_its_own_value() {
    let world = World::new();
    let given: BTreeMap<_, _> = (0..N).map(|n| (format!("name-{n:02}"), format!("value {n}"))).collect();
    let attributes =
        Attributes::new(MEMBER_SCHEMA, given.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let proof = world.attestation.verify(&world.issuer, START).unwrap();
    let draft = identity::CredentialDraft::new(
        &world.attestation,
        &proof,
        &world.member,
        &attributes.unwrap(),
        START,
        60,
    );
    let credential = block_on(draft.unwrap().sign(&world.key)).unwrap().encode().unwrap();
    let bundle = IssuerBundle::history_only(world.issuer.clone());
    let proof = verify(&Credential::decode(&credential).unwrap(), &bundle, None, START, Rule::Reference);
    let proof = proof.unwrap();
    let read: BTreeMap<_, _> =
        proof.attributes().text().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(read, given);
}

/// A history of N changes of which one is signed by a stranger, at every place, by the new key or by the one before.
#[test]
fn every_change_of_a_history_is_checked() {
    let (keys, stranger) = ([ed25519(1), ed25519(2)], ed25519(9));
    let mut good = Vec::new();
    let mut forged = Vec::new();
    let mut previous = None;
    for n in 0..N {
        let (new, old) = (&keys[n % 2], &keys[(n + 1) % 2]);
        let body = raw::body(1, CHANGE, &raw::change_data(previous, new, false, raw_window(0, 9000)));
        let old = (n > 0).then_some(old);
        good.push(raw::change(&body, new, old));
        forged.push([
            raw::change(&body, &stranger, old),
            // The previous signature of the first change is looked at by nobody, as in the reference.
            raw::change(&body, if n == 0 { &stranger } else { new }, Some(&stranger)),
        ]);
        previous = Some(identity::ChangeHash::of(&body));
    }
    let history = |items: Vec<Item>| verdict(&Identity::import(&Item::Array(items).encode()));
    assert_eq!(history(good.clone()), "ok");
    for (n, forged) in forged.into_iter().enumerate() {
        for change in forged {
            let mut items = good.clone();
            items[n] = change;
            assert_eq!(history(items), "signature", "change {n}");
        }
    }
}

/// Each attestation of a bundle is looked at, and only a good one among them makes a credential good.
#[test]
fn every_attestation_of_a_bundle_is_looked_at() {
    let world = World::new();
    let new = ed25519(3);
    let issuer = rotated(&world.issuer, &world.primary, &new, 1000, false);
    let right = attest(&issuer, &new, &world.key, window(1000, 9000));
    let others: Vec<_> = (0..MAX_ATTESTATIONS)
        .map(|n| {
            let other = PurposeKey::Credential(ed25519(20 + n as u8).public().clone());
            block_on(PurposeKeyAttestation::attest(&issuer, &new, &other, window(1000, 9000))).unwrap()
        })
        .collect();
    let check = |attestations| {
        let bundle = IssuerBundle::new(issuer.clone(), attestations);
        verdict(&verify(&world.credential, &bundle, None, START.after(5000), Rule::default()))
    };
    assert_eq!(check(others.clone()), "not-latest-change");
    for place in 0..MAX_ATTESTATIONS {
        let mut attestations = others.clone();
        attestations[place] = right.clone();
        assert_eq!(check(attestations), "ok", "the right one at {place}");
    }
}
