//! Why an evaluation came out as it did: the parts of the expression that decided it.
//!
//! This is a second walk, after the value is known, so that it cannot change the value and costs nothing
//! where nobody asks. It follows only what decided: of a false `and` the argument that is false, of a
//! false `or` all of them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::ast::{Expr, Kind, Operator};
use crate::eval::{Evaluated, Evaluator};
use crate::print::Clipped;
use crate::span::Span;
use crate::value::{Operand, View};

/// How many reasons are given; a last one says how many more there are.
const MAX_REASONS: usize = 16;

/// How many arguments of one comparison a reason names.
const MAX_OPERANDS: usize = 4;

/// One part of a policy that decided, and what it was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    span: Span,
    text: String,
}

impl Reason {
    /// The deciding part, in the text the policy was read from.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What that part is and what it was worth, on one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The reasons for `result`, which is what `evaluator` makes of `expr`.
pub(crate) fn reasons<'a>(expr: &'a Expr, evaluator: &Evaluator<'a>, result: &Evaluated<'_>) -> Vec<Reason> {
    let mut explainer = Explainer { evaluator, reasons: Vec::new(), omitted: 0 };
    explainer.explain(expr, result);
    if let Ok(value) = result
        && !matches!(value.view(), View::Bool(_))
    {
        let (shown, kind) = (Clipped(value), value.view().type_name());
        explainer.add(expr.span, || format!("the result is `{shown}` ({kind}), and only `true` allows"));
    }
    if explainer.omitted > 0 {
        let text = format!("and {} more", explainer.omitted);
        explainer.reasons.push(Reason { span: expr.span, text });
    }
    explainer.reasons
}

struct Explainer<'e, 'a> {
    evaluator: &'e Evaluator<'a>,
    reasons: Vec<Reason>,
    omitted: usize,
}

impl<'a> Explainer<'_, 'a> {
    fn explain(&mut self, expr: &'a Expr, result: &Evaluated<'_>) {
        let value = match result {
            Ok(value) => value,
            // An error already says which part it comes from.
            Err(error) => return self.add(error.span(), || error.to_string()),
        };
        match expr.as_call() {
            Some((Operator::And, args)) if !args.is_empty() => self.chain(args, false, value),
            Some((Operator::Or, args)) if !args.is_empty() => self.chain(args, true, value),
            Some((Operator::Not, [arg])) => self.part(arg),
            Some((Operator::If, [test, then, otherwise])) => {
                self.part(test);
                let taken = self.evaluator.truth(expr, test);
                self.part(if taken == Ok(true) { then } else { otherwise });
            }
            Some((operator, args)) => {
                let details = match operator {
                    _ if self.is_full() => Vec::new(),
                    Operator::Exists => self.missing(args),
                    _ => self.operands(args),
                };
                let separator = if details.is_empty() { "" } else { ": " };
                let (shown, value) = (Clipped(expr), Clipped(value));
                self.add(expr.span, || format!("`{shown}` is {value}{separator}{}", details.join(", ")));
            }
            None => self.add(expr.span, || format!("`{}` is `{}`", Clipped(expr), Clipped(value))),
        }
    }

    fn part(&mut self, expr: &'a Expr) {
        let result = self.evaluator.evaluate(expr);
        self.explain(expr, &result);
    }

    /// The arguments of `and` (which ends at `false`) or `or` (which ends at `true`): the one that ended it; or the last,
    /// when that is the value; or else all of them.
    fn chain(&mut self, args: &'a [Expr], end: bool, value: &Operand<'_>) {
        let ends = |arg: &&'a Expr| match self.evaluator.evaluate(arg).as_ref().map(Operand::view) {
            Ok(View::Bool(truth)) => truth == end,
            _ => false,
        };
        let decided = match value.view() {
            View::Bool(truth) if truth == end => args.iter().find(ends),
            View::Bool(_) => None,
            _ => args.last(),
        };
        match decided {
            Some(arg) => self.part(arg),
            None => args.iter().for_each(|arg| self.part(arg)),
        }
    }

    /// What the arguments that are no literals are worth.
    fn operands(&self, args: &'a [Expr]) -> Vec<String> {
        let mut named: Vec<&'a Expr> = Vec::new();
        for arg in args.iter().filter(|arg| !is_constant(arg)) {
            if named.len() < MAX_OPERANDS && !named.contains(&arg) {
                named.push(arg);
            }
        }
        let show = |arg: &Expr, value: Operand<'_>| match value {
            Operand::Absent(_) => format!("`{}` is absent", Clipped(arg)),
            value => format!("`{}` is `{}`", Clipped(arg), Clipped(value)),
        };
        named
            .into_iter()
            .filter_map(|arg| self.evaluator.evaluate(arg).ok().map(|value| show(arg, value)))
            .collect()
    }

    /// The first name that is not bound.
    fn missing(&self, args: &[Expr]) -> Vec<String> {
        let unbound =
            |arg: &&Expr| matches!(&arg.kind, Kind::Ident(name) if self.evaluator.env().get(name).is_none());
        args.iter().find(unbound).map(|arg| format!("`{}` is not bound", Clipped(arg))).into_iter().collect()
    }

    fn is_full(&self) -> bool {
        self.reasons.len() >= MAX_REASONS
    }

    fn add(&mut self, span: Span, text: impl FnOnce() -> String) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.reasons.push(Reason { span, text: text() });
        }
    }
}

/// Whether an expression is its own value, so that there is nothing to say about it.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::Ident(_) => false,
        Kind::Seq(items) => items.iter().all(is_constant),
        Kind::List(items) => items.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::policy::{Meaning, Policy};

    fn env() -> Env {
        let attributes = [("role", "guest"), ("site", "oslo"), ("member", "true")];
        Env::for_subject("I1", attributes).unwrap().with("n", 3)
    }

    /// The reasons for what `text` comes to, each with the part of the text it points at.
    fn told(text: &str) -> Vec<(String, String)> {
        told_by(Meaning::Exact, text)
    }

    fn told_by(meaning: Meaning, text: &str) -> Vec<(String, String)> {
        let evaluation = Policy::parse_as(text, meaning).unwrap().evaluate(&env());
        let part = |reason: &Reason| reason.span().of(text).unwrap().to_string();
        evaluation.reasons.iter().map(|reason| (part(reason), reason.to_string())).collect()
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let owned: Vec<_> =
            expected.iter().map(|(part, text)| (part.to_string(), text.to_string())).collect();
        assert_eq!(told(text), owned, "{text}");
    }

    #[test]
    fn of_and_and_or_only_what_decided_is_told() {
        let role = r#"(= subject.role "guest")"#;
        let site = r#"(= subject.site "bern")"#;
        let (is_guest, is_oslo) = (
            r#"`(= subject.role "guest")` is true: `subject.role` is `"guest"`"#,
            r#"`(= subject.site "bern")` is false: `subject.site` is `"oslo"`"#,
        );
        check(&format!("(and {role} {site} (= u 1))"), &[(site, is_oslo)]);
        check(&format!("(or {site} {role} (= u 1))"), &[(role, is_guest)]);
        check(&format!("(and {role} (not {site}))"), &[(role, is_guest), (site, is_oslo)]);
        check(&format!("(or {site} {site})"), &[(site, is_oslo), (site, is_oslo)]);
        check(&format!("(if {role} {site} u)"), &[(role, is_guest), (site, is_oslo)]);
    }

    #[test]
    fn the_short_form_is_explained_in_its_own_text() {
        check(
            "member and site=bern",
            &[("site=bern", r#"`(= subject.site "bern")` is false: `subject.site` is `"oslo"`"#)],
        );
        check(
            "member and not banned",
            &[(
                "banned",
                "`subject.banned` is not bound; where it may be absent, ask `(exists? subject.banned)` first",
            )],
        );
    }

    #[test]
    fn other_operators_show_what_they_were_given() {
        check("(< 1 n 2)", &[("(< 1 n 2)", "`(< 1 n 2)` is false: `n` is `3`")]);
        check("(= n n n)", &[("(= n n n)", "`(= n n n)` is true: `n` is `3`")]);
        check("(!= 1 1)", &[("(!= 1 1)", "`(!= 1 1)` is false")]);
        check("(member? n [1 2])", &[("(member? n [1 2])", "`(member? n [1 2])` is false: `n` is `3`")]);
        check("(exists? n u)", &[("(exists? n u)", "`(exists? n u)` is false: `u` is not bound")]);
        check("(exists? n)", &[("(exists? n)", "`(exists? n)` is true")]);
        check(
            "(= (not true) (and))",
            &[(
                "(= (not true) (and))",
                "`(= (not true) (and))` is false: `(not true)` is `false`, `(and)` is `true`",
            )],
        );
        check("($or)", &[("($or)", "`(or)` is false")]);
    }

    #[test]
    fn what_is_no_bool_is_said_to_be_none() {
        check(
            "(and true n)",
            &[("n", "`n` is `3`"), ("(and true n)", "the result is `3` (int), and only `true` allows")],
        );
        let mismatch =
            "values of different types are not compared: `3` (int) with `\"3\"` (string), in `(= n \"3\")`";
        check("(and (= n 3) (= n \"3\"))", &[("(= n \"3\")", mismatch)]);
    }

    #[test]
    fn there_are_only_so_many_reasons() {
        let reasons = told(&format!("(or{})", " (= n 1)".repeat(1_000)));
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!(reasons.last().unwrap().1, format!("and {} more", 1_000 - MAX_REASONS));
    }

    #[test]
    fn by_the_strict_meaning_what_ended_it_is_told_wherever_it_stands() {
        let strict = |text, expected: &[(&str, &str)]| {
            let told = told_by(Meaning::Strict, text);
            let told: Vec<_> = told.iter().map(|(part, text)| (part.as_str(), text.as_str())).collect();
            assert_eq!(told, expected, "{text}");
        };
        let absent = r#"`(= subject.team "x")` is false: `subject.team` is absent"#;
        let member = r#"`(= subject.member "true")` is true: `subject.member` is `"true"`"#;
        strict("(or (= u 1) (= subject.member \"true\"))", &[("(= subject.member \"true\")", member)]);
        strict("(and (= u 1) (= subject.team \"x\"))", &[("(= subject.team \"x\")", absent)]);
        strict("member and not team=x", &[("member", member), ("team=x", absent)]);
        let unbound = "`u` is not bound; where it may be absent, ask `(exists? u)` first";
        strict("(or (= u 1) (= subject.team \"x\"))", &[("u", unbound)]);
    }
}
