//! Nodes that talk to each other over TCP on the loopback, with software keys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod channels;
mod floods;
mod places;
mod policies;
mod relays;
mod routes;
mod world;
