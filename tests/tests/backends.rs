//! Every backend runs the one conformance suite, and what ran is on record; our verifier runs the vectors of Wycheproof.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::path::Path;
use std::sync::Arc;

use ockam_kms_tests::p11kit::P11Kit;
use ockam_kms_tests::signatures;
use ockam_kms_tests::softhsm::SoftHsm;
use pkcs11::Pkcs11Backend;
use vault::soft::{Lock, SoftBackend, SoftVault};
use vault::{
    Algorithm, KeyName, KeySpec, KeyUri, Nobody, Registry, Scheme, Signature, Signer, Signing, Vault,
    VerifyingKey, block_on, conformance,
};
use wycheproof::TestResult;

/// Compares with a recorded file; `UPDATE_GOLDEN=1` records instead.
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

fn registry() -> Registry {
    Registry::new().with(SoftBackend).with(Pkcs11Backend::new())
}

#[test]
fn software_on_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    drop(SoftVault::create(&path, &Lock::KeyFile(None)).unwrap());
    let uri = KeyUri::new(Scheme::Soft).with("path", path.as_os_str().as_encoded_bytes()).unwrap();
    let vault = block_on(registry().open(&uri, Arc::new(Nobody))).unwrap();
    golden("conformance-soft.txt", &block_on(conformance::run(vault)).to_string());
}

#[test]
fn software_in_memory_conforms() {
    let vault = Arc::new(SoftVault::in_memory().unwrap());
    golden("conformance-soft.txt", &block_on(conformance::run(vault)).to_string());
}

#[test]
fn softhsm_conforms() {
    let Some(hsm) = SoftHsm::enter("softhsm_conforms") else { return };
    let uri = hsm.init("t");
    let vault = block_on(registry().open(&uri, Arc::new(Nobody))).unwrap();
    golden("conformance-pkcs11-softhsm.txt", &block_on(conformance::run(vault)).to_string());
}

/// A key of each type that the vault signs with.
fn signers(vault: &Arc<dyn Vault>) -> Vec<Signer> {
    let make = |algorithm: Algorithm| {
        let spec = KeySpec::<Signing>::new(KeyName::new(algorithm.name()).unwrap(), algorithm).unwrap();
        let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        Signer::bind(Arc::clone(vault), key).unwrap()
    };
    [Algorithm::EcdsaP256, Algorithm::Ed25519].map(make).into()
}

#[test]
fn another_library_verifies_the_signatures_of_software() {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    signatures::hold(&signers(&vault), signatures::count());
}

#[test]
fn another_library_verifies_the_signatures_of_softhsm() {
    let Some(hsm) = SoftHsm::enter("another_library_verifies_the_signatures_of_softhsm") else { return };
    let vault = block_on(registry().open(&hsm.init("t"), Arc::new(Nobody))).unwrap();
    signatures::hold(&signers(&vault), signatures::count());
}

#[test]
fn a_module_with_few_mechanisms_conforms() {
    let Some(hsm) = SoftHsm::enter("a_module_with_few_mechanisms_conforms") else { return };
    let uri = hsm.init("t");
    let p11_kit = P11Kit::start(&hsm);
    let vault = block_on(registry().open(&p11_kit.through(&uri), Arc::new(Nobody))).unwrap();
    golden("conformance-pkcs11-p11kit.txt", &block_on(conformance::run(vault)).to_string());
}

/// How the vectors of one set fared.
#[derive(Default)]
struct Tally {
    valid_accepted: usize,
    invalid_refused: usize,
    unfit: usize,
    encoding_only: usize,
    differences: Vec<String>,
}

impl Tally {
    fn count(
        &mut self,
        place: &str,
        expected: TestResult,
        signature: Read<'_>,
        verify: impl Fn(&Signature) -> bool,
    ) {
        match (signature, expected) {
            (Read::Signature(signature), expected) => match (verify(&signature), expected) {
                (true, TestResult::Valid) => self.valid_accepted += 1,
                (false, TestResult::Invalid) => self.invalid_refused += 1,
                (ours, _) => self.differences.push(format!("{place}: {expected:?}, and we say {ours}")),
            },
            (Read::Unfit, TestResult::Invalid) => self.unfit += 1,
            (Read::NotDer(_), TestResult::Invalid) => self.encoding_only += 1,
            (Read::Unfit, _) => {
                self.differences.push(format!("{place}: {expected:?}, but it does not fit our type"))
            }
            (Read::NotDer(bytes), _) => {
                self.differences.push(format!("{place}: {expected:?}, but not DER: {}", hex::encode(bytes)));
            }
        }
    }

    fn line(&self, set: &str, total: usize) -> String {
        let Self { valid_accepted, invalid_refused, unfit, encoding_only, differences } = self;
        assert_eq!(
            total,
            valid_accepted + invalid_refused + unfit + encoding_only + differences.len(),
            "{set}: every vector is counted once"
        );
        format!(
            "{set:<28} | {total:>5} | {valid_accepted:>5} | {invalid_refused:>7} | {unfit:>5} | {encoding_only:>8} | {}\n",
            differences.len()
        )
    }
}

/// A vector's signature as our types can hold it.
enum Read<'a> {
    Signature(Signature),
    /// Not the length that such signatures have, or a negative number: our type does not hold it.
    Unfit,
    /// Not DER. Ours are never in DER, so this is no concern of the verifier: counted, and checked to be invalid.
    NotDer(&'a [u8]),
}

/// `r` and `s` from DER, strictly (X.690 §8.3, §10.1): shortest lengths, shortest integers, nothing after.
fn from_der(der: &[u8]) -> Read<'_> {
    fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let [0x02, length, rest @ ..] = bytes else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        let shortest = match value {
            [] => false,
            [0, next, ..] => *next >= 0x80,
            [0xff, next, ..] => *next < 0x80,
            _ => true,
        };
        (*length < 0x80 && shortest).then_some((value, rest))
    }
    fn fit(value: &[u8]) -> Option<[u8; 32]> {
        let magnitude = if value[0] == 0 { &value[1..] } else { value };
        let mut padded = [0; 32];
        padded.get_mut(32_usize.checked_sub(magnitude.len())?..)?.copy_from_slice(magnitude);
        (value[0] < 0x80).then_some(padded)
    }
    let pair = match der {
        [0x30, length, body @ ..] if *length < 0x80 && usize::from(*length) == body.len() => {
            integer(body).and_then(|(r, rest)| integer(rest).map(|(s, rest)| (r, s, rest)))
        }
        _ => None,
    };
    match pair {
        Some((r, s, [])) => match (fit(r), fit(s)) {
            (Some(r), Some(s)) => Read::Signature(Signature::EcdsaP256([r, s].concat().try_into().unwrap())),
            _ => Read::Unfit,
        },
        _ => Read::NotDer(der),
    }
}

#[test]
fn our_verifier_agrees_with_wycheproof() {
    let mut text =
        "set                          | total | valid | invalid | unfit | DER only | differences\n"
            .to_owned();
    let mut differences = Vec::new();
    let mut add = |set: &str, total: usize, tally: Tally| {
        text += &tally.line(set, total);
        differences.extend(tally.differences.iter().map(|difference| format!("{set} {difference}\n")));
    };

    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        let key = VerifyingKey::from_bytes(Algorithm::Ed25519, &group.key.pk).unwrap();
        for test in &group.tests {
            let signature = <[u8; 64]>::try_from(&**test.sig);
            let signature = signature.map_or(Read::Unfit, |s| Read::Signature(Signature::Ed25519(s)));
            let verify = |signature: &Signature| key.verify(&test.msg, signature).is_ok();
            tally.count(&format!("{} {:?}", test.tc_id, test.flags), test.result, signature, verify);
        }
    }
    add("ed25519", set.number_of_tests, tally);

    use wycheproof::ecdsa::TestName;
    for (name, der) in [(TestName::EcdsaSecp256r1Sha256, true), (TestName::EcdsaSecp256r1Sha256P1363, false)]
    {
        let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &set.test_groups {
            let key = VerifyingKey::from_bytes(Algorithm::EcdsaP256, &group.key.key).unwrap();
            for test in &group.tests {
                let fixed = |bytes: &[u8]| {
                    bytes.try_into().map_or(Read::Unfit, |s| Read::Signature(Signature::EcdsaP256(s)))
                };
                let signature = if der { from_der(&test.sig) } else { fixed(&test.sig) };
                let verify = |signature: &Signature| key.verify(&test.msg, signature).is_ok();
                tally.count(&format!("{} {:?}", test.tc_id, test.flags), test.result, signature, verify);
            }
        }
        add(
            if der { "ecdsa p256 sha256, DER" } else { "ecdsa p256 sha256, P1363" },
            set.number_of_tests,
            tally,
        );
    }
    text += "\nvalid: accepted. invalid: refused by the verifier. unfit: refused by the type of a signature (length, sign).\n";
    text += "DER only: invalid because it is not DER, in which our signatures never are; not given to the verifier.\n";
    text +=
        if differences.is_empty() { "No vector is judged differently.\n" } else { "Judged differently:\n" };
    text.extend(differences);
    golden("wycheproof.txt", &text);
}
