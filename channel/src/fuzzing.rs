//! Private decoders, for fuzz/. Nothing that is shipped has them.

use identity::{Identifier, Timestamp};

use crate::message::Message;
use crate::peer::{AnyPeer, Peer};

/// What one record says, written again.
#[must_use]
pub fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut again = Vec::new();
    Message::decode(bytes)?.encode(&mut again).ok()?;
    Some(again)
}

/// Who a peer is that presents this in a handshake in which it has shown to hold `static_key`.
#[must_use]
pub fn presented(bytes: &[u8], static_key: &[u8; 32], now: Timestamp) -> Option<Identifier> {
    Peer::verify(bytes, static_key, now, &AnyPeer).ok().map(|peer| peer.identifier())
}
