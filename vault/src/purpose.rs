//! What a key is for, as a type: a key that signs cannot be handed to a function that agrees.

use std::fmt;

use crate::error::Result;
use crate::public::{AgreementKey, VerifyingKey};
use crate::spec::Algorithm;

mod sealed {
    pub trait Sealed {}
}

/// The purpose of a key, carried in the type of its handle. Sealed: the list is closed on purpose.
pub trait Purpose: sealed::Sealed + Clone + Copy + fmt::Debug + Send + Sync + 'static {
    /// What the world may know of such a key: `()` for symmetric keys.
    type Public: Clone + fmt::Debug + PartialEq + Eq + Send + Sync + 'static;
    /// The same purpose as a value.
    const KIND: PurposeKind;

    /// The public half from its bytes. Those of symmetric keys do not matter.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) when they are no public key of this algorithm.
    fn public_from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self::Public>;

    /// The bytes of the public half, if there is one.
    fn public_bytes(public: &Self::Public) -> Option<&[u8]>;
}

/// Signs; its public half verifies.
#[derive(Clone, Copy, Debug)]
pub struct Signing;

/// Agrees on a shared secret with another party's public key.
#[derive(Clone, Copy, Debug)]
pub struct Agreement;

/// Seals and unseals small secrets.
#[derive(Clone, Copy, Debug)]
pub struct Sealing;

impl sealed::Sealed for Signing {}
impl sealed::Sealed for Agreement {}
impl sealed::Sealed for Sealing {}

impl Purpose for Signing {
    type Public = VerifyingKey;
    const KIND: PurposeKind = PurposeKind::Signing;

    fn public_from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<VerifyingKey> {
        VerifyingKey::from_bytes(algorithm, bytes)
    }

    fn public_bytes(public: &VerifyingKey) -> Option<&[u8]> {
        Some(public.as_bytes())
    }
}

impl Purpose for Agreement {
    type Public = AgreementKey;
    const KIND: PurposeKind = PurposeKind::Agreement;

    fn public_from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<AgreementKey> {
        AgreementKey::from_bytes(algorithm, bytes)
    }

    fn public_bytes(public: &AgreementKey) -> Option<&[u8]> {
        Some(public.as_bytes())
    }
}

impl Purpose for Sealing {
    type Public = ();
    const KIND: PurposeKind = PurposeKind::Sealing;

    fn public_from_bytes(_: Algorithm, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn public_bytes((): &()) -> Option<&[u8]> {
        None
    }
}

/// A purpose as a value, where handles of several purposes meet: listings and capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PurposeKind {
    /// See [`Signing`].
    Signing,
    /// See [`Agreement`].
    Agreement,
    /// See [`Sealing`].
    Sealing,
}

impl PurposeKind {
    /// The word used in text and JSON, and in the associated data of sealed keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Agreement => "agreement",
            Self::Sealing => "sealing",
        }
    }
}

impl fmt::Display for PurposeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
