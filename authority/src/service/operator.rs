//! What only whoever runs the authority can do, at the machine itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use identity::{Identifier, Relation};

use crate::audit;
use crate::authz::{Action, Actor};
use crate::error::{Error, Kind, Result};
use crate::issuer::IssuerKeys;
use crate::member::Page;
use crate::problem::Problem;
use crate::service::{Answer, Authority, Status};
use crate::store::{Conflict, Decision, Issued, Operation, query};

/// Says that whoever asks runs the authority. To be made by what listens at the machine itself (a control socket that checked
/// who is at the other end), and never for a request from a network.
#[derive(Debug)]
pub struct Operator(());

impl Operator {
    /// Whoever holds this process, or was checked to be the same user.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(())
    }
}

impl Authority {
    /// Puts new issuer keys in place: after a rotation, or with a fresh credential key. What is being issued is finished with
    /// the keys it was started with.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for another identity, or one with an older history; [`Kind::Unavailable`] when the store fails.
    pub async fn replace_issuer(&self, _: &Operator, keys: IssuerKeys) -> Result<()> {
        fits(&self.issuer(), &keys)?;
        let change = keys.identity().latest().hash();
        // Recorded before it is done: a row without the deed can be explained, a deed without a row cannot.
        let recorded = self.execute(Actor::Operator, Operation::ReplaceIssuer(change)).await;
        recorded.map_err(|problem| {
            Error::new(Kind::Unavailable, "the store did not take the record of the new issuer keys")
                .with_source(problem)
        })?;
        let mut issuer = self.0.issuer.write().unwrap_or_else(PoisonError::into_inner);
        fits(&issuer, &keys)?;
        *issuer = Arc::new(keys);
        self.0.halted.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// How the authority is doing.
    ///
    /// # Errors
    /// A fault when the store fails.
    pub async fn status_for(&self, _: &Operator) -> Answer<Status> {
        let allowed = self.gate(&Actor::Operator, Action::ReadStatus).await?;
        self.status_of(allowed)
    }

    /// Conflicts between change histories, those that were decided among them, ordered by identifier; at most `limit`.
    ///
    /// # Errors
    /// A fault when the store fails.
    pub async fn conflicts(
        &self,
        _: &Operator,
        after: Option<&Identifier>,
        limit: usize,
    ) -> Answer<Page<Conflict, Identifier>> {
        let allowed = self.gate(&Actor::Operator, Action::ListConflicts).await?;
        Ok(query::conflicts(self.view(allowed)?, after, limit)?)
    }

    /// The conflict about an identity, decided or not.
    ///
    /// # Errors
    /// [`Problem::NotFound`] without one.
    pub async fn conflict(&self, _: &Operator, of: &Identifier) -> Answer<Conflict> {
        let allowed = self.gate(&Actor::Operator, Action::ListConflicts).await?;
        query::conflict(self.view(allowed)?, of)?
            .ok_or_else(|| Problem::not_found(format!("there is no conflict about `{of}`")))
    }

    /// Decides a conflict: this history counts from now on, and the identity is no longer blocked. The evidence stays, so
    /// that a decision can be changed, and histories that go the way it is against are refused and block nothing any more.
    ///
    /// # Errors
    /// [`Problem::NotFound`] without a conflict about this identity.
    pub async fn resolve_conflict(&self, _: &Operator, of: &Identifier, decision: Decision) -> Answer<()> {
        self.execute(Actor::Operator, Operation::ResolveConflict(*of, decision)).await?;
        Ok(())
    }

    /// Intents to issue for which no credential was recorded: their signatures may have been made. At most `limit`.
    ///
    /// # Errors
    /// A fault when the store fails.
    pub async fn orphans(
        &self,
        _: &Operator,
        after: Option<&[u8; 32]>,
        limit: usize,
    ) -> Answer<Page<Issued, [u8; 32]>> {
        let allowed = self.gate(&Actor::Operator, Action::ListOrphans).await?;
        Ok(query::orphans(self.view(allowed)?, after, limit)?)
    }

    /// The audit log, a line of JSON for each row.
    ///
    /// # Errors
    /// A fault when the store fails.
    pub async fn audit(&self, _: &Operator) -> Answer<impl Iterator<Item = Result<String>> + use<>> {
        self.gate(&Actor::Operator, Action::ReadAudit).await?;
        Ok(audit::export(Arc::clone(&self.0.store)))
    }
}

fn fits(now: &IssuerKeys, next: &IssuerKeys) -> Result<()> {
    if next.identifier() != now.identifier() {
        return Err(Error::new(Kind::Invalid, "these issuer keys are of another identity"));
    }
    match next.identity().compared_to(now.identity()) {
        Relation::Equal | Relation::Newer => Ok(()),
        Relation::Older | Relation::Conflict => Err(Error::new(
            Kind::Invalid,
            "these issuer keys are under a change history that does not continue the present one",
        )
        .with_hint("rotate the identity from its latest change")),
    }
}
