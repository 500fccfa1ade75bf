//! One row, and the hash that ties it to the one before.

use identity::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Said first in every hash, so that the hash of a row is never the hash of something else.
const DOMAIN: &[u8] = b"ockam-kms audit row 1\0";

/// The longest text in a row, in bytes. Longer ones are cut.
const MAX_TEXT: usize = 1024;

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// The first is 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who: an identifier, or `operator`.
    pub actor: String,
    /// What: the word of an [`Action`](crate::authz::Action), or `store-create` for the first row.
    pub action: String,
    /// To what: an identifier, the reference of a ticket, the hash of a credential or of a change; empty for nothing.
    pub object: String,
    /// Which attributes, by name; or what else there is to say. Never a value.
    pub details: String,
    /// `done`, or the code of the [`Problem`](crate::Problem) it was refused with.
    pub outcome: String,
    /// The hash of the row before, 64 hex digits; of nothing (all zeros) for the first.
    pub previous: String,
    /// The hash of this row.
    pub hash: String,
}

impl AuditRow {
    /// The hash over everything but the hash itself. Texts are preceded by their length, so that no text can be moved from
    /// one field to the next.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.sequence.to_be_bytes());
        hash.update(self.at.0.to_be_bytes());
        for text in [&self.actor, &self.action, &self.object, &self.details, &self.outcome, &self.previous] {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hex::encode(hash.finalize())
    }

    /// The row that follows `head`.
    pub(crate) fn following(head: &AuditHead, at: Timestamp, entry: Entry<'_>) -> Self {
        let mut row = Self {
            sequence: head.sequence.saturating_add(1),
            at,
            actor: cut(entry.actor),
            action: cut(entry.action),
            object: cut(entry.object),
            details: cut(entry.details),
            outcome: cut(entry.outcome),
            previous: head.hash.clone(),
            hash: String::new(),
        };
        row.hash = row.computed_hash();
        row
    }

    /// Where the log stands with this row.
    #[must_use]
    pub fn head(&self) -> AuditHead {
        AuditHead { sequence: self.sequence, hash: self.hash.clone() }
    }
}

/// What a new row is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) object: &'a str,
    pub(crate) details: &'a str,
    pub(crate) outcome: &'a str,
}

/// Where a log stands: worth keeping somewhere else, to be held against the log later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The number of the last row, zero when there is none.
    pub sequence: u64,
    /// Its hash, 64 hex digits.
    pub hash: String,
}

impl AuditHead {
    /// Before the first row.
    #[must_use]
    pub fn start() -> Self {
        Self { sequence: 0, hash: hex::encode([0; 32]) }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
