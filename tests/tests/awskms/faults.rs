//! What networks and the service itself do.

use std::time::{Duration, Instant};

use ockam_kms_tests::awskms::Emulator;
use serde_json::{Value, json};
use vault::{Custody, Error, KeySpec, Kind, Retry, Signing, block_on};

use crate::{by_name, name, open, open_within, signer, signs};

const DEADLINE: Duration = Duration::from_secs(2);
/// What a loaded machine may take beyond it.
const SLACK: Duration = Duration::from_secs(20);

fn waits(error: &Error) -> bool {
    matches!(error.retry(), Retry::After(_))
}

#[test]
fn every_fault_has_a_type_in_time_and_passes() {
    let Some(kms) = Emulator::enter("faults::every_fault_has_a_type_in_time_and_passes") else { return };
    let vault = open_within(&kms.uri(), DEADLINE).unwrap();
    let signer = signer(&open(&kms), "issuer");
    let quick = vault::Signer::bind(
        std::sync::Arc::clone(&vault),
        block_on(Custody::<Signing>::open(vault.signing().unwrap(), &by_name("issuer"))).unwrap(),
    )
    .unwrap();
    let code = |code: &str, status: u16| json!({ "kind": "error", "code": code, "status": status });
    let faults: Vec<(Value, Kind)> = vec![
        (code("KMSInternalException", 500), Kind::Unavailable),
        (code("DependencyTimeoutException", 503), Kind::Unavailable),
        (code("KeyUnavailableException", 500), Kind::Unavailable),
        (code("ServiceUnavailableException", 503), Kind::Unavailable),
        (code("ThrottlingException", 400), Kind::Exhausted),
        (json!({ "kind": "reset" }), Kind::Unavailable),
        (json!({ "kind": "lose" }), Kind::Unavailable),
        (json!({ "kind": "hang" }), Kind::Unavailable),
        (json!({ "kind": "slow" }), Kind::Unavailable),
        (json!({ "kind": "garbage" }), Kind::Unavailable),
    ];
    for (fault, kind) in faults {
        kms.fault(fault.clone());
        let start = Instant::now();
        let error = signs(&quick).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error} ({error:?})");
        assert!(waits(&error), "{fault}: {error:?}");
        assert!(start.elapsed() < DEADLINE + SLACK, "{fault}: {:?}", start.elapsed());
        // For those who wait at the same time, too.
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| signs(&quick).unwrap_err().kind())).collect();
            for caller in callers {
                assert_eq!(caller.join().unwrap(), kind, "{fault}");
            }
        });
        kms.heal();
        let start = Instant::now();
        while signs(&quick).is_err() {
            assert!(start.elapsed() < SLACK, "{fault}: it does not work again");
            std::thread::sleep(Duration::from_millis(20));
        }
        signs(&signer).unwrap();
    }
}

#[test]
fn what_passes_by_itself_is_not_noticed() {
    let Some(kms) = Emulator::enter("faults::what_passes_by_itself_is_not_noticed") else { return };
    let vault = open(&kms);
    let signer = signer(&vault, "issuer");
    for fault in [
        json!({ "kind": "error", "code": "KMSInternalException", "status": 500, "times": 2 }),
        json!({ "kind": "error", "code": "ThrottlingException", "times": 2 }),
        json!({ "kind": "reset", "times": 2 }),
    ] {
        kms.fault(fault.clone());
        signs(&signer).unwrap_or_else(|e| panic!("{fault}: {e} ({e:?})"));
        kms.heal();
    }
    // Throttled, and not done: a key is made once all the same.
    kms.fault(json!({ "call": "CreateKey", "kind": "error", "code": "ThrottlingException", "times": 2 }));
    crate::p256(&vault, "other").unwrap();
    assert_eq!(kms.calls("CreateKey"), 2);
}

#[test]
fn a_service_that_is_away_and_comes_back() {
    let Some(kms) = Emulator::enter("faults::a_service_that_is_away_and_comes_back") else { return };
    let vault = open_within(&kms.uri(), Duration::from_secs(5)).unwrap();
    let signer = signer(&vault, "issuer");
    let facet = vault.signing().unwrap();
    for round in 0..2 {
        kms.down();
        let error = signs(&signer).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(waits(&error) && error.hint().is_some());
        assert_eq!(open_within(&kms.uri(), DEADLINE).unwrap_err().kind(), Kind::Unavailable);
        // Nothing is made of a name that could not be looked up.
        let error = block_on(facet.generate(&KeySpec::p256(name("new")))).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        kms.up();
        let start = Instant::now();
        while signs(&signer).is_err() {
            assert!(start.elapsed() < SLACK, "round {round}: it does not work again");
        }
    }
    assert_eq!(kms.keys().len(), 1, "no other key came of it");
}

#[test]
fn a_network_that_swallows_everything() {
    let Some(kms) = Emulator::enter("faults::a_network_that_swallows_everything") else { return };
    let vault = open_within(&kms.uri(), DEADLINE).unwrap();
    let signer = signer(&open(&kms), "issuer");
    let key = block_on(Custody::<Signing>::open(vault.signing().unwrap(), &by_name("issuer"))).unwrap();
    let quick = vault::Signer::bind(std::sync::Arc::clone(&vault), key).unwrap();
    kms.signal("STOP");
    let start = Instant::now();
    let refused: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64).map(|_| scope.spawn(|| signs(&quick).unwrap_err())).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(start.elapsed() < DEADLINE + SLACK);
    assert!(refused.iter().all(|error| error.kind() == Kind::Unavailable && waits(error)), "{refused:?}");
    let error = block_on(vault.signing().unwrap().generate(&KeySpec::p256(name("new")))).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    kms.signal("CONT");
    let start = Instant::now();
    while signs(&quick).is_err() {
        assert!(start.elapsed() < SLACK, "it does not work again");
    }
    signs(&signer).unwrap();
}

#[test]
fn refusals_are_told_apart() {
    let Some(kms) = Emulator::enter("faults::refusals_are_told_apart") else { return };
    let vault = open(&kms);
    let signer = signer(&vault, "issuer");
    let id = signer.handle().id().to_owned();
    let refusal = |error: Error| (error.kind(), error.retry(), error.to_string(), error.hint().is_some());
    let mut seen = Vec::new();
    let mut expect = |what: &str, error: Error, kind: Kind, retry: Retry| {
        let (found, class, text, hint) = refusal(error);
        assert_eq!((found, class), (kind, retry), "{what}: {text}");
        assert!(hint, "{what}: {text}");
        assert!(!seen.contains(&text), "{what}: said before: {text}");
        seen.push(text);
    };
    for (code, message, kind, retry) in [
        ("AccessDeniedException", "not authorized to perform: kms:Sign", Kind::Denied, Retry::NeedsOperator),
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            Kind::Denied,
            Retry::NeedsOperator,
        ),
        ("UnrecognizedClientException", "", Kind::Denied, Retry::NeedsOperator),
        (
            "InvalidSignatureException",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z",
            Kind::Denied,
            Retry::NeedsOperator,
        ),
        ("ThrottlingException", "Rate exceeded", Kind::Exhausted, vault::device::AGAIN),
        ("LimitExceededException", "", Kind::Exhausted, Retry::NeedsOperator),
        ("KMSInternalException", "", Kind::Unavailable, vault::device::AGAIN),
    ] {
        kms.fault(json!({ "call": "Sign", "kind": "error", "code": code, "message": message }));
        expect(code, signs(&signer).unwrap_err(), kind, retry);
        kms.heal();
    }
    kms.set(&id, "key_state", &json!("Disabled"));
    expect("disabled", signs(&signer).unwrap_err(), Kind::Denied, Retry::NeedsOperator);
    let reopened = || block_on(Custody::<Signing>::open(vault.signing().unwrap(), &by_name("issuer")));
    assert_eq!(reopened().unwrap_err().kind(), Kind::Denied);
    assert!(block_on(vault.listing().unwrap().list()).unwrap().is_empty(), "it cannot be used");
    kms.set(&id, "key_state", &json!("Unavailable"));
    expect("unavailable", signs(&signer).unwrap_err(), Kind::Unavailable, vault::device::AGAIN);
    kms.set(&id, "key_state", &json!("Enabled"));
    signs(&signer).unwrap();
    let facet = vault.signing().unwrap();
    block_on(facet.destroy(signer.handle().clone())).unwrap();
    expect("doomed", signs(&signer).unwrap_err(), Kind::NotFound, Retry::NeedsOperator);
    let elsewhere = "awskms:key-id=00000000-0000-0000-0000-000000000000".parse().unwrap();
    let error = block_on(Custody::<Signing>::open(facet, &elsewhere)).unwrap_err();
    expect("nowhere", error, Kind::NotFound, Retry::Permanent);
}

#[test]
fn a_clock_that_is_wrong_is_made_up_for() {
    // The SDK learns the time from the first answer, and signs again.
    let Some(kms) = Emulator::enter("faults::a_clock_that_is_wrong_is_made_up_for") else { return };
    let signer = signer(&open(&kms), "issuer");
    kms.order(&json!({ "do": "clock", "minutes": 30 }));
    signs(&signer).unwrap();
    kms.order(&json!({ "do": "clock", "minutes": -30 }));
    signs(&signer).unwrap();
}
