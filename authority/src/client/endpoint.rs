//! Where an authority answers, and what anybody may ask there.

use std::fmt;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use identity::{Identifier, Identity, IssuerBundle, Relation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::{Agent, Body};

use super::error::{Error, Kind, Result, printable};
use crate::http::problem::ProblemBody;
use crate::http::shape::{HealthAnswer, IssuerAnswer, ReadyAnswer};
use crate::http::signature::normal_url;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take, from resolving the name to the last byte of the answer.
pub(crate) const TOTAL: Duration = Duration::from_secs(30);
/// The most bytes of an answer. A page of a hundred members at their largest fits.
const MAX_ANSWER: u64 = 32 * 1024 * 1024;
/// The most bytes of an answer that says what is wrong.
const MAX_PROBLEM: u64 = 64 * 1024;
/// For less long than a server keeps an idle connection, so that no request is sent into one that just ended.
const IDLE: Duration = Duration::from_secs(5);

/// The URL of an authority. Blocks: not to be used on a thread that runs asynchronous tasks.
#[derive(Clone)]
pub struct Endpoint {
    agent: Agent,
    base: String,
}

impl Endpoint {
    /// An endpoint at `http://HOST[:PORT][/PATH]`. Nothing is sent yet. Proxies named by the environment are not used:
    /// requests are signed for this URL.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for another URL.
    pub fn new(url: &str) -> Result<Self> {
        let base = normal_url(url).filter(|base| base.starts_with("http://")).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is not the URL of an authority", printable(url)))
                .with_hint("use `http://HOST:PORT`; this version speaks no TLS")
        })?;
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(TOTAL))
            .max_idle_age(IDLE)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("ockam-kms/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), base })
    }

    /// The URL, in its normal form.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether something that speaks as an authority answers.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] or [`Kind::Unexpected`] when not.
    pub fn alive(&self) -> Result<()> {
        let answer: HealthAnswer = self.public("/healthz")?;
        if answer.alive { Ok(()) } else { Err(unexpected("the server says it is not alive")) }
    }

    /// What the authority still waits for before it can serve: nothing, when it is ready.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] or [`Kind::Unexpected`] when it does not answer.
    pub fn missing(&self) -> Result<Vec<String>> {
        let mut response =
            self.exchange(self.request(Method::GET, "/readyz", &[]), None, Instant::now() + TOTAL)?;
        let answer: ReadyAnswer = match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => read(&mut response)?,
            _ => return Err(problem(response)),
        };
        Ok(answer.missing.iter().map(|word| printable(word)).collect())
    }

    /// What verifiers need of the authority: its change history, and its current attestations. Believed only when it is the
    /// history of `authority`, and not older than the one that is `known`; a man in the middle can keep it back, and no more.
    ///
    /// # Errors
    /// [`Kind::Untrusted`] for another, an older or a contradicting history.
    pub fn issuer(&self, authority: &Identifier, known: Option<&Identity>) -> Result<IssuerBundle> {
        let answer: IssuerAnswer = self.public("/v1/issuer")?;
        let bundle =
            hex::decode(&answer.bundle).map_err(|_| unexpected("the issuer bundle is not hex")).and_then(
                |bytes| IssuerBundle::decode(&bytes).map_err(|error| Error::untrusted(error.to_string())),
            )?;
        if bundle.identifier() != *authority {
            return Err(Error::untrusted(format!(
                "this is the authority {} and not {authority}",
                bundle.identifier()
            ))
            .with_hint("somebody else answers at this URL, or the URL is another authority's"));
        }
        match known.map(|known| bundle.identity().compared_to(known)) {
            None | Some(Relation::Equal | Relation::Newer) => Ok(bundle),
            Some(Relation::Older) => Err(Error::untrusted(
                "the authority shows an older change history than the one that is known",
            )),
            Some(Relation::Conflict) => Err(Error::untrusted(
                "the authority shows a change history that contradicts the one that is known",
            )
            .with_hint(
                "one of the authority's keys may have been stolen: ask its operator, and do not go on",
            )),
        }
    }

    fn public<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut response =
            self.exchange(self.request(Method::GET, path, &[]), None, Instant::now() + TOTAL)?;
        if response.status() != StatusCode::OK {
            return Err(problem(response));
        }
        read(&mut response)
    }

    /// What a request to `path` (with its query) is signed for.
    pub(crate) fn target_uri(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> http::Result<Request<()>> {
        let mut request = Request::builder().method(method).uri(self.target_uri(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(())
    }

    /// Sends a request and waits for the head of the answer. All of the answer has to be there by the deadline.
    pub(crate) fn exchange(
        &self,
        request: http::Result<Request<()>>,
        body: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        let request = request
            .map_err(|e| Error::new(Kind::Invalid, "the request cannot be written down").with_source(e))?;
        let changes_something = request.method() != Method::GET;
        let left = Some(deadline.saturating_duration_since(Instant::now()));
        let answered = match body {
            Some(body) => {
                let request = self.agent.configure_request(request.map(|()| body));
                self.agent.run(request.timeout_global(left).build())
            }
            None => self.agent.run(self.agent.configure_request(request).timeout_global(left).build()),
        };
        answered.map_err(|error| unreachable(&self.base, error, changes_something))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.base).finish()
    }
}

pub(crate) fn unexpected(words: &'static str) -> Error {
    Error::new(Kind::Unexpected, words)
        .with_hint("see whether the URL is an authority's, and of the same version")
}

fn unreachable(base: &str, error: ureq::Error, changes_something: bool) -> Error {
    // Before a connection stands nothing was sent.
    let sent = !matches!(
        &error,
        ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect)
    ) && !matches!(&error, ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused);
    Error::new(Kind::Unavailable, format!("the authority at `{base}` does not answer: {error}"))
        .with_hint("see whether it is running and the URL is right, then try again")
        .that_may_have_happened(sent && changes_something)
        .with_source(error)
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(response: &mut Response<Body>) -> Result<T> {
    parse(&read_bytes(response)?)
}

/// Reads an answer to its end.
pub(crate) fn read_bytes(response: &mut Response<Body>) -> Result<Vec<u8>> {
    response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(cut)
}

/// Understands an answer.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|_| unexpected("the answer is not what an authority answers"))
}

fn cut(error: ureq::Error) -> Error {
    let kind =
        if matches!(error, ureq::Error::BodyExceedsLimit(_)) { Kind::Unexpected } else { Kind::Unavailable };
    Error::new(kind, format!("the answer could not be read: {error}"))
        .that_may_have_happened(true)
        .with_source(error)
}

/// What an answer that is no success means.
pub(crate) fn problem(mut response: Response<Body>) -> Error {
    let retry_after = retry_after(response.headers());
    let status = response.status();
    let bytes = response.body_mut().with_config().limit(MAX_PROBLEM).read_to_vec().unwrap_or_default();
    match serde_json::from_slice::<ProblemBody>(&bytes) {
        Ok(body) if body.status == status.as_u16() => Error::of_problem(body, retry_after),
        _ => Error::new(Kind::Unexpected, format!("the server answers {status}"))
            .with_hint("see whether the URL is an authority's"),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A body as it is sent.
pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| Error::new(Kind::Invalid, "the request cannot be written as JSON").with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_spelling() {
        for (given, wanted) in [
            ("http://Example.COM", "http://example.com"),
            ("http://example.com/", "http://example.com"),
            ("http://example.com:80/a/b/", "http://example.com/a/b"),
            (" HTTP://127.0.0.1:4000\n", "http://127.0.0.1:4000"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(Endpoint::new(given).unwrap().url(), wanted);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for bad in [
            "",
            "example.com",
            "/",
            "https://a",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a?b",
            "http://a#b",
        ] {
            assert_eq!(Endpoint::new(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
