//! What records say: a routed payload, new credentials, the end. And routes, which only the ends of a channel read.

use std::fmt;

use identity::{Credential, Identity};
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Decoder, Encode};

use crate::peer::encode_credentials;
use crate::wire::{self, RefreshWire};

/// The most addresses in a route.
pub const MAX_HOPS: usize = 256;
/// The most bytes of an address.
pub const MAX_ADDRESS: usize = 1024;

/// The number of local addresses; other numbers are those of transports.
pub const LOCAL: u8 = 0;

/// More than what surrounds an address, and what surrounds everything else of a message.
const HEADS: usize = 40;

/// Where a message goes next: a worker of the node that holds the message, or a transport's way to another.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Address {
    #[n(0)]
    transport: u8,
    #[cbor(n(1), decode_with = "decode_address", encode_with = "minicbor::bytes::encode")]
    value: Vec<u8>,
}

impl Address {
    /// An address of a transport.
    #[must_use]
    pub fn new(transport: u8, value: impl Into<Vec<u8>>) -> Self {
        Self { transport, value: value.into() }
    }

    /// An address of a worker.
    #[must_use]
    pub fn local(value: impl Into<Vec<u8>>) -> Self {
        Self::new(LOCAL, value)
    }

    /// The transport's number.
    #[must_use]
    pub fn transport(&self) -> u8 {
        self.transport
    }

    /// The address in that transport: mostly text, though it need not be.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.transport, String::from_utf8_lossy(&self.value).escape_debug())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode_address<'b, C>(d: &mut Decoder<'b>, _: &mut C) -> Result<Vec<u8>, minicbor::decode::Error> {
    let value = d.bytes()?;
    if value.len() > MAX_ADDRESS {
        return Err(minicbor::decode::Error::message("the address is too long"));
    }
    Ok(value.to_vec())
}

/// Addresses, the next one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Route(#[cbor(n(0), decode_with = "decode_hops")] pub Vec<Address>);

fn decode_hops<'b, C>(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Vec<Address>, minicbor::decode::Error> {
    wire::decode_list(d, ctx, MAX_HOPS)
}

impl Route {
    /// Whether others take it: no more than [`MAX_HOPS`] addresses, of [`MAX_ADDRESS`] bytes each.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.0.len() <= MAX_HOPS && self.0.iter().all(|address| address.value.len() <= MAX_ADDRESS)
    }

    /// Not less than the bytes of its encoding.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.iter().map(|address| address.value.len() + HEADS).sum()
    }
}

impl FromIterator<Address> for Route {
    fn from_iter<I: IntoIterator<Item = Address>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'b> {
    /// Bytes for a worker behind the channel.
    Payload(Payload<'b>),
    /// New credentials: [`Peer::refresh`](crate::Peer::refresh) verifies them.
    Refresh(Refresh<'b>),
    /// The peer closed the channel. Nothing comes after it.
    Close,
}

/// Bytes for a worker behind the channel.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Payload<'b> {
    /// The way on, from the other end of the channel.
    #[n(0)]
    pub onward_route: Route,
    /// The way back, from this end.
    #[n(1)]
    pub return_route: Route,
    /// The bytes.
    #[cbor(b(2), with = "minicbor::bytes")]
    pub payload: &'b [u8],
}

/// A change history and credentials, in place of those that were presented before. Not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh<'b>(pub(crate) RefreshWire<'b>);

#[derive(Encode, Decode)]
enum MessageWire<'b> {
    #[n(0)]
    Payload(#[b(0)] Payload<'b>),
    #[n(1)]
    Refresh(#[b(0)] RefreshWire<'b>),
    #[n(2)]
    Close,
}

/// Padding is always there and always empty; what others put there is not looked at.
#[derive(Encode, Decode)]
struct Padded<'b> {
    #[b(0)]
    message: MessageWire<'b>,
    #[b(1)]
    padding: &'b ByteSlice,
}

impl<'b> Message<'b> {
    /// Appends the encoding.
    pub(crate) fn encode(self, to: &mut Vec<u8>) -> vault::Result<()> {
        let message = match self {
            Self::Payload(payload) => MessageWire::Payload(payload),
            Self::Refresh(Refresh(refresh)) => MessageWire::Refresh(refresh),
            Self::Close => MessageWire::Close,
        };
        minicbor::encode(Padded { message, padding: (&[][..]).into() }, to)
            .map_err(|_| vault::Error::new(vault::Kind::Backend, "the message cannot be encoded"))
    }

    /// Whether the peer takes its routes.
    pub(crate) fn is_taken(&self) -> bool {
        match self {
            Self::Payload(payload) => payload.onward_route.is_taken() && payload.return_route.is_taken(),
            Self::Refresh(_) | Self::Close => true,
        }
    }

    /// Not less than the bytes of the encoding, so that they are moved once.
    #[must_use]
    pub fn room(&self) -> usize {
        HEADS
            + match self {
                Self::Payload(Payload { onward_route, return_route, payload }) => {
                    onward_route.room() + return_route.room() + payload.len()
                }
                Self::Refresh(Refresh(wire)) => {
                    wire.history.0.len() + wire.credentials.iter().map(|one| one.0.len()).sum::<usize>()
                }
                Self::Close => 0,
            }
    }

    pub(crate) fn decode(bytes: &'b [u8]) -> Option<Self> {
        let Padded { message, .. } = wire::decode(bytes)?;
        Some(match message {
            MessageWire::Payload(payload) => Self::Payload(payload),
            MessageWire::Refresh(refresh) => Self::Refresh(Refresh(refresh)),
            MessageWire::Close => Self::Close,
        })
    }
}

/// New credentials, encoded: what [`Refresh`] borrows from on the side that presents them.
#[derive(Debug)]
pub struct Renewed {
    history: Vec<u8>,
    credentials: Vec<Vec<u8>>,
}

impl Renewed {
    /// This history with these credentials.
    ///
    /// # Errors
    /// [`TooLarge`](identity::Refusal::TooLarge) for more credentials than a peer looks at.
    pub fn new(identity: &Identity, credentials: &[Credential]) -> identity::Result<Self> {
        Ok(Self { history: identity.as_bytes().to_vec(), credentials: encode_credentials(credentials)? })
    }

    /// The message that presents them.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        Message::Refresh(Refresh(RefreshWire {
            history: wire::Raw(&self.history),
            credentials: self.credentials.iter().map(|one| wire::Raw(one)).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::known;

    fn decoded(hex: &str) -> Option<()> {
        Message::decode(&hex::decode(hex).unwrap()).map(drop)
    }

    fn hi() -> Message<'static> {
        Message::Payload(Payload {
            onward_route: [Address::local("echo")].into_iter().collect(),
            return_route: [Address::local("app")].into_iter().collect(),
            payload: b"hi",
        })
    }

    #[test]
    fn messages_are_the_bytes_that_are_known() {
        for (message, name) in [(hi(), "padded-payload"), (Message::Close, "padded-close")] {
            let mut bytes = Vec::new();
            assert!(message.room() >= 5);
            message.clone().encode(&mut bytes).unwrap();
            assert_eq!(hex::encode(&bytes), known(name));
            assert_eq!(Message::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn what_the_reference_takes_is_taken() {
        for taken in [
            "8282028040",                               // as we make it
            "9f8202804000ff",                           // an array of indefinite length, and an item more
            "8282028043aaaaaa",                         // with padding
            "8282021a0000000040",                       // whatever stands for the fields of what has none
            "828200819f9f82180043666f6fff80420102ff40", // routes of indefinite length, a wide integer
        ] {
            assert!(decoded(taken).is_some(), "{taken}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for refused in [
            "",
            "81820280",                 // no padding
            "828202804040",             // something after the end
            "8282038040",               // an unknown message
            "829f0280ff40",             // an enumeration of indefinite length
            "8282008182808040",         // no payload
            "82820081838080f640",       // null for a payload
            "8282008183818200f6804040", // null for an address
            "82820281806040",           // text for padding
        ] {
            assert!(decoded(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn routes_and_addresses_have_limits() {
        for (hops, length, taken) in [
            (MAX_HOPS, 1, true),
            (MAX_HOPS + 1, 1, false),
            (1, MAX_ADDRESS, true),
            (1, MAX_ADDRESS + 1, false),
        ] {
            let route: Route = (0..hops).map(|_| Address::local(vec![b'a'; length])).collect();
            for (onward_route, return_route) in [(route.clone(), Route::default()), (Route::default(), route)]
            {
                let mut bytes = Vec::new();
                Message::Payload(Payload { onward_route, return_route, payload: b"" })
                    .encode(&mut bytes)
                    .unwrap();
                assert_eq!(Message::decode(&bytes).is_some(), taken, "{hops} hops of {length} bytes");
            }
        }
    }

    #[test]
    fn nesting_and_lengths_from_the_wire_cost_nothing() {
        // Arrays in arrays where a message, a history or a credential is expected, and lengths of 2^64 - 1.
        for prefix in ["", "82", "82820181", "8282018182", "828201818240"] {
            let bytes = [hex::decode(prefix).unwrap(), vec![0x81; 100_000]].concat();
            assert!(Message::decode(&bytes).is_none());
            let bytes = [hex::decode(prefix).unwrap(), hex::decode("9bffffffffffffffff").unwrap()].concat();
            assert!(Message::decode(&bytes).is_none());
        }
    }

    #[test]
    fn addresses_show_as_text() {
        assert_eq!(Address::local("echo").to_string(), "0#echo");
        assert_eq!(Address::new(1, *b"a\x1b\xff").to_string(), "1#a\\u{1b}\u{fffd}");
    }
}
