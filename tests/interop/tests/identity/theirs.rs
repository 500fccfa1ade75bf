//! We take what the published crates make.

use std::collections::BTreeMap;

use identity::{
    Credential, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation, Refusal, Relation, Rule, verify,
};
use interop::{ChannelOrCredentials, Judge, KeyType, NewCredential, NewIdentity};

use crate::made::{as_judged, now, sequences};

fn create(judge: &Judge, key_type: KeyType) -> Identity {
    let made = judge.create_identity(&NewIdentity { key_type, rotations: vec![], ttl: None }).unwrap();
    Identity::import_expected(&made.change_history, &made.identifier.parse().unwrap()).unwrap()
}

fn attributes() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs: [(&[u8], &[u8]); 5] =
        [(b"role", b"member"), (b"\xff\x00", b"\x80"), (b"", b""), (b"aa", b"2"), (b"identifier", b"x")];
    pairs.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// An attestation and a credential under the identity's latest change.
fn taken_under(judge: &Judge, current: &Identity, member: &Identity) -> Credential {
    let identifier = current.identifier().to_string();
    let channel =
        judge.attest(&identifier, ChannelOrCredentials::SecureChannel, KeyType::Ed25519, None).unwrap();
    assert_eq!(channel.change_history, current.as_bytes());
    let attestation = PurposeKeyAttestation::decode(&channel.attestation).unwrap();
    assert_eq!(attestation.encode().unwrap(), channel.attestation);
    assert!(matches!(attestation.verify(current, now()).unwrap().key(), PurposeKey::Channel(_)));

    let mut last = None;
    for key_type in [KeyType::Ed25519, KeyType::P256] {
        let issued = judge
            .issue_credential(NewCredential {
                issuer: &identifier,
                subject: &member.identifier().to_string(),
                subject_change_history: Some(member.as_bytes()),
                schema: 7,
                attributes: attributes(),
                ttl: 3600,
                new_key: Some(key_type),
            })
            .unwrap();
        let credential = Credential::decode(&issued.credential).unwrap();
        assert_eq!(credential.encode().unwrap(), issued.credential);
        let known = IssuerBundle::history_only(current.clone());
        for rule in [Rule::Reference, Rule::default()] {
            let proof = verify(&credential, &known, Some(&member.identifier()), now(), rule).unwrap();
            assert_eq!(proof.attributes().schema(), 7);
            let read = proof.attributes().iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
            assert_eq!(read.collect::<BTreeMap<_, _>>(), attributes());
            assert_eq!(proof.expires_at().since(proof.created_at()), 3600);
        }
        let wrong = verify(&credential, &known, Some(&current.identifier()), now(), Rule::Reference);
        assert_eq!(wrong.unwrap_err().refusal(), Some(Refusal::OtherCredentialSubject));
        last = Some(credential);
    }
    last.unwrap()
}

/// What was under the change before: refused by their rule, and by ours good for the overlap when it was attested before
/// the rotation, which in a test takes less than a second.
fn stale(judge: &Judge, credential: &Credential, next: &Identity, revoked: bool) {
    let known = IssuerBundle::history_only(next.clone());
    let stale = verify(credential, &known, None, now(), Rule::Reference);
    assert_eq!(stale.unwrap_err().refusal(), Some(Refusal::NotLatestChange));
    assert!(judge.verify_credential(next.as_bytes(), &credential.encode().unwrap(), None, None).is_err());
    let overlapping = verify(credential, &known, None, now(), Rule::default()).map_err(|e| e.refusal());
    let in_time = credential.attestation().created_at() < next.latest().valid_from();
    let expected = match (revoked, in_time) {
        (true, _) => Some(Some(Refusal::Revoked)),
        (false, true) => None,
        (false, false) => Some(Some(Refusal::NotLatestChange)),
    };
    assert_eq!(overlapping.err(), expected);
}

#[test]
fn identities_attestations_and_credentials_of_the_published_crates_are_taken() {
    let judge = Judge::new().unwrap();
    let member = create(&judge, KeyType::P256);
    for sequence in sequences(5) {
        let mut current = create(&judge, sequence[0]);
        let identifier = current.identifier().to_string();
        for (step, key_type) in sequence.iter().enumerate().skip(1) {
            let before = (step + 1 == sequence.len()).then(|| taken_under(&judge, &current, &member));
            let revoke = step % 2 == 0;
            let made = judge.rotate_identity(&identifier, *key_type, revoke, None).unwrap();
            let next = Identity::import_expected(&made.change_history, &current.identifier()).unwrap();
            assert_eq!(next.compared_to(&current), Relation::Newer);
            assert_eq!(next.latest().revokes_purpose_keys(), revoke);
            if let Some(before) = before {
                stale(&judge, &before, &next, revoke);
            }
            current = next;
        }
        assert_eq!(judge.verify_history(current.as_bytes(), Some(&identifier)).unwrap(), as_judged(&current));
        assert_eq!(current.len(), sequence.len());
        taken_under(&judge, &current, &member);
    }
}
