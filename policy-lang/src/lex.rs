//! Characters in, tokens out: the tokens of the WebAssembly text format, as far as a policy uses them.
//!
//! The reference reads its S-expressions with a WebAssembly lexer, so policies in the field may hold
//! nested comments, `$"quoted names"`, numbers like `0x1_0`, and whatever else that lexer takes. This one
//! takes and refuses the same.
//!
//! A *word* is any run of name characters and strings without white space between them. Only afterwards
//! is it asked what the word is, which is why `"a""b"` and `a"b"` are errors rather than two tokens.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Fault, ParseErrorKind};
use crate::number::{self, Number};
use crate::print::Clipped;
use crate::span::{Cursor, Span};
use crate::value::Value;

/// What the parser of S-expressions is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Open,
    Close,
    SeqOpen,
    SeqClose,
    Value(Value),
    Ident(String),
}

#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { cursor: Cursor::new(text) }
    }

    /// The next token that is neither white space nor a comment.
    pub(crate) fn next_token(&mut self) -> Result<Option<(Token, Span)>, Fault> {
        loop {
            let start = self.cursor.at();
            let Some(c) = self.cursor.peek() else { return Ok(None) };
            let token = match c {
                ' ' | '\n' | '\r' | '\t' => {
                    self.cursor.bump();
                    continue;
                }
                '(' if self.cursor.rest().starts_with("(;") => {
                    self.block_comment()?;
                    continue;
                }
                ';' if self.cursor.rest().starts_with(";;") => {
                    self.line_comment()?;
                    continue;
                }
                '(' => self.single(Token::Open),
                ')' => self.single(Token::Close),
                '[' => self.single(Token::SeqOpen),
                ']' => self.single(Token::SeqClose),
                '"' => self.word()?,
                c if is_name_char(c) => self.word()?,
                c => return Err(self.unexpected(c)),
            };
            return Ok(Some((token, self.cursor.span_since(start))));
        }
    }

    fn single(&mut self, token: Token) -> Token {
        self.cursor.bump();
        token
    }

    fn unexpected(&self, c: char) -> Fault {
        let message = match c {
            ',' => "items are separated by white space, not by commas".into(),
            ';' => "a comment starts with two semicolons, `;;`".into(),
            '{' | '}' => "braces mean nothing here; use `( )` for expressions and `[ ]` for sequences".into(),
            c => format!("unexpected character `{}`", c.escape_debug()),
        };
        Fault::new(ParseErrorKind::Token, self.cursor.next_span(), message)
    }

    fn line_comment(&mut self) -> Result<(), Fault> {
        let start = self.cursor.at();
        self.cursor.take_while(|c| c != '\n' && c != '\r');
        self.refuse_confusing_since(start)
    }

    /// `(; … ;)`, which may hold others of its kind.
    fn block_comment(&mut self) -> Result<(), Fault> {
        let start = self.cursor.at();
        let mut open = 0_usize;
        loop {
            if self.cursor.eat("(;") {
                open += 1;
            } else if self.cursor.eat(";)") {
                open -= 1;
                if open == 0 {
                    return self.refuse_confusing_since(start);
                }
            } else if self.cursor.bump().is_none() {
                let span = Span::new(start, start + 2);
                let message = "this comment has no end; close it with `;)`";
                return Err(Fault::new(ParseErrorKind::Token, span, message).reaching(self.cursor.at()));
            }
        }
    }

    /// Text that reads differently to a person than to this lexer is refused even in comments.
    fn refuse_confusing_since(&self, start: usize) -> Result<(), Fault> {
        let comment = self.cursor.since(start);
        match comment.char_indices().find(|(_, c)| is_confusing(*c)) {
            Some((at, c)) => Err(confusing(Span::new(start + at, start + at + c.len_utf8()), c)),
            None => Ok(()),
        }
    }

    /// Reads a whole word, then says what it is.
    fn word(&mut self) -> Result<Token, Fault> {
        let start = self.cursor.at();
        let (mut name_chars, mut strings) = (0_usize, 0_usize);
        let mut bytes = Vec::new();
        loop {
            match self.cursor.peek() {
                Some('"') => {
                    strings += 1;
                    bytes = self.string()?;
                }
                Some(c) if is_name_char(c) => {
                    name_chars += 1;
                    self.cursor.bump();
                }
                _ => break,
            }
        }
        let (word, span) = (self.cursor.since(start), self.cursor.span_since(start));
        match (name_chars, strings) {
            (0, 1) => Ok(Token::Value(Value::Str(utf8(bytes, span)?))),
            (_, 0) => bare_word(word, span),
            (1, 1) if word.starts_with('$') => named(utf8(bytes, span)?, span, Naming::Any),
            (1, 1) if word.starts_with('@') => named(utf8(bytes, span)?, span, Naming::Shaped),
            _ => Err(Fault::new(
                ParseErrorKind::Token,
                span,
                "a string must stand alone; put white space around it, or write it as one with `\\\"` inside",
            )),
        }
    }

    /// The bytes of the string that starts here. They need not be UTF-8: `\ff` is a byte.
    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let start = self.cursor.at();
        self.cursor.bump();
        let mut bytes = Vec::new();
        loop {
            let at = self.cursor.next_span();
            match self.cursor.bump() {
                Some('"') => return Ok(bytes),
                Some('\\') => self.escape(start, &mut bytes)?,
                Some(c) if c < ' ' || c == '\u{7f}' => {
                    let (shown, code) = (c.escape_debug(), u32::from(c));
                    let message =
                        format!("a string may not hold `{shown}` as it is; write it as `\\{code:02x}`");
                    return Err(Fault::new(ParseErrorKind::Token, at, message));
                }
                Some(c) if is_confusing(c) => return Err(confusing(at, c)),
                Some(c) => push(&mut bytes, c),
                None => return Err(self.unterminated(start)),
            }
        }
    }

    fn unterminated(&self, start: usize) -> Fault {
        let message = "this string has no end; close it with `\"`";
        Fault::new(ParseErrorKind::Token, Span::new(start, start + 1), message).reaching(self.cursor.at())
    }

    /// What follows a backslash.
    fn escape(&mut self, start: usize, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let at = self.cursor.next_span();
        match self.cursor.bump().ok_or_else(|| self.unterminated(start))? {
            c @ ('"' | '\'' | '\\') => push(bytes, c),
            't' => bytes.push(b'\t'),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            'u' => push(bytes, self.unicode_escape(start)?),
            high => {
                let digits = high.to_digit(16).zip(self.cursor.peek().and_then(|low| low.to_digit(16)));
                let byte = digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                bytes.push(byte.ok_or_else(|| Fault::new(ParseErrorKind::Token, at, UNKNOWN_ESCAPE))?);
                self.cursor.bump();
            }
        }
        Ok(())
    }

    /// `{` hex digits `}`, with underscores after a digit and before another.
    fn unicode_escape(&mut self, start: usize) -> Result<char, Fault> {
        let at = self.cursor.at();
        let opened = self.cursor.eat("{");
        let digits = self.cursor.take_while(|c| c == '_' || c.is_ascii_hexdigit());
        let closed = self.cursor.eat("}");
        if !closed && self.cursor.peek().is_none() {
            return Err(self.unterminated(start));
        }
        let lone = digits.starts_with('_') || digits.ends_with('_');
        let code =
            u32::from_str_radix(&digits.replace('_', ""), 16).ok().filter(|_| opened && closed && !lone);
        code.and_then(char::from_u32).ok_or_else(|| {
            let message = "a character escape is `\\u{…}` with the hex digits of a Unicode character";
            Fault::new(ParseErrorKind::Token, self.cursor.span_since(at), message)
        })
    }
}

const UNKNOWN_ESCAPE: &str =
    "unknown escape; known are `\\n \\t \\r \\\" \\' \\\\`, `\\` and two hex digits, `\\u{…}`";

/// How freely a name may be formed.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// Any characters, since a `$` says that it is a name.
    Any,
    /// Only what [`is_shaped`] admits.
    Shaped,
}

/// A word without strings: a number, a marked name, a bool or a name.
fn bare_word(word: &str, span: Span) -> Result<Token, Fault> {
    if let Some(number) = number::read(word) {
        return match number {
            Number::Int(number) => Ok(Token::Value(Value::Int(number))),
            Number::Float(number) => Ok(Token::Value(Value::Float(number))),
            Number::Refused(message) => Err(Fault::new(ParseErrorKind::Number, span, message)),
        };
    }
    if let Some(name) = word.strip_prefix('$') {
        return named(name.into(), span, Naming::Any);
    }
    if let Some(name) = word.strip_prefix('@') {
        return named(name.into(), span, Naming::Shaped);
    }
    match word {
        "true" => Ok(Token::Value(Value::Bool(true))),
        "false" => Ok(Token::Value(Value::Bool(false))),
        _ => named(word.into(), span, Naming::Shaped),
    }
}

fn named(name: String, span: Span, naming: Naming) -> Result<Token, Fault> {
    let problem = match naming {
        _ if name.is_empty() => "a name is missing after this mark".into(),
        Naming::Shaped if !is_shaped(&name) => {
            let (name, rule) = (Clipped(&name), "starts with a letter or one of `!$%&*/<=>?~_^`");
            format!("`{name}` is not a name; a name {rule}, any other is written `$\"…\"`")
        }
        _ => return Ok(Token::Ident(name)),
    };
    Err(Fault::new(ParseErrorKind::Token, span, problem))
}

/// Whether `name`, written as it is, reads as that name.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut lexer = Lexer::new(name);
    match lexer.next_token() {
        Ok(Some((Token::Ident(read), _))) => read == name,
        _ => false,
    }
}

/// Whether a `$` before `name` is enough for it to read as that name.
pub(crate) fn is_markable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char)
}

/// Characters that reorder what stands around them on a screen.
pub(crate) fn is_confusing(c: char) -> bool {
    matches!(c, '\u{202a}' | '\u{202b}' | '\u{202d}' | '\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{206c}')
}

fn confusing(span: Span, c: char) -> Fault {
    let code = u32::from(c);
    let message =
        format!("U+{code:04X} changes how text is displayed; in a string write it as `\\u{{{code:x}}}`");
    Fault::new(ParseErrorKind::Token, span, message)
}

/// `idchar` of the WebAssembly text format.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-./:<=>?@\\^_`|~".contains(c)
}

/// The reference's pattern for names. Its class `+-@` is a range, so `, : ;` are in it; the lexer
/// never hands over a word with a comma or a semicolon, except in `@"…"`.
fn is_shaped(name: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || "!$%&*/<=>?~_^".contains(c);
    name.chars().next().is_some_and(starts) && name.chars().all(|c| starts(c) || matches!(c, '+'..='@'))
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn utf8(bytes: Vec<u8>, span: Span) -> Result<String, Fault> {
    String::from_utf8(bytes)
        .map_err(|_| Fault::new(ParseErrorKind::Token, span, "the bytes of this string are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
        let mut lexer = Lexer::new(text);
        let mut all = Vec::new();
        while let Some((token, span)) = lexer.next_token()? {
            assert!(span.of(text).is_some_and(|part| !part.is_empty()), "{text}");
            all.push(token);
        }
        Ok(all)
    }

    fn one(text: &str) -> Token {
        let all = tokens(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        all.into_iter().next().unwrap()
    }

    fn refused(text: &str) -> Fault {
        tokens(text).expect_err(text)
    }

    #[test]
    fn strings_and_their_escapes() {
        for (text, value) in [
            (r#""""#, ""),
            (r#""a b""#, "a b"),
            (r#""\n\t\r\"\'\\""#, "\n\t\r\"'\\"),
            (r#""\41\c4\8d""#, "Ač"),
            (r#""\u{10d}\u{1_F__6_00}""#, "č\u{1f600}"),
            ("\"č\"", "č"),
        ] {
            assert_eq!(one(text), Token::Value(value.into()), "{text}");
        }
        for text in [
            r#"""#,
            r#""\"#,
            r#""\x""#,
            r#""\4""#,
            r#""\u""#,
            r#""\u{"#,
            r#""\u{}""#,
            r#""\u{_1}""#,
            r#""\u{1_}""#,
            r#""\u{d800}""#,
            r#""\u{110000}""#,
            r#""\u{1ffffffff}""#,
            r#""\u{41""#,
            r#""\ff""#,
            "\"\n\"",
            "\"\u{7f}\"",
            "\"\u{202e}\"",
        ] {
            assert_eq!(refused(text).kind, ParseErrorKind::Token, "{text}");
        }
    }

    #[test]
    fn names_plain_and_marked() {
        for (text, name) in [
            ("a", "a"),
            ("subject.role", "subject.role"),
            ("member?", "member?"),
            ("<", "<"),
            ("_x^1@:-+.", "_x^1@:-+."),
            ("infx", "infx"),
            ("nan:0x", "nan:0x"),
            ("$x", "x"),
            ("$1", "1"),
            ("$$", "$"),
            ("$#|", "#|"),
            ("$true", "true"),
            (r#"$"a b\n""#, "a b\n"),
            ("@a", "a"),
            ("@true", "true"),
            (r#"@"a,;b""#, "a,;b"),
        ] {
            assert_eq!(one(text), Token::Ident(name.into()), "{text}");
        }
        for text in [
            "$",
            "@",
            r#"$"""#,
            r#"@"""#,
            r#"$"\ff""#,
            "@1",
            r#"@"a b""#,
            "#a",
            "a#",
            "a|b",
            "'a'",
            "+a",
            "-a",
            "1a",
            ".a",
            ":a",
            r#""a""b""#,
            r#"a"b""#,
            r#""a"b"#,
            r#"$a"b""#,
            r#"$"a""b""#,
            r#""a"$"#,
        ] {
            assert_eq!(refused(text).kind, ParseErrorKind::Token, "{text}");
        }
    }

    #[test]
    fn bools_brackets_and_numbers() {
        assert_eq!(one("true"), Token::Value(true.into()));
        assert_eq!(one("false"), Token::Value(false.into()));
        assert_eq!(one("-0x10"), Token::Value(Value::Int(-16)));
        assert_eq!(refused("0x1p4").kind, ParseErrorKind::Number);
        let expected = [Token::Open, Token::Ident("a".into()), Token::SeqOpen, Token::SeqClose, Token::Close];
        assert_eq!(tokens("(a[])").unwrap(), expected);
    }

    #[test]
    fn comments_nest_and_end_where_they_should() {
        for text in
            ["", " \t\r\n", ";;", ";; a\n", ";;a\r;;b", "(;;)", "(; (; ;) ;; ;)", "(;(;;);)", "(;\u{e9};)"]
        {
            assert_eq!(tokens(text).unwrap(), [], "{text}");
        }
        assert_eq!(one("a;;b").clone(), Token::Ident("a".into()));
        assert_eq!(tokens("a;;b\rc").unwrap().len(), 2, "a carriage return ends a line");
        for text in ["(;", "(;)", "(; (; ;)", "(;;", ";", "a;", "(; \u{202a} ;)", ";; \u{2066}"] {
            assert_eq!(refused(text).kind, ParseErrorKind::Token, "{text}");
        }
    }

    #[test]
    fn stray_characters_are_named() {
        assert!(refused("a, b").message.contains("white space"));
        assert_eq!(refused("a, b").span, Span::new(1, 2));
        for text in ["{", "}", "\u{a0}", "\u{c}", "č", "\0"] {
            assert_eq!(refused(text).kind, ParseErrorKind::Token, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_plain_or_markable_or_neither() {
        for (name, plain, markable) in [
            ("a.b", true, true),
            ("true", false, true),
            ("1", false, true),
            ("$a", false, true),
            ("a b", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_plain_name(name), is_markable_name(name)), (plain, markable), "{name}");
        }
        assert!(!is_plain_name("a;;"));
    }
}
