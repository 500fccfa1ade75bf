//! A request in, an answer out: what the services do, without a node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::Peer;
use identity::Identifier;
use node::NodeOptions;
use node::request::{ErrorBody, Method, Request, Response, Status};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::problem::{UNKNOWN_PATH, body, status};
use super::shape::{
    AddMember, AttributesEntry, CreateToken, Deleted, Details, IdentifierList, MemberList, OneTimeCode,
    TicketList, decode, encode,
};
use super::{Service, told};
use crate::guesses::Guesses;
use crate::http::MAX_BODY;
use crate::member::{MAX_PAGE, Member, MemberAttributes};
use crate::problem::{Needs, Problem};
use crate::service::{Answer, Authority, Caller};
use crate::ticket::{NewTicket, Reference};

/// The most bytes of a request: a body as large as the HTTP door takes it, and what surrounds it.
pub(super) const MAX_REQUEST: usize = MAX_BODY + 1024;
/// The most bytes of an answer. What does not fit is not cut: a list that looks whole and is not would be worse than none.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// How the services behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether members are served: added, listed, shown and deleted.
    pub direct_authentication: bool,
    /// Whether enrolment tickets are made and taken.
    pub token_enrolment: bool,
    /// How long an answer may take to be found.
    pub deadline: Duration,
    /// Who guessed wrong of late, to be shared with the other door.
    pub guesses: Guesses,
    /// How many TCP connections the door has at once.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct_authentication: true,
            token_enrolment: true,
            deadline: Duration::from_secs(30),
            guesses: Guesses::default(),
            connections: NodeOptions::default().connections,
        }
    }
}

impl Options {
    /// The services that are open.
    pub fn services(&self) -> impl Iterator<Item = Service> {
        Service::ALL.into_iter().filter(|service| match service {
            Service::DirectAuthenticator => self.direct_authentication,
            Service::EnrollmentTokenIssuer | Service::EnrollmentTokenAcceptor => self.token_enrolment,
            Service::CredentialIssuer => true,
        })
    }
}

/// Answers the requests of one authority's services. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    authority: Authority,
    options: Arc<Options>,
}

/// What came of a request: the body of the answer, if it has one.
pub(super) type Done = Result<Option<Vec<u8>>, Refused>;

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// The authority does.
    Problem(Problem),
    /// Nothing serves this method and path.
    UnknownPath,
}

impl<P: Into<Problem>> From<P> for Refused {
    fn from(problem: P) -> Self {
        Self::Problem(problem.into())
    }
}

impl Refused {
    /// The word for it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.code(),
            Self::UnknownPath => "malformed",
        }
    }

    /// Whether it is a fault of ours.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.is_fault())
    }
}

impl Desk {
    /// The services of an authority.
    #[must_use]
    pub fn new(authority: Authority, options: Options) -> Self {
        Self { authority, options: Arc::new(options) }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Answers a request to a service: always, whatever was sent.
    ///
    /// `peer` is whom the channel proved at its other end; without one nothing is done. `source` is the machine at the other
    /// end of the connection that the channel was opened over, when that is known.
    pub async fn answer(
        &self,
        peer: Option<&Peer>,
        source: Option<IpAddr>,
        service: Service,
        payload: &[u8],
    ) -> Vec<u8> {
        let unread = |words: &str| {
            let error = ErrorBody { message: Some(words.to_owned()), ..ErrorBody::default() };
            answered(0, Status::BadRequest, Some(&error.encode()))
        };
        let Some(peer) = peer else { return unread("secure channel required") };
        if payload.len() > MAX_REQUEST {
            return unread(&format!("the request is larger than {MAX_REQUEST} bytes"));
        }
        let request = match Request::decode(payload) {
            Ok(request) => request,
            Err(error) => return unread(&error.to_string()),
        };
        let metrics = self.authority.metrics();
        let done = told::telling(metrics, service, &request, peer.identifier(), async {
            match timeout(self.options.deadline, self.serve(peer, source, service, &request)).await {
                Ok(done) => done,
                Err(_) => Err(Problem::unavailable().into()),
            }
        })
        .await;
        match done {
            Ok(Some(body)) if body.len() > MAX_ANSWER => {
                let error = ErrorBody::of(&request, "the answer is too large for this door");
                answered(request.id, Status::InternalServerError, Some(&error.encode()))
            }
            Ok(body) => answered(request.id, Status::Ok, body.as_deref()),
            Err(Refused::UnknownPath) => {
                let error = ErrorBody::of(&request, UNKNOWN_PATH);
                answered(request.id, Status::BadRequest, Some(&error.encode()))
            }
            Err(Refused::Problem(problem)) => {
                answered(request.id, status(&problem), Some(&body(&problem, &request).encode()))
            }
        }
    }

    async fn serve(
        &self,
        peer: &Peer,
        source: Option<IpAddr>,
        service: Service,
        request: &Request<'_>,
    ) -> Done {
        // A channel may outlive what the handshake saw.
        if peer.attestation().expires_at() < self.authority.now() {
            return Err(Problem::Unauthenticated { needs: Needs::NewerHistory }.into());
        }
        // Nothing of it hangs on who asks.
        if let (Service::CredentialIssuer, Some(Method::Get), ["issuer"]) =
            (service, request.method, &*request.segments())
        {
            let bundle = self.authority.issuer_bundle().encode().map_err(|_| Problem::Internal)?;
            return Ok(Some(bundle));
        }
        let caller = self.authority.meet(peer.identity().clone()).await?;
        let caller = once(caller, service, request)?;
        match service {
            Service::DirectAuthenticator => self.members(&caller, request).await,
            Service::EnrollmentTokenIssuer => self.tickets(&caller, request).await,
            Service::EnrollmentTokenAcceptor => self.enrol(&caller, source, request).await,
            Service::CredentialIssuer => self.credential(&caller, request).await,
        }
    }

    async fn members(&self, caller: &Caller, request: &Request<'_>) -> Done {
        let authority = &self.authority;
        match (request.method, &*request.segments()) {
            (Some(Method::Post), ["" | "members"]) => {
                let AddMember { member, attributes } = decoded(request)?;
                authority.add_member(caller, member, MemberAttributes::new(attributes)?).await?;
                Ok(None)
            }
            (Some(Method::Get), ["member_ids"]) => {
                let members = self.every_member(caller).await?;
                let ids = members.into_iter().map(|member| member.identifier).collect();
                Ok(Some(encode(&IdentifierList(ids))))
            }
            (Some(Method::Get), ["" | "members"]) => {
                let members = self.every_member(caller).await?;
                let list = members.into_iter().map(|member| (member.identifier, member.into())).collect();
                Ok(Some(encode(&MemberList(list))))
            }
            (Some(Method::Get), [id] | ["members", id]) => {
                let member = authority.member(caller, &identifier(id)?).await?;
                Ok(Some(encode(&AttributesEntry::from(member))))
            }
            (Some(Method::Delete), ["members"]) => {
                let deleted = authority.delete_members(caller).await?;
                Ok(wants_details(request).then(|| encode(&Deleted(deleted))))
            }
            (Some(Method::Delete), [id] | ["members", id]) => {
                match authority.delete_member(caller, &identifier(id)?).await {
                    // Gone is gone, as the reference sees it.
                    Err(Problem::NotFound(_)) if !wants_details(request) => Ok(None),
                    deleted => Ok(deleted.map(|()| None)?),
                }
            }
            _ => Err(Refused::UnknownPath),
        }
    }

    async fn every_member(&self, caller: &Caller) -> Answer<Vec<Member>> {
        let (mut members, mut after) = (Vec::new(), None);
        loop {
            let page = self.authority.members(caller, after.as_ref(), MAX_PAGE).await?;
            members.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(members);
            }
        }
    }

    async fn tickets(&self, caller: &Caller, request: &Request<'_>) -> Done {
        let authority = &self.authority;
        match (request.method, &*request.segments()) {
            (Some(Method::Post), ["" | "tokens"]) => {
                let CreateToken { attributes, seconds, uses, details } = decoded(request)?;
                // Too many are refused as too many, whatever the number.
                let uses = uses.map(|uses| u32::try_from(uses).unwrap_or(u32::MAX));
                let new = NewTicket::new(MemberAttributes::new(attributes)?, seconds, uses)?;
                let issued = authority.make_ticket(caller, new).await?;
                let ticket = details.then_some(issued.ticket);
                Ok(Some(encode(&OneTimeCode { ticket, ..OneTimeCode::of(issued.code) })))
            }
            (Some(Method::Get), ["tokens"]) => {
                let (mut tickets, mut after) = (Vec::new(), None);
                loop {
                    let page = authority.tickets(caller, after.as_ref(), MAX_PAGE).await?;
                    tickets.extend(page.items);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                Ok(Some(encode(&TicketList(tickets))))
            }
            (Some(Method::Delete), ["tokens", reference]) => {
                authority.revoke_ticket(caller, &reference.parse::<Reference>()?).await?;
                Ok(None)
            }
            _ => Err(Refused::UnknownPath),
        }
    }

    async fn enrol(&self, caller: &Caller, source: Option<IpAddr>, request: &Request<'_>) -> Done {
        let (Some(Method::Post), ["" | "credential"]) = (request.method, &*request.segments()) else {
            return Err(Refused::UnknownPath);
        };
        let OneTimeCode { code, key_attestation, .. } = decoded(request)?;
        let from = (caller, source.map(Into::into));
        self.options.guesses.enrol(&self.authority, from, &code, key_attestation.as_deref()).await?;
        Ok(None)
    }

    async fn credential(&self, caller: &Caller, request: &Request<'_>) -> Done {
        let (Some(Method::Post), ["" | "credential"]) = (request.method, &*request.segments()) else {
            return Err(Refused::UnknownPath);
        };
        let credential = self.authority.credential(caller).await?;
        Ok(Some(credential.encode().map_err(|_| Problem::Internal)?))
    }
}

/// Under the idempotency key that the request names, if it changes something and names one: as at the other door.
fn once(caller: Caller, service: Service, request: &Request<'_>) -> Answer<Caller> {
    let Some((key, method)) = request.key.zip(request.method).filter(|(_, method)| *method != Method::Get)
    else {
        return Ok(caller);
    };
    let about = Sha256::new()
        .chain_update(format!("{} {method} {}\n", service.address(), request.path))
        .chain_update([u8::from(request.body.is_some())])
        .chain_update(request.body.unwrap_or_default());
    caller.once(key, about.finalize().into())
}

fn answered(re: u32, status: Status, body: Option<&[u8]>) -> Vec<u8> {
    // The id of an answer proves nothing: without randomness it is one that stands for none.
    let id = Response::new(re, status, None).map_or(1, |response| response.id);
    Response { id, re, status: Some(status), body }.encode()
}

fn decoded<'b, T: minicbor::Decode<'b, ()>>(request: &Request<'b>) -> Answer<T> {
    decode(request.body)
        .ok_or_else(|| Problem::malformed("the body is not of the form that this request has"))
}

/// Whether who asks is told what the reference does not tell. The reference sends no body there, and looks at none.
fn wants_details(request: &Request<'_>) -> bool {
    decode(request.body).is_some_and(|Details(wanted)| wanted)
}

fn identifier(text: &str) -> Answer<Identifier> {
    text.parse().map_err(|error: identity::Error| Problem::malformed(error.to_string()))
}
