//! The second engine. It copies every value, keeps no position, and compares by flattening.

use std::cmp::Ordering;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Ident(String),
    Seq(Vec<Node>),
    List(Vec<Node>),
}

#[derive(Debug, Clone)]
pub(crate) enum Short {
    Name(String),
    /// Whether the value is written in quotes.
    NameValue(String, String, bool),
    Identifier(String),
    Not(Box<Short>),
    And(Vec<Short>),
    Or(Vec<Short>),
}

impl Short {
    /// The same with the arguments of every `and` and `or` in the opposite order.
    pub(crate) fn turned(&self) -> Self {
        let all = |parts: &[Self]| parts.iter().rev().map(Self::turned).collect();
        match self {
            Self::Not(one) => Self::Not(Box::new(one.turned())),
            Self::And(parts) => Self::And(all(parts)),
            Self::Or(parts) => Self::Or(all(parts)),
            plain => plain.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Val {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Seq(Vec<Val>),
    Unit,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    Unbound,
    Unknown,
    Type,
    Mismatch,
    Arity,
}

pub(crate) type Env = BTreeMap<String, Val>;
type Answer = Result<Val, Failure>;

pub(crate) fn run(node: &Node, env: &Env) -> Answer {
    match node {
        Node::Str(text) => Ok(Val::Str(text.clone())),
        Node::Int(number) => Ok(Val::Int(*number)),
        Node::Float(number) => Ok(Val::Float(*number)),
        Node::Bool(truth) => Ok(Val::Bool(*truth)),
        Node::Ident(name) => env.get(name).cloned().ok_or(Failure::Unbound),
        Node::Seq(items) => Ok(Val::Seq(all(items, env)?)),
        Node::List(items) => match items.as_slice() {
            [] => Ok(Val::Unit),
            [Node::Ident(operator), args @ ..] => apply(operator, args, env),
            _ => Err(Failure::Type),
        },
    }
}

fn all(nodes: &[Node], env: &Env) -> Result<Vec<Val>, Failure> {
    nodes.iter().map(|node| run(node, env)).collect()
}

fn apply(operator: &str, args: &[Node], env: &Env) -> Answer {
    let wants = |fits: bool| if fits { Ok(()) } else { Err(Failure::Arity) };
    match operator {
        "and" => stop_at(args, env, false),
        "or" => stop_at(args, env, true),
        "not" => {
            wants(args.len() == 1)?;
            Ok(Val::Bool(!bool_of(run(&args[0], env)?)?))
        }
        "if" => {
            wants(args.len() == 3)?;
            let branch = if bool_of(run(&args[0], env)?)? { 1 } else { 2 };
            run(&args[branch], env)
        }
        "=" | "<" | ">" => {
            wants(args.len() >= 2)?;
            pairwise(operator, &all(args, env)?)
        }
        "!=" => Ok(Val::Bool(!bool_of(pairwise("=", &all(args, env)?)?)?)),
        "member?" => {
            wants(args.len() == 2)?;
            let values = all(args, env)?;
            let Val::Seq(items) = &values[1] else { return Err(Failure::Type) };
            let mut found = false;
            for item in items {
                found = found || order(&values[0], item)? == Some(Ordering::Equal);
                if found {
                    break;
                }
            }
            Ok(Val::Bool(found))
        }
        "exists?" => {
            let first_miss =
                args.iter().position(|arg| !matches!(arg, Node::Ident(name) if env.contains_key(name)));
            match first_miss.map(|at| &args[at]) {
                None => Ok(Val::Bool(true)),
                Some(Node::Ident(_)) => Ok(Val::Bool(false)),
                Some(_) => Err(Failure::Type),
            }
        }
        _ => Err(Failure::Unknown),
    }
}

/// `and` stops at false, `or` at true; the last argument is not looked into.
fn stop_at(args: &[Node], env: &Env, stop: bool) -> Answer {
    let mut answer = Val::Bool(!stop);
    for (index, arg) in args.iter().enumerate() {
        answer = run(arg, env)?;
        if index + 1 < args.len() && bool_of(answer.clone())? == stop {
            return Ok(Val::Bool(stop));
        }
    }
    Ok(answer)
}

fn bool_of(value: Val) -> Result<bool, Failure> {
    if let Val::Bool(truth) = value { Ok(truth) } else { Err(Failure::Type) }
}

fn pairwise(operator: &str, values: &[Val]) -> Answer {
    let wanted = match operator {
        "<" => Ordering::Less,
        ">" => Ordering::Greater,
        _ => Ordering::Equal,
    };
    for pair in values.windows(2) {
        if order(&pair[0], &pair[1])? != Some(wanted) {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

/// A value or a node laid out flat: each part in the order it is written, lengths before contents.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Flat {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Ident(String),
    Seq(usize),
    List(usize),
}

fn flatten(value: &Val, out: &mut Vec<Flat>) {
    match value {
        Val::Str(text) => out.push(Flat::Str(text.clone())),
        Val::Int(number) => out.push(Flat::Int(*number)),
        Val::Float(number) => out.push(Flat::Float(*number)),
        Val::Bool(truth) => out.push(Flat::Bool(*truth)),
        Val::Unit => out.push(Flat::List(0)),
        Val::Seq(items) => {
            out.push(Flat::Seq(items.len()));
            items.iter().for_each(|item| flatten(item, out));
        }
    }
}

fn flatten_node(node: &Node, out: &mut Vec<Flat>) {
    match node {
        Node::Str(text) => out.push(Flat::Str(text.clone())),
        Node::Int(number) => out.push(Flat::Int(*number)),
        Node::Float(number) => out.push(Flat::Float(*number)),
        Node::Bool(truth) => out.push(Flat::Bool(*truth)),
        Node::Ident(name) => out.push(Flat::Ident(name.clone())),
        Node::Seq(items) | Node::List(items) => {
            let seq = matches!(node, Node::Seq(_));
            out.push(if seq { Flat::Seq(items.len()) } else { Flat::List(items.len()) });
            items.iter().for_each(|item| flatten_node(item, out));
        }
    }
}

/// The first part in which two layouts differ orders them; if it differs in type, nothing does.
fn first_difference(a: &[Flat], b: &[Flat]) -> Result<Option<Ordering>, Failure> {
    for (x, y) in a.iter().zip(b) {
        if std::mem::discriminant(x) != std::mem::discriminant(y) {
            return Err(Failure::Mismatch);
        }
        if x.partial_cmp(y) != Some(Ordering::Equal) {
            return Ok(x.partial_cmp(y));
        }
    }
    Ok(Some(Ordering::Equal))
}

fn order(a: &Val, b: &Val) -> Result<Option<Ordering>, Failure> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    flatten(a, &mut left);
    flatten(b, &mut right);
    first_difference(&left, &right)
}

/// Whether a sequence anywhere in `node` has two neighbours of different types.
pub(crate) fn mixes_types(node: &Node) -> bool {
    let (Node::Seq(items) | Node::List(items)) = node else { return false };
    let neighbours_differ = items.windows(2).any(|pair| {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        flatten_node(&pair[0], &mut left);
        flatten_node(&pair[1], &mut right);
        first_difference(&left, &right).is_err()
    });
    (matches!(node, Node::Seq(_)) && neighbours_differ) || items.iter().any(mixes_types)
}

/// The short form knows only strings: an attribute that is absent or no string is an error.
pub(crate) fn run_short(short: &Short, env: &Env) -> Answer {
    let is = |name: &str, wanted: &str| match env.get(&format!("subject.{name}")) {
        Some(Val::Str(value)) => Ok(Val::Bool(value == wanted)),
        Some(_) => Err(Failure::Mismatch),
        None => Err(Failure::Unbound),
    };
    let chain = |parts: &[Short], stop: bool| {
        for part in parts {
            if bool_of(run_short(part, env)?)? == stop {
                return Ok(Val::Bool(stop));
            }
        }
        Ok(Val::Bool(!stop))
    };
    match short {
        Short::Name(name) => is(name, "true"),
        Short::NameValue(name, value, _) => is(name, value),
        Short::Identifier(id) => is("identifier", id),
        Short::Not(one) => Ok(Val::Bool(!bool_of(run_short(one, env)?)?)),
        Short::And(parts) => chain(parts, false),
        Short::Or(parts) => chain(parts, true),
    }
}
