//! Opening a channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use channel::{Driver, HandshakeError, Progress, Route};
use vault::SecretBytes;

use super::listener::failed;
use super::open::{Made, Open};
use super::{ChannelInfo, ChannelOptions, Role};
use crate::error::{Error, Kind, Result};
use crate::message::Message;
use crate::node::Node;

/// The random bytes of an ephemeral key.
const EPHEMERAL: usize = 32;

impl Node {
    /// Opens a channel to the listener at the end of a route. What is sent to the address of the channel then leaves through
    /// it.
    ///
    /// The peer may still refuse the last message of the handshake; nothing tells it but that no answer comes.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when nobody answers in time; [`Kind::Denied`] when who answers is not whom one speaks to;
    /// [`Kind::Rejected`] when what it shows does not verify.
    pub async fn open_channel(
        &self,
        mut route: Route,
        options: ChannelOptions,
        wait: Duration,
    ) -> Result<ChannelInfo> {
        let until = Instant::now() + wait;
        let mut first_hop = Message::new(route, Route::default(), Vec::new());
        if first_hop.to().is_some_and(|next| next.transport() == crate::tcp::TCP) {
            self.dial_for(&mut first_hop).await?;
        }
        route = first_hop.onward_route;
        let (own, key) = options.party.present().await?;
        let (mut driver, first) =
            Driver::initiate(own, key, &SecretBytes::random(EPHEMERAL)?).map_err(failed)?;
        let through = route.0.first().and_then(|next| self.link_at(next));
        let mut mailbox = self.mailbox(through)?;
        let back: Route = [mailbox.address.clone()].into_iter().collect();
        self.send(Message::new(route, back.clone(), first)).await?;
        loop {
            let second = mailbox.next(until.saturating_duration_since(Instant::now())).await?;
            let progress = match driver.receive(&second.payload, self.now(), &*options.trust).await {
                Ok(progress) => progress,
                // Whoever can send to the address can send anything: the genuine message may still come.
                Err(HandshakeError::Peer(fault @ channel::PeerFault::Rejected))
                | Err(HandshakeError::Peer(fault @ channel::PeerFault::Length)) => {
                    tracing::debug!(%fault, "a message is not the handshake's");
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let Progress::Open(Some(third), channel) = progress else {
                return Err(Error::new(Kind::Backend, "the handshake goes on after its end"));
            };
            if let Some(opened) = &options.opened {
                opened.opened(channel.peer()).await?;
            }
            let told_by = second.origin().clone();
            let made = Made {
                channel: *channel,
                role: Role::Initiator,
                listener: None,
                decryptor: mailbox.address.clone(),
                route: second.return_route.clone(),
                told_by: told_by.clone(),
                trust: Arc::clone(&options.trust),
                opened: options.opened.clone(),
            };
            let open = Open::start(self, made)?;
            // From here on the address is the channel's.
            let address = mailbox.keep();
            let back: Route = [address].into_iter().collect();
            let sent = self.send(Message::from(told_by, second.return_route, back, third)).await;
            if let Err(error) = sent {
                self.forget_channel(&open);
                return Err(error);
            }
            return Ok(open.info());
        }
    }
}
