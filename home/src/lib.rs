//! What one operator or server keeps on disk, in one directory (docs/formats.md, "home"):
//!
//! ```text
//! home.json          the format version          lock             the one lock for writers
//! defaults.json      which names are the defaults journal.key      authenticates rotation journals
//! sealing-keys/      keys that are being made to lock a vault
//! vaults/            registered vaults; software vaults made here live in vaults/NAME/
//! identities/        named identities: change history, where the keys are, attested purpose keys
//! request-keys/      software keys that sign HTTP requests, renewed daily
//! known/ conflicts/  histories of others that were seen, and evidence of those that contradict each other
//! credentials/ projects/ servers/ rotations/
//! ```
//!
//! Every record is a file that is replaced in one step, so readers need no lock and never wait; writers hold [`Writer`].
//! [`rotation`] moves an identity from one key to the next through any crash.

mod channel_keys;
pub mod control;
mod credentials;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod home;
mod identities;
mod key_attestations;
mod keys;
mod known;
mod locks;
mod projects;
mod record;
mod request_key;
pub mod rotation;
mod servers;
mod vaults;

pub use credentials::StoredCredential;
pub use error::{Error, Kind, Result};
pub use home::{Defaults, Home, Writer};
pub use identities::{IdentityRecord, NewKey};
pub use keys::{KeyRef, PurposeKeyRecord};
pub use known::{Conflict, Decided, Side, decide_hint};
pub use locks::{Kek, NewLock};
pub use projects::ProjectRecord;
pub use record::{FORMAT, Name};
pub use servers::{NodeRecord, RelayRecord, ServerLock, ServerRecord};
pub use vaults::{UNFINISHED, VaultRecord, Vaults};
