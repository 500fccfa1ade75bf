//! What can go wrong, by stage: reading a text ([`ParseError`]), evaluating an expression
//! ([`EvalError`]), filling an environment ([`EnvError`]).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::span::Span;

/// How many characters of a line an excerpt shows at most.
const EXCERPT_WIDTH: usize = 76;

/// Why a text is not a policy, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The text, or what it stands for in full, is longer than [`MAX_TEXT`](crate::MAX_TEXT).
    TooLong,
    /// Brackets are nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    TooDeep,
    /// There is no expression in the text.
    Empty,
    /// Something that is not a token: a stray character, a bad escape, a comment without end.
    Token,
    /// A number that does not fit, or that is written in a way that is not supported.
    Number,
    /// A bracket without its partner.
    Bracket,
    /// A sequence whose elements are not of one type.
    MixedSequence,
    /// A well-formed expression that does not start with an operator.
    NotAnOperation,
    /// Neither form fits, and the text looks like the short one.
    Shorthand,
}

/// Why one of the two parsers stopped. `reach` is how far it had read: of two such stories the one
/// that got further is the one to tell.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: ParseErrorKind,
    pub(crate) span: Span,
    pub(crate) reach: usize,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(kind: ParseErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, span, reach: span.start(), message: message.into() }
    }

    pub(crate) fn reaching(mut self, reach: usize) -> Self {
        self.reach = reach;
        self
    }
}

/// Why a text is not a policy, and where.
///
/// Printed, it gives line and column, the message, the line with a caret below the place, and, where
/// the other form of the language might have been meant, why that one does not fit either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    kind: ParseErrorKind,
    span: Span,
    line: usize,
    column: usize,
    message: String,
    excerpt: String,
    note: Option<String>,
}

impl ParseError {
    pub(crate) fn new(text: &str, fault: Fault, note: Option<String>) -> Self {
        let (line, column) = fault.span.line_column(text);
        let excerpt = excerpt(text, fault.span);
        let Fault { kind, span, message, .. } = fault;
        Self(Box::new(Details { kind, span, line, column, message, excerpt, note }))
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ParseErrorKind {
        self.0.kind
    }

    /// The part of the text that is at fault; empty at the end of the text.
    #[must_use]
    pub fn span(&self) -> Span {
        self.0.span
    }

    /// Line of the place, counted from one.
    #[must_use]
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// Column of the place in characters, counted from one.
    #[must_use]
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// What is wrong, on one line, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line at fault and below it a line with a caret. Characters that a terminal would act on are
    /// replaced, a long line is cut around the place.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        &self.0.excerpt
    }

    /// Why the text does not fit the other form of the language either.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n{}", self.line(), self.column(), self.message(), self.excerpt())?;
        match self.note() {
            Some(note) => write!(f, "\nnote: {note}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for ParseError {}

/// Why an expression has no value, in one word. The same five classes the reference has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvalErrorKind {
    /// A name that the environment does not bind.
    Unbound,
    /// A list that starts with a name that is no operator.
    UnknownOperator,
    /// A value of a type that the operator does not take.
    InvalidType,
    /// Two values of different types were compared.
    TypeMismatch,
    /// An operator with the wrong number of arguments.
    Malformed,
}

/// Why an expression has no value, and which part of it is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalError(Box<EvalDetails>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct EvalDetails {
    kind: EvalErrorKind,
    span: Span,
    message: String,
}

impl EvalError {
    pub(crate) fn new(kind: EvalErrorKind, span: Span, message: String) -> Self {
        Self(Box::new(EvalDetails { kind, span, message }))
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> EvalErrorKind {
        self.0.kind
    }

    /// The part of the policy's text that could not be evaluated.
    #[must_use]
    pub fn span(&self) -> Span {
        self.0.span
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl core::error::Error for EvalError {}

/// Why an environment could not be made, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EnvErrorKind {
    /// An attribute bears a name that only the engine may set.
    Reserved,
    /// Two attributes bear the same name.
    Duplicate,
}

/// Why a subject's attributes cannot become an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvError {
    kind: EnvErrorKind,
    name: String,
}

impl EnvError {
    pub(crate) fn new(kind: EnvErrorKind, name: &str) -> Self {
        Self { kind, name: name.to_owned() }
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> EnvErrorKind {
        self.kind
    }

    /// The attribute at fault.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_debug();
        match self.kind {
            EnvErrorKind::Reserved => {
                write!(
                    f,
                    "an attribute may not be named `{name}`, use another name: only the engine sets this one"
                )
            }
            EnvErrorKind::Duplicate => write!(f, "the attribute `{name}` is given twice, give it once"),
        }
    }
}

impl core::error::Error for EnvError {}

/// Two lines: the line on which `span` starts, and a caret below each character of `span`.
fn excerpt(text: &str, span: Span) -> String {
    let (_, column) = span.line_column(text);
    let line_start = text.get(..span.start()).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let marked = span.of(text).and_then(|part| part.lines().next()).map_or(0, |part| part.chars().count());

    let before = column - 1;
    let skipped = before.saturating_sub(EXCERPT_WIDTH / 2);
    let length = line.chars().count();
    let (head, tail) = (skipped > 0, length > skipped + EXCERPT_WIDTH);

    let mut out = String::from("  ");
    out.push_str(if head { "..." } else { "" });
    out.extend(line.chars().skip(skipped).take(EXCERPT_WIDTH).map(printable));
    out.push_str(if tail { "..." } else { "" });
    out.push_str("\n  ");
    out.push_str(if head { "   " } else { "" });
    out.extend(core::iter::repeat_n(' ', before - skipped));
    let room = EXCERPT_WIDTH - (before - skipped);
    out.extend(core::iter::repeat_n('^', marked.clamp(1, room)));
    out
}

/// A character as it may be shown on a terminal: one column, no effect on what stands around it.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || crate::lex::is_confusing(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_excerpt_shows_the_line_and_marks_the_place() {
        let text = "(and\n\t(= a,\u{202e} b))";
        assert_eq!(excerpt(text, Span::new(10, 11)), "   (= a,\u{fffd} b))\n       ^");
        assert_eq!(excerpt("ab", Span::new(2, 2)), "  ab\n    ^", "the end of the text");
        assert_eq!(excerpt("", Span::new(0, 0)), "  \n  ^");
        assert_eq!(excerpt("a bc d", Span::new(2, 4)), "  a bc d\n    ^^");
    }

    #[test]
    fn an_excerpt_of_a_long_line_is_cut_around_the_place() {
        let text = "x".repeat(5_000);
        let shown = excerpt(&text, Span::new(2_500, 4_000));
        let mut lines = shown.lines();
        let (line, caret) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(line.len(), 2 + 3 + EXCERPT_WIDTH + 3);
        assert_eq!(caret.find('^'), Some(2 + 3 + EXCERPT_WIDTH / 2));
        assert!(caret.len() <= line.len());
    }

    #[test]
    fn a_parse_error_says_where_what_and_why_not_the_other_form() {
        let fault = Fault::new(ParseErrorKind::Token, Span::new(6, 7), "no commas");
        let error = ParseError::new("(= a\n ,b)", fault, Some("nor that".to_string()));
        assert_eq!(error.to_string(), "2:2: no commas\n   ,b)\n   ^\nnote: nor that");
        assert_eq!((error.line(), error.column(), error.kind()), (2, 2, ParseErrorKind::Token));
    }

    #[test]
    fn an_environment_error_names_the_attribute_without_acting_on_the_terminal() {
        let error = EnvError::new(EnvErrorKind::Duplicate, "a\u{1b}[2J");
        assert_eq!(error.to_string(), "the attribute `a\\u{1b}[2J` is given twice, give it once");
        assert_eq!(error.name(), "a\u{1b}[2J");
    }
}
