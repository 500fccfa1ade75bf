//! The registry: from the scheme of a URI to the backend that opens it. Filled in one place, the command line, so that
//! what a build can do is what that place lists.

use std::fmt;
use std::sync::Arc;

use crate::Vault;
use crate::error::{Error, Kind, Result};
use crate::facet::Pending;
use crate::interact::Interact;
use crate::uri::{KeyUri, Scheme};

/// A backend: opens vaults of one scheme.
pub trait Backend: Send + Sync + fmt::Debug {
    /// The scheme of its URIs.
    fn scheme(&self) -> Scheme;

    /// Opens the vault that the URI names. Keys of the vault are opened through its facets.
    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>>;
}

/// The backends of this build.
#[derive(Clone, Debug, Default)]
pub struct Registry(Vec<Arc<dyn Backend>>);

impl Registry {
    /// A registry without backends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend; a later one of the same scheme replaces the earlier.
    #[must_use]
    pub fn with(mut self, backend: impl Backend + 'static) -> Self {
        self.0.retain(|other| other.scheme() != backend.scheme());
        self.0.push(Arc::new(backend));
        self
    }

    /// The schemes of this build, in the order they were added.
    pub fn schemes(&self) -> impl Iterator<Item = Scheme> {
        self.0.iter().map(|backend| backend.scheme())
    }

    /// Opens a vault by its URI.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when this build has no such backend; otherwise what the backend meets.
    pub async fn open(&self, uri: &KeyUri, interact: Arc<dyn Interact>) -> Result<Arc<dyn Vault>> {
        let backend = self.0.iter().find(|backend| backend.scheme() == uri.scheme()).ok_or_else(|| {
            let have: Vec<_> = self.schemes().map(Scheme::name).collect();
            Error::new(Kind::Unsupported, format!("this build has no backend `{}`", uri.scheme()))
                .with_hint(format!("it has: {}", have.join(", ")))
        })?;
        backend.open(uri, interact).await
    }
}
