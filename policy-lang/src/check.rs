//! What a text has to satisfy beyond its grammar, before it may become a policy.
//!
//! There is little of it, as the reference leaves the rest to evaluation: a sequence holds one type, an
//! expression starts with an operator, and nothing is nested too deep for the walks that follow.

use alloc::format;

use crate::MAX_DEPTH;
use crate::ast::{Expr, Kind, Operator};
use crate::error::{Fault, ParseErrorKind};
use crate::span::Span;
use crate::value::{Mismatch, View};

/// Refuses a sequence in which two neighbours are of different types.
pub(crate) fn one_type(items: &[Expr]) -> Result<(), Fault> {
    for (left, right) in items.iter().zip(items.iter().skip(1)) {
        if let Err(Mismatch(first, second)) = same(left, right) {
            let message =
                format!("a sequence holds values of one type, here {first} and {second} stand side by side");
            return Err(Fault::new(ParseErrorKind::MixedSequence, right.span, message));
        }
    }
    Ok(())
}

/// Compares two expressions by form. As with values, the first difference settles it, so that types
/// that differ behind it pass: `[(= 1 "x") (= 2 3)]` is a sequence.
fn same(left: &Expr, right: &Expr) -> Result<bool, Mismatch> {
    match (&left.kind, &right.kind) {
        (Kind::Literal(a), Kind::Literal(b)) => View::from(a).equals(View::from(b)),
        (Kind::Ident(a), Kind::Ident(b)) => Ok(a == b),
        (Kind::Seq(a), Kind::Seq(b)) | (Kind::List(a), Kind::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (x, y) in a.iter().zip(b) {
                if !same(x, y)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (a, b) => Err(Mismatch(kind_name(a), kind_name(b))),
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Literal(value) => value.type_name(),
        Kind::Ident(_) => "name",
        Kind::Seq(_) => "sequence",
        Kind::List(_) => "expression",
    }
}

/// Refuses an expression whose first word, however many brackets stand before it, is no operator.
pub(crate) fn starts_with_operator(expr: &Expr) -> Result<(), Fault> {
    let mut head = expr;
    while let Kind::List(items) = &head.kind {
        match items.first() {
            Some(first) => head = first,
            None => break,
        }
    }
    match &head.kind {
        Kind::Ident(name) if Operator::from_name(name).is_some() => Ok(()),
        _ => {
            let names = Operator::ALL.map(Operator::name).join(" ");
            let message = format!("an expression starts with one of the operators `{names}`");
            Err(Fault::new(ParseErrorKind::NotAnOperation, head.span, message))
        }
    }
}

/// Refuses an expression that is nested deeper than every walk over it may count on.
pub(crate) fn not_too_deep(expr: &Expr) -> Result<(), Fault> {
    if expr.depth() > MAX_DEPTH { Err(too_deep(expr.span)) } else { Ok(()) }
}

pub(crate) fn too_deep(span: Span) -> Fault {
    let message = format!("expressions may be nested {MAX_DEPTH} deep, this goes deeper; split the policy");
    Fault::new(ParseErrorKind::TooDeep, span, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::sexpr;

    #[test]
    fn sequences_hold_one_type() {
        for text in [
            "[]",
            "[1 2]",
            "[a b]",
            "[\"x\" \"\"]",
            "[[1] [\"x\" \"y\"]]",
            "[[] [1]]",
            "[(= 1) (= 2)]",
            "[(= 1 \"x\") (= 2 3)]",
            "[1.0 nan inf]",
        ] {
            assert!(sexpr(&format!("(= {text})")).is_ok(), "{text}");
        }
        for text in [
            "[1 \"x\"]",
            "[1 1.0]",
            "[a \"a\"]",
            "[1 a]",
            "[[1] [\"x\"]]",
            "[(= 1) (= \"x\")]",
            "[[] ()]",
            "[true 1]",
        ] {
            let fault = sexpr(&format!("(= {text})")).unwrap_err();
            assert_eq!(fault.kind, ParseErrorKind::MixedSequence, "{text}");
        }
    }

    #[test]
    fn the_head_may_stand_behind_any_number_of_brackets() {
        for text in ["= 1 1", "(= 1 1)", "(((=)))", "((= 1) 2)", "$and"] {
            assert!(sexpr(text).is_ok(), "{text}");
        }
        for text in ["1", "true", "(x 1)", "()", "(() =)", "[=]", "([=] 1)", "\"=\"", "x = 1"] {
            let fault = sexpr(text).unwrap_err();
            assert_eq!(fault.kind, ParseErrorKind::NotAnOperation, "{text}");
        }
    }
}
