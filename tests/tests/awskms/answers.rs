//! What is returned is input: no length of it is trusted, and no meaning.

use std::sync::Arc;

use ockam_kms_tests::awskms::Emulator;
use serde_json::{Value, json};
use vault::soft::SoftVault;
use vault::{
    AgreementKey, Algorithm, Custody, Kind, Result, Sealer, Signature, Signer, Signing, VerifyingKey,
    block_on,
};

use crate::{agreer, by_name, generate, open, sealer, signer, signs};

/// With an answer in which a field is something else.
fn altered<T>(
    kms: &Emulator,
    call: &str,
    field: &str,
    value: &Value,
    ask: impl Fn() -> Result<T>,
) -> Result<T> {
    kms.fault(json!({ "call": call, "kind": "replace", "field": field, "value": value }));
    let answer = ask();
    kms.heal();
    answer
}

fn base64(bytes: &[u8]) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[test]
fn a_signature_that_is_none_does_not_leave() {
    let Some(kms) = Emulator::enter("answers::a_signature_that_is_none_does_not_leave") else { return };
    let vault = open(&kms);
    let p256 = signer(&vault, "p256");
    let made = generate::<Signing>(vault.signing().unwrap(), "ed25519", Algorithm::Ed25519);
    let ed25519 = Signer::bind(Arc::clone(&vault), made).unwrap();
    // What another message's signature looks like.
    let other_message = {
        let signature = block_on(p256.sign(b"another message")).unwrap();
        der(&signature)
    };
    for signer in [&p256, &ed25519] {
        for bad in [vec![], vec![0; 64], vec![1; 64], vec![0x30; 72], vec![7; 100_000], other_message.clone()]
        {
            let error = altered(&kms, "Sign", "Signature", &base64(&bad), || signs(signer)).unwrap_err();
            assert_eq!(error.kind(), Kind::Backend, "{} bytes: {error}", bad.len());
        }
        let error = altered(&kms, "Sign", "Signature", &Value::Null, || signs(signer)).unwrap_err();
        assert_eq!(error.kind(), Kind::Backend);
        let other = json!("arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000");
        let error = altered(&kms, "Sign", "KeyId", &other, || signs(signer)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        let algorithm = json!("ECDSA_SHA_384");
        let error = altered(&kms, "Sign", "SigningAlgorithm", &algorithm, || signs(signer)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        signs(signer).unwrap();
    }
    // The upper half is no fault of anybody's: what leaves is the lower one.
    kms.fault(json!({ "call": "Sign", "kind": "high-s" }));
    for number in 0..8 {
        let signature = block_on(p256.sign(&[number])).unwrap();
        assert_eq!(Signature::ecdsa_p256_normalised(signature.as_bytes()).unwrap(), signature);
    }
    kms.heal();
}

/// `ECDSA-Sig-Value` of a signature.
fn der(signature: &Signature) -> Vec<u8> {
    let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes()).unwrap();
    signature.to_der().as_bytes().to_vec()
}

#[test]
fn a_secret_of_another_length_is_not_used() {
    let Some(kms) = Emulator::enter("answers::a_secret_of_another_length_is_not_used") else { return };
    let vault = open(&kms);
    let (agreer, sealer) = (agreer(&vault, "agreer"), sealer(&vault, "sealer"));
    let soft = SoftVault::in_memory().unwrap();
    let peer =
        generate::<vault::Agreement>(vault::Vault::agreement(&soft).unwrap(), "peer", Algorithm::EcdhP256);
    let peer: AgreementKey = peer.public().clone();
    let agreed = block_on(agreer.agree(&peer)).unwrap();
    assert_eq!(agreed.len(), 32);
    let sealed = block_on(sealer.seal(b"secret", b"with")).unwrap();
    for length in [0, 16, 31, 33, 10_000] {
        let bytes = base64(&vec![7; length]);
        let agree = || block_on(agreer.agree(&peer)).map(drop);
        assert_eq!(
            altered(&kms, "DeriveSharedSecret", "SharedSecret", &bytes, agree).unwrap_err().kind(),
            Kind::Backend
        );
        let seal = || block_on(sealer.seal(b"secret", b"with")).map(drop);
        assert_eq!(
            altered(&kms, "GenerateDataKey", "Plaintext", &bytes, seal).unwrap_err().kind(),
            Kind::Backend
        );
        let unseal = || block_on(sealer.unseal(&sealed, b"with")).map(drop);
        assert_eq!(altered(&kms, "Decrypt", "Plaintext", &bytes, unseal).unwrap_err().kind(), Kind::Backend);
    }
    for length in [0, 6145, 70_000] {
        let seal = || block_on(sealer.seal(b"secret", b"with")).map(drop);
        let error =
            altered(&kms, "GenerateDataKey", "CiphertextBlob", &base64(&vec![7; length]), seal).unwrap_err();
        assert_eq!(error.kind(), Kind::Backend, "{length}");
    }
    // A data key that is another one opens nothing, and says no more than that.
    let unseal = || block_on(sealer.unseal(&sealed, b"with")).map(drop);
    let error = altered(&kms, "Decrypt", "Plaintext", &base64(&[7; 32]), unseal).unwrap_err();
    assert_eq!(error.kind(), Kind::Rejected);
    let other = json!("arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000");
    for (call, ask) in [
        ("DeriveSharedSecret", &(|| block_on(agreer.agree(&peer)).map(drop)) as &dyn Fn() -> Result<()>),
        ("GenerateDataKey", &|| block_on(sealer.seal(b"", b"")).map(drop)),
        ("Decrypt", &|| block_on(sealer.unseal(&sealed, b"with")).map(drop)),
    ] {
        assert_eq!(altered(&kms, call, "KeyId", &other, ask).unwrap_err().kind(), Kind::Corrupt, "{call}");
    }
    assert_eq!(block_on(sealer.unseal(&sealed, b"with")).unwrap().expose(), b"secret");
}

#[test]
fn a_sealed_text_is_bound_to_key_and_data() {
    let Some(kms) = Emulator::enter("answers::a_sealed_text_is_bound_to_key_and_data") else { return };
    let vault = open(&kms);
    let (one, other) = (sealer(&vault, "one"), sealer(&vault, "other"));
    let sealed = block_on(one.seal(b"secret", b"with")).unwrap();
    // Another process, with the key found again.
    let again = open(&kms);
    let key = block_on(Custody::<vault::Sealing>::open(again.sealing().unwrap(), &by_name("one"))).unwrap();
    let found = Sealer::bind(Arc::clone(&again), key).unwrap();
    assert_eq!(block_on(found.unseal(&sealed, b"with")).unwrap().expose(), b"secret");
    for (sealer, associated) in [(&other, b"with"), (&one, b"wits")] {
        let error = block_on(sealer.unseal(&sealed, associated)).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Rejected, vault::Error::rejected().to_string()));
    }
}

#[test]
fn a_key_that_shows_other_attributes_is_refused() {
    let Some(kms) = Emulator::enter("answers::a_key_that_shows_other_attributes_is_refused") else { return };
    let vault = open(&kms);
    let made = signer(&vault, "issuer");
    let public = made.public().clone();
    let reopen =
        || block_on(Custody::<Signing>::open(vault.signing().unwrap(), made.handle().uri())).map(drop);
    let described = |field: &str, value: Value| {
        kms.fault(json!({ "call": "DescribeKey", "kind": "replace", "inside": ["KeyMetadata"], "field": field, "value": value }));
        let error = reopen().unwrap_err();
        kms.heal();
        error
    };
    for (field, value, kind) in [
        ("Origin", json!("EXTERNAL"), Kind::Invalid),
        ("Origin", json!("EXTERNAL_KEY_STORE"), Kind::Invalid),
        ("KeyManager", json!("AWS"), Kind::Invalid),
        ("MultiRegion", json!(true), Kind::Invalid),
        ("KeyUsage", json!("ENCRYPT_DECRYPT"), Kind::Unsupported),
        ("KeyUsage", json!("KEY_AGREEMENT"), Kind::Invalid),
        ("KeySpec", json!("ECC_SECG_P256K1"), Kind::Unsupported),
        ("KeySpec", json!("RSA_2048"), Kind::Unsupported),
        ("KeyId", json!("00000000-0000-0000-0000-000000000000"), Kind::Corrupt),
        ("Arn", json!("arn:aws:kms:us-east-1:123456789012:key/x"), Kind::Corrupt),
        ("Arn", Value::Null, Kind::Corrupt),
        ("KeyState", json!("Disabled"), Kind::Denied),
        ("KeyState", json!("PendingDeletion"), Kind::NotFound),
        ("KeyState", json!("Updating"), Kind::Unavailable),
    ] {
        let error = described(field, value.clone());
        assert_eq!(error.kind(), kind, "{field} {value}: {error}");
        if kind == Kind::Invalid && field != "KeyUsage" {
            assert!(error.to_string().contains(&format!("`{field}`")), "the attribute is named: {error}");
        }
    }
    let spki = |bytes: &[u8]| base64(bytes);
    for bad in [vec![], vec![0; 91], vec![0; 10_000], public.as_bytes().to_vec()] {
        let error = altered(&kms, "GetPublicKey", "PublicKey", &spki(&bad), reopen).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
    for field in ["KeyUsage", "KeySpec", "KeyId"] {
        let error = altered(&kms, "GetPublicKey", field, &json!("OTHER"), reopen).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{field}: {error}");
    }
    // A good public key, of somebody else: whoever recorded the right one notices.
    let other: VerifyingKey = signer(&vault, "other").public().clone();
    let mut good = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    good.extend_from_slice(other.as_bytes());
    let opened = altered(&kms, "GetPublicKey", "PublicKey", &spki(&good), || {
        block_on(Signer::open(Arc::clone(&vault), made.handle().uri(), &public)).map(drop)
    });
    assert_eq!(opened.unwrap_err().kind(), Kind::Corrupt);
    reopen().unwrap();
}
