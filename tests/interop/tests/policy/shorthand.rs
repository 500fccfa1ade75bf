//! Random texts in the boolean shorthand: from its grammar, with the white space left to chance.

use crate::random::Random;

/// Names an attribute can have. Some are operators, some become something else when an operator is read off their
/// front or when the word before them sticks to them.
pub(crate) const NAMES: [&str; 30] = [
    "a",
    "b",
    "c",
    "role",
    "level",
    "ary",
    "hing",
    "roid",
    "phan",
    "notary",
    "nothing",
    "android",
    "orphan",
    "and",
    "or",
    "not",
    "if",
    "true",
    "false",
    "x.y",
    "a-b",
    "a_b",
    "_a",
    "-a",
    "a1",
    "A",
    "identifier",
    "has_credential",
    "I",
    "nand",
];

/// Words an attribute can be compared with.
pub(crate) const WORDS: [&str; 14] =
    ["true", "false", "member", "1", "1.5", "-", "a", ".", "_x", "and", "or", "not", "10", "I"];

pub(crate) const IDENTIFIER: &str = "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c";

pub(crate) fn text(random: &mut Random) -> String {
    let mut out = String::new();
    let depth = random.below(5);
    either(random, depth, &mut out);
    // White space at the end is not read, nor is it at the start unless an operator follows.
    if random.once_in(30) {
        space(random, &mut out);
    }
    if random.once_in(30) {
        let edge = random.pick(&[" ", "\t", "\n", "\u{a0}", ")", "("]);
        out.insert_str(0, edge);
    }
    out
}

fn either(random: &mut Random, depth: usize, out: &mut String) {
    chain(random, depth, "or", out, both);
}

fn both(random: &mut Random, depth: usize, out: &mut String) {
    chain(random, depth, "and", out, maybe_not);
}

fn chain(
    random: &mut Random,
    depth: usize,
    word: &str,
    out: &mut String,
    item: fn(&mut Random, usize, &mut String),
) {
    item(random, depth, out);
    let more = if depth == 0 { 0 } else { random.pick(&[0, 0, 0, 1, 1, 2, 3]) };
    for _ in 0..more {
        around(random, word, out);
        item(random, depth - 1, out);
    }
}

fn maybe_not(random: &mut Random, depth: usize, out: &mut String) {
    match random.below(8) {
        0 | 1 => {
            around(random, "not", out);
            maybe_not(random, depth.saturating_sub(1), out);
        }
        2 | 3 if depth > 0 => {
            out.push('(');
            if random.once_in(4) {
                space(random, out);
            }
            either(random, depth - 1, out);
            if random.once_in(8) {
                space(random, out);
            }
            out.push(')');
        }
        _ => atom(random, out),
    }
}

/// A word with white space around it, mostly.
fn around(random: &mut Random, word: &str, out: &mut String) {
    if !random.once_in(12) {
        space(random, out);
    }
    out.push_str(word);
    if !random.once_in(10) {
        space(random, out);
    }
}

fn space(random: &mut Random, out: &mut String) {
    out.push_str(random.pick(&[" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", " \n "]));
}

fn atom(random: &mut Random, out: &mut String) {
    if random.once_in(12) {
        identifier(random, out);
        return;
    }
    out.push_str(random.pick(&NAMES));
    if random.once_in(3) {
        let odd = random.once_in(25);
        out.push_str(if odd { random.pick(&["==", " =", "= ", ""]) } else { "=" });
        if random.once_in(2) {
            let odd = random.once_in(25);
            out.push('"');
            out.push_str(
                random.pick(&["true", "member", "x, (y)", "1", " ", "a b", "ü", "\n", "and", "not b"]),
            );
            out.push_str(if odd { random.pick(&["\"\"", "", "\\\""]) } else { "\"" });
        } else {
            out.push_str(if random.once_in(50) { "" } else { random.pick(&WORDS) });
        }
    }
}

/// The one identifier that gets bound, in either case, or something almost like it.
fn identifier(random: &mut Random, out: &mut String) {
    match random.below(12) {
        0 => out.push_str(&IDENTIFIER[..64]),
        1 => {
            out.push_str(IDENTIFIER);
            out.push('0');
        }
        2 => {
            out.push('I');
            out.push_str(&IDENTIFIER[1..].to_uppercase());
        }
        3 => {
            out.push_str(IDENTIFIER);
            out.push_str("=a");
        }
        _ => out.push_str(IDENTIFIER),
    }
}
