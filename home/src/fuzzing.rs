//! Private decoders, behind the feature `fuzzing`: for fuzz/, which the product knows nothing of.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{self, Name};
use crate::{credentials, home, identities, known, locks, projects, request_key, rotation, servers, vaults};

/// The kinds of records, as [`record`] numbers them.
pub const RECORDS: [&str; 11] = [
    "vault",
    "sealing key",
    "identity",
    "request key",
    "known history",
    "conflict",
    "credential",
    "project",
    "server",
    "defaults",
    "rotation journal",
];

/// A record of one of [`RECORDS`], from its bytes: what the decoder took, written again, or `None` for what it refused.
#[must_use]
pub fn record(kind: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    match RECORDS.get(kind).copied()? {
        "vault" => again::<vaults::VaultRecord>(bytes, |one| drop(one.uri())),
        "sealing key" => again::<locks::SealingKeyRecord>(bytes, |_| ()),
        "identity" => again::<identities::IdentityRecord>(bytes, |one| drop(one.identity())),
        "request key" => again::<request_key::RequestKeyRecord>(bytes, |one| drop(one.attestation())),
        "known history" => again::<known::KnownHistory>(bytes, |_| ()),
        "conflict" => again::<known::Conflict>(bytes, |_| ()),
        "credential" => again::<credentials::StoredCredential>(bytes, |one| drop(one.credential())),
        "project" => again::<projects::ProjectRecord>(bytes, |_| ()),
        "server" => again::<servers::ServerRecord>(bytes, |_| ()),
        "defaults" => {
            let defaults: home::Defaults = serde_json::from_slice(bytes).ok()?;
            serde_json::to_vec_pretty(&defaults).ok()
        }
        _ => rotation::journal_entry(bytes),
    }
}

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8], look: impl FnOnce(&T)) -> Option<Vec<u8>> {
    let name = Name::new("fuzz").ok()?;
    let decoded: T = record::decode(bytes, "record", &name).ok()?;
    look(&decoded);
    record::encode(&decoded).ok()
}
