//! See [`crate::fuzzing`].

use std::path::Path;

use super::header::Header;
use super::store::{KeyRecord, json};
use crate::spec::KeyName;

pub(crate) fn header(path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(path, bytes).ok()?;
    // What it says of its lock is decoded apart, and may be refused.
    let _ = header.lock().described(path);
    json(&header).ok()
}

pub(crate) fn key_record(name: &KeyName, bytes: &[u8]) -> Option<Vec<u8>> {
    let record = KeyRecord::parse(name, bytes).ok()?;
    let _ = (record.algorithm(), record.public());
    json(&record).ok()
}
