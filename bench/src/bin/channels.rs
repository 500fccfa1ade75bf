//! `cargo run --release --bin channels`: what nodes in between add to a round trip, and what idle channels take.

use std::process::ExitCode;

fn main() -> ExitCode {
    match bench::channels::print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("channels: {error}");
            ExitCode::FAILURE
        }
    }
}
