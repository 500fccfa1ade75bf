//! One target for each decoder of input that others make: what it has to hold true of any bytes whatever ([`targets`]), and
//! where it starts from ([`seeds`]).
//!
//! `make fuzz` drives the targets by libFuzzer; the tests run each on its seeds and on what once broke it (`regressions/`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target that finds something panics"
)]

// What is instrumented calls libFuzzer, in the programs and the tests alike.
#[cfg(feature = "libfuzzer")]
use libfuzzer_sys as _;

pub mod seeds;
pub mod targets;

/// Makes what the targets compare with, so that no execution is charged for it.
pub fn prepare() {
    targets::prepare();
}

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name, but for the control.
pub const TARGETS: [(&str, Target); 21] = [
    ("change_history", targets::change_history),
    ("credential", targets::credential),
    ("purpose_key_attestation", targets::purpose_key_attestation),
    ("issuer_bundle", targets::issuer_bundle),
    ("key_attestation", targets::key_attestation),
    ("request_key_attestation", targets::request_key_attestation),
    ("ticket_text", targets::ticket_text),
    ("key_uri", targets::key_uri),
    ("policy", targets::policy),
    ("http_headers", targets::http_headers),
    ("http_bodies", targets::http_bodies),
    ("home_records", targets::home_records),
    ("store_records", targets::store_records),
    ("vault_files", targets::vault_files),
    ("control_socket", targets::control_socket),
    ("audit_log", targets::audit_log),
    ("channel_message", targets::channel_message),
    ("handshake_payload", targets::handshake_payload),
    ("node_frame", targets::node_frame),
    ("multiaddr", targets::multiaddr),
    ("service_request", targets::service_request),
];
