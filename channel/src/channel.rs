//! An open channel: who is at the other end, and a half for each direction.

use identity::Timestamp;

use crate::error::{RecordError, RecordFault};
use crate::keys::RecordKey;
use crate::message::{Message, Refresh};
use crate::peer::{Peer, Trust};
use crate::record::{RecordOpener, RecordSealer};

/// An open channel. Its halves work apart from each other: [`split`](Self::split).
///
/// The initiator's is open when the responder may still refuse the last message; nothing tells it so but that no record
/// comes back.
#[derive(Debug)]
pub struct Channel {
    peer: Peer,
    sealer: RecordSealer,
    opener: RecordOpener,
}

impl Channel {
    pub(crate) fn new(peer: Peer, seals: RecordKey, opens: RecordKey) -> Self {
        Self { peer, sealer: RecordSealer::new(seals), opener: RecordOpener::new(opens) }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// As [`RecordSealer::seal`].
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, message: Message<'_>) -> Result<Vec<u8>, RecordError> {
        self.sealer.seal(message)
    }

    /// As [`RecordOpener::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<Message<'r>, RecordError> {
        self.opener.open(record)
    }

    /// As [`Peer::refresh`].
    ///
    /// # Errors
    /// As there.
    pub fn refresh(
        &mut self,
        refresh: &Refresh<'_>,
        now: Timestamp,
        trust: &dyn Trust,
    ) -> Result<(), RecordError> {
        self.peer.refresh(refresh, now, trust)
    }

    /// As [`RecordSealer::close`]: the last record to send.
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> Result<Vec<u8>, RecordError> {
        self.sealer.close()
    }

    /// The peer and the two halves.
    #[must_use]
    pub fn split(self) -> (Peer, RecordSealer, RecordOpener) {
        (self.peer, self.sealer, self.opener)
    }
}

impl Peer {
    /// Takes credentials that the peer presents anew in place of those from before. Its history may have grown.
    ///
    /// # Errors
    /// [`RecordFault::Identity`] when the history is not the peer's, is older or contradicts what is known, or credentials
    /// were presented and none of them counts. What was known of the peer stays; the channel goes on.
    pub fn refresh(
        &mut self,
        Refresh(wire): &Refresh<'_>,
        now: Timestamp,
        trust: &dyn Trust,
    ) -> Result<(), RecordError> {
        let refreshed = self.present(wire.history.0, &wire.credentials, now, trust);
        refreshed.map_err(|error| RecordFault::Identity(error).into())
    }
}
