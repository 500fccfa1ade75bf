//! Records to the byte, and between honest ones everything that an attacker on the way can do.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::message::{Address, Payload};
use crate::tests::memory::{Masked, alone};
use crate::tests::{Naive, bytes, known};

fn key(name: &str) -> RecordKey {
    RecordKey::new(&bytes(known(name))).unwrap()
}

fn both() -> (RecordSealer, RecordOpener) {
    (RecordSealer::new(key("ockam-key-by-initiator")), RecordOpener::new(key("ockam-key-by-initiator")))
}

fn hi() -> Message<'static> {
    Message::Payload(Payload {
        onward_route: [Address::local("echo")].into_iter().collect(),
        return_route: [Address::local("app")].into_iter().collect(),
        payload: b"hi",
    })
}

#[test]
fn records_are_the_bytes_that_are_known() {
    let (mut sealer, mut opener) = both();
    let mut first = sealer.seal(hi()).unwrap();
    assert_eq!(hex::encode(&first), known("record-0-payload"));
    assert_eq!(opener.open(&mut first).unwrap(), hi());
    for _ in 1..32 {
        opener.open(&mut sealer.seal(hi()).unwrap()).unwrap();
    }
    // The first under the second key.
    let mut last = sealer.close().unwrap();
    assert_eq!(hex::encode(&last), known("record-32-close"));
    assert_eq!(opener.open(&mut last).unwrap(), Message::Close);
    // Taken as the first record of all as well: a burst of 32 was lost.
    let mut last = hex::decode(known("record-32-close")).unwrap();
    assert_eq!(both().1.open(&mut last).unwrap(), Message::Close);
}

#[test]
fn nothing_is_taken_after_the_close() {
    let (mut sealer, mut opener) = both();
    let mut before = sealer.seal(hi()).unwrap();
    let mut close = sealer.close().unwrap();
    assert!(!opener.is_closed());
    opener.open(&mut close.clone()).unwrap();
    assert!(opener.is_closed());
    for record in [&mut before, &mut close] {
        assert!(matches!(opener.open(record), Err(RecordError::Peer(RecordFault::Closed))));
    }
}

#[test]
fn what_is_no_message_leaves_the_channel_open() {
    let (mut sealer, mut opener) = both();
    let mut record = sealer.seal_bytes(b"\xff").unwrap();
    let replayed = record.clone();
    assert!(matches!(opener.open(&mut record), Err(RecordError::Peer(RecordFault::Malformed))));
    let replay = opener.open(&mut replayed.clone()).map(drop);
    assert!(matches!(replay, Err(RecordError::Peer(RecordFault::Counter(0)))));
    assert_eq!(opener.open(&mut sealer.seal(hi()).unwrap()).unwrap(), hi());
}

#[test]
fn keys_change_in_each_direction_by_itself() {
    let (mut one, mut two) = both();
    let (mut three, mut four) =
        (RecordSealer::new(key("ockam-key-by-responder")), RecordOpener::new(key("ockam-key-by-responder")));
    for at in 0..5000_u32 {
        let text = at.to_be_bytes();
        assert_eq!(two.open_bytes(&mut one.seal_bytes(&text).unwrap()).unwrap(), text);
        // The other direction is slower by far.
        if at % 7 == 0 {
            assert_eq!(four.open_bytes(&mut three.seal_bytes(&text).unwrap()).unwrap(), text);
        }
    }
}

#[test]
fn the_last_counter_is_used_by_nobody() {
    let (mut sealer, mut opener) = both();
    sealer.counter = LAST - 1;
    opener.window = Window::at(LAST - 2);
    assert_eq!(opener.open_bytes(&mut sealer.seal_bytes(b"one").unwrap()).unwrap(), b"one");
    assert!(matches!(sealer.seal_bytes(b"two"), Err(RecordError::Exhausted)));
    assert!(matches!(sealer.seal_bytes(b"two"), Err(RecordError::Exhausted)));
    // As somebody would make it who does use it.
    let mut record = [&LAST.to_be_bytes()[..], b"two"].concat();
    let tag = sealer.key.seal(LAST, &[], &mut record[COUNTER..]).unwrap();
    record.extend(tag);
    let refused = opener.open_bytes(&mut record).map(drop);
    assert!(matches!(refused, Err(RecordError::Peer(RecordFault::Counter(LAST)))));
}

#[test]
fn what_is_too_long_is_not_sealed_and_moves_nothing() {
    let (mut sealer, mut opener) = both();
    let most = vec![7; MAX_RECORD - RECORD_OVERHEAD + 1];
    for _ in 0..32 {
        opener.open_bytes(&mut sealer.seal_bytes(b"").unwrap()).unwrap();
    }
    assert!(matches!(sealer.seal_bytes(&most), Err(RecordError::TooLong)));
    let mut record = sealer.seal_bytes(&most[1..]).unwrap();
    assert_eq!(record.len(), MAX_RECORD);
    record.push(0);
    assert!(matches!(opener.open_bytes(&mut record), Err(RecordError::Peer(RecordFault::Length))));
    record.pop();
    assert_eq!(opener.open_bytes(&mut record).unwrap().len(), most.len() - 1);
    for length in 0..RECORD_OVERHEAD {
        let short = opener.open_bytes(&mut vec![0; length]).map(drop);
        assert!(matches!(short, Err(RecordError::Peer(RecordFault::Length))), "{length}");
    }
}

/// What opens records.
trait Opens {
    fn opens(&mut self, record: &[u8]) -> Option<Vec<u8>>;
}

impl Opens for RecordOpener {
    fn opens(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        self.open_bytes(&mut record.to_vec()).ok().map(|text| text.to_vec())
    }
}

/// The control: takes a counter before the record has proven to be the peer's.
struct HastyCounter(RecordOpener);

impl Opens for HastyCounter {
    fn opens(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let counter = u64::from_be_bytes(*record.first_chunk()?);
        let taken = self.0.window.take(counter);
        let text = self.0.opens(record);
        self.0.window = taken.unwrap_or(self.0.window);
        text
    }
}

/// Another: moves to the next key before the record has proven to be the peer's.
struct HastyKey(RecordOpener);

impl Opens for HastyKey {
    fn opens(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let counter = u64::from_be_bytes(*record.first_chunk()?);
        let text = self.0.opens(record);
        let ahead = counter.checked_sub(self.0.window.highest()).is_some_and(|ahead| ahead <= WINDOW);
        if text.is_none() && ahead && counter / REKEY > self.0.window.highest() / REKEY {
            let next = self.0.current.next().unwrap();
            self.0.previous = Some(std::mem::replace(&mut self.0.current, next));
        }
        text
    }
}

/// A third: opens whatever carries a tag that holds, as often as it comes.
struct NoWindow(RecordOpener);

impl Opens for NoWindow {
    fn opens(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let span = self.0.window.highest() / REKEY;
        let text = self.0.opens(record);
        if text.is_none() {
            let counter = u64::from_be_bytes(*record.first_chunk()?);
            let key = if counter / REKEY == span { &self.0.current } else { self.0.previous.as_ref()? };
            return key.open(counter, &[], &mut record[COUNTER..].to_vec()).ok().map(|text| text.to_vec());
        }
        text
    }
}

/// What the attacker does as one honest record passes: what, where, how much.
type Act = (u8, u16, u8);

/// Everything went through the attacker's hands. How often the opener did otherwise than it has to, and how many honest
/// records it opened.
fn differences(acts: &[Act], opener: &mut impl Opens) -> (usize, usize) {
    let mut sealer = both().0;
    let (mut naive, mut wrong, mut honest) = (Naive::default(), 0, 0);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut held: Vec<(usize, u64)> = Vec::new();
    for (at, &(what, place, much)) in acts.iter().enumerate() {
        let text = at.to_be_bytes();
        let record = sealer.seal_bytes(&text).unwrap();
        let place = usize::from(place);
        let mut forge = |record: Vec<u8>| wrong += usize::from(opener.opens(&record).is_some());
        match what % 10 {
            // A counter of the attacker's choice, around the honest one, over bytes of no meaning.
            0 => {
                let counter = (at as u64).saturating_add_signed(i64::from(place as i16 % 80));
                forge([&counter.to_be_bytes()[..], &vec![much; 16 + place % 64]].concat());
            }
            1 => {
                let mut flipped = record.clone();
                let bit = place % (8 * record.len());
                flipped[bit / 8] ^= 1 << (bit % 8);
                forge(flipped);
            }
            2 => forge(record[..place % record.len()].to_vec()),
            3 => forge([&record[..], &[much]].concat()),
            // The honest ciphertext under the next counters.
            4 => {
                let counter = at as u64 + 1 + u64::from(much % 40);
                forge([&counter.to_be_bytes()[..], &record[COUNTER..]].concat());
            }
            _ => {}
        }
        sent.push(record);
        let mut deliver = |counter: u64| {
            let opened = opener.opens(&sent[counter as usize]);
            let right = naive.take(counter).then(|| (counter as usize).to_be_bytes().to_vec());
            honest += usize::from(opened.is_some());
            wrong += usize::from(opened != right);
        };
        match what % 10 {
            // Lost, but not for good: what was lost may come late, also too late.
            5 => held.push((at + usize::from(much % 40), at as u64)),
            6 if place % 4 == 0 => {}
            // Again, from any time before.
            7 => {
                deliver(at as u64);
                deliver((at - at.min(place % 70)) as u64);
            }
            _ => deliver(at as u64),
        }
        let (due, later): (Vec<_>, Vec<_>) = held.into_iter().partition(|(when, _)| *when <= at);
        held = later;
        due.into_iter().rev().for_each(|(_, counter)| deliver(counter));
    }
    (wrong, honest)
}

fn acts(count: usize) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(any::<Act>(), count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn no_honest_record_is_lost_and_none_is_taken_twice(acts in acts(10_000)) {
        let (wrong, honest) = differences(&acts, &mut both().1);
        prop_assert_eq!(wrong, 0);
        prop_assert!(honest > 9_000, "{}", honest);
    }
}

/// The check would notice: openers that are wrong in one thing each.
#[test]
fn the_same_check_notices_openers_that_are_broken() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let acts = acts(10_000).new_tree(&mut runner).unwrap().current();
    assert_eq!(differences(&acts, &mut both().1).0, 0);
    for (name, (wrong, _)) in [
        ("counter", differences(&acts, &mut HastyCounter(both().1))),
        ("key", differences(&acts, &mut HastyKey(both().1))),
        ("window", differences(&acts, &mut NoWindow(both().1))),
    ] {
        assert!(wrong > 0, "a hasty {name} goes unnoticed");
    }
}

/// A forged record at every position of two spans of keys, with every counter that could matter.
#[test]
fn a_forged_record_changes_nothing_at_any_position() {
    let (mut sealer, mut opener) = both();
    for at in 0..100_u64 {
        for counter in (at.saturating_sub(70)..at + 70).chain([u64::MAX, u64::MAX - 1, 1 << 63]) {
            let forged = [&counter.to_be_bytes()[..], &[0; 40]].concat();
            assert_eq!(opener.opens(&forged), None);
        }
        let text = at.to_be_bytes();
        assert_eq!(opener.opens(&sealer.seal_bytes(&text).unwrap()).unwrap(), text);
    }
}

#[test]
fn every_bit_of_a_record_counts() {
    let (mut sealer, mut opener) = both();
    let record = sealer.seal(hi()).unwrap();
    for bit in 0..8 * record.len() {
        let mut altered = record.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(opener.opens(&altered), None, "bit {bit}");
    }
    assert!(opener.opens(&record).is_some());
}

/// The keys before are gone from memory: of the sealer at once, of the receiver with the key after the next.
#[test]
fn keys_that_are_done_with_are_wiped() {
    if !alone("record::tests::keys_that_are_done_with_are_wiped") {
        return;
    }
    let first = Masked::of(known("ockam-key-by-initiator"));
    let next = Masked::of(known("ockam-key-by-initiator-next"));
    assert_eq!([first.copies(), next.copies()], [0, 0]);
    let mut sealer = RecordSealer::new(RecordKey::new(&first.key().0).unwrap());
    let mut opener = RecordOpener::new(RecordKey::new(&first.key().0).unwrap());
    // The control: the cipher's key begins with the key as it is, and is found.
    assert_eq!([first.copies(), next.copies()], [2, 0]);
    let mut say = |times| {
        for _ in 0..times {
            opener.open_bytes(&mut sealer.seal_bytes(b"x").unwrap()).unwrap();
        }
    };
    say(33);
    assert_eq!([first.copies(), next.copies()], [1, 2]);
    say(32);
    assert_eq!([first.copies(), next.copies()], [0, 1]);
    drop((sealer, opener));
    assert_eq!([first.copies(), next.copies()], [0, 0]);
}
