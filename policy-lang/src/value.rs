//! What an expression can stand for, and how two such values compare.
//!
//! Nothing is ever converted: `1`, `1.0`, `"1"` and `true` are four types, and comparing across types
//! is an error that the caller turns into one with a position.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ast::Expr;

/// A value that an attribute is bound to, or that an expression results in.
///
/// `==` on this type asks whether two values are *the same*: a NaN is the same as itself, and `0.0` is
/// not the same as `-0.0`. The `=` of a policy is another question and follows IEEE 754.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// Text. Every attribute of a credential is one.
    Str(String),
    /// A whole number.
    Int(i64),
    /// A binary floating-point number.
    Float(f64),
    /// The only type that decides anything.
    Bool(bool),
    /// Several values in order.
    Seq(Vec<Value>),
    /// What the empty list `()` results in.
    Unit,
}

impl Value {
    /// The name of this value's type, as messages use it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        View::from(self).type_name()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Seq(a), Self::Seq(b)) => a == b,
            (Self::Unit, Self::Unit) => true,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Seq(items)
    }
}

/// A value during evaluation: borrowed from the policy or the environment wherever it can be, so that
/// a decision copies no attribute.
#[derive(Debug, Clone)]
pub(crate) enum Operand<'a> {
    Known(&'a Value),
    Bool(bool),
    Unit,
    Seq(Vec<Operand<'a>>),
    /// An attribute, by the name that asks for it, that the subject is known not to have. It equals nothing and has no
    /// order. Only `strict` knows it.
    Absent(&'a Expr),
}

impl<'a> Operand<'a> {
    /// The first attribute that is absent in here.
    pub(crate) fn absent(&self) -> Option<&'a Expr> {
        match self {
            Self::Absent(name) => Some(name),
            Self::Seq(items) => items.iter().find_map(Operand::absent),
            Self::Known(_) | Self::Bool(_) | Self::Unit => None,
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Known(value) => View::from(*value),
            Self::Bool(truth) => View::Bool(*truth),
            Self::Unit => View::Unit,
            Self::Seq(items) => View::Seq(Items::Operands(items)),
            Self::Absent(_) => View::Absent,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Known(value) => (*value).clone(),
            Self::Bool(truth) => Value::Bool(*truth),
            // A result with something absent in it is an error before anybody wants it as a value.
            Self::Unit | Self::Absent(_) => Value::Unit,
            Self::Seq(items) => Value::Seq(items.iter().map(Operand::to_value).collect()),
        }
    }
}

/// One look at a value, whoever owns it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    Str(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    Unit,
    Seq(Items<'a>),
    Absent,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Items<'a> {
    Values(&'a [Value]),
    Operands(&'a [Operand<'a>]),
}

impl<'a> From<&'a Value> for View<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Str(text) => View::Str(text),
            Value::Int(number) => View::Int(*number),
            Value::Float(number) => View::Float(*number),
            Value::Bool(truth) => View::Bool(*truth),
            Value::Seq(items) => View::Seq(Items::Values(items)),
            Value::Unit => View::Unit,
        }
    }
}

impl<'a> Items<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Values(items) => items.len(),
            Self::Operands(items) => items.len(),
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = View<'a>> {
        (0..self.len()).filter_map(move |index| match self {
            Self::Values(items) => items.get(index).map(View::from),
            Self::Operands(items) => items.get(index).map(Operand::view),
        })
    }
}

/// Two values of different types met; their type names, left one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) &'static str, pub(crate) &'static str);

impl View<'_> {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Str(_) => "string",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::Unit => "unit",
            Self::Seq(_) => "sequence",
            Self::Absent => "absent",
        }
    }

    /// Whether both are equal. Sequences of different length are unequal before any element is looked
    /// at, and the first unequal pair settles it: a mismatch behind that pair goes unnoticed.
    pub(crate) fn equals(self, other: View<'_>) -> Result<bool, Mismatch> {
        Ok(match (self, other) {
            (View::Absent, _) | (_, View::Absent) => false,
            (View::Str(a), View::Str(b)) => a == b,
            (View::Int(a), View::Int(b)) => a == b,
            (View::Float(a), View::Float(b)) => a == b,
            (View::Bool(a), View::Bool(b)) => a == b,
            (View::Unit, View::Unit) => true,
            (View::Seq(a), View::Seq(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (x, y) in a.iter().zip(b.iter()) {
                    if !x.equals(y)? {
                        return Ok(false);
                    }
                }
                true
            }
            (a, b) => return Err(Mismatch(a.type_name(), b.type_name())),
        })
    }

    /// How both are ordered: text by bytes, `false` before `true`, the shorter sequence first and
    /// sequences of one length by their first unequal pair. A NaN has no order.
    pub(crate) fn compare(self, other: View<'_>) -> Result<Option<Ordering>, Mismatch> {
        Ok(match (self, other) {
            (View::Absent, _) | (_, View::Absent) => None,
            (View::Str(a), View::Str(b)) => a.partial_cmp(b),
            (View::Int(a), View::Int(b)) => a.partial_cmp(&b),
            (View::Float(a), View::Float(b)) => a.partial_cmp(&b),
            (View::Bool(a), View::Bool(b)) => a.partial_cmp(&b),
            (View::Unit, View::Unit) => Some(Ordering::Equal),
            (View::Seq(a), View::Seq(b)) => {
                let by_length = a.len().cmp(&b.len());
                if by_length != Ordering::Equal {
                    return Ok(Some(by_length));
                }
                for (x, y) in a.iter().zip(b.iter()) {
                    let order = x.compare(y)?;
                    if order != Some(Ordering::Equal) {
                        return Ok(order);
                    }
                }
                Some(Ordering::Equal)
            }
            (a, b) => return Err(Mismatch(a.type_name(), b.type_name())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn equals(a: &Value, b: &Value) -> Result<bool, Mismatch> {
        View::from(a).equals(View::from(b))
    }

    fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, Mismatch> {
        View::from(a).compare(View::from(b))
    }

    #[test]
    fn nothing_is_converted() {
        let all =
            [Value::from("1"), 1.into(), 1.0.into(), true.into(), vec![Value::Int(1)].into(), Value::Unit];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(equals(a, b).is_ok(), i == j, "{a:?} {b:?}");
                assert_eq!(compare(a, b).is_ok(), i == j, "{a:?} {b:?}");
            }
        }
        assert_eq!(equals(&Value::Int(1), &Value::from("1")), Err(Mismatch("int", "string")));
    }

    #[test]
    fn sequences_compare_by_length_then_by_the_first_unequal_pair() {
        let seq = |items: &[i64]| Value::Seq(items.iter().map(|n| Value::Int(*n)).collect());
        assert_eq!(compare(&seq(&[9]), &seq(&[1, 1])), Ok(Some(Ordering::Less)));
        assert_eq!(compare(&seq(&[1, 3]), &seq(&[1, 2])), Ok(Some(Ordering::Greater)));
        assert_eq!(compare(&seq(&[]), &seq(&[])), Ok(Some(Ordering::Equal)));
        let (mixed, other) = (Value::from(vec![1.into(), "x".into()]), Value::from(vec![2.into(), 2.into()]));
        assert_eq!(equals(&mixed, &other), Ok(false), "the first pair settles it");
        let same_start = Value::from(vec![1.into(), 2.into()]);
        assert!(equals(&mixed, &same_start).is_err());
    }

    #[test]
    fn nan_is_the_same_as_itself_but_equals_nothing() {
        let nan = Value::Float(f64::NAN);
        assert_eq!(nan, nan.clone());
        assert_eq!(equals(&nan, &nan), Ok(false));
        assert_eq!(compare(&nan, &Value::Float(1.0)), Ok(None));
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
        assert_eq!(equals(&Value::Float(0.0), &Value::Float(-0.0)), Ok(true));
    }
}
