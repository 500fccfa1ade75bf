//! Parties with keys in vaults, and a handshake between two of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use identity::{
    Attributes, Credential, CredentialDraft, Identity, IssuerBundle, MEMBER_SCHEMA, PurposeKey,
    PurposeKeyAttestation, Rotation, Timestamp, Validity,
};
use vault::soft::SoftVault;
use vault::{
    AgreementFacet, AgreementKey, Agreer, Algorithm, Capabilities, Error, KeyHandle, KeyName, KeySpec, Kind,
    Pending, Scheme, SecretBytes, Signer, Signing, SigningFacet, Vault, VaultId, block_on,
};

use crate::{Channel, Driver, HandshakeError, Presentation, Progress, Trust};

/// When it begins.
pub(crate) const START: Timestamp = Timestamp(1_790_000_000);
/// An hour: how long attestations last here.
pub(crate) const HOUR: u64 = 3600;

/// Random bytes that a test knows.
pub(crate) fn seed(value: u8) -> SecretBytes {
    SecretBytes::new(vec![value; 32])
}

/// Software that can be told to fail, or to answer wrongly.
#[derive(Debug)]
pub(crate) struct Scripted {
    soft: SoftVault,
    /// How many agreements fail before one works.
    pub(crate) failures: AtomicUsize,
    /// What is answered instead of the secret, as a length of zeros; `usize::MAX` for the secret.
    pub(crate) zeros: AtomicUsize,
    /// Whether agreements never end.
    pub(crate) stuck: AtomicBool,
    /// How many agreements were asked for.
    pub(crate) asked: AtomicUsize,
}

impl Scripted {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            soft: SoftVault::in_memory().unwrap(),
            failures: AtomicUsize::new(0),
            zeros: AtomicUsize::new(usize::MAX),
            stuck: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Vault for Scripted {
    fn id(&self) -> &VaultId {
        self.soft.id()
    }

    fn scheme(&self) -> Scheme {
        self.soft.scheme()
    }

    fn capabilities(&self) -> &Capabilities {
        self.soft.capabilities()
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        self.soft.signing()
    }

    fn agreement(&self) -> Option<&dyn AgreementFacet> {
        Some(self)
    }
}

impl vault::Custody<vault::Agreement> for Scripted {
    fn generate<'a>(
        &'a self,
        spec: &'a KeySpec<vault::Agreement>,
    ) -> Pending<'a, KeyHandle<vault::Agreement>> {
        self.soft.agreement().unwrap().generate(spec)
    }

    fn open<'a>(&'a self, uri: &'a vault::KeyUri) -> Pending<'a, KeyHandle<vault::Agreement>> {
        self.soft.agreement().unwrap().open(uri)
    }

    fn destroy(&self, key: KeyHandle<vault::Agreement>) -> Pending<'_, ()> {
        self.soft.agreement().unwrap().destroy(key)
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        self.soft.agreement().unwrap().discard(name)
    }
}

impl AgreementFacet for Scripted {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<vault::Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.stuck.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.failures.load(Ordering::SeqCst) > 0 {
                self.failures.fetch_sub(1, Ordering::SeqCst);
                return Err(Error::new(Kind::Unavailable, "the device is away"));
            }
            match self.zeros.load(Ordering::SeqCst) {
                usize::MAX => self.soft.agreement().unwrap().agree(key, peer).await,
                length => Ok(SecretBytes::new(vec![0; length])),
            }
        })
    }
}

/// Somebody with an identity and a channel key.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) vault: Arc<Scripted>,
    pub(crate) primary: Signer,
    pub(crate) identity: Identity,
    pub(crate) key: Agreer,
    pub(crate) attestation: PurposeKeyAttestation,
    pub(crate) credentials: Vec<Credential>,
}

fn signing_key(vault: &Arc<Scripted>, algorithm: Algorithm, name: &str) -> Signer {
    let name = KeyName::new(name).unwrap();
    let spec: KeySpec<Signing> = match algorithm {
        Algorithm::EcdsaP256 => KeySpec::p256(name),
        _ => KeySpec::ed25519(name),
    };
    let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
    Signer::bind(vault.clone(), key).unwrap()
}

impl Party {
    /// With a primary key of this algorithm and an attestation for an hour.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let vault = Scripted::new();
        let primary = signing_key(&vault, algorithm, "primary-0");
        let identity = block_on(Identity::create(&primary, Validity::of_primary_key(START))).unwrap();
        let spec = KeySpec::x25519(KeyName::new("channel").unwrap());
        let key = block_on(vault.agreement().unwrap().generate(&spec)).unwrap();
        let key = Agreer::bind(vault.clone(), key).unwrap();
        let attestation = attest(&identity, &primary, key.public(), START);
        Self { vault, primary, identity, key, attestation, credentials: vec![] }
    }

    /// Sets another primary key, and has it attest the channel key.
    pub(crate) fn rotate(&mut self, algorithm: Algorithm) {
        let new = signing_key(&self.vault, algorithm, &format!("primary-{}", self.identity.len()));
        let rotation = Rotation { valid: Validity::of_primary_key(START), revoke_purpose_keys: false };
        self.identity = block_on(self.identity.rotate(&self.primary, &new, rotation)).unwrap();
        self.primary = new;
        self.attest(START);
    }

    /// Attests the channel key from then on, for an hour.
    pub(crate) fn attest(&mut self, from: Timestamp) {
        self.attestation = attest(&self.identity, &self.primary, self.key.public(), from);
    }

    /// What it shows.
    pub(crate) fn shown(&self) -> Presentation {
        let from = self.attestation.created_at();
        Presentation::new(&self.identity, &self.attestation, &self.credentials, from).unwrap()
    }
}

fn attest(
    identity: &Identity,
    primary: &Signer,
    key: &AgreementKey,
    from: Timestamp,
) -> PurposeKeyAttestation {
    let key = PurposeKey::Channel(key.clone());
    block_on(PurposeKeyAttestation::attest(identity, primary, &key, Validity::starting(from, HOUR))).unwrap()
}

/// Somebody who issues credentials.
pub(crate) struct Issuer {
    party: Party,
    key: Signer,
    attestation: PurposeKeyAttestation,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let party = Party::new(Algorithm::EcdsaP256);
        let key = signing_key(&party.vault, Algorithm::Ed25519, "credentials");
        let purpose = PurposeKey::Credential(key.public().clone());
        let valid = Validity::starting(START, 100 * HOUR);
        let attestation =
            block_on(PurposeKeyAttestation::attest(&party.identity, &party.primary, &purpose, valid))
                .unwrap();
        Self { party, key, attestation }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.party.identity
    }

    pub(crate) fn bundle(&self) -> Arc<IssuerBundle> {
        Arc::new(IssuerBundle::history_only(self.party.identity.clone()))
    }

    /// A credential about somebody, with a role.
    pub(crate) fn issue(&self, subject: &Identity, role: &str, seconds: u64) -> Credential {
        let attributes = Attributes::new(MEMBER_SCHEMA, [("role", role)]).unwrap();
        let proof = self.attestation.verify(self.identity(), START).unwrap();
        let draft = CredentialDraft::new(&self.attestation, &proof, subject, &attributes, START, seconds);
        block_on(draft.unwrap().sign(&self.key)).unwrap()
    }
}

/// Both drivers at the start, and the first message.
pub(crate) fn drivers(initiator: &Party, responder: &Party) -> (Driver, Driver, Vec<u8>) {
    let (one, first) = Driver::initiate(initiator.shown(), initiator.key.clone(), &seed(1)).unwrap();
    let two = Driver::respond(responder.shown(), responder.key.clone(), &seed(2)).unwrap();
    (one, two, first)
}

/// What is sent.
#[track_caller]
pub(crate) fn sent(progress: Progress) -> Vec<u8> {
    match progress {
        Progress::Send(message) => message,
        Progress::Open(..) => panic!("the channel is open already"),
    }
}

/// What is opened, and sent at last.
#[track_caller]
pub(crate) fn opened(progress: Progress) -> (Option<Vec<u8>>, Channel) {
    match progress {
        Progress::Open(message, channel) => (message, *channel),
        Progress::Send(_) => panic!("the channel is not open yet"),
    }
}

/// A handshake: the initiator's channel, and the responder's.
pub(crate) fn shake(
    (initiator, trusts): (&Party, &dyn Trust),
    (responder, also): (&Party, &dyn Trust),
    now: Timestamp,
) -> Result<(Channel, Channel), HandshakeError> {
    let (mut one, mut two, first) = drivers(initiator, responder);
    let second = sent(block_on(two.receive(&first, now, also))?);
    let (third, to_responder) = opened(block_on(one.receive(&second, now, trusts))?);
    let (nothing, to_initiator) = opened(block_on(two.receive(&third.unwrap(), now, also))?);
    assert!(nothing.is_none());
    Ok((to_responder, to_initiator))
}
