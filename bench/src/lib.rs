//! Our crates beside their peers: the same operation done by ours, by the raw crate or the raw device call, and by the
//! published Ockam crates, in turn and in one process.
//!
//! A [`Row`] is one operation with its [`Contender`]s, ours first. Each contender shows once that what it does is right,
//! and is then [measured](measure). Times are printed and judge nothing: no test asks for one.

pub mod channels;
mod contender;
mod facts;
mod measure;
mod options;
pub mod report;
mod rows;
pub mod softhsm;

pub use contender::Contender;
pub use facts::Facts;
pub use measure::{Figures, Measured, Plan, measure};
pub use options::Options;
pub use rows::{Row, all as all_rows};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
