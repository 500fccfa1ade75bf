//! Tokens in, tree out: the S-expression form.
//!
//! It reads with a stack of its own rather than by recursion, so that depth is a number to compare and
//! not a stack to overflow.

use alloc::vec::Vec;

use crate::MAX_DEPTH;
use crate::ast::{Expr, Kind};
use crate::check;
use crate::error::{Fault, ParseErrorKind};
use crate::lex::{Lexer, Token};
use crate::span::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Round,
    Square,
}

/// A bracket that was opened and what was read since.
struct Frame {
    bracket: Bracket,
    open: Span,
    items: Vec<Expr>,
}

/// Reads `text` as one S-expression. The outermost parentheses may be left out.
pub(crate) fn sexpr(text: &str) -> Result<Expr, Fault> {
    let mut lexer = Lexer::new(text);
    let mut frames: Vec<Frame> = Vec::new();
    let mut top: Vec<Expr> = Vec::new();

    while let Some((token, span)) = lexer.next_token()? {
        let expr = match token {
            Token::Open | Token::SeqOpen => {
                if frames.len() >= MAX_DEPTH {
                    return Err(check::too_deep(span));
                }
                let bracket = if token == Token::Open { Bracket::Round } else { Bracket::Square };
                frames.push(Frame { bracket, open: span, items: Vec::new() });
                continue;
            }
            Token::Close => match frames.pop() {
                Some(frame) => close(frame, Bracket::Round, span)?,
                None => everything_so_far(&mut top, span)?,
            },
            Token::SeqClose => match frames.pop() {
                Some(frame) => close(frame, Bracket::Square, span)?,
                None => return Err(bracket("this `]` closes nothing; remove it or open it with `[`", span)),
            },
            Token::Value(value) => Expr::new(Kind::Literal(value), span),
            Token::Ident(name) => Expr::new(Kind::Ident(name), span),
        };
        frames.last_mut().map_or(&mut top, |frame| &mut frame.items).push(expr);
    }

    if let Some(frame) = frames.pop() {
        let message = match frame.bracket {
            Bracket::Round => "this `(` is never closed; add a `)`",
            Bracket::Square => "this `[` is never closed; add a `]`",
        };
        return Err(bracket(message, frame.open).reaching(text.len()));
    }
    let expr = whole(top, text)?;
    check::not_too_deep(&expr)?;
    check::starts_with_operator(&expr)?;
    Ok(expr)
}

fn close(frame: Frame, closing: Bracket, span: Span) -> Result<Expr, Fault> {
    let whole = frame.open.to(span);
    match (frame.bracket, closing) {
        (Bracket::Round, Bracket::Round) => Ok(Expr::new(Kind::List(frame.items), whole)),
        (Bracket::Square, Bracket::Square) => {
            check::one_type(&frame.items)?;
            Ok(Expr::new(Kind::Seq(frame.items), whole))
        }
        (Bracket::Round, Bracket::Square) => Err(bracket("a `(` is closed by `)`, not by `]`", span)),
        (Bracket::Square, Bracket::Round) => Err(bracket("a `[` is closed by `]`, not by `)`", span)),
    }
}

/// A `)` that nothing opened makes a list of all that stands before it: `= 1 1)` is `(= 1 1)`. An
/// accident of the reference's parser that policies in the field may depend on.
fn everything_so_far(top: &mut Vec<Expr>, close: Span) -> Result<Expr, Fault> {
    let items = core::mem::take(top);
    let start = items.first().map_or(close, |first| first.span);
    let expr = Expr::new(Kind::List(items), start.to(close));
    check::not_too_deep(&expr)?;
    Ok(expr)
}

/// One expression stands for itself, several are a list without its parentheses.
fn whole(mut top: Vec<Expr>, text: &str) -> Result<Expr, Fault> {
    let span = match (top.first(), top.last()) {
        (Some(first), Some(last)) => first.span.to(last.span),
        _ => {
            let message = "there is no expression here; write for example `(= subject.role \"member\")`";
            return Err(Fault::new(ParseErrorKind::Empty, Span::new(0, text.len()), message));
        }
    };
    match top.pop() {
        Some(only) if top.is_empty() => Ok(only),
        last => {
            top.extend(last);
            Ok(Expr::new(Kind::List(top), span))
        }
    }
}

fn bracket(message: &str, span: Span) -> Fault {
    Fault::new(ParseErrorKind::Bracket, span, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn printed(text: &str) -> alloc::string::String {
        sexpr(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}")).to_string()
    }

    #[test]
    fn outer_parentheses_may_be_left_out() {
        for text in ["(= a 1)", "= a 1", "= a 1)", ";; x\n = (;y;) a 1"] {
            assert_eq!(printed(text), "(= a 1)", "{text}");
        }
        assert_eq!(printed("= 1) 2"), "((= 1) 2)");
        assert_eq!(printed("= 1))"), "((= 1))");
        assert_eq!(printed("(= 1) (= 2)"), "((= 1) (= 2))");
        assert_eq!(printed("="), "=");
    }

    #[test]
    fn brackets_must_match() {
        for (text, start) in [
            ("(= 1", 0),
            ("= (a", 2),
            ("= [a", 2),
            ("= [a)", 4),
            ("(= a]", 4),
            ("= ]", 2),
            ("= 1]", 3),
            ("= (a))) (", 8),
        ] {
            let fault = sexpr(text).unwrap_err();
            assert_eq!((fault.kind, fault.span.start()), (ParseErrorKind::Bracket, start), "{text}");
        }
        for text in ["", " ", ";; only a comment", "(; ;)"] {
            assert_eq!(sexpr(text).unwrap_err().kind, ParseErrorKind::Empty, "{text}");
        }
        assert_eq!(sexpr(")").unwrap_err().kind, ParseErrorKind::NotAnOperation);
    }

    #[test]
    fn spans_cover_what_was_written() {
        let text = " (and (= a 1) [x])";
        let expr = sexpr(text).unwrap();
        assert_eq!(expr.span.of(text), Some("(and (= a 1) [x])"));
        let Kind::List(items) = &expr.kind else { panic!() };
        assert_eq!(items[1].span.of(text), Some("(= a 1)"));
        assert_eq!(items[2].span.of(text), Some("[x]"));
        assert_eq!(sexpr(" = 1 2 ").unwrap().span, Span::new(1, 6));
    }

    #[test]
    fn depth_is_limited_also_where_brackets_are_implied() {
        let nested = |depth: usize| format!("(= {}{})", "(".repeat(depth - 1), ")".repeat(depth - 1));
        assert!(sexpr(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(sexpr(&nested(MAX_DEPTH + 1)).unwrap_err().kind, ParseErrorKind::TooDeep);
        let closed = |depth: usize| format!("= 1{}", ")".repeat(depth));
        assert!(sexpr(&closed(MAX_DEPTH)).is_ok());
        assert_eq!(sexpr(&closed(MAX_DEPTH + 1)).unwrap_err().kind, ParseErrorKind::TooDeep);
        let implied = format!("= {}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(sexpr(&implied).unwrap_err().kind, ParseErrorKind::TooDeep);
    }
}
