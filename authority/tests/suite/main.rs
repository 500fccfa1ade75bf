//! The authority without its transport, as one test binary: RocksDB is linked once.
//!
//! Three tables are golden files in `tests/golden`; `UPDATE_GOLDEN=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod audit;
mod authz;
mod clock;
mod common;
mod enrolment;
mod once;
mod race;
mod restrictions;
mod service;
mod store;
mod times;
