//! The authority as Ockam's own services, which unmodified peers use: behind a listener of secure channels, in requests whose
//! bodies are CBOR (docs/formats.md, "the authority's services").
//!
//! It is a second door to the same [`Authority`](crate::service::Authority) as [`http`](crate::http): who asks is who the
//! channel's handshake proved, and what is asked passes the same gate into the same store and audit log. A [`Desk`] turns a
//! request into its answer and knows nothing of nodes; a [`Door`] puts it on one.
//!
//! Where the reference is silent, this answers: what cannot be understood gets 400.

mod desk;
mod door;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod problem;
pub(crate) mod shape;
mod told;

use std::fmt;

pub use desk::{Desk, Options};
pub use door::{Door, LISTENER};
pub use problem::{CODES, RETRY_AFTER};

/// The services, each at an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Members: adds, lists, shows and deletes them.
    DirectAuthenticator,
    /// Makes enrolment tickets.
    EnrollmentTokenIssuer,
    /// Takes enrolment tickets.
    EnrollmentTokenAcceptor,
    /// Issues credentials.
    CredentialIssuer,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [
        Self::DirectAuthenticator,
        Self::EnrollmentTokenIssuer,
        Self::EnrollmentTokenAcceptor,
        Self::CredentialIssuer,
    ];

    /// Its address.
    #[must_use]
    pub fn address(self) -> &'static str {
        match self {
            Self::DirectAuthenticator => "direct_authenticator",
            Self::EnrollmentTokenIssuer => "enrollment_token_issuer",
            Self::EnrollmentTokenAcceptor => "enrollment_token_acceptor",
            Self::CredentialIssuer => "credential_issuer",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())
    }
}
