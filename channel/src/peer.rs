//! Who is at the two ends: what we present, what a peer presented, and who may open a channel.

use std::fmt;
use std::sync::Arc;

use identity::{
    Credential, Identifier, Identity, IssuerBundle, Kind, PurposeKey, PurposeKeyAttestation, Refusal,
    Relation, Rule, Timestamp, VerifiedAttestation, VerifiedCredential, verify,
};
use vault::AgreementKey;

use crate::error::PeerFault;
use crate::keys::x25519;
use crate::noise::{MAX_MESSAGE, OVERHEAD};
use crate::wire::{self, IdentityAndCredentials, MAX_CREDENTIALS, Raw};

/// What one side shows of itself: its change history, the attestation of its channel key, and credentials. Made once, used
/// in any number of handshakes.
#[derive(Clone)]
pub struct Presentation {
    payload: Arc<[u8]>,
    static_key: [u8; 32],
}

impl Presentation {
    /// Checks what will be shown, as the peer is going to.
    ///
    /// # Errors
    /// [`Refused`](Kind::Refused) when the attestation does not hold now, or attests no channel key; as
    /// [`TooLarge`](Refusal::TooLarge) when all of it does not fit a handshake message.
    pub fn new(
        identity: &Identity,
        attestation: &PurposeKeyAttestation,
        credentials: &[Credential],
        now: Timestamp,
    ) -> identity::Result<Self> {
        let proof = attestation.verify(identity, now)?;
        let PurposeKey::Channel(key) = proof.key() else { return Err(Refusal::OtherPurpose.into()) };
        let static_key = *x25519(key).ok_or(Refusal::OtherPurpose)?;
        let attestation = attestation.encode()?;
        let credentials = encode_credentials(credentials)?;
        let shown = IdentityAndCredentials {
            history: Raw(identity.as_bytes()),
            attestation: Raw(&attestation),
            credentials: credentials.iter().map(|one| Raw(one)).collect(),
        };
        let payload = minicbor::to_vec(&shown)
            .map_err(|_| identity::Error::invalid("the identity cannot be encoded"))?;
        if payload.len() > MAX_MESSAGE - OVERHEAD {
            return Err(Refusal::TooLarge.into());
        }
        Ok(Self { payload: payload.into(), static_key })
    }

    /// What somebody shows who checks nothing.
    #[cfg(test)]
    pub(crate) fn forged(payload: &[u8], key: &AgreementKey) -> Self {
        Self { payload: payload.into(), static_key: *x25519(key).unwrap() }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(crate) fn static_key(&self) -> &[u8; 32] {
        &self.static_key
    }

    /// Whether this is the key that is attested.
    #[must_use]
    pub fn is_of(&self, key: &AgreementKey) -> bool {
        x25519(key) == Some(&self.static_key)
    }
}

impl fmt::Debug for Presentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentation").field("bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

pub(crate) fn encode_credentials(credentials: &[Credential]) -> identity::Result<Vec<Vec<u8>>> {
    if credentials.len() > MAX_CREDENTIALS {
        return Err(Refusal::TooLarge.into());
    }
    credentials.iter().map(Credential::encode).collect()
}

/// What one side knows of others, and whom it speaks to. [`AnyPeer`] and [`Only`] are the simplest.
pub trait Trust: Send + Sync {
    /// Whether this peer may open a channel. What it holds has been verified.
    fn admits(&self, peer: &Peer) -> bool;

    /// The change history that is known of an identity. One that is older, or contradicts it, is refused.
    fn known(&self, identifier: &Identifier) -> Option<Arc<Identity>> {
        let _ = identifier;
        None
    }

    /// An issuer whose credentials count. Those of others are set aside, and the channel opens without.
    fn issuer(&self, identifier: &Identifier) -> Option<Arc<IssuerBundle>> {
        let _ = identifier;
        None
    }

    /// The rule by which credentials are verified.
    fn rule(&self) -> Rule {
        Rule::default()
    }
}

/// Trusts everybody to be who they prove to be, and knows no issuer.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyPeer;

impl Trust for AnyPeer {
    fn admits(&self, _: &Peer) -> bool {
        true
    }
}

/// Speaks to these alone.
#[derive(Clone, Debug)]
pub struct Only(pub Vec<Identifier>);

impl Trust for Only {
    fn admits(&self, peer: &Peer) -> bool {
        self.0.contains(&peer.identifier())
    }
}

/// A peer whose identity was verified: only a handshake makes one.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Identity,
    attestation: VerifiedAttestation,
    credentials: Vec<VerifiedCredential>,
    set_aside: Vec<SetAside>,
    bytes: usize,
}

/// A credential that was presented and does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetAside {
    /// It cannot be read.
    Unreadable,
    /// Its issuer is none of ours.
    UnknownIssuer(Identifier),
    /// It is refused by what the kind names.
    Refused(Identifier, Kind),
}

impl Peer {
    /// Its identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What names it.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.identity.identifier()
    }

    /// The proof that its channel key is its own.
    #[must_use]
    pub fn attestation(&self) -> &VerifiedAttestation {
        &self.attestation
    }

    /// Its credentials that are still good: a channel may outlive them.
    pub fn credentials(&self, now: Timestamp) -> impl Iterator<Item = &VerifiedCredential> {
        self.credentials.iter().filter(move |credential| now <= credential.expires_at())
    }

    /// The bytes of what it presented: how much memory it takes, about.
    #[must_use]
    pub fn presented_bytes(&self) -> usize {
        self.bytes
    }

    /// Credentials that it presented and that do not count, for logs.
    #[must_use]
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// Verifies what a peer presented in a handshake in which it has shown to hold `static_key`.
    pub(crate) fn verify(
        payload: &[u8],
        static_key: &[u8; 32],
        now: Timestamp,
        trust: &dyn Trust,
    ) -> Result<Self, PeerFault> {
        let shown: IdentityAndCredentials<'_> = wire::decode(payload).ok_or(PeerFault::Malformed)?;
        let identity = Identity::import(shown.history.0).map_err(PeerFault::Identity)?;
        check_known(&identity, trust).map_err(PeerFault::Identity)?;
        let attestation = PurposeKeyAttestation::decode(shown.attestation.0)
            .and_then(|attestation| attestation.verify(&identity, now))
            .map_err(PeerFault::Identity)?;
        match attestation.key() {
            PurposeKey::Channel(key) if x25519(key) == Some(static_key) => {}
            PurposeKey::Channel(_) => return Err(PeerFault::OtherKey),
            PurposeKey::Credential(_) => return Err(PeerFault::Identity(Refusal::OtherPurpose.into())),
        }
        let (credentials, set_aside) = sort(&shown.credentials, &identity.identifier(), now, trust);
        let peer = Self { identity, attestation, credentials, set_aside, bytes: payload.len() };
        if trust.admits(&peer) { Ok(peer) } else { Err(PeerFault::NotAdmitted(peer.identifier())) }
    }

    /// Verifies what the peer presents anew, and takes it in place of what was there.
    pub(crate) fn present(
        &mut self,
        history: &[u8],
        credentials: &[Raw<'_>],
        now: Timestamp,
        trust: &dyn Trust,
    ) -> identity::Result<()> {
        let identity = Identity::import_expected(history, &self.identifier())?;
        check_relation(&identity, &self.identity)?;
        check_known(&identity, trust)?;
        let (good, set_aside) = sort(credentials, &self.identifier(), now, trust);
        if let (true, Some(SetAside::Refused(_, Kind::Refused(refusal)))) =
            (good.is_empty(), set_aside.first())
        {
            return Err((*refusal).into());
        }
        if good.is_empty() && !set_aside.is_empty() {
            return Err(identity::Error::invalid("none of the new credentials is of an issuer that counts"));
        }
        let bytes = history.len() + credentials.iter().map(|one| one.0.len()).sum::<usize>();
        let attestation = self.attestation.clone();
        *self = Self { identity, attestation, credentials: good, set_aside, bytes };
        Ok(())
    }
}

fn check_known(identity: &Identity, trust: &dyn Trust) -> identity::Result<()> {
    match trust.known(&identity.identifier()) {
        Some(known) => check_relation(identity, &known),
        None => Ok(()),
    }
}

fn check_relation(shown: &Identity, known: &Identity) -> identity::Result<()> {
    match shown.compared_to(known) {
        Relation::Equal | Relation::Newer => Ok(()),
        Relation::Older => Err(Refusal::Older.into()),
        Relation::Conflict => Err(Refusal::Conflict.into()),
    }
}

/// Credentials that count, and those that do not.
fn sort(
    presented: &[Raw<'_>],
    subject: &Identifier,
    now: Timestamp,
    trust: &dyn Trust,
) -> (Vec<VerifiedCredential>, Vec<SetAside>) {
    let mut good = Vec::new();
    let mut set_aside = Vec::new();
    for one in presented {
        let Ok(credential) = Credential::decode(one.0) else {
            set_aside.push(SetAside::Unreadable);
            continue;
        };
        let Some(issuer) = trust.issuer(&credential.issuer()) else {
            set_aside.push(SetAside::UnknownIssuer(credential.issuer()));
            continue;
        };
        match verify(&credential, &issuer, Some(subject), now, trust.rule()) {
            Ok(verified) => good.push(verified),
            Err(error) => set_aside.push(SetAside::Refused(credential.issuer(), error.kind())),
        }
    }
    (good, set_aside)
}
