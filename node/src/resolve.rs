//! From how a way is written to a route: connections are dialled and channels opened on it.

use std::time::Duration;

use channel::{Address, Route};

use crate::channels::ChannelOptions;
use crate::error::{Error, Kind, Result};
use crate::multiaddr::{MultiAddr, Part};
use crate::node::Node;
use crate::tcp::TCP;

/// A route, and what was made for it.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The way.
    pub route: Route,
    /// Connections that were dialled for it.
    pub connections: Vec<Address>,
    /// Channels that were opened for it.
    pub channels: Vec<Address>,
}

impl Node {
    /// Makes a route of a multiaddress. Its first TCP address is dialled by this node; each later one stays in the route, and is
    /// dialled by the node before it. Where the way begins at this node itself, that step is left out. For each `secure` a
    /// channel is opened.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name of a node or project (they have to be looked up before), and for `secure` without options;
    /// else what dialling and opening meet. What was made until then is closed again.
    pub async fn resolve(
        &self,
        to: &MultiAddr,
        options: Option<&ChannelOptions>,
        wait: Duration,
    ) -> Result<Resolved> {
        self.resolve_on(Resolved::default(), to.parts(), options, wait).await
    }

    /// Goes on from where a way has come to, so that each stretch of it may have channels of its own kind.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve): the stretch before is closed with it.
    pub async fn resolve_on(
        &self,
        mut so_far: Resolved,
        parts: &[Part],
        options: Option<&ChannelOptions>,
        wait: Duration,
    ) -> Result<Resolved> {
        match self.resolve_into(&mut so_far, parts, options, wait).await {
            Ok(()) => Ok(so_far),
            Err(error) => {
                self.release(&so_far).await;
                Err(error)
            }
        }
    }

    /// Closes what was made for a route.
    pub async fn release(&self, resolved: &Resolved) {
        for channel in resolved.channels.iter().rev() {
            let _ = self.close_channel(channel).await;
        }
        for connection in &resolved.connections {
            let _ = self.stop_tcp_connection(connection);
        }
    }

    async fn resolve_into(
        &self,
        resolved: &mut Resolved,
        parts: &[Part],
        options: Option<&ChannelOptions>,
        wait: Duration,
    ) -> Result<()> {
        for part in parts {
            match part {
                Part::Node(name) | Part::Project(name) => {
                    return Err(Error::new(
                        Kind::Invalid,
                        format!("`{name}` is a name that was not looked up"),
                    ));
                }
                Part::Tcp(host, port) => {
                    let to = format!("{host}:{port}");
                    if !resolved.route.0.is_empty() {
                        resolved.route.0.push(Address::new(TCP, to));
                    } else if !self.is_own(&to).await {
                        let connection = self.connect_tcp(&to).await?.address;
                        resolved.connections.push(connection.clone());
                        resolved.route.0.push(connection);
                    }
                }
                Part::Service(name) => resolved.route.0.push(Address::local(name.as_str())),
                Part::Secure(name) => {
                    let options = options.ok_or_else(|| {
                        Error::new(
                            Kind::Invalid,
                            format!("`/secure/{name}` opens a channel, and nobody to be in it is named"),
                        )
                    })?;
                    resolved.route.0.push(Address::local(name.as_str()));
                    let opened =
                        self.open_channel(resolved.route.clone(), options.clone(), wait).await?.address;
                    resolved.channels.push(opened.clone());
                    resolved.route = Route(vec![opened]);
                }
            }
        }
        Ok(())
    }
}
