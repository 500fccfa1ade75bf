//! Private decoders, for fuzz/. Nothing that is shipped has them.

use channel::Route;

use crate::message::Message;
use crate::tcp;

/// The routes and the payload of a frame without its length.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<(Route, Route, Vec<u8>)> {
    tcp::decode(bytes.to_vec())
}

/// The frame of a message, without its length.
#[must_use]
pub fn written(onward: Route, back: Route, payload: Vec<u8>) -> Option<Vec<u8>> {
    tcp::encode(Message::new(onward, back, payload))
}
