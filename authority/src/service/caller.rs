//! Who calls: an identity that the transport authenticated, and whose change history fits what is known of it.

use std::sync::PoisonError;

use identity::{Identifier, Identity};

use crate::authz::{Action, Actor};
use crate::once::{Once, Receipt};
use crate::problem::Problem;
use crate::service::{Answer, Authority};
use crate::store::{Applied, KnownHistory, Operation, UnderKey, query};

/// The most verified histories that are kept in memory, and the most bytes of each: 16 MiB at most.
const MAX_VERIFIED: usize = 4096;
const MAX_VERIFIED_BYTES: usize = 4096;

/// Somebody who calls. Only [`Authority::meet`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Identity,
    actor: Actor,
    once: Option<Once>,
}

impl Caller {
    /// Their identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Their identifier.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.identity.identifier()
    }

    /// The same, asking under an idempotency key (see [`once`](crate::once)): what changes something is then done once.
    /// `request` is a hash over everything of the request that must not differ.
    ///
    /// # Errors
    /// As [`Once::new`].
    pub fn once(self, key: &str, request: [u8; 32]) -> Answer<Self> {
        let once = Some(Once::new(self.identifier(), key, request)?);
        Ok(Self { once, ..self })
    }

    pub(crate) fn key(&self) -> Option<&Once> {
        self.once.as_ref()
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }
}

impl Authority {
    /// The identity that is known under an identifier: of members only. What a request that names no more than its key is
    /// checked against.
    ///
    /// # Errors
    /// A fault when the store fails.
    pub fn known(&self, identifier: &Identifier) -> Answer<Option<Identity>> {
        let Some(history) = query::history(self.0.store.view()?, identifier)? else {
            return Ok(None);
        };
        let verified =
            self.0.verified.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned();
        if let Some(identity) = verified.filter(|identity| identity.as_bytes() == history.as_bytes()) {
            return Ok(Some(identity));
        }
        let identity = Identity::import_expected(history.as_bytes(), identifier).map_err(|error| {
            crate::Error::corrupt(format_args!("a change history does not verify: {error}"))
        })?;
        self.remember(&identity);
        Ok(Some(identity))
    }

    /// Keeps a verified history, so that the next request of its member costs no verifying of it. What is looked up is
    /// compared with what the store has, so it may be kept before the store has it.
    pub(super) fn remember(&self, identity: &Identity) {
        if identity.as_bytes().len() > MAX_VERIFIED_BYTES {
            return;
        }
        let mut verified = self.0.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(identity.identifier(), identity.clone());
    }

    /// Takes in somebody who calls. To be called by a transport, *after* it checked that whoever sent the request holds a
    /// key that this change history vouches for.
    ///
    /// A newer history of a member replaces the one that is known; one that contradicts it is kept as evidence and blocks
    /// the identity until an operator decides. Of strangers nothing is kept.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`] for a history older than the known one, [`Problem::Forbidden`] for one in conflict.
    pub async fn meet(&self, identity: Identity) -> Answer<Caller> {
        let actor = Actor::Identity(identity.identifier());
        self.gate(&actor, Action::Meet).await?;
        if self.is_news(&identity)? {
            let history = KnownHistory::from(&identity);
            let applied = self.execute(actor, Operation::KeepHistory(history)).await?;
            if applied.conflict {
                tracing::warn!(identifier = %identity.identifier(), "two change histories contradict each other: the identity is blocked");
                return Err(Problem::forbidden(
                    "this change history contradicts the one that is known: the authority's operator has to decide",
                ));
            }
        }
        Ok(Caller { identity, actor, once: None })
    }

    /// Has the store do something, under the caller's idempotency key if there is one.
    pub(crate) async fn execute_for(
        &self,
        caller: &Caller,
        operation: Operation,
        receipt: Receipt,
    ) -> Answer<Applied> {
        let operation = match caller.key() {
            Some(once) => Operation::Once(Box::new(UnderKey { once: once.clone(), receipt, operation })),
            None => operation,
        };
        self.execute(*caller.actor(), operation).await
    }

    /// Whether the store has to look at a history: it is a member's, and not the one that is known.
    fn is_news(&self, identity: &Identity) -> Answer<bool> {
        let (view, identifier) = (self.0.store.view()?, identity.identifier());
        Ok(match query::history(view, &identifier)? {
            Some(known) => known != KnownHistory::from(identity),
            None => query::member(view, &identifier)?.is_some(),
        })
    }
}
