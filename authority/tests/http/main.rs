//! The authority over HTTP, on real sockets of this machine: the client, and requests made by hand against the rules.
//!
//! Three tables are golden files in `tests/golden`; `UPDATE_GOLDEN=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

#[path = "../suite/common.rs"]
#[allow(dead_code, reason = "shared with the other test binary, which uses more of it")]
mod common;

mod client;
mod conformance;
mod flow;
mod guessing;
mod history;
mod limits;
mod load;
mod lost;
mod matrix;
mod net;
mod operations;
mod panics;
mod pending;
mod problems;
mod refusals;
mod timing;
mod tls;
