//! Writes an expression down in one of the many ways it may be written; `noise` picks which.

use crate::model::{Node, Short};

/// Choices, taken from `noise` over and over.
struct Pen<'a> {
    noise: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    text: String,
    /// Whether words of the short form end where names go on.
    tight: bool,
}

impl<'a> Pen<'a> {
    fn new(noise: &'a [u8]) -> Self {
        Self { noise: noise.iter().cycle(), text: String::new(), tight: true }
    }

    fn one_of<const N: usize>(&mut self, from: [&str; N]) {
        let at = self.pick(N);
        self.text += from[at];
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::from(*self.noise.next().expect("noise is not empty")) % below
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Str(text) => self.string(text),
            Node::Int(number) => self.int(*number),
            Node::Float(number) => {
                let text = if number.is_nan() { "nan".into() } else { format!("{number:?}") };
                self.text += &text;
            }
            Node::Bool(truth) => self.text += if *truth { "true" } else { "false" },
            Node::Ident(name) => self.name(name),
            Node::Seq(items) => self.bracketed("[", items, "]"),
            Node::List(items) => self.bracketed("(", items, ")"),
        }
    }

    fn bracketed(&mut self, open: &str, items: &[Node], close: &str) {
        self.text += open;
        for item in items {
            self.one_of([" ", "  ", "\n", "\t\r", " ;; (\n", "(; \" (; ;) ;) "]);
            self.node(item);
        }
        // Not without the space: an empty list would begin a block comment.
        self.one_of(["", " ", " ;;\r"]);
        self.text += close;
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            let plain = !c.is_control() && c != '"' && c != '\\' && !('\u{2000}'..'\u{2100}').contains(&c);
            match self.pick(4) {
                0 => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.text += &format!("\\{byte:02x}"))
                }
                1 => self.text += &format!("\\u{{{:X}}}", u32::from(c)),
                _ if plain => self.text.push(c),
                _ => self.text += &format!("\\u{{{:x}}}", u32::from(c)),
            }
        }
        self.text.push('"');
    }

    fn int(&mut self, number: i64) {
        let size = number.unsigned_abs();
        match number {
            ..0 => self.text.push('-'),
            _ => self.one_of(["", "+"]),
        }
        let digits = match self.pick(4) {
            0 => format!("0x{size:x}"),
            1 => format!("0x0_{size:X}"),
            2 => format!("0_{size}"),
            _ => format!("{size}"),
        };
        self.text += &digits;
    }

    fn name(&mut self, name: &str) {
        let word = name.chars().all(|c| c.is_ascii_alphanumeric() || "<>=!?".contains(c));
        match self.pick(5) {
            0 if word => self.text += &format!("${name}"),
            1 if word => self.text += &format!("@{name}"),
            2 if word => self.text += &format!("@\"{name}\""),
            3 | 4 if word => self.text += name,
            _ => {
                self.text.push('$');
                self.string(name);
            }
        }
    }

    /// White space, or none. Where words have ends it may be left out before a bracket only.
    fn after_a_word(&mut self, next: &Short, inside: usize) {
        let bracket =
            matches!(next, Short::And(_) if inside >= 2) || matches!(next, Short::Or(_) if inside >= 1);
        if self.tight || bracket {
            self.one_of([" ", "", "\t\n"]);
        } else {
            self.one_of([" ", "\t\n"]);
        }
    }

    /// `inside` says how tightly the surrounding operator binds: 0 for none, 1 `or`, 2 `and`, 3 `not`.
    fn short(&mut self, short: &Short, inside: usize) {
        let (binds, separator) = match short {
            Short::And(_) => (2, "and"),
            Short::Or(_) => (1, "or"),
            _ => (3, ""),
        };
        let grouped = binds < inside || (binds == inside && binds < 3) || self.pick(6) == 0;
        if grouped {
            self.one_of(["(", "( ", "(\n"]);
        }
        match short {
            Short::Name(name) => self.text += name,
            Short::NameValue(name, value, false) => self.text += &format!("{name}={value}"),
            Short::NameValue(name, value, true) => self.text += &format!("{name}=\"{value}\""),
            Short::Identifier(id) => self.text += id,
            Short::Not(one) => {
                self.text += "not";
                self.after_a_word(one, 3);
                self.short(one, 3);
            }
            Short::And(parts) | Short::Or(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        self.one_of([" ", "\r\n "]);
                        self.text += separator;
                        self.after_a_word(part, binds);
                    }
                    self.short(part, binds);
                }
            }
        }
        if grouped {
            self.one_of([")", " )", "\n)"]);
        }
    }
}

/// As an S-expression. The comment in front keeps the short form from claiming it.
pub(crate) fn sexpr(node: &Node, noise: &[u8]) -> String {
    let mut pen = Pen::new(noise);
    pen.text += "(;;)";
    pen.node(node);
    pen.text
}

/// In the short form, with white space behind every word.
pub(crate) fn bounded(short: &Short, noise: &[u8]) -> String {
    let mut pen = Pen { tight: false, ..Pen::new(noise) };
    pen.short(short, 0);
    pen.text
}

/// In the short form.
pub(crate) fn short(short: &Short, noise: &[u8]) -> String {
    let mut pen = Pen::new(noise);
    pen.short(short, 0);
    pen.text
}
