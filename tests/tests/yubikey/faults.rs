//! A card that wants to be touched, a daemon that dies, a key that is half made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use vault::{Ask, Interact, Kind, ListingFacet, SecretBytes, block_on};

use super::*;

/// Somebody who writes down when they were told to touch which card.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Interact for Told {
    fn secret(&self, ask: &Ask) -> vault::Result<SecretBytes> {
        Nobody.secret(ask)
    }

    fn touch_now(&self, of: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(of.to_owned());
    }
}

impl Told {
    fn times(&self) -> usize {
        let told = self.0.lock().unwrap();
        assert!(told.iter().all(|of| of == "YubiKey `12345678`"), "{told:?}");
        told.len()
    }
}

fn open_touched(card: &PivCard, policy: &str, told: &Arc<Told>) -> Arc<dyn Vault> {
    let uri = card.uri().with("touch-policy", policy).unwrap();
    patiently(|| block_on(YubiKeyBackend::new().open(&uri, Arc::clone(told) as Arc<dyn Interact>)))
}

#[test]
fn a_key_that_wants_a_touch_waits_for_one_each_time() {
    let test = "faults::a_key_that_wants_a_touch_waits_for_one_each_time";
    let Some(card) = enter(test, NEW) else { return };
    let told = Arc::new(Told::default());
    let vault = open_touched(&card, "always", &told);
    assert_eq!(
        vault.capabilities().get(Algorithm::EcdsaP256).unwrap().presence,
        vault::Presence::Touch,
        "it says so before it is used"
    );
    let key = p256(&*vault, "touched");
    assert_eq!(told.times(), 0, "making a key wants none");
    for round in 1..=2 {
        std::thread::scope(|scope| {
            let signs = scope.spawn(|| sign(&*vault, &key, b"x"));
            card.wait_for_touch();
            assert_eq!(told.times(), round, "told before the card is asked");
            assert!(!signs.is_finished());
            card.touch();
            signs.join().unwrap().unwrap();
        });
    }
    // A vault that asks for none makes no difference to a key that was made with the policy.
    let plain = Arc::new(Told::default());
    let other = open_touched(&card, "never", &plain);
    let same = block_on(other.signing().unwrap().open(key.uri())).unwrap();
    std::thread::scope(|scope| {
        let signs = scope.spawn(|| sign(&*other, &same, b"x"));
        card.touch();
        signs.join().unwrap().unwrap();
    });
    assert_eq!(plain.times(), 1);
}

#[test]
fn nobody_touches_it_and_it_says_so() {
    let Some(card) = enter("faults::nobody_touches_it_and_it_says_so", OLD) else { return };
    let told = Arc::new(Told::default());
    let vault = open_touched(&card, "always", &told);
    let key = p256(&*vault, "touched");
    let error = sign(&*vault, &key, b"x").unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Presence, Retry::NeedsOperator), "{error:?}");
    assert!(error.to_string().contains("nobody touched YubiKey `12345678` in time"), "{error}");
    assert_eq!((told.times(), card.pin_tries()), (1, 3), "asked once, and no try was spent");
    // The next try finds it as it was.
    std::thread::scope(|scope| {
        let signs = scope.spawn(|| sign(&*vault, &key, b"x"));
        card.touch();
        signs.join().unwrap().unwrap();
    });
}

#[test]
fn a_daemon_that_is_killed_is_found_again() {
    let Some(card) = enter("faults::a_daemon_that_is_killed_is_found_again", NEW) else { return };
    let vault = open(&card.uri());
    let soft: Arc<dyn Vault> = Arc::new(vault::soft::SoftVault::in_memory().unwrap());
    let (key, other) = (p256(&*vault, "issuer"), p256(&*soft, "other"));
    for _ in 0..2 {
        card.stop_service();
        for _ in 0..3 {
            let error = sign(&*vault, &key, b"x").unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
            assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
            assert!(error.hint().is_some(), "{error}");
        }
        let error = try_open(&card.uri()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        sign(&*soft, &other, b"x").expect("another vault does not notice");
        card.start_service();
        let back = Instant::now();
        patiently(|| sign(&*vault, &key, b"x"));
        println!("back after {:?}", back.elapsed());
        assert_eq!(card.pin_tries(), 3);
    }
}

#[test]
fn a_key_that_is_half_made_is_told_from_one_that_is() {
    let test = "faults::a_key_that_is_half_made_is_told_from_one_that_is";
    let Some(card) = enter(test, NEW) else { return };
    let vault = open(&card.uri());
    let signing = vault.signing().unwrap();
    let kept = p256(&*vault, "kept");
    let spec = KeySpec::p256(name("half"));
    let uri = KeyUri::of_key(Scheme::YubiKey, &name("half"));
    let names = || -> Vec<String> {
        let listing: &dyn ListingFacet = vault.listing().unwrap();
        patiently(|| block_on(listing.list())).into_iter().map(|info| info.name).collect()
    };
    // Before anything is written; before the key is made; when it is and nobody wrote that down.
    for (fault, is_begun) in [("pull db", false), ("pull 47", true), ("pull db 1", true)] {
        card.fault(fault);
        let lost = block_on(signing.generate(&spec)).unwrap_err();
        assert_eq!(
            (lost.kind(), lost.retry()),
            (Kind::Unavailable, Retry::Indeterminate),
            "{fault}: {lost:?}"
        );
        card.wait_until_out();
        card.insert();
        assert_eq!(names(), ["kept"], "{fault}");
        let opened = block_on(signing.open(&uri)).unwrap_err();
        let again = block_on(signing.generate(&spec));
        if is_begun {
            assert_eq!(opened.kind(), Kind::Corrupt, "{fault}: {opened}");
            assert!(opened.hint().unwrap().contains("key destroy half"), "{opened:?}");
            assert_eq!(again.unwrap_err().kind(), Kind::AlreadyExists, "{fault}");
            block_on(vault::Custody::<vault::Signing>::discard(signing, spec.name())).unwrap();
            let made = block_on(signing.generate(&spec)).unwrap();
            sign(&*vault, &made, b"x").unwrap();
        } else {
            assert_eq!(opened.kind(), Kind::NotFound, "{fault}: {opened}");
            sign(&*vault, &again.unwrap(), b"x").unwrap();
        }
        block_on(vault::Custody::<vault::Signing>::discard(signing, spec.name())).unwrap();
        assert_eq!(names(), ["kept"], "{fault}");
        sign(&*vault, &kept, b"nothing of it is lost").unwrap();
    }
}
