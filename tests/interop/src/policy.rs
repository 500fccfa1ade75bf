//! Policy expressions, evaluated by `ockam_abac`.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use ockam_abac::{Env as AbacEnv, Expr, PolicyExpression, eval};
use serde::{Deserialize, Deserializer};

use crate::error::Error;

/// Deepest nesting of parentheses and brackets, and greatest number of `not`s, that is put to the reference. Its
/// parser recurses without a limit of its own and takes the process down with it.
pub const DEEPEST: usize = 200;

/// A value an identifier can be bound to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A string.
    Str(String),
    /// An integer.
    Int(i64),
    /// A floating-point number. JSON has no word for three of them: `"nan"`, `"inf"` and `"-inf"` are read as these.
    Float(#[serde(deserialize_with = "float")] f64),
    /// A truth value.
    Bool(bool),
    /// A sequence; the reference does not check here that all are of one type.
    Seq(Vec<Value>),
    /// What the empty list results in. Nothing gets bound to it.
    #[serde(skip)]
    Unit,
}

fn float<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Word(String),
    }
    match Written::deserialize(from)? {
        Written::Number(x) => Ok(x),
        Written::Word(word) => word.parse().map_err(serde::de::Error::custom),
    }
}

/// Names and what they are bound to.
pub type Bindings = BTreeMap<String, Value>;

/// What an evaluation came to; only the first means "allow".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The truth value true.
    True,
    /// The truth value false.
    False,
    /// A value that is no truth value.
    Other,
    /// Evaluation failed: something unbound, of the wrong type, or in the wrong number.
    Error,
    /// The text is no policy expression.
    Unparsable,
}

impl Outcome {
    /// The word for it, as `policy eval` prints it.
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Other => "other",
            Self::Error => "error",
            Self::Unparsable => "unparsable",
        }
    }
}

/// Which of the two forms a text was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The boolean shorthand, which is tried first.
    Short,
    /// A full expression.
    Sexpr,
}

/// All there is to know about an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The class of what came out.
    pub outcome: Outcome,
    /// The form, unless the text is unparsable.
    pub form: Option<Form>,
    /// What came out, if anything did.
    pub value: Option<Value>,
}

/// Evaluates one text as a node does.
///
/// # Errors
/// As for [`evaluate_in_full`].
pub fn evaluate(text: &str, bindings: &Bindings) -> Result<Outcome, Error> {
    Ok(evaluate_in_full(text, bindings)?.outcome)
}

/// Evaluates one text as a node does: first read as the boolean shorthand, then as a full expression.
///
/// # Errors
/// [`Kind::Malformed`](crate::Kind::Malformed) for a text nested deeper than [`DEEPEST`];
/// [`Kind::Broken`](crate::Kind::Broken) when the reference panics over it.
pub fn evaluate_in_full(text: &str, bindings: &Bindings) -> Result<Evaluation, Error> {
    if too_deep(text) {
        return Err(Error::malformed("too deep for the judge"));
    }
    catch_unwind(|| {
        let Ok(policy) = PolicyExpression::try_from(text) else {
            return Ok(Evaluation { outcome: Outcome::Unparsable, form: None, value: None });
        };
        let form = Some(match &policy {
            PolicyExpression::BooleanExpression(_) => Form::Short,
            PolicyExpression::FullExpression(_) => Form::Sexpr,
        });
        let result = eval(&policy.to_expression(), &environment(bindings)).ok();
        let value = result.map(value).transpose()?;
        let outcome = match value {
            Some(Value::Bool(true)) => Outcome::True,
            Some(Value::Bool(false)) => Outcome::False,
            Some(_) => Outcome::Other,
            None => Outcome::Error,
        };
        Ok(Evaluation { outcome, form, value })
    })
    .map_err(|_| Error::broken("the reference panicked"))?
}

/// Counts every bracket, also those in strings and comments: it may refuse a little too much, never too little.
fn too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut deepest = 0_usize;
    for c in text.chars() {
        match c {
            '(' | '[' => depth = depth.saturating_add(1),
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > DEEPEST || text.matches("not").count() > DEEPEST
}

fn environment(bindings: &Bindings) -> AbacEnv {
    let mut env = AbacEnv::new();
    for (name, value) in bindings {
        env.put(name.as_str(), expression(value));
    }
    env
}

fn expression(value: &Value) -> Expr {
    match value {
        Value::Str(text) => Expr::Str(text.clone()),
        Value::Int(number) => Expr::Int(*number),
        Value::Float(number) => Expr::Float(*number),
        Value::Bool(truth) => Expr::Bool(*truth),
        Value::Seq(items) => Expr::Seq(items.iter().map(expression).collect()),
        Value::Unit => ockam_abac::expr::unit(),
    }
}

fn value(result: Expr) -> Result<Value, Error> {
    Ok(match result {
        Expr::Str(text) => Value::Str(text),
        Expr::Int(number) => Value::Int(number),
        Expr::Float(number) => Value::Float(number),
        Expr::Bool(truth) => Value::Bool(truth),
        Expr::Seq(items) => Value::Seq(items.into_iter().map(value).collect::<Result<_, _>>()?),
        Expr::List(items) if items.is_empty() => Value::Unit,
        other => return Err(Error::broken(format!("the reference left `{other}` unevaluated"))),
    })
}

#[cfg(test)]
mod tests {
    use super::{Bindings, DEEPEST, Outcome, Value, evaluate};

    fn outcome(text: &str) -> Outcome {
        let member = Value::Str("member".to_owned());
        evaluate(text, &Bindings::from([("subject.role".to_owned(), member)])).unwrap()
    }

    #[test]
    fn every_outcome_occurs() {
        assert_eq!(outcome("role=member"), Outcome::True);
        assert_eq!(outcome(r#"(= subject.role "admin")"#), Outcome::False);
        assert_eq!(outcome("(and true 7)"), Outcome::Other);
        assert_eq!(outcome("department"), Outcome::Error);
        assert_eq!(outcome("(a, b)"), Outcome::Unparsable);
    }

    #[test]
    fn the_shorthand_needs_no_word_boundary() {
        let ary = Bindings::from([("subject.ary".to_owned(), Value::Str("true".to_owned()))]);
        assert_eq!(evaluate("notary", &ary).unwrap(), Outcome::False);
    }

    #[test]
    fn depth_is_refused_one_level_above_the_limit() {
        let nested = |n: usize| format!("{}role=member{}", "(".repeat(n), ")".repeat(n));
        assert_eq!(evaluate(&nested(DEEPEST), &Bindings::new()).unwrap(), Outcome::Error);
        assert_eq!(
            evaluate(&nested(DEEPEST + 1), &Bindings::new()).unwrap_err().message(),
            "too deep for the judge"
        );
        let nots = |n: usize| format!("{}role=member", "not ".repeat(n));
        assert_eq!(evaluate(&nots(DEEPEST), &Bindings::new()).unwrap(), Outcome::Error);
        assert!(evaluate(&nots(DEEPEST + 1), &Bindings::new()).is_err());
    }

    #[test]
    fn floats_without_a_json_form_are_read_from_words() {
        let read = |json: &str| serde_json::from_str::<Value>(json);
        assert_eq!(read(r#"{"float":"-inf"}"#).unwrap(), Value::Float(f64::NEG_INFINITY));
        assert!(matches!(read(r#"{"float":"nan"}"#).unwrap(), Value::Float(x) if x.is_nan()));
        assert_eq!(read(r#"{"float":2}"#).unwrap(), Value::Float(2.0));
        assert!(read(r#"{"float":"two"}"#).is_err());
    }
}
