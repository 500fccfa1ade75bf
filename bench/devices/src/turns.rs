//! Ways to do the same, in turns, so that whatever else the machine does hits all alike.

use std::time::{Duration, Instant};

use crate::Result;

const TURNS: usize = 15;
const TURN: Duration = Duration::from_millis(400);

/// One way to do it.
pub(crate) type Way<'a> = (&'static str, Box<dyn FnMut() -> Result<()> + 'a>);

/// Prints what each takes, and the rate of the first divided by that of each other.
pub(crate) fn print(title: &str, ways: &mut [Way<'_>]) -> Result<()> {
    let mut took = vec![Vec::with_capacity(TURNS); ways.len()];
    for (_, way) in ways.iter_mut() {
        way()?;
    }
    for _ in 0..TURNS {
        for ((_, way), took) in ways.iter_mut().zip(&mut took) {
            let (start, mut times) = (Instant::now(), 0_u32);
            while start.elapsed() < TURN {
                way()?;
                times += 1;
            }
            took.push(start.elapsed() / times.max(1));
        }
    }
    println!("\n{title:60} {:>10}  {:>9}", "µs", "ours/this");
    let ours = took.first().cloned().unwrap_or_default();
    for (at, ((name, _), took)) in ways.iter().zip(&took).enumerate() {
        let ratios = took.iter().zip(&ours).map(|(this, ours)| this.as_secs_f64() / ours.as_secs_f64());
        let ratio = if at == 0 { String::new() } else { format!("{:.2}", median(ratios.collect())) };
        let micros = median(took.iter().map(|one| one.as_secs_f64() * 1e6).collect());
        println!("  {name:58} {micros:>10.0}  {ratio:>9}");
    }
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
