//! What was altered, and what was put together from right and wrong parts and signed: both sides say the same of it.
//!
//! The questions are the same in every run, but for the time that they are about. `IDENTITY_ROUNDS=20 cargo test --locked
//! --test identity` asks twenty times as many.

use std::thread;

use identity::{ChangeHash, Identity};
use vault::Signer;

use crate::compare::{Tally, Theirs};
use crate::made::now;
use crate::random::Random;
use crate::raw::{self, ATTESTATION, CHANGE, CREDENTIAL, Item, REQUEST_KEY};
use crate::seeds::{ed25519, p256};

const ROUNDS: &str = "IDENTITY_ROUNDS";
const SHARDS: u64 = 2;

/// Asks in several threads, each with seeds of its own.
fn in_shards(of: impl Fn(&mut Random, &mut Tally) + Sync) -> Tally {
    let rounds: u64 = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let mut total = Tally::default();
    for round in 0..rounds {
        thread::scope(|scope| {
            let shard = |seed| {
                let mut tally = Tally::default();
                of(&mut Random::new(seed), &mut tally);
                tally
            };
            let seeds = round * SHARDS..(round + 1) * SHARDS;
            let running: Vec<_> = seeds.map(|seed| scope.spawn(move || shard(seed))).collect();
            running.into_iter().for_each(|shard| total.add(shard.join().unwrap()));
        });
    }
    total
}

/// Keys of both types; an index is a key.
fn keys() -> Vec<Signer> {
    (1..5).flat_map(|seed| [ed25519(seed), p256(seed)]).collect()
}

/// One item written as only few would write it. Some ways are legal, some are not; both sides have to agree which.
fn restyled(random: &mut Random, item: &Item) -> Item {
    let odd = random.once_in(60);
    match item {
        Item::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| restyled(random, item)).collect();
            if !odd {
                return Item::Array(items);
            }
            match random.below(5) {
                0 => items.push(Item::Uint(7)),
                1 => items.push(Item::Null),
                2 => drop(items.pop()),
                3 => {
                    return Item::Map(
                        items.into_iter().enumerate().map(|(i, item)| (Item::Uint(i as u64), item)).collect(),
                    );
                }
                _ => {
                    let inside = items.iter().flat_map(Item::encode).collect();
                    return Item::Raw([vec![0x9f], inside, vec![0xff]].concat());
                }
            }
            Item::Array(items)
        }
        Item::Uint(value) if odd => match random.below(6) {
            0 => Item::Raw([&[0x1b][..], &value.to_be_bytes()].concat()),
            1 => Item::Uint(value.wrapping_add(1)),
            2 => Item::Raw([&[0x3b][..], &value.to_be_bytes()].concat()),
            3 => Item::Uint(u64::MAX),
            4 => Item::Null,
            _ => Item::Raw([&[0xc2, 0x48][..], &value.to_be_bytes()].concat()),
        },
        Item::Bytes(bytes) if odd => match random.below(6) {
            0 => Item::Raw([&[0x5b][..], &(bytes.len() as u64).to_be_bytes(), bytes].concat()),
            1 => Item::Raw([&[0x5f][..], &item.encode(), &[0xff]].concat()),
            2 => Item::Bytes([bytes, &[0][..]].concat()),
            3 => Item::Bytes(bytes[..bytes.len().saturating_sub(1)].to_vec()),
            4 => Item::Array(bytes.iter().map(|byte| Item::Uint(u64::from(*byte))).collect()),
            _ => Item::Null,
        },
        Item::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(a, b)| (restyled(random, a), restyled(random, b))).collect();
            match (odd, random.below(2)) {
                (false, _) => Item::Map(pairs),
                (true, 0) => {
                    let inside = pairs.iter().flat_map(|(a, b)| [a.encode(), b.encode()].concat()).collect();
                    Item::Raw([vec![0xbf], inside, vec![0xff]].concat())
                }
                _ => Item::Map([&pairs[..], &pairs[..]].concat()),
            }
        }
        Item::Bool(value) if odd => match random.below(3) {
            0 => Item::Bool(!value),
            1 => Item::Uint(u64::from(*value)),
            _ => Item::Raw(vec![0xf8, 0x14]),
        },
        Item::Null if odd => Item::Raw(vec![random.pick(&[0xf7, 0xf4, 0x00, 0x80, 0x40])]),
        same => same.clone(),
    }
}

/// A signed body, of this version and type unless it is to be another.
fn body(random: &mut Random, data_type: u64, content: &Item) -> Vec<u8> {
    let version = if random.once_in(40) { random.pick(&[0, 2, 257]) } else { 1 };
    let types = [CHANGE, ATTESTATION, CREDENTIAL, REQUEST_KEY, 0, 255, 258];
    let data_type = if random.once_in(40) { random.pick(&types) } else { data_type };
    let mut content = restyled(random, content).encode();
    if random.once_in(40) {
        content.push(random.below(256) as u8);
    }
    let whole = raw::array([Item::Uint(version), Item::Uint(data_type), raw::bytes(content)]);
    let mut body = restyled(random, &whole).encode();
    if random.once_in(40) {
        body.push(0);
    }
    body
}

/// A key as the wire has it, or something that is none.
fn key(random: &mut Random, public: Item) -> Item {
    if !random.once_in(25) {
        return public;
    }
    match random.below(6) {
        // Of small order, off its curve, of the other length, of a kind that nobody knows.
        0 => raw::variant(0, raw::bytes([&[1][..], &[0; 31]].concat())),
        1 => raw::variant(0, raw::bytes([2; 32])),
        2 => raw::variant(1, raw::bytes([&[4][..], &[1; 64]].concat())),
        3 => raw::variant(1, raw::bytes([3; 33])),
        4 => raw::variant(2, raw::bytes([2; 32])),
        _ => raw::variant(0, public),
    }
}

/// The signature of this key over a body, or another one.
fn signature(random: &mut Random, body: &[u8], signer: &Signer, keys: &[Signer]) -> Item {
    let sign = raw::sign(body, signer);
    if !random.once_in(15) {
        return sign;
    }
    match random.below(8) {
        0 => raw::sign(body, &keys[random.below(keys.len())]),
        1 => raw::sign(&[body, &[0]].concat(), signer),
        2 => raw::variant(random.below(2) as u64, raw::bytes([0; 64])),
        3 => raw::variant(2, raw::bytes([0; 64])),
        4 => raw::array([Item::Uint(random.pick(&[2, 0xffff_ffff, 0x1_0000_0000])), Item::Null]),
        5 => raw::array([Item::Raw(vec![0x20]), Item::Null]),
        6 => high_s(&sign),
        _ => Item::Null,
    }
}

/// An ECDSA signature with `s` in the other half; another one as it is.
fn high_s(signature: &Item) -> Item {
    let bytes = signature.encode();
    match bytes.split_last_chunk::<64>() {
        Some((head, both)) if head[1] == 1 => {
            let both = p256::ecdsa::Signature::from_slice(both).unwrap();
            let other =
                p256::ecdsa::Signature::from_scalars(both.r().to_bytes(), (-*both.s()).to_bytes()).unwrap();
            Item::Raw([head, &other.to_bytes()[..]].concat())
        }
        _ => signature.clone(),
    }
}

fn history(random: &mut Random, keys: &[Signer]) -> Vec<u8> {
    let mut changes = Vec::new();
    let mut before: Option<(ChangeHash, &Signer, u64)> = None;
    for _ in 0..=random.below(4) {
        let new = &keys[random.below(keys.len())];
        let mut previous = before.map(|(hash, _, _)| hash);
        if random.once_in(25) {
            previous = random.pick(&[None, Some(ChangeHash::of(b"another"))]);
        }
        let start = before.map_or(1_700_000_000, |(_, _, from)| from);
        let from = if random.once_in(25) { start - 1 } else { start + random.below(3) as u64 };
        let until = if random.once_in(10) { from - 5 } else { from + 1000 };
        let Item::Array(mut data) =
            raw::change_data(previous, new, random.once_in(2), (Item::Uint(from), Item::Uint(until)))
        else {
            unreachable!("a change is an array")
        };
        data[1] = key(random, data[1].clone());
        let body = body(random, CHANGE, &Item::Array(data));
        let mut items = vec![raw::bytes(body.clone()), signature(random, &body, new, keys)];
        match before {
            Some((_, old, _)) if !random.once_in(25) => items.push(signature(random, &body, old, keys)),
            None if random.once_in(5) => items.push(signature(random, &body, new, keys)),
            _ => {}
        }
        changes.push(Item::Array(items));
        before = Some((ChangeHash::of(&body), new, from));
    }
    if random.once_in(40) {
        let (a, b) = (random.below(changes.len()), random.below(changes.len()));
        changes.swap(a, b);
    }
    let mut bytes = restyled(random, &Item::Array(changes)).encode();
    if random.once_in(40) {
        bytes.push(0);
    }
    bytes
}

#[test]
fn histories_of_right_and_wrong_parts_get_the_same_verdict() {
    let total = in_shards(|random, tally| {
        let keys = keys();
        let mut theirs = Theirs::knowing([]);
        for _ in 0..3000 {
            tally.history(&mut theirs, &history(random, &keys));
        }
    });
    let reasons = [
        "broken-chain",
        "first-has-previous",
        "malformed",
        "missing-previous-signature",
        "signature",
        "time-reversed",
        "wrong-type",
        "wrong-version",
    ];
    total.check(6000, &reasons);
    assert!(total.accepted > 1000, "{} were good", total.accepted);
    assert_eq!(total.stricter.keys().collect::<Vec<_>>(), [&"trailing-bytes"]);
}

/// An issuer with one, two or three changes, and the keys of each.
struct Issuer {
    identity: Identity,
    primaries: Vec<Signer>,
}

fn issuers(around: u64) -> Vec<Issuer> {
    let sequences = [vec![ed25519(11)], vec![p256(12), ed25519(13)], vec![ed25519(14), p256(15), p256(16)]];
    let made = |primaries: Vec<Signer>| {
        let mut previous = None;
        let mut changes = Vec::new();
        for (n, new) in primaries.iter().enumerate() {
            let from = around - 1000 + n as u64;
            let window = (Item::Uint(from), Item::Uint(around + 100_000));
            let body = raw::body(1, CHANGE, &raw::change_data(previous, new, false, window));
            changes.push(raw::change(&body, new, n.checked_sub(1).map(|old| &primaries[old])));
            previous = Some(ChangeHash::of(&body));
        }
        let identity = Identity::import(&Item::Array(changes).encode()).unwrap();
        Issuer { identity, primaries }
    };
    sequences.into_iter().map(made).collect()
}

/// A validity around now: seconds that are far enough from every edge that a slow run does not cross one.
fn window(random: &mut Random, now: u64) -> (Item, Item) {
    let from = if random.once_in(4) { random.pick(&[-5000, -1200, -700, 30, 90, 5000]) } else { -500 };
    let until = if random.once_in(4) { random.pick(&[-600, -20, 20, 99_000, 200_000]) } else { 50_000 };
    let second = |offset| Item::Uint(now.checked_add_signed(offset).unwrap());
    (second(from), second(until))
}

fn attestation(random: &mut Random, issuer: &Issuer, purpose_key: Item, keys: &[Signer], now: u64) -> Item {
    let identity = &issuer.identity;
    let (mut of, mut under) = (identity.identifier(), identity.latest().hash());
    let mut signer = issuer.primaries.last().unwrap();
    match random.below(40) {
        0 => of = identity::Identifier::from_bytes([5; 32]),
        1 => under = ChangeHash::of(b"another"),
        2 => under = identity.changes().next().unwrap().hash(),
        3 => {
            under = identity.changes().next().unwrap().hash();
            signer = &issuer.primaries[0];
        }
        4 => signer = &issuer.primaries[0],
        _ => {}
    }
    let data = raw::attestation_data(of, under, purpose_key, window(random, now));
    let body = body(random, ATTESTATION, &data);
    let signature = signature(random, &body, signer, keys);
    raw::array([raw::bytes(body), signature])
}

fn purpose_key(random: &mut Random, key_of: &Signer) -> Item {
    match random.below(12) {
        0 | 1 => raw::channel_key([7; 32]),
        2 => raw::channel_key([0; 32]),
        3 => raw::variant(2, raw::bytes([7; 32])),
        _ => raw::variant(1, key(random, raw::key(key_of.public()))),
    }
}

#[test]
fn attestations_of_right_and_wrong_parts_get_the_same_verdict() {
    let total = in_shards(|random, tally| {
        let (keys, now) = (keys(), now().0);
        let issuers = issuers(now);
        let mut theirs = Theirs::knowing(issuers.iter().map(|issuer| &issuer.identity));
        for _ in 0..3000 {
            let issuer = &issuers[random.below(issuers.len())];
            let purpose_key = purpose_key(random, &keys[0]);
            let attestation = attestation(random, issuer, purpose_key, &keys, now);
            let mut bytes = restyled(random, &attestation).encode();
            if random.once_in(40) {
                bytes.push(0xf6);
            }
            tally.attestation(&mut theirs, &issuer.identity, &bytes);
        }
    });
    let reasons = [
        "before-change",
        "expired",
        "future",
        "malformed",
        "not-latest-change",
        "other-subject",
        "outlives-change",
        "signature",
        "wrong-type",
        "wrong-version",
    ];
    total.check(6000, &reasons);
    assert!(total.accepted > 500, "{} were good", total.accepted);
    assert_eq!(total.stricter.keys().collect::<Vec<_>>(), [&"signature", &"trailing-bytes"]);
}

/// The control: with our clock a day ahead there are differences, and they are found.
#[test]
fn a_clock_that_goes_wrong_on_our_side_is_noticed() {
    let (mut random, keys, now) = (Random::new(0), keys(), now().0);
    let issuers = issuers(now);
    let mut theirs = Theirs::knowing(issuers.iter().map(|issuer| &issuer.identity));
    let mut tally = Tally { ahead: 86_400, ..Tally::default() };
    for _ in 0..200 {
        let issuer = &issuers[random.below(issuers.len())];
        let purpose_key = raw::credential_key(keys[0].public());
        let attestation = attestation(&mut random, issuer, purpose_key, &keys, now);
        tally.attestation(&mut theirs, &issuer.identity, &attestation.encode());
    }
    assert!(tally.differences.len() > 20, "{tally:?}");
    assert!(tally.differences[0].contains("expired") && tally.differences[0].contains("theirs Ok"));
}

fn attributes(random: &mut Random) -> Item {
    let names: [&[u8]; 6] = [b"role", b"aa", b"b", b"", b"\xff\xfe", b"identifier"];
    let pairs: Vec<_> = (0..random.below(5)).map(|_| (random.pick(&names), random.pick(&names))).collect();
    raw::attributes(random.pick(&[0, 1, 7, u64::MAX]), &pairs)
}

#[test]
fn credentials_of_right_and_wrong_parts_get_the_same_verdict() {
    let total = in_shards(|random, tally| {
        let (keys, now) = (keys(), now().0);
        let issuers = issuers(now);
        let mut theirs = Theirs::knowing(issuers.iter().map(|issuer| &issuer.identity));
        let member = issuers[0].identity.identifier();
        for _ in 0..3000 {
            let issuer = &issuers[random.below(issuers.len())];
            let key = &keys[random.below(keys.len())];
            let attested = if random.once_in(20) { &keys[0] } else { key };
            let purpose_key = match random.below(15) {
                0 => purpose_key(random, attested),
                _ => raw::credential_key(attested.public()),
            };
            let attestation = attestation(random, issuer, purpose_key, &keys, now);
            let subject = match random.below(20) {
                0 => None,
                1 => Some(issuer.identity.identifier()),
                _ => Some(member),
            };
            let data = raw::credential_data(subject, attributes(random), window(random, now));
            let body = body(random, CREDENTIAL, &data);
            let signature = signature(random, &body, key, &keys);
            let both = raw::array([raw::array([raw::bytes(body), signature]), attestation]);
            let mut bytes = restyled(random, &both).encode();
            if random.once_in(40) {
                bytes.push(0);
            }
            let expected = (!random.once_in(5)).then_some(&member);
            tally.credential(&mut theirs, &issuer.identity, &bytes, expected);
        }
    });
    let reasons = [
        "before-change",
        "before-purpose-key",
        "expired",
        "future",
        "malformed",
        "no-subject",
        "not-latest-change",
        "other-credential-subject",
        "other-issuer",
        "other-purpose",
        "outlives-change",
        "outlives-purpose-key",
        "signature",
        "wrong-type",
        "wrong-version",
    ];
    total.check(6000, &reasons);
    assert!(total.accepted > 500, "{} were good", total.accepted);
    assert_eq!(total.stricter.keys().collect::<Vec<_>>(), [&"trailing-bytes"]);
}

/// A few bytes set, inserted, removed or copied.
fn edited(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.below(256) as u8),
            3 => drop(bytes.remove(at)),
            _ => {
                let from = random.below(bytes.len());
                let count = random.below(40).min(bytes.len() - from.max(at));
                bytes.copy_within(from..from + count, at);
            }
        }
    }
    bytes
}

#[test]
fn altered_bytes_get_the_same_verdict() {
    let total = in_shards(|random, tally| {
        let (keys, now) = (keys(), now().0);
        let issuers = issuers(now);
        let mut theirs = Theirs::knowing(issuers.iter().map(|issuer| &issuer.identity));
        let whole = |offset: i64| Item::Uint(now.checked_add_signed(offset).unwrap());
        for n in 0..6000 {
            let issuer = &issuers[random.below(issuers.len())];
            let (identity, primary) = (&issuer.identity, issuer.primaries.last().unwrap());
            let key = raw::credential_key(keys[0].public());
            let window = (whole(-500), whole(50_000));
            let data =
                raw::attestation_data(identity.identifier(), identity.latest().hash(), key, window.clone());
            let attestation = raw::signed(&raw::body(1, ATTESTATION, &data), primary);
            let subject = Some(identity.identifier());
            let data = raw::credential_data(subject, raw::attributes(1, &[(b"a", b"b")]), window);
            let credential = raw::signed(&raw::body(1, CREDENTIAL, &data), &keys[0]);
            match n % 9 {
                0 => tally.attestation(&mut theirs, identity, &edited(random, &attestation.encode())),
                1 => {
                    let both = raw::array([credential, attestation]).encode();
                    tally.credential(&mut theirs, identity, &edited(random, &both), None);
                }
                _ => tally.history(&mut theirs, &edited(random, identity.as_bytes())),
            }
        }
    });
    total.check(12_000, &["malformed", "signature"]);
}
