//! Random texts in the full language: mostly of fitting types, so that evaluation gets far, and of every token its
//! lexer knows.

use crate::random::Random;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Type {
    Str,
    Int,
    Float,
    Bool,
    Seq,
}

pub(crate) const TYPES: [Type; 5] = [Type::Str, Type::Int, Type::Float, Type::Bool, Type::Seq];

/// Names by the type that is bound to them, when they are bound and chance does not want it otherwise.
pub(crate) const TYPED: [(Type, [&str; 4]); 5] = [
    (Type::Str, ["subject.role", "subject.a", "subject.identifier", "resource.id"]),
    (Type::Int, ["subject.level", "i", "i.1", "x+y"]),
    (Type::Float, ["subject.share", "f", "f?", "inf_"]),
    (Type::Bool, ["subject.has_credential", "b", "subject.true", "is-it"]),
    (Type::Seq, ["subject.groups", "q", "q/s", "Seq*"]),
];

/// Never bound, unless an environment binds something that is not supposed to be a name.
const UNBOUND: [&str; 6] = ["subject.none", "none", "true.", "nan_", "and.", "member"];

const OPERATORS: [&str; 10] = ["and", "or", "not", "if", "<", ">", "=", "!=", "member?", "exists?"];

const INTS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "+1",
    "-0",
    "10",
    "1_000",
    "0x10",
    "-0x1f",
    "+0xA_b",
    "007",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "0x7fffffffffffffff",
    "0x8000000000000000",
    "-0x8000000000000000",
    "0b1",
    "0o7",
    "1__0",
    "0x",
];

const FLOATS: [&str; 30] = [
    "0.0",
    "1.0",
    "2.5",
    "-1.5",
    "+0.5",
    "-0.0",
    "1.",
    ".5",
    "1e3",
    "1E-3",
    "1.5e+2",
    "1e400",
    "1e-400",
    "1_0.5",
    "1.5_0",
    "0x1.8p3",
    "0x1p1",
    "0x1.8",
    "inf",
    "+inf",
    "-inf",
    "nan",
    "+nan",
    "-nan",
    "nan:0x7f",
    "-nan:0x1",
    "nan:canonical",
    "infinity",
    "NaN",
    "1e",
];

const STRINGS: [&str; 26] = [
    r#""""#,
    r#""a""#,
    r#""b""#,
    r#""member""#,
    r#""true""#,
    r#""1""#,
    r#""10""#,
    r#""2""#,
    r#""x y""#,
    r#""(""#,
    r#""ü""#,
    r#""\u{fc}""#,
    r#""\c3\bc""#,
    r#""\ff""#,
    r#""\41""#,
    r#""\t\n\r\'\"\\""#,
    r#""\0""#,
    r#""\00""#,
    r#""\u{110000}""#,
    r#""\u{d800}""#,
    r#""\u{1F_600}""#,
    r#""\x41""#,
    r#""unclosed"#,
    "\"line\nbreak\"",
    "\"\u{7f}\"",
    r#"";; no comment""#,
];

const ODD: [&str; 58] = [
    ",",
    ";",
    ";;",
    ";; c",
    ";; c\n",
    ";; c\r",
    ";;\n",
    "(;",
    ";)",
    "(; c ;)",
    "(;(; c ;);)",
    "(;;)",
    "{",
    "}",
    "`",
    "$",
    "$x",
    "$and",
    "$i",
    "$subject.role",
    "$\"i\"",
    "$\"x y\"",
    "$\"\"",
    "$\"\\ff\"",
    "@",
    "@x",
    "@i",
    "(@x)",
    "@\"i\"",
    "@\"x y\"",
    "@x,y",
    "@1",
    "a,b",
    "a;b",
    "x\"y\"",
    "\"x\"y",
    "1x",
    "1\"x\"",
    "#",
    "'",
    "''",
    "|",
    "~",
    "a~b",
    "\\",
    "\u{e9}",
    "\u{202e}",
    "\0",
    "\u{feff}",
    "[",
    "]",
    "(",
    ")",
    "[]",
    "()",
    "[[]]",
    "(())",
    "a:b",
];

pub(crate) fn text(random: &mut Random) -> String {
    let mut out = String::new();
    let depth = 1 + random.below(5);
    match random.below(20) {
        // Several expressions side by side are read as one list.
        0 => {
            for _ in 0..1 + random.below(3) {
                any(random, depth, &mut out);
                gap(random, &mut out);
            }
        }
        1 => soup(random, &mut out),
        2 => any(random, depth, &mut out),
        _ => {
            let t = if random.once_in(4) { random.pick(&TYPES) } else { Type::Bool };
            call(random, t, depth, &mut out);
            // Only the outermost parentheses may be left out.
            if random.once_in(5) && out.starts_with('(') {
                out.remove(0);
                if !random.once_in(10) {
                    out.pop();
                }
            }
        }
    }
    if random.once_in(10) {
        gap(random, &mut out);
    }
    out
}

/// Tokens in no order at all.
fn soup(random: &mut Random, out: &mut String) {
    if random.once_in(2) {
        out.push_str(random.pick(&OPERATORS));
    }
    for _ in 0..random.below(8) {
        if !random.once_in(8) {
            gap(random, out);
        }
        let token = match random.below(6) {
            0 => random.pick(&OPERATORS),
            1 => random.pick(&INTS),
            2 => random.pick(&FLOATS),
            3 => random.pick(&STRINGS),
            4 => random.pick(&ODD),
            _ => name(random),
        };
        out.push_str(token);
    }
}

fn gap(random: &mut Random, out: &mut String) {
    let gap = match random.below(60) {
        0 => "\n",
        1 => "\t",
        2 => "\r\n",
        3 => " ;; comment )\n",
        4 => " (; comment ( ;) ",
        5 => "  ",
        // None at all, or one that is none to this lexer.
        6 if random.once_in(2) => random.pick(&["", "", "\u{b}", "\u{a0}"]),
        _ => " ",
    };
    out.push_str(gap);
}

fn any(random: &mut Random, depth: usize, out: &mut String) {
    let t = random.pick(&TYPES);
    value(random, t, depth, out);
}

/// Something of this type: a literal, a name, or a call that results in it.
fn value(random: &mut Random, t: Type, depth: usize, out: &mut String) {
    // The grain of salt: any type, or a token that hardly fits.
    if random.once_in(80) {
        let other = random.pick(&TYPES);
        value(random, other, depth, out);
    } else if random.once_in(400) {
        out.push_str(random.pick(&ODD));
    } else if depth > 0 && random.once_in(2) {
        call(random, t, depth, out);
    } else if random.once_in(3) {
        out.push_str(name_of(random, t));
    } else {
        literal(random, t, depth, out);
    }
}

fn literal(random: &mut Random, t: Type, depth: usize, out: &mut String) {
    let common = !random.once_in(15);
    match t {
        Type::Str if common => out.push_str(random.pick(&STRINGS[..8])),
        Type::Str => out.push_str(random.pick(&STRINGS)),
        Type::Int if random.once_in(30) => out.push_str(&random.int().to_string()),
        Type::Int if common => out.push_str(random.pick(&INTS[..8])),
        Type::Int => out.push_str(random.pick(&INTS)),
        Type::Float if common => out.push_str(random.pick(&FLOATS[..6])),
        Type::Float => out.push_str(random.pick(&FLOATS)),
        Type::Bool => out.push_str(random.pick(&["true", "false"])),
        Type::Seq => {
            let of = random.pick(&[
                Type::Str,
                Type::Str,
                Type::Int,
                Type::Int,
                Type::Float,
                Type::Bool,
                Type::Seq,
            ]);
            sequence(random, of, depth.saturating_sub(1), out);
        }
    }
}

fn sequence(random: &mut Random, of: Type, depth: usize, out: &mut String) {
    out.push('[');
    for i in 0..random.pick(&[0, 1, 2, 2, 3, 3, 4]) {
        if i > 0 {
            gap(random, out);
        }
        match random.below(60) {
            0 => value(random, of, depth, out),
            1 => any(random, depth, out),
            2 => out.push_str(name_of(random, of)),
            // Sequences in sequences get no deeper than this.
            _ if of == Type::Seq && depth == 0 => out.push_str("[]"),
            _ => literal(random, of, depth, out),
        }
    }
    out.push(']');
}

fn name(random: &mut Random) -> &'static str {
    let t = random.pick(&TYPES);
    name_of(random, t)
}

fn name_of(random: &mut Random, t: Type) -> &'static str {
    if random.once_in(25) {
        return random.pick(&UNBOUND);
    }
    let (_, names) = TYPED[TYPES.iter().position(|other| *other == t).unwrap()];
    random.pick(&names)
}

fn call(random: &mut Random, t: Type, depth: usize, out: &mut String) {
    out.push('(');
    if random.once_in(40) {
        gap(random, out);
    }
    let depth = depth - 1;
    if t == Type::Bool {
        match random.below(12) {
            0 | 1 => logic(random, "and", depth, out),
            2 | 3 => logic(random, "or", depth, out),
            4 => arguments(random, "not", Type::Bool, 1, depth, out),
            5..=8 => {
                let (op, of) = (random.pick(&["<", ">", "=", "!="]), random.pick(&TYPES));
                arguments(random, op, of, 2, depth, out);
            }
            9 => member(random, depth, out),
            10 => exists(random, depth, out),
            _ => choice(random, t, depth, out),
        }
    } else if random.once_in(3) {
        // `and` and `or` hand out their last argument unchecked, whatever its type.
        out.push_str(random.pick(&["and", "or"]));
        for _ in 0..random.below(2) {
            gap(random, out);
            value(random, Type::Bool, depth, out);
        }
        gap(random, out);
        value(random, t, depth, out);
    } else {
        choice(random, t, depth, out);
    }
    if random.once_in(40) {
        gap(random, out);
    }
    out.push(')');
}

fn logic(random: &mut Random, op: &str, depth: usize, out: &mut String) {
    let count = random.pick(&[0, 1, 2, 2, 2, 3, 4]);
    arguments(random, op, Type::Bool, count, depth, out);
}

/// An operator with about as many arguments as it wants.
fn arguments(random: &mut Random, op: &str, t: Type, count: usize, depth: usize, out: &mut String) {
    out.push_str(op);
    let count = if random.once_in(12) { random.below(5) } else { count };
    for _ in 0..count {
        gap(random, out);
        value(random, t, depth, out);
    }
}

fn choice(random: &mut Random, t: Type, depth: usize, out: &mut String) {
    out.push_str("if");
    gap(random, out);
    value(random, Type::Bool, depth, out);
    for _ in 0..if random.once_in(20) { random.below(4) } else { 2 } {
        gap(random, out);
        value(random, t, depth, out);
    }
}

fn member(random: &mut Random, depth: usize, out: &mut String) {
    let of = random.pick(&TYPES);
    out.push_str("member?");
    gap(random, out);
    value(random, of, depth, out);
    gap(random, out);
    if random.once_in(3) {
        value(random, Type::Seq, depth, out);
    } else {
        sequence(random, of, depth, out);
    }
    if random.once_in(20) {
        gap(random, out);
        any(random, depth, out);
    }
}

fn exists(random: &mut Random, depth: usize, out: &mut String) {
    out.push_str("exists?");
    for _ in 0..random.below(4) {
        gap(random, out);
        if random.once_in(10) {
            any(random, depth, out);
        } else {
            out.push_str(name(random));
        }
    }
}
