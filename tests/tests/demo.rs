//! `make demo`, as a test: the scenario checks each answer itself, and here nothing of it may be left out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its world should stop")]

use std::path::Path;
use std::process::Command;

/// What the scenario has to have shown, in this order.
const SHOWN: &[&str] = &[
    "✓ the token signs with P-256",
    "✓ the ticket is spent: a second identity is refused",
    "✓ allowed",
    "✓ denied, since",
    "✓ tampered with: denied, since",
    "✓ the authority is still the same identity",
    "around the rotation, none failed",
    "✓ the credential from before the rotation is valid",
    "✓ the credential from after the rotation is valid",
    "✓ the key is in the token",
    "the chain holds",
    "✓ ockam_identity accepts",
    "demo: ok",
];

#[test]
fn the_main_job_runs_end_to_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let judge = std::env::var("OCKAM_JUDGE")
        .unwrap_or_else(|_| panic!("OCKAM_JUDGE is not set: `make interop` builds it"));
    let output = Command::new(root.join("scripts/demo"))
        .env("OCKAM_KMS", ockam_kms_tests::ockam_kms())
        .env("OCKAM_JUDGE", judge)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{complained}");
    let mut rest = &*printed;
    for shown in SHOWN {
        let place = rest
            .find(shown)
            .unwrap_or_else(|| panic!("`{shown}` is missing, or not in its place:\n{printed}"));
        rest = &rest[place + shown.len()..];
    }
}
