//! The engine against a second, slow one, written from the description of the language rather than from
//! the engine: random expressions, spelled in random ways, must come to the same.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod many;
mod model;
mod random;
mod spell;
mod strict;

use model::{Env, Failure, Node, Short, Val, mixes_types, run, run_short};
use policy_lang::{EvalErrorKind, Form, Meaning, Outcome, ParseErrorKind, Policy, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Names that a generated expression may ask for; `unbound` never is.
const NAMES: [&str; 8] = ["s", "n", "x", "yes", "no", "list", "$odd name", "unbound"];

const OPERATORS: [&str; 11] = ["and", "or", "not", "if", "<", ">", "=", "!=", "member?", "exists?", "xor"];

/// Names of attributes for the short form. One that starts with `not` would not be read as a name.
const ATTRIBUTES: [&str; 9] = ["a", "b", "c.d", "_", "-x9", "and", "or.or", "true", "identifier"];

fn scalar() -> impl Strategy<Value = Node> {
    prop_oneof![
        prop_oneof![Just(String::new()), "[ab]", "[ -~]{0,4}", any::<String>()].prop_map(Node::Str),
        prop_oneof![-2_i64..3, any::<i64>()].prop_map(Node::Int),
        prop_oneof![Just(0.5), Just(f64::NAN), Just(f64::NEG_INFINITY), any::<f64>()].prop_map(Node::Float),
        any::<bool>().prop_map(Node::Bool),
        proptest::sample::select(&NAMES[..]).prop_map(|name| Node::Ident(name.into())),
    ]
}

/// An operator with about as many arguments as it takes.
fn call(argument: impl Strategy<Value = Node> + Clone + 'static) -> impl Strategy<Value = Node> {
    proptest::sample::select(&OPERATORS[..]).prop_flat_map(move |operator| {
        let count = match operator {
            "not" => 1..=1,
            "if" => 3..=3,
            "member?" => 2..=2,
            _ => 0..=4,
        };
        let exact = vec(argument.clone(), count);
        let any_number = vec(argument.clone(), 0..5);
        prop_oneof![9 => exact, 1 => any_number].prop_map(move |mut items| {
            items.insert(0, Node::Ident(operator.into()));
            Node::List(items)
        })
    })
}

fn node() -> BoxedStrategy<Node> {
    let nested = scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            8 => call(inner.clone()),
            2 => (inner.clone(), 0_usize..4).prop_map(|(item, count)| Node::Seq(vec![item; count])),
            1 => vec(inner.clone(), 0..4).prop_map(Node::Seq),
            1 => vec(inner, 0..3).prop_map(Node::List),
        ]
    });
    nested.boxed()
}

fn val() -> impl Strategy<Value = Val> {
    let leaf = prop_oneof![
        "[ab]{0,2}".prop_map(Val::Str),
        (-2_i64..3).prop_map(Val::Int),
        Just(Val::Float(0.5)),
        any::<bool>().prop_map(Val::Bool),
        Just(Val::Unit),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| vec(inner, 0..3).prop_map(Val::Seq))
}

fn env() -> impl Strategy<Value = Env> {
    (val(), -2_i64..3, val(), vec(val(), 0..3)).prop_map(|(s, n, x, list)| {
        let bound = [
            ("s", s),
            ("n", Val::Int(n)),
            ("x", x),
            ("yes", Val::Bool(true)),
            ("no", Val::Bool(false)),
            ("list", Val::Seq(list)),
            ("$odd name", Val::Str("a".into())),
        ];
        bound.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    })
}

fn short() -> impl Strategy<Value = Short> {
    let name = || proptest::sample::select(&ATTRIBUTES[..]).prop_map(String::from);
    let leaf = prop_oneof![
        3 => name().prop_map(Short::Name),
        1 => (name(), "[ab._-]{1,2}").prop_map(|(name, value)| Short::NameValue(name, value, false)),
        1 => (name(), "[^\"]{1,2}|a").prop_map(|(name, value)| Short::NameValue(name, value, true)),
        1 => "I[0-9a-fA-F]{64}".prop_map(Short::Identifier),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| Short::Not(Box::new(one))),
            vec(inner.clone(), 2..4).prop_map(Short::And),
            vec(inner, 2..4).prop_map(Short::Or),
        ]
    })
}

fn subject() -> impl Strategy<Value = Env> {
    let value = prop_oneof![
        4 => Just(Val::Str("true".into())),
        3 => "[ab]".prop_map(Val::Str),
        1 => any::<bool>().prop_map(Val::Bool),
    ];
    vec(proptest::option::weighted(0.9, value), ATTRIBUTES.len()).prop_map(|values| {
        let bound = ATTRIBUTES.into_iter().zip(values);
        bound.filter_map(|(name, value)| Some((format!("subject.{name}"), value?))).collect()
    })
}

fn engine_value(value: &Val) -> Value {
    match value {
        Val::Str(text) => text.as_str().into(),
        Val::Int(number) => (*number).into(),
        Val::Float(number) => (*number).into(),
        Val::Bool(truth) => (*truth).into(),
        Val::Seq(items) => Value::Seq(items.iter().map(engine_value).collect()),
        Val::Unit => Value::Unit,
    }
}

fn engine_env(env: &Env) -> policy_lang::Env {
    let mut bound = policy_lang::Env::new();
    for (name, value) in env {
        bound.bind(name, engine_value(value));
    }
    bound
}

fn expected(result: Result<Val, Failure>) -> Result<Value, EvalErrorKind> {
    match result {
        Ok(value) => Ok(engine_value(&value)),
        Err(Failure::Unbound) => Err(EvalErrorKind::Unbound),
        Err(Failure::Unknown) => Err(EvalErrorKind::UnknownOperator),
        Err(Failure::Type) => Err(EvalErrorKind::InvalidType),
        Err(Failure::Mismatch) => Err(EvalErrorKind::TypeMismatch),
        Err(Failure::Arity) => Err(EvalErrorKind::Malformed),
    }
}

fn found(policy: &Policy, env: &Env) -> Result<Value, EvalErrorKind> {
    match policy.evaluate(&engine_env(env)).outcome {
        Outcome::True => Ok(true.into()),
        Outcome::False => Ok(false.into()),
        Outcome::Other(value) => Ok(value),
        Outcome::Error(error) => Err(error.kind()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn s_expressions_come_to_the_same(node in call(node()), env in env(), noise in vec(any::<u8>(), 1..40)) {
        let text = spell::sexpr(&node, &noise);
        match Policy::parse_as(&text, Meaning::Exact) {
            Err(error) => {
                let mixed = error.kind() == ParseErrorKind::MixedSequence && mixes_types(&node);
                let head = error.kind() == ParseErrorKind::NotAnOperation && text.contains("xor");
                prop_assert!(mixed || head, "{text}: {error}");
            }
            Ok(policy) => {
                prop_assert!(!mixes_types(&node), "{text}");
                prop_assert_eq!(policy.form(), Form::SExpr);
                prop_assert_eq!(found(&policy, &env), expected(run(&node, &env)), "{}", text);
            }
        }
    }

    #[test]
    fn short_expressions_come_to_the_same(short in short(), env in subject(), noise in vec(any::<u8>(), 1..40)) {
        let text = spell::short(&short, &noise);
        let policy = Policy::parse_as(&text, Meaning::Exact).map_err(|error| TestCaseError::fail(format!("{text:?}: {error}")))?;
        prop_assert_eq!(policy.form(), Form::Short);
        prop_assert_eq!(found(&policy, &env), expected(run_short(&short, &env)), "{}", text);
    }
}
