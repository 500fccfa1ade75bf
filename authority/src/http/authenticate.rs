//! Who sent a request: from its headers and its body to a [`Caller`], or the rule that it broke.
//!
//! Cheap checks come before dear ones, and nothing is kept of a request before its signature holds: neither its nonce nor
//! the history that it shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, header};
use identity::{Identity, RequestKeyAttestation, SKEW_SECONDS, Timestamp};
use node::Source;
use tokio::sync::Semaphore;

use super::fault::Fault;
use super::problem::Refused;
use super::replay::{Replays, Seen};
use super::sender::{self, Senders, Shown};
use super::server::Options;
use super::signature::{
    self, AUDIENCE, CONTENT_DIGEST, Covered, IDEMPOTENCY_KEY, Parameters, Received, SIGNATURE,
    SIGNATURE_INPUT,
};
use crate::error::{Error, Kind, Result};
use crate::guesses::Guesses;
use crate::problem::{Needs, Problem};
use crate::service::{Authority, Caller};

/// A history up to this many bytes, some seven changes, is verified at once: in less than a millisecond.
const SHORT: usize = 2048;
/// How long a longer one waits for those before it.
const TURN: Duration = Duration::from_secs(5);
/// How far ahead of our clock what nonces alone keep from being done twice may have been created, in seconds. A server that
/// starts again has no nonces, and so takes nothing from the time that the one before it could have taken.
const AHEAD: u64 = 2;

/// Checks who sends requests to one authority.
#[derive(Debug)]
pub(crate) struct Authenticator {
    authority: Authority,
    started: Timestamp,
    public_url: Option<String>,
    over_tls: bool,
    guesses: Guesses,
    senders: Mutex<Senders>,
    replays: Mutex<Replays>,
    /// One place: whose turn it is to have a long history verified.
    long_histories: Arc<Semaphore>,
}

impl Authenticator {
    /// # Errors
    /// [`Kind::Invalid`] for a public URL that is none.
    pub(crate) fn new(authority: Authority, options: &Options) -> Result<Self> {
        let public_url = match &options.public_url {
            Some(url) => Some(signature::normal_url(url).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("`{}` is not the URL of a server", url.escape_debug()))
                    .with_hint(
                        "give scheme and host, and the path if there is one: `https://authority.example`",
                    )
            })?),
            None => None,
        };
        Ok(Self {
            started: authority.now(),
            authority,
            public_url,
            over_tls: options.tls.is_some(),
            guesses: options
                .guesses
                .clone()
                .unwrap_or_else(|| Guesses::new(options.failures_a_minute, options.limit_loopback)),
            senders: Mutex::default(),
            replays: Mutex::default(),
            long_histories: Arc::new(Semaphore::new(1)),
        })
    }

    /// Whether requests that are signed now would be taken; those that change something and have no key, [`AHEAD`] later.
    pub(crate) fn has_settled(&self) -> bool {
        self.authority.now() > self.started
    }

    /// Who failed of late.
    pub(crate) fn guesses(&self) -> &Guesses {
        &self.guesses
    }

    /// Finds out who sent a request.
    ///
    /// # Errors
    /// What the sender has to show, or which rule the request breaks; what the authority says to the sender's history.
    pub(crate) async fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
        source: Source,
    ) -> std::result::Result<Caller, Refused> {
        let attempt = self.guesses.begin(source).await?;
        let checked = self.check(parts, body).await;
        let failed = match &checked {
            Ok(_) => false,
            // A request that comes right after a start is nobody's guess.
            Err(Refused::Fault(fault)) => *fault != Fault::BeforeStart,
            // An attestation that is no good; to whoever shows none it is only said what is needed.
            Err(Refused::Problem(Problem::Unauthenticated { needs: Needs::RequestKey })) => {
                parts.headers.contains_key(sender::IDENTITY)
            }
            Err(_) => false,
        };
        if let Some(attempt) = attempt.filter(|_| !failed) {
            attempt.went_well();
        }
        let identity = checked?;
        Ok(self.authority.meet(identity).await?)
    }

    async fn check(&self, parts: &Parts, body: &[u8]) -> std::result::Result<Identity, Refused> {
        let headers = &parts.headers;
        let input = single(headers, SIGNATURE_INPUT, Fault::Form)?.ok_or(Fault::Unsigned)?;
        let signature = single(headers, SIGNATURE, Fault::Form)?.ok_or(Fault::Unsigned)?;
        let received = Received::parse(input, signature)?;
        let audience = single(headers, AUDIENCE, Fault::Audience)?.ok_or(Fault::Audience)?;
        if audience != self.authority.identifier().to_string() {
            return Err(Fault::Audience.into());
        }
        if !self.authority.trusts_clock() {
            // Whoever does not know the time cannot tell a new request from one of long ago.
            return Err(Problem::unavailable().into());
        }
        let now = self.authority.now();
        self.check_times(&received, &parts.method, now)?;
        let content_digest = single(headers, CONTENT_DIGEST, Fault::Digest)?.ok_or(Fault::Digest)?;
        signature::check_digest(content_digest, body)?;
        let target_uri = self.target_uri(parts)?;
        let method = parts.method.as_str();
        let idempotency_key = single(headers, IDEMPOTENCY_KEY, Fault::Components)?;
        let base = received.base(&Covered {
            method,
            target_uri: &target_uri,
            content_digest,
            audience,
            idempotency_key,
        })?;
        let identity = self.sender(headers, &received, &base, now).await?;
        let Parameters { key, nonce, expires, .. } = received.parameters;
        match lock(&self.replays).remember(key.identifier, nonce, expires, now) {
            Seen::Never => Ok(identity),
            Seen::Before => Err(Fault::Replayed.into()),
            Seen::Unknown => {
                Err(Problem::RateLimited { retry_after: Duration::from_secs(signature::MAX_LIFE) }.into())
            }
        }
    }

    fn check_times(
        &self,
        received: &Received,
        method: &Method,
        now: Timestamp,
    ) -> std::result::Result<(), Fault> {
        let Parameters { created, expires, .. } = received.parameters;
        // Whether nothing but its nonce keeps it from being done twice: what is done under a key leaves a receipt, which
        // outlives this server, and reading does nothing.
        let once = changes_something(method) && !received.covers(IDEMPOTENCY_KEY);
        let (ahead, taken) =
            if once { (AHEAD, self.started.after(AHEAD)) } else { (SKEW_SECONDS, self.started) };
        if expires <= created || expires.since(created) > signature::MAX_LIFE {
            return Err(Fault::Lifetime);
        }
        if created.since(now) > ahead {
            return Err(Fault::Future);
        }
        if expires < now {
            return Err(Fault::Expired);
        }
        // A server before this one may have seen what was created by the second in which this one started, or ahead of it.
        if created <= taken { Err(Fault::BeforeStart) } else { Ok(()) }
    }

    /// RFC 9421 §2.2.2: what the client asked for, not what a proxy made of it.
    fn target_uri(&self, parts: &Parts) -> std::result::Result<String, Refused> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if let Some(base) = &self.public_url {
            return Ok(format!("{base}{path}"));
        }
        let host = single(&parts.headers, header::HOST.as_str(), Fault::Form)?
            .ok_or_else(|| Problem::malformed("the request names no host"))?;
        let host = host.to_ascii_lowercase();
        let (scheme, default_port) = if self.over_tls { ("https", ":443") } else { ("http", ":80") };
        Ok(format!("{scheme}://{}{path}", host.strip_suffix(default_port).unwrap_or(&host)))
    }

    /// Whose signature it is. Tries the request keys that are remembered, then the one that the request shows.
    async fn sender(
        &self,
        headers: &HeaderMap,
        received: &Received,
        base: &[u8],
        now: Timestamp,
    ) -> std::result::Result<Identity, Refused> {
        let id = received.parameters.key;
        let signature = received.signature();
        let known = self.authority.known(&id.identifier)?;
        if let Some(known) = &known
            && known.latest().hash() != id.change
            && known.changes().any(|change| change.hash() == id.change)
        {
            return Err(Problem::Unauthenticated { needs: Needs::NewerHistory }.into());
        }
        let remembered = lock(&self.senders).find(&id);
        let good_keys =
            || remembered.iter().flat_map(|sender| &sender.keys).filter(|key| key.expires_at() >= now);
        if good_keys().any(|key| key.key().verify(base, &signature).is_ok())
            && let Some(sender) = &remembered
        {
            return Ok(sender.identity.clone());
        }
        let Some(shown) = single(headers, sender::IDENTITY, Fault::Identity)? else {
            return Err(match remembered {
                // Either another key of the same identity, or a signature that does not hold.
                Some(_) if good_keys().next().is_some() => Fault::RequestKey.into(),
                Some(_) => Problem::Unauthenticated { needs: Needs::RequestKey }.into(),
                None => Problem::Unauthenticated { needs: Needs::History }.into(),
            });
        };
        let shown = Shown::read(shown)?;
        let seen = remembered.iter().map(|sender| &sender.identity).chain(&known);
        let seen = seen.into_iter().find(|identity| identity.as_bytes() == shown.history()).cloned();
        let (identity, attestation) = match seen {
            Some(identity) => (identity, shown.attestation),
            None => self.verify(shown).await?,
        };
        if identity.identifier() != id.identifier || identity.latest().hash() != id.change {
            return Err(Fault::OtherIdentity.into());
        }
        let key = attestation
            .verify(&identity, now)
            .map_err(|_| Problem::Unauthenticated { needs: Needs::RequestKey })?;
        let _proof = key.key().verify(base, &signature).map_err(|_| Fault::Signature)?;
        lock(&self.senders).remember(id, identity.clone(), key, now);
        Ok(identity)
    }

    /// Verifies a history that nobody here has seen of late. One that takes milliseconds is shown for the price of a
    /// signature, again and again: such have one thread among them all, and wait for their turn.
    async fn verify(&self, shown: Shown) -> std::result::Result<(Identity, RequestKeyAttestation), Refused> {
        self.authority.metrics().history_verified();
        let short = shown.history().len() <= SHORT;
        let verify = move || Ok::<_, Fault>((shown.verify()?, shown.attestation));
        if short {
            return Ok(verify()?);
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.long_histories).acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Err(Problem::unavailable().into()) };
        // It keeps its turn when whoever asked has gone.
        let verified = tokio::task::spawn_blocking(move || (verify(), turn)).await;
        let (verified, _turn) = verified.map_err(|_| Problem::Internal)?;
        Ok(verified?)
    }
}

/// Whether requests of a method change something.
fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// The one value of a header: two could be read differently by whoever stands in between.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &str,
    fault: Fault,
) -> std::result::Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|value| Some(value.trim())).map_err(|_| fault),
        (Some(_), Some(_)) => Err(fault),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::ROUTES;

    #[test]
    fn the_method_tells_whether_something_is_changed() {
        for route in ROUTES {
            let method = route.method.parse().unwrap();
            assert_eq!(changes_something(&method), route.call.changes_something(), "{route:?}");
        }
        assert!(!changes_something(&Method::HEAD), "as GET");
    }

    /// What a key lets through has a receipt for as long as it can come again.
    #[test]
    fn receipts_outlive_what_they_are_for() {
        const { assert!(crate::once::RECEIPT_SECONDS > SKEW_SECONDS + signature::MAX_LIFE) };
        const { assert!(AHEAD < SKEW_SECONDS) };
    }
}
