//! The published crates take what we make on the keys of a token, and when an identity moves between a token and
//! software.

use std::sync::Arc;

use identity::{Identity, Validity};
use interop::{Judge, KeyType};
use pkcs11::Pkcs11Backend;
use vault::soft::SoftVault;
use vault::{Nobody, Registry, block_on};

use crate::made::{Maker, judged, now, sequences};
use crate::softhsm::SoftHsm;

fn token(hsm: &SoftHsm) -> Maker {
    let registry = Registry::new().with(Pkcs11Backend::new());
    Maker::new(block_on(registry.open(&hsm.init("t"), Arc::new(Nobody))).unwrap())
}

#[test]
fn identities_attestations_and_credentials_of_a_token_are_taken() {
    let test = "pkcs11::identities_attestations_and_credentials_of_a_token_are_taken";
    let Some(hsm) = SoftHsm::enter(test) else { return };
    let judge = Judge::new().unwrap();
    let token = token(&hsm);
    let member = token.signer(KeyType::Ed25519);
    let member = block_on(Identity::create(&member, Validity::of_primary_key(now()))).unwrap();
    for sequence in sequences(3) {
        judged(&judge, &[&token], &sequence, &member);
    }
}

#[test]
fn identities_that_move_between_software_and_a_token_are_taken() {
    let test = "pkcs11::identities_that_move_between_software_and_a_token_are_taken";
    let Some(hsm) = SoftHsm::enter(test) else { return };
    let judge = Judge::new().unwrap();
    let token = token(&hsm);
    let software = Maker::new(Arc::new(SoftVault::in_memory().unwrap()));
    let member = software.signer(KeyType::P256);
    let member = block_on(Identity::create(&member, Validity::of_primary_key(now()))).unwrap();
    for sequence in sequences(3).into_iter().filter(|sequence| sequence.len() == 3) {
        judged(&judge, &[&software, &token], &sequence, &member);
        judged(&judge, &[&token, &software], &sequence, &member);
    }
}
