//! The AWS KMS backend, through the real SDK, against an emulator: what it can do, and what accidents of networks, accounts and
//! people do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod answers;
mod cli;
mod faults;
mod names;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_kms::AwsKmsBackend;
use ockam_kms_tests::awskms::Emulator;
use ockam_kms_tests::signatures;
use vault::{
    Agreement, Agreer, Algorithm, Backend as _, Custody, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Nobody,
    Purpose, Result, Scheme, Sealer, Sealing, Signer, Signing, Vault, block_on, conformance,
};

/// For what is not about deadlines: the machine may be slow.
const PATIENT: Duration = Duration::from_secs(60);

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn open_within(uri: &KeyUri, deadline: Duration) -> Result<Arc<dyn Vault>> {
    block_on(AwsKmsBackend::new().with_deadline(deadline).open(uri, Arc::new(Nobody)))
}

fn open(kms: &Emulator) -> Arc<dyn Vault> {
    open_within(&kms.uri(), PATIENT).unwrap()
}

fn p256(vault: &Arc<dyn Vault>, key: &str) -> Result<KeyHandle<Signing>> {
    block_on(vault.signing().unwrap().generate(&KeySpec::p256(name(key))))
}

fn signer(vault: &Arc<dyn Vault>, key: &str) -> Signer {
    Signer::bind(Arc::clone(vault), p256(vault, key).unwrap()).unwrap()
}

fn generate<P: Purpose>(custody: &dyn Custody<P>, key: &str, algorithm: Algorithm) -> KeyHandle<P> {
    block_on(custody.generate(&KeySpec::<P>::new(name(key), algorithm).unwrap())).unwrap()
}

fn agreer(vault: &Arc<dyn Vault>, key: &str) -> Agreer {
    let made = generate::<Agreement>(vault.agreement().unwrap(), key, Algorithm::EcdhP256);
    Agreer::bind(Arc::clone(vault), made).unwrap()
}

fn sealer(vault: &Arc<dyn Vault>, key: &str) -> Sealer {
    let made = generate::<Sealing>(vault.sealing().unwrap(), key, Algorithm::Aes256Gcm);
    Sealer::bind(Arc::clone(vault), made).unwrap()
}

/// Signs and checks the signature.
fn signs(signer: &Signer) -> Result<()> {
    let signature = block_on(signer.sign(b"message"))?;
    signer.public().verify(b"message", &signature).map(drop)
}

fn by_name(key: &str) -> KeyUri {
    KeyUri::of_key(Scheme::AwsKms, &name(key))
}

#[test]
fn it_conforms() {
    let Some(kms) = Emulator::enter("it_conforms") else { return };
    let report = block_on(conformance::run(open(&kms))).to_string();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/conformance-awskms.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, report).unwrap();
    } else {
        let recorded = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(report, recorded, "read the difference, then record it with UPDATE_GOLDEN=1");
    }
    // Nothing of it can be used any more, and nothing has a name.
    for key in kms.keys() {
        assert_eq!(
            (&key["state"], &key["aliases"]),
            (&"PendingDeletion".into(), &serde_json::json!([])),
            "{key}"
        );
    }
}

#[test]
fn keys_are_found_again_by_another_process() {
    let Some(kms) = Emulator::enter("keys_are_found_again_by_another_process") else { return };
    let vault = open(&kms);
    let made = p256(&vault, "issuer").unwrap();
    let id = made.id().to_owned();
    assert_eq!(made.uri().to_string(), format!("awskms:region=eu-west-1;key-id={id};name=issuer"));
    let again = open(&kms);
    assert_eq!(again.id(), vault.id());
    let ways = [
        made.uri().to_string(),
        "awskms:name=issuer".to_owned(),
        format!("awskms:key-id={id}"),
        "awskms:alias=ockam-kms/default/issuer".to_owned(),
    ];
    let facet = again.signing().unwrap();
    for way in ways {
        let found = block_on(Custody::<Signing>::open(facet, &way.parse().unwrap())).unwrap();
        assert_eq!((&found, found.uri()), (&made, made.uri()), "{way}");
        signs(&Signer::bind(Arc::clone(&again), found).unwrap()).unwrap();
    }
    // Whoever means no key of ours gets none.
    for way in
        ["awskms:alias=none", "awskms:name=other", "awskms:key-id=00000000-0000-0000-0000-000000000000"]
    {
        let error = block_on(Custody::<Signing>::open(facet, &way.parse().unwrap())).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{way}: {error}");
    }
    // A namespace of one's own is another vault in the same account.
    let uri = kms.uri().with("namespace", "other").unwrap();
    let other = open_within(&uri, PATIENT).unwrap();
    assert_ne!(other.id(), vault.id());
    assert_eq!(p256(&other, "issuer").unwrap().uri().text("namespace").unwrap(), Some("other"));
    assert_eq!(block_on(other.listing().unwrap().list()).unwrap().len(), 1);
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap().len(), 1);
}

#[test]
fn over_tls_with_a_ca_of_ones_own() {
    let Some(kms) = Emulator::enter_tls("over_tls_with_a_ca_of_ones_own") else { return };
    assert!(kms.endpoint().starts_with("https://"));
    let vault = open(&kms);
    signs(&signer(&vault, "issuer")).unwrap();
    let sealer = sealer(&vault, "sealer");
    let sealed = block_on(sealer.seal(b"secret", b"with")).unwrap();
    assert_eq!(block_on(sealer.unseal(&sealed, b"with")).unwrap().expose(), b"secret");
    cli::refuses_a_ca_that_nobody_trusts(&kms);
}

#[test]
fn a_listing_has_many_pages() {
    let Some(kms) = Emulator::enter("a_listing_has_many_pages") else { return };
    let vault = open(&kms);
    let made = p256(&vault, "one").unwrap();
    // Aliases are cheap: more than two pages of them, of ours and of others.
    for number in 0..130 {
        kms.point(&format!("alias/ockam-kms/default/more-{number:03}"), made.id());
        kms.point(&format!("alias/somebody/{number}"), made.id());
    }
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.len(), 131);
    assert!(listed.is_sorted_by(|one, other| one.name < other.name));
    assert!(listed.iter().all(|key| key.public.as_deref() == Some(made.public().as_bytes())));
}

#[test]
fn another_library_verifies_the_signatures() {
    let Some(kms) = Emulator::enter("another_library_verifies_the_signatures") else { return };
    let vault = open(&kms);
    let ed25519 = generate::<Signing>(vault.signing().unwrap(), "ed25519", Algorithm::Ed25519);
    let signers = [signer(&vault, "p256"), Signer::bind(Arc::clone(&vault), ed25519).unwrap()];
    signatures::hold(&signers, signatures::count());
}
