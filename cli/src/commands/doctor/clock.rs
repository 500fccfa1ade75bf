//! The clock: against what was written and signed before, and against the clock that only goes forward.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use home::Home;
use identity::{Clock as _, SystemClock};

use super::Chart;
use crate::output::time;

const CHECK: &str = "clock";
/// What clocks of different machines may differ by; verifying allows the same.
const SKEW: Duration = Duration::from_secs(60);
/// By how much the two clocks may come to differ while we look.
const STEP: Duration = Duration::from_secs(1);

/// Both clocks, as they stood when looking began.
pub(super) struct Watch {
    wall: SystemTime,
    forward: Instant,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "the clock itself is what is looked at")]
    pub(super) fn start() -> Self {
        Self { wall: SystemTime::now(), forward: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the clock itself is what is looked at")]
    pub(super) fn look(self, chart: &mut Chart, home: &Home, newest: Option<(SystemTime, PathBuf)>) {
        let now = SystemTime::now();
        if let Some(moved) = stepped(self.wall, now, self.forward.elapsed()) {
            chart.fault(
                CHECK,
                format!("the clock was set {} seconds while it was looked at", moved.as_secs()),
                "see what sets it, and have it slewed and not stepped",
            );
        }
        if let Some((written, path)) = newest
            && let Ok(ahead) = written.duration_since(now)
            && ahead > SKEW
        {
            chart.fault(
                CHECK,
                format!("`{}` was written {} seconds in the future", path.display(), ahead.as_secs()),
                "set this machine's clock right: it went backwards, or ran ahead before",
            );
        }
        let now = SystemClock.now();
        for (name, record) in home.identities().unwrap_or_default() {
            let Ok(identity) = record.identity() else { continue };
            let from = identity.latest().valid_from();
            if from.since(now) > SKEW.as_secs() {
                chart.fault(
                    CHECK,
                    format!("the latest change of `{name}` starts in the future, {}", time(from)),
                    "set this machine's clock right: others refuse what is signed until then",
                );
            }
        }
        chart.looked_at(CHECK, format!("now {}", time(now)));
    }
}

/// By how much the wall clock moved apart from the one that only goes forward, when that is more than it may.
fn stepped(before: SystemTime, now: SystemTime, passed: Duration) -> Option<Duration> {
    let apart = match now.duration_since(before) {
        Ok(wall) => wall.abs_diff(passed),
        Err(backwards) => backwards.duration().saturating_add(passed),
    };
    (apart > STEP).then_some(apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_seen_in_both_directions() {
        let (zero, second) = (SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        assert_eq!(stepped(zero, zero + second, second), None);
        assert_eq!(stepped(zero, zero + second * 2, second), None);
        assert_eq!(stepped(zero, zero + second * 10, second), Some(second * 9));
        assert_eq!(stepped(zero + second * 10, zero, second), Some(second * 11));
    }
}
