//! The short form: `member and not (guest or region=eu)`.
//!
//! Every name stands for a comparison of one attribute with a string: `member` for
//! `(= subject.member "true")`, `region=eu` for `(= subject.region "eu")`, and a full identifier for a
//! comparison of `subject.identifier`. `not` binds tighter than `and`, and that tighter than `or`.
//!
//! The reference reads this without looking where a word ends, so `notary` is `not ary` and `a android`
//! is `a and roid`. By [`Meaning::Exact`] that is kept: it is what such a policy means to the reference. By
//! [`Meaning::Strict`] a word ends where no character of a name follows. Kept by both is the way back: whenever
//! `and`, `or`, `not` or `(` leads nowhere, the text is reread as if it had not been one.
//!
//! Chains stay flat, `a and b and c` is one `and` of three; as every argument is a comparison this means
//! the same as the reference's nesting to the left, and a thousand names are no deeper than two.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::MAX_DEPTH;
use crate::ast::{Expr, Kind, Operator};
use crate::check;
use crate::error::{Fault, ParseErrorKind};
use crate::policy::Meaning;
use crate::span::{Cursor, Span};
use crate::value::Value;

/// Why a text was not read in the short form.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is not in that form and may be in the other.
    NotShort(Fault),
    /// It may well be in that form, but is nested too deep to tell. Reading it in the other form
    /// instead would give it another meaning.
    TooDeep(Fault),
}

/// Reads `text` in the short form.
pub(crate) fn parse(text: &str, meaning: Meaning) -> Result<Expr, Stop> {
    let mut parser = Parser::new(text, meaning);
    let read = parser.whole();
    match read {
        Ok(expr) => check::not_too_deep(&expr).map_err(Stop::TooDeep).map(|()| expr),
        Err(Failed::TooDeep(span)) => Err(Stop::TooDeep(check::too_deep(span))),
        Err(Failed::Here) => {
            Err(Stop::NotShort(outer_space(text, meaning).unwrap_or_else(|| parser.fault(text))))
        }
    }
}

/// The first word of `text` that the reference takes for `and`, `or` or `not` although the name goes on behind it.
pub(crate) fn word_inside_a_name(text: &str) -> Option<Span> {
    let mut parser = Parser::new(text, Meaning::Exact);
    let read = parser.whole();
    read.ok().and_then(|_| parser.inside.first().copied())
}

/// The fault of a text that only white space keeps from being in the short form: before a name and
/// after the last word the reference admits none.
fn outer_space(text: &str, meaning: Meaning) -> Option<Fault> {
    let trimmed = text.trim_matches(is_space);
    if trimmed.len() == text.len() || parse(trimmed, meaning).is_err() {
        return None;
    }
    let leading = text.len() - text.trim_start_matches(is_space).len();
    let start = if leading > 0 { 0 } else { trimmed.len() };
    let length = if leading > 0 { leading } else { text.len() - trimmed.len() };
    let message = "white space is not allowed around an expression in the short form, remove it";
    Some(
        Fault::new(ParseErrorKind::Shorthand, Span::new(start, start + length), message).reaching(text.len()),
    )
}

/// Why a part could not be read.
enum Failed {
    /// What is needed does not stand here; something else may.
    Here,
    /// Give up altogether.
    TooDeep(Span),
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    meaning: Meaning,
    /// The words that were taken although a name goes on behind them.
    inside: Vec<Span>,
    /// Where reading failed furthest into the text, and what was missing there.
    furthest: usize,
    expected: &'static str,
    /// How many parentheses are open.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, meaning: Meaning) -> Self {
        let cursor = Cursor::new(text);
        Self { cursor, meaning, inside: Vec::new(), furthest: 0, expected: "", depth: 0 }
    }

    fn whole(&mut self) -> Result<Expr, Failed> {
        match self.any_of() {
            Ok(expr) if self.cursor.peek().is_none() => Ok(expr),
            Ok(_) => Err(self.miss("`and`, `or` or the end")),
            Err(failed) => Err(failed),
        }
    }

    /// One or more alternatives joined by `or`, each of one or more parts joined by `and`.
    ///
    /// Both in one function, and every message outside of it, since this is where reading recurses.
    fn any_of(&mut self) -> Result<Expr, Failed> {
        let start = self.cursor.at();
        let (mut alternatives, mut parts) = (Vec::new(), Vec::from([self.negated()?]));
        let (mut part_start, mut before) = (start, self.cursor);
        loop {
            if !self.word(Operator::And.name()) {
                let parts = core::mem::take(&mut parts);
                alternatives.push(joined(Operator::And, parts, self.cursor.span_since(part_start)));
                if !self.word(Operator::Or.name()) {
                    break;
                }
                part_start = self.cursor.at();
            }
            match self.negated() {
                Ok(expr) => parts.push(expr),
                Err(Failed::Here) => {
                    self.back_to(before);
                    break;
                }
                Err(failed) => return Err(failed),
            }
            before = self.cursor;
        }
        if !parts.is_empty() {
            alternatives.push(joined(Operator::And, parts, self.cursor.span_since(part_start)));
        }
        Ok(joined(Operator::Or, alternatives, self.cursor.span_since(start)))
    }

    /// Any number of `not`, then a group or a name. A `not` behind which nothing can be read is a name.
    fn negated(&mut self) -> Result<Expr, Failed> {
        let mut starts = Vec::from([self.cursor]);
        while self.word(Operator::Not.name()) {
            starts.push(self.cursor);
            if starts.len() > MAX_DEPTH {
                return Err(Failed::TooDeep(self.cursor.next_span()));
            }
        }
        let mut read = self.group();
        while let (Err(Failed::Here), Some(start)) = (&read, starts.last().copied()) {
            self.back_to(start);
            read = self.name();
            if read.is_err() {
                starts.pop();
            }
        }
        // The last start is where the operand was read, every one before it is a `not`.
        starts.pop();
        let mut expr = read?;
        for start in starts.iter().rev() {
            expr = Expr::call(Operator::Not, [expr], self.cursor.span_since(start.at()));
        }
        Ok(expr)
    }

    /// An expression in parentheses.
    fn group(&mut self) -> Result<Expr, Failed> {
        let open = self.cursor.next_span();
        if !self.word("(") {
            return Err(Failed::Here);
        }
        if self.depth == MAX_DEPTH {
            return Err(Failed::TooDeep(open));
        }
        self.depth += 1;
        let read = self.any_of();
        self.depth -= 1;
        let expr = read?;
        if self.word(")") { Ok(expr) } else { Err(self.miss("`and`, `or` or `)`")) }
    }

    /// A name, a name with a value, or an identifier.
    fn name(&mut self) -> Result<Expr, Failed> {
        let start = self.cursor.at();
        if !self.cursor.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '-') {
            return Err(self.miss("the name of an attribute, `not` or `(`"));
        }
        let name = self.cursor.take_while(is_name_char);
        if is_identifier(name) {
            return Ok(self.comparison(start, "identifier", name));
        }
        if !self.cursor.eat("=") {
            return Ok(self.comparison(start, name, "true"));
        }
        let quoted = self.cursor.eat("\"");
        let value = self.cursor.take_while(|c| if quoted { c != '"' } else { is_name_char(c) });
        if value.is_empty() {
            return Err(self.miss("a value, in quotes if it holds more than letters, digits and `._-`"));
        }
        if quoted && !self.cursor.eat("\"") {
            return Err(self.miss("a closing quote"));
        }
        Ok(self.comparison(start, name, value))
    }

    fn comparison(&self, start: usize, attribute: &str, value: &str) -> Expr {
        let span = self.cursor.span_since(start);
        let attribute = Expr::new(Kind::Ident(format!("{}{attribute}", crate::env::SUBJECT)), span);
        let value = Expr::new(Kind::Literal(Value::from(value)), span);
        Expr::call(Operator::Equal, [attribute, value], span)
    }

    /// Rereads from an earlier place.
    fn back_to(&mut self, place: Cursor<'a>) {
        self.cursor = place;
        while self.inside.last().is_some_and(|word| word.start() >= place.at()) {
            self.inside.pop();
        }
    }

    /// Steps over `word` and the white space around it, if it comes next. What follows it is looked at by
    /// [`Meaning::Strict`] alone, and there a bracket needs no end.
    fn word(&mut self, word: &str) -> bool {
        let before = self.cursor;
        self.space();
        let start = self.cursor.at();
        if self.cursor.eat(word) {
            let inside = word.ends_with(is_name_char) && self.cursor.peek().is_some_and(is_name_char);
            if inside && self.meaning == Meaning::Exact {
                self.inside.push(self.cursor.span_since(start));
            }
            if !inside || self.meaning == Meaning::Exact {
                self.space();
                return true;
            }
        }
        self.cursor = before;
        false
    }

    fn space(&mut self) {
        self.cursor.take_while(is_space);
    }

    /// Notes that `expected` was missing here, if no failure came later in the text.
    fn miss(&mut self, expected: &'static str) -> Failed {
        let mut place = self.cursor;
        place.take_while(is_space);
        if place.at() > self.furthest || self.expected.is_empty() {
            (self.furthest, self.expected) = (place.at(), expected);
        }
        Failed::Here
    }

    fn fault(&self, text: &str) -> Fault {
        let rest = text.get(self.furthest..).unwrap_or("");
        let found: String = match rest.chars().next() {
            None => "the text ends".into(),
            Some('"') => "there is a quote".into(),
            Some('=') if text.get(..self.furthest).is_some_and(|before| before.ends_with(is_space)) => {
                "there is `=`; a name, `=` and its value are written without white space".into()
            }
            Some(c) => format!("there is `{}`", c.escape_debug()),
        };
        let length = rest.chars().next().map_or(0, char::len_utf8);
        let span = Span::new(self.furthest, self.furthest + length);
        Fault::new(ParseErrorKind::Shorthand, span, format!("expected {} but {found}", self.expected))
    }
}

/// A chain of `parts`, or the only part there is.
fn joined(operator: Operator, mut parts: Vec<Expr>, span: Span) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            Expr::call(operator, parts, span)
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// `I` and 32 bytes in hex, of either case.
fn is_identifier(name: &str) -> bool {
    name.strip_prefix('I').is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// By the exact meaning.
    fn parse(text: &str) -> Result<Expr, Stop> {
        super::parse(text, Meaning::Exact)
    }

    fn strict(text: &str) -> Result<String, Stop> {
        super::parse(text, Meaning::Strict).map(|expr| expr.to_string())
    }

    fn expanded(text: &str) -> String {
        parse(text).unwrap_or_else(|stop| panic!("{text}: {stop:?}")).to_string()
    }

    fn refused(text: &str) -> Fault {
        match parse(text) {
            Err(Stop::NotShort(fault)) => fault,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// `a` for `(= subject.a "true")`, to keep the tables readable.
    fn short(text: &str) -> String {
        let expanded = expanded(text);
        let mut parts = expanded.split("(= subject.");
        let mut out: String = parts.next().unwrap().into();
        for part in parts {
            match part.split_once(" \"true\")") {
                Some((name, rest)) if !name.contains(' ') => out.extend([name, rest]),
                _ => out.extend(["(= subject.", part]),
            }
        }
        out
    }

    #[test]
    fn names_values_and_identifiers() {
        let id = "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fC7C";
        assert_eq!(expanded("a"), r#"(= subject.a "true")"#);
        assert_eq!(expanded("-a_1.b"), r#"(= subject.-a_1.b "true")"#);
        assert_eq!(expanded("a=b.1-_"), r#"(= subject.a "b.1-_")"#);
        assert_eq!(expanded("a=\"x, (y)\n\""), r#"(= subject.a "x, (y)\n")"#);
        assert_eq!(expanded(id), format!(r#"(= subject.identifier "{id}")"#));
        assert_eq!(expanded(&id[..64]), format!(r#"(= subject.{} "true")"#, &id[..64]));
        assert_eq!(refused(&format!("{id}=x")).span.start(), 65, "an identifier takes no value");
    }

    #[test]
    fn precedence_and_groups() {
        for (text, expected) in [
            ("a and b or c and d", "(or (and a b) (and c d))"),
            ("a or b and not c", "(or a (and b (not c)))"),
            ("not a and b", "(and (not a) b)"),
            ("not not a", "(not (not a))"),
            ("not (a or b)", "(not (or a b))"),
            ("( ( (a )))\n", "a"),
            ("a and b and (c and d)", "(and a b (and c d))"),
            ("\t(a) or\r\n(b)", "(or a b)"),
            (" not a", "(not a)"),
            ("a=x and b=\"y\"or c", "(or (and (= subject.a \"x\") (= subject.b \"y\")) c)"),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn by_the_exact_meaning_words_need_no_boundary() {
        for (text, expected) in [
            ("notary", "(not ary)"),
            ("nothing", "(not hing)"),
            ("a android", "(and a roid)"),
            ("member orphan", "(or member phan)"),
            ("not(a)and(b)", "(and (not a) b)"),
            ("notnota", "(not (not a))"),
            ("android", "android"),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn by_the_strict_meaning_a_word_ends_where_no_name_goes_on() {
        for name in
            ["notary", "nothing", "notnota", "not-a", "not.a", "not_", "not1", "and", "orphan", "android"]
        {
            assert_eq!(strict(name).unwrap(), format!("(= subject.{name} \"true\")"));
        }
        for (text, exact) in [
            ("not(a)and(b)", "not(a)and(b)"),
            ("a=\"x\"and b", "a=\"x\"and b"),
            ("not a or not\tb", "not a or not b"),
            ("(not)", "not"),
            ("not not", "not not"),
            ("not=b", "not=b"),
            ("and and and", "and and and"),
        ] {
            assert_eq!(strict(text).unwrap(), expanded(exact), "{text}");
        }
        for text in ["a android", "member orphan", "member ormember", "(a)andb", "a=\"x\"and-b"] {
            assert!(matches!(strict(text), Err(Stop::NotShort(_))), "{text}");
        }
        let Err(Stop::NotShort(fault)) = strict("member orphan") else { panic!() };
        assert_eq!(fault.span.start(), 7);
    }

    #[test]
    fn the_first_word_inside_a_name_is_found() {
        for (text, word) in [
            ("notary", Some((0, 3))),
            ("a and (nothing or b)", Some((7, 10))),
            ("member orphan", Some((7, 9))),
            ("not9 and notary", Some((9, 12))),
            ("not a", None),
            ("not9", None),
            ("android", None),
            ("(= a 1)", None),
        ] {
            let expected = word.map(|(start, end)| Span::new(start, end));
            assert_eq!(word_inside_a_name(text), expected, "{text}");
        }
    }

    #[test]
    fn operators_that_lead_nowhere_are_names() {
        for (text, expected) in [
            ("not", "not"),
            ("notnot", "(not not)"),
            ("not not", "(not not)"),
            ("and", "and"),
            ("and and and", "(and and and)"),
            ("or or or", "(or or or)"),
            ("(not)", "not"),
            ("not=b", "(= subject.not \"b\")"),
            ("not and", "(not and)"),
            ("true", "true"),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn failures_point_at_the_furthest_place() {
        for (text, at) in [
            ("", 0),
            ("a and", 5),
            ("a b", 2),
            ("a and b not c", 8),
            ("(a or b", 7),
            ("(a))", 3),
            ("a=", 2),
            ("a=\"\"", 3),
            ("a=\"x", 4),
            ("a==b", 2),
            ("a = b", 2),
            (" a", 0),
            ("a \n", 1),
            (" a ", 0),
            ("not and a", 8),
            ("a=b\"", 3),
            ("1a", 0),
            (".a", 0),
            ("na*me", 2),
            ("()", 1),
            ("not=", 4),
            ("notnot=", 7),
            ("a and (b or c=)", 14),
            ("a &", 2),
        ] {
            assert_eq!(refused(text).span.start(), at, "{text}");
        }
        assert!(refused("a = b").message.ends_with("are written without white space"));
        // The white space is pointed at, all of it and nothing else.
        for (text, start, end) in [("  ab", 0, 2), ("ab   ", 2, 5)] {
            assert_eq!(refused(text).span, Span::new(start, end), "{text:?}");
        }
        assert_eq!(refused("(a or b").message, "expected `and`, `or` or `)` but the text ends");
    }

    #[test]
    fn depth_is_limited_and_chains_are_not_deep() {
        let parens = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&parens(MAX_DEPTH)).is_ok());
        assert!(matches!(parse(&parens(MAX_DEPTH + 1)), Err(Stop::TooDeep(_))));
        let nots = |n: usize| format!("{}a", "not ".repeat(n));
        assert!(parse(&nots(MAX_DEPTH - 1)).is_ok(), "the comparison is one more level");
        assert!(matches!(parse(&nots(MAX_DEPTH)), Err(Stop::TooDeep(_))));
        assert!(matches!(parse(&nots(MAX_DEPTH + 1)), Err(Stop::TooDeep(_))));
        assert_eq!(parse(&format!("a{}", " and a".repeat(5_000))).unwrap().depth(), 2);
    }
}
