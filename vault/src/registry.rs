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

    /// Opens the vault that the URI names, and makes it first where it is files of ours that are not there yet. Devices and
    /// services are there already.
    fn create<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        self.open(uri, interact)
    }
}

/// The backends of this build.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    backends: Vec<Arc<dyn Backend>>,
    left_out: Vec<(Scheme, &'static str)>,
}

impl Registry {
    /// A registry without backends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend; a later one of the same scheme replaces the earlier.
    #[must_use]
    pub fn with(mut self, backend: impl Backend + 'static) -> Self {
        self.backends.retain(|other| other.scheme() != backend.scheme());
        self.backends.push(Arc::new(backend));
        self
    }

    /// Says how to get a backend that this build was made without.
    #[must_use]
    pub fn without(mut self, scheme: Scheme, how: &'static str) -> Self {
        self.left_out.push((scheme, how));
        self
    }

    /// The schemes of this build, in the order they were added.
    pub fn schemes(&self) -> impl Iterator<Item = Scheme> {
        self.backends.iter().map(|backend| backend.scheme())
    }

    /// Opens a vault by its URI.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when this build has no such backend; otherwise what the backend meets.
    pub async fn open(&self, uri: &KeyUri, interact: Arc<dyn Interact>) -> Result<Arc<dyn Vault>> {
        self.backend(uri)?.open(uri, interact).await
    }

    /// Opens a vault by its URI, or makes it: see [`Backend::create`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn create(&self, uri: &KeyUri, interact: Arc<dyn Interact>) -> Result<Arc<dyn Vault>> {
        self.backend(uri)?.create(uri, interact).await
    }

    fn backend(&self, uri: &KeyUri) -> Result<&Arc<dyn Backend>> {
        let found = self.backends.iter().find(|backend| backend.scheme() == uri.scheme());
        found.ok_or_else(|| self.lacks(uri.scheme()))
    }

    /// That this build has no such backend, and how to get one that has.
    #[must_use]
    pub fn lacks(&self, scheme: Scheme) -> Error {
        let error = Error::new(Kind::Unsupported, format!("this build has no backend `{scheme}`"));
        match self.left_out.iter().find(|(left_out, _)| *left_out == scheme) {
            Some((_, how)) => error.with_hint(*how),
            None => {
                let have: Vec<_> = self.schemes().map(Scheme::name).collect();
                error.with_hint(format!("it has: {}", have.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interact::Nobody;
    use crate::soft::SoftBackend;

    #[test]
    fn a_backend_that_is_not_there_is_named() {
        let registry =
            Registry::new().with(SoftBackend).without(Scheme::Tpm, "build it with the feature `tpm`");
        for (text, hint) in
            [("tpm:?tcti=device", "build it with the feature `tpm`"), ("yubikey:serial=1", "it has: soft")]
        {
            let uri: KeyUri = text.parse().unwrap();
            let error = crate::block_on(registry.open(&uri, Arc::new(Nobody))).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.to_string().contains(uri.scheme().name()), "{error}");
            assert_eq!(error.hint(), Some(hint));
        }
    }
}
