//! A node that others open secure channels to: it listens on TCP, answers handshakes at `api`, and sends back in capitals what
//! it is sent through a channel.
//!
//! ```sh
//! cargo run --example responder -- 127.0.0.1:4003
//! ```

#[path = "party/mod.rs"]
mod party;

use std::net::SocketAddr;
use std::sync::Arc;

use channel::AnyPeer;
use node::workers::Uppercase;
use node::{Address, Admission, ChannelOptions, Node, NodeOptions, Result, Runs};
use party::Party;

/// The node, and where it listens.
pub(crate) async fn start(on: SocketAddr) -> Result<(Node, SocketAddr)> {
    let node = Node::new(NodeOptions::default());
    let api = Address::local("api");
    let options = ChannelOptions::new(Arc::new(Party::new().await?), Arc::new(AnyPeer));
    // Handshakes come over TCP, from whoever. The service is reached through a channel alone.
    node.listen_channels(api.clone(), options, Admission::local().tcp())?;
    let inside = Admission::local().of_listener(&api);
    node.start_worker(Address::local("uppercase"), Uppercase, inside, Runs::Inline)?;
    let listener = node.listen_tcp(on).await?;
    Ok((node, listener.socket))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let on = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let (node, at) = start(on.parse()?).await?;
    println!("{at}");
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(())
}
