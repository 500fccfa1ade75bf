//! Key handles: typed names of keys inside one vault.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use crate::error::{Error, Kind, Result};
use crate::public::{AgreementKey, VerifyingKey};
use crate::purpose::{Agreement, Purpose, Signing};
use crate::spec::Algorithm;
use crate::uri::KeyUri;

/// Which vault a handle belongs to: stable for the life of the vault, different for every other one (a software
/// vault's random id, a token's serial number).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VaultId(String);

impl VaultId {
    /// An id from the text that a backend chose for it.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A typed name of one key in one vault: cloneable, and useless without the vault. The purpose is part of the type:
///
/// ```compile_fail,E0308
/// async fn wrong(facet: &dyn vault::SigningFacet, key: &vault::KeyHandle<vault::Agreement>) {
///     let _ = facet.sign(key, b"message").await; // expected `&KeyHandle<Signing>`
/// }
/// ```
///
/// ```
/// async fn right(facet: &dyn vault::SigningFacet, key: &vault::KeyHandle<vault::Signing>) {
///     let _ = facet.sign(key, b"message").await;
/// }
/// ```
#[derive(Clone)]
pub struct KeyHandle<P: Purpose> {
    vault: VaultId,
    id: String,
    uri: KeyUri,
    algorithm: Algorithm,
    public: P::Public,
    purpose: PhantomData<P>,
}

impl<P: Purpose> KeyHandle<P> {
    /// For backends: names the key that the vault itself knows as `id`.
    #[must_use]
    pub fn new(
        vault: VaultId,
        id: impl Into<String>,
        uri: KeyUri,
        algorithm: Algorithm,
        public: P::Public,
    ) -> Self {
        Self { vault, id: id.into(), uri, algorithm, public, purpose: PhantomData }
    }

    /// For backends: the same, with the public half as the bytes that a device or a file says. Symmetric keys have none.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when they are no public key of this algorithm.
    pub fn from_parts(
        vault: VaultId,
        id: impl Into<String>,
        uri: KeyUri,
        algorithm: Algorithm,
        public: Option<&[u8]>,
    ) -> Result<Self> {
        let public = P::public_from_bytes(algorithm, public.unwrap_or_default()).map_err(|e| {
            let text = format!("what should be the public half of a key of type {algorithm} is none");
            Error::new(Kind::Corrupt, text).with_source(e)
        })?;
        Ok(Self::new(vault, id, uri, algorithm, public))
    }

    /// The vault that holds the key.
    #[must_use]
    pub fn vault(&self) -> &VaultId {
        &self.vault
    }

    /// For backends: what the vault itself calls the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key URI that opens it again.
    #[must_use]
    pub fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half as bytes, if there is one.
    #[must_use]
    pub fn public_bytes(&self) -> Option<&[u8]> {
        P::public_bytes(&self.public)
    }
}

impl KeyHandle<Signing> {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }
}

impl KeyHandle<Agreement> {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> &AgreementKey {
        &self.public
    }
}

impl<P: Purpose> PartialEq for KeyHandle<P> {
    fn eq(&self, other: &Self) -> bool {
        self.vault == other.vault && self.id == other.id && self.public == other.public
    }
}

impl<P: Purpose> Eq for KeyHandle<P> {}

impl<P: Purpose> Hash for KeyHandle<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.vault.hash(state);
        self.id.hash(state);
    }
}

impl<P: Purpose> fmt::Debug for KeyHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("purpose", &P::KIND)
            .field("algorithm", &self.algorithm)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
