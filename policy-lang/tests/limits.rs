//! Nothing a text or an environment holds may exhaust a stack: everything here runs on a thread with
//! 512 KiB, in whatever profile the tests are built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use policy_lang::{Env, MAX_DEPTH, MAX_TEXT, ParseErrorKind, Policy, Value};

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).unwrap().join().unwrap();
}

/// Reads, prints, reads back, evaluates, explains, compares, drops.
fn exercise(text: &str) {
    let policy = Policy::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let printed = policy.to_string();
    assert_eq!(Policy::parse(&printed).unwrap(), policy);
    let env = Env::new().with("a", true).with("subject.a", "true").with("n", 1);
    let evaluation = policy.evaluate(&env);
    assert_eq!(evaluation.decision(), policy.decide(&env));
    assert!(!evaluation.reasons.is_empty());
    drop(policy.clone());
}

fn assert_too_deep(text: &str) {
    assert_eq!(Policy::parse(text).expect_err("too deep").kind(), ParseErrorKind::TooDeep);
}

/// `before` × depth, `middle`, `after` × depth.
fn nested(before: &str, middle: &str, after: &str, depth: usize) -> String {
    format!("{}{middle}{}", before.repeat(depth), after.repeat(depth))
}

#[test]
fn nesting_at_the_limit_works_and_one_deeper_is_refused() {
    on_a_small_stack(|| {
        // What stands in the middle counts too.
        for (before, middle, after, inner) in [
            ("(", "a", ")", 0),
            ("(not ", "(= 1 n)", ")", 1),
            ("($not ", "a", ")", 0),
            ("(and true ", "a", ")", 0),
            ("(if true ", "a", " 1)", 0),
            ("not ", "a", "", 1),
            ("not (", "a", ")", 1),
            ("(= 1 ", "n", ")", 0),
            ("((= 1 n) ", "", ")", 1),
        ] {
            exercise(&nested(before, middle, after, MAX_DEPTH - inner));
            assert_too_deep(&nested(before, middle, after, MAX_DEPTH - inner + 1));
        }
        // A sequence stands inside an operation.
        let sequence = |depth| format!("(= {0} {0})", nested("[", "n", "]", depth));
        exercise(&sequence(MAX_DEPTH - 1));
        assert_too_deep(&sequence(MAX_DEPTH));
        // `or` in `and` in `or`: two levels for each pair of parentheses.
        let alternating = |depth| nested("a or a and (", "a", ")", depth);
        exercise(&alternating(MAX_DEPTH / 2 - 1));
        assert_too_deep(&alternating(MAX_DEPTH / 2));
        // A closing bracket without its partner takes in all that stands before it.
        exercise(&nested("", "= 1 n", ")", MAX_DEPTH));
        assert_too_deep(&nested("", "= 1 n", ")", MAX_DEPTH + 1));
    });
}

#[test]
fn the_deepest_text_that_fits_is_refused_like_any_other() {
    on_a_small_stack(|| {
        let half = MAX_TEXT / 2;
        assert_too_deep(&nested("(", "a", ")", half - 1));
        assert_too_deep(&nested("(", "", "", MAX_TEXT));
        assert_too_deep(&"not ".repeat(MAX_TEXT / 4));
        assert_too_deep(&"(not ".repeat(MAX_TEXT / 5));
        assert_too_deep(&format!("(= {}", "[".repeat(MAX_TEXT - 3)));
        assert_too_deep(&format!("= 1{}", ")".repeat(MAX_TEXT - 3)));
        let too_long = Policy::parse(&"(".repeat(MAX_TEXT + 1)).unwrap_err();
        assert_eq!(too_long.kind(), ParseErrorKind::TooLong);
        assert!(Policy::parse(&"(;".repeat(MAX_TEXT / 2)).is_err());
    });
}

#[test]
fn wide_is_not_deep() {
    on_a_small_stack(|| {
        exercise(&format!("a{}", " and a".repeat(2_000)));
        exercise(&format!("(and{})", " (= 1 n)".repeat(8_000)));
        exercise(&format!("(= n{})", " n".repeat(30_000)));
        exercise(&format!("(member? 1 [{}])", "2 ".repeat(30_000)));
        exercise(&format!("(= n 1) {}", "(; (; ;) ;)".repeat(5_000)));
    });
}

/// Texts on which a careless way back would read everything again at every step.
#[test]
fn misleading_texts_do_not_take_long() {
    let started = std::time::Instant::now();
    let (nots, groups) = ("not".repeat(MAX_DEPTH - 1), "a and (a or (not ".repeat(MAX_DEPTH / 2));
    for text in [
        format!("{nots}{}=", "x".repeat(MAX_TEXT - 1 - nots.len())),
        format!("{nots}a=\"{}", "x".repeat(MAX_TEXT - 3 - nots.len())),
        format!("{groups}{}", "a and ".repeat((MAX_TEXT - groups.len()) / 6)),
        format!("{groups}{}*", "a or not ".repeat((MAX_TEXT - groups.len()) / 9 - 1)),
        format!("({} ", "a=\"b\"and ".repeat(MAX_TEXT / 9 - 1)),
    ] {
        assert!(text.len() <= MAX_TEXT);
        assert!(Policy::parse(&text).is_err());
    }
    assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
}

/// Each level is one `or` that is false, so that every level has to be explained.
#[test]
fn explaining_the_worst_policy_does_not_take_long() {
    on_a_small_stack(|| {
        let filler = "(= n 2) ".repeat(60);
        let text = nested(&format!("(or {filler}"), "(= n 2)", ")", MAX_DEPTH - 1);
        assert!(text.len() <= MAX_TEXT, "{}", text.len());
        let started = std::time::Instant::now();
        let evaluation = Policy::parse(&text).unwrap().evaluate(&Env::new().with("n", 1));
        assert_eq!(evaluation.outcome.name(), "false");
        assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
    });
}

/// Values come from the program, not from a text; a policy may stack its own brackets on top of theirs.
#[test]
fn sequences_of_a_policy_and_of_an_environment_add_up() {
    on_a_small_stack(|| {
        let deep = (0..MAX_DEPTH).fold(Value::Int(1), |value, _| Value::Seq(vec![value]));
        let env = Env::new().with("v", deep);
        let both = nested("[", "v", "]", MAX_DEPTH - 1);
        let evaluation = Policy::parse(&format!("(= {both} {both})")).unwrap().evaluate(&env);
        assert_eq!(evaluation.outcome.name(), "true");
    });
}
