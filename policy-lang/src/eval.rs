//! What an expression is worth in an environment, with the reference's *exact* meaning.
//!
//! Exact includes what one would not design today: a name that is not bound ends the whole evaluation,
//! so `or` depends on the order of its arguments; `not` of a comparison with an absent attribute is an
//! error and so a denial; `(and true "x")` is `"x"`; `!=` takes any number of arguments. Another meaning
//! of the same tree is another module beside this one, with a function like [`evaluate`].
//!
//! Recursion is safe here: no expression is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ast::{Expr, Kind, Operator};
use crate::env::Env;
use crate::error::{EvalError, EvalErrorKind};
use crate::print::Clipped;
use crate::value::{Operand, View};

pub(crate) type Evaluated<'a> = Result<Operand<'a>, EvalError>;

/// Evaluates `expr`, from left to right and no more of it than `and`, `or` and `if` need.
pub(crate) fn evaluate<'a>(expr: &'a Expr, env: &'a Env) -> Evaluated<'a> {
    match &expr.kind {
        Kind::Literal(value) => Ok(Operand::Known(value)),
        Kind::Ident(name) => env.get(name).map(Operand::Known).ok_or_else(|| unbound(expr)),
        Kind::Seq(items) => evaluate_all(items, env).map(Operand::Seq),
        Kind::List(items) => match items.split_first() {
            None => Ok(Operand::Unit),
            Some((head, args)) => call(expr, head, args, env),
        },
    }
}

fn evaluate_all<'a>(exprs: &'a [Expr], env: &'a Env) -> Result<Vec<Operand<'a>>, EvalError> {
    let mut values = Vec::with_capacity(exprs.len());
    for expr in exprs {
        values.push(evaluate(expr, env)?);
    }
    Ok(values)
}

fn call<'a>(expr: &'a Expr, head: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    match operator(head)? {
        Operator::And => until(false, expr, args, env),
        Operator::Or => until(true, expr, args, env),
        Operator::Not => negate(expr, args, env),
        Operator::If => choose(expr, args, env),
        operator @ (Operator::Equal | Operator::NotEqual | Operator::Less | Operator::Greater) => {
            compare(operator, expr, args, env)
        }
        Operator::Member => member(expr, args, env),
        Operator::Exists => exists(expr, args, env),
    }
}

fn operator(head: &Expr) -> Result<Operator, EvalError> {
    let Kind::Ident(name) = &head.kind else {
        let message = format!("`{}` stands where an operator should", Clipped(head));
        return Err(EvalError::new(EvalErrorKind::InvalidType, head.span, message));
    };
    Operator::from_name(name).ok_or_else(|| {
        let names = Operator::ALL.map(Operator::name).join(" ");
        let message = format!("`{}` is not an operator, those are `{names}`", Clipped(head));
        EvalError::new(EvalErrorKind::UnknownOperator, head.span, message)
    })
}

/// `and` and `or`: the first argument that is `end` is the result. The last argument is the result
/// whatever it is, the others must be bools.
fn until<'a>(end: bool, expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    let Some((last, others)) = args.split_last() else { return Ok(Operand::Bool(!end)) };
    for arg in others {
        if truth(expr, arg, &evaluate(arg, env)?)? == end {
            return Ok(Operand::Bool(end));
        }
    }
    evaluate(last, env)
}

fn negate<'a>(expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    let [arg] = args else { return Err(arity(expr, "takes one argument", args)) };
    Ok(Operand::Bool(!truth(expr, arg, &evaluate(arg, env)?)?))
}

fn choose<'a>(expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    let [test, then, otherwise] = args else { return Err(arity(expr, "takes three arguments", args)) };
    let chosen = if truth(expr, test, &evaluate(test, env)?)? { then } else { otherwise };
    evaluate(chosen, env)
}

/// All arguments are evaluated before the first is compared.
fn compare<'a>(operator: Operator, expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    if args.len() < 2 && operator != Operator::NotEqual {
        return Err(arity(expr, "takes two or more arguments", args));
    }
    let values = evaluate_all(args, env)?;
    neighbours(operator, expr, &values).map(Operand::Bool)
}

/// Whether the comparison holds between each value and the next, up to the first pair for which it does
/// not. `!=` is the opposite of `=` as a whole.
fn neighbours(operator: Operator, expr: &Expr, values: &[Operand<'_>]) -> Result<bool, EvalError> {
    let holds = |a: View<'_>, b: View<'_>| match operator {
        Operator::Less => a.compare(b).map(|order| order == Some(Ordering::Less)),
        Operator::Greater => a.compare(b).map(|order| order == Some(Ordering::Greater)),
        _ => a.equals(b),
    };
    let mut all = true;
    for (left, right) in values.iter().zip(values.iter().skip(1)) {
        if !holds(left.view(), right.view()).map_err(|_| mismatch(expr, left.view(), right.view()))? {
            all = false;
            break;
        }
    }
    Ok(all != (operator == Operator::NotEqual))
}

fn member<'a>(expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    let [item, sequence] = args else { return Err(arity(expr, "takes a value and a sequence", args)) };
    let (item, values) = (evaluate(item, env)?, evaluate(sequence, env)?);
    is_among(expr, &item, sequence, &values).map(Operand::Bool)
}

/// Whether `item` equals one of `values`; those behind the first that does are not looked at.
fn is_among(
    expr: &Expr,
    item: &Operand<'_>,
    sequence: &Expr,
    values: &Operand<'_>,
) -> Result<bool, EvalError> {
    let View::Seq(items) = values.view() else {
        return Err(invalid(expr, sequence, values, "a sequence"));
    };
    for each in items.iter() {
        if item.view().equals(each).map_err(|_| mismatch(expr, item.view(), each))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether all names are bound. Arguments behind the first that is not are not looked at.
fn exists<'a>(expr: &'a Expr, args: &'a [Expr], env: &'a Env) -> Evaluated<'a> {
    for arg in args {
        match &arg.kind {
            Kind::Ident(name) if env.get(name).is_some() => {}
            Kind::Ident(_) => return Ok(Operand::Bool(false)),
            _ => {
                let message =
                    format!("`exists?` takes names, `{}` is none; in `{}`", Clipped(arg), Clipped(expr));
                return Err(EvalError::new(EvalErrorKind::InvalidType, arg.span, message));
            }
        }
    }
    Ok(Operand::Bool(true))
}

/// The bool that `arg` of `expr` has resulted in.
fn truth(expr: &Expr, arg: &Expr, value: &Operand<'_>) -> Result<bool, EvalError> {
    match value.view() {
        View::Bool(truth) => Ok(truth),
        _ => Err(invalid(expr, arg, value, "a bool")),
    }
}

fn unbound(ident: &Expr) -> EvalError {
    let name = Clipped(ident);
    let message = format!("`{name}` is not bound; where it may be absent, ask `(exists? {name})` first");
    EvalError::new(EvalErrorKind::Unbound, ident.span, message)
}

fn arity(expr: &Expr, takes: &str, args: &[Expr]) -> EvalError {
    let name = expr.as_call().map_or("it", |(operator, _)| operator.name());
    let message = format!("`{name}` {takes}, here it has {}; in `{}`", args.len(), Clipped(expr));
    EvalError::new(EvalErrorKind::Malformed, expr.span, message)
}

fn invalid(expr: &Expr, arg: &Expr, value: &Operand<'_>, wanted: &str) -> EvalError {
    let (found, place) = (value.view().type_name(), Clipped(expr));
    let what: String = match &arg.kind {
        Kind::Literal(_) => format!("`{}` ({found})", Clipped(arg)),
        _ => format!("`{}` is `{}` ({found})", Clipped(arg), Clipped(value)),
    };
    let message = format!("{what}, {wanted} is needed; in `{place}`");
    EvalError::new(EvalErrorKind::InvalidType, arg.span, message)
}

fn mismatch(expr: &Expr, left: View<'_>, right: View<'_>) -> EvalError {
    let (a, b) = (left.type_name(), right.type_name());
    let values = format!("`{}` ({a}) with `{}` ({b})", Clipped(left), Clipped(right));
    let message = format!("values of different types are not compared: {values}, in `{}`", Clipped(expr));
    EvalError::new(EvalErrorKind::TypeMismatch, expr.span, message)
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
        let expr = sexpr(text).unwrap();
        match evaluate(&expr, &env()) {
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
            let error = evaluate(&expr, &env()).unwrap_err();
            assert_eq!((error.span().of(text), error.to_string().as_str()), (Some(place), message));
        }
    }
}
