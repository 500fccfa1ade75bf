//! What a key can do, without saying where it lives.
//!
//! A [`Vault`] holds keys and uses them on request. What it offers is found by asking for a *facet*
//! ([`signing`](Vault::signing), [`agreement`](Vault::agreement), [`sealing`](Vault::sealing),
//! [`attestation`](Vault::attestation), [`listing`](Vault::listing)); what it does not have is `None`, checked by the compiler and not at the hundredth call.
//! Keys are named by [`KeyHandle`]s whose purpose is part of their type, and used through *bound keys*
//! ([`Signer`], [`Agreer`], [`Sealer`]) that pair a handle with its vault.
//!
//! ```
//! use std::sync::Arc;
//! use vault::{KeyName, KeySpec, Signer, SigningFacet as _, Custody as _, Vault, soft::SoftVault};
//!
//! # fn main() -> vault::Result<()> { vault::block_on(async {
//! let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
//! let facet = vault.signing().expect("a software vault signs");
//! let key = facet.generate(&KeySpec::ed25519(KeyName::new("issuer")?)).await?;
//! let signer = Signer::bind(Arc::clone(&vault), key)?;
//! let signature = signer.sign(b"hello").await?;
//! let _proof = signer.public().verify(b"hello", &signature)?;
//! assert!(signer.public().verify(b"hullo", &signature).is_err());
//! # Ok(()) }) }
//! ```
//!
//! The crate names no runtime and has no FFI. Backends for devices are crates of their own under `hsm-backends/`; the
//! software backend is [`soft`].

mod bound;
mod capability;
pub mod device;
pub mod durable;
mod error;
mod evidence;
mod facet;
mod handle;
mod interact;
mod inventory;
pub mod memory;
mod public;
mod purpose;
mod registry;
mod secret;
pub mod soft;
mod spec;
mod uri;
mod weaknesses;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use bound::{Agreer, Sealer, Signer};
pub use capability::{Capabilities, Capability, Operation, Presence, Protection};
pub use error::{Error, Kind, Result, Retry};
pub use evidence::{AttestationFacet, KeyEvidence, binding};
pub use facet::{
    AgreementFacet, Custody, KeyInfo, ListingFacet, MAX_SEAL, Pending, RestoringFacet, SealingFacet,
    SigningFacet,
};
pub use handle::{KeyHandle, VaultId};
pub use interact::{Ask, Interact, Nobody};
pub use inventory::{Capacity, Inventory, Left, Tries, Version};
pub use public::{AgreementKey, Ed25519Point, P256Point, Signature, SignatureVerified, VerifyingKey};
pub use purpose::{Agreement, Purpose, PurposeKind, Sealing, Signing};
pub use registry::{Backend, Registry};
pub use secret::{MAX_PASSPHRASE, SecretBytes};
pub use spec::{Algorithm, KeyName, KeySpec, MAX_KEY_NAME};
pub use uri::{KeyUri, MAX_URI, Scheme};
pub use weaknesses::Weakness;

use std::fmt;

/// Holds keys and uses them on request.
pub trait Vault: fmt::Debug + Send + Sync {
    /// Which vault this is: stable for its life, different for every other.
    fn id(&self) -> &VaultId;

    /// The scheme of its key URIs.
    fn scheme(&self) -> Scheme;

    /// What it can do. Fixed when the vault is opened.
    fn capabilities(&self) -> &Capabilities;

    /// Its signing keys, if it has any.
    fn signing(&self) -> Option<&dyn SigningFacet> {
        None
    }

    /// Its agreement keys, if it has any.
    fn agreement(&self) -> Option<&dyn AgreementFacet> {
        None
    }

    /// Its sealing keys, if it has any.
    fn sealing(&self) -> Option<&dyn SealingFacet> {
        None
    }

    /// Evidence about its signing keys, if it can give any.
    fn attestation(&self) -> Option<&dyn AttestationFacet> {
        None
    }

    /// A listing, if it can give one.
    fn listing(&self) -> Option<&dyn ListingFacet> {
        None
    }

    /// Taking destructions back, if it only schedules them.
    fn restoring(&self) -> Option<&dyn RestoringFacet> {
        None
    }

    /// What the device that keeps the keys says it is. Asked of it anew each time, without using a key; empty where nothing
    /// is known.
    fn inventory(&self) -> Pending<'_, Inventory> {
        Box::pin(std::future::ready(Ok(Inventory::default())))
    }

    /// Whether what it returns comes from outside this program and is checked before it is used. True for everything but
    /// software.
    fn returns_may_lie(&self) -> bool {
        true
    }
}

/// Runs a future of this crate to its end on the calling thread. Facets name no runtime; this is for programs that
/// have none.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
