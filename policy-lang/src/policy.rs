//! A text that was read, and the two questions one can ask it.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::ast::Expr;
use crate::decision::{Decision, Evaluation, Outcome};
use crate::env::Env;
use crate::error::{Fault, ParseError, ParseErrorKind};
use crate::eval::Evaluator;
use crate::shorthand::Stop;
use crate::span::Span;
use crate::{MAX_TEXT, explain, parse, print, shorthand};

/// Which of the two forms a text was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Names joined by `and`, `or` and `not`: `member and not guest`.
    Short,
    /// An S-expression: `(= subject.role "member")`.
    SExpr,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "short",
            Self::SExpr => "sexpr",
        })
    }
}

/// Which of two meanings a text is read and evaluated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Meaning {
    /// That of the reference, its accidents included: for policies that come from it, and to be compared with it.
    Exact,
    /// Ours, and what decides wherever we decide: words end where they end, the order of arguments does not matter, and an
    /// attribute that a credential does not have is not `"true"` rather than an error.
    #[default]
    Strict,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Strict => "strict",
        })
    }
}

/// A policy: one expression, read and checked, ready to be evaluated any number of times.
///
/// Printed, it is an S-expression in full, at most [`MAX_TEXT`] bytes long, that reads back as an equal
/// policy, by either meaning. Two policies are equal when their expressions and meanings are, in whatever form they
/// were written.
#[derive(Debug, Clone)]
pub struct Policy {
    expr: Expr,
    form: Form,
    meaning: Meaning,
    canonical: String,
}

impl Policy {
    /// Reads a policy with the [strict](Meaning::Strict) meaning.
    ///
    /// # Errors
    ///
    /// As [`parse_as`](Self::parse_as).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_as(text, Meaning::Strict)
    }

    /// Reads a policy: in the short form if the text can be read so, else as an S-expression.
    ///
    /// # Errors
    ///
    /// A [`ParseError`] that points at the place when the text fits neither form, or when it goes over
    /// [`MAX_TEXT`] or [`MAX_DEPTH`](crate::MAX_DEPTH).
    pub fn parse_as(text: &str, meaning: Meaning) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(too_long(text, "the text of a policy", text.len()));
        }
        let (expr, form) = match shorthand::parse(text, meaning) {
            Ok(expr) => (expr, Form::Short),
            Err(Stop::TooDeep(fault)) => return Err(ParseError::new(text, fault, None)),
            Err(Stop::NotShort(short)) => match parse::sexpr(text) {
                Ok(expr) => (expr, Form::SExpr),
                Err(full) => return Err(neither(text, short, full)),
            },
        };
        let canonical = print::canonical(&expr);
        if canonical.len() > MAX_TEXT {
            return Err(too_long(text, "what this policy stands for in full", canonical.len()));
        }
        Ok(Self { expr, form, meaning, canonical })
    }

    /// The form the text was in.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The meaning that the text was read with, and is evaluated with.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        self.meaning
    }

    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The text in full that [`Display`](fmt::Display) prints; the same for equal policies.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Decides, without saying why. Copies no value of `env`.
    pub fn decide(&self, env: &Env) -> Decision {
        match Evaluator::silent(self.meaning, env).result(&self.expr) {
            Ok(value) => Outcome::from(Ok(value)).decision(),
            Err(_) => Decision::Deny,
        }
    }

    /// Evaluates the policy and says which of its parts decided.
    #[must_use]
    pub fn evaluate(&self, env: &Env) -> Evaluation {
        let evaluator = Evaluator::new(self.meaning, env);
        let result = evaluator.result(&self.expr);
        let reasons = explain::reasons(&self.expr, &evaluator, &result);
        Evaluation { outcome: Outcome::from(result), reasons }
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr && self.meaning == other.meaning
    }
}

impl Eq for Policy {}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl FromStr for Policy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Of two reasons for which a text is no policy, the one that got further into it is the error and the
/// other a note. Where both got equally far, a text that starts with a bracket was meant in full.
fn neither(text: &str, short: Fault, full: Fault) -> ParseError {
    if matches!(full.kind, ParseErrorKind::Empty | ParseErrorKind::TooDeep) {
        return ParseError::new(text, full, None);
    }
    let bracketed = text.trim_start().starts_with(['(', '[', ';']);
    let short_first = short.reach > full.reach || (short.reach == full.reach && !bracketed);
    let (told, form, other) = if short_first {
        (short, "an S-expression", full)
    } else {
        (full, "an expression in the short form", short)
    };
    let (line, column) = other.span.line_column(text);
    let note = alloc::format!("it is not {form} either, see {line}:{column}: {}", other.message);
    ParseError::new(text, told, Some(note))
}

fn too_long(text: &str, what: &str, length: usize) -> ParseError {
    let message = alloc::format!("{what} has {length} bytes, {MAX_TEXT} are allowed; split the policy");
    ParseError::new(text, Fault::new(ParseErrorKind::TooLong, Span::new(0, 0), message), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn error(text: &str) -> ParseError {
        Policy::parse(text).expect_err(text)
    }

    #[test]
    fn the_short_form_is_tried_first() {
        for (text, form, full) in [
            ("(not subject.x)", Form::Short, "(not (= subject.subject.x \"true\"))"),
            ("true", Form::Short, "(= subject.true \"true\")"),
            ("(and)", Form::Short, "(= subject.and \"true\")"),
            ("(and true)", Form::SExpr, "(and true)"),
            ("= subject.x \"y\"", Form::SExpr, "(= subject.x \"y\")"),
            ("(not subject.x);;", Form::SExpr, "($not subject.x)"),
        ] {
            let policy = Policy::parse(text).unwrap();
            assert_eq!((policy.form(), policy.to_string().as_str()), (form, full), "{text}");
            assert_eq!(full.parse::<Policy>().unwrap(), policy, "{text}");
            assert_eq!(policy.as_str(), full);
        }
        assert_eq!((Form::Short.to_string(), Form::SExpr.to_string()), ("short".into(), "sexpr".into()));
    }

    #[test]
    fn the_error_told_is_that_of_the_form_that_was_meant() {
        for (text, kind, column) in [
            ("", ParseErrorKind::Empty, 1),
            ("member andd admin", ParseErrorKind::Shorthand, 8),
            ("a and (b or", ParseErrorKind::Shorthand, 12),
            (" member", ParseErrorKind::Shorthand, 1),
            ("(= subject.role, 1)", ParseErrorKind::Token, 16),
            ("(= subject.role \"x)", ParseErrorKind::Token, 17),
            ("(= subject.role \"x\"", ParseErrorKind::Bracket, 1),
            ("(and (= a 1) [1 true])", ParseErrorKind::MixedSequence, 17),
            ("= level 0x1p4", ParseErrorKind::Number, 9),
            ("(foo)bar", ParseErrorKind::Shorthand, 6),
            ("[1 2]", ParseErrorKind::NotAnOperation, 1),
            ("\"x\"", ParseErrorKind::Shorthand, 1),
        ] {
            let error = error(text);
            assert_eq!((error.kind(), error.line(), error.column()), (kind, 1, column), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_prints_with_its_place() {
        let text = "(and (= subject.role \"member\")\n     (= subject.level, 3))";
        let expected = "2:22: items are separated by white space, not by commas
       (= subject.level, 3))
                       ^
note: it is not an expression in the short form either, see 1:6: expected `and`, `or` or `)` but there is `(`";
        assert_eq!(error(text).to_string(), expected);
        let expected = "1:8: expected `and`, `or` or the end but there is `a`
  member admin
         ^
note: it is not an S-expression either, see 1:1: an expression starts with one of the operators \
`and or not if < > = != member? exists?`";
        assert_eq!(error("member admin").to_string(), expected);
    }

    #[test]
    fn texts_have_a_limit_and_so_has_what_they_stand_for() {
        let text = |length: usize| format!("(and true {};;{}", ")", "x".repeat(length - 13));
        assert_eq!(text(MAX_TEXT).len(), MAX_TEXT);
        assert!(Policy::parse(&text(MAX_TEXT)).is_ok());
        assert_eq!(error(&text(MAX_TEXT + 1)).kind(), ParseErrorKind::TooLong);

        // `(or (= subject.a "true") …)`: 4 bytes for the list, 21 for each name and the space before it.
        let names = |count: usize| format!("a{}", " or a".repeat(count - 1));
        let most = (MAX_TEXT - 4) / 21;
        let policy = Policy::parse(&names(most)).unwrap();
        assert!(policy.as_str().len() <= MAX_TEXT && policy.as_str().len() + 21 > MAX_TEXT);
        assert_eq!(Policy::parse(policy.as_str()).unwrap(), policy);
        assert_eq!(error(&names(most + 1)).kind(), ParseErrorKind::TooLong);
    }

    #[test]
    fn a_policy_keeps_its_meaning() {
        let exact = |text| Policy::parse_as(text, Meaning::Exact).unwrap();
        let strict = |text| Policy::parse(text).unwrap();
        assert_eq!((exact("a").meaning(), strict("a").meaning()), (Meaning::Exact, Meaning::Strict));
        assert_eq!((exact("a"), strict("a")), (exact("a"), strict("a")));
        assert_ne!(exact("a"), strict("a"));
        assert_eq!("a".parse::<Policy>().unwrap(), strict("a"));
        assert_eq!(
            (Meaning::Exact.to_string(), Meaning::default().to_string()),
            ("exact".into(), "strict".into())
        );
        for (text, by_exact, by_strict) in [
            ("notary", "(not (= subject.ary \"true\"))", "(= subject.notary \"true\")"),
            ("(and orphan)", "(or (= subject.and \"true\") (= subject.phan \"true\"))", "($and orphan)"),
        ] {
            assert_eq!((exact(text).as_str(), strict(text).as_str()), (by_exact, by_strict));
            for printed in [by_exact, by_strict] {
                assert_eq!(exact(printed).as_str(), printed, "what is printed reads the same by both");
                assert_eq!(strict(printed).as_str(), printed);
            }
        }
        let env = Env::for_subject("I1", [("member", "true")]).unwrap();
        for (text, by_exact, by_strict) in [
            ("notary", Decision::Deny, Decision::Deny),
            ("not banned", Decision::Deny, Decision::Allow),
            ("banned or member", Decision::Deny, Decision::Allow),
            ("member", Decision::Allow, Decision::Allow),
        ] {
            assert_eq!(
                (exact(text).decide(&env), strict(text).decide(&env)),
                (by_exact, by_strict),
                "{text}"
            );
            assert_eq!(exact(text).evaluate(&env).decision(), by_exact, "{text}");
            assert_eq!(strict(text).evaluate(&env).decision(), by_strict, "{text}");
        }
    }
}
