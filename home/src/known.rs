//! Histories of others that were seen, and evidence of those that contradict each other.

use identity::{Identifier, Identity, Refusal, Relation, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::identities::IdentityRecord;
use crate::record::{Name, Records};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KnownHistory {
    change_history: String,
}

/// Two histories of one identifier that contradict each other: both are signed, so one of its keys was misused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The history that was known before, as hex.
    pub known: String,
    /// The history that contradicts it, as hex.
    pub shown: String,
    /// When it was shown.
    pub at: Timestamp,
    /// Which of them an operator decided for; until then it blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
}

/// What an operator decided about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The history that counts from then on.
    pub kept: Side,
    /// When that was decided.
    pub at: Timestamp,
}

/// One of the two histories of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one that was known before.
    Known,
    /// The one that contradicts it.
    Shown,
}

impl Side {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Shown => "shown",
        }
    }
}

impl Conflict {
    /// One of the two histories, verified again: what is on disk may have been edited.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when it does not verify.
    pub fn history(&self, side: Side) -> Result<Identity> {
        let hex = match side {
            Side::Known => &self.known,
            Side::Shown => &self.shown,
        };
        Identity::import_hex(hex).map_err(|e| {
            Error::new(
                Kind::Corrupt,
                format!("the {} history of a stored conflict does not verify", side.name()),
            )
            .with_hint("restore the home from a backup")
            .with_source(e)
        })
    }

    /// Whether an operator decided against a history: it goes another way than the one that was kept, where the two part or
    /// before. Whoever has the old key can make as many of those as they like.
    fn settled_against(&self, history: &Identity) -> Result<bool> {
        let Some(decided) = self.decided else { return Ok(false) };
        let (kept, other) = match decided.kept {
            Side::Known => (Side::Known, Side::Shown),
            Side::Shown => (Side::Shown, Side::Known),
        };
        let (kept, other) = (self.history(kept)?, self.history(other)?);
        let common = in_common(history, &kept);
        Ok(common < history.len() && common <= in_common(&kept, &other))
    }
}

/// How many changes two histories begin with alike.
fn in_common(one: &Identity, other: &Identity) -> usize {
    one.changes().zip(other.changes()).take_while(|(a, b)| a.hash() == b.hash()).count()
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
    /// contradicts it is refused, kept as evidence, and blocks the identifier until it is decided
    /// ([`decide_conflict`](Self::decide_conflict)). One that was decided against is refused and blocks nothing any more:
    /// else whoever has the stolen key could block for ever.
    ///
    /// # Errors
    /// [`Kind::Rejected`] with [`Refusal::Older`] or [`Refusal::Conflict`].
    pub fn remember(&self, writer: &Writer, shown: &Identity, now: Timestamp) -> Result<()> {
        let identifier = shown.identifier();
        let name = record_name(&identifier)?;
        let earlier = self.conflict_records().find(&name)?;
        if let Some(conflict) = &earlier {
            if conflict.decided.is_none() {
                return Err(blocked(&identifier));
            }
            if conflict.settled_against(shown)? {
                return Err(Error::from(identity::Error::from(Refusal::Conflict)).with_hint(format!(
                    "it was decided against this history of `{identifier}`: `ockam-kms conflict show {identifier}` shows both"
                )));
            }
        }
        let Some(known) = self.known_identity(&identifier)? else {
            return self.know(writer, &name, shown);
        };
        match shown.compared_to(&known) {
            Relation::Equal => Ok(()),
            Relation::Newer => self.know(writer, &name, shown),
            Relation::Older => Err(identity::Error::from(Refusal::Older).into()),
            Relation::Conflict => {
                let evidence =
                    Conflict { known: known.to_hex(), shown: shown.to_hex(), at: now, decided: None };
                self.conflict_records().put(writer, &name, &evidence)?;
                Err(blocked(&identifier))
            }
        }
    }

    fn know(&self, writer: &Writer, name: &Name, identity: &Identity) -> Result<()> {
        let record = KnownHistory { change_history: identity.to_hex() };
        self.known_records().put(writer, name, &record)
    }

    /// The conflict that blocks an identifier, if there is one.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn conflict(&self, identifier: &Identifier) -> Result<Option<Conflict>> {
        let found = self.conflict_records().find(&record_name(identifier)?)?;
        Ok(found.filter(|conflict| conflict.decided.is_none()))
    }

    /// All conflicts, those that were decided among them, ordered by identifier.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn conflicts(&self) -> Result<Vec<(Identifier, Conflict)>> {
        let records = self.conflict_records().list()?.into_iter();
        Ok(records.filter_map(|(name, conflict)| Some((name.as_str().parse().ok()?, conflict))).collect())
    }

    /// The conflict about an identifier, decided or not.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn conflict_about(&self, identifier: &Identifier) -> Result<Conflict> {
        self.conflict_records().get(&record_name(identifier)?)
    }

    /// Decides a conflict: this history counts from now on, and the identifier is no longer blocked. The evidence stays. A
    /// decision may be changed.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without a conflict about it, [`Kind::Corrupt`] when the evidence does not verify, or is about
    /// somebody else.
    pub fn decide_conflict(
        &self,
        writer: &Writer,
        identifier: &Identifier,
        kept: Side,
        now: Timestamp,
    ) -> Result<()> {
        let name = record_name(identifier)?;
        let conflict = self.conflict_about(identifier)?;
        let history = conflict.history(kept)?;
        if history.identifier() != *identifier {
            return Err(Error::new(
                Kind::Corrupt,
                format!("the stored conflict about `{identifier}` is about somebody else"),
            )
            .with_hint("restore the home from a backup"));
        }
        // What was seen of the side that is kept since an earlier decision is newer than the evidence.
        let known = self.known_identity(identifier)?;
        if known.is_none_or(|known| known.compared_to(&history) != Relation::Newer) {
            self.know(writer, &name, &history)?;
        }
        // A name that was given to it stands for the history that counts.
        for (given, record) in self.identities()? {
            let theirs = record.identifier() == *identifier && record.key().is_none();
            if theirs && record.identity()?.compared_to(&history) == Relation::Conflict {
                let record = IdentityRecord::new(&history, None, None);
                self.identity_records().put(writer, &given, &record)?;
            }
        }
        // Last: whoever is killed before it still finds it blocked.
        let decided = Conflict { decided: Some(Decided { kept, at: now }), ..conflict };
        self.conflict_records().put(writer, &name, &decided)
    }

    /// Forgets a conflict and what is known of the identifier: the next history that is shown is believed.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without a conflict about it.
    pub fn forget_conflict(&self, writer: &Writer, identifier: &Identifier) -> Result<()> {
        let name = record_name(identifier)?;
        self.conflict_about(identifier)?;
        if self.known_records().find(&name)?.is_some() {
            self.known_records().remove(writer, &name)?;
        }
        self.conflict_records().remove(writer, &name)
    }
}

fn blocked(identifier: &Identifier) -> Error {
    let refused = Error::from(identity::Error::from(Refusal::Conflict));
    refused.with_hint(decide_hint(identifier))
}

/// What to do about a conflict.
#[must_use]
pub fn decide_hint(identifier: &Identifier) -> String {
    format!(
        "two signed histories of `{identifier}` contradict each other: a key of it was misused. `ockam-kms conflict show {identifier}` shows both; find out which one is right, then decide with `ockam-kms conflict decide`"
    )
}

fn record_name(identifier: &Identifier) -> Result<Name> {
    Ok(Name::new(&identifier.to_string())?)
}
