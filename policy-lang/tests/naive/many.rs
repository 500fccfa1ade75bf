//! A hundred thousand random policies for each question; `POLICY_ROUNDS` asks that many times more.

use policy_lang::{Decision, Meaning, ParseErrorKind, Policy, compare};

use crate::model::{Node, mixes_types};
use crate::random::{Random, condition, env, short};
use crate::{engine_env, expected, found, spell, strict};

const CASES: usize = 100_000;

fn cases(seed: u64, mut check: impl FnMut(&mut Random)) {
    let rounds = std::env::var("POLICY_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        let mut random = Random::new(seed << 32 | round);
        (0..CASES).for_each(|_| check(&mut random));
    }
}

#[derive(Debug, Default)]
struct Tally {
    yes: usize,
    no: usize,
    errors: usize,
    others: usize,
}

impl Tally {
    fn add(&mut self, found: &Result<policy_lang::Value, policy_lang::EvalErrorKind>) {
        match found {
            Ok(policy_lang::Value::Bool(true)) => self.yes += 1,
            Ok(policy_lang::Value::Bool(false)) => self.no += 1,
            Ok(_) => self.others += 1,
            Err(_) => self.errors += 1,
        }
    }
}

/// A policy that is one, and how it is spelled.
fn sexpr(random: &mut Random) -> Option<(Node, String, Policy)> {
    let node = condition(random, 3);
    let text = spell::sexpr(&node, &random.noise());
    match Policy::parse(&text) {
        Ok(policy) => Some((node, text, policy)),
        Err(error) => {
            let mixed = error.kind() == ParseErrorKind::MixedSequence && mixes_types(&node);
            assert!(mixed || error.kind() == ParseErrorKind::NotAnOperation, "{text}: {error}");
            None
        }
    }
}

#[test]
fn s_expressions_come_to_the_same_by_the_strict_meaning() {
    let mut tally = Tally::default();
    cases(1, |random| {
        let (Some((node, text, policy)), env) = (sexpr(random), env(random)) else { return };
        let found = found(&policy, &env);
        assert_eq!(found, expected(strict::run(&node, &env)), "{text}\n{env:?}");
        tally.add(&found);
    });
    assert!(tally.yes.min(tally.no).min(tally.errors) > 10_000 && tally.others > 50, "{tally:?}");
}

#[test]
fn short_expressions_come_to_the_same_by_the_strict_meaning() {
    let mut tally = Tally::default();
    cases(2, |random| {
        let (short, env) = (short(random, 4), env(random));
        let text = spell::bounded(&short, &random.noise());
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found = found(&policy, &env);
        assert_eq!(found, expected(strict::run_short(&short, &env)), "{text}\n{env:?}");
        tally.add(&found);
    });
    assert!(tally.yes.min(tally.no).min(tally.errors) > 10_000, "{tally:?}");
}

/// What is printed is the same policy in the other form: it reads back as what was printed by either meaning, and comes to
/// the same verdict.
#[test]
fn what_is_printed_reads_back_and_means_the_same() {
    cases(7, |random| {
        let policy = if random.once_in(2) {
            let text = spell::bounded(&short(random, 4), &random.noise());
            Policy::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
        } else {
            let Some((_, _, policy)) = sexpr(random) else { return };
            policy
        };
        let env = engine_env(&env(random));
        for meaning in [Meaning::Exact, Meaning::Strict] {
            let again = Policy::parse_as(policy.as_str(), meaning)
                .unwrap_or_else(|error| panic!("{policy}: {error}"));
            assert_eq!(again.as_str(), policy.as_str());
            if meaning == Meaning::Strict {
                assert_eq!(again, policy);
                assert_eq!(again.decide(&env), policy.evaluate(&env).decision(), "{policy}");
            }
        }
    });
}

/// Nothing is allowed by default: where nothing is known, only what asks for nothing is true.
#[test]
fn without_a_credential_nobody_is_allowed_by_what_is_not_known() {
    let mut asked = 0;
    cases(3, |random| {
        let text = spell::bounded(&short(random, 4), &random.noise());
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(policy.decide(&policy_lang::Env::new()), Decision::Deny, "{text}");
        asked += 1;
    });
    assert!(asked >= CASES);
}

/// Whoever shows no credential is allowed nothing that they would be denied with it, unless the policy asks just that.
#[test]
fn what_is_not_shown_helps_nobody() {
    let mut allowed = 0;
    cases(8, |random| {
        let (Some((_, text, policy)), shown) = (sexpr(random), env(random)) else { return };
        if policy.as_str().contains("exists?") {
            return;
        }
        let hidden = shown.clone().into_iter().filter(|(name, _)| !name.starts_with("subject.")).collect();
        if policy.decide(&engine_env(&hidden)) == Decision::Allow {
            assert_eq!(policy.decide(&engine_env(&shown)), Decision::Allow, "{text}\n{shown:?}");
            allowed += 1;
        }
    });
    assert!(allowed > 500, "{allowed}");
}

/// An attribute that is not there is not an empty one: a policy that tells them apart allows one of the two only.
#[test]
fn an_absent_attribute_is_not_an_empty_one() {
    let mut told_apart = 0;
    cases(4, |random| {
        let (Some((node, text, policy)), env) = (sexpr(random), env(random)) else { return };
        let with = |value: Option<&str>| {
            let mut env = engine_env(&env);
            env.bind("subject.has_credential", true).bind("subject.identifier", "I1");
            for name in ["a", "b", "role", "c.d", "notary", "orphan"] {
                if let Some(value) = value {
                    env.bind(format!("subject.{name}"), value);
                }
            }
            env
        };
        let asks_for_empty = text.contains("(= subject.a \"\")")
            || matches!(&node, Node::List(items)
            if matches!(items.as_slice(), [Node::Ident(op), Node::Ident(name), Node::Str(value)]
                if op == "=" && name.starts_with("subject.") && !name.contains('i') && value.is_empty()));
        if asks_for_empty && matches!(&node, Node::List(items) if items.len() == 3) {
            let mut none = policy_lang::Env::new();
            none.bind("subject.has_credential", true);
            assert_eq!(policy.decide(&with(Some(""))), Decision::Allow, "{text}");
            assert_eq!(policy.decide(&none), Decision::Deny, "{text}");
            told_apart += 1;
        }
    });
    assert!(told_apart > 100, "{told_apart}");
}

/// The order of the arguments of `and` and `or` that are bools does not matter; the exact meaning is the control.
#[test]
fn the_order_of_arguments_does_not_matter() {
    let (mut compared, mut exact_differs) = (0, 0);
    cases(5, |random| {
        let env = engine_env(&env(random));
        let short = short(random, 4);
        let noise = random.noise();
        let (text, turned) = (spell::bounded(&short, &noise), spell::bounded(&short.turned(), &noise));
        let decide = |text: &str, meaning| {
            let policy = Policy::parse_as(text, meaning).unwrap_or_else(|error| panic!("{text}: {error}"));
            policy.evaluate(&env).outcome.name()
        };
        assert_eq!(decide(&text, Meaning::Strict), decide(&turned, Meaning::Strict), "{text}\n{turned}");
        if compared % 8 == 0 {
            let exact = |text: &str| Policy::parse_as(text, Meaning::Exact).map(|policy| policy.decide(&env));
            exact_differs += usize::from(exact(&text) != exact(&turned));
        }
        compared += 1;
    });
    assert!(compared >= CASES && exact_differs > 100, "{exact_differs} of {compared}");
}

/// Where no warning says that the meanings differ, they decide alike. That there are policies of both sorts, and that many a
/// warning is right, shows that neither silence nor warnings are for everybody.
#[test]
fn without_a_warning_both_meanings_decide_alike() {
    let (mut silent, mut silent_allowed, mut warned, mut differed) = (0, 0, 0, 0);
    cases(6, |random| {
        let text = match random.below(3) {
            0 => spell::short(&short(random, 3), &random.noise()),
            1 => spell::bounded(&short(random, 2), &random.noise()),
            _ => spell::sexpr(&condition(random, 2), &random.noise()),
        };
        let comparison = compare(&text);
        let warns = comparison.warnings.iter().any(|warning| warning.kind().differs());
        assert!(comparison.warnings.iter().all(|warning| warning.span().of(&text).is_some()), "{text}");
        for _ in 0..4 {
            let env = env(random);
            let decide = |policy: &Result<Policy, _>| {
                policy.as_ref().map_or(Decision::Deny, |policy| policy.decide(&engine_env(&env)))
            };
            let (strict, exact) = (decide(&comparison.strict), decide(&comparison.exact));
            assert!(warns || strict == exact, "{text}: {strict} and {exact}\n{env:?}");
            // Where both read the same, strict only ever adds: what the reference allows stays allowed.
            let same =
                matches!((&comparison.strict, &comparison.exact), (Ok(a), Ok(b)) if a.as_str() == b.as_str());
            assert!(!same || exact == Decision::Deny || strict == Decision::Allow, "{text}\n{env:?}");
            warned += usize::from(warns);
            silent += usize::from(!warns);
            silent_allowed += usize::from(!warns && strict == Decision::Allow);
            differed += usize::from(strict != exact);
        }
    });
    println!(
        "no warning: {silent} (allowed: {silent_allowed}), warned: {warned}, of these decided differently: {differed}"
    );
    assert!(silent > 50_000 && silent_allowed > 10_000, "{silent} {silent_allowed}");
    assert!(warned > 50_000 && differed > 10_000, "{warned} {differed}");
}
