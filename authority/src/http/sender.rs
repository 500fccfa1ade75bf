//! Who sent a request, as far as the server remembers: verified histories and request keys, by what a signature's `keyid`
//! names. Nothing here is needed to be right, only to be quick: what is forgotten is asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{Identity, RequestKeyAttestation, Timestamp, VerifiedRequestKey};
use minicbor::{Decode, Encode};

use super::fault::Fault;
use super::signature::KeyId;

/// Shows the sender's change history and the attestation of the request key: base64 of the CBOR array of both.
pub(crate) const IDENTITY: &str = "ockam-identity";
/// The most bytes of that header's value.
pub const MAX_IDENTITY: usize = 32 * 1024;

/// How many request keys of one identity are remembered: one for each machine that it uses.
const KEYS: usize = 4;
/// How many identities are remembered in each of two generations.
const SENDERS: usize = 1024;

/// Borrowed from what the header held: whoever shows it is not known yet, so it is not copied.
#[derive(Debug, Encode, Decode)]
struct ShownWire<'a> {
    #[cbor(b(0), with = "minicbor::bytes")]
    history: &'a [u8],
    #[cbor(b(1), with = "minicbor::bytes")]
    attestation: &'a [u8],
}

/// Writes the header.
pub(crate) fn show(identity: &Identity, attestation: &[u8]) -> Option<String> {
    let shown = ShownWire { history: identity.as_bytes(), attestation };
    Some(STANDARD.encode(minicbor::to_vec(&shown).ok()?)).filter(|header| header.len() <= MAX_IDENTITY)
}

/// What a header shows, decoded. The history is not verified.
#[derive(Debug)]
pub(crate) struct Shown {
    // INVARIANT: decodes to what `read` found in it.
    bytes: Vec<u8>,
    pub(crate) attestation: RequestKeyAttestation,
}

impl Shown {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Fault::Identity`].
    pub(crate) fn read(header: &str) -> Result<Self, Fault> {
        if header.len() > MAX_IDENTITY {
            return Err(Fault::Identity);
        }
        let bytes = STANDARD.decode(header).map_err(|_| Fault::Identity)?;
        let attestation =
            RequestKeyAttestation::decode(wire(&bytes)?.attestation).map_err(|_| Fault::Identity)?;
        Ok(Self { bytes, attestation })
    }

    /// The history, encoded.
    pub(crate) fn history(&self) -> &[u8] {
        wire(&self.bytes).map_or(&[], |shown| shown.history)
    }

    /// Verifies the history, which costs two checks of a signature for each change.
    ///
    /// # Errors
    /// [`Fault::Identity`].
    pub(crate) fn verify(&self) -> Result<Identity, Fault> {
        Identity::import(self.history()).map_err(|_| Fault::Identity)
    }
}

fn wire(bytes: &[u8]) -> Result<ShownWire<'_>, Fault> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let shown = decoder.decode().map_err(|_| Fault::Identity)?;
    if decoder.position() == bytes.len() { Ok(shown) } else { Err(Fault::Identity) }
}

/// A sender that was verified.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) identity: Identity,
    /// Its request keys, the latest shown first.
    pub(crate) keys: Vec<VerifiedRequestKey>,
}

/// The senders of late. Two generations: those that nobody heard of while a whole generation filled up are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    young: HashMap<KeyId, Arc<Sender>>,
    old: HashMap<KeyId, Arc<Sender>>,
}

impl Senders {
    pub(crate) fn find(&mut self, id: &KeyId) -> Option<Arc<Sender>> {
        if let Some(sender) = self.young.get(id) {
            return Some(Arc::clone(sender));
        }
        let sender = self.old.remove(id)?;
        self.put(*id, Arc::clone(&sender));
        Some(sender)
    }

    /// Remembers a request key that was shown, and drops those that have expired.
    pub(crate) fn remember(
        &mut self,
        id: KeyId,
        identity: Identity,
        key: VerifiedRequestKey,
        now: Timestamp,
    ) {
        let known = self.find(&id);
        let good = |other: &&VerifiedRequestKey| other.expires_at() >= now && other.key() != key.key();
        let others: Vec<_> =
            known.iter().flat_map(|sender| &sender.keys).filter(good).take(KEYS - 1).cloned().collect();
        let keys = std::iter::once(key).chain(others).collect();
        self.put(id, Arc::new(Sender { identity, keys }));
    }

    fn put(&mut self, id: KeyId, sender: Arc<Sender>) {
        if self.young.len() >= SENDERS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Validity;
    use vault::soft::SoftVault;
    use vault::{KeyName, KeySpec, Signer, Vault};

    const NOW: Timestamp = Timestamp(1_790_000_000);

    struct Someone {
        vault: Arc<dyn Vault>,
        primary: Signer,
        identity: Identity,
    }

    fn signer(vault: &Arc<dyn Vault>, name: &str) -> Signer {
        let spec = KeySpec::ed25519(KeyName::new(name).unwrap());
        let key = vault::block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        Signer::bind(Arc::clone(vault), key).unwrap()
    }

    impl Someone {
        fn new() -> Self {
            let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
            let primary = signer(&vault, "primary");
            let identity =
                vault::block_on(Identity::create(&primary, Validity::of_primary_key(NOW))).unwrap();
            Self { vault, primary, identity }
        }

        fn id(&self) -> KeyId {
            KeyId { identifier: self.identity.identifier(), change: self.identity.latest().hash() }
        }

        fn attestation(&self, name: &str, seconds: u64) -> RequestKeyAttestation {
            let (key, valid) = (signer(&self.vault, name), Validity::starting(NOW, seconds));
            let attest = RequestKeyAttestation::attest(&self.identity, &self.primary, key.public(), valid);
            vault::block_on(attest).unwrap()
        }

        fn key(&self, name: &str, seconds: u64) -> VerifiedRequestKey {
            self.attestation(name, seconds).verify(&self.identity, NOW).unwrap()
        }
    }

    #[test]
    fn what_is_shown_is_read() {
        let someone = Someone::new();
        let attestation = someone.attestation("a", 60);
        let header = show(&someone.identity, &attestation.encode().unwrap()).unwrap();
        let shown = Shown::read(&header).unwrap();
        assert_eq!(shown.history(), someone.identity.as_bytes());
        let identity = shown.verify().unwrap();
        assert_eq!(identity.as_bytes(), someone.identity.as_bytes());
        assert!(shown.attestation.verify(&identity, NOW).is_ok());
        assert_eq!(show(&someone.identity, &[0; MAX_IDENTITY]), None, "too long to be shown");
    }

    #[test]
    fn the_latest_keys_of_an_identity_are_remembered() {
        let (someone, mut senders) = (Someone::new(), Senders::default());
        let id = someone.id();
        let mut remember = |name: &str, seconds, now| {
            senders.remember(id, someone.identity.clone(), someone.key(name, seconds), now);
            senders.find(&id).unwrap().keys.len()
        };
        assert_eq!(remember("short", 10, NOW), 1);
        assert_eq!(remember("b", 60, NOW), 2);
        assert_eq!(remember("c", 60, NOW.after(11)), 2, "the one that expired is dropped");
        for name in ["d", "e", "f"] {
            remember(name, 60, NOW);
        }
        let last = someone.key("g", 60);
        senders.remember(id, someone.identity.clone(), last.clone(), NOW);
        senders.remember(id, someone.identity.clone(), last.clone(), NOW);
        let keys = &senders.find(&id).unwrap().keys;
        assert_eq!(keys.len(), KEYS);
        assert_eq!(keys[0].key(), last.key());
        assert_ne!(keys[1].key(), last.key(), "shown twice, it is there once");
    }

    #[test]
    fn those_that_are_heard_of_stay() {
        let (someone, mut senders) = (Someone::new(), Senders::default());
        let key = someone.key("a", 60);
        let other = |n: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            KeyId {
                identifier: identity::Identifier::from_bytes(bytes),
                change: someone.identity.latest().hash(),
            }
        };
        let (quiet, busy) = (other(u64::MAX), someone.id());
        for id in [quiet, busy] {
            senders.remember(id, someone.identity.clone(), key.clone(), NOW);
        }
        for n in 0..4 * SENDERS as u64 {
            senders.remember(other(n), someone.identity.clone(), key.clone(), NOW);
            assert!(senders.find(&busy).is_some());
            assert!(senders.young.len() + senders.old.len() <= 2 * SENDERS);
        }
        assert!(senders.find(&quiet).is_none());
    }
}
