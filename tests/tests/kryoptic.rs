//! The PKCS#11 backend on kryoptic, another implementation with other quirks, and a token that locks its PIN: `make
//! test-kryoptic`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ockam_kms_tests::kryoptic::{Kryoptic, PIN};
use pkcs11::Pkcs11Backend;
use vault::{
    Backend, Error, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Nobody, Retry, Signing, Vault, block_on,
    conformance,
};

/// Deriving a key from a PIN takes kryoptic a while.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

fn open(uri: &KeyUri) -> vault::Result<Arc<dyn Vault>> {
    block_on(Pkcs11Backend::new().with_deadline(DEADLINE).open(uri, Arc::new(Nobody)))
}

fn signs(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) {
    let signature = block_on(vault.signing().unwrap().sign(key, b"message")).unwrap();
    let _holds = key.public().verify(b"message", &signature).unwrap();
}

fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

#[test]
fn kryoptic_conforms() {
    let Some(token) = Kryoptic::enter("kryoptic_conforms") else { return };
    let report = block_on(conformance::run(open(&token.uri()).unwrap()));
    golden("conformance-pkcs11-kryoptic.txt", &report.to_string());
}

#[test]
fn kryoptic_says_what_it_is() {
    let Some(token) = Kryoptic::enter("kryoptic_says_what_it_is") else { return };
    let inventory = block_on(open(&token.uri()).unwrap().inventory()).unwrap();
    assert!(inventory.product().starts_with("Kryoptic"), "{inventory:?}");
    assert!(inventory.versions().iter().any(|version| version.what == "library"), "{inventory:?}");
    assert_eq!(inventory.weaknesses().count(), 0, "{inventory:?}");
}

fn locked_out(error: &Error) {
    assert_eq!((error.kind(), error.retry()), (Kind::Denied, Retry::NeedsOperator), "{error} {error:?}");
}

#[test]
fn the_last_try_of_a_pin_is_never_spent() {
    let Some(token) = Kryoptic::enter("the_last_try_of_a_pin_is_never_spent") else { return };
    let vault = open(&token.uri()).unwrap();
    let key =
        block_on(vault.signing().unwrap().generate(&KeySpec::p256(KeyName::new("k").unwrap()))).unwrap();
    drop(vault);
    fs::write(token.pin_file(), "0000-wrong").unwrap();
    // It takes ten. Ours stop before the last, however often a vault is opened.
    let refusals: Vec<_> = (0..14).map(|_| open(&token.uri()).unwrap_err()).collect();
    refusals.iter().for_each(locked_out);
    let spared = refusals.iter().filter(|error| error.to_string().contains("one try left")).count();
    assert_eq!(spared, 14 - 9, "{refusals:?}");
    // So the right one still works.
    fs::write(token.pin_file(), PIN).unwrap();
    locked_out(&open(&token.uri()).unwrap_err());
    assert!(token.log_in_elsewhere(PIN), "the last try was left for a person");
    token.start_afresh();
    let vault = open(&token.uri()).unwrap();
    signs(&vault, &key);
    assert!(block_on(vault.inventory()).unwrap().tries().is_empty());
    // A person who goes on guessing locks it.
    for _ in 0..10 {
        assert!(!token.log_in_elsewhere("0000-wrong"));
    }
    assert!(!token.log_in_elsewhere(PIN));
    drop(vault);
    token.start_afresh();
    let error = open(&token.uri()).unwrap_err();
    locked_out(&error);
    assert!(error.to_string().contains("is locked"), "{error}");
    // The officer unlocks it: the keys are still there.
    token.set_pin();
    token.start_afresh();
    signs(&open(&token.uri()).unwrap(), &key);
}
