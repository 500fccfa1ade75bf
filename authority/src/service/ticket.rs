//! Enrolment tickets, as enrollers see them.

use crate::authz::Action;
use crate::member::Page;
use crate::service::{Answer, Authority, Caller};
use crate::store::{Operation, query};
use crate::ticket::{Code, IssuedTicket, NewTicket, Reference, Ticket};

impl Authority {
    /// Makes a ticket. Its code is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Problem::Forbidden`](crate::Problem::Forbidden) for whoever is no enroller, or no admin when the ticket gives a
    /// role.
    pub async fn make_ticket(&self, caller: &Caller, new: NewTicket) -> Answer<IssuedTicket> {
        let code = Code::generate()?;
        let ticket = new.into_ticket(Reference::generate()?, caller.identifier(), self.now());
        let lookup = code.lookup(&self.identifier());
        self.execute(*caller.actor(), Operation::MakeTicket { lookup, ticket: ticket.clone() }).await?;
        Ok(IssuedTicket { ticket, code })
    }

    /// Tickets, ordered by reference, from the one after `after`; at most `limit`
    /// (and [`MAX_PAGE`](crate::member::MAX_PAGE)). Those that are used up or expired are among them for a week.
    ///
    /// # Errors
    /// [`Problem::Forbidden`](crate::Problem::Forbidden) for whoever is no enroller.
    pub async fn tickets(
        &self,
        caller: &Caller,
        after: Option<&Reference>,
        limit: usize,
    ) -> Answer<Page<Ticket, Reference>> {
        let allowed = self.gate(caller.actor(), Action::ListTickets).await?;
        Ok(query::tickets(self.view(allowed)?, after, limit)?)
    }

    /// Revokes a ticket, whatever is left of it. Whoever became a member by it stays one.
    ///
    /// # Errors
    /// [`Problem::Forbidden`](crate::Problem::Forbidden) for whoever is no enroller,
    /// [`Problem::NotFound`](crate::Problem::NotFound) without such a ticket.
    pub async fn revoke_ticket(&self, caller: &Caller, reference: &Reference) -> Answer<()> {
        self.execute(*caller.actor(), Operation::RevokeTicket(reference.clone())).await?;
        Ok(())
    }
}
