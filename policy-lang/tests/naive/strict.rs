//! The second engine for the strict meaning, from its description: it evaluates every argument before it looks at any, and
//! keeps what is absent as a value of its own.

use std::cmp::Ordering;

use crate::model::{Env, Failure, Node, Short, Val};

/// A value that may be absent, or hold something absent.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Unit,
    Seq(Vec<Known>),
    Absent,
}

type Answer = Result<Known, Failure>;

/// What a whole policy comes to.
pub(crate) fn run(node: &Node, env: &Env) -> Result<Val, Failure> {
    present(evaluate(node, env)?)
}

fn present(known: Known) -> Result<Val, Failure> {
    Ok(match known {
        Known::Str(text) => Val::Str(text),
        Known::Int(number) => Val::Int(number),
        Known::Float(number) => Val::Float(number),
        Known::Bool(truth) => Val::Bool(truth),
        Known::Unit => Val::Unit,
        Known::Seq(items) => Val::Seq(items.into_iter().map(present).collect::<Result<_, _>>()?),
        Known::Absent => return Err(Failure::Unbound),
    })
}

fn known(value: &Val) -> Known {
    match value {
        Val::Str(text) => Known::Str(text.clone()),
        Val::Int(number) => Known::Int(*number),
        Val::Float(number) => Known::Float(*number),
        Val::Bool(truth) => Known::Bool(*truth),
        Val::Unit => Known::Unit,
        Val::Seq(items) => Known::Seq(items.iter().map(known).collect()),
    }
}

fn look_up(name: &str, env: &Env) -> Answer {
    let credential = matches!(env.get("subject.has_credential"), Some(Val::Bool(true)));
    match env.get(name) {
        Some(value) => Ok(known(value)),
        None if credential && name.starts_with("subject.") => Ok(Known::Absent),
        None => Err(Failure::Unbound),
    }
}

fn evaluate(node: &Node, env: &Env) -> Answer {
    match node {
        Node::Str(text) => Ok(Known::Str(text.clone())),
        Node::Int(number) => Ok(Known::Int(*number)),
        Node::Float(number) => Ok(Known::Float(*number)),
        Node::Bool(truth) => Ok(Known::Bool(*truth)),
        Node::Ident(name) => look_up(name, env),
        Node::Seq(items) => {
            Ok(Known::Seq(items.iter().map(|item| evaluate(item, env)).collect::<Result<_, _>>()?))
        }
        Node::List(items) if items.is_empty() => Ok(Known::Unit),
        Node::List(items) => {
            let Node::Ident(operator) = &items[0] else { return Err(Failure::Type) };
            apply(operator, &items[1..], env)
        }
    }
}

fn apply(operator: &str, args: &[Node], env: &Env) -> Answer {
    let answers: Vec<Answer> = args.iter().map(|arg| evaluate(arg, env)).collect();
    let values = || answers.iter().cloned().collect::<Result<Vec<_>, _>>();
    match (operator, args.len()) {
        ("and", _) => kleene(&answers, false),
        ("or", _) => kleene(&answers, true),
        ("not", 1) => Ok(Known::Bool(!truth(&answers[0])?)),
        ("if", 3) => answers[if truth(&answers[0])? { 1 } else { 2 }].clone(),
        ("=", 2..) => Ok(Known::Bool(chain(&values()?, equal)?)),
        ("!=", _) => Ok(Known::Bool(!chain(&values()?, equal)?)),
        ("<", 2..) => Ok(Known::Bool(chain(&values()?, |a, b| Ok(order(a, b)? == Some(Ordering::Less)))?)),
        (">", 2..) => Ok(Known::Bool(chain(&values()?, |a, b| Ok(order(a, b)? == Some(Ordering::Greater)))?)),
        ("member?", 2) => match values()?.as_slice() {
            [item, Known::Seq(items)] => {
                for each in items {
                    if equal(item, each)? {
                        return Ok(Known::Bool(true));
                    }
                }
                Ok(Known::Bool(false))
            }
            [_, Known::Absent] => Ok(Known::Bool(false)),
            _ => Err(Failure::Type),
        },
        ("exists?", _) => {
            for arg in args {
                match arg {
                    Node::Ident(name) if env.contains_key(name) => {}
                    Node::Ident(_) => return Ok(Known::Bool(false)),
                    _ => return Err(Failure::Type),
                }
            }
            Ok(Known::Bool(true))
        }
        ("not" | "if" | "=" | "<" | ">" | "member?", _) => Err(Failure::Arity),
        _ => Err(Failure::Unknown),
    }
}

fn truth(answer: &Answer) -> Result<bool, Failure> {
    match answer {
        Ok(Known::Bool(truth)) => Ok(*truth),
        Ok(Known::Absent) => Err(Failure::Unbound),
        Ok(_) => Err(Failure::Type),
        Err(failure) => Err(*failure),
    }
}

/// One argument that is `stop` makes the whole so. Else the worst of the errors; else the last value.
fn kleene(answers: &[Answer], stop: bool) -> Answer {
    if answers.iter().any(|answer| truth(answer).is_ok_and(|truth| truth == stop)) {
        return Ok(Known::Bool(stop));
    }
    let failures = answers.iter().enumerate().filter_map(|(index, answer)| match answer {
        Ok(Known::Bool(_)) => None,
        Ok(Known::Absent) => Some(Failure::Unbound),
        Ok(_) if index + 1 == answers.len() => None,
        other => truth(other).err(),
    });
    let failures: Vec<_> = failures.collect();
    let worst = failures.iter().find(|failure| !matches!(failure, Failure::Unbound)).or(failures.first());
    match (worst, answers.last()) {
        (Some(failure), _) => Err(*failure),
        (None, Some(last)) => last.clone(),
        (None, None) => Ok(Known::Bool(!stop)),
    }
}

fn chain(values: &[Known], holds: impl Fn(&Known, &Known) -> Result<bool, Failure>) -> Result<bool, Failure> {
    for pair in values.windows(2) {
        if !holds(&pair[0], &pair[1])? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal(a: &Known, b: &Known) -> Result<bool, Failure> {
    Ok(order(a, b)? == Some(Ordering::Equal))
}

fn order(a: &Known, b: &Known) -> Result<Option<Ordering>, Failure> {
    match (a, b) {
        (Known::Absent, _) | (_, Known::Absent) => Ok(None),
        (Known::Str(a), Known::Str(b)) => Ok(Some(a.as_bytes().cmp(b.as_bytes()))),
        (Known::Int(a), Known::Int(b)) => Ok(Some(a.cmp(b))),
        (Known::Float(a), Known::Float(b)) => Ok(a.partial_cmp(b)),
        (Known::Bool(a), Known::Bool(b)) => Ok(Some(u8::from(*a).cmp(&u8::from(*b)))),
        (Known::Unit, Known::Unit) => Ok(Some(Ordering::Equal)),
        (Known::Seq(a), Known::Seq(b)) => {
            for (x, y) in a.iter().zip(b).take(if a.len() == b.len() { a.len() } else { 0 }) {
                match order(x, y)? {
                    Some(Ordering::Equal) => {}
                    other => return Ok(other),
                }
            }
            Ok(Some(a.len().cmp(&b.len())))
        }
        _ => Err(Failure::Mismatch),
    }
}

/// The short form: an attribute that is absent is not what it is asked to be.
pub(crate) fn run_short(short: &Short, env: &Env) -> Result<Val, Failure> {
    present(short_answer(short, env)?)
}

fn short_answer(short: &Short, env: &Env) -> Answer {
    let is = |name: &str, wanted: &str| match look_up(&format!("subject.{name}"), env)? {
        Known::Str(value) => Ok(Known::Bool(value == wanted)),
        Known::Absent => Ok(Known::Bool(false)),
        _ => Err(Failure::Mismatch),
    };
    let all = |parts: &[Short]| parts.iter().map(|part| short_answer(part, env)).collect::<Vec<_>>();
    match short {
        Short::Name(name) => is(name, "true"),
        Short::NameValue(name, value, _) => is(name, value),
        Short::Identifier(id) => is("identifier", id),
        Short::Not(one) => Ok(Known::Bool(!truth(&short_answer(one, env))?)),
        Short::And(parts) => kleene(&all(parts), false),
        Short::Or(parts) => kleene(&all(parts), true),
    }
}
