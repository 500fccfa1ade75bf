//! Names: given once, kept, freed and had back; and what is left when the service or the process fails in between.

use std::sync::Arc;
use std::time::Duration;

use ockam_kms_tests::awskms::Emulator;
use serde_json::{Value, json};
use vault::{Custody, KeySpec, KeyUri, Kind, Retry, Signer, Signing, Vault, block_on};

use crate::{by_name, name, open, open_within, p256, signer, signs};

/// The keys that are not going to be deleted.
fn living(kms: &Emulator) -> Vec<Value> {
    kms.keys().into_iter().filter(|key| key["state"] != json!("PendingDeletion")).collect()
}

fn find(vault: &Arc<dyn Vault>, key: &str) -> vault::Result<Signer> {
    let key = block_on(Custody::<Signing>::open(vault.signing().unwrap(), &by_name(key)))?;
    Signer::bind(Arc::clone(vault), key)
}

#[test]
fn a_lost_answer_makes_no_second_key() {
    let Some(kms) = Emulator::enter("names::a_lost_answer_makes_no_second_key") else { return };
    let vault = open(&kms);
    for call in ["CreateKey", "CreateAlias", "DescribeKey", "GetPublicKey"] {
        kms.fault(json!({ "call": call, "kind": "lose", "times": 1 }));
        let made = p256(&vault, &format!("lost-{call}")).unwrap_or_else(|e| panic!("{call}: {e} ({e:?})"));
        kms.heal();
        let named = living(&kms);
        let named: Vec<_> = named
            .iter()
            .filter(|key| key["tags"]["ockam-kms:name"] == json!(format!("lost-{call}")))
            .collect();
        assert_eq!(named.len(), 1, "{call}: {named:?}");
        assert_eq!(named[0]["id"], json!(made.id()));
        assert_eq!(named[0]["aliases"].as_array().unwrap().len(), 1);
        signs(&find(&vault, &format!("lost-{call}")).unwrap()).unwrap();
    }
}

#[test]
fn what_cannot_be_cleared_up_is_told_and_discarded_later() {
    let Some(kms) = Emulator::enter("names::what_cannot_be_cleared_up_is_told_and_discarded_later") else {
        return;
    };
    let vault = open(&kms);
    let facet = vault.signing().unwrap();
    // The key is made, the answer lost, and what finds it by its tag not allowed.
    kms.fault(json!({ "call": "CreateKey", "kind": "lose", "times": 1 }));
    kms.fault(json!({ "call": "GetResources", "kind": "error", "code": "AccessDeniedException" }));
    let error = p256(&vault, "issuer").unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, Retry::Indeterminate), "{error}");
    assert!(error.hint().is_some());
    kms.heal();
    assert_eq!(living(&kms).len(), 1);
    assert!(block_on(vault.listing().unwrap().list()).unwrap().is_empty(), "it has no name");
    assert_eq!(find(&vault, "issuer").unwrap_err().kind(), Kind::NotFound);
    // The name is free; what was left behind is told from it, and goes.
    let made = p256(&vault, "issuer").unwrap();
    assert_eq!(living(&kms).len(), 2);
    block_on(Custody::<Signing>::discard(facet, &name("issuer"))).unwrap();
    assert!(living(&kms).is_empty());
    assert_eq!(block_on(facet.destroy(made)).unwrap_err().kind(), Kind::NotFound);
    block_on(Custody::<Signing>::discard(facet, &name("issuer"))).unwrap();
}

#[test]
fn a_key_that_gets_no_name_goes_again() {
    let Some(kms) = Emulator::enter("names::a_key_that_gets_no_name_goes_again") else { return };
    let vault = open(&kms);
    kms.fault(json!({ "call": "CreateAlias", "kind": "error", "code": "AccessDeniedException" }));
    assert_eq!(p256(&vault, "issuer").unwrap_err().kind(), Kind::Denied);
    assert!(living(&kms).is_empty(), "the new key is going to be deleted");
    kms.heal();
    // A policy that hides what is not there is in nobody's way.
    kms.fault(json!({ "call": "DescribeKey", "kind": "error", "code": "AccessDeniedException", "times": 1 }));
    p256(&vault, "hidden").unwrap();
    kms.fault(json!({ "call": "DescribeKey", "kind": "error", "code": "AccessDeniedException", "times": 1 }));
    assert_eq!(p256(&vault, "hidden").unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(living(&kms).len(), 1);
    // A spec that the region does not have.
    kms.fault(json!({ "call": "CreateKey", "kind": "error", "code": "ValidationException" }));
    assert_eq!(p256(&vault, "issuer").unwrap_err().kind(), Kind::Unsupported);
    kms.heal();
    p256(&vault, "issuer").unwrap();
    assert_eq!(living(&kms).len(), 2);
}

#[test]
fn what_was_just_made_may_be_unknown_for_a_while() {
    let Some(kms) = Emulator::enter("names::what_was_just_made_may_be_unknown_for_a_while") else { return };
    let vault = open(&kms);
    for (number, call) in ["CreateAlias", "GetPublicKey"].into_iter().enumerate() {
        kms.fault(json!({ "call": call, "kind": "error", "code": "NotFoundException", "times": 3 }));
        let made = p256(&vault, &format!("issuer-{number}")).unwrap();
        signs(&Signer::bind(Arc::clone(&vault), made).unwrap()).unwrap();
    }
    assert_eq!(living(&kms).len(), 2);
}

#[test]
fn one_of_many_gets_the_name_and_the_others_leave_nothing() {
    let Some(kms) = Emulator::enter("names::one_of_many_gets_the_name_and_the_others_leave_nothing") else {
        return;
    };
    // Vaults of their own, as processes have: nothing is shared but the service.
    let vaults: Vec<_> = (0..8).map(|_| open(&kms)).collect();
    for round in 0..5 {
        let key = format!("race-{round}");
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = vaults.iter().map(|vault| scope.spawn(|| p256(vault, &key))).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!(good.len(), 1, "round {round}");
        for error in bad.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
        }
        assert_eq!(living(&kms).len(), round + 1, "no key without a name is left");
    }
}

#[test]
fn a_name_that_means_another_key_is_noticed() {
    let Some(kms) = Emulator::enter("names::a_name_that_means_another_key_is_noticed") else { return };
    let vault = open(&kms);
    let (one, other) = (signer(&vault, "one"), signer(&vault, "other"));
    kms.point("alias/ockam-kms/default/one", other.handle().id());
    // Who kept the URI has the id in it; who kept the public key compares.
    let open = |uri: &KeyUri| block_on(Signer::open(Arc::clone(&vault), uri, one.public()));
    assert_eq!(open(one.handle().uri()).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(open(&by_name("one")).unwrap_err().kind(), Kind::Corrupt);
    // The handle still means its own key.
    signs(&one).unwrap();
    let by_id = format!("awskms:key-id={}", one.handle().id()).parse().unwrap();
    signs(&open(&by_id).unwrap()).unwrap();
    // Destroying it leaves the name to the other.
    block_on(vault.signing().unwrap().destroy(one.handle().clone())).unwrap();
    signs(&find(&vault, "one").unwrap()).unwrap();
    signs(&other).unwrap();
}

#[test]
fn what_was_destroyed_can_be_had_back() {
    let Some(kms) = Emulator::enter("names::what_was_destroyed_can_be_had_back") else { return };
    let vault = open(&kms);
    let (facet, restoring) = (vault.signing().unwrap(), vault.restoring().unwrap());
    let signer = signer(&vault, "issuer.2026");
    let restore = |uri: &str| block_on(restoring.restore(&uri.parse().unwrap()));
    let by_id = format!("awskms:key-id={}", signer.handle().id());
    assert_eq!(restore("awskms:name=issuer.2026").unwrap_err().kind(), Kind::NotFound, "it lives");
    assert_eq!(restore(&by_id).unwrap_err().kind(), Kind::NotFound);
    for way in ["awskms:name=issuer.2026", &by_id] {
        block_on(facet.destroy(signer.handle().clone())).unwrap();
        assert_eq!(signs(&signer).unwrap_err().kind(), Kind::NotFound);
        let back = restore(way).unwrap();
        assert_eq!((back.name.as_str(), &back.uri), ("issuer.2026", signer.handle().uri()));
        assert_eq!(back.public.as_deref(), Some(signer.public().as_bytes()));
        signs(&signer).unwrap();
        signs(&find(&vault, "issuer.2026").unwrap()).unwrap();
    }
    // Answers that are lost change nothing of that.
    for call in ["ScheduleKeyDeletion", "DeleteAlias", "CancelKeyDeletion", "EnableKey", "CreateAlias"] {
        kms.fault(json!({ "call": call, "kind": "lose", "times": 1 }));
        block_on(facet.destroy(signer.handle().clone())).unwrap_or_else(|e| panic!("{call}: {e} ({e:?})"));
        restore(&by_id).unwrap_or_else(|e| panic!("{call}: {e} ({e:?})"));
        kms.heal();
        signs(&find(&vault, "issuer.2026").unwrap()).unwrap();
    }
    // The name is another's by now.
    block_on(facet.destroy(signer.handle().clone())).unwrap();
    let second = p256(&vault, "issuer.2026").unwrap();
    assert_eq!(restore("awskms:name=issuer.2026").unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(signs(&signer).unwrap_err().kind(), Kind::NotFound, "nothing was taken back");
    let gone = block_on(Custody::<Signing>::open(facet, signer.handle().uri())).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "it is gone, whoever has its name: {gone}");
    // Two that had it.
    block_on(facet.destroy(second)).unwrap();
    let error = restore("awskms:name=issuer.2026").unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint().unwrap().contains(&by_id));
    restore(&by_id).unwrap();
    signs(&signer).unwrap();
}

#[test]
fn an_end_that_is_cut_off_is_mended() {
    let Some(kms) = Emulator::enter("names::an_end_that_is_cut_off_is_mended") else { return };
    let vault = open(&kms);
    let facet = vault.signing().unwrap();
    let signer = signer(&vault, "issuer");
    kms.fault(json!({ "call": "DeleteAlias", "kind": "error", "code": "AccessDeniedException" }));
    let error = block_on(facet.destroy(signer.handle().clone())).unwrap_err();
    assert_eq!(error.retry(), Retry::Indeterminate);
    kms.heal();
    // A name is left that means a dying key: it is not found, not given again, and not in the way of taking it back.
    assert_eq!(find(&vault, "issuer").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(p256(&vault, "issuer").unwrap_err().kind(), Kind::AlreadyExists);
    block_on(vault.restoring().unwrap().restore(&by_name("issuer"))).unwrap();
    signs(&find(&vault, "issuer").unwrap()).unwrap();
    kms.fault(json!({ "call": "DeleteAlias", "kind": "error", "code": "AccessDeniedException", "times": 1 }));
    block_on(facet.destroy(signer.handle().clone())).unwrap_err();
    block_on(Custody::<Signing>::discard(facet, &name("issuer"))).unwrap();
    p256(&vault, "issuer").unwrap();
    let deadline = Duration::from_secs(60);
    let week = open_within(&kms.uri().with("deletion-days", "30").unwrap(), deadline).unwrap();
    let spec = KeySpec::p256(name("long"));
    let long = block_on(week.signing().unwrap().generate(&spec)).unwrap();
    block_on(week.signing().unwrap().destroy(long)).unwrap();
}
