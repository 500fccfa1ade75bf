//! Workers: what stands at an address and takes messages.

use std::pin::Pin;

use channel::Address;

use crate::error::Result;
use crate::message::Message;
use crate::node::Node;

/// An answer that is awaited.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What stands at an address.
pub trait Worker: Send + Sync + 'static {
    /// A message came. The first address of its onward route is the worker's own.
    ///
    /// A failure is told to who sent the message when that is this node itself; everybody else sees silence, and the log
    /// has it. A service that can answer answers instead.
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()>;
}

/// How a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Within the task of whoever delivers: for what waits for nothing but the way on. What a slow peer sends there holds up
    /// that peer alone.
    Inline,
    /// In tasks of its own, as many as this at once: for what waits for a store or a device. Who delivers beyond that waits.
    Spawned(usize),
}

/// A worker, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Where it is.
    pub address: Address,
    /// What it is, in a word: `service`, `tcp`, `channel`, `relay`, `mailbox`.
    pub kind: &'static str,
}
