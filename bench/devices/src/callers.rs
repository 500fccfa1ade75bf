//! 64 callers at once.

use std::thread;
use std::time::{Duration, Instant};

use vault::{Signer, block_on};

use crate::Result;

const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(8);

/// Prints throughput, times, and whether somebody was left to wait: what the least and the most served had.
pub(crate) fn print(name: &str, signer: &Signer) -> Result<()> {
    let start = Instant::now();
    let served: Vec<Vec<Duration>> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| call(signer, start))).collect();
        callers.into_iter().map(|one| one.join().map_err(|_| "a caller panicked")?).collect::<Result<_>>()
    })?;
    let took = start.elapsed().as_secs_f64();
    let each = |pick: fn(usize, usize) -> usize| served.iter().map(Vec::len).reduce(pick).unwrap_or(0);
    let (fewest, most) = (each(usize::min), each(usize::max));
    let mut all: Vec<_> = served.into_iter().flatten().collect();
    all.sort();
    let at = |part: usize| all.get(all.len() * part / 100).map_or(f64::NAN, |one| one.as_secs_f64() * 1e3);
    let rate = all.len() as f64 / took;
    println!("  {name:46} {rate:>9.0} {:>9.1} {:>9.1}    {fewest} and {most}", at(50), at(99));
    Ok(())
}

/// What each of one caller's signatures took.
fn call(signer: &Signer, start: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while start.elapsed() < TIME {
        let asked = Instant::now();
        block_on(signer.sign(b"message"))?;
        took.push(asked.elapsed());
    }
    Ok(took)
}
