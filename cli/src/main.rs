//! `ockam-kms`: the command line.
//!
//! It wires the backends together, reads arguments, calls the crates, and writes what came out. `args` says what can be
//! typed, `commands` what it does (one file a noun), `output` how it is told, `exit` how it ends.

mod args;
mod backends;
mod commands;
mod context;
mod dry_run;
mod duration;
mod environment;
mod error;
mod exit;
mod filter;
mod hardening;
mod hints;
mod interrupt;
mod output;
mod piping;
mod progress;
#[cfg(feature = "tpm")]
mod quiet;
mod secret_input;
mod terminal;
mod words;

fn main() -> std::process::ExitCode {
    #[cfg(feature = "tpm")]
    quiet::at_start();
    hardening::at_start();
    // What is written is for its owner alone, whatever writes it: RocksDB and logs included.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    interrupt::watched(|| commands::run(std::env::args_os().collect()))
}
