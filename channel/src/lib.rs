//! Secure channels between two identities, over whatever carries bytes: byte-compatible with Ockam 0.150
//! (docs/formats.md, "secure channels").
//!
//! Everything here is a state machine: it is told what came, the time and some randomness, and says what to send or which
//! agreement it needs of the static key. That key is a [`vault::Agreer`] in any vault, hardware included; all other keys
//! are made in memory, seal and open, and cannot be read. [`Driver`] awaits the bound key and is all that is not a plain
//! function. A [`Presentation`] is what a side shows of itself, a [`Peer`] the proof of what the other side showed, and
//! [`Trust`] says whom one speaks to.
//!
//! ```
//! use std::sync::Arc;
//! use channel::*;
//! use identity::{ATTESTATION_SECONDS, Identity, PurposeKey, PurposeKeyAttestation, Timestamp, Validity};
//! use vault::{Agreer, Custody as _, KeyName, KeySpec, SecretBytes, Signer, Vault, soft::SoftVault};
//!
//! # type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
//! /// An identity with a channel key, in one vault.
//! async fn party(vault: &Arc<dyn Vault>, name: &str, now: Timestamp) -> Result<(Identity, Presentation, Agreer)> {
//!     let signing = vault.signing().ok_or("no signing keys")?;
//!     let agreement = vault.agreement().ok_or("no agreement keys")?;
//!     let primary = signing.generate(&KeySpec::ed25519(KeyName::new(name)?)).await?;
//!     let primary = Signer::bind(vault.clone(), primary)?;
//!     let identity = Identity::create(&primary, Validity::of_primary_key(now)).await?;
//!     let key = agreement.generate(&KeySpec::x25519(KeyName::new(&format!("{name}-channel"))?)).await?;
//!     let key = Agreer::bind(vault.clone(), key)?;
//!     let purpose = PurposeKey::Channel(key.public().clone());
//!     let valid = Validity::starting(now, ATTESTATION_SECONDS);
//!     let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await?;
//!     let shown = Presentation::new(&identity, &attestation, &[], now)?;
//!     Ok((identity, shown, key))
//! }
//!
//! # fn main() -> Result<()> { vault::block_on(async {
//! let now = Timestamp(1_790_000_000);
//! let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
//! let (alice, shown_by_alice, alices_key) = party(&vault, "alice", now).await?;
//! let (bob, shown_by_bob, bobs_key) = party(&vault, "bob", now).await?;
//!
//! // Three messages. Alice wants Bob, Bob takes anybody who proves to be somebody.
//! let (mut initiator, first) = Driver::initiate(shown_by_alice, alices_key, &SecretBytes::random(32)?)?;
//! let mut responder = Driver::respond(shown_by_bob, bobs_key, &SecretBytes::random(32)?)?;
//! let Progress::Send(second) = responder.receive(&first, now, &AnyPeer).await? else { panic!() };
//! let only_bob = Only(vec![bob.identifier()]);
//! let Progress::Open(Some(third), mut to_bob) = initiator.receive(&second, now, &only_bob).await? else { panic!() };
//! let Progress::Open(None, mut to_alice) = responder.receive(&third, now, &AnyPeer).await? else { panic!() };
//! assert_eq!(to_alice.peer().identifier(), alice.identifier());
//!
//! // Records.
//! let mut record = to_bob.seal(Message::Payload(Payload {
//!     onward_route: [Address::local("echo")].into_iter().collect(),
//!     return_route: [Address::local("app")].into_iter().collect(),
//!     payload: b"hello",
//! }))?;
//! let Message::Payload(message) = to_alice.open(&mut record)? else { panic!() };
//! assert_eq!(message.payload, b"hello");
//!
//! // The end.
//! let mut record = to_bob.close()?;
//! assert_eq!(to_alice.open(&mut record)?, Message::Close);
//! # Ok(()) }) }
//! ```

mod channel;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
pub mod io;
mod keys;
mod message;
mod noise;
mod peer;
mod record;
mod window;
mod wire;

#[cfg(test)]
mod tests;

pub use crate::channel::Channel;
pub use error::{HandshakeError, Misuse, PeerFault, RecordError, RecordFault};
pub use handshake::{Handshake, Step};
pub use io::{Driver, Progress};
pub use message::{Address, LOCAL, MAX_ADDRESS, MAX_HOPS, Message, Payload, Refresh, Renewed, Route};
pub use peer::{AnyPeer, Only, Peer, Presentation, SetAside, Trust};
pub use record::{MAX_RECORD, RECORD_OVERHEAD, RecordOpener, RecordSealer};
