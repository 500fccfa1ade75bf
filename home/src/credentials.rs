//! Credentials that were received and stored.

use identity::{Credential, Identifier};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::record::{Name, Records};

/// A stored credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCredential {
    /// Who is described.
    pub subject: Identifier,
    /// Who issued it.
    pub issuer: Identifier,
    /// What it is used for: `project-member-ID` for a project's, or a name of one's own.
    pub scope: String,
    /// The credential and the attestation of its key, as hex.
    pub credential: String,
}

impl StoredCredential {
    /// The credential, decoded; not checked.
    ///
    /// # Errors
    /// [`Kind::Corrupt`].
    pub fn credential(&self) -> Result<Credential> {
        Credential::from_hex(&self.credential)
            .map_err(|e| Error::new(Kind::Corrupt, "a stored credential breaks its own rules").with_source(e))
    }

    fn record_name(&self) -> Result<Name> {
        let mut hash = Sha256::new();
        hash.update(self.issuer.as_bytes());
        hash.update(self.subject.as_bytes());
        hash.update(self.scope.as_bytes());
        Ok(Name::new(&hex::encode(hash.finalize()))?)
    }
}

impl Home {
    fn credential_records(&self) -> Records<StoredCredential> {
        Records::new(self.dir("credentials"), "credential")
    }

    /// Stores a credential; one of the same issuer, subject and scope is replaced.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn store_credential(&self, writer: &Writer, credential: &StoredCredential) -> Result<()> {
        self.credential_records().put(writer, &credential.record_name()?, credential)
    }

    /// Forgets a credential.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn remove_credential(&self, writer: &Writer, credential: &StoredCredential) -> Result<()> {
        self.credential_records().remove(writer, &credential.record_name()?)
    }

    /// All stored credentials.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn credentials(&self) -> Result<Vec<StoredCredential>> {
        Ok(self.credential_records().list()?.into_iter().map(|(_, credential)| credential).collect())
    }
}
