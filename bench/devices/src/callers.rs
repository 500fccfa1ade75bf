//! 64 callers at once, as tasks, which is how the authority calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task::yield_now;
use vault::Signer;

use crate::Result;

const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(8);

/// What one caller saw.
struct Served {
    /// How long each of its signatures took.
    took: Vec<Duration>,
    /// The most that others got while it waited for one.
    ahead: u64,
}

/// The first line.
pub(crate) fn head() -> String {
    format!(
        "\n{:46} {:>9} {:>9} {:>9}  {:>8}  {:>6}  {:>6}",
        format!("{CALLERS} callers, each as soon as it has its answer"),
        "per s",
        "p50 ms",
        "p99 ms",
        "in front",
        "fewest",
        "most"
    )
}

/// Prints throughput, times, the most signatures of others that one had to wait for, and whether somebody was left to wait: what
/// the least and the most served had.
pub(crate) fn print(name: &str, signer: Signer) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (signer, answered) = (Arc::new(signer), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| runtime.spawn(call(Arc::clone(&signer), Arc::clone(&answered), start)))
        .collect();
    let served: Vec<Served> = callers.into_iter().map(|one| runtime.block_on(one)?).collect::<Result<_>>()?;
    let took = start.elapsed().as_secs_f64();
    let each = |pick: fn(usize, usize) -> usize| {
        served.iter().map(|one| one.took.len()).reduce(pick).unwrap_or_default()
    };
    let (fewest, most) = (each(usize::min), each(usize::max));
    let ahead = served.iter().map(|one| one.ahead).max().unwrap_or_default();
    let mut all: Vec<_> = served.into_iter().flat_map(|one| one.took).collect();
    all.sort();
    let at = |part: usize| all.get(all.len() * part / 100).map_or(f64::NAN, |one| one.as_secs_f64() * 1e3);
    let rate = all.len() as f64 / took;
    println!("  {name:44} {rate:>9.0} {:>9.1} {:>9.1}  {ahead:>8}  {fewest:>6}  {most:>6}", at(50), at(99));
    Ok(())
}

async fn call(signer: Arc<Signer>, answered: Arc<AtomicU64>, start: Instant) -> Result<Served> {
    let mut served = Served { took: Vec::new(), ahead: 0 };
    while start.elapsed() < TIME {
        let (before, asked) = (answered.load(Ordering::Relaxed), Instant::now());
        signer.sign(b"message").await?;
        served.took.push(asked.elapsed());
        let others = answered.fetch_add(1, Ordering::Relaxed) - before;
        served.ahead = served.ahead.max(others);
        // A software key answers at once, and the task would never give its thread to another.
        yield_now().await;
    }
    Ok(served)
}
