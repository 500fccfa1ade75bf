//! Bytes that are known to be right (tests/vectors/known-answers.txt): what we make from the same seeds equals them, and
//! what the published crates made is read as it was meant.

use identity::{
    Attributes, Credential, CredentialDraft, Identity, IssuerBundle, MEMBER_SCHEMA, PurposeKey,
    PurposeKeyAttestation, Rotation, Rule, Timestamp, Validity, verify,
};
use sha2::{Digest as _, Sha256};
use vault::{AgreementKey, Signer, block_on};

use crate::raw;
use crate::seeds::ed25519;

const VECTORS: &str = include_str!("../../../tests/vectors/known-answers.txt");

/// The identities were made then.
const MADE: Timestamp = Timestamp(1_700_000_000);
/// The public half of the X25519 key of which every byte is 2 (RFC 7748 §5 gives it).
const CHANNEL_KEY: &str = "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59";

fn known(name: &str) -> &'static str {
    let mut lines = VECTORS.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no vector {name}")).1
}

fn five_years() -> Validity {
    Validity::starting(MADE, identity::ATTESTATION_SECONDS)
}

fn identity_of(seed: u8) -> (Signer, Identity) {
    let primary = ed25519(seed);
    let identity = block_on(Identity::create(&primary, Validity::of_primary_key(MADE))).unwrap();
    (primary, identity)
}

fn attested(key: &PurposeKey) -> PurposeKeyAttestation {
    let (primary, identity) = identity_of(1);
    block_on(PurposeKeyAttestation::attest(&identity, &primary, key, five_years())).unwrap()
}

#[test]
fn histories_made_by_the_published_crates_have_their_identifiers() {
    for name in ["a", "b", "c", "d"] {
        let identity = Identity::import_hex(known(&format!("history-{name}"))).unwrap();
        assert_eq!(identity.identifier().to_string(), known(&format!("identifier-{name}")));
        assert_eq!(identity.len(), 1);
        assert_eq!(identity.to_hex(), known(&format!("history-{name}")));
        // The validity stands in the bytes, where it can be read without our decoder.
        for time in [identity.latest().valid_from(), identity.latest().valid_until()] {
            assert!(known(&format!("history-{name}")).contains(&format!("1a{:08x}", time.0)), "{name}");
        }
    }
}

#[test]
fn an_identity_is_made_and_rotated_byte_for_byte() {
    let (old, first) = identity_of(1);
    assert_eq!(first.to_hex(), known("identity-1"));
    assert_eq!(first.identifier().to_string(), known("identifier-1"));
    assert_eq!(identity_of(4).1.identifier().to_string(), known("identifier-2"));

    let valid = Validity::of_primary_key(MADE.after(500));
    let rotation = Rotation { valid, revoke_purpose_keys: false };
    let second = block_on(first.rotate(&old, &ed25519(5), rotation)).unwrap();
    assert_eq!(second.to_hex(), known("identity-1-rotated"));
    assert_eq!(second.identifier(), first.identifier());
    assert_eq!(second.latest().hash().to_string(), known("latest-change-hash-1-rotated"));
    assert_eq!(
        Identity::import_hex(known("identity-1-rotated")).unwrap().latest().hash(),
        second.latest().hash()
    );
}

#[test]
fn the_identifier_is_the_hash_of_the_first_signed_body() {
    let bytes = hex::decode(known("identity-1-rotated")).unwrap();
    // array(2), array(2), byte string of 0x37 bytes.
    let body = &bytes[4..4 + 0x37];
    assert_eq!(known("identifier-1"), format!("I{}", hex::encode(Sha256::digest(body))));
}

#[test]
fn attestations_of_both_kinds_are_made_byte_for_byte() {
    let channel = hex::decode(CHANNEL_KEY).unwrap().try_into().unwrap();
    let channel = attested(&PurposeKey::Channel(AgreementKey::X25519(channel)));
    assert_eq!(channel.to_hex().unwrap(), known("channel-attestation-1"));
    let credential = attested(&PurposeKey::Credential(ed25519(3).public().clone()));
    assert_eq!(credential.to_hex().unwrap(), known("credential-key-attestation-1"));

    let (_, identity) = identity_of(1);
    for name in ["channel-attestation-1", "credential-key-attestation-1"] {
        let attestation = PurposeKeyAttestation::from_hex(known(name)).unwrap();
        let proof = attestation.verify(&identity, MADE).unwrap();
        assert_eq!(proof.subject(), identity.identifier());
        assert_eq!((proof.created_at(), proof.expires_at()), (MADE, Timestamp(1_857_680_000)));
        assert_eq!(proof.key(), &attestation.key().unwrap());
    }
}

#[test]
fn a_credential_is_made_byte_for_byte() {
    let (_, issuer) = identity_of(1);
    let (_, member) = identity_of(4);
    let key = ed25519(3);
    let attestation = attested(&PurposeKey::Credential(key.public().clone()));
    let (at, last) = (MADE.after(100), Timestamp(1_702_592_100));
    let proof = attestation.verify(&issuer, at).unwrap();
    let pairs = [("trust_context_id", "p1"), ("ockam-role", "enroller")];
    let attributes = Attributes::new(MEMBER_SCHEMA, pairs).unwrap();
    // What we issue ends before `at + seconds`; the last second of the vector is the 30 days themselves.
    let seconds = last.since(at) + 1;
    let draft = CredentialDraft::new(&attestation, &proof, &member, &attributes, at, seconds).unwrap();
    assert_eq!(draft.expires_at(), last);
    let hash = draft.hash();
    let credential = block_on(draft.sign(&key)).unwrap();
    assert_eq!(credential.to_hex().unwrap(), known("credential-1-about-2"));
    assert_eq!(credential.hash(), hash);
    // array(2), array(2), byte string of 0x7f bytes.
    let bytes = credential.encode().unwrap();
    assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&bytes[4..4 + 0x7f])));

    let received = Credential::from_hex(known("credential-1-about-2")).unwrap();
    let issuer = IssuerBundle::history_only(issuer);
    for rule in [Rule::Reference, Rule::default()] {
        let proof = verify(&received, &issuer, Some(&member.identifier()), last, rule).unwrap();
        assert_eq!(proof.attributes().text().collect::<Vec<_>>(), [pairs[1], pairs[0]]);
        assert_eq!(proof.attributes().schema(), MEMBER_SCHEMA);
        assert_eq!((proof.subject(), proof.issuer()), (member.identifier(), issuer.identifier()));
        assert_eq!((proof.created_at(), proof.expires_at()), (at, last));
        assert_eq!(proof.rule(), rule);
    }
}

#[test]
fn attributes_are_ordered_by_their_bytes_and_not_by_their_length() {
    let (_, issuer) = identity_of(1);
    let key = ed25519(3);
    let attestation = attested(&PurposeKey::Credential(key.public().clone()));
    let proof = attestation.verify(&issuer, MADE).unwrap();
    let attributes = Attributes::new(1, [("b", "1"), ("aa", "2")]).unwrap();
    let draft = CredentialDraft::new(&attestation, &proof, &issuer, &attributes, MADE, 60).unwrap();
    let credential = block_on(draft.sign(&key)).unwrap().to_hex().unwrap();
    assert!(credential.contains(known("attributes-aa-b")), "{credential}");
}

/// The bodies of this suite's own encoder are the ones that the vectors hold; what it is used for stands on that.
#[test]
fn the_encoder_of_these_tests_makes_the_known_bytes_too() {
    let window = (raw::Item::Uint(MADE.0), raw::Item::Uint(2_015_360_000));
    assert_eq!(hex::encode(raw::first_history(&ed25519(1), window)), known("identity-1"));

    let (primary, issuer) = identity_of(1);
    let window = (raw::Item::Uint(MADE.0), raw::Item::Uint(1_857_680_000));
    let key = raw::credential_key(ed25519(3).public());
    let data = raw::attestation_data(issuer.identifier(), issuer.latest().hash(), key, window);
    let body = raw::body(1, raw::ATTESTATION, &data);
    let attestation = raw::signed(&body, &primary);
    assert_eq!(hex::encode(attestation.encode()), known("credential-key-attestation-1"));

    let channel = raw::channel_key(hex::decode(CHANNEL_KEY).unwrap().try_into().unwrap());
    let window = (raw::Item::Uint(MADE.0), raw::Item::Uint(1_857_680_000));
    let data = raw::attestation_data(issuer.identifier(), issuer.latest().hash(), channel, window);
    let body = raw::body(1, raw::ATTESTATION, &data);
    assert_eq!(hex::encode(raw::signed(&body, &primary).encode()), known("channel-attestation-1"));
}
