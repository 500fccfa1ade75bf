//! What is signed: change histories, attestations, credentials.
//!
//! The fuzzer has no key, so whatever verifies has to be something that was signed before: the seeds.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use identity::{
    Credential, Identity, IssuerBundle, PurposeKeyAttestation, Relation, RequestKeyAttestation, Rule,
    Timestamp, verify,
};
use minicbor::Decoder;
use sha2::{Digest as _, Sha256};

use crate::seeds;

/// Inside the validity of what the seeds sign.
pub(super) const NOW: Timestamp = Timestamp(1_795_400_000);

/// The signed body that stands first in an item: `[body, …]`.
fn body(decoder: &mut Decoder<'_>) -> Vec<u8> {
    decoder.array().unwrap();
    // As tolerant as the decoder under test: a byte string in one piece or in many.
    decoder.bytes_iter().unwrap().map(|piece| piece.unwrap()).collect::<Vec<_>>().concat()
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Hashes of all that the issuers of the seeds signed.
struct Signed {
    histories: BTreeSet<String>,
    attestations: BTreeSet<Vec<u8>>,
    credentials: BTreeSet<[u8; 32]>,
    issuers: Vec<IssuerBundle>,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let vectors = seeds::vectors();
    let histories = vectors.histories.iter().filter_map(|bytes| Identity::import(bytes).ok());
    let credentials: Vec<_> =
        vectors.credentials.iter().filter_map(|bytes| Credential::decode(bytes).ok()).collect();
    let attestations =
        vectors.attestations.iter().filter_map(|bytes| PurposeKeyAttestation::decode(bytes).ok());
    Signed {
        histories: histories
            .flat_map(|one| one.changes().map(|change| change.hash().to_string()).collect::<Vec<_>>())
            .collect(),
        attestations: credentials
            .iter()
            .map(|credential| credential.attestation().clone())
            .chain(attestations)
            .map(|one| signed_body(&one.encode().unwrap()))
            .collect(),
        credentials: credentials.iter().map(Credential::hash).collect(),
        issuers: vectors
            .issuers
            .iter()
            .filter_map(|bytes| Identity::import(bytes).ok())
            .map(IssuerBundle::history_only)
            .collect(),
    }
});

pub(super) fn prepare() {
    LazyLock::force(&SIGNED);
}

fn signed_body(encoded: &[u8]) -> Vec<u8> {
    body(&mut Decoder::new(encoded))
}

/// A history that verifies is kept as it came, is named by the hash of its first change, and has no change that nobody signed.
pub fn change_history(data: &[u8]) {
    let Ok(identity) = Identity::import(data) else { return };
    assert_eq!(identity.as_bytes(), data);
    let mut decoder = Decoder::new(data);
    decoder.array().unwrap();
    let first = hash(&body(&mut decoder));
    assert_eq!(
        identity.identifier().to_string(),
        format!("I{first}"),
        "an identifier is the hash of the first change"
    );
    for change in identity.changes() {
        assert!(SIGNED.histories.contains(&change.hash().to_string()), "a change that nobody signed");
    }
    let again = Identity::import_hex(&identity.to_hex()).unwrap();
    assert_eq!(again.compared_to(&identity), Relation::Equal);
    let bundle = IssuerBundle::from_hex(&identity.to_hex()).unwrap();
    assert_eq!(bundle.identifier(), identity.identifier());
}

/// A credential that decodes reads the same once written; one that verifies was issued.
pub fn credential(data: &[u8]) {
    let Ok(one) = Credential::decode(data) else { return };
    let encoded = one.encode().unwrap();
    let again = Credential::decode(&encoded).unwrap();
    assert_eq!(again.encode().unwrap(), encoded);
    assert_eq!(
        (again.hash(), again.subject(), again.issuer(), again.created_at(), again.expires_at()),
        (one.hash(), one.subject(), one.issuer(), one.created_at(), one.expires_at())
    );
    let read = |one: &Credential| {
        one.attributes().map(|attributes| {
            attributes.text().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>()
        })
    };
    assert_eq!(read(&again).ok(), read(&one).ok());
    for issuer in &SIGNED.issuers {
        for rule in [Rule::Reference, Rule::default()] {
            if let Ok(proof) = verify(&one, issuer, None, NOW, rule) {
                assert!(SIGNED.credentials.contains(&one.hash()), "a credential that nobody issued");
                assert_eq!(Some(proof.subject()), one.subject());
                assert_eq!(proof.issuer(), issuer.identifier());
                assert!(proof.created_at().0 <= NOW.0 + 60 && NOW <= proof.expires_at());
            }
        }
    }
}

/// An attestation that decodes reads the same once written; one that verifies was made.
pub fn purpose_key_attestation(data: &[u8]) {
    let Ok(one) = PurposeKeyAttestation::decode(data) else { return };
    let encoded = one.encode().unwrap();
    let again = PurposeKeyAttestation::decode(&encoded).unwrap();
    assert_eq!(again.encode().unwrap(), encoded);
    assert_eq!(signed_body(&encoded), signed_body(data), "the signed body is another");
    assert_eq!((again.subject(), again.change_hash()), (one.subject(), one.change_hash()));
    for issuer in &SIGNED.issuers {
        if one.verify(issuer.identity(), NOW).is_ok() {
            assert!(SIGNED.attestations.contains(&signed_body(data)), "an attestation that nobody made");
            assert_eq!(one.subject(), issuer.identifier());
        }
    }
}

/// A request key's attestation that decodes reads the same once written. None of the seeds' identities made one.
pub fn request_key_attestation(data: &[u8]) {
    let Ok(one) = RequestKeyAttestation::decode(data) else { return };
    let encoded = one.encode().unwrap();
    let again = RequestKeyAttestation::decode(&encoded).unwrap();
    assert_eq!(again.encode().unwrap(), encoded);
    assert_eq!(signed_body(&encoded), signed_body(data), "the signed body is another");
    assert_eq!((again.subject(), again.expires_at()), (one.subject(), one.expires_at()));
    for issuer in &SIGNED.issuers {
        assert!(one.verify(issuer.identity(), NOW).is_err(), "an attestation that nobody made");
    }
}

/// A bundle holds a history that verifies, and reads the same once written, as bytes and as text.
pub fn issuer_bundle(data: &[u8]) {
    let Ok(bundle) = IssuerBundle::decode(data) else { return };
    for change in bundle.identity().changes() {
        assert!(SIGNED.histories.contains(&change.hash().to_string()), "a change that nobody signed");
    }
    let encoded = bundle.encode().unwrap();
    let as_text = IssuerBundle::from_hex(&hex::encode(&encoded)).unwrap();
    for again in [IssuerBundle::decode(&encoded).unwrap(), as_text] {
        assert_eq!(again.encode().unwrap(), encoded);
        assert_eq!(again.identity().compared_to(bundle.identity()), Relation::Equal);
        assert_eq!(again.attestations().map(<[_]>::len), bundle.attestations().map(<[_]>::len));
    }
}
