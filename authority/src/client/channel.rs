//! Asking an authority over a secure channel: the other side of [`ockam`](crate::ockam), and of the reference's own authority.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use channel::{Peer, Presentation, Trust};
use identity::{Clock, Credential, Identifier, Identity, IssuerBundle, PurposeKeyAttestation, Relation};
use minicbor::Decode;
use node::multiaddr::{MultiAddr, Part};
use node::request::{Method, Request, Response, Status};
use node::{Address, ChannelOptions, Node, NodeOptions, Party, Pending};
use vault::{Agreer, SecretBytes};
use zeroize::Zeroizing;

use super::ask::{Ask, Enrolled, Granted, Made, believed};
use super::error::{Error, Kind, Result, printable};
use crate::member::{Member, MemberAttributes};
use crate::ockam::Service;
use crate::ockam::shape::{
    AttributesEntry, Deleted, Details, IdentifierList, MemberList, NewMember, NewToken, OneTimeCode,
    TicketList, decode, encode,
};
use crate::ticket::{Code, Reference, Ticket};

/// How long an answer is waited for, and before it a handshake.
const WAIT: Duration = Duration::from_secs(30);
/// The random bytes of an idempotency key.
const KEY: usize = 16;

/// One identity's way to one authority, over secure channels: each question has one of its own, as with the reference's
/// clients. Blocks: not to be used on a thread that runs asynchronous tasks.
pub struct ChannelClient {
    route: MultiAddr,
    authority: Identifier,
    identity: Identity,
    options: ChannelOptions,
    clock: Arc<dyn Clock>,
    pinned: Arc<Pinned>,
    wait: Duration,
}

impl ChannelClient {
    /// A client of the authority whose identifier is `authority`, with the listener of channels at the end of `route`: a
    /// multiaddress as `/dnsaddr/HOST/tcp/PORT/service/api`. It asks as `identity`, with a channel key that its attestation is
    /// of. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a route that does not end at a listener, and an attestation that is no good.
    pub fn new(
        route: &str,
        authority: Identifier,
        identity: Identity,
        (key, attestation): (Agreer, &PurposeKeyAttestation),
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let invalid = |words: String| Error::new(Kind::Invalid, words);
        let shown = Presentation::new(&identity, attestation, &[], clock.now()).map_err(|e| {
            invalid(format!("the attestation of the channel key is no good: {e}")).with_source(e)
        })?;
        if !shown.is_of(key.public()) {
            return Err(invalid("the channel key is not the one that was attested".to_owned()));
        }
        let pinned = Arc::new(Pinned { authority, known: Mutex::default() });
        let options = ChannelOptions::new(Arc::new(Own(shown, key)), pinned.clone());
        Ok(Self { route: to_listener(route)?, authority, identity, options, clock, pinned, wait: WAIT })
    }

    /// Waits for so long for a handshake, and for so long again for an answer; 30 seconds when nothing is said.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Says what is known of the authority already: nothing older is taken then.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is another authority's.
    pub fn knowing(self, issuer: IssuerBundle) -> Result<Self> {
        if issuer.identifier() != self.authority {
            return Err(Error::new(Kind::Invalid, "the known issuer is another authority"));
        }
        self.pinned.set(issuer);
        Ok(self)
    }

    /// Asks a service, and gives the body of the answer. What changes something is asked under an idempotency key, and once
    /// more under the same when the answer was lost. Our authorities do it once all the same. One of the reference does not
    /// know keys: there a member is put or deleted as before, a ticket that was redeemed answers that one is a member
    /// already, and a ticket or credential that was made and lost is in nobody's hands.
    fn ask(&self, service: Service, method: Method, path: &str, body: Option<&[u8]>) -> Result<Answered> {
        if method == Method::Get {
            return self.ask_under(None, service, method, path, body);
        }
        let key = hex::encode(SecretBytes::random(KEY)?.expose());
        match self.ask_under(Some(&key), service, method, path, body) {
            Err(lost) if lost.may_have_happened() => {
                let again = self.ask_under(Some(&key), service, method, path, body);
                // Whether it was done the first time is as unknown as before.
                again.map_err(|error| {
                    let unknown = error.kind() == Kind::Unavailable;
                    error.that_may_have_happened(unknown)
                })
            }
            answered => answered,
        }
    }

    /// Asks in a channel of its own.
    fn ask_under(
        &self,
        key: Option<&str>,
        service: Service,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answered> {
        let failed = |e: std::io::Error| {
            Error::new(Kind::Unavailable, "the system gives no more threads or descriptors").with_source(e)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let node = Node::new(NodeOptions { clock: self.clock.clone(), ..NodeOptions::default() });
            let answered = self.ask_from(&node, key, service, method, path, body).await;
            node.stop().await;
            answered
        })
    }

    async fn ask_from(
        &self,
        node: &Node,
        key: Option<&str>,
        service: Service,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answered> {
        let mut way = node
            .resolve(&self.route, Some(&self.options), self.wait)
            .await
            .map_err(|error| self.unreachable(error, false))?;
        let request =
            Request { key, ..Request::new(method, path, body).map_err(|e| self.unreachable(e, false))? };
        way.route.0.push(Address::local(service.address()));
        let answer = node
            .ask(way.route.clone(), request.encode(), self.wait)
            .await
            .map_err(|error| self.unreachable(error, method != Method::Get))?;
        let peer = answer.peer().filter(|peer| peer.identifier() == self.authority);
        let peer = peer.ok_or_else(|| unexpected("somebody else answers than the authority"))?;
        self.pinned.learn(peer.identity());
        let response =
            Response::decode(&answer.payload).map_err(|_| unexpected("what comes back is no answer"))?;
        if response.re != request.id && (response.is_ok() || response.re != 0) {
            return Err(unexpected("the answer is to another request"));
        }
        if !response.is_ok() {
            return Err(refused(&response));
        }
        Ok(Answered(Zeroizing::new(response.body.unwrap_or_default().to_vec())))
    }

    fn unreachable(&self, error: node::Error, may_have_happened: bool) -> Error {
        let words = format!("the authority at `{}` does not answer: {error}", self.route);
        let mut kind = Kind::Unavailable;
        let mut hint = "see whether it is running and the route is right, then try again";
        match error.kind() {
            node::Kind::Denied | node::Kind::Rejected => {
                kind = Kind::Untrusted;
                hint = "somebody else answers at this route, or the authority's history is not the one that is known";
            }
            node::Kind::Invalid => {
                kind = Kind::Invalid;
                hint = "write the route as `/dnsaddr/HOST/tcp/PORT/service/api`";
            }
            _ => {}
        }
        Error::new(kind, words).with_hint(hint).that_may_have_happened(may_have_happened).with_source(error)
    }

    fn granted(&self, credential: &Credential, issuer: IssuerBundle) -> Result<Granted> {
        Granted::new(credential, issuer, &self.identity.identifier(), &*self.clock)
    }
}

impl Ask for ChannelClient {
    fn authority(&self) -> Identifier {
        self.authority
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn issuer(&self) -> Result<IssuerBundle> {
        let before = self.pinned.known();
        let shown = match self.ask(Service::CredentialIssuer, Method::Get, "/issuer", None) {
            Ok(answer) => IssuerBundle::decode(&answer.0).map_err(|e| Error::untrusted(e.to_string()))?,
            // Of an authority that is not ours there is what the handshake showed.
            Err(error) if error.kind() == Kind::Malformed => {
                self.pinned.known().ok_or_else(|| unexpected("the authority shows no change history"))?
            }
            Err(error) => return Err(error),
        };
        let issuer = believed(shown, &self.authority, before.as_ref().map(IssuerBundle::identity))?;
        self.pinned.set(issuer.clone());
        Ok(issuer)
    }

    fn enrol(&self, code: &Code, shown: Option<&[u8]>) -> Result<Enrolled> {
        let code = Code::from_hex(&code.expose_hex())
            .map_err(|_| Error::new(Kind::Invalid, "this is no enrolment code"))?;
        let shown = shown.map(<[u8]>::to_vec);
        let body = Zeroizing::new(encode(&OneTimeCode { key_attestation: shown, ..OneTimeCode::of(code) }));
        let answer = self.ask(Service::EnrollmentTokenAcceptor, Method::Post, "/", Some(&body));
        Enrolled::of(answer.map(drop))
    }

    fn credential(&self) -> Result<Granted> {
        let answer = self.ask(Service::CredentialIssuer, Method::Post, "/", None)?;
        let credential =
            Credential::decode(&answer.0).map_err(|_| unexpected("the answer holds no credential"))?;
        let known = self.pinned.known().and_then(|issuer| self.granted(&credential, issuer).ok());
        match known {
            Some(granted) => Ok(granted),
            None => self.granted(&credential, self.issuer()?),
        }
    }

    fn members(&self) -> Result<Vec<Member>> {
        let MemberList(list) = self.ask(Service::DirectAuthenticator, Method::Get, "/", None)?.read()?;
        Ok(list.into_iter().map(|(id, entry)| entry.into_member(id, self.authority)).collect())
    }

    fn member_ids(&self) -> Result<Vec<Identifier>> {
        let IdentifierList(list) =
            self.ask(Service::DirectAuthenticator, Method::Get, "/member_ids", None)?.read()?;
        Ok(list)
    }

    fn member(&self, identifier: &Identifier) -> Result<Member> {
        let path = format!("/{identifier}");
        let entry: AttributesEntry =
            self.ask(Service::DirectAuthenticator, Method::Get, &path, None)?.read()?;
        Ok(entry.into_member(*identifier, self.authority))
    }

    fn add_member(&self, identifier: &Identifier, attributes: &MemberAttributes) -> Result<()> {
        let body = encode(&NewMember(identifier, attributes));
        self.ask(Service::DirectAuthenticator, Method::Post, "/", Some(&body)).map(drop)
    }

    fn delete_member(&self, identifier: &Identifier) -> Result<()> {
        let (path, body) = (format!("/{identifier}"), encode(&Details(true)));
        self.ask(Service::DirectAuthenticator, Method::Delete, &path, Some(&body)).map(drop)
    }

    fn delete_members(&self) -> Result<Option<u64>> {
        let body = encode(&Details(true));
        let answer = self.ask(Service::DirectAuthenticator, Method::Delete, "/members", Some(&body))?;
        Ok(answer.read().ok().map(|Deleted(count)| count))
    }

    fn make_ticket(
        &self,
        attributes: &MemberAttributes,
        expires_in: Option<u64>,
        uses: Option<u32>,
    ) -> Result<Made> {
        let uses = uses.map(u64::from);
        let body = encode(&NewToken { attributes, seconds: expires_in, uses, details: true });
        let answer = self.ask(Service::EnrollmentTokenIssuer, Method::Post, "/", Some(&body))?;
        let OneTimeCode { code, ticket, .. } = answer.read()?;
        Ok(Made { code, ticket })
    }

    fn tickets(&self) -> Result<Vec<Ticket>> {
        let answer = self.ask(Service::EnrollmentTokenIssuer, Method::Get, "/tokens", None);
        let TicketList(tickets) = answer.map_err(not_ours)?.read()?;
        Ok(tickets)
    }

    fn revoke_ticket(&self, reference: &Reference) -> Result<()> {
        let path = format!("/tokens/{reference}");
        self.ask(Service::EnrollmentTokenIssuer, Method::Delete, &path, None).map(drop).map_err(not_ours)
    }
}

impl fmt::Debug for ChannelClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelClient")
            .field("route", &self.route)
            .field("authority", &self.authority)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The body of an answer. It may hold a code.
struct Answered(Zeroizing<Vec<u8>>);

impl Answered {
    fn read<T: for<'b> Decode<'b, ()>>(&self) -> Result<T> {
        decode(Some(&self.0)).ok_or_else(|| unexpected("the answer is not what an authority answers"))
    }
}

/// Who asks.
struct Own(Presentation, Agreer);

impl Party for Own {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async { Ok((self.0.clone(), self.1.clone())) })
    }
}

/// Whom alone one speaks to, and what is known of it.
struct Pinned {
    authority: Identifier,
    known: Mutex<Option<IssuerBundle>>,
}

impl Pinned {
    fn known(&self) -> Option<IssuerBundle> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, issuer: IssuerBundle) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(issuer);
    }

    /// What the handshake showed, which was held against what is known.
    fn learn(&self, shown: &Identity) {
        let known = self.known();
        if known.is_none_or(|known| shown.compared_to(known.identity()) == Relation::Newer) {
            self.set(IssuerBundle::history_only(shown.clone()));
        }
    }
}

impl Trust for Pinned {
    fn admits(&self, peer: &Peer) -> bool {
        peer.identifier() == self.authority
    }

    fn known(&self, identifier: &Identifier) -> Option<Arc<Identity>> {
        let known = self.known().filter(|known| known.identifier() == *identifier)?;
        Some(Arc::new(known.identity().clone()))
    }
}

/// The way to a listener: `service`, `worker` and `secure` name it alike.
fn to_listener(text: &str) -> Result<MultiAddr> {
    let invalid = |e: node::Error| {
        let hint = e.hint().unwrap_or("write it as `/dnsaddr/HOST/tcp/PORT/service/api`").to_owned();
        Error::new(Kind::Invalid, e.to_string()).with_hint(hint).with_source(e)
    };
    let route: MultiAddr = text.parse().map_err(invalid)?;
    let mut parts = route.parts().to_vec();
    match parts.pop() {
        Some(Part::Service(name) | Part::Secure(name)) => parts.push(Part::Secure(name)),
        _ => {
            let words = format!("`{}` does not end at a listener of secure channels", printable(text));
            return Err(Error::new(Kind::Invalid, words)
                .with_hint("add the listener's name, which is mostly `api`: `/service/api`"));
        }
    }
    MultiAddr::new(parts).map_err(invalid)
}

fn unexpected(words: &'static str) -> Error {
    Error::new(Kind::Unexpected, words)
        .with_hint("see whether the route is an authority's, and of the same version")
}

/// Of what the reference's authority does not have, it says that it does not know the path.
fn not_ours(error: Error) -> Error {
    if error.kind() != Kind::Malformed {
        return error;
    }
    Error::new(Kind::Unexpected, "this authority neither lists nor revokes tickets").with_source(error)
}

/// What an answer that is no success means.
fn refused(response: &Response<'_>) -> Error {
    let said = response.error();
    let words = if said.message.is_some() { said.to_string() } else { "without a reason".to_owned() };
    let words = printable(&words);
    let kind = match (said.code.as_deref(), response.status) {
        (Some("not-found"), _) | (None, Some(Status::NotFound)) => Kind::NotFound,
        (Some("rate-limited"), _) => Kind::RateLimited,
        (Some("unavailable"), _) | (None, Some(Status::Timeout)) => Kind::Unavailable,
        (_, Some(Status::BadRequest)) => Kind::Malformed,
        (_, Some(Status::Unauthorized)) => Kind::Unauthenticated,
        (_, Some(Status::Conflict)) => Kind::Conflict,
        // So the reference says it.
        (_, Some(Status::Forbidden)) if words.to_ascii_lowercase().ends_with(" not found") => Kind::NotFound,
        (_, Some(Status::Forbidden)) => Kind::Forbidden,
        (_, Some(Status::InternalServerError)) => Kind::Internal,
        _ => Kind::Unexpected,
    };
    Error::new(kind, words).that_comes_again(said.retry_after.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use node::request::ErrorBody;

    use super::*;

    #[test]
    fn routes_end_at_a_listener() {
        for route in [
            "/dnsaddr/localhost/tcp/4000/service/api",
            "/dnsaddr/localhost/tcp/4000/secure/api",
            "/dnsaddr/localhost/tcp/4000/worker/api",
        ] {
            assert_eq!(to_listener(route).unwrap().to_string(), "/dnsaddr/localhost/tcp/4000/secure/api");
        }
        for bad in ["", "/", "/dnsaddr/localhost/tcp/4000", "/node/n1", "http://localhost", "/service"] {
            assert_eq!(to_listener(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let kind = |status, message: &str, code: Option<&str>| {
            let error = ErrorBody {
                message: Some(message.into()),
                code: code.map(str::to_owned),
                retry_after: Some(7),
                ..ErrorBody::default()
            };
            let body = error.encode();
            let error = refused(&Response { id: 1, re: 1, status, body: Some(&body) });
            assert_eq!(error.to_string(), message);
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
            error.kind()
        };
        assert_eq!(kind(Some(Status::Forbidden), "no", None), Kind::Forbidden);
        assert_eq!(kind(Some(Status::Forbidden), "Member I69 not found", None), Kind::NotFound);
        assert_eq!(kind(Some(Status::Forbidden), "no", Some("not-found")), Kind::NotFound);
        assert_eq!(kind(Some(Status::Forbidden), "no", Some("rate-limited")), Kind::RateLimited);
        assert_eq!(kind(Some(Status::InternalServerError), "no", Some("unavailable")), Kind::Unavailable);
        assert_eq!(kind(Some(Status::InternalServerError), "no", None), Kind::Internal);
        assert_eq!(kind(Some(Status::Unauthorized), "no", Some("unauthenticated")), Kind::Unauthenticated);
        assert_eq!(kind(Some(Status::BadRequest), "unknown path", None), Kind::Malformed);
        assert_eq!(kind(None, "no", None), Kind::Unexpected);
        let nothing = refused(&Response { id: 1, re: 0, status: Some(Status::Forbidden), body: None });
        assert_eq!(nothing.to_string(), "without a reason");
    }
}
