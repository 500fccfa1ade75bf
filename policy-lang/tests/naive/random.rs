//! Policies and environments by the ten thousand, the same on every machine and in every run.

use crate::model::{Env, Node, Short, Val};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn noise(&mut self) -> Vec<u8> {
        (0..16).map(|_| self.below(256) as u8).collect()
    }
}

/// Attributes that a credential may have.
const ATTRIBUTES: [&str; 6] = ["a", "b", "role", "c.d", "notary", "orphan"];

/// What an attribute may be worth.
const WORTHS: [&str; 5] = ["true", "x", "", "10", "3"];

/// Names that are no attributes. `u` is never bound.
const OTHERS: [&str; 5] = ["s", "n", "yes", "list", "u"];

/// What is known of a subject: mostly a credential with some of the attributes, and other names of any type.
pub(crate) fn env(random: &mut Random) -> Env {
    let mut env = Env::new();
    if !random.once_in(5) {
        env.insert("subject.has_credential".into(), Val::Bool(true));
        env.insert("subject.identifier".into(), Val::Str(identifier(random)));
        for name in ATTRIBUTES {
            if !random.once_in(3) {
                env.insert(format!("subject.{name}"), Val::Str(random.pick(&WORTHS).into()));
            }
        }
    }
    for name in OTHERS {
        if name != "u" && !random.once_in(4) {
            env.insert(name.into(), val(random, 2));
        }
    }
    env
}

fn identifier(random: &mut Random) -> String {
    format!("I{}", random.pick(&["0", "a"]).repeat(64))
}

fn val(random: &mut Random, depth: usize) -> Val {
    match random.below(6) {
        0 => Val::Bool(random.once_in(2)),
        1 => Val::Int(random.pick(&[0, 1, 2])),
        2 => Val::Float(random.pick(&[0.5, f64::NAN])),
        3 if depth > 0 => Val::Seq((0..random.below(3)).map(|_| val(random, depth - 1)).collect()),
        4 if random.once_in(4) => Val::Unit,
        _ => Val::Str(random.pick(&WORTHS).into()),
    }
}

fn name(random: &mut Random) -> Node {
    Node::Ident(match random.below(12) {
        0 => "subject.has_credential".into(),
        1 => "subject.identifier".into(),
        2 | 3 => random.pick(&OTHERS).into(),
        _ => format!("subject.{}", random.pick(&ATTRIBUTES)),
    })
}

fn literal(random: &mut Random) -> Node {
    match random.below(8) {
        0 => Node::Bool(random.once_in(2)),
        1 => Node::Int(random.pick(&[0, 1, 2])),
        2 => Node::Float(random.pick(&[0.5, f64::NAN])),
        _ => Node::Str(random.pick(&WORTHS).into()),
    }
}

/// Something to compare.
fn value(random: &mut Random, depth: usize) -> Node {
    match random.below(16) {
        0 if depth > 0 => condition(random, depth - 1),
        1 if depth > 0 => sequence(random, depth - 1),
        2 if depth > 0 => {
            let parts = [condition(random, depth - 1), value(random, depth - 1), value(random, depth - 1)];
            call("if", parts.into())
        }
        3 => Node::List(Vec::new()),
        4..9 => literal(random),
        _ => name(random),
    }
}

fn sequence(random: &mut Random, depth: usize) -> Node {
    let (count, kind) = (random.below(4), random.below(4));
    let items = (0..count).map(|_| match kind {
        0 => name(random),
        1 => value(random, depth.min(1)),
        _ => Node::Str(random.pick(&WORTHS).into()),
    });
    Node::Seq(items.collect())
}

fn call(operator: &str, mut args: Vec<Node>) -> Node {
    args.insert(0, Node::Ident(operator.into()));
    Node::List(args)
}

/// Something to decide by: mostly what people write, sometimes what they should not.
pub(crate) fn condition(random: &mut Random, depth: usize) -> Node {
    if random.once_in(60) {
        let (operator, count) =
            (random.pick(&["not", "if", "=", "member?", "exists?", "xor"]), random.below(4));
        return call(operator, (0..count).map(|_| value(random, depth.saturating_sub(1))).collect());
    }
    let deeper = depth.saturating_sub(1);
    match random.below(if depth == 0 { 6 } else { 14 }) {
        0 => call("exists?", (0..1 + random.below(2)).map(|_| name(random)).collect()),
        1 => call("member?", vec![value(random, deeper), sequence(random, deeper)]),
        2 => call(random.pick(&["!=", "<", ">"]), vec![name(random), literal(random)]),
        3 if random.once_in(2) => {
            let count = 2 + random.below(2);
            call(random.pick(&["=", "!=", "<", ">"]), (0..count).map(|_| value(random, deeper)).collect())
        }
        4 if random.once_in(3) => value(random, deeper),
        3..6 => call("=", vec![name(random), literal(random)]),
        6 | 7 => call("not", vec![condition(random, deeper)]),
        8 => {
            let parts = [condition(random, deeper), condition(random, deeper), condition(random, deeper)];
            call("if", parts.into())
        }
        9 => guarded(random),
        _ => {
            let count = random.below(4);
            let operator = random.pick(&["and", "or"]);
            call(operator, (0..=count).map(|_| condition(random, deeper)).collect())
        }
    }
}

/// An attribute that is asked for before it is used.
fn guarded(random: &mut Random) -> Node {
    let name = name(random);
    let exists = call("exists?", vec![name.clone()]);
    let compared = call(random.pick(&["=", "!="]), vec![name, literal(random)]);
    let compared = if random.once_in(2) { call("not", vec![compared]) } else { compared };
    match random.below(3) {
        0 => call("or", vec![call("not", vec![exists]), compared]),
        1 => call("if", vec![exists, compared, Node::Bool(random.once_in(2))]),
        _ => call("and", vec![exists, compared]),
    }
}

/// An expression in the short form.
pub(crate) fn short(random: &mut Random, depth: usize) -> Short {
    let name = |random: &mut Random| random.pick(&ATTRIBUTES).to_string();
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 => Short::NameValue(name(random), random.pick(&["x", "10", "and"]).into(), false),
        1 => Short::NameValue(name(random), random.pick(&["x", "a b", " or "]).into(), true),
        2 if random.once_in(3) => Short::Identifier(identifier(random)),
        2 if random.once_in(3) => {
            Short::Name(random.pick(&["has_credential", "and", "not-a", "xnot"]).into())
        }
        2 | 3 => Short::Name(name(random)),
        4 | 5 => Short::Not(Box::new(short(random, depth - 1))),
        6 => Short::And((0..2 + random.below(2)).map(|_| short(random, depth - 1)).collect()),
        _ => Short::Or((0..2 + random.below(2)).map(|_| short(random, depth - 1)).collect()),
    }
}
