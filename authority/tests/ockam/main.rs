//! The authority as Ockam's own services: requests made by hand to the desk, and the door over TCP with our own client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

#[path = "../suite/common.rs"]
#[allow(dead_code, reason = "shared with the other test binaries, which use more of it")]
mod common;
#[path = "../http/net.rs"]
#[allow(dead_code, reason = "shared with the tests of the HTTP door, which use more of it")]
mod net;

mod desk;
mod door;
mod doors;
mod history;
mod lost;
mod world;
