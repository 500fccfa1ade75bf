//! What an authority may be asked, whichever door it is asked through.

use std::fmt;

use identity::{
    Clock, Credential, Identifier, Identity, IssuerBundle, Relation, Rule, VerifiedCredential, verify,
};

use super::Client;
use super::error::{Error, Kind, Result};
use crate::member::{Member, MemberAttributes};
use crate::ticket::{Code, Reference, Ticket};

/// What came of enrolling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The ticket was spent.
    Now,
    /// The identity was a member before. The ticket was not spent.
    Already,
}

impl Enrolled {
    /// What an authority's answer means.
    pub(super) fn of(answer: Result<()>) -> Result<Self> {
        let Err(error) = answer else { return Ok(Self::Now) };
        // The words of the reference, which is all that tells its refusals apart.
        let said = error.to_string().to_ascii_lowercase();
        match error.kind() {
            Kind::Conflict | Kind::Forbidden if said.contains("already a member") => Ok(Self::Already),
            Kind::Forbidden if said.contains("unknown enrollment token") => Err(error.with_hint(
                "the ticket was used up or revoked, has expired, or is another authority's: ask an enroller for a new one",
            )),
            _ => Err(error),
        }
    }
}

/// A credential that verified.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The credential.
    pub credential: Credential,
    /// What it says.
    pub verified: VerifiedCredential,
    /// What it was verified under: to be kept, and to be shown to whoever has to verify it.
    pub issuer: IssuerBundle,
}

impl Granted {
    /// A credential, if it holds now and is about this subject.
    pub(super) fn new(
        credential: &Credential,
        issuer: IssuerBundle,
        subject: &Identifier,
        clock: &dyn Clock,
    ) -> Result<Self> {
        match verify(credential, &issuer, Some(subject), clock.now(), Rule::default()) {
            Ok(verified) => Ok(Self { credential: credential.clone(), verified, issuer }),
            Err(error) => {
                Err(Error::untrusted(format!("the credential does not verify: {error}")).with_source(error))
            }
        }
    }
}

/// A ticket that was just made.
#[derive(Debug)]
pub struct Made {
    /// Its code: the only time that it is shown.
    pub code: Code,
    /// What may be told of it. An authority that is not ours tells nothing.
    pub ticket: Option<Ticket>,
}

/// One identity's way to one authority.
pub trait Ask: fmt::Debug + Send + Sync {
    /// Whom it asks.
    fn authority(&self) -> Identifier;

    /// Who asks.
    fn identity(&self) -> &Identity;

    /// What verifiers need of the authority, as it is now. Believed only when it is the authority's, and not older than what
    /// is known.
    ///
    /// # Errors
    /// [`Kind::Untrusted`] for another, an older or a contradicting history.
    fn issuer(&self) -> Result<IssuerBundle>;

    /// Becomes a member, by the code of a ticket, and shows what a device says of the identity's primary key, if anything: an
    /// encoded key attestation.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for a code that is unknown, expired or used up, and when the authority's enrolment policy does not
    /// admit the identity.
    fn enrol(&self, code: &Code, shown: Option<&[u8]>) -> Result<Enrolled>;

    /// Gets a credential about the identity, and verifies it.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no member; [`Kind::Untrusted`] for a credential that does not verify under the
    /// authority's history.
    fn credential(&self) -> Result<Granted>;

    /// All members, ordered by identifier.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    fn members(&self) -> Result<Vec<Member>>;

    /// The identifiers of all members, in order.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    fn member_ids(&self) -> Result<Vec<Identifier>>;

    /// One member.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller, [`Kind::NotFound`] without such a member.
    fn member(&self, identifier: &Identifier) -> Result<Member>;

    /// Adds a member, or replaces a member's attributes.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not.
    fn add_member(&self, identifier: &Identifier, attributes: &MemberAttributes) -> Result<()>;

    /// Deletes a member.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not, [`Kind::NotFound`] without such a member (an authority that is not ours does
    /// not tell).
    fn delete_member(&self, identifier: &Identifier) -> Result<()>;

    /// Deletes every member that may be deleted, but the one who asks, and says how many when the authority does.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    fn delete_members(&self) -> Result<Option<u64>>;

    /// Makes a ticket that gives these attributes, good for so many seconds and uses (the authority's defaults when it is not
    /// said: 600 and 1).
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not.
    fn make_ticket(
        &self,
        attributes: &MemberAttributes,
        expires_in: Option<u64>,
        uses: Option<u32>,
    ) -> Result<Made>;

    /// All tickets, ordered by reference; those that are used up or expired are among them for a week.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller; [`Kind::Unexpected`] of an authority that is not ours.
    fn tickets(&self) -> Result<Vec<Ticket>>;

    /// Revokes a ticket.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller, [`Kind::NotFound`] without such a ticket; [`Kind::Unexpected`] of an
    /// authority that is not ours.
    fn revoke_ticket(&self, reference: &Reference) -> Result<()>;
}

impl Ask for Client {
    fn authority(&self) -> Identifier {
        self.authority()
    }

    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn issuer(&self) -> Result<IssuerBundle> {
        self.issuer()
    }

    fn enrol(&self, code: &Code, shown: Option<&[u8]>) -> Result<Enrolled> {
        self.enrol_showing(code, shown)
    }

    fn credential(&self) -> Result<Granted> {
        self.credential()
    }

    fn members(&self) -> Result<Vec<Member>> {
        self.members()
    }

    fn member_ids(&self) -> Result<Vec<Identifier>> {
        self.member_ids()
    }

    fn member(&self, identifier: &Identifier) -> Result<Member> {
        self.member(identifier)
    }

    fn add_member(&self, identifier: &Identifier, attributes: &MemberAttributes) -> Result<()> {
        self.add_member(identifier, attributes)
    }

    fn delete_member(&self, identifier: &Identifier) -> Result<()> {
        self.delete_member(identifier)
    }

    fn delete_members(&self) -> Result<Option<u64>> {
        self.delete_members().map(Some)
    }

    fn make_ticket(
        &self,
        attributes: &MemberAttributes,
        expires_in: Option<u64>,
        uses: Option<u32>,
    ) -> Result<Made> {
        let issued = self.make_ticket(attributes, expires_in, uses)?;
        Ok(Made { code: issued.code, ticket: Some(issued.ticket) })
    }

    fn tickets(&self) -> Result<Vec<Ticket>> {
        self.tickets()
    }

    fn revoke_ticket(&self, reference: &Reference) -> Result<()> {
        self.revoke_ticket(reference)
    }
}

/// What an authority shows of itself is believed only when it is the authority's, and not older than what is known; a man in
/// the middle can keep it back, and no more.
pub(super) fn believed(
    bundle: IssuerBundle,
    authority: &Identifier,
    known: Option<&Identity>,
) -> Result<IssuerBundle> {
    if bundle.identifier() != *authority {
        return Err(Error::untrusted(format!(
            "this is the authority {} and not {authority}",
            bundle.identifier()
        ))
        .with_hint("somebody else answers at this URL, or the URL is another authority's"));
    }
    match known.map(|known| bundle.identity().compared_to(known)) {
        None | Some(Relation::Equal | Relation::Newer) => Ok(bundle),
        Some(Relation::Older) => {
            Err(Error::untrusted("the authority shows an older change history than the one that is known"))
        }
        Some(Relation::Conflict) => Err(Error::untrusted(
            "the authority shows a change history that contradicts the one that is known",
        )
        .with_hint("one of the authority's keys may have been stolen: ask its operator, and do not go on")),
    }
}
