//! The published Ockam crates as judges of ours.
//!
//! [`Judge`] makes and verifies identities, purpose key attestations and credentials with `ockam_identity`;
//! [`policy`] evaluates policy expressions with `ockam_abac`; [`protocol`] offers both as JSON lines, for tests that
//! must not link these crates. Nothing here decides anything itself: a verdict is the published crates' own.

pub mod error;
pub mod identity;
pub mod policy;
pub mod protocol;

pub use error::{Error, Kind};
pub use identity::{
    Attestation, Attested, ChannelOrCredentials, Issued, Judge, KeyType, MadeIdentity, NewCredential,
    NewIdentity, VerifiedCredential, VerifiedHistory,
};
