//! A node in the middle: it dials one address for others and no other, and sees ciphertext only.
//!
//! ```sh
//! cargo run --example middle -- 127.0.0.1:4002 127.0.0.1:4003
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use node::{Forwarding, Node, NodeOptions, Result};

/// Dials this for others.
struct OnlyTo(String);

impl Forwarding for OnlyTo {
    fn may_dial(&self, to: &str) -> bool {
        to == self.0
    }
}

/// The node, and where it listens.
pub(crate) async fn start(on: SocketAddr, dials: SocketAddr) -> Result<(Node, SocketAddr)> {
    let forwarding = Arc::new(OnlyTo(dials.to_string()));
    let node = Node::new(NodeOptions { forwarding, ..NodeOptions::default() });
    let listener = node.listen_tcp(on).await?;
    Ok((node, listener.socket))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut addresses = std::env::args().skip(1);
    let on = addresses.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let dials = addresses.next().ok_or("name the address that is dialled for others")?;
    let (node, at) = start(on.parse()?, dials.parse()?).await?;
    println!("{at}");
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(())
}
