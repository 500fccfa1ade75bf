//! Histories of others that were seen, and evidence of those that contradict each other.

use identity::{Identifier, Identity, Refusal, Relation, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::record::{Name, Records};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KnownHistory {
    change_history: String,
}

/// Two histories of one identifier that contradict each other: both are signed, so one of its keys was misused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The history that was known before, as hex.
    pub known: String,
    /// The history that contradicts it, as hex.
    pub shown: String,
    /// When it was shown.
    pub at: Timestamp,
}

impl Home {
    fn known_records(&self) -> Records<KnownHistory> {
        Records::new(self.dir("known"), "known history")
    }

    fn conflict_records(&self) -> Records<Conflict> {
        Records::new(self.dir("conflicts"), "conflict")
    }

    /// The history of an identifier that was seen last.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored does not verify.
    pub fn known_identity(&self, identifier: &Identifier) -> Result<Option<Identity>> {
        let Some(known) = self.known_records().find(&record_name(identifier)?)? else { return Ok(None) };
        let identity = Identity::import_hex(&known.change_history).map_err(|e| {
            Error::new(Kind::Corrupt, format!("the known history of `{identifier}` does not verify"))
                .with_source(e)
        })?;
        Ok(Some(identity))
    }

    /// Remembers a history that was shown: a newer one replaces the known one, an older one is refused, one that
    /// contradicts it is refused, kept as evidence, and blocks the identifier until the conflict is removed.
    ///
    /// # Errors
    /// [`Kind::Rejected`] with [`Refusal::Older`] or [`Refusal::Conflict`].
    pub fn remember(&self, writer: &Writer, shown: &Identity, now: Timestamp) -> Result<()> {
        let identifier = shown.identifier();
        let name = record_name(&identifier)?;
        if self.conflict_records().find(&name)?.is_some() {
            return Err(blocked(&identifier));
        }
        let store = || {
            let record = KnownHistory { change_history: shown.to_hex() };
            self.known_records().put(writer, &name, &record)
        };
        let Some(known) = self.known_identity(&identifier)? else { return store() };
        match shown.compared_to(&known) {
            Relation::Equal => Ok(()),
            Relation::Newer => store(),
            Relation::Older => Err(identity::Error::from(Refusal::Older).into()),
            Relation::Conflict => {
                let evidence = Conflict { known: known.to_hex(), shown: shown.to_hex(), at: now };
                self.conflict_records().put(writer, &name, &evidence)?;
                Err(blocked(&identifier))
            }
        }
    }

    /// The conflict that blocks an identifier, if there is one.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn conflict(&self, identifier: &Identifier) -> Result<Option<Conflict>> {
        self.conflict_records().find(&record_name(identifier)?)
    }
}

fn blocked(identifier: &Identifier) -> Error {
    let refused = Error::from(identity::Error::from(Refusal::Conflict));
    refused.with_hint(format!(
        "two signed histories of `{identifier}` contradict each other: a key of it was misused. The evidence is kept under `conflicts` in the home; remove it there once you know which history is right"
    ))
}

fn record_name(identifier: &Identifier) -> Result<Name> {
    Ok(Name::new(&identifier.to_string())?)
}
