//! `cargo run --release`: signing by a TPM and by AWS KMS through a vault, beside the raw library in
//! a loop on the same device, in turns; and 64 callers on each. Times are printed and judge nothing.

mod callers;
mod kms;
mod tpm2;
mod turns;

use std::process::{Command, ExitCode};

use fixtures::awskms::Emulator;
use fixtures::swtpm::Swtpm;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// In the child: where the emulator listens. Credentials come from the environment, which only a parent can set.
const ENDPOINT: &str = "OCKAM_KMS_BENCH_ENDPOINT";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-devices: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        let emulator = Emulator::start();
        let mut child = Command::new(std::env::current_exe()?);
        let status = child.env(ENDPOINT, emulator.endpoint()).envs(emulator.variables()).status()?;
        return if status.success() {
            Ok(())
        } else {
            Err(format!("the measuring process: {status}").into())
        };
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {} at the start", load.split_whitespace().next().unwrap_or("unknown"));
    let tpm = Swtpm::start();
    tpm2::beside_the_raw_library(&tpm)?;
    kms::beside_the_raw_library(&endpoint)?;
    println!();
    println!(
        "64 callers, each as soon as it has its answer      per s    p50 ms    p99 ms    fewest and most of one"
    );
    callers::print("TPM, P-256", &tpm2::signer(&tpm, "crowd")?)?;
    callers::print("AWS KMS, P-256", &kms::signer(&endpoint, "crowd")?)
}
