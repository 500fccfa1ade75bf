//! Who sent a request: from its headers and its body to a [`Caller`], or the rule that it broke.
//!
//! Cheap checks come before dear ones, and nothing is kept of a request before its signature holds: neither its nonce nor
//! the history that it shows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, header};
use identity::{Identity, SKEW_SECONDS, Timestamp};

use super::fault::Fault;
use super::problem::Refused;
use super::replay::{Replays, Seen};
use super::sender::{self, Senders};
use super::server::Options;
use super::signature::{
    self, AUDIENCE, CONTENT_DIGEST, Covered, IDEMPOTENCY_KEY, Parameters, Received, SIGNATURE,
    SIGNATURE_INPUT,
};
use crate::attempts::Source;
use crate::error::{Error, Kind, Result};
use crate::guesses::Guesses;
use crate::problem::{Needs, Problem};
use crate::service::{Authority, Caller};

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
        })
    }

    /// Whether requests that are signed now would be taken.
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
        let checked = self.check(parts, body);
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

    fn check(&self, parts: &Parts, body: &[u8]) -> std::result::Result<Identity, Refused> {
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
        self.check_times(&received.parameters, now)?;
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
        let identity = self.sender(headers, &received, &base, now)?;
        let Parameters { key, nonce, expires, .. } = received.parameters;
        match lock(&self.replays).remember(key.identifier, nonce, expires, now) {
            Seen::Never => Ok(identity),
            Seen::Before => Err(Fault::Replayed.into()),
            Seen::Unknown => {
                Err(Problem::RateLimited { retry_after: Duration::from_secs(signature::MAX_LIFE) }.into())
            }
        }
    }

    fn check_times(&self, parameters: &Parameters, now: Timestamp) -> std::result::Result<(), Fault> {
        let Parameters { created, expires, .. } = *parameters;
        if expires <= created || expires.since(created) > signature::MAX_LIFE {
            return Err(Fault::Lifetime);
        }
        if created.since(now) > SKEW_SECONDS {
            return Err(Fault::Future);
        }
        if expires < now {
            return Err(Fault::Expired);
        }
        // A server before this one may have seen what was created by the second in which this one started.
        if created <= self.started { Err(Fault::BeforeStart) } else { Ok(()) }
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
    fn sender(
        &self,
        headers: &HeaderMap,
        received: &Received,
        base: &[u8],
        now: Timestamp,
    ) -> std::result::Result<Identity, Refused> {
        let id = received.parameters.key;
        let signature = received.signature();
        if let Some(known) = self.authority.known(&id.identifier)?
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
        let (identity, attestation) = sender::read(shown)?;
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
