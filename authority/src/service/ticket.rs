//! Enrolment tickets, as enrollers see them.

use crate::authz::Action;
use crate::member::Page;
use crate::once::Receipt;
use crate::problem::Problem;
use crate::service::{Answer, Authority, Caller};
use crate::store::{Operation, query};
use crate::ticket::{Code, IssuedTicket, NewTicket, Reference, Ticket, random};

impl Authority {
    /// Makes a ticket. Its code is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller, or no admin when the ticket gives a
    /// role.
    pub async fn make_ticket(&self, caller: &Caller, new: NewTicket) -> Answer<IssuedTicket> {
        let salt = random(32)?.expose_array().copied().ok_or(Problem::Internal)?;
        let code_of = |salt: &[u8; 32]| match caller.key() {
            Some(once) => Ok(once.code(salt)),
            None => Code::generate(),
        };
        let (reference, created_at) = (Reference::generate()?, self.now());
        let code = code_of(&salt)?;
        let ticket = new.clone().into_ticket(reference.clone(), caller.identifier(), created_at);
        let lookup = code.lookup(&self.identifier());
        let operation = Operation::MakeTicket { lookup, ticket: ticket.clone() };
        let receipt = Receipt::Ticket { reference, salt, created_at };
        match self.execute_for(caller, operation, receipt).await?.receipt {
            None => {
                self.metrics().ticket("made");
                Ok(IssuedTicket { ticket, code })
            }
            // The same request, so the same attributes, time and uses.
            Some(Receipt::Ticket { reference, salt, created_at }) => Ok(IssuedTicket {
                ticket: new.into_ticket(reference, caller.identifier(), created_at),
                code: code_of(&salt)?,
            }),
            Some(_) => Err(Problem::Internal),
        }
    }

    /// Tickets, ordered by reference, from the one after `after`; at most `limit`
    /// (and [`MAX_PAGE`](crate::member::MAX_PAGE)). Those that are used up or expired are among them for a week.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller.
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
    /// [`Problem::Forbidden`] for whoever is no enroller,
    /// [`Problem::NotFound`] without such a ticket.
    pub async fn revoke_ticket(&self, caller: &Caller, reference: &Reference) -> Answer<()> {
        self.execute_for(caller, Operation::RevokeTicket(reference.clone()), Receipt::Done).await?;
        self.metrics().ticket("revoked");
        Ok(())
    }
}
