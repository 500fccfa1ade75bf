//! The one tree both forms are read into.
//!
//! A list whose head is not an operator, an operator without its arguments, a name nobody binds: all of
//! that is representable, since the reference finds it out only when it evaluates.

use alloc::string::String;
use alloc::vec::Vec;

use crate::span::Span;
use crate::value::Value;

/// An expression and where it was read. Two expressions are equal when they mean the same, wherever
/// they stood.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string, a number or a bool. Sequences of the text are [`Kind::Seq`], as they may hold names.
    Literal(Value),
    Ident(String),
    Seq(Vec<Expr>),
    List(Vec<Expr>),
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Expr {}

impl Expr {
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span }
    }

    /// `(operator args…)`, all of it read at `span`.
    pub(crate) fn call(operator: Operator, args: impl IntoIterator<Item = Expr>, span: Span) -> Self {
        let head = Expr::new(Kind::Ident(operator.name().into()), span);
        Self::new(Kind::List(core::iter::once(head).chain(args).collect()), span)
    }

    /// The operator and the arguments when this is a list that starts with an operator.
    pub(crate) fn as_call(&self) -> Option<(Operator, &[Expr])> {
        match &self.kind {
            Kind::List(items) => match items.split_first() {
                Some((Expr { kind: Kind::Ident(name), .. }, args)) => {
                    Operator::from_name(name).map(|operator| (operator, args))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// How many lists and sequences stand inside one another, this one included.
    pub(crate) fn depth(&self) -> usize {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => 0,
            Kind::Seq(items) | Kind::List(items) => 1 + items.iter().map(Expr::depth).max().unwrap_or(0),
        }
    }
}

/// What may stand at the head of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    And,
    Or,
    Not,
    If,
    Less,
    Greater,
    Equal,
    NotEqual,
    Member,
    Exists,
}

impl Operator {
    pub(crate) const ALL: [Self; 10] = [
        Self::And,
        Self::Or,
        Self::Not,
        Self::If,
        Self::Less,
        Self::Greater,
        Self::Equal,
        Self::NotEqual,
        Self::Member,
        Self::Exists,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::If => "if",
            Self::Less => "<",
            Self::Greater => ">",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Member => "member?",
            Self::Exists => "exists?",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn operators_have_one_name_each() {
        for operator in Operator::ALL {
            assert_eq!(Operator::from_name(operator.name()), Some(operator));
        }
        assert_eq!(Operator::from_name("xor"), None);
    }

    #[test]
    fn depth_counts_brackets_inside_one_another() {
        let leaf = || Expr::new(Kind::Ident("a".into()), Span::default());
        let list = |items| Expr::new(Kind::List(items), Span::default());
        assert_eq!(leaf().depth(), 0);
        assert_eq!(list(vec![]).depth(), 1);
        assert_eq!(list(vec![leaf(), list(vec![leaf()]), list(vec![list(vec![])])]).depth(), 3);
    }

    #[test]
    fn equality_ignores_where_an_expression_stood() {
        let at = |start| Expr::new(Kind::Ident("a".into()), Span::new(start, start + 1));
        assert_eq!(at(0), at(7));
        assert_ne!(at(0).kind, Kind::Literal("a".into()));
    }
}
