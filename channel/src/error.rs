//! What can go wrong in each stage, by whose fault it is: the peer's, the caller's, or that of our own keys.
//!
//! A peer is told none of this: what it sent is dropped, and it sees silence. Reasons are for logs.

use std::error::Error as StdError;
use std::fmt;

use identity::{Identifier, Refusal};

/// Why a handshake did not take its next step. It is still where it was before.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What the peer sent is refused. The genuine message may still come.
    Peer(PeerFault),
    /// The handshake was not waiting for this.
    Caller(Misuse),
    /// A key of ours, or its vault, failed.
    Us(vault::Error),
}

/// What is wrong with a message of the peer's.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerFault {
    /// It is shorter or longer than such a message can be.
    Length,
    /// A cryptographic check failed. Says nothing about why.
    Rejected,
    /// Its payload is not of the shape it has to be.
    Malformed,
    /// Its history or attestation is refused.
    Identity(identity::Error),
    /// It attests another key than the one it used.
    OtherKey,
    /// It is who it says, and may not open a channel here.
    NotAdmitted(Identifier),
}

/// What a caller did that does not fit the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A message came while an agreement is awaited, or after the end.
    NoMessageExpected,
    /// The answer of an agreement came while none is awaited.
    NoAgreementExpected,
    /// The bound key is not the one that was attested.
    OtherStaticKey,
}

/// Why a record was not sealed or opened. The channel is as it was before, but for [`Malformed`](RecordFault::Malformed).
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// What the peer sent is refused. Genuine records are taken as before.
    Peer(RecordFault),
    /// What was to be sealed is more than a record may hold, or has a route that is longer than any.
    TooLong,
    /// The last counter was used: only a new channel helps.
    Exhausted,
    /// A key of ours failed.
    Us(vault::Error),
}

/// What is wrong with a record of the peer's.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordFault {
    /// It is shorter or longer than a record can be.
    Length,
    /// Its counter is too far ahead of, or behind, the highest one taken, or was taken before.
    Counter(u64),
    /// A cryptographic check failed. Says nothing about why.
    Rejected,
    /// It is the peer's, and not of the shape that a message has. Its counter is used up.
    Malformed,
    /// The peer had closed the channel before.
    Closed,
    /// The history or the credentials that it presents are refused.
    Identity(identity::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(fault) => write!(f, "a handshake message is refused: {fault}"),
            Self::Caller(misuse) => misuse.fmt(f),
            Self::Us(error) => write!(f, "the handshake's own key failed: {error}"),
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("its length is none of such a message"),
            Self::Rejected => f.write_str("the cryptographic check failed"),
            Self::Malformed => f.write_str("it holds no identity and credentials"),
            Self::Identity(error) => error.fmt(f),
            Self::OtherKey => f.write_str("the attested key is not the one that was used"),
            Self::NotAdmitted(identifier) => {
                write!(f, "`{identifier}` is not among those who may open a channel here")
            }
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMessageExpected => "the handshake waits for no message",
            Self::NoAgreementExpected => "the handshake waits for no agreement",
            Self::OtherStaticKey => {
                "the channel key is not the one that is attested: attest it, or open the one that was"
            }
        })
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(fault) => write!(f, "a record is refused: {fault}"),
            Self::TooLong => write!(
                f,
                "a record holds no more than {} bytes, and routes of {} addresses",
                crate::MAX_RECORD,
                crate::MAX_HOPS
            ),
            Self::Exhausted => f.write_str("the channel has used all its counters: open a new one"),
            Self::Us(error) => write!(f, "a key of the channel failed: {error}"),
        }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("its length is none of a record"),
            Self::Counter(counter) => write!(f, "its counter `{counter}` was used, or is out of the window"),
            Self::Rejected => f.write_str("the cryptographic check failed"),
            Self::Malformed => f.write_str("it holds no message"),
            Self::Closed => f.write_str("the peer had closed the channel"),
            Self::Identity(error) => error.fmt(f),
        }
    }
}

impl StdError for HandshakeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Peer(PeerFault::Identity(error)) => Some(error),
            Self::Us(error) => Some(error),
            _ => None,
        }
    }
}

impl StdError for RecordError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Peer(RecordFault::Identity(error)) => Some(error),
            Self::Us(error) => Some(error),
            _ => None,
        }
    }
}

impl HandshakeError {
    /// The rule by which the peer's identity was refused, when one did.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Peer(PeerFault::Identity(error)) => error.refusal(),
            _ => None,
        }
    }
}

impl From<PeerFault> for HandshakeError {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault)
    }
}

impl From<Misuse> for HandshakeError {
    fn from(misuse: Misuse) -> Self {
        Self::Caller(misuse)
    }
}

impl From<crate::noise::Error> for HandshakeError {
    fn from(error: crate::noise::Error) -> Self {
        match error {
            crate::noise::Error::Length => Self::Peer(PeerFault::Length),
            crate::noise::Error::Rejected => Self::Peer(PeerFault::Rejected),
            crate::noise::Error::Keys(error) => Self::Us(error),
        }
    }
}

impl From<RecordFault> for RecordError {
    fn from(fault: RecordFault) -> Self {
        Self::Peer(fault)
    }
}

impl From<vault::Error> for RecordError {
    fn from(error: vault::Error) -> Self {
        Self::Us(error)
    }
}
