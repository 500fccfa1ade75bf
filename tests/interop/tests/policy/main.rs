//! Our policy language against the reference's: the same text and the same bindings have to come to the same value.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod generate;
mod known;
mod ours;
mod random;
mod sexpr;
mod shorthand;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;

use generate::{Question, Source, question};
use interop::Kind;
use interop::policy::{Bindings, Evaluation, Outcome, Value, evaluate_in_full};
use random::Random;

/// Shards run side by side; each has a seed of its own, so that the questions do not depend on the machine.
const SHARDS: u64 = 4;
const QUESTIONS: usize = 50_000;

/// How many rounds of questions to ask, each with seeds of its own, for a longer search than the one of every build.
const ROUNDS: &str = "POLICY_ROUNDS";

#[test]
fn known_texts_have_their_known_outcome_here_and_there() {
    let bindings = known::bindings();
    let mut wrong = Vec::new();
    for (text, expected) in known::TEXTS {
        let theirs = evaluate_in_full(text, &bindings).unwrap();
        if theirs.outcome != expected || !agree(&theirs, text, &bindings) {
            let ours = ours::evaluate(text, &bindings).0;
            wrong.push(format!("{text:?}: expected {expected:?}\n  theirs {theirs:?}\n  ours   {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn random_policies_come_to_the_same_value() {
    let rounds = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let mut total = Tally::default();
    for round in 0..rounds {
        thread::scope(|scope| {
            let shards = round * SHARDS..(round + 1) * SHARDS;
            let running: Vec<_> = shards.map(|seed| scope.spawn(move || shard(seed))).collect();
            running.into_iter().for_each(|shard| total.add(shard.join().unwrap()));
        });
    }
    println!("{}", total.report());
    assert_eq!(total.differences.len(), 0, "{}", total.report());
    assert!(total.asked >= 100_000, "too few questions were put: {}", total.asked);
    assert!(
        total.not_put * 1000 < total.asked,
        "too many texts are not for the reference: {}",
        total.not_put
    );
    // A comparison in which almost everything is unparsable would prove little.
    for (source, outcome, least) in [
        (Source::Shorthand, Outcome::True, 8_000),
        (Source::Shorthand, Outcome::False, 8_000),
        (Source::Shorthand, Outcome::Error, 8_000),
        (Source::Shorthand, Outcome::Unparsable, 8_000),
        (Source::Sexpr, Outcome::True, 8_000),
        (Source::Sexpr, Outcome::False, 8_000),
        (Source::Sexpr, Outcome::Other, 8_000),
        (Source::Sexpr, Outcome::Error, 8_000),
        (Source::Sexpr, Outcome::Unparsable, 8_000),
        (Source::Tokens, Outcome::True, 800),
        (Source::Tokens, Outcome::False, 100),
        (Source::Tokens, Outcome::Other, 2_000),
        (Source::Tokens, Outcome::Error, 2_000),
        (Source::Tokens, Outcome::Unparsable, 8_000),
        (Source::Mutated, Outcome::Unparsable, 8_000),
        (Source::Mutated, Outcome::Error, 4_000),
        (Source::Mutated, Outcome::False, 800),
    ] {
        assert!(total.seen[&(source, outcome)] >= least, "{source:?} {outcome:?}:\n{}", total.report());
    }
}

/// Where ours is stricter, and knowingly so: the reference's parsers have no limit and take the process down.
#[test]
fn only_depth_is_refused_here_and_read_there() {
    let bindings = known::bindings();
    for (open, inner, close) in
        [("(", "member", ")"), ("(not ", "(and true ;;\n)", ")"), ("(and [", "", "])")]
    {
        let nested = |depth: usize| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
        let reads = |depth: usize| {
            let theirs = evaluate_in_full(&nested(depth), &bindings).unwrap();
            assert_ne!(theirs.outcome, Outcome::Unparsable, "{}", nested(depth));
            agree(&theirs, &nested(depth), &bindings)
        };
        let limit = (1..200).find(|depth| !reads(*depth)).unwrap();
        assert!((1..limit).all(reads), "up to {limit}");
        let levels = limit * open.matches(['(', '[']).count() + inner.matches('(').count();
        assert!(levels > policy_lang::MAX_DEPTH, "`{open}` is refused at {levels} levels");
        assert_eq!(ours::evaluate(&nested(limit), &bindings).0.outcome, Outcome::Unparsable);
    }
}

/// The control: when our side reads one operator for another, the comparison has to notice, for each of the ten.
#[test]
fn a_swapped_operator_is_noticed() {
    for (operator, other) in [
        ("and", "or"),
        ("or", "and"),
        ("not", "and"),
        ("(if", "(or"),
        ("<", ">"),
        (">", "<"),
        ("(= ", "(< "),
        ("!=", "="),
        ("member?", "exists?"),
        ("exists?", "member?"),
    ] {
        let mut random = Random::new(7);
        let noticed = (0..5_000)
            .map(|_| question(&mut random))
            .filter(|q| {
                let swapped = q.text.replace(operator, other);
                swapped != q.text
                    && differs(&evaluate_in_full(&q.text, &q.bindings).unwrap(), &swapped, &q.bindings)
            })
            .count();
        println!("`{other}` for `{operator}`: {noticed} of 5000 differ");
        assert!(noticed >= 10, "`{other}` for `{operator}`: {noticed}");
    }
}

#[derive(Default)]
struct Tally {
    asked: usize,
    not_put: usize,
    seen: BTreeMap<(Source, Outcome), usize>,
    differences: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.not_put += other.not_put;
        for (what, count) in other.seen {
            *self.seen.entry(what).or_default() += count;
        }
        self.differences.extend(other.differences);
    }

    fn report(&self) -> String {
        let mut report = format!(
            "{} expressions compared, {} differences; {} not put to the reference\n",
            self.asked,
            self.differences.len(),
            self.not_put
        );
        for ((source, outcome), count) in &self.seen {
            writeln!(report, "  {source:?} {}: {count}", outcome.word()).unwrap();
        }
        for difference in self.differences.iter().take(20) {
            writeln!(report, "{difference}").unwrap();
        }
        report
    }
}

fn shard(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for _ in 0..QUESTIONS {
        let question = question(&mut random);
        match evaluate_in_full(&question.text, &question.bindings) {
            Ok(theirs) => {
                tally.asked += 1;
                *tally.seen.entry((question.source, theirs.outcome)).or_default() += 1;
                if !agree(&theirs, &question.text, &question.bindings) {
                    tally.differences.push(describe(&question));
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Malformed, "{:?}: {error}", question.text);
                tally.not_put += 1;
            }
        }
    }
    tally
}

/// Whether ours reads the text alike and comes to the same, and prints it as a text that both take for the same.
fn agree(theirs: &Evaluation, text: &str, bindings: &Bindings) -> bool {
    let (ours, printed) = ours::evaluate(text, bindings);
    let Some(printed) = printed else { return *theirs == ours };
    let again = evaluate_in_full(&printed, bindings).unwrap();
    same(theirs, &ours)
        && theirs.form == ours.form
        && same(theirs, &again)
        && same(theirs, &ours::evaluate(&printed, bindings).0)
}

fn differs(theirs: &Evaluation, text: &str, bindings: &Bindings) -> bool {
    !same(theirs, &ours::evaluate(text, bindings).0)
}

fn same(a: &Evaluation, b: &Evaluation) -> bool {
    a.outcome == b.outcome
        && match (&a.value, &b.value) {
            (Some(a), Some(b)) => identical(a, b),
            (None, None) => true,
            _ => false,
        }
}

/// The same to the bit: a NaN is itself, and zero has a sign.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Seq(a), Value::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| identical(a, b)),
        (a, b) => a == b,
    }
}

/// A difference, made as small as leaving out characters and bindings can make it.
fn describe(question: &Question) -> String {
    let Question { mut text, mut bindings, .. } = question.clone();
    let disagree = |text: &str, bindings: &Bindings| {
        evaluate_in_full(text, bindings).is_ok_and(|theirs| !agree(&theirs, text, bindings))
    };
    let mut at = 0;
    while at < text.len() {
        let length = text[at..].chars().next().map_or(1, char::len_utf8);
        let shorter = format!("{}{}", &text[..at], &text[at + length..]);
        if disagree(&shorter, &bindings) {
            (text, at) = (shorter, 0);
        } else {
            at += length;
        }
    }
    for name in bindings.clone().keys() {
        let mut fewer = bindings.clone();
        fewer.remove(name);
        if disagree(&text, &fewer) {
            bindings = fewer;
        }
    }
    let theirs = evaluate_in_full(&text, &bindings).unwrap();
    let (ours, printed) = ours::evaluate(&text, &bindings);
    format!("{text:?} with {bindings:?}\n  theirs {theirs:?}\n  ours   {ours:?}, printed {printed:?}")
}
