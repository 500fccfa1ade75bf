//! Figures that are no row: they stand beside nothing.

use std::time::{Duration, Instant};

use crate::Result;
use crate::rows::Ours;

/// Round trips for each number of nodes in between.
const ROUND_TRIPS: usize = 20_000;
/// Channels that are open at once.
const IDLE: usize = 10_000;

/// Measures and prints both.
///
/// # Errors
/// When nodes cannot be set up.
pub fn print() -> Result<()> {
    println!("round trips of 64 B through a channel over TCP, {ROUND_TRIPS} each");
    println!("nodes between    p50 µs    p99 µs");
    for between in 0..=3 {
        let (middle, late) = latencies(between)?;
        println!("{between:>13}  {:>8.1}  {:>8.1}", micros(middle), micros(late));
    }
    let nodes = Ours::new(0)?;
    let before = resident()?;
    let start = Instant::now();
    nodes.runtime.block_on(nodes.open_idle(IDLE))?;
    let took = start.elapsed();
    let each = (resident()?.saturating_sub(before)) / IDLE as u64;
    println!();
    println!(
        "{IDLE} idle channels: {each} bytes of memory each for both ends, opened in {took:.1?} over TCP"
    );
    Ok(())
}

/// The median and the 99th percentile.
fn latencies(between: usize) -> Result<(Duration, Duration)> {
    let nodes = Ours::new(between)?;
    let payload = [0x5a; 64];
    let mut took = nodes.runtime.block_on(async {
        let mut took = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let start = Instant::now();
            nodes.round_trip(&payload).await?;
            took.push(start.elapsed());
        }
        Result::Ok(took)
    })?;
    took.sort();
    let at = |part: usize| took.get(ROUND_TRIPS * part / 100).copied().ok_or("nothing was measured");
    Ok((at(50)?, at(99)?))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The bytes of memory that the process has now.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
