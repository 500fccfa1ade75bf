//! The credential authority: admits members by ticket, issues them credentials, and keeps a log of it.
//!
//! An [`Authority`](service::Authority) is a service without a transport over a [`Store`](store::Store). A transport
//! authenticates whoever calls, presents them ([`Authority::meet`](service::Authority::meet)) and maps each
//! [`Problem`] to its own codes.
pub mod audit;
pub mod authz;
mod error;
pub mod issuer;
pub mod member;
mod problem;
pub mod service;
pub mod store;
pub mod ticket;

pub use error::{Error, Kind, Result};
pub use problem::{Needs, Problem};
