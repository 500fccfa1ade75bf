//! Rotations that are killed, with SIGKILL, at every step and at more than 200 random moments: software to software,
//! software to a token, within and between tokens, and back to software. Afterwards there is one live key, nothing beside
//! it, and a history that the published crates accept.
//!
//! The controls show that the check sees what it has to see: a rotation that destroys first, and a journal that is lost
//! as one that was never synced, fail it, over the same schedule of deaths.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use home::rotation::{Moment, Plan};
use ockam_kms_tests::judge::Judge;
use ockam_kms_tests::rotation::{Death, Ending, IDENTITY, Look, Place, World, violations};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rotation-crash");

/// How many random deaths have to hit each way of rotating.
const RANDOM: usize = 55;
const _: () = assert!(RANDOM * WAYS.len() >= 200);
/// In how many different places of a rotation they have to hit it, of the twelve that the moments bound.
const PLACES: usize = 5;
/// After how many rounds it is measured again how long a rotation takes: other tests come and go on the machine.
const MEASURED_FOR: usize = 20;
/// How many random deaths each control dies.
const RANDOM_OF_CONTROLS: usize = 10;
/// How many random deaths have to hit the recovery, in each way of rotating.
const RECOVERIES: usize = 5;

/// From where to where.
struct Way {
    name: &'static str,
    from: Place,
    to: Place,
    key_type: &'static str,
    next_type: &'static str,
}

const SOFT_TO_SOFT: Way =
    Way { name: "soft to soft", from: Place::Soft, to: Place::Soft, key_type: "ed25519", next_type: "p256" };
const SOFT_TO_TOKEN: Way = Way {
    name: "soft to pkcs11",
    from: Place::Soft,
    to: Place::Token,
    key_type: "ed25519",
    next_type: "p256",
};
const TOKEN_TO_TOKEN: Way = Way {
    name: "pkcs11 to pkcs11",
    from: Place::Token,
    to: Place::Token,
    key_type: "p256",
    next_type: "ed25519",
};
const TOKEN_TO_SOFT: Way = Way {
    name: "pkcs11 to soft",
    from: Place::Token,
    to: Place::Soft,
    key_type: "p256",
    next_type: "ed25519",
};
const WAYS: [&Way; 4] = [&SOFT_TO_SOFT, &SOFT_TO_TOKEN, &TOKEN_TO_TOKEN, &TOKEN_TO_SOFT];

impl Way {
    fn world(&self) -> World {
        World::new(PROGRAM, self.from, self.key_type, [self.from, self.to].contains(&Place::Token))
    }

    /// A rotation that keeps the purpose keys, within the vault where that is possible; and one that revokes them, into
    /// another vault and to another type.
    fn plans(&self) -> [Plan; 2] {
        let [first, second] = self.to.vaults();
        let within = Plan::within(IDENTITY);
        let keeping =
            Plan { to_vault: Some(first.to_owned()).filter(|_| self.from != self.to), ..within.clone() };
        let revoking = Plan {
            to_vault: Some(second.to_owned()),
            key_type: Some(self.next_type.to_owned()),
            revoke_purpose_keys: true,
            ..within
        };
        [keeping, revoking]
    }
}

/// Random numbers (SplitMix64) from a seed that differs in every run.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(RandomState::new().hash_one("a seed"))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn time_within(&mut self, whole: Duration) -> Duration {
        Duration::from_micros(self.roll() % (u64::try_from(whole.as_micros()).unwrap() + 1))
    }

    fn moment(&mut self) -> Moment {
        let moments = &Moment::ALL[..Moment::ALL.len() - 1];
        let index = self.roll() % u64::try_from(moments.len()).unwrap();
        moments[usize::try_from(index).unwrap()]
    }
}

/// One way of rotating, and what was found wrong with it.
struct Trial {
    way: &'static Way,
    world: World,
    before: Look,
    judge: Judge,
    dice: Dice,
    rounds: usize,
    wrong: Vec<String>,
}

impl Trial {
    fn new(way: &'static Way) -> Self {
        let judge = Judge::start();
        let world = way.world();
        let before = world.look();
        let mut trial = Self { way, world, before, judge, dice: Dice::new(), rounds: 0, wrong: Vec::new() };
        for plan in way.plans() {
            assert_eq!(
                trial.look(&plan, Ending::TakenBack),
                Vec::<String>::new(),
                "the world is sound to begin with"
            );
        }
        trial
    }

    fn look(&mut self, plan: &Plan, ending: Ending) -> Vec<String> {
        let after = self.world.look();
        violations(&self.before, &after, plan, ending, &mut self.judge)
    }

    /// Recovers, looks, and puts the world back.
    fn settle(&mut self, plan: &Plan, ending: Ending) -> Vec<String> {
        let mut wrong = self.world.recovered();
        wrong.extend(self.look(plan, ending));
        self.rounds += 1;
        self.world.put_back();
        wrong
    }

    /// As [`settle`](Self::settle), where nothing may be wrong.
    fn expect(&mut self, what: &str, plan: &Plan, ending: Ending) {
        for violation in self.settle(plan, ending) {
            self.wrong.push(format!(
                "{}, {what}, revoking: {}: {violation}",
                self.way.name, plan.revoke_purpose_keys
            ));
        }
    }

    /// How long a whole rotation takes, on average.
    fn measure(&mut self) -> Duration {
        let plans = self.way.plans();
        let mut whole = Duration::ZERO;
        for plan in &plans {
            whole += self.world.rotate(plan, Death::Never, false).took.unwrap();
            self.expect("not killed", plan, Ending::Finished);
        }
        whole / u32::try_from(plans.len()).unwrap()
    }

    fn dies_at_every_moment(&mut self) {
        for plan in self.way.plans() {
            for moment in Moment::ALL {
                let _ = self.world.rotate(&plan, Death::At(moment), false);
                self.expect(&format!("dies at {moment:?}"), &plan, Ending::at(moment));
            }
        }
    }

    /// Dies at random until enough deaths have hit, in enough places; answers how many, and where.
    fn dies_at_random(&mut self) -> (usize, BTreeSet<Option<Moment>>) {
        let mut whole = Duration::ZERO;
        let mut places = BTreeSet::new();
        let mut hits = 0;
        for round in 0.. {
            if round % MEASURED_FOR == 0 {
                whole = self.measure();
            }
            let plan = &self.way.plans()[round % 2];
            let time = self.dice.time_within(whole);
            let run = self.world.rotate(plan, Death::After(time), false);
            let ending = if run.took.is_none() { Ending::after(run.last) } else { Ending::Finished };
            self.expect(&format!("killed after {time:?}, past {:?}", run.last), plan, ending);
            if run.took.is_none() {
                hits += 1;
                places.insert(run.last);
            }
            if hits >= RANDOM && places.len() >= PLACES {
                break;
            }
            assert!(round < 4 * RANDOM, "{}: of {round} deaths, {hits} hit, past {places:?}", self.way.name);
        }
        (hits, places)
    }

    /// The recovery dies, too: once at each moment that it passes, one after the other, and at random.
    fn dies_while_recovering(&mut self) {
        let [plan, _] = self.way.plans();
        let _ = self.world.rotate(&plan, Death::At(Moment::Signed), false);
        for moment in Moment::ALL.into_iter().filter(|moment| *moment > Moment::Signed) {
            assert!(self.world.recover(Death::At(moment)).killed);
        }
        self.expect("recovery dies at every moment", &plan, Ending::Finished);
        let _ = self.world.rotate(&plan, Death::At(Moment::Signed), false);
        let whole = self.world.recover(Death::Never).took.unwrap();
        self.expect("recovers", &plan, Ending::Finished);
        let mut hits = 0;
        for round in 0.. {
            let plan = &self.way.plans()[round % 2];
            let (moment, time) = (self.dice.moment(), self.dice.time_within(whole));
            let _ = self.world.rotate(plan, Death::At(moment), false);
            hits += usize::from(self.world.recover(Death::After(time)).took.is_none());
            let what = format!("dies at {moment:?}, its recovery killed after {time:?}");
            self.expect(&what, plan, Ending::at(moment));
            if hits == RECOVERIES {
                break;
            }
            assert!(round < 20 * RECOVERIES, "{}: of {round} deaths, {hits} hit the recovery", self.way.name);
        }
    }
}

fn survives(way: &'static Way) {
    let start = Instant::now();
    let mut trial = Trial::new(way);
    trial.dies_at_every_moment();
    let steps = trial.rounds;
    let (hits, places) = trial.dies_at_random();
    let random = trial.rounds - steps;
    trial.dies_while_recovering();
    println!(
        "{}: {steps} rounds by the steps, {random} at random of which {hits} hit, past {places:?}, \
         {} with dying recoveries of which {RECOVERIES} hit at random; {} rounds in {:?}",
        way.name,
        trial.rounds - steps - random,
        trial.rounds,
        start.elapsed(),
    );
    assert_eq!(trial.wrong, Vec::<String>::new());
}

#[test]
fn software_to_software() {
    survives(&SOFT_TO_SOFT);
}

#[test]
fn software_to_token() {
    survives(&SOFT_TO_TOKEN);
}

#[test]
fn token_to_token() {
    survives(&TOKEN_TO_TOKEN);
}

#[test]
fn token_to_software() {
    survives(&TOKEN_TO_SOFT);
}

/// Between the two halves of a key on a token lies a moment that no journal knows.
#[test]
fn a_key_that_is_half_destroyed_is_destroyed() {
    let mut trial = Trial::new(&TOKEN_TO_TOKEN);
    for plan in TOKEN_TO_TOKEN.plans() {
        let _ = trial.world.rotate(&plan, Death::At(Moment::Served), false);
        trial.world.halve(&trial.before.primary);
        // The check sees halves.
        let wrong = trial.look(&plan, Ending::Finished);
        assert!(wrong.iter().any(|wrong| wrong.contains("the public half of")), "{wrong:?}");
        assert_eq!(trial.settle(&plan, Ending::Finished), Vec::<String>::new());
    }
}

/// What a control found: the moments of death after which the check reports something.
fn reported(trial: &mut Trial, mut cut_off: impl FnMut(&World, &Plan, Death)) -> (Vec<Moment>, usize) {
    let [plan, _] = trial.way.plans();
    let whole = trial.measure();
    let mut moments = Vec::new();
    for moment in Moment::ALL {
        cut_off(&trial.world, &plan, Death::At(moment));
        // Either ending will do: that keys are lost or left over is what has to be seen.
        if !trial.settle(&plan, Ending::Either).is_empty() {
            moments.push(moment);
        }
    }
    let mut random = 0;
    for _ in 0..RANDOM_OF_CONTROLS {
        let time = trial.dice.time_within(whole);
        cut_off(&trial.world, &plan, Death::After(time));
        random += usize::from(!trial.settle(&plan, Ending::Either).is_empty());
    }
    assert_eq!(trial.wrong, Vec::<String>::new());
    (moments, random)
}

fn control(way: &'static Way) {
    let start = Instant::now();
    let mut trial = Trial::new(way);

    // The old key goes as soon as both have signed. Without a crash nobody would notice.
    let [plan, _] = way.plans();
    let through = trial.world.rotate(&plan, Death::Never, true);
    assert!(through.took.is_some());
    assert_eq!(trial.settle(&plan, Ending::Finished), Vec::<String>::new());
    let (moments, random) = reported(&mut trial, |world, plan, death| {
        let _ = world.rotate(plan, death, true);
    });
    println!(
        "{}, destroying first: reported at {moments:?}, and {random} of {RANDOM_OF_CONTROLS} at random",
        way.name
    );
    // Before, it is taken back; after, the change is in the journal.
    assert_eq!(moments, [Moment::KeysSigned]);

    // A power cut takes what was not synced: here, the journal.
    let (moments, random) = reported(&mut trial, |world, plan, death| {
        let _ = world.rotate(plan, death, false);
        world.lose_journals();
    });
    println!(
        "{}, journal not synced: reported at {moments:?}, and {random} of {RANDOM_OF_CONTROLS} at random",
        way.name
    );
    // Everywhere, except where only one key exists.
    let two_keys = |moment: &Moment| (Moment::KeyMade..=Moment::Served).contains(moment);
    assert_eq!(moments, Moment::ALL.into_iter().filter(two_keys).collect::<Vec<_>>());
    println!("{}: {} rounds of controls in {:?}", way.name, trial.rounds, start.elapsed());
}

#[test]
fn the_check_fails_what_destroys_first_or_does_not_sync_in_software() {
    control(&SOFT_TO_SOFT);
}

#[test]
fn the_check_fails_what_destroys_first_or_does_not_sync_on_a_token() {
    control(&TOKEN_TO_TOKEN);
}

#[test]
fn the_check_fails_a_history_that_the_judge_refuses() {
    let mut trial = Trial::new(&SOFT_TO_SOFT);
    let [plan, _] = SOFT_TO_SOFT.plans();
    let _ = trial.world.rotate(&plan, Death::Never, false);
    let sound = trial.world.look();
    let (before, judge) = (&trial.before, &mut trial.judge);
    assert_eq!(violations(before, &sound, &plan, Ending::Finished, judge), Vec::<String>::new());
    assert_eq!(judge.update(&before.history, &sound.history), Ok(()));
    assert!(judge.update(&sound.history, &before.history).is_err());
    // The last byte is one of the signature by the old key.
    let mut history = hex::decode(&sound.history).unwrap();
    *history.last_mut().unwrap() ^= 1;
    let forged = Look { history: hex::encode(history), ..sound.clone() };
    let wrong = violations(before, &forged, &plan, Ending::Finished, judge);
    assert!(wrong.iter().any(|wrong| wrong.starts_with("ockam_identity refuses the history")), "{wrong:?}");
    // The history of before is a good one, of another length, and does not vouch for what is attested now.
    let stale = Look { history: before.history.clone(), ..sound };
    let wrong = violations(before, &stale, &plan, Ending::Finished, judge);
    assert!(wrong.iter().any(|wrong| wrong.starts_with("ockam_identity reads the history as")), "{wrong:?}");
    assert!(
        wrong.iter().any(|wrong| wrong.starts_with("ockam_identity refuses the attestation")),
        "{wrong:?}"
    );
}
