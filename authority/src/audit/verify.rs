//! Checking an exported log. Needs nothing but its lines, and a head from elsewhere to notice a missing end.

use std::fmt;

use crate::audit::row::{AuditHead, AuditRow};

/// The longest line that is looked at, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Proof that a log was checked: only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditProof {
    rows: u64,
    head: AuditHead,
}

impl AuditProof {
    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Where the log stands: keep it elsewhere, for the next time.
    #[must_use]
    pub fn head(&self) -> &AuditHead {
        &self.head
    }
}

/// Why a log was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditError {
    /// The line, counted from 1; one more than there are when the end is missing.
    pub line: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the audit log: {}", self.line, self.why)
    }
}

impl std::error::Error for AuditError {}

/// Checks a log, line by line. With `expected`, the head of an earlier moment, the log has to contain that very row: without
/// it, rows missing from the end cannot be noticed.
///
/// # Errors
/// The first line at which it is no longer the log that was written.
pub fn verify<L: AsRef<str>>(
    lines: impl IntoIterator<Item = L>,
    expected: Option<&AuditHead>,
) -> Result<AuditProof, AuditError> {
    let mut head = AuditHead::start();
    for line in lines {
        let sequence = head.sequence.saturating_add(1);
        head = next(&head, line.as_ref()).map_err(|why| AuditError { line: sequence, why })?;
        if expected.is_some_and(|expected| expected.sequence == head.sequence && *expected != head) {
            return Err(AuditError { line: sequence, why: "this is not the row that the given head is of" });
        }
    }
    if expected.is_some_and(|expected| expected.sequence > head.sequence) {
        return Err(AuditError {
            line: head.sequence.saturating_add(1),
            why: "the log ends before the row that the given head is of",
        });
    }
    Ok(AuditProof { rows: head.sequence, head })
}

fn next(head: &AuditHead, line: &str) -> Result<AuditHead, &'static str> {
    if line.len() > MAX_LINE {
        return Err("the line is too long");
    }
    let row: AuditRow = serde_json::from_str(line).map_err(|_| "the line is not a row")?;
    // Written again it has to be the same: there is one way to write a row, so that no byte of a line is unchecked.
    if serde_json::to_string(&row).ok().as_deref() != Some(line) {
        return Err("the line is not written as a row is");
    }
    if row.sequence != head.sequence.saturating_add(1) {
        return Err("the row does not follow the one before it");
    }
    if row.previous != head.hash {
        return Err("the row does not name the hash of the one before it");
    }
    if row.hash != row.computed_hash() {
        return Err("the row does not have the hash that it says it has");
    }
    Ok(row.head())
}
