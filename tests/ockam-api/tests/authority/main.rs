//! The published authority and its clients beside ours, over TCP, in both directions: whoever asks, and whoever is asked, the
//! same comes of it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod asked_by_ours;
mod asked_by_theirs;
mod program;
mod tickets;
mod world;
