//! Multiaddresses: how routes are written (docs/formats.md, "nodes").
//!
//! ```text
//! /node/n1/service/api                       a node of this home, by name
//! /ip4/127.0.0.1/tcp/4000/service/api        ip4, ip6 or dnsaddr, and a port
//! /ip4/127.0.0.1/tcp/4000/secure/api/service/echo    opens a channel to that listener, and goes on inside it
//! /project/p/service/echo                    a project, by name
//! ```
//!
//! `worker` is another word for `service`, and is written as that.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, Kind};

/// The most bytes of a multiaddress.
pub const MAX_TEXT: usize = 4096;

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A node, by its name.
    Node(String),
    /// A project, by its name.
    Project(String),
    /// A node, by where it listens.
    Tcp(Host, u16),
    /// A worker of the node that one is at.
    Service(String),
    /// A channel to a listener of the node that one is at.
    Secure(String),
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// A name that is looked up.
    Name(String),
}

/// A way through nodes, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiAddr(Vec<Part>);

impl MultiAddr {
    /// A way of these steps.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for none, or one whose name cannot be written.
    pub fn new(parts: Vec<Part>) -> Result<Self, Error> {
        if parts.is_empty() {
            return Err(invalid("the address is empty"));
        }
        for part in &parts {
            match part {
                Part::Node(name) | Part::Project(name) | Part::Service(name) | Part::Secure(name) => {
                    checked(name)?;
                }
                Part::Tcp(Host::Name(name), _) => {
                    checked(name)?;
                }
                Part::Tcp(..) => {}
            }
        }
        Ok(Self(parts))
    }

    /// Its steps.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, why.into())
        .with_hint("write it as /node/NAME/service/NAME or /ip4/A/tcp/PORT/service/NAME")
}

fn checked(name: &str) -> Result<&str, Error> {
    let bad = |c: char| c == '/' || c.is_control();
    if name.is_empty() || name.len() > channel::MAX_ADDRESS || name.contains(bad) {
        return Err(invalid(format!("`{}` is no name in an address", name.escape_debug())));
    }
    Ok(name)
}

impl FromStr for MultiAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            return Err(invalid(format!("the address has more than {MAX_TEXT} bytes")));
        }
        let shown = text.escape_debug();
        let mut words = text
            .strip_prefix('/')
            .ok_or_else(|| invalid(format!("`{shown}` is no address: it does not begin with `/`")))?
            .trim_end_matches('/')
            .split('/');
        let mut parts = Vec::new();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| invalid(format!("`{word}` in `{shown}` has no value")))?;
            let host = match word {
                "ip4" => value.parse().map(Host::Ip4).map_err(|_| value),
                "ip6" => value.parse().map(Host::Ip6).map_err(|_| value),
                "dnsaddr" => checked(value).map(|name| Host::Name(name.to_owned())).map_err(|_| value),
                "node" => {
                    parts.push(Part::Node(checked(value)?.to_owned()));
                    continue;
                }
                "project" => {
                    parts.push(Part::Project(checked(value)?.to_owned()));
                    continue;
                }
                "service" | "worker" => {
                    parts.push(Part::Service(checked(value)?.to_owned()));
                    continue;
                }
                "secure" => {
                    parts.push(Part::Secure(checked(value)?.to_owned()));
                    continue;
                }
                _ => return Err(invalid(format!("`{}` in `{shown}` is not known", word.escape_debug()))),
            };
            let host = host
                .map_err(|value| invalid(format!("`{}` in `{shown}` is no {word}", value.escape_debug())))?;
            let port = match (words.next(), words.next().map(str::parse)) {
                (Some("tcp"), Some(Ok(port))) => port,
                (Some("udp"), _) => {
                    return Err(invalid(format!("`{shown}` goes over UDP, which is not spoken here")));
                }
                _ => return Err(invalid(format!("`{word}` in `{shown}` is not followed by /tcp/PORT"))),
            };
            parts.push(Part::Tcp(host, port));
        }
        Self::new(parts)
    }
}

impl fmt::Display for MultiAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Node(name) => write!(f, "/node/{name}")?,
                Part::Project(name) => write!(f, "/project/{name}")?,
                Part::Tcp(Host::Ip4(ip), port) => write!(f, "/ip4/{ip}/tcp/{port}")?,
                Part::Tcp(Host::Ip6(ip), port) => write!(f, "/ip6/{ip}/tcp/{port}")?,
                Part::Tcp(Host::Name(name), port) => write!(f, "/dnsaddr/{name}/tcp/{port}")?,
                Part::Service(name) => write!(f, "/service/{name}")?,
                Part::Secure(name) => write!(f, "/secure/{name}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip4(ip) => ip.fmt(f),
            Self::Ip6(ip) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("/node/n1/node/n2/service/api", "/node/n1/node/n2/service/api"),
            ("/ip4/127.0.0.1/tcp/4000/worker/a", "/ip4/127.0.0.1/tcp/4000/service/a"),
            ("/ip6/::1/tcp/65535/secure/api/service/echo/", "/ip6/::1/tcp/65535/secure/api/service/echo"),
            ("/dnsaddr/k.example.com/tcp/1/service/api", "/dnsaddr/k.example.com/tcp/1/service/api"),
            ("/project/p/service/echo", "/project/p/service/echo"),
        ] {
            assert_eq!(text.parse::<MultiAddr>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("", "does not begin"),
            ("/", "has no value"),
            ("service/api", "does not begin"),
            ("/service", "has no value"),
            ("/service//x", "is no name"),
            ("/ip4/300.0.0.1/tcp/1", "is no ip4"),
            ("/ip4/127.0.0.1/service/api", "not followed"),
            ("/ip4/127.0.0.1/tcp/65536", "not followed"),
            ("/ip4/127.0.0.1/udp/1", "UDP"),
            ("/space/s", "is not known"),
            ("/service/a\nb", "is no name"),
        ] {
            let told = text.parse::<MultiAddr>().unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(format!("/service/{}", "a".repeat(MAX_TEXT)).parse::<MultiAddr>().is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(text in "(/(service|secure|node|project)/[a-z#_.-]{1,8}|/ip4/127[.]0[.]0[.]1/tcp/[1-9]){1,6}") {
            let read: MultiAddr = text.parse().unwrap();
            prop_assert_eq!(read.to_string(), text);
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = text.parse::<MultiAddr>();
        }
    }
}
