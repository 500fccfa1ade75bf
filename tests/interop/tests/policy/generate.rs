//! Random questions: a text and what its names are bound to.

use interop::policy::{Bindings, Value};

use crate::random::Random;
use crate::sexpr::{TYPED, TYPES, Type};
use crate::shorthand::{IDENTIFIER, NAMES, WORDS};
use crate::{sexpr, shorthand};

/// Characters that mean something to one of the two lexers.
const ALPHABET: [&str; 48] = [
    " ", "\n", "\t", "\r", "(", ")", "[", "]", "\"", "\\", ";", ",", "=", "<", ">", "!", "?", ".", "-", "_",
    "+", "@", "$", "{", "}", "0", "1", "9", "a", "e", "f", "n", "o", "t", "x", "I", "T", "and", "or", "not",
    "true", "nan", "\u{fc}", "\u{2028}", "\0", "'", "#", "%",
];

/// What numbers are made of, and what almost is one.
const NUMBER: &[&str] = &[
    "0",
    "1",
    "7",
    "9",
    "+",
    "-",
    "_",
    ".",
    "e",
    "E",
    "p",
    "P",
    "x",
    "0x",
    "a",
    "f",
    "inf",
    "nan",
    ":",
    "canonical",
    "arithmetic",
    "922337203685477580",
    "0x1.8",
    "1e308",
];

/// What stands in strings, escaped or not.
const STRING: &[&str] = &[
    "a",
    "x",
    "4",
    "1",
    "c3",
    "\\",
    "\\\\",
    "\\n",
    "\\t",
    "\\r",
    "\\'",
    "\\\"",
    "\"",
    "\\4",
    "\\41",
    "\\c3",
    "\\bc",
    "\\ff",
    "\\00",
    "\\u{",
    "\\u",
    "{",
    "}",
    "_",
    "\\u{fc}",
    "\\u{10ffff}",
    "\\u{d800}",
    "\\U{41}",
    "\\N",
    "\u{fc}",
    "\u{1f600}",
    "\0",
    "\n",
    "\t",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "'",
    ";;",
    "(;",
    ")",
];

/// What names are made of, and then what ends them: every printable ASCII character, and some others.
const NAME: &[&str] = &[
    "a", "b", "z", "A", "Z", "0", "9", "!", "#", "$", "%", "&", "'", "*", "+", "-", ".", "/", ":", "<", "=",
    ">", "?", "@", "^", "_", "`", "|", "~", "\\", "a", "b", "c", "d", "$a", "a@", ",", ";", "{", "}", "[",
    "]", "(", ")", "\"", " ", "true", "false", "and", "\u{e9}", "\u{2028}", "\0", "\u{1}", "\u{7f}", "\r",
    "\n", "\t", "\u{c}",
];

/// Where a text came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    Shorthand,
    Sexpr,
    Tokens,
    Mutated,
}

#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) source: Source,
    pub(crate) text: String,
    pub(crate) bindings: Bindings,
}

pub(crate) fn question(random: &mut Random) -> Question {
    let mut bindings = bindings(random);
    let (source, text) = match random.below(20) {
        0..=5 => (Source::Shorthand, shorthand::text(random)),
        6..=13 => (Source::Sexpr, sexpr::text(random)),
        14..=16 => (Source::Tokens, tokens(random, &mut bindings)),
        _ => (Source::Mutated, mutated(random)),
    };
    Question { source, text, bindings }
}

/// One token of any characters, where it shows how it was read: as a value that comes out, or as a name that is bound.
fn tokens(random: &mut Random, bindings: &mut Bindings) -> String {
    let alphabet: &[&str] = random.pick(&[NUMBER, STRING, NAME, &NAME[..36]]);
    let mut token: String = (0..random.pick(&[1, 1, 2, 2, 3, 4, 6])).map(|_| random.pick(alphabet)).collect();
    if alphabet == STRING {
        token = format!("\"{token}\"");
    }
    if random.once_in(2) {
        let name = token.trim_start_matches(['$', '@']).trim_matches('"');
        bindings.insert(name.to_owned(), Value::Int(7));
    }
    match random.below(8) {
        0 => token,
        1 => format!("and {token}"),
        2 => format!("(exists? {token})"),
        3 => format!("(and [{token} {token}])"),
        4 => format!("({token} true)"),
        5 => format!("(= {token} {token})"),
        _ => format!("(and {token})"),
    }
}

fn mutated(random: &mut Random) -> String {
    let either = |random: &mut Random| {
        if random.once_in(3) { shorthand::text(random) } else { sexpr::text(random) }
    };
    let mut text = either(random);
    let other = either(random);
    for _ in 0..random.pick(&[1, 1, 1, 2, 3]) {
        mutate(random, &mut text, &other);
    }
    text
}

fn mutate(random: &mut Random, text: &mut String, other: &str) {
    let (from, to) = (place(random, text), place(random, text));
    let range = from.min(to)..from.max(to);
    match random.below(8) {
        0 => text.truncate(from),
        1 => text.replace_range(range, ""),
        2 => {
            let part = text[range].to_owned();
            text.insert_str(to, &part);
        }
        3 => {
            let (start, end) = (place(random, other), place(random, other));
            text.insert_str(from, &other[start.min(end)..start.max(end)]);
        }
        4 => {
            // One character less.
            if let Some(c) = text[from..].chars().next() {
                text.replace_range(from..from + c.len_utf8(), "");
            }
        }
        5 => {
            if let Some(c) = text[from..].chars().next() {
                text.replace_range(from..from + c.len_utf8(), random.pick(&ALPHABET));
            }
        }
        _ => text.insert_str(from, random.pick(&ALPHABET)),
    }
}

/// A place between two characters.
fn place(random: &mut Random, text: &str) -> usize {
    let mut place = random.below(text.len() + 1);
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

fn bindings(random: &mut Random) -> Bindings {
    let mut bindings = Bindings::new();
    for (t, names) in TYPED {
        for name in names {
            if !random.once_in(5) {
                let t = if random.once_in(10) { random.pick(&TYPES) } else { t };
                bindings.insert(name.to_owned(), value(random, t, 2));
            }
        }
    }
    for name in NAMES {
        if !random.once_in(3) {
            // The shorthand compares with strings; anything else is a type error there.
            let word = if random.once_in(2) { "true" } else { random.pick(&WORDS) };
            let value = if random.once_in(12) { any(random) } else { Value::Str(word.to_owned()) };
            bindings.insert(format!("subject.{name}"), value);
        }
    }
    if random.once_in(2) {
        bindings.insert("subject.identifier".to_owned(), Value::Str(IDENTIFIER.to_owned()));
    }
    bindings
}

fn any(random: &mut Random) -> Value {
    let t = random.pick(&TYPES);
    value(random, t, 2)
}

fn value(random: &mut Random, t: Type, depth: usize) -> Value {
    match t {
        Type::Str => Value::Str(
            random.pick(&["", "a", "b", "member", "true", "1", "10", "2", "x y", "\u{fc}"]).to_owned(),
        ),
        Type::Int if random.once_in(10) => Value::Int(random.pick(&[i64::MIN, i64::MAX, 16, 1000])),
        Type::Int => Value::Int(random.pick(&[0, 1, 2, 3, -1, 10])),
        Type::Float => Value::Float(random.pick(&[
            0.0,
            -0.0,
            1.0,
            2.5,
            -1.5,
            0.5,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
        ])),
        Type::Bool => Value::Bool(random.once_in(2)),
        Type::Seq => {
            let of = random.pick(&[Type::Str, Type::Int, Type::Int, Type::Float, Type::Bool]);
            let length = random.pick(&[0, 1, 2, 2, 3]);
            (0..length).fold(Value::Seq(Vec::new()), |sequence, _| {
                let Value::Seq(mut items) = sequence else { return sequence };
                // The text cannot mix types in a sequence, but what is bound can.
                let of = if random.once_in(15) { random.pick(&TYPES) } else { of };
                items.push(value(random, if depth == 0 { Type::Int } else { of }, depth.saturating_sub(1)));
                Value::Seq(items)
            })
        }
    }
}
