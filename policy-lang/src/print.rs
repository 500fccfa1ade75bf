//! Tree in, text out. What is printed reads back as what was printed.
//!
//! That takes three cares: strings are escaped the way this language's lexer undoes, names that would
//! read as something else get a `$`, and a text that the short form would claim has its operator marked.

use alloc::string::{String, ToString};
use core::fmt::{self, Write};

use crate::ast::{Expr, Kind};
use crate::policy::Meaning;
use crate::shorthand;
use crate::value::{Items, Operand, Value, View};
use crate::{lex, shorthand::Stop};

/// The one text that stands for `expr` and reads back as it.
pub(crate) fn canonical(expr: &Expr) -> String {
    let plain = expr.to_string();
    // `(not x)` would be read as the short form, in which `x` is the attribute `subject.x`. Marked where either meaning
    // reads it so, since what is printed by one may be read by the other.
    let short = |meaning| !matches!(shorthand::parse(&plain, meaning), Err(Stop::NotShort(_)));
    if short(Meaning::Exact) || short(Meaning::Strict) { Marked(expr).to_string() } else { plain }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_expr(f, self, false)
    }
}

/// An expression with a `$` before its first word.
struct Marked<'a>(&'a Expr);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_expr(f, self.0, true)
    }
}

fn write_expr(out: &mut impl Write, expr: &Expr, mark: bool) -> fmt::Result {
    let (open, items, close) = match &expr.kind {
        Kind::Literal(value) => return write_view(out, View::from(value)),
        Kind::Ident(name) => return write_name(out, name, mark),
        Kind::List(items) => ('(', items, ')'),
        Kind::Seq(items) => ('[', items, ']'),
    };
    out.write_char(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_char(' ')?;
        }
        write_expr(out, item, mark && index == 0)?;
    }
    out.write_char(close)
}

fn write_name(out: &mut impl Write, name: &str, mark: bool) -> fmt::Result {
    if !mark && lex::is_plain_name(name) {
        return out.write_str(name);
    }
    out.write_char('$')?;
    if lex::is_markable_name(name) { out.write_str(name) } else { write_string(out, name) }
}

/// Values print as they are written in a policy; the unit value as `()`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_view(f, View::from(self))
    }
}

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_view(f, self.view())
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_view(f, *self)
    }
}

fn write_view(out: &mut impl Write, view: View<'_>) -> fmt::Result {
    match view {
        View::Str(text) => write_string(out, text),
        View::Int(number) => write!(out, "{number}"),
        View::Float(number) if number.is_nan() => out.write_str("nan"),
        // `{:?}` keeps the point or the exponent that makes it a float, and says `inf`.
        View::Float(number) => write!(out, "{number:?}"),
        View::Bool(truth) => write!(out, "{truth}"),
        View::Unit => out.write_str("()"),
        View::Seq(items) => write_items(out, items),
        View::Absent => out.write_str("absent"),
    }
}

fn write_items(out: &mut impl Write, items: Items<'_>) -> fmt::Result {
    out.write_char('[')?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_char(' ')?;
        }
        write_view(out, item)?;
    }
    out.write_char(']')
}

fn write_string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // Not all of these must be escaped, but each would act on the terminal it is shown on.
            c if c.is_control() || lex::is_confusing(c) => write!(out, "\\u{{{:x}}}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// Something printed for a message: cut when it is long, and without effect on a terminal.
pub(crate) struct Clipped<T>(pub(crate) T);

/// Characters of an expression or a value that a message shows.
const CLIP: usize = 120;

impl<T: fmt::Display> fmt::Display for Clipped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clip = Clip { out: f, room: CLIP };
        match write!(clip, "{}", self.0) {
            Err(fmt::Error) if clip.room == 0 => f.write_str("…"),
            result => result,
        }
    }
}

struct Clip<'f, 'a> {
    out: &'f mut fmt::Formatter<'a>,
    room: usize,
}

impl Write for Clip<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.room = self.room.checked_sub(1).ok_or(fmt::Error)?;
            if c.is_control() || lex::is_confusing(c) {
                write!(self.out, "\\u{{{:x}}}", u32::from(c))?;
            } else {
                self.out.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::sexpr;
    use alloc::vec;

    #[test]
    fn what_is_printed_reads_back() {
        for (text, expected) in [
            (r#"= a  "x""#, r#"(= a "x")"#),
            ("(= 0x10 1_0 1. 1e99 -inf nan:0x1)", "(= 16 10 1.0 1e99 -inf nan)"),
            (r#"(= "\00\7f\u{202e}\n\"\\")"#, r#"(= "\u{0}\u{7f}\u{202e}\n\"\\")"#),
            (r#"(= $true $1 $"a b" $$ @x)"#, r#"(= $true $1 $"a b" $$ x)"#),
            ("(= () [] [[1] [2]] (x))", "(= () [] [[1] [2]] (x))"),
        ] {
            let expr = sexpr(text).unwrap();
            assert_eq!(canonical(&expr), expected);
            assert_eq!(sexpr(expected).unwrap(), expr);
        }
    }

    #[test]
    fn a_text_that_the_short_form_would_claim_is_marked() {
        for (text, expected) in [
            ("(not $x)", "($not x)"),
            ("$and", "$and"),
            ("(($and))", "(($and))"),
            ("(and $and b)", "($and and b)"),
            ("(not a=b ;;\n)", "($not a=b)"),
            ("(not $x $y)", "(not x y)"),
            ("(and $orphan)", "($and orphan)"),
        ] {
            let expr = sexpr(text).unwrap();
            let printed = canonical(&expr);
            assert_eq!(printed, expected);
            for meaning in [Meaning::Exact, Meaning::Strict] {
                assert!(shorthand::parse(&printed, meaning).is_err(), "{printed}");
            }
            assert_eq!(sexpr(&printed).unwrap(), expr, "{printed}");
        }
    }

    #[test]
    fn values_print_as_they_are_written() {
        let value = Value::from(vec![Value::from("a\u{1b}"), 1.into(), 2.0.into(), true.into(), Value::Unit]);
        assert_eq!(value.to_string(), r#"["a\u{1b}" 1 2.0 true ()]"#);
    }

    #[test]
    fn long_things_are_cut_and_terminals_left_alone() {
        assert_eq!(Clipped("x".repeat(CLIP)).to_string(), "x".repeat(CLIP));
        let cut = Clipped("x".repeat(CLIP + 1)).to_string();
        assert_eq!(cut.strip_suffix('…'), Some("x".repeat(CLIP).as_str()));
        assert_eq!(Clipped("a\u{1b}[2J").to_string(), "a\\u{1b}[2J");
    }
}
