//! Where in a policy's text something stands, and a cursor that only moves forward over that text.
//!
//! Positions are byte offsets; people get lines and columns, counted from one, columns in characters.

/// A half-open range of bytes in the text a policy was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The span from the start of `self` to the end of `last`.
    pub(crate) fn to(self, last: Self) -> Self {
        Self::new(self.start, last.end)
    }

    /// Offset of the first byte.
    #[must_use]
    pub fn start(self) -> usize {
        self.start
    }

    /// Offset after the last byte.
    #[must_use]
    pub fn end(self) -> usize {
        self.end
    }

    /// The part of `text` this span covers, or nothing when `text` is not the text it was made for.
    #[must_use]
    pub fn of(self, text: &str) -> Option<&str> {
        text.get(self.start..self.end)
    }

    /// Line and column of the first byte, both counted from one, the column in characters.
    #[must_use]
    pub fn line_column(self, text: &str) -> (usize, usize) {
        let before = text.get(..self.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lines = before.matches('\n').count() + 1;
        let columns = before.get(line_start..).unwrap_or("").chars().count() + 1;
        (lines, columns)
    }
}

/// A position in a text. Copying it is how a parser remembers where to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Steps over `expected` when it comes next.
    pub(crate) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Steps over the longest run of characters that satisfy `good` and returns it.
    pub(crate) fn take_while(&mut self, good: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !good(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    /// What lies between an earlier position and this one.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    pub(crate) fn span_since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }

    /// The span of the next character, empty at the end of the text.
    pub(crate) fn next_span(&self) -> Span {
        Span::new(self.at, self.at + self.peek().map_or(0, char::len_utf8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "ab\nčd e";
        assert_eq!(Span::new(0, 1).line_column(text), (1, 1));
        assert_eq!(Span::new(3, 5).line_column(text), (2, 1));
        assert_eq!(Span::new(5, 6).line_column(text), (2, 2));
        assert_eq!(Span::new(8, 8).line_column(text), (2, 5));
        assert_eq!(Span::new(3, 5).of(text), Some("č"));
        assert_eq!(Span::new(4, 5).of(text), None, "inside a character");
        assert_eq!(Span::new(90, 91).of(text), None);
    }

    #[test]
    fn a_cursor_never_leaves_the_text() {
        let mut cursor = Cursor::new("ač");
        assert!(!cursor.eat("b"));
        assert!(cursor.eat("a"));
        assert_eq!(cursor.next_span(), Span::new(1, 3));
        assert_eq!(cursor.bump(), Some('č'));
        assert_eq!(cursor.bump(), None);
        assert_eq!((cursor.at(), cursor.rest()), (3, ""));
        assert_eq!(cursor.take_while(|_| true), "");
        assert_eq!(cursor.since(1), "č");
    }
}
