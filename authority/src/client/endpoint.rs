//! Where an authority answers, and what anybody may ask there.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use identity::{Identifier, Identity, IssuerBundle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::ask::believed;
use super::error::{Error, Kind, Result, printable};
use crate::http::problem::ProblemBody;
use crate::http::shape::{HealthAnswer, IssuerAnswer, ReadyAnswer};
use crate::http::signature::normal_url;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take, from resolving the name to the last byte of the answer.
const TOTAL: Duration = Duration::from_secs(30);
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
    total: Duration,
}

impl Endpoint {
    /// An endpoint at `http[s]://HOST[:PORT][/PATH]`. Nothing is sent yet. An `https` server's certificate has to be of an
    /// issuer that this system trusts (or that the file named by `SSL_CERT_FILE` holds). Proxies named by the environment
    /// are not used: requests are signed for this URL.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for another URL, or when the system trusts nobody.
    pub fn new(url: &str) -> Result<Self> {
        let base = base(url)?;
        let roots = if is_https(&base) { system_roots()? } else { Vec::new() };
        Ok(Self::with_roots(base, roots))
    }

    /// The same, with a certificate of one of these issuers, as PEM, and of nobody else.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for another URL, or when these are no certificates.
    pub fn trusting(url: &str, issuers: &[u8]) -> Result<Self> {
        let base = base(url)?;
        let no_good = || {
            Error::new(Kind::Invalid, "what was given to be trusted is no certificate")
                .with_hint("it is the certificate of the CA that issued the authority's, as PEM")
        };
        let roots: Vec<_> = CertificateDer::pem_slice_iter(issuers)
            .map(|one| Ok(Certificate::from_der(&one?).to_owned()))
            .collect::<std::result::Result<_, rustls::pki_types::pem::Error>>()
            .map_err(|e| no_good().with_source(e))?;
        if roots.is_empty() {
            return Err(no_good());
        }
        Ok(Self::with_roots(base, roots))
    }

    fn with_roots(base: String, roots: Vec<Certificate<'static>>) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .max_idle_age(IDLE)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(tls)
            .user_agent(concat!("ockam-kms/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), base, total: TOTAL }
    }

    /// Waits for so long for an answer, a second asking included; 30 seconds when nothing is said.
    #[must_use]
    pub fn waiting(self, total: Duration) -> Self {
        Self { total, ..self }
    }

    /// When an answer has to be there that is asked for now.
    pub(crate) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.total).unwrap_or_else(|| now + TOTAL)
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
        let mut response = self.exchange(self.request(Method::GET, "/readyz", &[]), None, self.deadline())?;
        let answer: ReadyAnswer = match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => read(&mut response)?,
            _ => return Err(problem(response)),
        };
        if !answer.ready && answer.missing.is_empty() {
            return Err(Error::new(Kind::Unavailable, "the authority has no room for the question")
                .with_hint("try again in a moment"));
        }
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
        believed(bundle, authority, known)
    }

    fn public<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut response = self.exchange(self.request(Method::GET, path, &[]), None, self.deadline())?;
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

fn base(url: &str) -> Result<String> {
    normal_url(url).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`{}` is not the URL of an authority", printable(url)))
            .with_hint("use `http://HOST:PORT` or `https://HOST:PORT`")
    })
}

fn is_https(base: &str) -> bool {
    base.starts_with("https://")
}

fn system_roots() -> Result<Vec<Certificate<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let error = Error::new(Kind::Invalid, "this system has no certificates of issuers that it trusts")
            .with_hint(
                "install them (Debian: `ca-certificates`), or name the authority's with --authority-ca",
            );
        return Err(match found.errors.into_iter().next() {
            Some(source) => error.with_source(source),
            None => error,
        });
    }
    Ok(found.certs.iter().map(|one| Certificate::from_der(one).to_owned()).collect())
}

/// What TLS has against the other side.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Nothing was sent to it: its certificate did not convince us.
fn untrusted(base: &str, error: &rustls::Error) -> Option<Error> {
    use rustls::CertificateError as Fault;
    let rustls::Error::InvalidCertificate(fault) = error else { return None };
    let hint = match fault {
        // Of an issuer of the same name as one that is trusted, with another key: a CA that was made anew.
        Fault::UnknownIssuer | Fault::BadSignature => {
            "when the issuer is a CA of your own, name its certificate: --authority-ca PATH; else somebody stands in between"
        }
        Fault::Expired | Fault::ExpiredContext { .. } => {
            "set this machine's clock right; if it is, the authority's operator has to renew the certificate"
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
            "use the host name that the certificate is for; its operator knows it"
        }
        _ => "ask the authority's operator for a certificate that is in order",
    };
    Some(
        Error::untrusted(format!("the certificate of `{base}` is not to be trusted: {fault}"))
            .with_hint(hint),
    )
}

fn unreachable(base: &str, error: ureq::Error, changes_something: bool) -> Error {
    let tls = tls_error(&error);
    if let Some(untrusted) = tls.and_then(|tls| untrusted(base, tls)) {
        return untrusted.with_source(error);
    }
    if let Some(rustls::Error::InvalidMessage(_)) = tls {
        return Error::new(Kind::Unexpected, format!("what answers at `{base}` does not speak TLS"))
            .with_hint("is it `http://` in place of `https://`?")
            .with_source(error);
    }
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
            ("https://Example.com:443/", "https://example.com"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://example.com:443", "http://example.com:443"),
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
            "https://",
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
