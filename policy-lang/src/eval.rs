//! What an expression is worth in an environment, by either meaning.
//!
//! *Exact* is the reference's, and includes what one would not design today: a name that is not bound ends the whole
//! evaluation, so `or` depends on the order of its arguments; `not` of a comparison with an absent attribute is an error
//! and so a denial; `(and true "x")` is `"x"`; `!=` takes any number of arguments.
//!
//! *Strict* differs from it in two things. `and` and `or` are those of Kleene: one false argument makes `and` false and one
//! true argument makes `or` true, wherever it stands and whatever the others are. And an
//! attribute that the subject's credential does not have is [absent](Operand::Absent): it equals nothing, so that
//! comparing it is false. Where no credential was shown nothing is known of the subject, and a name that is not bound is
//! an error as before: what one hides must not count for one.
//!
//! Recursion is safe here: no expression is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::cmp::Ordering;

use crate::ast::{Expr, Kind, Operator};
use crate::env::{Env, SUBJECT};
use crate::error::{EvalError, EvalErrorKind};
use crate::policy::Meaning;
use crate::print::Clipped;
use crate::value::{Operand, View};

pub(crate) type Evaluated<'a> = Result<Operand<'a>, EvalError>;

/// What evaluation needs to know besides the expression.
#[derive(Debug)]
pub(crate) struct Evaluator<'a> {
    env: &'a Env,
    meaning: Meaning,
    /// Whether a credential was shown, so that an attribute it does not have is known to be absent.
    shown: bool,
    /// Whether somebody reads what errors say.
    told: bool,
    /// Expressions and values that were looked at: what an evaluation costs.
    steps: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(meaning: Meaning, env: &'a Env) -> Self {
        Self { env, meaning, shown: env.shows_a_credential(), told: true, steps: Cell::new(0) }
    }

    /// One whose errors have a kind and a place, and no message.
    pub(crate) fn silent(meaning: Meaning, env: &'a Env) -> Self {
        Self { told: false, ..Self::new(meaning, env) }
    }

    pub(crate) fn env(&self) -> &'a Env {
        self.env
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.meaning == Meaning::Strict
    }

    /// What a whole policy comes to: nothing absent is in it.
    pub(crate) fn result(&self, expr: &'a Expr) -> Evaluated<'a> {
        let value = self.evaluate(expr)?;
        match value.absent() {
            Some(name) => Err(self.unbound(name)),
            None => Ok(value),
        }
    }

    /// Evaluates `expr`, from left to right and no more of it than `and`, `or` and `if` need.
    pub(crate) fn evaluate(&self, expr: &'a Expr) -> Evaluated<'a> {
        self.step();
        match &expr.kind {
            Kind::Literal(value) => Ok(Operand::Known(value)),
            Kind::Ident(name) => match self.env.get(name) {
                Some(value) => Ok(Operand::Known(value)),
                None if self.is_strict() && self.shown && name.starts_with(SUBJECT) => {
                    Ok(Operand::Absent(expr))
                }
                None => Err(self.unbound(expr)),
            },
            Kind::Seq(items) => self.evaluate_all(items).map(Operand::Seq),
            Kind::List(items) => match items.split_first() {
                None => Ok(Operand::Unit),
                Some((head, args)) => self.call(expr, head, args),
            },
        }
    }

    fn evaluate_all(&self, exprs: &'a [Expr]) -> Result<Vec<Operand<'a>>, EvalError> {
        let mut values = Vec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.evaluate(expr)?);
        }
        Ok(values)
    }

    fn call(&self, expr: &'a Expr, head: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        match self.operator(head)? {
            Operator::And => self.until(false, expr, args),
            Operator::Or => self.until(true, expr, args),
            Operator::Not => self.negate(expr, args),
            Operator::If => self.choose(expr, args),
            operator @ (Operator::Equal | Operator::NotEqual | Operator::Less | Operator::Greater) => {
                self.compare(operator, expr, args)
            }
            Operator::Member => self.member(expr, args),
            Operator::Exists => self.exists(expr, args),
        }
    }

    fn operator(&self, head: &Expr) -> Result<Operator, EvalError> {
        let Kind::Ident(name) = &head.kind else {
            return Err(self.error(EvalErrorKind::InvalidType, head, || {
                format!("`{}` stands where an operator should", Clipped(head))
            }));
        };
        Operator::from_name(name).ok_or_else(|| {
            self.error(EvalErrorKind::UnknownOperator, head, || {
                let names = Operator::ALL.map(Operator::name).join(" ");
                format!("`{}` is not an operator, those are `{names}`", Clipped(head))
            })
        })
    }

    fn until(&self, end: bool, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        if self.is_strict() { self.kleene(end, expr, args) } else { self.in_order(end, expr, args) }
    }

    /// Exact `and` and `or`: the first argument that is `end` is the result. The last argument is the result
    /// whatever it is, the others must be bools.
    fn in_order(&self, end: bool, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        let Some((last, others)) = args.split_last() else { return Ok(Operand::Bool(!end)) };
        for arg in others {
            if self.truth(expr, arg)? == end {
                return Ok(Operand::Bool(end));
            }
        }
        self.evaluate(last)
    }

    /// Strict `and` and `or`: an argument that is `end` is the result, wherever it stands. Without one the first error
    /// is, one that is not about a name before those that are; and without that the last argument, as by the exact
    /// meaning.
    fn kleene(&self, end: bool, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        let (mut result, mut error) = (Operand::Bool(!end), None);
        for (index, arg) in args.iter().enumerate() {
            let value = self.evaluate(arg).and_then(|value| match value.view() {
                View::Bool(_) => Ok(value),
                View::Absent => Err(self.unbound(arg)),
                _ if index + 1 == args.len() => Ok(value),
                _ => Err(self.invalid(expr, arg, &value, "a bool")),
            });
            match value {
                Ok(value) if matches!(value.view(), View::Bool(truth) if truth == end) => return Ok(value),
                Ok(value) => result = value,
                Err(new) if error.as_ref().is_none_or(|old| weaker(old, &new)) => error = Some(new),
                Err(_) => {}
            }
        }
        error.map_or(Ok(result), Err)
    }

    fn negate(&self, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        let [arg] = args else { return Err(self.arity(expr, "takes one argument", args)) };
        Ok(Operand::Bool(!self.truth(expr, arg)?))
    }

    fn choose(&self, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        let [test, then, otherwise] = args else {
            return Err(self.arity(expr, "takes three arguments", args));
        };
        let chosen = if self.truth(expr, test)? { then } else { otherwise };
        self.evaluate(chosen)
    }

    /// All arguments are evaluated before the first is compared.
    fn compare(&self, operator: Operator, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        if args.len() < 2 && operator != Operator::NotEqual {
            return Err(self.arity(expr, "takes two or more arguments", args));
        }
        let values = self.evaluate_all(args)?;
        self.neighbours(operator, expr, &values).map(Operand::Bool)
    }

    /// Whether the comparison holds between each value and the next, up to the first pair for which it does
    /// not. `!=` is the opposite of `=` as a whole.
    fn neighbours(&self, operator: Operator, expr: &Expr, values: &[Operand<'_>]) -> Result<bool, EvalError> {
        let holds = |a: View<'_>, b: View<'_>| match operator {
            Operator::Less => a.compare(b).map(|order| order == Some(Ordering::Less)),
            Operator::Greater => a.compare(b).map(|order| order == Some(Ordering::Greater)),
            _ => a.equals(b),
        };
        let mut all = true;
        for (left, right) in values.iter().zip(values.iter().skip(1)) {
            self.step();
            if !holds(left.view(), right.view())
                .map_err(|_| self.mismatch(expr, left.view(), right.view()))?
            {
                all = false;
                break;
            }
        }
        Ok(all != (operator == Operator::NotEqual))
    }

    fn member(&self, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        let [item, sequence] = args else {
            return Err(self.arity(expr, "takes a value and a sequence", args));
        };
        let (item, values) = (self.evaluate(item)?, self.evaluate(sequence)?);
        self.is_among(expr, &item, sequence, &values).map(Operand::Bool)
    }

    /// Whether `item` equals one of `values`; those behind the first that does are not looked at.
    fn is_among(
        &self,
        expr: &Expr,
        item: &Operand<'_>,
        sequence: &Expr,
        values: &Operand<'_>,
    ) -> Result<bool, EvalError> {
        let items = match values.view() {
            View::Seq(items) => items,
            View::Absent => return Ok(false),
            _ => return Err(self.invalid(expr, sequence, values, "a sequence")),
        };
        for each in items.iter() {
            self.step();
            if item.view().equals(each).map_err(|_| self.mismatch(expr, item.view(), each))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether all names are bound. Arguments behind the first that is not are not looked at.
    fn exists(&self, expr: &'a Expr, args: &'a [Expr]) -> Evaluated<'a> {
        for arg in args {
            self.step();
            match &arg.kind {
                Kind::Ident(name) if self.env.get(name).is_some() => {}
                Kind::Ident(_) => return Ok(Operand::Bool(false)),
                _ => {
                    return Err(self.error(EvalErrorKind::InvalidType, arg, || {
                        format!("`exists?` takes names, `{}` is none; in `{}`", Clipped(arg), Clipped(expr))
                    }));
                }
            }
        }
        Ok(Operand::Bool(true))
    }

    /// The bool that `arg` of `expr` results in.
    pub(crate) fn truth(&self, expr: &Expr, arg: &'a Expr) -> Result<bool, EvalError> {
        let value = self.evaluate(arg)?;
        match (value.view(), &value) {
            (View::Bool(truth), _) => Ok(truth),
            (_, Operand::Absent(name)) => Err(self.unbound(name)),
            _ => Err(self.invalid(expr, arg, &value, "a bool")),
        }
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    fn error(&self, kind: EvalErrorKind, at: &Expr, message: impl FnOnce() -> String) -> EvalError {
        EvalError::new(kind, at.span, if self.told { message() } else { String::new() })
    }

    fn unbound(&self, ident: &Expr) -> EvalError {
        self.error(EvalErrorKind::Unbound, ident, || {
            let name = Clipped(ident);
            format!("`{name}` is not bound; where it may be absent, ask `(exists? {name})` first")
        })
    }

    fn arity(&self, expr: &Expr, takes: &str, args: &[Expr]) -> EvalError {
        self.error(EvalErrorKind::Malformed, expr, || {
            let name = expr.as_call().map_or("it", |(operator, _)| operator.name());
            format!("`{name}` {takes}, here it has {}; in `{}`", args.len(), Clipped(expr))
        })
    }

    fn invalid(&self, expr: &Expr, arg: &Expr, value: &Operand<'_>, wanted: &str) -> EvalError {
        self.error(EvalErrorKind::InvalidType, arg, || {
            let (found, place) = (value.view().type_name(), Clipped(expr));
            let what = match &arg.kind {
                Kind::Literal(_) => format!("`{}` ({found})", Clipped(arg)),
                _ => format!("`{}` is `{}` ({found})", Clipped(arg), Clipped(value)),
            };
            format!("{what}, {wanted} is needed; in `{place}`")
        })
    }

    fn mismatch(&self, expr: &Expr, left: View<'_>, right: View<'_>) -> EvalError {
        self.error(EvalErrorKind::TypeMismatch, expr, || {
            let (a, b) = (left.type_name(), right.type_name());
            let values = format!("`{}` ({a}) with `{}` ({b})", Clipped(left), Clipped(right));
            format!("values of different types are not compared: {values}, in `{}`", Clipped(expr))
        })
    }
}

/// Whether `new` tells more than `old`: that a name is not bound is the least that can be said.
fn weaker(old: &EvalError, new: &EvalError) -> bool {
    old.kind() == EvalErrorKind::Unbound && new.kind() != EvalErrorKind::Unbound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::sexpr;
    use crate::value::Value;
    use alloc::string::ToString;
    use alloc::vec;

    fn env() -> Env {
        let numbers = Value::from(vec![1.into(), 2.into()]);
        Env::new().with("t", true).with("f", false).with("s", "x").with("n", 1).with("ns", numbers)
    }

    fn value(text: &str) -> String {
        by(Meaning::Exact, text, &env())
    }

    fn by(meaning: Meaning, text: &str, env: &Env) -> String {
        let expr = sexpr(text).unwrap();
        match Evaluator::new(meaning, env).result(&expr) {
            Ok(value) => value.to_string(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn and_or_if_look_no_further_than_they_must() {
        for (text, expected) in [
            ("(and)", "true"),
            ("(or)", "false"),
            ("(and t f u)", "false"),
            ("(or f t u)", "true"),
            ("(and t u)", "Unbound"),
            ("(or u t)", "Unbound"),
            ("(and t \"x\")", "\"x\""),
            ("(or f n)", "1"),
            ("(and \"x\" t)", "InvalidType"),
            ("(and \"x\")", "\"x\""),
            ("(if t 1 u)", "1"),
            ("(if f u ())", "()"),
            ("(if n 1 2)", "InvalidType"),
            ("(if t 1)", "Malformed"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn comparisons_go_from_neighbour_to_neighbour() {
        for (text, expected) in [
            ("(= 1 1 1)", "true"),
            ("(= 1 2 \"x\")", "false"),
            ("(= \"a\" \"a\" 3)", "TypeMismatch"),
            ("(= 1)", "Malformed"),
            ("(!=)", "false"),
            ("(!= s)", "false"),
            ("(!= u)", "Unbound"),
            ("(!= 1 2 2)", "true"),
            ("(< 1 2 3)", "true"),
            ("(< 1 2 2)", "false"),
            ("(> \"10\" \"3\")", "false"),
            ("(> true false)", "true"),
            ("(< 1)", "Malformed"),
            ("(= nan nan)", "false"),
            ("(< nan 1.0)", "false"),
            ("(= () ())", "true"),
            ("(= ns [1 2])", "true"),
            ("(= [n s] [n s])", "true"),
            ("(= [n s] ns)", "TypeMismatch"),
            ("(= 1 1.0)", "TypeMismatch"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn sequences_and_names() {
        for (text, expected) in [
            ("(member? 2 ns)", "true"),
            ("(member? 3 ns)", "false"),
            ("(member? \"x\" [])", "false"),
            ("(member? \"x\" ns)", "TypeMismatch"),
            ("(member? 1 n)", "InvalidType"),
            ("(member? 1)", "Malformed"),
            ("(member? 1 [n u])", "Unbound"),
            ("(exists?)", "true"),
            ("(exists? t f)", "true"),
            ("(exists? u 1)", "false"),
            ("(exists? t 1)", "InvalidType"),
            ("(not t)", "false"),
            ("(not)", "Malformed"),
            ("(not u v)", "Malformed"),
            ("(not n)", "InvalidType"),
            ("(and (x 1))", "UnknownOperator"),
            ("(and (1 x))", "InvalidType"),
            ("((and) t)", "InvalidType"),
            ("and", "Unbound"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_point_at_what_is_to_blame_and_say_what_to_do() {
        for (text, place, message) in [
            ("(and t (= u 1))", "u", "`u` is not bound; where it may be absent, ask `(exists? u)` first"),
            ("(and n t)", "n", "`n` is `1` (int), a bool is needed; in `(and n t)`"),
            ("(or (not t f))", "(not t f)", "`not` takes one argument, here it has 2; in `(not t f)`"),
            (
                "(= n \"1\")",
                "(= n \"1\")",
                "values of different types are not compared: `1` (int) with `\"1\"` (string), in `(= n \"1\")`",
            ),
        ] {
            let expr = sexpr(text).unwrap();
            let env = env();
            let error = Evaluator::new(Meaning::Exact, &env).result(&expr).unwrap_err();
            assert_eq!((error.span().of(text), error.to_string().as_str()), (Some(place), message));
        }
    }

    fn subject() -> Env {
        Env::for_subject("I1", [("role", "member"), ("empty", "")]).unwrap().with("n", 1)
    }

    /// What `text` comes to by the strict meaning: with the credential, and without any.
    fn strict(text: &str) -> (String, String) {
        (by(Meaning::Strict, text, &subject()), by(Meaning::Strict, text, &Env::new().with("n", 1)))
    }

    #[test]
    fn strict_and_and_or_do_not_depend_on_order() {
        for (text, expected) in [
            ("(or u true)", "true"),
            ("(or true u)", "true"),
            ("(or u false)", "Unbound"),
            ("(or n true)", "true"),
            ("(or (= 1 \"x\") u)", "TypeMismatch"),
            ("(or u (= 1 \"x\") (not 1))", "TypeMismatch"),
            ("(and u false)", "false"),
            ("(and (x) false)", "false"),
            ("(and u true)", "Unbound"),
            ("(and true \"x\")", "\"x\""),
            ("(and u \"x\")", "Unbound"),
            ("(or \"x\" true)", "true"),
            ("(not (and true 1))", "InvalidType"),
            ("(and \"x\" true)", "InvalidType"),
            ("(or false n)", "1"),
            ("(and)", "true"),
            ("(or)", "false"),
            ("(not u)", "Unbound"),
            ("(not (or u true))", "false"),
            ("(if u 1 1)", "Unbound"),
            ("(if (or u true) 1 2)", "1"),
        ] {
            assert_eq!(strict(text), (expected.into(), expected.into()), "{text}");
        }
    }

    #[test]
    fn strict_takes_what_a_shown_credential_does_not_have_for_absent() {
        for (text, with, without) in [
            ("(= subject.x \"true\")", "false", "Unbound"),
            ("(= subject.x \"\")", "false", "Unbound"),
            ("(= subject.empty \"\")", "true", "Unbound"),
            ("(= subject.x subject.x)", "false", "Unbound"),
            ("(!= subject.x \"a\")", "true", "Unbound"),
            ("(!= subject.x)", "false", "Unbound"),
            ("(not (= subject.x \"true\"))", "true", "Unbound"),
            ("(< subject.x \"a\")", "false", "Unbound"),
            ("(> subject.x \"a\")", "false", "Unbound"),
            ("(member? subject.x [\"a\"])", "false", "Unbound"),
            ("(member? \"a\" subject.x)", "false", "Unbound"),
            ("(member? subject.role [subject.x subject.role])", "true", "Unbound"),
            ("(member? subject.x [subject.x])", "false", "Unbound"),
            ("(= [subject.x] [subject.x])", "false", "Unbound"),
            ("(< [subject.x] [1 2])", "true", "Unbound"),
            ("(= (if true subject.x 1) 1)", "false", "Unbound"),
            ("(= n u)", "Unbound", "Unbound"),
            ("(exists? subject.x)", "false", "false"),
            ("(and subject.x)", "Unbound", "Unbound"),
            ("(not (and subject.x))", "Unbound", "Unbound"),
            ("(if subject.x 1 2)", "Unbound", "Unbound"),
            ("(if true subject.x 2)", "Unbound", "Unbound"),
            ("(if true [subject.x] 2)", "Unbound", "Unbound"),
            ("(and subject.has_credential (= subject.role \"member\"))", "true", "Unbound"),
        ] {
            assert_eq!(strict(text), (with.into(), without.into()), "{text}");
            let exact = by(Meaning::Exact, text, &subject());
            assert!(exact == with || exact == "Unbound", "{text}: {exact}");
        }
        let hidden = Env::new().with("subject.has_credential", false);
        assert_eq!(by(Meaning::Strict, "(!= subject.x 1)", &hidden), "Unbound", "nothing was shown");
        let text = Env::new().with("subject.has_credential", "true");
        assert_eq!(by(Meaning::Strict, "(!= subject.x 1)", &text), "Unbound", "only the engine says so");
    }

    #[test]
    fn a_silent_evaluator_says_no_more_than_where_and_what() {
        let expr = sexpr("(and (= n \"x\"))").unwrap();
        for meaning in [Meaning::Exact, Meaning::Strict] {
            let env = env();
            let told = Evaluator::new(meaning, &env).result(&expr).unwrap_err();
            let silent = Evaluator::silent(meaning, &env).result(&expr).unwrap_err();
            assert_eq!((silent.kind(), silent.span()), (told.kind(), told.span()));
            assert_eq!(silent.to_string(), "");
        }
    }

    /// Each expression is looked at once at most, and each value of a sequence once for each `member?`.
    #[test]
    fn an_evaluation_takes_no_more_steps_than_the_policy_has_bytes() {
        let fill = |open: &str, item: &str, close: &str| {
            format!("{open}{}{close}", item.repeat((crate::MAX_TEXT - open.len() - close.len()) / item.len()))
        };
        let deep = crate::MAX_DEPTH - 2;
        for text in [
            fill("(or ", "n ", ")"),
            fill("(or ", "u ", ")"),
            fill("(or ", "(= n 2) ", ")"),
            fill("(or ", "(= u 2) ", ")"),
            fill("(or ", "(= n \"\") ", ")"),
            fill("(and ", "(and) ", ")"),
            fill("(and ", "(member? 2 ns) ", ")"),
            fill("(= ", "1 ", ")"),
            fill("(member? 0 [", "1 ", "])"),
            fill("(exists? ", "n ", ")"),
            fill(&"(or u ".repeat(deep), "u ", &")".repeat(deep)),
            fill(&"(not (or u ".repeat(deep / 2), "(= n n n) ", &"))".repeat(deep / 2)),
        ] {
            let expr = sexpr(&text).unwrap();
            for meaning in [Meaning::Exact, Meaning::Strict] {
                let env = env();
                let evaluator = Evaluator::silent(meaning, &env);
                let _ = evaluator.evaluate(&expr);
                let steps = evaluator.steps.get();
                assert!(steps <= text.len(), "{meaning}: {steps} steps for {} bytes", text.len());
            }
        }
    }

    /// Without steps that are counted, no evaluation would have too many.
    #[test]
    fn control_steps_are_counted() {
        for (text, steps) in [
            // The expression, its three arguments, and the two pairs of neighbours.
            ("(= 1 1 1)", 6),
            // The expression, the value, the sequence and its two items, and a comparison with each.
            ("(member? 0 [1 1])", 7),
            // The expression and each name.
            ("(exists? n n)", 3),
            ("(or (= 1 2) (exists? n n))", 8),
        ] {
            let (expr, env) = (sexpr(text).unwrap(), env());
            for meaning in [Meaning::Exact, Meaning::Strict] {
                let evaluator = Evaluator::silent(meaning, &env);
                evaluator.evaluate(&expr).unwrap();
                assert_eq!(evaluator.steps.get(), steps, "{meaning}: {text}");
            }
        }
    }
}
