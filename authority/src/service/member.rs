//! Members, as enrollers see them.

use identity::Identifier;

use crate::authz::Action;
use crate::member::{Member, MemberAttributes, Page};
use crate::once::Receipt;
use crate::problem::Problem;
use crate::service::{Answer, Authority, Caller};
use crate::store::{Operation, query};

impl Authority {
    /// Adds a member, or replaces a member's attributes.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller, or no admin when a role is given or replaced or the member is
    /// pre-trusted.
    pub async fn add_member(
        &self,
        caller: &Caller,
        identifier: Identifier,
        attributes: MemberAttributes,
    ) -> Answer<()> {
        self.execute_for(caller, Operation::AddMember { identifier, attributes }, Receipt::Done).await?;
        Ok(())
    }

    /// Members, ordered by identifier, from the one after `after`; at most `limit`
    /// (and [`MAX_PAGE`](crate::member::MAX_PAGE)).
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller.
    pub async fn members(
        &self,
        caller: &Caller,
        after: Option<&Identifier>,
        limit: usize,
    ) -> Answer<Page<Member, Identifier>> {
        let allowed = self.gate(caller.actor(), Action::ListMembers).await?;
        Ok(query::members(self.view(allowed)?, after, limit)?)
    }

    /// The identifiers of members; as [`members`](Self::members).
    ///
    /// # Errors
    /// As `members`.
    pub async fn member_ids(
        &self,
        caller: &Caller,
        after: Option<&Identifier>,
        limit: usize,
    ) -> Answer<Page<Identifier, Identifier>> {
        let page = self.members(caller, after, limit).await?;
        Ok(Page { items: page.items.into_iter().map(|member| member.identifier).collect(), next: page.next })
    }

    /// One member.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller, [`Problem::NotFound`] without such a member.
    pub async fn member(&self, caller: &Caller, identifier: &Identifier) -> Answer<Member> {
        let allowed = self.gate(caller.actor(), Action::ShowMember).await?;
        let member = query::member(self.view(allowed)?, identifier)?;
        member.ok_or_else(|| Problem::not_found(format!("there is no member `{identifier}`")))
    }

    /// Deletes a member. Credentials that were issued stay good until they expire.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller, or no admin when the member has a role, and always when it is
    /// pre-trusted; [`Problem::NotFound`] without such a member.
    pub async fn delete_member(&self, caller: &Caller, identifier: &Identifier) -> Answer<()> {
        self.execute_for(caller, Operation::DeleteMember(*identifier), Receipt::Done).await?;
        Ok(())
    }

    /// Deletes every member whom the caller may delete, but the caller, and says how many. Not in one transaction: those
    /// that are added meanwhile may or may not be among them.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller.
    pub async fn delete_members(&self, caller: &Caller) -> Answer<u64> {
        let mut deleted = 0_u64;
        let mut after = None;
        loop {
            let operation = Operation::DeleteMembers { after };
            let applied = self.execute_for(caller, operation, Receipt::Deleted(deleted)).await?;
            if let Some(receipt) = applied.receipt {
                let Receipt::Deleted(before) = receipt else { return Err(Problem::Internal) };
                return Ok(before);
            }
            deleted = deleted.saturating_add(applied.changed);
            after = applied.next;
            if after.is_none() {
                return Ok(deleted);
            }
        }
    }
}
