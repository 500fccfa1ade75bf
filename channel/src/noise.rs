//! Noise XX as Ockam has it: three messages, as functions of what was sent and received (docs/formats.md, "handshake").
//!
//! Nothing here changes what it is given: each message makes a new state out of the one before, and only when all of it
//! was right. Who a static key belongs to, and what a payload means, is not asked here.
//!
//! Two things differ from the Noise specification: the protocol's name, and who gets which key at the end.

use sha2::{Digest, Sha256};
use vault::SecretBytes;

use crate::keys::{ChainingKey, EphemeralKey, RecordKey, Rejected, TAG};

/// The protocol's name: exactly 32 bytes, so that it is hashed once and used as it stands (Noise §5.2).
pub(crate) const NAME: [u8; 32] = *b"OCKAM_XX_25519_AES256_GCM_SHA256";

/// The most bytes of a handshake message (Noise §3).
pub(crate) const MAX_MESSAGE: usize = 65_535;

/// What the second message has beside its payload: an ephemeral key, a sealed static key, a tag. The third has less.
pub(crate) const OVERHEAD: usize = KEY + KEY + TAG + TAG;

const KEY: usize = 32;

/// Why a message was refused, or could not be made.
#[derive(Debug)]
pub(crate) enum Error {
    /// It is shorter or longer than such a message can be.
    Length,
    /// It was altered, was not meant for this handshake, or names a key of small order.
    Rejected,
    /// Our own keys failed us.
    Keys(vault::Error),
}

impl From<Rejected> for Error {
    fn from(Rejected: Rejected) -> Self {
        Self::Rejected
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        Self::Keys(error)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The hash of everything that was said (Noise §5.2, `h`). No secret.
#[derive(Clone, Copy)]
struct Transcript([u8; 32]);

impl Transcript {
    /// Our prologue is empty: hashing the name once stands for mixing that in.
    fn new(name: &[u8; 32]) -> Self {
        Self(Sha256::digest(name).into())
    }

    fn mix(self, said: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(said).finalize().into())
    }

    /// Seals under `key` and says it: appends it to `message`.
    fn seal(self, key: &RecordKey, nonce: u64, text: &[u8], message: &mut Vec<u8>) -> Result<Self> {
        let mut sealed = Vec::with_capacity(text.len() + TAG);
        sealed.extend_from_slice(text);
        let tag = key.seal(nonce, &self.0, &mut sealed)?;
        sealed.extend_from_slice(&tag);
        message.extend_from_slice(&sealed);
        Ok(self.mix(&sealed))
    }

    fn open(self, key: &RecordKey, nonce: u64, sealed: &[u8]) -> Result<(Self, Vec<u8>)> {
        let next = self.mix(sealed);
        let mut text = sealed.to_vec();
        let length = key.open(nonce, &self.0, &mut text)?.len();
        text.truncate(length);
        Ok((next, text))
    }

    fn open_key(self, key: &RecordKey, nonce: u64, sealed: &[u8]) -> Result<(Self, [u8; KEY])> {
        let (next, text) = self.open(key, nonce, sealed)?;
        Ok((next, text.try_into().map_err(|_| Error::Rejected)?))
    }
}

/// The channel's keys at the end of the handshake: the reverse of Noise §5.2, where the initiator sends by the first.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) by_initiator: RecordKey,
    pub(crate) by_responder: RecordKey,
}

impl Keys {
    fn of(chaining: &ChainingKey) -> Result<Self> {
        let (by_responder, by_initiator) = chaining.split()?;
        Ok(Self { by_initiator, by_responder })
    }
}

/// What a message brought: the sender's static key and payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) static_key: [u8; KEY],
    pub(crate) payload: Vec<u8>,
}

fn check_length(message: &[u8]) -> Result<()> {
    if message.len() > MAX_MESSAGE { Err(Error::Length) } else { Ok(()) }
}

fn split_key(message: &[u8]) -> Result<(&[u8; KEY], &[u8])> {
    message.split_first_chunk().ok_or(Error::Length)
}

/// A sealed static key, and a sealed payload after it.
fn split_sealed(rest: &[u8]) -> Result<(&[u8], &[u8])> {
    match rest.split_at_checked(KEY + TAG) {
        Some((key, payload)) if payload.len() >= TAG => Ok((key, payload)),
        _ => Err(Error::Length),
    }
}

/// The initiator, from its first message until the second comes.
pub(crate) struct Opened {
    ephemeral: EphemeralKey,
    transcript: Transcript,
    name: [u8; 32],
}

impl Opened {
    /// The first message. Its payload is not sealed; ours is empty, and mixed in all the same.
    pub(crate) fn write(name: &[u8; 32], ephemeral: EphemeralKey, payload: &[u8]) -> (Self, Vec<u8>) {
        let transcript = Transcript::new(name).mix(ephemeral.public()).mix(payload);
        let message = [ephemeral.public(), payload].concat();
        (Self { ephemeral, transcript, name: *name }, message)
    }

    /// Reads the second message.
    pub(crate) fn read(&self, message: &[u8]) -> Result<(Confirming, Brought)> {
        check_length(message)?;
        let (peer_ephemeral, rest) = split_key(message)?;
        let (sealed_key, sealed_payload) = split_sealed(rest)?;
        let transcript = self.transcript.mix(peer_ephemeral);
        let (chaining, key) = ChainingKey::new(&self.name).mix(&self.ephemeral.agree(peer_ephemeral)?)?;
        let (transcript, static_key) = transcript.open_key(&key, 0, sealed_key)?;
        let (chaining, key) = chaining.mix(&self.ephemeral.agree(&static_key)?)?;
        let (transcript, payload) = transcript.open(&key, 0, sealed_payload)?;
        let next = Confirming { peer_ephemeral: *peer_ephemeral, transcript, chaining, key };
        Ok((next, Brought { static_key, payload }))
    }
}

/// The initiator, from the second message until its static key has agreed with the peer's ephemeral one.
pub(crate) struct Confirming {
    pub(crate) peer_ephemeral: [u8; KEY],
    transcript: Transcript,
    chaining: ChainingKey,
    key: RecordKey,
}

impl Confirming {
    /// The third message. The static key goes under the key that has sealed the payload before: hence its nonce is 1.
    pub(crate) fn write(
        &self,
        static_key: &[u8; KEY],
        agreed: &SecretBytes,
        payload: &[u8],
    ) -> Result<(Keys, Vec<u8>)> {
        let mut message = Vec::with_capacity(OVERHEAD + payload.len());
        let transcript = self.transcript.seal(&self.key, 1, static_key, &mut message)?;
        let (chaining, key) = self.chaining.mix(agreed)?;
        transcript.seal(&key, 0, payload, &mut message)?;
        Ok((Keys::of(&chaining)?, message))
    }
}

/// The responder, from the first message until its static key has agreed with the peer's ephemeral one.
pub(crate) struct Heard {
    pub(crate) peer_ephemeral: [u8; KEY],
    transcript: Transcript,
    name: [u8; 32],
}

impl Heard {
    /// Reads the first message. Its payload may be anything: it is mixed in and not looked at.
    pub(crate) fn read(name: &[u8; 32], message: &[u8]) -> Result<Self> {
        check_length(message)?;
        let (peer_ephemeral, payload) = split_key(message)?;
        let transcript = Transcript::new(name).mix(peer_ephemeral).mix(payload);
        Ok(Self { peer_ephemeral: *peer_ephemeral, transcript, name: *name })
    }

    /// The second message.
    pub(crate) fn write(
        &self,
        ephemeral: EphemeralKey,
        static_key: &[u8; KEY],
        agreed: &SecretBytes,
        payload: &[u8],
    ) -> Result<(Answered, Vec<u8>)> {
        let mut message = Vec::with_capacity(OVERHEAD + payload.len());
        message.extend_from_slice(ephemeral.public());
        let transcript = self.transcript.mix(ephemeral.public());
        let (chaining, key) = ChainingKey::new(&self.name).mix(&ephemeral.agree(&self.peer_ephemeral)?)?;
        let transcript = transcript.seal(&key, 0, static_key, &mut message)?;
        let (chaining, key) = chaining.mix(agreed)?;
        let transcript = transcript.seal(&key, 0, payload, &mut message)?;
        Ok((Answered { ephemeral, transcript, chaining, key }, message))
    }
}

/// The responder, from its message until the third comes.
pub(crate) struct Answered {
    ephemeral: EphemeralKey,
    transcript: Transcript,
    chaining: ChainingKey,
    key: RecordKey,
}

impl Answered {
    /// Reads the third message.
    pub(crate) fn read(&self, message: &[u8]) -> Result<(Keys, Brought)> {
        check_length(message)?;
        let (sealed_key, sealed_payload) = split_sealed(message)?;
        let (transcript, static_key) = self.transcript.open_key(&self.key, 1, sealed_key)?;
        let (chaining, key) = self.chaining.mix(&self.ephemeral.agree(&static_key)?)?;
        let (_, payload) = transcript.open(&key, 0, sealed_payload)?;
        Ok((Keys::of(&chaining)?, Brought { static_key, payload }))
    }
}

#[cfg(test)]
mod tests;
