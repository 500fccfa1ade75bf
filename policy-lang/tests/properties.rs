//! What holds for every text and every environment.

use policy_lang::{Decision, Env, MAX_TEXT, Outcome, Policy, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces that texts of either form are made of, and some that spoil them.
const PIECES: [&str; 66] = [
    "(",
    "(",
    "(",
    ")",
    ")",
    ")",
    "[",
    "]",
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "and",
    "or",
    "not",
    "if",
    "=",
    "!=",
    "<",
    ">",
    "member?",
    "exists?",
    "true",
    "false",
    "subject.a",
    "a",
    "b",
    "$a",
    "$\"a b\"",
    "@a",
    "1",
    "-2",
    "0x1f",
    "1_0",
    "1.5",
    "1e3",
    "0x1p2",
    "nan",
    "-inf",
    "\"x\"",
    "\"\\n\\00\"",
    "\"\\u{202e}\"",
    "\"",
    "\\",
    "a=b",
    "a=\"x y\"",
    "and ",
    " and ",
    " or ",
    "not ",
    "(and ",
    "(or ",
    "(not ",
    "(= ",
    "(; ",
    " ;)",
    ";; ",
    ",",
    "{",
    "'",
    "$",
    "č",
    "\u{202e}",
    "\0",
    "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c",
];

fn soup() -> impl Strategy<Value = String> {
    vec(proptest::sample::select(&PIECES[..]), 0..24).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::from("true")),
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Unit),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| vec(inner, 0..3).prop_map(Value::from))
}

fn env() -> impl Strategy<Value = Env> {
    let name =
        prop_oneof![Just("a"), Just("b"), Just("a b"), Just("subject.a"), Just("subject.b"), Just("and")];
    vec((name, value()), 0..6).prop_map(|bindings| {
        bindings.into_iter().fold(Env::new(), |env, (name, value)| env.with(name, value))
    })
}

/// Everything that may be asked of a text; whatever it is, an answer comes back.
fn examine(text: &str, env: &Env) -> Result<(), TestCaseError> {
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            prop_assert!(error.span().of(text).is_some(), "{error}");
            prop_assert_eq!(error.span().line_column(text), (error.line(), error.column()));
            prop_assert!(!error.message().is_empty() && error.excerpt().contains('^'));
            let harmless = |c: char| c == '\n' || !c.is_control();
            prop_assert!(error.to_string().chars().all(harmless), "{error:?}");
            return Ok(());
        }
    };
    let printed = policy.to_string();
    prop_assert!(printed.len() <= MAX_TEXT);
    let again =
        Policy::parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
    prop_assert_eq!(&again, &policy, "{}", printed);
    prop_assert_eq!(again.to_string(), printed);

    let evaluation = policy.evaluate(env);
    prop_assert_eq!(&policy.evaluate(env), &evaluation);
    prop_assert_eq!(&again.evaluate(env).outcome.name(), &evaluation.outcome.name());
    prop_assert_eq!(policy.decide(env), evaluation.decision());
    prop_assert_eq!(evaluation.decision() == Decision::Allow, evaluation.outcome == Outcome::True);
    prop_assert!(!evaluation.reasons.is_empty());
    for reason in &evaluation.reasons {
        prop_assert!(reason.span().of(text).is_some_and(|part| !part.is_empty()), "{reason}");
        prop_assert!(!reason.text().chars().any(char::is_control), "{reason}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn texts_of_the_right_pieces(text in soup(), env in env()) {
        examine(&text, &env)?;
    }

    #[test]
    fn any_text(text in any::<String>(), env in env()) {
        examine(&text, &env)?;
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200), env in env()) {
        examine(&String::from_utf8_lossy(&bytes), &env)?;
    }

    /// A string or a name of whatever characters survives being printed (the reference loses NULs,
    /// and commas in the short form).
    #[test]
    fn strings_and_names_survive_printing(text in any::<String>()) {
        let literal = Value::from(text.as_str());
        let policy = Policy::parse(&format!("(and {literal})")).expect("a printed value reads back");
        prop_assert_eq!(policy.evaluate(&Env::new()).outcome, Outcome::Other(literal.clone()));
        if !text.is_empty() {
            let named = Policy::parse(&format!("(and ${literal})")).expect("any string may be a name");
            prop_assert_eq!(&Policy::parse(&named.to_string()).expect("it reads back"), &named);
            let env = Env::new().with(text.as_str(), 7);
            prop_assert_eq!(named.evaluate(&env).outcome, Outcome::Other(7.into()));
        }
        if !text.is_empty() && !text.contains('"') {
            let short = Policy::parse(&format!("a=\"{text}\"")).expect("any text may be a quoted value");
            let env = Env::new().with("subject.a", text.as_str());
            prop_assert_eq!(short.decide(&env), Decision::Allow);
            prop_assert_eq!(&Policy::parse(&short.to_string()).expect("it reads back"), &short);
        }
    }

    /// No attribute, however it is named, changes what the engine itself says about the subject.
    #[test]
    fn attributes_never_speak_for_the_engine(
        attributes in vec(("[a-z_.]{0,3}|identifier|has_credential|subject.identifier", any::<String>()), 0..5),
    ) {
        if let Ok(env) = Env::for_subject("I1", attributes.iter().map(|(name, value)| (name, value))) {
            prop_assert_eq!(env.get("subject.identifier"), Some(&"I1".into()));
            prop_assert_eq!(env.get("subject.has_credential"), Some(&true.into()));
        }
    }
}
