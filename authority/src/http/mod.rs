//! The authority over HTTP: who sent a request (RFC 9421 signatures), what it asks for, and what is answered.
//!
//! A request is signed by a *request key* of its sender: over the method, the target URI, the digest of the body and the
//! authority that it is meant for, with a nonce, for a minute at most. The key `keyid` names is one of an identity under a
//! change; when the server does not have that identity or that key it says so, and the sender shows both in a header
//! ([`MAX_IDENTITY`]). Answers are not signed: what has to be believed in them (histories, credentials) proves itself.
//!
//! The URI that is signed is `http://` (`https://` when the server has TLS), the host of the request, and its path and
//! query; behind a proxy that changes the host, it is [`Options::public_url`] and the path and query. All of it, the JSON of every route included, is in
//! docs/formats.md.

mod admission;
mod authenticate;
mod connection;
#[cfg(test)]
mod documented;
mod early;
mod fault;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod golden;
mod handlers;
pub(crate) mod openapi;
pub(crate) mod problem;
mod ready;
mod replay;
mod routes;
pub(crate) mod sender;
mod server;
pub(crate) mod shape;
pub(crate) mod signature;
mod tls;
mod told;

pub use fault::Fault;
pub use routes::{MAX_BODY, ROUTES, Route};
pub use sender::MAX_IDENTITY;
pub use server::{Options, Server};
pub use tls::Tls;
