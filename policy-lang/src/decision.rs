//! What comes out: an outcome, the decision it leads to, and the reasons.

use alloc::vec::Vec;
use core::fmt;

use crate::error::EvalError;
use crate::eval::Evaluated;
use crate::explain::Reason;
use crate::value::{Value, View};

/// Whether access is given. There is nothing in between on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Decision {
    /// The policy came out `true`.
    Allow,
    /// Anything else: `false`, a value that is no bool, an error.
    Deny,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// What an expression came to. Exhaustive on purpose, as whoever reports it must have a word for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The bool `true`, the only outcome that allows.
    True,
    /// The bool `false`.
    False,
    /// A value that is no bool.
    Other(Value),
    /// No value at all.
    Error(EvalError),
}

impl Outcome {
    /// The outcome in one word: `true`, `false`, `other` or `error`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Other(_) => "other",
            Self::Error(_) => "error",
        }
    }

    /// The decision this outcome leads to: [`Decision::Allow`] for [`Outcome::True`] alone.
    pub fn decision(&self) -> Decision {
        match self {
            Self::True => Decision::Allow,
            Self::False | Self::Other(_) | Self::Error(_) => Decision::Deny,
        }
    }
}

impl From<Evaluated<'_>> for Outcome {
    fn from(result: Evaluated<'_>) -> Self {
        match result {
            Ok(value) => match value.view() {
                View::Bool(true) => Self::True,
                View::Bool(false) => Self::False,
                _ => Self::Other(value.to_value()),
            },
            Err(error) => Self::Error(error),
        }
    }
}

/// An outcome together with what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evaluation {
    /// What the policy came to.
    pub outcome: Outcome,
    /// The parts of the policy that decided, in the order they were looked at; never empty.
    pub reasons: Vec<Reason>,
}

impl Evaluation {
    /// The decision the outcome leads to.
    pub fn decision(&self) -> Decision {
        self.outcome.decision()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::error::EvalErrorKind;
    use crate::policy::Policy;
    use alloc::string::ToString;

    #[test]
    fn only_true_allows() {
        for (text, name, decision) in [
            ("(and true)", "true", Decision::Allow),
            ("(and false)", "false", Decision::Deny),
            ("(and 1)", "other", Decision::Deny),
            ("(and \"true\")", "other", Decision::Deny),
            ("(and [true])", "other", Decision::Deny),
            ("(and ())", "other", Decision::Deny),
            ("(and $u)", "error", Decision::Deny),
        ] {
            let policy = Policy::parse(text).unwrap();
            let evaluation = policy.evaluate(&Env::new());
            assert_eq!((evaluation.outcome.name(), evaluation.decision()), (name, decision), "{text}");
            assert_eq!(policy.decide(&Env::new()), decision, "{text}");
        }
        assert_eq!(
            (Decision::Allow.to_string(), Decision::Deny.to_string()),
            ("allow".into(), "deny".into())
        );
    }

    #[test]
    fn an_outcome_keeps_the_value_or_the_error() {
        let outcome = |text| Policy::parse(text).unwrap().evaluate(&Env::new()).outcome;
        assert_eq!(outcome("(and [1 2])"), Outcome::Other(Value::Seq([1.into(), 2.into()].into())));
        assert_eq!(outcome("(and ())"), Outcome::Other(Value::Unit));
        let Outcome::Error(error) = outcome("(and $u)") else { panic!() };
        assert_eq!(error.kind(), EvalErrorKind::Unbound);
    }
}
