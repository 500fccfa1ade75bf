//! What the tests of several crates share: fixtures.

pub mod awskms;
pub mod chaos;
pub mod cli;
pub mod crash;
pub mod judge;
pub mod kryoptic;
pub mod names;
pub mod p11kit;
pub mod piv;
pub mod rotation;
pub mod secrets;
pub mod signatures;
pub mod softhsm;
pub mod swtpm;
pub mod tpmca;

use std::path::PathBuf;

/// The program, as the workspace's build left it beside the tests.
///
/// # Panics
/// When it is not there: tests of the program need it built.
#[must_use]
#[expect(clippy::panic, reason = "a fixture that fails fails its test")]
pub fn ockam_kms() -> PathBuf {
    let found = std::env::current_exe().ok().and_then(|test| {
        // target/debug/deps/TEST
        let program = test.parent()?.parent()?.join("ockam-kms");
        program.exists().then_some(program)
    });
    found.unwrap_or_else(|| panic!("ockam-kms is not built: `cargo build --bins`, or `make test`, builds it"))
}
