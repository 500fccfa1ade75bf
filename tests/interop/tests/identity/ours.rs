//! The published crates take what we make on software keys.

use std::sync::Arc;

use identity::{Identity, Validity};
use interop::{Judge, KeyType};
use vault::block_on;
use vault::soft::SoftVault;

use crate::made::{Maker, judged, now, sequences};

#[test]
fn identities_attestations_and_credentials_of_software_keys_are_taken() {
    let judge = Judge::new().unwrap();
    let maker = Maker::new(Arc::new(SoftVault::in_memory().unwrap()));
    let member = maker.signer(KeyType::P256);
    let member = block_on(Identity::create(&member, Validity::of_primary_key(now()))).unwrap();
    let sequences = sequences(5);
    assert_eq!(sequences.len(), 62, "one to five keys of two types");
    for sequence in sequences {
        judged(&judge, &[&maker], &sequence, &member);
    }
}
