//! Our engine, answering in the judge's words.

use interop::policy::{Bindings, Evaluation, Form, Outcome, Value};
use policy_lang::{Env, Meaning, Policy};

/// What our engine makes of a text, and how it prints it, when it can be read.
pub(crate) fn evaluate(text: &str, bindings: &Bindings) -> (Evaluation, Option<String>) {
    let Ok(policy) = Policy::parse_as(text, Meaning::Exact) else {
        return (Evaluation { outcome: Outcome::Unparsable, form: None, value: None }, None);
    };
    let mut env = Env::new();
    for (name, bound) in bindings {
        env.bind(name.as_str(), to_ours(bound));
    }
    let evaluation = policy.evaluate(&env);
    assert_eq!(policy.decide(&env), evaluation.decision(), "{text}: `decide` and `evaluate` differ");
    assert!(!evaluation.reasons.is_empty(), "{text}: no reason given");
    let (outcome, value) = match evaluation.outcome {
        policy_lang::Outcome::True => (Outcome::True, Some(Value::Bool(true))),
        policy_lang::Outcome::False => (Outcome::False, Some(Value::Bool(false))),
        policy_lang::Outcome::Other(value) => (Outcome::Other, Some(from_ours(&value))),
        policy_lang::Outcome::Error(_) => (Outcome::Error, None),
    };
    let form = Some(match policy.form() {
        policy_lang::Form::Short => Form::Short,
        policy_lang::Form::SExpr => Form::Sexpr,
        other => panic!("a form the reference does not have: {other}"),
    });
    (Evaluation { outcome, form, value }, Some(policy.to_string()))
}

fn to_ours(value: &Value) -> policy_lang::Value {
    match value {
        Value::Str(text) => text.as_str().into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Seq(items) => items.iter().map(to_ours).collect::<Vec<_>>().into(),
        Value::Unit => policy_lang::Value::Unit,
    }
}

fn from_ours(value: &policy_lang::Value) -> Value {
    match value {
        policy_lang::Value::Str(text) => Value::Str(text.clone()),
        policy_lang::Value::Int(number) => Value::Int(*number),
        policy_lang::Value::Float(number) => Value::Float(*number),
        policy_lang::Value::Bool(truth) => Value::Bool(*truth),
        policy_lang::Value::Seq(items) => Value::Seq(items.iter().map(from_ours).collect()),
        policy_lang::Value::Unit => Value::Unit,
        other => panic!("a value the reference does not have: {other}"),
    }
}
