//! Signatures: both halves of ECDSA are taken, only the lower one is made; Ed25519 as in RFC 8032, not strictly.

use std::sync::Arc;

use identity::{Identity, Refusal, Relation};
use vault::{KeyName, KeySpec, Signer, Vault, block_on, soft::SoftVault};

use crate::raw::{self, CHANGE, Item};
use crate::seeds::{ed25519, p256};
use crate::world::{identity, raw_window, refused};

/// Half of P-256's group order, rounded down.
const HALF_ORDER: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
/// The order of Ed25519's group, little-endian.
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// A history of one change by a P-256 key, whose signature ends the bytes, with `s` in the other half.
pub(crate) fn with_high_s(history: &[u8]) -> Identity {
    let (rest, signature) = history.split_last_chunk::<64>().unwrap();
    let signature = p256::ecdsa::Signature::from_slice(signature).unwrap();
    let (r, s) = (signature.r(), signature.s());
    let other = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    Identity::import(&[rest, &other.to_bytes()[..]].concat()).unwrap()
}

fn s_of(history: &Identity) -> String {
    let bytes = history.as_bytes();
    hex::encode(&bytes[bytes.len() - 32..])
}

#[test]
fn both_halves_of_ecdsa_are_taken() {
    let low = identity(&p256(1));
    let high = with_high_s(low.as_bytes());
    assert!(s_of(&low).as_str() <= HALF_ORDER && s_of(&high).as_str() > HALF_ORDER);
    assert_eq!(high.compared_to(&low), Relation::Equal);
    assert_eq!(high.identifier(), low.identifier());
}

#[test]
fn only_the_lower_half_is_made() {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    for n in 0..32 {
        let spec = KeySpec::p256(KeyName::new(&format!("key-{n}")).unwrap());
        let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        let made = identity(&Signer::bind(Arc::clone(&vault), key).unwrap());
        assert!(s_of(&made).as_str() <= HALF_ORDER, "{}", made.to_hex());
    }
}

#[test]
fn ecdsa_is_over_the_hash_of_the_hash() {
    let primary = p256(1);
    let body = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, raw_window(1, 2)));
    // A vault hashes what it is given, so giving it the body itself is the single hash that is wrong here.
    let single = raw::signature(&block_on(primary.sign(&body)).unwrap());
    let wrong = raw::array([raw::array([raw::bytes(body.clone()), single])]).encode();
    refused(Identity::import(&wrong), Refusal::Signature);
    let right = raw::array([raw::change(&body, &primary, None)]).encode();
    assert!(Identity::import(&right).is_ok());
}

#[test]
fn a_signature_of_the_other_kind_is_refused() {
    let made = identity(&ed25519(1));
    let mut bytes = made.as_bytes().to_vec();
    let kind = bytes.len() - 68;
    assert_eq!(bytes[kind - 1..kind + 4], [0x82, 0, 0x81, 0x58, 0x40]);
    bytes[kind] = 1;
    refused(Identity::import(&bytes), Refusal::Signature);
}

#[test]
fn scalars_outside_the_group_order_are_refused() {
    let made = identity(&ed25519(1)).as_bytes().to_vec();
    let (rest, s) = made.split_last_chunk::<32>().unwrap();
    let order = hex::decode(ED25519_ORDER).unwrap();
    let mut carry = 0;
    let beyond: Vec<u8> = s
        .iter()
        .zip(&order)
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            sum as u8
        })
        .collect();
    refused(Identity::import(&[rest, &beyond].concat()), Refusal::Signature);

    let made = identity(&p256(1)).as_bytes().to_vec();
    let (rest, signature) = made.split_last_chunk::<64>().unwrap();
    for (r, s) in [([0; 32], &signature[32..]), ([0xff; 32], &signature[32..])] {
        refused(Identity::import(&[rest, &r, s].concat()), Refusal::Signature);
    }
    for s in [[0; 32], [0xff; 32]] {
        refused(Identity::import(&[rest, &signature[..32], &s].concat()), Refusal::Signature);
    }
}

/// The reference does not verify strictly: under a key of small order one signature holds over everything. Whoever
/// makes such an identity gives it away; taking it is what the peers do.
#[test]
fn a_key_of_small_order_is_taken_as_the_reference_does() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let (from, until) = raw_window(1, 2);
    let data = raw::array([Item::Null, raw::variant(0, raw::bytes(neutral)), Item::Bool(false), from, until]);
    let signature = raw::variant(0, raw::bytes([neutral, [0; 32]].concat()));
    let change = raw::array([raw::bytes(raw::body(1, CHANGE, &data)), signature]);
    assert_eq!(Identity::import(&raw::array([change]).encode()).unwrap().len(), 1);
}
