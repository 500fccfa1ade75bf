//! What this crate takes and what it refuses, byte for byte and second for second.
//!
//! Keys come from fixed seeds ([`seeds`]), bytes that our own code would never make from [`raw`], which knows CBOR and
//! nothing of the crate. Three tables are golden files in `tests/golden`; `UPDATE_GOLDEN=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod bundles;
mod chains;
mod continuous;
mod credentials;
mod distinct;
mod documented;
mod golden;
mod histories;
mod kept;
mod known_answers;
mod limits;
mod mutations;
mod raw;
mod request_keys;
mod seeds;
mod signatures;
mod texts;
mod times;
mod types;
mod vectors;
mod world;
