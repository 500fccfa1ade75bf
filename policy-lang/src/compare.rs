//! Where the two meanings of a text can come to different decisions, found without evaluating it.
//!
//! For every part of the expression it is worked out which results the two meanings can come to at once, over all
//! environments: [`Pairs`]. Where the whole can only be allowed by both or by neither, nothing is said. Otherwise the
//! innermost parts at which the decisions part are told. What is not known is taken to be possible, so that silence is a
//! promise and a warning is not.
//!
//! The promise holds for environments whose `subject.` names are bound as [`Env::for_subject`](crate::Env::for_subject)
//! binds them, or not at all; every other name may be bound to anything.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ast::{Expr, Kind, Operator};
use crate::env::SUBJECT;
use crate::error::ParseError;
use crate::pairs::{Class, Pairs};
use crate::policy::{Form, Meaning, Policy};
use crate::print::Clipped;
use crate::shorthand;
use crate::span::Span;
use crate::value::Value;

/// What a warning is about, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// The reference takes the beginning of a name for `and`, `or` or `not`.
    WordBoundary,
    /// The reference refuses the text.
    Unreadable,
    /// An alternative behind one that cannot be evaluated: the reference does not get there.
    Order,
    /// `not` or `!=` of an attribute that may be absent: an error to the reference.
    Absence,
    /// Another place at which the reference stops and the strict meaning does not, or the other way around.
    Difference,
    /// Values of two types are compared, which is an error by either meaning.
    Types,
    /// Numbers are compared as strings, which orders them byte by byte.
    StringOrder,
    /// A name in the short form starts with `subject.`, which is put in front of it once more.
    Prefix,
}

impl WarningKind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WordBoundary => "word-boundary",
            Self::Unreadable => "unreadable",
            Self::Order => "order",
            Self::Absence => "absence",
            Self::Difference => "difference",
            Self::Types => "types",
            Self::StringOrder => "string-order",
            Self::Prefix => "prefix",
        }
    }

    /// Whether it says that the two meanings may decide differently. The others are about what is surprising in both.
    #[must_use]
    pub fn differs(self) -> bool {
        match self {
            Self::WordBoundary | Self::Unreadable | Self::Order | Self::Absence | Self::Difference => true,
            Self::Types | Self::StringOrder | Self::Prefix => false,
        }
    }
}

/// Something to know about a policy before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    kind: WarningKind,
    span: Span,
    text: String,
}

impl Warning {
    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> WarningKind {
        self.kind
    }

    /// The part of the text it is about.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What there is to know, on one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A text read with both meanings, and what there is to know about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Comparison {
    /// The policy by the strict meaning.
    pub strict: Result<Policy, ParseError>,
    /// The policy by the exact meaning.
    pub exact: Result<Policy, ParseError>,
    /// In the order of the text. None of a kind that [differs](WarningKind::differs) means that both come to the same
    /// decision, whatever a credential says.
    pub warnings: Vec<Warning>,
}

/// Reads `text` with both meanings and says where they can decide differently.
#[must_use]
pub fn compare(text: &str) -> Comparison {
    let (strict, exact) = (Policy::parse(text), Policy::parse_as(text, Meaning::Exact));
    let mut warnings = Vec::new();
    match (&strict, &exact) {
        (Ok(strict), Ok(exact)) if strict.expr() == exact.expr() => differences(strict.expr(), &mut warnings),
        (Ok(_), Err(error)) => {
            let text = format!("the reference cannot read this, and denies: {}", error.message());
            warnings.push(Warning { kind: WarningKind::Unreadable, span: error.span(), text });
        }
        (_, Ok(exact)) => {
            let shown = Clipped(exact);
            let (kind, span, text) = match shorthand::word_inside_a_name(text) {
                Some(span) => {
                    let word = span.of(text).unwrap_or("");
                    let text = format!(
                        "the reference takes this `{word}` for a word by itself and reads `{shown}`; put white space \
                         behind words, or give the attribute another name"
                    );
                    (WarningKind::WordBoundary, span, text)
                }
                None => (WarningKind::Difference, Span::default(), format!("the reference reads `{shown}`")),
            };
            warnings.push(Warning { kind, span, text });
        }
        (Err(_), Err(_)) => {}
    }
    if let Ok(strict) = &strict {
        surprises(strict.expr(), strict.form(), &mut warnings);
    }
    warnings.sort_by_key(|warning| warning.span.start());
    Comparison { strict, exact, warnings }
}

fn differences(expr: &Expr, warnings: &mut Vec<Warning>) {
    let mut analysis = Analysis { bound: Vec::new(), found: Vec::new() };
    if !analysis.pairs(expr).decide_differently() {
        return;
    }
    for (part, operator) in analysis.found {
        let shown = Clipped(part);
        let (kind, text) = match operator {
            Some(Operator::Or) => (
                WarningKind::Order,
                format!(
                    "in `{shown}` the reference stops, and denies, at the first name that is not bound; strictly the \
                     other alternatives count: ask `exists?` first where both must agree"
                ),
            ),
            Some(Operator::Not | Operator::NotEqual) => (
                WarningKind::Absence,
                format!(
                    "`{shown}` is an error to the reference, and denies, when a credential lacks the attribute; strictly \
                     it is true then: ask `exists?` first where both must agree"
                ),
            ),
            _ => (
                WarningKind::Difference,
                format!(
                    "`{shown}` can come to something else by the reference, which stops at the first name that is not \
                     bound: ask `exists?` first where both must agree"
                ),
            ),
        };
        warnings.push(Warning { kind, span: part.span, text });
    }
}

/// What is known of a value before it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Scalar(&'static str),
    Seq,
    Any,
}

fn type_of(expr: &Expr) -> Type {
    match &expr.kind {
        Kind::Literal(value) => Type::Scalar(value.type_name()),
        Kind::Ident(name) if name == "subject.has_credential" => Type::Scalar("bool"),
        Kind::Ident(name) if name.starts_with(SUBJECT) => Type::Scalar("string"),
        Kind::Ident(_) => Type::Any,
        Kind::Seq(_) => Type::Seq,
        Kind::List(items) if items.is_empty() => Type::Scalar("unit"),
        Kind::List(_) => match expr.as_call() {
            Some((Operator::If, _)) | None => Type::Any,
            // `and` and `or` too, where both meanings have a value in common.
            Some(_) => Type::Scalar("bool"),
        },
    }
}

/// Whether all of these are values of one type that has no parts.
fn of_one_type<'a>(mut types: impl Iterator<Item = &'a Expr>) -> bool {
    match types.next().map(type_of) {
        Some(first @ Type::Scalar(_)) => types.all(|next| type_of(next) == first),
        Some(_) => false,
        None => true,
    }
}

struct Analysis<'a> {
    /// Names that are bound wherever the part at hand matters.
    bound: Vec<&'a str>,
    /// The innermost parts at which the meanings part, in the order of the text.
    found: Vec<(&'a Expr, Option<Operator>)>,
}

impl<'a> Analysis<'a> {
    fn pairs(&mut self, expr: &'a Expr) -> Pairs {
        let before = self.found.len();
        let pairs = match &expr.kind {
            Kind::Literal(value) => Pairs::same(of_value(value)),
            Kind::Ident(name) => self.name(name),
            Kind::Seq(items) => self.sequence(items),
            Kind::List(items) if items.is_empty() => Pairs::same(Class::Other),
            // What is no call fails by either meaning, before anything else is looked at.
            Kind::List(_) => match expr.as_call() {
                Some((operator, args)) => self.call(operator, args),
                None => Pairs::same(Class::Error),
            },
        };
        if pairs.decide_differently() && self.found.len() == before {
            self.found.push((expr, expr.as_call().map(|(operator, _)| operator)));
        }
        pairs
    }

    fn name(&self, name: &str) -> Pairs {
        let truth = Pairs::same(Class::True) | Pairs::same(Class::False);
        let engine = name == "subject.has_credential" || name == "subject.identifier";
        let value = match name {
            "subject.has_credential" => truth,
            _ if name.starts_with(SUBJECT) => Pairs::same(Class::Other),
            _ => truth | Pairs::same(Class::Other),
        };
        if self.bound.contains(&name) {
            value
        } else if name.starts_with(SUBJECT) && !engine {
            value | Pairs::same(Class::Error) | Pairs::of(Class::Error, Class::Absent)
        } else {
            // The engine binds these two with the credential: they are never known to be absent.
            value | Pairs::same(Class::Error)
        }
    }

    fn sequence(&mut self, items: &'a [Expr]) -> Pairs {
        let items = items.iter().fold(Pairs::NONE, |all, item| all | self.pairs(item));
        let mut pairs = Pairs::same(Class::Other);
        if items.has(Class::Error, Class::Error) {
            pairs = pairs | Pairs::same(Class::Error);
        }
        if items.has(Class::Error, Class::Absent) {
            pairs = pairs | Pairs::of(Class::Error, Class::Absent);
        }
        if !items.without(Class::Error, Class::Absent).agree() {
            for exact in [Class::Other, Class::Error] {
                for strict in [Class::Other, Class::Error, Class::Absent] {
                    pairs = pairs | Pairs::of(exact, strict);
                }
            }
        }
        pairs
    }

    fn call(&mut self, operator: Operator, args: &'a [Expr]) -> Pairs {
        match operator {
            Operator::And => self.chain(false, args),
            Operator::Or => self.chain(true, args),
            Operator::Not => match args {
                [arg] => self.pairs(arg).negated(),
                _ => Pairs::same(Class::Error),
            },
            Operator::If => match args {
                [test, then, otherwise] => self.choice(test, then, otherwise),
                _ => Pairs::same(Class::Error),
            },
            Operator::Equal | Operator::Less | Operator::Greater if args.len() < 2 => {
                Pairs::same(Class::Error)
            }
            Operator::Equal | Operator::NotEqual | Operator::Less | Operator::Greater => {
                let mixed = !of_one_type(args.iter());
                let absent_may_hold = |arg: &Expr| match operator {
                    Operator::Equal => false,
                    Operator::NotEqual => true,
                    _ => !matches!(arg.kind, Kind::Ident(_)),
                };
                self.comparison(args, mixed, absent_may_hold)
            }
            Operator::Member => match args {
                [item, Expr { kind: Kind::Seq(items), .. }] => {
                    let mixed = !of_one_type(items.iter().chain([item]));
                    self.comparison(args, mixed, |arg| !core::ptr::eq(arg, item))
                }
                [_, _] => self.comparison(args, true, |arg| !matches!(arg.kind, Kind::Ident(_))),
                _ => Pairs::same(Class::Error),
            },
            Operator::Exists => {
                let known = |arg: &Expr| match &arg.kind {
                    Kind::Ident(name) => self.bound.contains(&name.as_str()),
                    _ => false,
                };
                let mut pairs = Pairs::same(Class::True);
                if !args.iter().all(known) {
                    pairs = pairs | Pairs::same(Class::False);
                }
                if args.iter().any(|arg| !matches!(arg.kind, Kind::Ident(_))) {
                    pairs = pairs | Pairs::same(Class::Error);
                }
                pairs
            }
        }
    }

    /// `and` (which ends at false) and `or` (which ends at true), with what is bound behind each argument.
    fn chain(&mut self, end: bool, args: &'a [Expr]) -> Pairs {
        let bound = self.bound.len();
        let mut chain = crate::pairs::Chain::new(end);
        for (index, arg) in args.iter().enumerate() {
            chain.step(self.pairs(arg), index + 1 == args.len());
            self.bind(arg, !end);
        }
        self.bound.truncate(bound);
        chain.finish()
    }

    fn choice(&mut self, test: &'a Expr, then: &'a Expr, otherwise: &'a Expr) -> Pairs {
        let tested = self.pairs(test);
        let bound = self.bound.len();
        self.bind(test, true);
        let then = self.pairs(then);
        self.bound.truncate(bound);
        self.bind(test, false);
        let otherwise = self.pairs(otherwise);
        self.bound.truncate(bound);
        tested.choose(then, otherwise)
    }

    /// A comparison of values: both come to the same unless something is absent, which the reference takes for an error.
    /// `mixed` says whether types may differ, `absent_may_hold` for which arguments the comparison may hold when they are
    /// absent or hold something absent.
    fn comparison(
        &mut self,
        args: &'a [Expr],
        mixed: bool,
        absent_may_hold: impl Fn(&Expr) -> bool,
    ) -> Pairs {
        let mut pairs = Pairs::same(Class::True) | Pairs::same(Class::False);
        if mixed {
            pairs = pairs | Pairs::same(Class::Error);
        }
        for arg in args {
            let of_arg = self.pairs(arg);
            if of_arg.has(Class::Error, Class::Error) {
                pairs = pairs | Pairs::same(Class::Error);
            }
            if of_arg.has(Class::Error, Class::Absent) {
                pairs = pairs | Pairs::of(Class::Error, Class::False);
                if mixed {
                    pairs = pairs | Pairs::same(Class::Error);
                }
                if absent_may_hold(arg) {
                    pairs = pairs | Pairs::of(Class::Error, Class::True);
                }
            }
            if !of_arg.without(Class::Error, Class::Absent).agree() {
                return Pairs::ALL;
            }
        }
        pairs
    }

    /// Notes the names that are bound where `expr` is `truth`.
    fn bind(&mut self, expr: &'a Expr, truth: bool) {
        match (expr.as_call(), truth) {
            (Some((Operator::Exists, args)), true) => {
                let names = args.iter().filter_map(|arg| match &arg.kind {
                    Kind::Ident(name) => Some(name.as_str()),
                    _ => None,
                });
                self.bound.extend(names);
            }
            (Some((Operator::Not, [arg])), _) => self.bind(arg, !truth),
            (Some((Operator::And, args)), true) | (Some((Operator::Or, args)), false) => {
                args.iter().for_each(|arg| self.bind(arg, truth));
            }
            _ => {}
        }
    }
}

fn of_value(value: &Value) -> Class {
    match value {
        Value::Bool(true) => Class::True,
        Value::Bool(false) => Class::False,
        _ => Class::Other,
    }
}

/// What is likely not meant, whichever meaning is asked for.
fn surprises(expr: &Expr, form: Form, warnings: &mut Vec<Warning>) {
    let (Kind::Seq(items) | Kind::List(items)) = &expr.kind else { return };
    if let Some((operator, args)) = expr.as_call()
        && let Some((kind, text)) = surprise(expr, operator, args, form)
    {
        warnings.push(Warning { kind, span: expr.span, text });
    }
    items.iter().for_each(|item| surprises(item, form, warnings));
}

fn surprise(expr: &Expr, operator: Operator, args: &[Expr], form: Form) -> Option<(WarningKind, String)> {
    let shown = Clipped(expr);
    let numeric = |arg: &Expr| match &arg.kind {
        Kind::Literal(Value::Str(text)) => text.parse::<f64>().is_ok(),
        _ => false,
    };
    let two = args.len() == 2;
    let clash =
        args.iter().zip(args.iter().skip(1)).find_map(|pair| match (type_of(pair.0), type_of(pair.1)) {
            (Type::Scalar(a), Type::Scalar(b)) if two && a != b => Some((a, b)),
            _ => None,
        });
    match operator {
        Operator::Equal if form == Form::Short => {
            let doubled = matches!(args.first(), Some(Expr { kind: Kind::Ident(name), .. })
                if name.strip_prefix(SUBJECT).is_some_and(|rest| rest.starts_with(SUBJECT)));
            if doubled {
                let text = format!(
                    "names of the short form are attributes, this one asks for `{shown}`; leave `subject.` out"
                );
                return Some((WarningKind::Prefix, text));
            }
            let (a, b) = clash?;
            Some((WarningKind::Types, never(&shown, a, b)))
        }
        Operator::Equal | Operator::NotEqual | Operator::Less | Operator::Greater => {
            if let Some((a, b)) = clash {
                return Some((WarningKind::Types, never(&shown, a, b)));
            }
            let ordered = matches!(operator, Operator::Less | Operator::Greater) && args.iter().any(numeric);
            let text = || format!("`{shown}` orders strings byte by byte: \"10\" comes before \"3\"");
            ordered.then(|| (WarningKind::StringOrder, text()))
        }
        _ => None,
    }
}

fn never(shown: &Clipped<&Expr>, a: &str, b: &str) -> String {
    format!(
        "`{shown}` compares values of two types, {a} and {b}, which is an error and denies; attributes are strings, `subject.has_credential` is a bool"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// The warnings for `text`: what they are about, and the part they point at.
    fn warned(text: &str) -> Vec<(&'static str, String)> {
        let part = |warning: &Warning| warning.span().of(text).unwrap().to_string();
        compare(text).warnings.iter().map(|warning| (warning.kind().name(), part(warning))).collect()
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let owned: Vec<_> = expected.iter().map(|(kind, part)| (*kind, part.to_string())).collect();
        let found = warned(text);
        assert_eq!(
            found.iter().map(|(kind, part)| (*kind, part.clone())).collect::<Vec<_>>(),
            owned,
            "{text}"
        );
    }

    #[test]
    fn what_means_the_same_is_not_warned_of() {
        for text in [
            "member",
            "role=member and dc.east",
            "(= subject.role \"member\")",
            "(and subject.has_credential (= subject.role \"member\"))",
            "(and (= a 1) (= b 2) (member? subject.role [\"x\" \"y\"]))",
            "(or (and (exists? subject.team) (= subject.team \"x\")) (= subject.role \"member\"))",
            "(or (not (exists? subject.banned)) (not (= subject.banned \"true\")))",
            "(if (exists? subject.banned) (!= subject.banned \"true\") true)",
            "(if (not (exists? subject.banned)) true (!= subject.banned \"true\"))",
            "(and (and (exists? subject.a subject.b)) (or (= subject.a \"x\") (!= subject.b \"y\")))",
            "(not (exists? subject.banned))",
            "(= (exists? subject.a) (exists? subject.b))",
            "(and (not (= subject.banned \"true\")) false)",
            "(if true 1 2)",
            "(x 1)",
            "(not 1 2)",
            "(and \"x\" \"y\")",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn what_may_be_decided_differently_is_pointed_at() {
        check("not banned", &[("absence", "not banned")]);
        check("member and not banned", &[("absence", "not banned")]);
        check("dc.west or dc.east", &[("order", "dc.west or dc.east")]);
        check("(and (!= subject.a \"x\") true)", &[("absence", "(!= subject.a \"x\")")]);
        check("(or (= u 1) true)", &[("order", "(or (= u 1) true)")]);
        check("(or (= subject.a subject.b 1) true)", &[("order", "(or (= subject.a subject.b 1) true)")]);
        check(
            "(if (= subject.a \"x\") false true)",
            &[("difference", "(if (= subject.a \"x\") false true)")],
        );
        let among = "(member? subject.role [subject.a subject.b])";
        check(among, &[("difference", among)]);
        check("(< [subject.a] [u u])", &[("difference", "(< [subject.a] [u u])")]);
        check("(= (or (= u 1) true) true)", &[("order", "(or (= u 1) true)")]);
        check("(and (or a true) (or b true))", &[("order", "(or a true)"), ("order", "(or b true)")]);
        // What is asked for elsewhere, or on the wrong side, does not help.
        let wrong = "(or (exists? subject.a) (not (= subject.a \"x\")))";
        check(wrong, &[("absence", "(not (= subject.a \"x\"))")]);
        let late = "(and (not (= subject.a \"x\")) (exists? subject.a))";
        check(late, &[("absence", "(not (= subject.a \"x\"))")]);
        check("(and (exists? subject.b) (!= subject.a \"x\"))", &[("absence", "(!= subject.a \"x\")")]);
    }

    #[test]
    fn words_inside_names_are_pointed_at() {
        check("notary", &[("word-boundary", "not")]);
        check("a and (b or nothing)", &[("word-boundary", "not")]);
        check("(and orphan)", &[("word-boundary", "or")]);
        let refused = compare("member orphan");
        assert!(refused.strict.is_err() && refused.exact.is_ok());
        check("member orphan", &[("word-boundary", "or")]);
        let id = alloc::format!("notI{}=x", "0".repeat(64));
        assert_eq!(warned(&id).first().map(|(kind, _)| *kind), Some("unreadable"));
        check("(((", &[]);
    }

    #[test]
    fn what_is_surprising_in_both_is_told() {
        check("has_credential", &[("types", "has_credential")]);
        check("(> subject.level 3)", &[("types", "(> subject.level 3)")]);
        check("(= subject.has_credential \"true\")", &[("types", "(= subject.has_credential \"true\")")]);
        check("(> subject.level \"3\")", &[("string-order", "(> subject.level \"3\")")]);
        check("(> subject.level \"c\")", &[]);
        check("subject.role=x", &[("prefix", "subject.role=x")]);
        check("(and (= subject.subject.role \"x\"))", &[]);
        check("(= 1 2 \"x\")", &[]);
    }

    #[test]
    fn kinds_that_differ_are_those_of_the_reference() {
        let differs =
            |text: &str| compare(text).warnings.iter().map(|w| w.kind().differs()).collect::<Vec<_>>();
        for text in ["notary", "not a", "a or b", "(if (= subject.a \"x\") false true)"] {
            assert_eq!(differs(text), [true], "{text}");
        }
        for text in ["has_credential", "(> subject.level \"3\")", "subject.role=x"] {
            assert_eq!(differs(text), [false], "{text}");
        }
    }
}
