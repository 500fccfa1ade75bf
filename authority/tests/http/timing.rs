//! Whether the time of an answer tells one useless ticket from another. What is done for each is counted exactly beside
//! `store::apply::ticket`; here it is timed from outside, over loopback.
//!
//! A busy machine makes any one answer slow. So requests of all kinds are sent in turns, in a random order each time, and what
//! is compared is how often one kind took longer than another in the same turn: half of the time, when they are alike. A
//! store that is slower on purpose has to be found by the same measure.

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

/// A store that is slower about tickets that it has: what must not be.
#[derive(Debug)]
struct Leaking(MemoryStore);

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
                tokio::time::sleep(LEAK).await;
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
    Held { store: Arc::new(Leaking(MemoryStore::new(authority, NOW).unwrap())), dir: None }
}

async fn ticket(site: &Site, seconds: u64) -> Code {
    let new = NewTicket::new(attributes(&[("role", "member")]), Some(seconds), Some(1)).unwrap();
    site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap().code
}

/// How long the answers to useless codes took, by kind, turn by turn.
async fn times(held: fn(Identifier) -> Held, turns: usize) -> BTreeMap<&'static str, Vec<Duration>> {
    let site = Site::of(World::new(held).await, Options::default()).await;
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
        // A clock that stands still is not trusted.
        let now = THEN.0 + 60 + turn as u64 / 10;
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

#[tokio::test(flavor = "multi_thread")]
async fn no_useless_ticket_is_answered_sooner_than_another() {
    let shares = shares(&times(memory, TURNS).await);
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| (share - 0.5).abs() < BOUND), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_store_that_is_slower_about_its_own_tickets_is_noticed() {
    let shares = shares(&times(leaking, TURNS_OF_CONTROL).await);
    assert!(["used", "expired"].iter().all(|kind| shares[kind] - 0.5 > BOUND), "{shares:?}");
}
