//! Opens a secure channel over two transport hops, says something through it, and prints the answer.
//!
//! ```sh
//! cargo run --example initiator -- /ip4/127.0.0.1/tcp/4002/ip4/127.0.0.1/tcp/4003/secure/api/service/uppercase 'hello'
//! ```

#[path = "party/mod.rs"]
mod party;

use std::sync::Arc;
use std::time::Duration;

use channel::AnyPeer;
use node::workers::{decode_text, encode_text};
use node::{ChannelOptions, Error, Kind, Node, NodeOptions, Result};
use party::Party;

const WAIT: Duration = Duration::from_secs(10);

/// Says this at the end of that way.
pub(crate) async fn say(to: &str, text: &str) -> Result<String> {
    let node = Node::new(NodeOptions::default());
    let options = ChannelOptions::new(Arc::new(Party::new().await?), Arc::new(AnyPeer));
    // Dials the first node, which dials the second; `secure` opens a channel to the listener there.
    let resolved = node.resolve(&to.parse()?, Some(&options), WAIT).await?;
    let answer = node.ask(resolved.route.clone(), encode_text(text), WAIT).await?;
    node.release(&resolved).await;
    let text =
        decode_text(&answer.payload).ok_or_else(|| Error::new(Kind::Rejected, "the answer is no text"))?;
    Ok(text.to_owned())
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let to = words.next().ok_or("say where to")?;
    println!("{}", say(&to, &words.next().unwrap_or_default()).await?);
    Ok(())
}
