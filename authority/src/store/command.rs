//! The closed list of what a store can be told to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{ChangeHash, Identifier, Identity, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::authz::{Action, Actor, Rules};
use crate::member::MemberAttributes;
use crate::once::{Once, Receipt};
use crate::ticket::{Reference, Ticket};

/// Something to be decided and done in one transaction.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// By which rules the gate decides.
    pub rules: Arc<Rules>,
    /// What.
    pub operation: Operation,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Replaces the whole set of pre-trusted members.
    LoadPreTrusted(BTreeMap<Identifier, MemberAttributes>),
    /// Adds a member or replaces a member's attributes.
    AddMember {
        /// Who is added.
        identifier: Identifier,
        /// What their credentials will say.
        attributes: MemberAttributes,
    },
    /// Deletes a member.
    DeleteMember(Identifier),
    /// Deletes some of those members whom the actor may delete. To be repeated with what the answer says comes next.
    DeleteMembers {
        /// The member to start after.
        after: Option<Identifier>,
    },
    /// Keeps a new ticket.
    MakeTicket {
        /// What it is stored under: see [`Code::lookup`](crate::ticket::Code::lookup).
        lookup: [u8; 32],
        /// The ticket.
        ticket: Ticket,
    },
    /// Revokes a ticket.
    RevokeTicket(Reference),
    /// Spends one use of a ticket and adds the actor as a member, both or neither.
    Redeem {
        /// What the ticket is stored under.
        lookup: [u8; 32],
        /// The actor's change history.
        history: KnownHistory,
    },
    /// Keeps the actor's change history, when it is news about a member; keeps it as evidence, when it contradicts what is
    /// known.
    KeepHistory(KnownHistory),
    /// Decides a conflict between two histories.
    ResolveConflict(Identifier, Decision),
    /// Keeps the intent to sign a credential about the actor, provided that what it says is what the state says.
    Intend(Intent),
    /// Records that the credential with this hash was signed.
    Issued([u8; 32]),
    /// Drops the intent with this hash: its signature was certainly not made.
    Abandon([u8; 32]),
    /// Records that the issuer keys were replaced by some under this change.
    ReplaceIssuer(ChangeHash),
    /// Records that an operator takes the clock for right, though the store has seen a later time.
    AcceptClock,
    /// Records a refusal that was decided on reading.
    Refused(Action, &'static str),
    /// Does something under an idempotency key: once, whatever comes again under that key.
    Once(Box<UnderKey>),
}

/// What is to be done under an idempotency key.
#[derive(Clone, Debug)]
pub struct UnderKey {
    /// The key, which has to be the actor's.
    pub once: Once,
    /// What is kept when it is done. To [`Receipt::Deleted`] those are added that the command itself deletes.
    pub receipt: Receipt,
    /// What is to be done: none that is done under a key itself.
    pub operation: Operation,
}

impl Operation {
    /// Whether it gives something that ends with time, or asks whether something has ended.
    pub(crate) fn hangs_on_time(&self) -> bool {
        match self {
            Self::MakeTicket { .. } | Self::Redeem { .. } | Self::Intend(_) => true,
            Self::Once(under) => under.operation.hangs_on_time(),
            Self::LoadPreTrusted(_)
            | Self::AddMember { .. }
            | Self::DeleteMember(_)
            | Self::DeleteMembers { .. }
            | Self::RevokeTicket(_)
            | Self::KeepHistory(_)
            | Self::ResolveConflict(..)
            | Self::Issued(_)
            | Self::Abandon(_)
            | Self::ReplaceIssuer(_)
            | Self::AcceptClock
            | Self::Refused(..) => false,
        }
    }

    /// Whether it ends what was begun before, or is the operator's: then it waits for its turn, however long.
    pub(crate) fn ends_something(&self) -> bool {
        match self {
            Self::Issued(_)
            | Self::Abandon(_)
            | Self::ReplaceIssuer(_)
            | Self::ResolveConflict(..)
            | Self::AcceptClock
            | Self::LoadPreTrusted(_) => true,
            Self::Once(under) => under.operation.ends_something(),
            _ => false,
        }
    }
}

/// What came of a command that was not refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How much it changed: of members, tickets and whatever else it is about. Zero when nothing was to be done.
    pub changed: u64,
    /// Where [`Operation::DeleteMembers`] goes on.
    pub next: Option<Identifier>,
    /// Whether the history that was shown contradicts the one that is known. The evidence is kept.
    pub conflict: bool,
    /// What is kept of the same request under the same idempotency key: then nothing was done.
    pub receipt: Option<Receipt>,
}

/// A change history with the hashes of its changes: comparing two takes no verifying again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHistory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) changes: Vec<ChangeHash>,
}

impl KnownHistory {
    /// The change history as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Never: it comes from an identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes the two begin with alike.
    pub(crate) fn in_common(&self, other: &Self) -> usize {
        self.changes.iter().zip(&other.changes).take_while(|(a, b)| a == b).count()
    }
}

impl From<&Identity> for KnownHistory {
    fn from(identity: &Identity) -> Self {
        Self {
            bytes: identity.as_bytes().to_vec(),
            changes: identity.changes().map(identity::Change::hash).collect(),
        }
    }
}

/// Evidence that somebody signed two histories of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whose.
    pub identifier: Identifier,
    /// The history that was known.
    pub known: KnownHistory,
    /// The one that was shown.
    pub shown: KnownHistory,
    /// When.
    pub at: Timestamp,
    /// What an operator decided: until then the identity is blocked.
    pub decided: Option<Decided>,
}

impl Conflict {
    /// The history that this decision keeps, and the other one.
    pub(crate) fn side(&self, decision: Decision) -> (&KnownHistory, &KnownHistory) {
        match decision {
            Decision::KeepKnown => (&self.known, &self.shown),
            Decision::TakeShown => (&self.shown, &self.known),
        }
    }

    /// Whether an operator decided against a history: it goes another way than the one that was kept, where the two part or
    /// before. Whoever has the old key can make as many of those as they like.
    pub(crate) fn settled_against(&self, history: &KnownHistory) -> bool {
        let Some(decided) = self.decided else { return false };
        let (kept, other) = self.side(decided.decision);
        let common = history.in_common(kept);
        common < history.len() && common <= kept.in_common(other)
    }
}

/// A decision about a conflict. It can be changed: the evidence stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which of the two histories counts.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
}

/// What an operator does about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The history that was known stays.
    KeepKnown,
    /// The history that was shown replaces it.
    TakeShown,
}

/// The intent to sign a credential: stored before the key is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The hash that is going to be signed.
    pub hash: [u8; 32],
    /// Whom the credential is about.
    pub subject: Identifier,
    /// The member's attributes that it says: refused when they are no longer the ones that are stored.
    pub attributes: MemberAttributes,
    /// The last second at which it is good.
    pub expires_at: Timestamp,
}

/// A credential that was issued, or (as an orphan) was about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// The hash that is signed; as text hex.
    #[serde(serialize_with = "as_hex")]
    pub hash: [u8; 32],
    /// Whom it is about.
    pub subject: Identifier,
    /// When it was to be signed.
    pub created_at: Timestamp,
    /// The last second at which it is good.
    pub expires_at: Timestamp,
}

fn as_hex<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_a_key(operation: Operation) -> Operation {
        let once = Once::new(Identifier::from_bytes([2; 32]), "key", [0; 32]).unwrap();
        Operation::Once(Box::new(UnderKey { once, receipt: Receipt::Done, operation }))
    }

    /// A history of changes that are told apart by a letter each.
    fn history(changes: &str) -> KnownHistory {
        let changes = changes.bytes().map(|change| ChangeHash::of(&[change])).collect();
        KnownHistory { bytes: vec![0x80], changes }
    }

    #[test]
    fn what_is_done_under_a_key_waits_and_asks_for_the_time_as_without() {
        let id = Identifier::from_bytes([7; 32]);
        for (operation, hangs_on_time, ends_something) in [
            (Operation::Redeem { lookup: [1; 32], history: history("a") }, true, false),
            (Operation::DeleteMember(id), false, false),
            (Operation::KeepHistory(history("a")), false, false),
            (Operation::Issued([1; 32]), false, true),
            (Operation::Abandon([1; 32]), false, true),
            (Operation::AcceptClock, false, true),
        ] {
            for operation in [under_a_key(operation.clone()), operation] {
                assert_eq!(operation.hangs_on_time(), hangs_on_time, "{operation:?}");
                assert_eq!(operation.ends_something(), ends_something, "{operation:?}");
            }
        }
    }

    #[test]
    fn a_decision_is_against_what_parts_from_the_kept_history_where_the_other_does_or_before() {
        let conflict = |decision| Conflict {
            identifier: Identifier::from_bytes([7; 32]),
            known: history("abk"),
            shown: history("abs"),
            at: Timestamp(1),
            decided: Some(Decided { decision, at: Timestamp(2) }),
        };
        for (shown, keep_known, take_shown) in [
            // Both are older than what was kept, and neither goes another way.
            ("a", false, false),
            ("ab", false, false),
            ("abk", false, true),
            ("abs", true, false),
            ("abkx", false, true),
            ("absx", true, false),
            ("aby", true, true),
            ("ay", true, true),
            ("y", true, true),
        ] {
            let settled = |decision| conflict(decision).settled_against(&history(shown));
            assert_eq!(settled(Decision::KeepKnown), keep_known, "{shown}");
            assert_eq!(settled(Decision::TakeShown), take_shown, "{shown}");
            let undecided = Conflict { decided: None, ..conflict(Decision::KeepKnown) };
            assert!(!undecided.settled_against(&history(shown)), "{shown}");
        }
        assert_eq!((history("abk").len(), history("abk").is_empty()), (3, false));
        assert_eq!(history("abk").as_bytes(), [0x80]);
    }
}
