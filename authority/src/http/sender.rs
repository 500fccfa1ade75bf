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

#[derive(Debug, Encode, Decode)]
struct ShownWire {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    history: Vec<u8>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    attestation: Vec<u8>,
}

/// Writes the header.
pub(crate) fn show(identity: &Identity, attestation: &[u8]) -> Option<String> {
    let shown = ShownWire { history: identity.as_bytes().to_vec(), attestation: attestation.to_vec() };
    Some(STANDARD.encode(minicbor::to_vec(&shown).ok()?)).filter(|header| header.len() <= MAX_IDENTITY)
}

/// Reads the header, verifying the history. The attestation is decoded and not yet checked.
///
/// # Errors
/// [`Fault::Identity`].
pub(crate) fn read(header: &str) -> Result<(Identity, RequestKeyAttestation), Fault> {
    if header.len() > MAX_IDENTITY {
        return Err(Fault::Identity);
    }
    let bytes = STANDARD.decode(header).map_err(|_| Fault::Identity)?;
    let mut decoder = minicbor::Decoder::new(&bytes);
    let shown: ShownWire = decoder.decode().map_err(|_| Fault::Identity)?;
    if decoder.position() != bytes.len() {
        return Err(Fault::Identity);
    }
    // The attestation first: it is cheap, and a history costs two checks a change.
    let attestation = RequestKeyAttestation::decode(&shown.attestation).map_err(|_| Fault::Identity)?;
    let identity = Identity::import(&shown.history).map_err(|_| Fault::Identity)?;
    Ok((identity, attestation))
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
