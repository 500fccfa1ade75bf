//! The services on a node: workers at their addresses, which only channels of the listener reach.

use std::net::SocketAddr;
use std::sync::Arc;

use channel::AnyPeer;
use node::workers::Echo;
use node::{Address, Admission, ChannelOptions, Message, Node, NodeOptions, Party, Pending, Runs, Worker};
use tokio::net::TcpListener;

use super::Service;
use super::desk::{Desk, Options};
use crate::service::Authority;

/// The address of the listener of channels.
pub const LISTENER: &str = "api";
/// The address of the service that sends back what it is sent.
const ECHO: &str = "echo";
/// How many requests one service answers at a time; whoever comes then waits.
const AT_ONCE: usize = 256;

/// The door that is open: a node that has the services and nothing else.
#[derive(Debug)]
pub struct Door {
    node: Node,
    socket: SocketAddr,
}

impl Door {
    /// Opens the door behind a TCP listener: at the address [`LISTENER`] channels are taken of anybody who proves to be somebody. What
    /// is shown to them is asked of `party` at each handshake, so that a rotation is seen at the next.
    ///
    /// # Errors
    /// When the listener has no address.
    pub async fn open(
        authority: &Authority,
        party: Arc<dyn Party>,
        listener: TcpListener,
        options: Options,
    ) -> node::Result<Self> {
        let node = Node::new(NodeOptions {
            clock: Arc::new(authority.clone()),
            connections: options.connections,
            ..NodeOptions::default()
        });
        let opened = Self::put_up(&node, authority, party, listener, options);
        match opened {
            Ok(socket) => Ok(Self { node, socket }),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    fn put_up(
        node: &Node,
        authority: &Authority,
        party: Arc<dyn Party>,
        tcp: TcpListener,
        options: Options,
    ) -> node::Result<SocketAddr> {
        let listener = Address::local(LISTENER);
        let behind_it = || Admission::local().of_listener(&listener);
        node.start_worker(Address::local(ECHO), Echo, behind_it(), Runs::Inline)?;
        let desk = Desk::new(authority.clone(), options);
        for service in desk.options().services() {
            let worker = Counter { desk: desk.clone(), service };
            node.start_worker(
                Address::local(service.address()),
                worker,
                behind_it(),
                Runs::Spawned(AT_ONCE),
            )?;
        }
        // Which history a peer shows is looked at with its first request: a conflict is then kept as evidence.
        let options = ChannelOptions::new(party, Arc::new(AnyPeer));
        node.listen_channels(listener, options, Admission::local().tcp())?;
        // Last: whoever comes finds everything in its place.
        Ok(node.take_tcp_listener(tcp)?.socket)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.socket
    }

    /// Closes it: peers are told.
    pub async fn close(self) {
        self.node.stop().await;
    }
}

/// One service, as a worker.
struct Counter {
    desk: Desk,
    service: Service,
}

impl Worker for Counter {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            let payload = zeroize::Zeroizing::new(std::mem::take(&mut message.payload));
            let peer = message.peer();
            let source = message.origin().carried_from().map(|remote| remote.ip());
            let answer = self.desk.answer(peer.as_deref(), source, self.service, &payload).await;
            node.send(message.answer(answer)).await
        })
    }
}
