//! The driver: a handshake together with the bound key that it needs. It awaits the key's vault and nothing else, names no
//! runtime, and carries no bytes: whoever has a transport gives it what came and sends what it says.

use identity::Timestamp;
use vault::{Agreer, Kind, SecretBytes};

use crate::channel::Channel;
use crate::error::{HandshakeError, Misuse, PeerFault};
use crate::handshake::{Handshake, Step};
use crate::peer::{Presentation, Trust};

/// What came of a message.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// Send this, and wait for the peer's next message.
    Send(Vec<u8>),
    /// The channel is open. The initiator has a last message to send, before any record.
    Open(Option<Vec<u8>>, Box<Channel>),
}

/// One side of a handshake, with its static key.
#[derive(Debug)]
pub struct Driver {
    handshake: Handshake,
    key: Agreer,
}

impl Driver {
    /// Opens a channel: as [`Handshake::initiate`].
    ///
    /// # Errors
    /// [`Misuse::OtherStaticKey`] when `key` is not what `own` attests; else as there.
    pub fn initiate(
        own: Presentation,
        key: Agreer,
        random: &SecretBytes,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        check_key(&own, &key)?;
        let (handshake, message) = Handshake::initiate(own, random)?;
        Ok((Self { handshake, key }, message))
    }

    /// Waits for a first message: as [`Handshake::respond`].
    ///
    /// # Errors
    /// As [`initiate`](Self::initiate).
    pub fn respond(own: Presentation, key: Agreer, random: &SecretBytes) -> Result<Self, HandshakeError> {
        check_key(&own, &key)?;
        Ok(Self { handshake: Handshake::respond(own, random)?, key })
    }

    /// A message came.
    ///
    /// # Errors
    /// As [`Handshake::receive`], and [`Us`](HandshakeError::Us) when the vault fails: then the message was taken, and
    /// [`resume`](Self::resume) asks the vault again.
    pub async fn receive(
        &mut self,
        message: &[u8],
        now: Timestamp,
        trust: &dyn Trust,
    ) -> Result<Progress, HandshakeError> {
        match self.handshake.receive(message, now, trust)? {
            Step::Send(message) => Ok(Progress::Send(message)),
            Step::Open(message, channel) => Ok(Progress::Open(message, channel)),
            Step::Agree(_) => self.resume().await,
        }
    }

    /// Asks the vault again, after it failed or its answer was not waited for.
    ///
    /// # Errors
    /// [`Us`](HandshakeError::Us) when it fails again; [`Misuse::NoAgreementExpected`] when nothing is to be asked.
    pub async fn resume(&mut self) -> Result<Progress, HandshakeError> {
        let peer = self.handshake.agreement().ok_or(Misuse::NoAgreementExpected)?;
        let secret = self.key.agree(&peer).await.map_err(|error| match error.kind() {
            // A key of small order is what the peer sent, not what our vault did.
            Kind::Rejected => HandshakeError::Peer(PeerFault::Rejected),
            _ => HandshakeError::Us(error),
        })?;
        match self.handshake.agreed(&secret)? {
            Step::Send(message) => Ok(Progress::Send(message)),
            Step::Open(message, channel) => Ok(Progress::Open(message, channel)),
            Step::Agree(_) => Err(Misuse::NoMessageExpected.into()),
        }
    }
}

fn check_key(own: &Presentation, key: &Agreer) -> Result<(), HandshakeError> {
    if own.is_of(key.public()) { Ok(()) } else { Err(Misuse::OtherStaticKey.into()) }
}
