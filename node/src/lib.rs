//! Nodes: what carries secure channels and services, on tokio, byte-compatible with Ockam 0.150 (docs/formats.md, "nodes").
//!
//! A [`Node`] has [`Worker`]s at addresses. A [`Message`] has the rest of its way, the way back, and where it came from: its
//! [`Origin`], which it keeps wherever it is passed on. Nobody but the node itself may send to a worker unless its
//! [`Admission`] says so, and nobody gets out through a connection or channel of the node that is not theirs, unless a
//! worker is there to let them: deny by default. [`Policies`] decide on what the credentials of a peer say.
//!
//! [`Node::listen_tcp`] and [`Node::connect_tcp`] carry messages; [`Node::listen_channels`] and [`Node::open_channel`] open
//! secure channels over any route, end to end through whatever nodes are in between, which see ciphertext only.
//! [`Node::resolve`] makes a route of a [`multiaddr::MultiAddr`]. Each TCP address in a route is dialled by the node before it.
//!
//! What is sent inside one node is handed on within the task of who sent it, from worker to worker, so that a slow peer holds
//! up itself and nobody else; queues are bounded, and what waits in them too long is dropped.

mod admission;
mod channels;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod link;
mod message;
pub mod multiaddr;
mod node;
mod policies;
pub mod request;
mod resolve;
mod source;
mod tcp;
mod worker;
pub mod workers;

pub use admission::{Admission, Gate};
pub use channel::{Address, Route};
pub use channels::{ChannelInfo, ChannelLink, ChannelOptions, Opened, Party, Role};
pub use error::{Error, Kind, Result};
pub use message::{Message, Origin};
pub use node::{Forwarding, NoForwarding, Node, NodeOptions};
pub use policies::{ACTION, Policies, Resource};
pub use resolve::Resolved;
pub use source::Source;
pub use tcp::{MAX_FRAME, TCP, TcpConnectionInfo, TcpLink, TcpListenerInfo};
pub use worker::{Pending, Runs, Worker, WorkerInfo};
