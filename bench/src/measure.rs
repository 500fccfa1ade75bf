//! Measuring the contenders of a row against each other.
//!
//! They take turns in short batches, so that what else the machine does hits all of them; the ratio is taken within each
//! turn, and its median over the turns is what counts.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::{Contender, Result};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For each contender of a row, in all its batches together. Zero: one operation for each caller, to see that it works.
    pub time: Duration,
    /// How many batches.
    pub turns: u32,
}

impl Plan {
    /// Batches of a fortieth of this.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self { time, turns: 40 }
    }

    /// One operation for each caller.
    #[must_use]
    pub fn smoke() -> Self {
        Self { time: Duration::ZERO, turns: 1 }
    }
}

/// What was measured of one contender. Nanoseconds for one operation, at the rate of all callers together.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// How many operations were timed.
    pub operations: u64,
    /// Of its turns.
    pub nanos: Figures,
    /// Processor time of the whole process for one operation: what remains comparable on a busy machine.
    pub processor: Figures,
    /// The rate of ours divided by its rate, in the same turn. Above one ours is faster.
    pub ratio: Figures,
    /// The same by processor time.
    pub processor_ratio: Figures,
}

/// A median with its extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Figures {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (middle, last) = (values.len() / 2, values.len().saturating_sub(1));
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { median, least: at(0), most: at(last) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    operations: u64,
    nanos: f64,
    processor: f64,
}

/// Checks every contender, warms them up and measures them. The first is ours, the one that ratios compare with.
///
/// # Errors
/// When an operation fails or an outcome is wrong.
pub fn measure(contenders: &mut [Contender], plan: Plan) -> Result<Vec<Measured>> {
    let mut sizes = Vec::with_capacity(contenders.len());
    for contender in &mut *contenders {
        contender.check()?;
        sizes.push(warm_up(contender, plan.time / plan.turns.max(1))?);
    }
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); contenders.len()];
    for turn in 0..plan.turns.max(1) {
        // Every other turn backwards, so that nobody always comes after the same one.
        let mut order: Vec<_> = contenders.iter_mut().zip(&sizes).zip(&mut turns).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for ((contender, size), turns) in order {
            turns.push(one_turn(contender, *size)?);
        }
    }
    let ours = turns.first().cloned().unwrap_or_default();
    Ok(contenders
        .iter()
        .zip(turns)
        .map(|(contender, turns)| summary(contender.name(), &ours, &turns))
        .collect())
}

/// How many operations fill a batch.
fn warm_up(contender: &mut Contender, batch: Duration) -> Result<u64> {
    let mut size = 1;
    while !batch.is_zero() {
        let started = Instant::now();
        let done = contender.batch(size)?;
        let took = started.elapsed();
        if took * 4 >= batch {
            let fitting = batch.as_secs_f64() / took.as_secs_f64().max(1e-9) * u64_to_f64(done);
            return Ok((fitting as u64).max(1));
        }
        size = done.max(size) * 2;
    }
    Ok(size)
}

fn one_turn(contender: &mut Contender, size: u64) -> Result<Turn> {
    let (started, processor) = (Instant::now(), processor_time());
    let operations = contender.batch(size)?;
    let each = |time: Duration| time.as_secs_f64() * 1e9 / u64_to_f64(operations);
    let nanos = each(started.elapsed());
    Ok(Turn { operations, nanos, processor: each(processor_time().saturating_sub(processor)) })
}

fn summary(name: &str, ours: &[Turn], turns: &[Turn]) -> Measured {
    let paired =
        |of: fn(&Turn, &Turn) -> f64| ours.iter().zip(turns).map(|(ours, turn)| of(ours, turn)).collect();
    Measured {
        name: name.to_owned(),
        operations: turns.iter().map(|turn| turn.operations).sum(),
        nanos: Figures::of(turns.iter().map(|turn| turn.nanos).collect()),
        processor: Figures::of(turns.iter().map(|turn| turn.processor).collect()),
        ratio: Figures::of(paired(|ours, turn| turn.nanos / ours.nanos)),
        processor_ratio: Figures::of(paired(|ours, turn| turn.processor / ours.processor)),
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Counts of operations are far below 2^53.
fn u64_to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let figures = Figures::of(vec![4.0, 1.0, 2.0, 9.0]);
        assert_eq!(figures, Figures { median: 3.0, least: 1.0, most: 9.0 });
    }

    #[test]
    fn ratios_are_taken_within_a_turn() {
        let turn = |nanos| Turn { operations: 7, nanos, processor: 10.0 * nanos };
        // The machine slows down threefold; within each turn the other one takes twice as long as ours.
        let ours = [10.0, 20.0, 30.0].map(turn);
        let theirs = summary("theirs", &ours, &[20.0, 40.0, 60.0].map(turn));
        assert_eq!(theirs.ratio, Figures { median: 2.0, least: 2.0, most: 2.0 });
        assert_eq!(theirs.processor_ratio, theirs.ratio);
        assert_eq!(theirs.nanos, Figures { median: 40.0, least: 20.0, most: 60.0 });
        assert_eq!(theirs.operations, 21);
    }

    #[test]
    fn every_contender_takes_every_turn() {
        let counter = || Contender::called("counts", || Ok(std::hint::black_box(1)), |_| Ok(()));
        let plan = Plan { time: Duration::from_millis(6), turns: 3 };
        let measured = measure(&mut [counter(), counter()], plan).unwrap();
        assert_eq!(measured.len(), 2);
        assert!(measured.iter().all(|one| one.operations >= 3 && one.nanos.least > 0.0), "{measured:?}");
    }

    #[test]
    fn a_wrong_outcome_is_not_measured() {
        let mut wrong = [Contender::called("wrong", || Ok(1), |_| Err("it is wrong".into()))];
        assert_eq!(measure(&mut wrong, Plan::smoke()).unwrap_err().to_string(), "wrong: it is wrong");
    }
}
