//! Private decoders, behind the feature `fuzzing`: for fuzz/, which the product knows nothing of.
//!
//! Each answers what the decoder took, written again, or `None` for what it refused.

use std::path::Path;

use crate::soft::fuzzing as soft;
use crate::spec::KeyName;

/// `vault.json` of a software vault.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<Vec<u8>> {
    soft::header(Path::new("vault"), bytes)
}

/// `keys/NAME.json` of a software vault.
#[must_use]
pub fn key_record(name: &KeyName, bytes: &[u8]) -> Option<Vec<u8>> {
    soft::key_record(name, bytes)
}
