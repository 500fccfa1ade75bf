//! Ockam's attribute policies: text in, decision out.
//!
//! A policy is one expression over what is known about a subject. It comes in two forms, tried in this
//! order: the short one, `member and not guest`, in which every name is an attribute of the subject that
//! must be the string `"true"` (or, with `region=eu`, another string); and the full one, an S-expression
//! such as `(and (= subject.role "member") (exists? subject.team))`. Both are read into the same tree.
//!
//! A subject's attributes come from a verified credential and are strings, always. They go into an
//! [`Env`]; [`Policy::evaluate`] gives an [`Evaluation`]: the outcome, the [`Decision`], and the parts of
//! the policy that decided, each with its place in the text. Only `true` allows. A value that is no bool
//! denies, and so does an error: a name that is not bound, types that do not compare.
//!
//! ```
//! use policy_lang::{Decision, Env, Form, Policy};
//!
//! let policy = Policy::parse(r#"(and (= subject.role "member") (member? subject.site ["oslo" "bern"]))"#)?;
//! assert_eq!(policy.form(), Form::SExpr);
//!
//! let subject = "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c";
//! let env = Env::for_subject(subject, [("role", "guest"), ("site", "oslo")])?;
//! let evaluation = policy.evaluate(&env);
//! assert_eq!(evaluation.decision(), Decision::Deny);
//! assert_eq!(
//!     evaluation.reasons[0].to_string(),
//!     r#"`(= subject.role "member")` is false: `subject.role` is `"guest"`"#
//! );
//!
//! // The short form says the same as an S-expression, which is what a policy prints.
//! assert_eq!(Policy::parse("role=member")?.to_string(), r#"(= subject.role "member")"#);
//!
//! // An error points at the text.
//! let error = Policy::parse(r#"(= subject.role, "member")"#).unwrap_err();
//! assert_eq!((error.line(), error.column()), (1, 16));
//! assert!(error.to_string().contains("items are separated by white space, not by commas"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it means
//!
//! There are two meanings. [`Meaning::Strict`] is what [`Policy::parse`] reads with and what decides wherever we decide.
//! [`Meaning::Exact`] is what `ockam_abac` 0.80 takes a policy to mean, its accidents included, so that one can tell what
//! a policy does there. They share text, tree, values and comparisons, and differ in three things:
//!
//! | | exact | strict |
//! |---|---|---|
//! | words of the short form | end anywhere: `notary` is `not ary`, `a android` is `a and roid` | end where no name goes on: `notary` is a name |
//! | `and`, `or` | from left to right; an error ends the evaluation: `(or a b)` denies whoever lacks `a` | one false argument makes `and` false, one true argument makes `or` true, whatever the others are |
//! | an attribute that the shown credential does not have | an error: `not banned` denies whoever lacks `banned` | absent: it equals nothing, not even `""` or itself, and has no order, so that comparing it is false |
//!
//! Where no credential was shown, nothing is known of the subject, and a name that is not bound is an error by both: what
//! is not shown must not count as what is not there. [`compare`] says where the two may decide differently; where it says
//! nothing, they do not. By both, `subject.has_credential` is a bool and never equals the string that `has_credential` in
//! the short form compares it with.
//!
//! Nothing here panics, recurses without a bound or runs
//! without end: a text longer than [`MAX_TEXT`] or nested deeper than [`MAX_DEPTH`] is an error, and an
//! environment binds values, never expressions, so no name can stand for itself. An attribute cannot take
//! the place of `subject.identifier` or `subject.has_credential` ([`RESERVED_ATTRIBUTES`]).
//!
//! # How it is built
//!
//! `span` knows places, `lex` makes tokens, `number` reads numbers, `parse` and `shorthand` make the tree
//! of `ast`, `check` refuses some trees, `print` turns them back into text; `value` compares, `env` binds,
//! `eval` evaluates, `explain` finds reasons, `compare` and `pairs` compare the two meanings, `decision` says what came out, `policy` ties it together.
//! No I/O, no clock, no randomness, no dependency, no `std`: the same text and the same environment give
//! the same answer everywhere.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ast;
mod check;
mod compare;
mod decision;
mod env;
mod error;
mod eval;
mod explain;
mod lex;
mod number;
mod pairs;
mod parse;
mod policy;
mod print;
mod shorthand;
mod span;
mod value;

pub use compare::{Comparison, Warning, WarningKind, compare};
pub use decision::{Decision, Evaluation, Outcome};
pub use env::{Env, RESERVED_ATTRIBUTES};
pub use error::{EnvError, EnvErrorKind, EvalError, EvalErrorKind, ParseError, ParseErrorKind};
pub use explain::Reason;
pub use policy::{Form, Meaning, Policy};
pub use span::Span;
pub use value::Value;

/// How long the text of a policy may be, and how long the S-expression it stands for, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// How deep brackets may be nested in the text of a policy, and in the S-expression it stands for. Small
/// enough for a thread with a stack of 512 KiB, in a build without optimisation.
pub const MAX_DEPTH: usize = 128;
