//! The YubiKey backend, on a virtual card under the real PC/SC daemon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod access;
mod faults;
mod program;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ockam_kms_tests::piv::PivCard;
use vault::{
    Algorithm, Backend as _, Error, KeyName, KeySpec, KeyUri, Kind, Left, Nobody, Retry, Scheme, Vault,
    block_on, conformance,
};
use yubikey_vault::YubiKeyBackend;

const CARD: &str = env!("CARGO_BIN_EXE_virtual-piv-card");
const NEW: &str = "5.7.1";
const OLD: &str = "5.4.3";

fn enter(test: &str, version: &str) -> Option<PivCard> {
    PivCard::enter(test, Path::new(CARD), version)
}

fn try_open(uri: &KeyUri) -> vault::Result<Arc<dyn Vault>> {
    block_on(YubiKeyBackend::new().open(uri, Arc::new(Nobody)))
}

/// The reader may take a moment to see a card that was just put in.
fn open(uri: &KeyUri) -> Arc<dyn Vault> {
    patiently(|| try_open(uri))
}

/// Asks again while the card is away, as the error says one may.
fn patiently<T>(mut ask: impl FnMut() -> vault::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(done) => return done,
            Err(e) if e.kind() == Kind::Unavailable && start.elapsed() < Duration::from_secs(30) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => panic!("{e} ({e:?})"),
        }
    }
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn p256(vault: &dyn Vault, text: &str) -> vault::KeyHandle<vault::Signing> {
    block_on(vault.signing().unwrap().generate(&KeySpec::p256(name(text)))).unwrap()
}

fn sign(vault: &dyn Vault, key: &vault::KeyHandle<vault::Signing>, message: &[u8]) -> vault::Result<()> {
    let signature = block_on(vault.signing().unwrap().sign(key, message))?;
    let _ = key.public().verify(message, &signature).expect("what is returned holds");
    Ok(())
}

/// Compares with a recorded file; `UPDATE_GOLDEN=1` records instead.
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

#[test]
fn firmware_5_7_conforms() {
    let Some(card) = enter("firmware_5_7_conforms", NEW) else { return };
    let report = block_on(conformance::run(open(&card.uri())));
    golden("conformance-yubikey-5.7.txt", &report.to_string());
}

#[test]
fn firmware_5_4_conforms() {
    let Some(card) = enter("firmware_5_4_conforms", OLD) else { return };
    let report = block_on(conformance::run(open(&card.uri())));
    golden("conformance-yubikey-5.4.txt", &report.to_string());
}

#[test]
fn a_key_survives_removal_and_works_again() {
    let Some(card) = enter("a_key_survives_removal_and_works_again", NEW) else { return };
    let vault = open(&card.uri());
    let key = p256(&*vault, "issuer");
    assert_eq!(key.uri().to_string(), "yubikey:serial=12345678;slot=9c;name=issuer");
    sign(&*vault, &key, b"before").unwrap();
    // In the middle of a signature.
    card.fault("pull 87");
    let error = sign(&*vault, &key, b"lost").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
    card.wait_until_out();
    let error = sign(&*vault, &key, b"away").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    card.insert();
    patiently(|| sign(&*vault, &key, b"after"));
    drop(vault);
    let vault = open(&card.uri());
    let uri = KeyUri::of_key(Scheme::YubiKey, &name("issuer"));
    let found = block_on(vault.signing().unwrap().open(&uri)).unwrap();
    assert_eq!(found, key);
    sign(&*vault, &found, b"by another program").unwrap();
}

#[test]
fn a_reset_by_another_handle_is_not_noticed() {
    let Some(card) = enter("a_reset_by_another_handle_is_not_noticed", NEW) else { return };
    let vault = open(&card.uri());
    let key = p256(&*vault, "issuer");
    for round in 0..3 {
        // A vault that is closed resets the card.
        drop(open(&card.uri()));
        sign(&*vault, &key, b"again").unwrap_or_else(|e| panic!("round {round}: {e} ({e:?})"));
    }
}

#[test]
fn a_hundred_signatures_hold_for_openssl() {
    let Some(card) = enter("a_hundred_signatures_hold_for_openssl", NEW) else { return };
    let vault = open(&card.uri());
    let key = p256(&*vault, "issuer");
    let directory = card.directory();
    // The DER of a public key on P-256 is this and the point.
    let mut der = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    der.extend(key.public().as_bytes());
    std::fs::write(directory.join("key.der"), der).unwrap();
    for round in 0..100_u32 {
        let message = round.to_be_bytes();
        let signature = block_on(vault.signing().unwrap().sign(&key, &message)).unwrap();
        let integer = |half: &[u8]| {
            let start = half.iter().take_while(|byte| **byte == 0).count();
            let mut value = half[start..].to_vec();
            if value[0] >= 0x80 {
                value.insert(0, 0);
            }
            [&[2, u8::try_from(value.len()).unwrap()], value.as_slice()].concat()
        };
        let body = [integer(&signature.as_bytes()[..32]), integer(&signature.as_bytes()[32..])].concat();
        let der = [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
        std::fs::write(directory.join("message"), message).unwrap();
        std::fs::write(directory.join("signature"), der).unwrap();
        let verified = std::process::Command::new("openssl")
            .args([
                "dgst",
                "-sha256",
                "-keyform",
                "DER",
                "-verify",
                "key.der",
                "-signature",
                "signature",
                "message",
            ])
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(verified.status.success(), "signature {round}: {verified:?}");
    }
}

#[test]
fn the_last_try_of_a_pin_is_never_spent() {
    let Some(card) = enter("the_last_try_of_a_pin_is_never_spent", NEW) else { return };
    let wrong = |pin: &str| {
        std::fs::write(card.directory().join("pin"), format!("{pin}\n")).unwrap();
        refused(&card.uri())
    };
    drop(open(&card.uri()));
    for (pin, left) in [("111111", 2), ("222222", 1), ("333333", 1), ("444444", 1)] {
        let error = wrong(pin);
        assert_eq!(error.kind(), Kind::Denied, "{error:?}");
        assert!(error.hint().is_some());
        assert_eq!(card.pin_tries(), left, "after `{pin}`: {error}");
    }
    let error = wrong("12");
    assert_eq!((error.kind(), card.pin_tries()), (Kind::Denied, 1), "{error:?}");
}

#[test]
fn a_refused_pin_is_not_sent_again() {
    let Some(card) = enter("a_refused_pin_is_not_sent_again", NEW) else { return };
    let vault = open(&card.uri());
    let key = p256(&*vault, "issuer");
    std::fs::write(card.directory().join("pin"), "111111\n").unwrap();
    // Out and in again: the PIN has to be entered again.
    card.pull();
    let start = Instant::now();
    while sign(&*vault, &key, b"x").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "the card does not go away");
    }
    card.insert();
    let refused = || {
        let start = Instant::now();
        loop {
            match sign(&*vault, &key, b"x") {
                Err(e) if e.kind() == Kind::Unavailable && start.elapsed() < Duration::from_secs(30) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other.unwrap_err(),
            }
        }
    };
    for _ in 0..5 {
        assert_eq!(refused().kind(), Kind::Denied);
        assert_eq!(card.pin_tries(), 2);
    }
    std::fs::write(card.directory().join("pin"), format!("{}\n", ockam_kms_tests::piv::PIN)).unwrap();
    patiently(|| sign(&*vault, &key, b"x"));
    assert_eq!(card.pin_tries(), 3);
}

fn refused(uri: &KeyUri) -> Error {
    let start = Instant::now();
    loop {
        match try_open(uri) {
            Err(e) if e.kind() == Kind::Unavailable && start.elapsed() < Duration::from_secs(30) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other.expect_err("it is refused"),
        }
    }
}

#[test]
fn secrets_of_the_factory_are_refused() {
    let test = "secrets_of_the_factory_are_refused";
    let Some(card) = PivCard::enter_as_from_the_factory(test, Path::new(CARD), NEW) else { return };
    std::fs::write(card.directory().join("pin"), "123456\n").unwrap();
    std::fs::write(card.directory().join("management"), "010203040506070801020304050607080102030405060708\n")
        .unwrap();
    let error = refused(&card.uri());
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
    assert!(error.to_string().contains("left the factory"), "{error}");
    assert_eq!(card.pin_tries(), 3, "the card was asked, and no try spent");
    let vault = open(&card.uri().with("allow-default-secrets", "yes").unwrap());
    let key = p256(&*vault, "toy");
    sign(&*vault, &key, b"x").unwrap();
    assert_eq!(inventory(&vault).0.default_secrets(), ["PIN", "PUK", "management key"]);
}

/// What a card says of itself, and the room for keys that it has.
fn inventory(vault: &Arc<dyn Vault>) -> (vault::Inventory, Option<u64>) {
    let inventory = patiently(|| block_on(vault.inventory()));
    let room = &inventory.capacity()[0];
    assert_eq!((room.what, room.total), ("key slots", Some(24)));
    let free = room.free;
    (inventory, free)
}

#[test]
fn a_card_says_what_it_is() {
    let Some(card) = enter("a_card_says_what_it_is", NEW) else { return };
    let vault = open(&card.uri());
    let (told, free) = inventory(&vault);
    assert_eq!((told.versions()[0].value.as_str(), free), (NEW, Some(24)));
    let tries: Vec<_> = told.tries().iter().map(|tries| (tries.secret, tries.left)).collect();
    assert_eq!(tries, [("PIN", Left::Exactly(3)), ("PUK", Left::Exactly(3))]);
    assert!(told.default_secrets().is_empty() && told.weaknesses().next().is_none(), "{told:?}");
    let key = p256(&*vault, "issuer");
    assert_eq!(inventory(&vault).1, Some(23));
    block_on(vault.signing().unwrap().destroy(key)).unwrap();
    assert_eq!(inventory(&vault).1, Some(24));
}

#[test]
fn an_old_card_is_warned_of() {
    let Some(card) = enter("an_old_card_is_warned_of", OLD) else { return };
    let (told, _) = inventory(&open(&card.uri()));
    let weaknesses: Vec<_> = told.weaknesses().map(|(weakness, _)| weakness.id).collect();
    assert_eq!(weaknesses, ["CVE-2024-45678 (EUCLEAK, YSA-2024-03)"]);
}

#[test]
fn lies_of_a_card_are_errors() {
    let Some(card) = enter("lies_of_a_card_are_errors", NEW) else { return };
    let vault = open(&card.uri());
    let key = p256(&*vault, "issuer");
    let spec = KeySpec::new(name("channel"), Algorithm::X25519).unwrap();
    let agreement = vault.agreement().unwrap();
    let channel = block_on(agreement.generate(&spec)).unwrap();
    for fault in ["cut 87", "grow 87", "flip 87", "cut f7", "flip f7", "grow cb", "cut cb", "flip 20"] {
        card.fault(fault);
        // What is cut, grown or altered is an error of some kind, or was not needed.
        if let Err(error) = sign(&*vault, &key, b"x") {
            assert!(!error.to_string().is_empty());
            assert_ne!(error.kind(), Kind::Unsupported, "{fault}: {error}");
        }
        card.fault(fault);
        let _ = block_on(agreement.agree(&channel, channel.public()));
        card.fault("none 00");
        patiently(|| sign(&*vault, &key, b"after"));
    }
}

#[test]
fn a_hanging_card_ends_requests_and_comes_back() {
    let Some(card) = enter("a_hanging_card_ends_requests_and_comes_back", NEW) else { return };
    let backend = YubiKeyBackend::new().with_deadline(Duration::from_secs(3));
    let vault = patiently(|| block_on(backend.open(&card.uri(), Arc::new(Nobody))));
    let key = p256(&*vault, "issuer");
    card.fault("hang 87");
    let error = sign(&*vault, &key, b"x").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    card.go_on();
    patiently(|| sign(&*vault, &key, b"after"));
}

#[test]
fn an_occupied_slot_is_never_written_to() {
    let Some(card) = enter("an_occupied_slot_is_never_written_to", NEW) else { return };
    let vault = open(&card.uri());
    let signing = vault.signing().unwrap();
    let keys: Vec<_> = (0..23).map(|place| p256(&*vault, &format!("k{place}"))).collect();
    let error = block_on(signing.generate(&KeySpec::p256(name("one-more")))).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error:?}");
    for key in &keys {
        sign(&*vault, key, b"still there").unwrap();
    }
    let before = card.memory()["slots"].clone();
    block_on(signing.destroy(keys[3].clone())).unwrap();
    let next = p256(&*vault, "one-more");
    let after = card.memory()["slots"].clone();
    let changed = before.as_object().unwrap().iter().filter(|(slot, key)| after[slot.as_str()] != **key);
    assert_eq!(changed.count(), 1);
    sign(&*vault, &next, b"x").unwrap();
}
