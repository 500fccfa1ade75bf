//! Asks an authority, in the name of an identity: over HTTP ([`Client`]) or secure channels ([`ChannelClient`]), whatever the
//! door, the same ([`Ask`]).
//!
//! Nothing that comes back is believed for where it came from. A change history has to be that of the authority whose
//! identifier is known, and a credential has to verify under it. Who asks and what is asked is signed, so that it cannot be
//! altered, redirected or repeated; over `http://` it can be read by whoever stands in between, over `https://` it cannot.
//!
//! Everything here blocks: from asynchronous code, call it on a thread of its own.

mod ask;
mod channel;
mod endpoint;
mod error;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Response, StatusCode, header};
use identity::{Clock, Credential, Identifier, Identity, IssuerBundle, RequestKeyAttestation, Timestamp};
use serde::de::DeserializeOwned;
use ureq::Body;
use vault::{SecretBytes, Signer};

pub use ask::{Ask, Enrolled, Granted, Made};
pub use channel::ChannelClient;
pub use endpoint::Endpoint;
pub use error::{Error, Kind, Result};

use crate::http::sender::{self, IDENTITY, MAX_IDENTITY};
use crate::http::shape::{
    AddMemberRequest, CredentialAnswer, DeletedAnswer, EnrolRequest, MakeTicketRequest, TicketAnswer,
};
use crate::http::signature::{
    self, AUDIENCE, CONTENT_DIGEST, Covered, Draft, IDEMPOTENCY_KEY, KeyId, MAX_LIFE, Nonce, Parameters,
    SIGNATURE, SIGNATURE_INPUT,
};
use crate::member::{Member, MemberAttributes, Page};
use crate::ticket::{Code, IssuedTicket, Reference, Ticket};
use endpoint::{json, parse, problem, read_bytes, unexpected};

/// How many items are asked for at a time.
const PAGE: usize = 100;
/// The most items that are taken from a listing, however many pages a server makes of it.
const MAX_ITEMS: usize = 10_000_000;
/// How long a request waits for the second of a server's start to pass.
const SETTLING: Duration = Duration::from_secs(2);

/// One identity's way to one authority, over HTTP.
pub struct Client {
    endpoint: Endpoint,
    authority: Identifier,
    identity: Identity,
    signer: Signer,
    shown: String,
    clock: Arc<dyn Clock>,
    issuer: Mutex<Option<IssuerBundle>>,
    // Whether the authority took a request of ours, and so knows history and request key.
    introduced: AtomicBool,
}

impl Client {
    /// A client of the authority at `endpoint` whose identifier is `authority`, asking as `identity` with a request key and
    /// its attestation. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an attestation of another key or identity or one that is over, or a change history
    /// too long for a header.
    pub fn new(
        endpoint: Endpoint,
        authority: Identifier,
        identity: Identity,
        signer: Signer,
        attestation: &RequestKeyAttestation,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let invalid = |words: String| Error::new(Kind::Invalid, words);
        let key = attestation.verify(&identity, clock.now()).map_err(|e| {
            invalid(format!("the attestation of the request key is no good: {e}")).with_source(e)
        })?;
        if key.key() != signer.public() {
            return Err(invalid("the request key is not the one that was attested".to_owned()));
        }
        let encoded = attestation.encode().map_err(|e| invalid(e.to_string()))?;
        let shown = sender::show(&identity, &encoded).ok_or_else(|| {
            invalid(format!(
                "the identity's change history is too long to be shown over HTTP: {MAX_IDENTITY} bytes"
            ))
        })?;
        Ok(Self {
            endpoint,
            authority,
            identity,
            signer,
            shown,
            clock,
            issuer: Mutex::default(),
            introduced: AtomicBool::new(false),
        })
    }

    /// Says what is known of the authority already: nothing older is taken then.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is another authority's.
    pub fn knowing(self, issuer: IssuerBundle) -> Result<Self> {
        if issuer.identifier() != self.authority {
            return Err(Error::new(Kind::Invalid, "the known issuer is another authority"));
        }
        *self.issuer.lock().unwrap_or_else(PoisonError::into_inner) = Some(issuer);
        Ok(self)
    }

    /// Where it asks.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whom it asks.
    #[must_use]
    pub fn authority(&self) -> Identifier {
        self.authority
    }

    /// Who asks.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What verifiers need of the authority, as it is now: see [`Endpoint::issuer`].
    ///
    /// # Errors
    /// As there.
    pub fn issuer(&self) -> Result<IssuerBundle> {
        let known = self.known();
        let issuer = self.endpoint.issuer(&self.authority, known.as_ref().map(IssuerBundle::identity))?;
        *self.issuer.lock().unwrap_or_else(PoisonError::into_inner) = Some(issuer.clone());
        Ok(issuer)
    }

    fn known(&self) -> Option<IssuerBundle> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Becomes a member, by the code of a ticket.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for a code that is unknown, expired or used up.
    pub fn enrol(&self, code: &Code) -> Result<Enrolled> {
        self.enrol_showing(code, None)
    }

    /// The same, and shows what a device says of the identity's primary key: an encoded key attestation.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol), and [`Kind::Forbidden`] when the authority's enrolment policy does not admit it.
    pub fn enrol_showing(&self, code: &Code, shown: Option<&[u8]>) -> Result<Enrolled> {
        let text = code.expose_hex();
        let key_attestation = shown.map(hex::encode);
        let body = zeroize::Zeroizing::new(json(&EnrolRequest { code: text.to_string(), key_attestation })?);
        Enrolled::of(self.send(Method::POST, "/v1/enrol", Some(&body)).map(drop))
    }

    /// Gets a credential about the identity, and verifies it.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no member; [`Kind::Untrusted`] for a credential that does not verify under the
    /// authority's history.
    pub fn credential(&self) -> Result<Granted> {
        let answer: CredentialAnswer = self.ask(Method::POST, "/v1/credential", None)?;
        let credential = Credential::from_hex(&answer.credential)
            .map_err(|_| unexpected("the answer holds no credential"))?;
        // What is known of the authority may be from before a rotation.
        let known = self.known().and_then(|issuer| self.granted(&credential, issuer).ok());
        match known {
            Some(granted) => Ok(granted),
            None => self.granted(&credential, self.issuer()?),
        }
    }

    fn granted(&self, credential: &Credential, issuer: IssuerBundle) -> Result<Granted> {
        Granted::new(credential, issuer, &self.identity.identifier(), &*self.clock)
    }

    /// One page of members, ordered by identifier, from the one after `after`.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    pub fn members_after(
        &self,
        after: Option<&Identifier>,
        limit: usize,
    ) -> Result<Page<Member, Identifier>> {
        self.ask(Method::GET, &listing("/v1/members", after, limit), None)
    }

    /// All members, ordered by identifier.
    ///
    /// # Errors
    /// As [`members_after`](Self::members_after).
    pub fn members(&self) -> Result<Vec<Member>> {
        all(|after| self.members_after(after, PAGE))
    }

    /// The identifiers of all members, in order.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    pub fn member_ids(&self) -> Result<Vec<Identifier>> {
        all(|after: Option<&Identifier>| self.ask(Method::GET, &listing("/v1/member-ids", after, PAGE), None))
    }

    /// One member.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller, [`Kind::NotFound`] without such a member.
    pub fn member(&self, identifier: &Identifier) -> Result<Member> {
        let member: Member = self.ask(Method::GET, &format!("/v1/members/{identifier}"), None)?;
        if member.identifier == *identifier {
            Ok(member)
        } else {
            Err(unexpected("the answer is about another member"))
        }
    }

    /// Adds a member, or replaces a member's attributes.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not.
    pub fn add_member(&self, identifier: &Identifier, attributes: &MemberAttributes) -> Result<()> {
        let request = AddMemberRequest { identifier: *identifier, attributes: attributes.as_map().clone() };
        self.send(Method::POST, "/v1/members", Some(&json(&request)?)).map(drop)
    }

    /// Deletes a member.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not, [`Kind::NotFound`] without such a member.
    pub fn delete_member(&self, identifier: &Identifier) -> Result<()> {
        self.send(Method::DELETE, &format!("/v1/members/{identifier}"), None).map(drop)
    }

    /// Deletes every member that may be deleted, but the one who asks, and says how many.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    pub fn delete_members(&self) -> Result<u64> {
        let answer: DeletedAnswer = self.ask(Method::DELETE, "/v1/members", None)?;
        Ok(answer.deleted)
    }

    /// Makes a ticket that gives these attributes, good for so many seconds and uses (the authority's defaults when it is not
    /// said: 600 and 1).
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever may not.
    pub fn make_ticket(
        &self,
        attributes: &MemberAttributes,
        expires_in: Option<u64>,
        uses: Option<u32>,
    ) -> Result<IssuedTicket> {
        let request = MakeTicketRequest { attributes: attributes.as_map().clone(), expires_in, uses };
        let answer: TicketAnswer = self.ask(Method::POST, "/v1/tickets", Some(&json(&request)?))?;
        let (ticket, code) = answer.into_ticket();
        let code = Code::from_hex(&code).map_err(|_| unexpected("the answer holds no enrolment code"))?;
        Ok(IssuedTicket { ticket, code })
    }

    /// All tickets, ordered by reference; those that are used up or expired are among them for a week.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller.
    pub fn tickets(&self) -> Result<Vec<Ticket>> {
        all(|after: Option<&Reference>| self.ask(Method::GET, &listing("/v1/tickets", after, PAGE), None))
    }

    /// Revokes a ticket.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for whoever is no enroller, [`Kind::NotFound`] without such a ticket.
    pub fn revoke_ticket(&self, reference: &Reference) -> Result<()> {
        self.send(Method::DELETE, &format!("/v1/tickets/{reference}"), None).map(drop)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&[u8]>) -> Result<T> {
        parse(&self.send(method, path, body)?)
    }

    /// Sends a request and reads its answer to the end. What changes something is sent under an idempotency key, and once
    /// more under the same when the answer was lost, as long as there is time: it is done once all the same.
    fn send(&self, method: Method, path: &str, body: Option<&[u8]>) -> Result<Vec<u8>> {
        let deadline = self.endpoint.deadline();
        if method == Method::GET {
            return self.send_under(None, &method, path, body, deadline);
        }
        let key = format!("\"{}\"", hex::encode(SecretBytes::random(16)?.expose()));
        match self.send_under(Some(&key), &method, path, body, deadline) {
            Err(lost) if lost.may_have_happened() && Instant::now() < deadline => {
                let again = self.send_under(Some(&key), &method, path, body, deadline);
                // Whether it was done the first time is as unknown as before.
                again.map_err(|error| {
                    let unknown = error.kind() == Kind::Unavailable;
                    error.that_may_have_happened(unknown)
                })
            }
            answered => answered,
        }
    }

    /// Sends a request, again when the authority asks for history and request key, and again when it has just started.
    /// Neither time anything was done.
    fn send_under(
        &self,
        key: Option<&str>,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Vec<u8>> {
        let mut show = !self.introduced.load(Ordering::Relaxed);
        let mut settled = false;
        loop {
            let created = self.clock.now();
            let asked = Asked { key, method, path, body, show, deadline };
            let mut response = self.sign_and_send(&asked, created)?;
            if response.status().is_success() {
                self.introduced.store(true, Ordering::Relaxed);
                return read_bytes(&mut response);
            }
            let error = problem(response);
            match (error.needs(), error.reason()) {
                (Some("history" | "request-key"), _) if !show => show = true,
                (_, Some("before-start")) if !settled => {
                    settled = true;
                    self.wait_for_second_after(created);
                }
                _ => return Err(error),
            }
        }
    }

    fn wait_for_second_after(&self, created: Timestamp) {
        let start = Instant::now();
        while self.clock.now() <= created && start.elapsed() < SETTLING {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn sign_and_send(&self, asked: &Asked<'_>, created: Timestamp) -> Result<Response<Body>> {
        let Asked { key, method, path, body, show, deadline } = *asked;
        let content_digest = signature::digest_of(body.unwrap_or_default());
        let (target_uri, audience) = (self.endpoint.target_uri(path), self.authority.to_string());
        let random = SecretBytes::random(16)?;
        let nonce =
            random.expose_array().copied().ok_or_else(|| Error::new(Kind::Invalid, "no randomness"))?;
        let parameters = Parameters {
            created,
            expires: created.after(MAX_LIFE),
            nonce: Nonce::from_bytes(nonce),
            key: KeyId { identifier: self.identity.identifier(), change: self.identity.latest().hash() },
            algorithm: self.signer.algorithm(),
        };
        let covered = Covered {
            method: method.as_str(),
            target_uri: &target_uri,
            content_digest: &content_digest,
            audience: &audience,
            idempotency_key: key,
        };
        let draft =
            Draft::new(parameters, &covered).map_err(|fault| Error::new(Kind::Invalid, fault.words()))?;
        let (input, signature) = draft.headers(&vault::block_on(self.signer.sign(draft.base()))?);
        let mut headers = vec![
            (CONTENT_DIGEST, content_digest.as_str()),
            (AUDIENCE, audience.as_str()),
            (SIGNATURE_INPUT, input.as_str()),
            (SIGNATURE, signature.as_str()),
        ];
        headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        if show {
            headers.push((IDENTITY, &self.shown));
        }
        if body.is_some() {
            headers.push((header::CONTENT_TYPE.as_str(), "application/json"));
        }
        // A request of a method that may have a body always has one, if an empty one.
        let body = body.or((*method == Method::POST).then_some(&[]));
        let request = self.endpoint.request(method.clone(), path, &headers);
        let response = self.endpoint.exchange(request, body, deadline)?;
        if response.status() == StatusCode::NOT_MODIFIED || response.status().is_redirection() {
            return Err(unexpected("the server sends us elsewhere, which an authority never does"));
        }
        Ok(response)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("authority", &self.authority)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// A request that is to be signed.
#[derive(Clone, Copy)]
struct Asked<'a> {
    key: Option<&'a str>,
    method: &'a Method,
    path: &'a str,
    body: Option<&'a [u8]>,
    show: bool,
    deadline: Instant,
}

fn listing(path: &str, after: Option<&impl fmt::Display>, limit: usize) -> String {
    match after {
        Some(after) => format!("{path}?after={after}&limit={limit}"),
        None => format!("{path}?limit={limit}"),
    }
}

/// Every page, provided that each starts after the one before.
fn all<T, C: Ord + Clone>(page: impl Fn(Option<&C>) -> Result<Page<T, C>>) -> Result<Vec<T>> {
    let (mut items, mut after): (Vec<T>, Option<C>) = (Vec::new(), None);
    loop {
        let next = page(after.as_ref())?;
        items.extend(next.items);
        let Some(cursor) = next.next else { return Ok(items) };
        if after.is_some_and(|after| cursor <= after) || items.len() > MAX_ITEMS {
            return Err(unexpected("the listing does not come to an end"));
        }
        after = Some(cursor);
    }
}
