//! The handshake of both sides, as one machine that is told what happened and says what to do next.
//!
//! ```text
//! initiator  initiate → Send(1) … receive(2) → Agree … agreed → Open, and send (3)
//! responder  respond            … receive(1) → Agree … agreed → Send(2) … receive(3) → Open
//! ```
//!
//! It reads no clock, no socket and no randomness: they come in as values. The static key is used outside of it, in
//! whatever vault it lies: `Agree` says with whom it has to agree, and [`Handshake::agreed`] takes the answer.
//! What is refused changes nothing, so whoever can only inject messages cannot end a handshake.

use std::fmt;

use identity::Timestamp;
use vault::{AgreementKey, SecretBytes};

use crate::channel::Channel;
use crate::error::{HandshakeError, Misuse, PeerFault};
use crate::keys::{EphemeralKey, Rejected, check_agreed};
use crate::noise::{Answered, Confirming, Heard, NAME, Opened};
use crate::peer::{Peer, Presentation, Trust};

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Send this; then the peer's next message is awaited.
    Send(Vec<u8>),
    /// Have the static key agree with this key, and give [`Handshake::agreed`] the answer.
    Agree(AgreementKey),
    /// The channel is open for this side. The initiator has a last message to send, before any record.
    Open(Option<Vec<u8>>, Box<Channel>),
}

/// One side of a handshake.
pub struct Handshake {
    own: Presentation,
    state: State,
}

enum State {
    Opened(Opened),
    Confirming(Confirming, Box<Peer>),
    Listening(EphemeralKey),
    Answering(Heard, EphemeralKey),
    Answered(Answered),
    Done,
}

impl Handshake {
    /// Opens a channel: the handshake, and its first message to send. `random` are 32 fresh random bytes.
    ///
    /// # Errors
    /// [`Us`](HandshakeError::Us) when `random` has another length.
    pub fn initiate(own: Presentation, random: &SecretBytes) -> Result<(Self, Vec<u8>), HandshakeError> {
        let ephemeral = EphemeralKey::new(random).map_err(HandshakeError::Us)?;
        let (opened, message) = Opened::write(&NAME, ephemeral, &[]);
        Ok((Self { own, state: State::Opened(opened) }, message))
    }

    /// Waits for a first message. `random` are 32 fresh random bytes.
    ///
    /// # Errors
    /// [`Us`](HandshakeError::Us) when `random` has another length.
    pub fn respond(own: Presentation, random: &SecretBytes) -> Result<Self, HandshakeError> {
        let ephemeral = EphemeralKey::new(random).map_err(HandshakeError::Us)?;
        Ok(Self { own, state: State::Listening(ephemeral) })
    }

    /// A message came.
    ///
    /// # Errors
    /// [`Peer`](HandshakeError::Peer) when it is refused, [`Caller`](HandshakeError::Caller) when none is awaited.
    pub fn receive(
        &mut self,
        message: &[u8],
        now: Timestamp,
        trust: &dyn Trust,
    ) -> Result<Step, HandshakeError> {
        match &self.state {
            State::Opened(opened) => {
                let (next, brought) = opened.read(message)?;
                let peer = Peer::verify(&brought.payload, &brought.static_key, now, trust)?;
                let step = Step::Agree(AgreementKey::X25519(next.peer_ephemeral));
                self.state = State::Confirming(next, Box::new(peer));
                Ok(step)
            }
            State::Listening(ephemeral) => {
                let heard = Heard::read(&NAME, message)?;
                let step = Step::Agree(AgreementKey::X25519(heard.peer_ephemeral));
                self.state = State::Answering(heard, ephemeral.clone());
                Ok(step)
            }
            State::Answered(answered) => {
                let (keys, brought) = answered.read(message)?;
                let peer = Peer::verify(&brought.payload, &brought.static_key, now, trust)?;
                self.state = State::Done;
                Ok(Step::Open(None, Box::new(Channel::new(peer, keys.by_responder, keys.by_initiator))))
            }
            State::Confirming(..) | State::Answering(..) | State::Done => {
                Err(Misuse::NoMessageExpected.into())
            }
        }
    }

    /// The static key has agreed. When its vault failed instead, nothing need be said: the step can be taken again.
    ///
    /// # Errors
    /// [`Peer`](HandshakeError::Peer) when the answer shows that the peer's key is of small order,
    /// [`Us`](HandshakeError::Us) when it is none, [`Caller`](HandshakeError::Caller) when none is awaited.
    pub fn agreed(&mut self, secret: &SecretBytes) -> Result<Step, HandshakeError> {
        if !matches!(self.state, State::Confirming(..) | State::Answering(..)) {
            return Err(Misuse::NoAgreementExpected.into());
        }
        check_agreed(secret).map_err(HandshakeError::Us)?.map_err(|Rejected| PeerFault::Rejected)?;
        match &self.state {
            State::Confirming(confirming, peer) => {
                let (keys, message) = confirming.write(self.own.static_key(), secret, self.own.payload())?;
                let channel = Channel::new(Peer::clone(peer), keys.by_initiator, keys.by_responder);
                self.state = State::Done;
                Ok(Step::Open(Some(message), Box::new(channel)))
            }
            State::Answering(heard, ephemeral) => {
                let (own, payload) = (self.own.static_key(), self.own.payload());
                let (answered, message) = heard.write(ephemeral.clone(), own, secret, payload)?;
                self.state = State::Answered(answered);
                Ok(Step::Send(message))
            }
            _ => Err(Misuse::NoAgreementExpected.into()),
        }
    }

    /// The peer's key with which the static key has to agree now, if it has to.
    #[must_use]
    pub fn agreement(&self) -> Option<AgreementKey> {
        match &self.state {
            State::Confirming(Confirming { peer_ephemeral, .. }, _)
            | State::Answering(Heard { peer_ephemeral, .. }, _) => {
                Some(AgreementKey::X25519(*peer_ephemeral))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Opened(_) => "opened",
            State::Confirming(..) => "confirming",
            State::Listening(_) => "listening",
            State::Answering(..) => "answering",
            State::Answered(_) => "answered",
            State::Done => "done",
        };
        f.debug_struct("Handshake").field("state", &state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
