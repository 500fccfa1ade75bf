//! The PKCS#11 backend on SoftHSM: what the token's quirks and accidents do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::sync::Arc;
use std::time::Duration;

use ockam_kms_tests::softhsm::SoftHsm;
use pkcs11::Pkcs11Backend;
use vault::{
    Backend, Error, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Nobody, Retry, Signer, Signing, Vault,
    block_on,
};

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn open(uri: &KeyUri) -> vault::Result<Arc<dyn Vault>> {
    block_on(Pkcs11Backend::new().open(uri, Arc::new(Nobody)))
}

fn p256(vault: &Arc<dyn Vault>, key: &str) -> vault::Result<KeyHandle<Signing>> {
    block_on(vault.signing().unwrap().generate(&KeySpec::p256(name(key))))
}

fn signs(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) -> vault::Result<()> {
    let signer = Signer::bind(Arc::clone(vault), key.clone())?;
    block_on(signer.sign(b"message")).map(drop)
}

#[test]
fn keys_live_on_the_token() {
    let Some(hsm) = SoftHsm::enter("keys_live_on_the_token") else { return };
    let uri = hsm.init("t");
    let vault = open(&uri).unwrap();
    for spec in [KeySpec::p256(name("a")), KeySpec::ed25519(name("b"))] {
        let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        signs(&vault, &key).unwrap();
        let again = open(&uri).unwrap();
        assert_eq!(again.id(), vault.id());
        let found = block_on(again.signing().unwrap().open(key.uri())).unwrap();
        assert_eq!(found, key);
        signs(&again, &found).unwrap();
    }
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let key = block_on(vault.signing().unwrap().open(&listed[0].uri)).unwrap();
    block_on(vault.signing().unwrap().destroy(key.clone())).unwrap();
    assert_eq!(block_on(vault.signing().unwrap().destroy(key)).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap().len(), 1);
}
