//! Workers that nodes have: `echo`, `uppercase`, `hop`, and relays.

mod relay;
mod text;

pub use relay::{RELAY_PREFIX, RelayInfo, RelayRule, RelayService};
pub use text::{decode_text, encode_text};

use crate::error::{Error, Kind};
use crate::message::Message;
use crate::node::Node;
use crate::worker::{Pending, Worker};

/// Sends back what it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Worker for Echo {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        let payload = std::mem::take(&mut message.payload);
        node.send(message.answer(payload))
    }
}

/// Sends back the text that it was sent, in capitals.
#[derive(Clone, Copy, Debug)]
pub struct Uppercase;

impl Worker for Uppercase {
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()> {
        // Who sends something else is told so, in the only form that there is: a text.
        let answer = match decode_text(&message.payload) {
            Some(text) => encode_text(&text.to_uppercase()),
            None => encode_text("error: that is no text"),
        };
        node.send(message.answer(answer))
    }
}

/// Passes messages on to their next address, and their answers back: a bridge between what it can reach and whoever reaches
/// it. So it is started by who wants one, and not by itself.
#[derive(Clone, Copy, Debug)]
pub struct Hop;

impl Worker for Hop {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            let own = message.take_next().ok_or_else(|| Error::new(Kind::Invalid, "the route is empty"))?;
            message.return_route.0.insert(0, own);
            node.send(message.passed_on()).await
        })
    }
}
