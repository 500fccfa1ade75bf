//! Keys that a TPM 2.0 made and that only this TPM can use.
//!
//! ```text
//! tpm:?tcti=device:/dev/tpmrm0&path=/srv/vaults/ca&auth-source=file:/etc/ca.auth        a vault
//! tpm:name=issuer                                                                       a key in it
//! tpm:persistent=0x81000001                                                             a key that the TPM itself keeps
//! ```
//!
//! [`TpmBackend`] opens a [`TpmVault`]. A TPM keeps next to nothing, so a vault is a directory of key blobs, each wrapped by
//! the TPM's storage key (docs/formats.md), and the TPM that can load them:
//!
//! ```text
//! caller ── future ── queue ── owner thread ── session ── TCTI ── TPM
//!                       │            └── one for each TPM in this process, with few keys loaded at a time
//!                       └── watchdog: answers at the deadline for a TPM that hangs
//! ```
//!
//! * Whatever carries an authorization or a secret goes through a session salted with the storage key, whose name is in the
//!   vault's record since its first use: who sits on the bus, or puts another TPM in place of this one, is noticed.
//! * Transient slots are few. Keys are loaded for use and flushed on every path; the storage key is swapped out; a TPM that
//!   is full is given back what is ours before anything is tried again.
//! * Authorization values are under the TPM's protection against dictionary attacks. The last try before the TPM locks is
//!   never spent.
//! * A TPM that was restarted is connected again; one that was cleared, or is another one, is said to be so. Nothing is made
//!   anew by itself.
//! * Evidence about a key (TPM2_Certify) is signed by a restricted key of the same TPM, under a certificate that an operator
//!   brings along.

mod address;
mod aead;
mod attest;
mod auth;
mod backend;
#[cfg(feature = "danger")]
pub mod danger;
mod desk;
mod errors;
mod inventory;
mod keys;
mod link;
mod lockout;
mod operations;
mod pcrs;
mod store;
mod template;
mod vault;

pub use backend::TpmBackend;
pub use vault::TpmVault;
