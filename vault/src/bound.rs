//! Bound keys: a handle together with its vault, ready to use. Binding checks facet, vault and algorithm once, so that
//! later calls fail only for reasons of the world. Identity, channel and authority accept these and never a bare vault.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::facet::{AgreementFacet, SealingFacet, SigningFacet};
use crate::handle::KeyHandle;
use crate::public::{AgreementKey, Signature, VerifyingKey};
use crate::purpose::{Agreement, Purpose, Sealing, Signing};
use crate::secret::SecretBytes;
use crate::uri::KeyUri;
use crate::{Vault, spec::Algorithm};

/// A vault and one of its keys.
#[derive(Clone)]
struct Bound<P: Purpose> {
    vault: Arc<dyn Vault>,
    key: KeyHandle<P>,
}

impl<P: Purpose> Bound<P> {
    fn new(vault: Arc<dyn Vault>, key: KeyHandle<P>, has_facet: bool) -> Result<Self> {
        if key.vault() != vault.id() {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        if !has_facet || vault.capabilities().get(key.algorithm()).is_none() {
            return Err(no_facet(&*vault, key.algorithm()));
        }
        Ok(Self { vault, key })
    }
}

fn no_facet(vault: &dyn Vault, algorithm: Algorithm) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("this {} vault has no keys for {} by {algorithm}", vault.scheme(), algorithm.purpose()),
    )
    .with_hint("`ockam-kms vault check NAME` lists what a vault can do")
}

macro_rules! bound_key {
    ($(#[$doc:meta])* $name:ident, $purpose:ty, $facet:ident, $facet_trait:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Bound<$purpose>);

        impl $name {
            /// Binds a handle to its vault.
            ///
            /// # Errors
            /// [`Kind::Invalid`] for a handle of another vault, [`Kind::Unsupported`] when the vault lacks the facet
            /// or the algorithm.
            pub fn bind(vault: Arc<dyn Vault>, key: KeyHandle<$purpose>) -> Result<Self> {
                let has_facet = vault.$facet().is_some();
                Bound::new(vault, key, has_facet).map(Self)
            }

            /// The handle.
            #[must_use]
            pub fn handle(&self) -> &KeyHandle<$purpose> {
                &self.0.key
            }

            /// The vault.
            #[must_use]
            pub fn vault(&self) -> &Arc<dyn Vault> {
                &self.0.vault
            }

            /// The algorithm.
            #[must_use]
            pub fn algorithm(&self) -> Algorithm {
                self.0.key.algorithm()
            }

            /// Destroys the key for good.
            ///
            /// # Errors
            /// Whatever the vault meets.
            pub async fn destroy(self) -> Result<()> {
                let Bound { vault, key } = self.0;
                let facet = vault.$facet().ok_or_else(|| no_facet(&*vault, key.algorithm()))?;
                facet.destroy(key).await
            }

            fn facet(&self) -> Result<$facet_trait> {
                self.0.vault.$facet().ok_or_else(|| no_facet(&*self.0.vault, self.0.key.algorithm()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0.key).finish()
            }
        }
    };
}

bound_key!(
    /// A signing key, ready to sign.
    Signer, Signing, signing, &dyn SigningFacet
);
bound_key!(
    /// An agreement key, ready to agree.
    Agreer, Agreement, agreement, &dyn AgreementFacet
);
bound_key!(
    /// A sealing key, ready to seal.
    Sealer, Sealing, sealing, &dyn SealingFacet
);

impl Signer {
    /// Opens a key by its URI and compares it with the public key that was recorded for it.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when the vault now holds another key under that URI; otherwise as `open` and
    /// [`bind`](Self::bind).
    pub async fn open(vault: Arc<dyn Vault>, uri: &KeyUri, expected: &VerifyingKey) -> Result<Self> {
        let facet = vault.signing().ok_or_else(|| no_facet(&*vault, expected.algorithm()))?;
        let key = facet.open(uri).await?;
        if key.public() != expected {
            return Err(swapped(uri));
        }
        Self::bind(Arc::clone(&vault), key)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &VerifyingKey {
        self.0.key.public()
    }

    /// Signs a message and checks the answer before it leaves: a faulty or hostile device is an input source
    /// too, and for deterministic schemes a faulty signature can give the key away.
    ///
    /// # Errors
    /// Whatever the vault meets; [`Kind::Backend`] when what it returned does not verify.
    pub async fn sign(&self, message: &[u8]) -> Result<Signature> {
        let signature = self.facet()?.sign(&self.0.key, message).await?;
        if self.0.vault.returns_may_lie() {
            self.public().verify(message, &signature).map(drop).map_err(|_| {
                Error::new(
                    Kind::Backend,
                    "the device returned a signature that does not verify under its key",
                )
            })?;
        }
        Ok(signature)
    }
}

impl Agreer {
    /// As [`Signer::open`].
    ///
    /// # Errors
    /// As [`Signer::open`].
    pub async fn open(vault: Arc<dyn Vault>, uri: &KeyUri, expected: &AgreementKey) -> Result<Self> {
        let facet = vault.agreement().ok_or_else(|| no_facet(&*vault, expected.algorithm()))?;
        let key = facet.open(uri).await?;
        if key.public() != expected {
            return Err(swapped(uri));
        }
        Self::bind(Arc::clone(&vault), key)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &AgreementKey {
        self.0.key.public()
    }

    /// Agrees with a peer's public key.
    ///
    /// # Errors
    /// [`Kind::Rejected`] for a peer key of small order; otherwise whatever the vault meets.
    pub async fn agree(&self, peer: &AgreementKey) -> Result<SecretBytes> {
        self.facet()?.agree(&self.0.key, peer).await
    }
}

impl Sealer {
    /// Seals a small secret, bound to `associated`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is too long; otherwise whatever the vault meets.
    pub async fn seal(&self, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
        if plain.len() > crate::facet::MAX_SEAL {
            return Err(Error::new(
                Kind::Invalid,
                format!("more than {} bytes to seal", crate::facet::MAX_SEAL),
            ));
        }
        self.facet()?.seal(&self.0.key, plain, associated).await
    }

    /// Unseals what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// [`Kind::Rejected`] when it was altered, or made under another key or other associated data.
    pub async fn unseal(&self, sealed: &[u8], associated: &[u8]) -> Result<SecretBytes> {
        self.facet()?.unseal(&self.0.key, sealed, associated).await
    }
}

fn swapped(uri: &KeyUri) -> Error {
    Error::new(Kind::Corrupt, format!("the key at `{uri}` is not the one that was recorded")).with_hint(
        "somebody replaced it: restore the original, or rotate the identity with a key that is still good",
    )
}
