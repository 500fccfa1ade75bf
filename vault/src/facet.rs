//! Facets: the families of operations a vault may have. A backend implements those that it has; there is no method
//! that defaults to "unsupported".
//!
//! Every method returns a boxed `Send` future and names no runtime. Dropping the future abandons the answer, not the
//! device: a backend finishes or discards the request by itself.

use std::ops::RangeInclusive;
use std::pin::Pin;

use crate::error::Result;
use crate::handle::KeyHandle;
use crate::public::{AgreementKey, Signature};
use crate::purpose::{Agreement, Purpose, PurposeKind, Sealing, Signing};
use crate::secret::SecretBytes;
use crate::spec::{Algorithm, KeyName, KeySpec};
use crate::uri::KeyUri;

/// The answer of a facet, when it comes.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Keeping keys of one purpose: what every facet with keys has.
pub trait Custody<P: Purpose>: Send + Sync {
    /// Makes a key under exactly the name of the specification, durably, before it answers. A retry after a lost answer
    /// therefore meets [`AlreadyExists`](crate::Kind::AlreadyExists), never a second key.
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>>;

    /// Finds a key by its URI, reading back what the vault says of it. A key whose attributes allow more than its
    /// purpose is refused; so is a URI that matches several keys.
    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>>;

    /// Destroys the key for good. Destroying a key that is already gone is an error of kind
    /// [`NotFound`](crate::Kind::NotFound).
    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()>;

    /// Makes sure that nothing of this name is left: neither a key nor what a generation that was cut off left behind
    /// (on a token, a public object without its private one). For rolling back; it is no error when there is nothing.
    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()>;
}

/// Signing.
pub trait SigningFacet: Custody<Signing> {
    /// Signs `message`: Ed25519 over the message itself, ECDSA over its SHA-256, with `s` in the lower half.
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature>;

    /// How many bytes a message may have that a key of this algorithm signs. Fewer or more are [`Invalid`](crate::Kind::Invalid).
    /// Only devices that take the message itself have such limits.
    fn message_lengths(&self, _algorithm: Algorithm) -> RangeInclusive<usize> {
        0..=usize::MAX
    }
}

/// Key agreement.
pub trait AgreementFacet: Custody<Agreement> {
    /// Agrees with a peer's public key. One of another type is [`Invalid`](crate::Kind::Invalid); an all-zero secret (a peer key of small order, RFC 7748 §6.1) is
    /// [`Rejected`](crate::Kind::Rejected).
    fn agree<'a>(&'a self, key: &'a KeyHandle<Agreement>, peer: &'a AgreementKey)
    -> Pending<'a, SecretBytes>;
}

/// Sealing of small secrets: what wraps the data key of another vault.
pub trait SealingFacet: Custody<Sealing> {
    /// Seals at most [`MAX_SEAL`] bytes, bound to `associated` data. What comes out is laid out as the backend says
    /// (docs/formats.md); with an AES key in the vault it is nonce (12 bytes), ciphertext, tag (16 bytes).
    fn seal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        plain: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, Vec<u8>>;

    /// Unseals what [`seal`](Self::seal) made under the same key and associated data.
    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes>;
}

/// The most bytes that one call seals: a facet for keys, not for data.
pub const MAX_SEAL: usize = 4096;

/// Taking a destruction back, where a device only schedules it.
pub trait RestoringFacet: Send + Sync {
    /// Cancels the destruction of the key that the URI names, by its name or as the device knows it, and makes it usable under
    /// its old name. A key that is not about to be destroyed is [`NotFound`](crate::Kind::NotFound); a name that several such
    /// keys had is [`Invalid`](crate::Kind::Invalid); one that a living key has now is
    /// [`AlreadyExists`](crate::Kind::AlreadyExists).
    fn restore<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyInfo>;
}

/// Listing what is there.
pub trait ListingFacet: Send + Sync {
    /// The keys of this vault that this software can use, sorted by name.
    fn list(&self) -> Pending<'_, Vec<KeyInfo>>;
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The name it was generated under, or the device's label.
    pub name: String,
    /// The key URI that opens it.
    pub uri: KeyUri,
    /// What it is for.
    pub purpose: PurposeKind,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its public half, for those that have one.
    pub public: Option<Vec<u8>>,
}
