//! What we make on keys of any vault, shown to the published crates step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use identity::{
    ATTESTATION_SECONDS, Attributes, Clock as _, CredentialDraft, Identity, IssuerBundle, MEMBER_SCHEMA,
    PurposeKey, PurposeKeyAttestation, Refusal, Rotation, Rule, SystemClock, Timestamp, Validity, verify,
};
use interop::{ChannelOrCredentials, Judge, KeyType, Kind, VerifiedHistory};
use vault::{AgreementKey, Algorithm, KeyName, KeySpec, Signer, Vault, block_on};

/// Every sequence of key types, up to this many.
pub(crate) fn sequences(longest: u32) -> Vec<Vec<KeyType>> {
    let key_type = |bit: bool| if bit { KeyType::P256 } else { KeyType::Ed25519 };
    let of = |length: u32| {
        (0..1 << length).map(move |n: u32| (0..length).map(|i| key_type(n >> i & 1 == 1)).collect())
    };
    (1..=longest).flat_map(of).collect()
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Makes keys in a vault, each under a name of its own.
pub(crate) struct Maker {
    vault: Arc<dyn Vault>,
    made: AtomicUsize,
}

impl Maker {
    pub(crate) fn new(vault: Arc<dyn Vault>) -> Self {
        Self { vault, made: AtomicUsize::new(0) }
    }

    fn name(&self) -> KeyName {
        KeyName::new(&format!("key-{}", self.made.fetch_add(1, Ordering::SeqCst))).unwrap()
    }

    pub(crate) fn signer(&self, key_type: KeyType) -> Signer {
        let algorithm = match key_type {
            KeyType::Ed25519 => Algorithm::Ed25519,
            KeyType::P256 => Algorithm::EcdsaP256,
        };
        let spec = KeySpec::new(self.name(), algorithm).unwrap();
        let key = block_on(self.vault.signing().unwrap().generate(&spec)).unwrap();
        Signer::bind(Arc::clone(&self.vault), key).unwrap()
    }

    pub(crate) fn channel_key(&self) -> AgreementKey {
        let spec = KeySpec::x25519(self.name());
        block_on(self.vault.agreement().unwrap().generate(&spec)).unwrap().public().clone()
    }
}

/// What we say of a history, in the judge's words.
pub(crate) fn as_judged(identity: &Identity) -> VerifiedHistory {
    VerifiedHistory {
        identifier: identity.identifier().to_string(),
        changes: identity.len(),
        latest_change_hash: identity.latest().hash().to_string(),
    }
}

fn attest(identity: &Identity, primary: &Signer, key: &PurposeKey) -> PurposeKeyAttestation {
    let valid = Validity::starting(now(), ATTESTATION_SECONDS);
    block_on(PurposeKeyAttestation::attest(identity, primary, key, valid)).unwrap()
}

/// Creates an identity with a key of the first type and rotates it through the others, taking the makers in turn. The
/// published crates have to take the history in the end, and what is attested and issued under it; and refuse what was
/// under the change before. (What was on the way is the end of a shorter sequence.)
pub(crate) fn judged(judge: &Judge, makers: &[&Maker], sequence: &[KeyType], member: &Identity) {
    let mut primary = makers[0].signer(sequence[0]);
    let mut current = block_on(Identity::create(&primary, Validity::of_primary_key(now()))).unwrap();
    let mut maker = makers[0];
    for (step, key_type) in sequence.iter().enumerate().skip(1) {
        maker = makers[step % makers.len()];
        let channel = || PurposeKey::Channel(maker.channel_key());
        let before = (step + 1 == sequence.len()).then(|| attest(&current, &primary, &channel()));
        let next_key = maker.signer(*key_type);
        let rotation =
            Rotation { valid: Validity::of_primary_key(now()), revoke_purpose_keys: step % 2 == 1 };
        let next = block_on(current.rotate(&primary, &next_key, rotation)).unwrap();
        assert_eq!(next.identifier(), current.identifier());
        if let Some(before) = before {
            judge.update_history(current.as_bytes(), next.as_bytes()).unwrap();
            let older = judge.update_history(next.as_bytes(), current.as_bytes()).unwrap_err();
            assert_eq!(older.kind(), Kind::Refused);
            let stale = judge.verify_attestation(next.as_bytes(), &before.encode().unwrap()).unwrap_err();
            assert_eq!(stale.kind(), Kind::Refused);
            let ours = before.verify(&next, now()).unwrap_err();
            assert_eq!(ours.refusal(), Some(Refusal::NotLatestChange));
        }
        (current, primary) = (next, next_key);
    }
    judged_under(judge, maker, &current, &primary, member);
}

fn judged_under(judge: &Judge, maker: &Maker, current: &Identity, primary: &Signer, member: &Identity) {
    let history = current.as_bytes();
    let identifier = current.identifier().to_string();
    assert_eq!(judge.verify_history(history, Some(&identifier)).unwrap(), as_judged(current));

    let channel = maker.channel_key();
    let attestation = attest(current, primary, &PurposeKey::Channel(channel.clone()));
    let attested = judge.verify_attestation(history, &attestation.encode().unwrap()).unwrap();
    assert_eq!(attested.purpose, ChannelOrCredentials::SecureChannel);
    assert_eq!(attested.public_key, channel.as_bytes());

    for key_type in [KeyType::Ed25519, KeyType::P256] {
        let key = maker.signer(key_type);
        let attestation = attest(current, primary, &PurposeKey::Credential(key.public().clone()));
        let attested = judge.verify_attestation(history, &attestation.encode().unwrap()).unwrap();
        assert_eq!(
            (attested.subject.as_str(), attested.purpose),
            (&*identifier, ChannelOrCredentials::Credentials)
        );
        assert_eq!(attested.public_key, key.public().as_bytes());
        assert_eq!(attested.created_at, attestation.created_at().0);
        assert_eq!(attested.expires_at, attestation.expires_at().0);
        judged_credential(judge, current, &attestation, &key, member);
    }
}

fn judged_credential(
    judge: &Judge,
    issuer: &Identity,
    attestation: &PurposeKeyAttestation,
    key: &Signer,
    member: &Identity,
) {
    let issued_at = now();
    let pairs = [("trust_context_id", "p1"), ("ockam-role", "enroller"), ("b", ""), ("aa", "ünï")];
    let attributes = Attributes::new(MEMBER_SCHEMA, pairs).unwrap();
    let proof = attestation.verify(issuer, issued_at).unwrap();
    let draft = CredentialDraft::new(attestation, &proof, member, &attributes, issued_at, 3600).unwrap();
    let credential = block_on(draft.sign(key)).unwrap();
    let bytes = credential.encode().unwrap();
    let subject = member.identifier().to_string();
    let verified =
        judge.verify_credential(issuer.as_bytes(), &bytes, Some(&subject), Some(member.as_bytes())).unwrap();
    assert_eq!((&verified.subject, &verified.issuer), (&subject, &issuer.identifier().to_string()));
    assert_eq!(verified.schema, MEMBER_SCHEMA);
    assert_eq!((verified.created_at, verified.expires_at), (issued_at.0, issued_at.0 + 3599));
    let read: Vec<_> =
        verified.attributes.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    assert_eq!(read, attributes.iter().collect::<Vec<_>>());

    let other = judge.verify_credential(issuer.as_bytes(), &bytes, Some(&verified.issuer), None).unwrap_err();
    assert_eq!(other.kind(), Kind::Refused);
    let known = IssuerBundle::history_only(issuer.clone());
    assert!(verify(&credential, &known, Some(&member.identifier()), now(), Rule::Reference).is_ok());
}
