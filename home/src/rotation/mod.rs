//! Rotating the primary key of an identity, within a vault or into another one, so that a crash at any moment leaves one
//! live key, no orphan, and a history that verifies.
//!
//! Every step is journaled and synced before the next:
//!
//! | phase | what is durable | a crash after it |
//! |---|---|---|
//! | `begun` | the name the new key will have | rolls back: nothing of that name is left |
//! | `prepared` | the new key exists | rolls back |
//! | `signed` | the change, signed by both keys, and the purpose keys attested under it | goes forward |
//! | `committed` | the identity's record names the new key | goes forward |
//! | `served` | whoever uses the identity signed a probe with the new key | goes forward |
//! | `retired` | the old key is destroyed (or kept), the journal is gone | done |
//!
//! No key is destroyed on the journal's word alone: before the old one goes, the new key signs a probe; before an unfinished
//! new one goes, the identity's record has to name the old one still.

mod engine;
mod journal;

use serde::{Deserialize, Serialize};

#[cfg(feature = "fuzzing")]
pub(crate) use journal::entry as journal_entry;

pub use engine::{Outcome, Recovered, pending, preview, recover, rotate};

use crate::identities::IdentityRecord;
use identity::PurposeKeyAttestation;
use vault::{Pending, Signer};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name of the identity.
    pub identity: String,
    /// The vault of the new key; the old key's when none is given.
    pub to_vault: Option<String>,
    /// An existing key to adopt, instead of generating one.
    pub to_key: Option<String>,
    /// The type of the new key; by default the old one's, where the vault has it.
    pub key_type: Option<String>,
    /// Whether every purpose key attested before is revoked.
    pub revoke_purpose_keys: bool,
    /// Whether the old key is kept.
    pub keep_old_key: bool,
}

impl Plan {
    /// A rotation within the vault that holds the key.
    #[must_use]
    pub fn within(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            to_vault: None,
            to_key: None,
            key_type: None,
            revoke_purpose_keys: false,
            keep_old_key: false,
        }
    }
}

/// Moments of a rotation, in order. Between any two of them the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The journal says `begun`.
    Begun,
    /// The new key was generated or opened; the journal does not know it yet.
    KeyMade,
    /// The journal says `prepared`.
    Prepared,
    /// Both keys have signed; the journal does not know it yet.
    KeysSigned,
    /// The journal says `signed`.
    Signed,
    /// The record was replaced; the journal does not know it yet.
    RecordReplaced,
    /// The journal says `committed`.
    Committed,
    /// The user of the identity has taken over; the journal does not know it yet.
    TakenOver,
    /// The journal says `served`.
    Served,
    /// The old key is destroyed; the journal is still there.
    OldKeyGone,
    /// The journal is gone.
    Retired,
}

impl Moment {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Begun,
        Self::KeyMade,
        Self::Prepared,
        Self::KeysSigned,
        Self::Signed,
        Self::RecordReplaced,
        Self::Committed,
        Self::TakenOver,
        Self::Served,
        Self::OldKeyGone,
        Self::Retired,
    ];
}

/// Who is told of a rotation: the server that uses the identity, and whoever watches.
pub trait Witness: Send + Sync {
    /// Takes over the rotated identity: everything from now on is signed under it. `credential` is the credential key with
    /// its new attestation, when the identity has one.
    fn take_over<'a>(
        &'a self,
        record: &'a IdentityRecord,
        credential: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()>;

    /// A moment was reached.
    fn reached(&self, _: Moment) {}
}

/// Nobody uses the identity at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServer;

impl Witness for NoServer {
    fn take_over<'a>(
        &'a self,
        _: &'a IdentityRecord,
        _: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
