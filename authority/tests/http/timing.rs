//! Whether the time of an answer tells one useless ticket from another. What is done for each is counted exactly beside
//! `store::apply::ticket`; here it is timed from outside, over loopback.
//!
//! A busy machine makes any one answer slow. So requests of all kinds are sent in turns, in a random order each time, and what
//! is compared is how often one kind took longer than another in the same turn: half of the time, when they are alike. A
//! store that is slower on purpose has to be found by the same measure.
//!
//! `OCKAM_KMS_TIMINGS` says how many turns a long run has. It compares medians and means as well, and has to find a store that is
//! slower by a tenth of a millisecond.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::http::Options;
use authority::store::{Applied, Command, Counted, MemoryStore, Operation, Pending, Store, View};
use authority::ticket::{Code, NewTicket};
use identity::{Identifier, Timestamp};

use crate::common::{Held, NOW, World, attributes, memory, person};
use crate::net::{ByHand, RequestKey, Site, THEN, send};

/// How far from a half a share may be. Chance never takes it there in [`TURNS`] turns, nor does reading a ticket that is there,
/// which is the one thing more that is done: a few microseconds.
const BOUND: f64 = 0.35;
const TURNS: usize = 300;
/// The control needs fewer: what it does is seen at once.
const TURNS_OF_CONTROL: usize = 60;
const LEAK: Duration = Duration::from_millis(20);
/// What the control of a long run leaks.
const SMALL_LEAK: Duration = Duration::from_micros(100);

/// How many turns a long run has; then how long answers take decides.
fn turns_of_a_long_run() -> Option<usize> {
    std::env::var("OCKAM_KMS_TIMINGS").ok().map(|turns| turns.parse().unwrap())
}

/// A store that is slower about tickets that it has: what must not be.
#[derive(Debug)]
struct Leaking(MemoryStore, Duration);

impl Store for Leaking {
    fn authority(&self) -> Identifier {
        self.0.authority()
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn execute(&self, command: Command) -> Pending<'_, Applied> {
        Box::pin(async move {
            if let Operation::Redeem { lookup, .. } = &command.operation
                && self.0.view()?.get(&[&b"t"[..], lookup].concat())?.is_some()
            {
                let (leak, begin) = (self.1, Instant::now());
                if leak >= LEAK {
                    tokio::time::sleep(leak).await;
                }
                // A timer is too coarse for less.
                while begin.elapsed() < leak {
                    std::hint::spin_loop();
                }
            }
            self.0.execute(command).await
        })
    }

    fn metrics(&self) -> Counted<'_> {
        self.0.metrics()
    }

    fn view(&self) -> authority::Result<&dyn View> {
        self.0.view()
    }
}

fn leaking(authority: Identifier) -> Held {
    Held { store: Arc::new(Leaking(MemoryStore::new(authority, NOW).unwrap(), LEAK)), dir: None }
}

fn leaking_a_little(authority: Identifier) -> Held {
    Held { store: Arc::new(Leaking(MemoryStore::new(authority, NOW).unwrap(), SMALL_LEAK)), dir: None }
}

async fn ticket(site: &Site, seconds: u64) -> Code {
    let new = NewTicket::new(attributes(&[("role", "member")]), Some(seconds), Some(1)).unwrap();
    site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap().code
}

/// How long the answers to useless codes took, by kind, turn by turn.
async fn times(held: fn(Identifier) -> Held, turns: usize) -> BTreeMap<&'static str, Vec<Duration>> {
    // More than all of them, of one identity.
    let options = Options { failures_a_minute: u32::MAX, ..Options::default() };
    let site = Site::of(World::new(held).await, options).await;
    let (used, expired, good) =
        (ticket(&site, 3600).await, ticket(&site, 60).await, ticket(&site, 3600).await);
    let spender = site.world.meet(&person(&site.world.vault).await).await;
    site.world.authority.enrol(&spender, &used).await.unwrap();
    // Right but for its last digit.
    let mut wrong = good.expose_hex().to_string();
    let last = wrong.pop();
    wrong.push(if last == Some('0') { '1' } else { '0' });
    let codes = [
        ("wrong", wrong),
        ("used", used.expose_hex().to_string()),
        ("expired", expired.expose_hex().to_string()),
    ];
    let guesser = person(&site.world.vault).await;
    let key = RequestKey::of(&site.world, &guesser).await;
    let mut times: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut random = 1_u64;
    for turn in 0..=turns {
        // A clock that stands still is not trusted. The tickets outlive a hundred thousand turns.
        let now = THEN.0 + 60 + turn as u64 / 50;
        site.world.clock.set(Timestamp(now));
        let unknown = Code::generate().unwrap().expose_hex().to_string();
        let mut kinds: Vec<_> = codes.iter().map(|(kind, code)| (*kind, code.as_str())).collect();
        kinds.push(("unknown", &unknown));
        for place in (1..kinds.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            kinds.swap(place, usize::try_from(random >> 33).unwrap() % (place + 1));
        }
        for (kind, code) in kinds {
            let body = serde_json::json!({ "code": code }).to_string();
            let mut request =
                ByHand::new(&site, &guesser.identity, &key, "POST", "/v1/enrol", body.as_bytes());
            (request.created, request.expires) = (now, now + 60);
            let bytes = [request.head().await.as_bytes(), body.as_bytes()].concat();
            let begun = Instant::now();
            let answer = send(site.addr(), &bytes).await;
            let took = begun.elapsed();
            assert_eq!(answer.status, 403, "{kind}: {answer:?}");
            // The first is about somebody whom the server does not know yet.
            if turn > 0 {
                times.entry(kind).or_default().push(took);
            }
        }
    }
    times
}

/// In which share of the turns a useless code of another kind took longer than an unknown one, by kind.
fn shares(times: &BTreeMap<&'static str, Vec<Duration>>) -> BTreeMap<&'static str, f64> {
    let unknown = &times["unknown"];
    let median = |kind: &str| {
        let mut sorted = times[kind].clone();
        sorted.sort();
        sorted[sorted.len() / 2].as_secs_f64()
    };
    let share = |kind: &str| {
        let longer = times[kind].iter().zip(unknown).filter(|(took, unknown)| took > unknown).count();
        longer as f64 / unknown.len() as f64
    };
    let others = times.keys().filter(|kind| **kind != "unknown");
    others
        .map(|kind| {
            let more = 100.0 * (median(kind) / median("unknown") - 1.0);
            println!("{kind}: longer than unknown in {:.3} of the turns, median {more:+.2} %", share(kind));
            (*kind, share(kind))
        })
        .collect()
}

/// By kind, how much of the median of an unknown code the median of another useless one is away from it, and Welch's t of their
/// means. Turns in which something else held up one of the two say nothing: the slowest twentieth of them, by the slower answer
/// of the two, is left out for both.
fn differences(times: &BTreeMap<&'static str, Vec<Duration>>) -> BTreeMap<&'static str, (f64, f64)> {
    let difference = |kind: &str| {
        let pairs = times[kind].iter().zip(&times["unknown"]);
        let mut pairs: Vec<_> = pairs.map(|(one, two)| (one.as_secs_f64(), two.as_secs_f64())).collect();
        pairs.sort_by(|a, b| a.0.max(a.1).total_cmp(&b.0.max(b.1)));
        pairs.truncate(pairs.len() * 19 / 20);
        let (mut one, mut two): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let count = one.len() as f64;
        let mean = |of: &[f64]| of.iter().sum::<f64>() / count;
        let error = |of: &[f64]| {
            let mean = mean(of);
            of.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0) / count
        };
        let t = (mean(&one) - mean(&two)) / (error(&one) + error(&two)).sqrt();
        one.sort_by(f64::total_cmp);
        two.sort_by(f64::total_cmp);
        (one[one.len() / 2] / two[two.len() / 2] - 1.0, t)
    };
    let others = times.keys().filter(|kind| **kind != "unknown");
    others
        .map(|kind| {
            let (median, t) = difference(kind);
            println!("{kind}: median {:+.2} % from unknown, t {t:+.2}", 100.0 * median);
            (*kind, (median, t))
        })
        .collect()
}

fn is_alike(difference: (f64, f64)) -> bool {
    difference.0.abs() < 0.05 && difference.1.abs() < 4.5
}

#[tokio::test(flavor = "multi_thread")]
async fn no_useless_ticket_is_answered_sooner_than_another() {
    let long = turns_of_a_long_run();
    let times = times(memory, long.unwrap_or(TURNS)).await;
    let shares = shares(&times);
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| (share - 0.5).abs() < BOUND), "{shares:?}");
    if long.is_some() {
        let differences = differences(&times);
        assert!(differences.values().all(|difference| is_alike(*difference)), "{differences:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_store_that_is_slower_about_its_own_tickets_is_noticed() {
    let measured = times(leaking, TURNS_OF_CONTROL).await;
    let shares = shares(&measured);
    assert!(["used", "expired"].iter().all(|kind| shares[kind] - 0.5 > BOUND), "{shares:?}");
    if let Some(turns) = turns_of_a_long_run() {
        let differences = differences(&times(leaking_a_little, turns).await);
        assert!(["used", "expired"].iter().all(|kind| !is_alike(differences[kind])), "{differences:?}");
        assert!(is_alike(differences["wrong"]), "{differences:?}");
    }
}
