//! Opening a vault by its URI.

use std::sync::Arc;
use std::time::Duration;

use vault::{Backend, Interact, KeyUri, Pending, Scheme, Vault};

use crate::address::Address;
use crate::desk;
use crate::vault::AwsKmsVault;

/// Opens vaults in AWS KMS: `awskms:region=eu-west-1`.
#[derive(Clone, Copy, Debug)]
pub struct AwsKmsBackend {
    deadline: Duration,
}

impl AwsKmsBackend {
    /// A backend with ten seconds for each request.
    #[must_use]
    pub fn new() -> Self {
        Self { deadline: desk::DEADLINE }
    }

    /// How long a request may take, retries included, before it is answered with
    /// [`Kind::Unavailable`](vault::Kind::Unavailable).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for AwsKmsBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for AwsKmsBackend {
    fn scheme(&self) -> Scheme {
        Scheme::AwsKms
    }

    /// Nobody is asked anything: credentials come from the standard chain of AWS alone.
    fn open<'a>(&'a self, uri: &'a KeyUri, _interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        Box::pin(async move {
            let vault = AwsKmsVault::open(Address::parse(uri)?, self.deadline).await?;
            Ok(Arc::new(vault) as Arc<dyn Vault>)
        })
    }
}
