//! The same over TLS: what is signed names `https`, and a certificate has to be of somebody whom the client trusts.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::client::{Client, Endpoint, Kind};
use authority::http::{Options, Server, Tls};
use authority::ticket::NewTicket;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::common::{World, attributes, memory};
use crate::net::{Answer, ByHand, RequestKey, Site, ask, read};

/// A CA, and the files of a server that it issued a certificate to.
struct Ca {
    dir: tempfile::TempDir,
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { dir: tempfile::tempdir().unwrap(), pem, issuer: rcgen::Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        self.issue_valid(names, |_| {})
    }

    fn issue_valid(
        &self,
        names: &[&str],
        set: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .unwrap();
        set(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate_path, key_path) = (self.dir.path().join("tls.crt"), self.dir.path().join("tls.key"));
        std::fs::write(&certificate_path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_path, Permissions::from_mode(0o600)).unwrap();
        (certificate_path, key_path)
    }

    fn options(&self, names: &[&str]) -> Options {
        let (certificate, key) = self.issue(names);
        Options { tls: Some(Tls::load(&certificate, &key).unwrap()), ..Options::default() }
    }

    fn endpoint(&self, at: SocketAddr) -> Endpoint {
        Endpoint::trusting(&format!("https://{at}"), self.pem.as_bytes()).unwrap()
    }

    /// What a client of this CA speaks over a connection.
    async fn connect(
        &self,
        at: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(at).await?;
        let name = ServerName::from(at.ip());
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn send(&self, at: SocketAddr, bytes: &[u8]) -> Answer {
        let mut stream = self.connect(at, &[&rustls::version::TLS13]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read(&mut stream).await
    }
}

async fn client(site: &Site, ca: &Ca, person: &crate::common::Person) -> Client {
    let key = RequestKey::of(&site.world, person).await;
    Client::new(
        ca.endpoint(site.addr()),
        site.world.root.identity.identifier(),
        person.identity.clone(),
        key.signer,
        &key.attestation,
        site.world.clock.clone(),
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_ticket_to_a_credential() {
    let ca = Ca::new();
    let site = Site::of(World::new(memory).await, ca.options(&["127.0.0.1"])).await;
    let new = NewTicket::new(attributes(&[("kind", "sensor")]), None, None).unwrap();
    let made = site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap();
    let (person, _) = site.stranger().await;
    let client = Arc::new(client(&site, &ca, &person).await);
    assert!(client.endpoint().url().starts_with("https://127.0.0.1:"));
    let granted = ask(&client, move |client| {
        client.endpoint().alive()?;
        client.enrol(&made.code)?;
        client.credential()
    })
    .await
    .unwrap();
    assert_eq!(granted.verified.attributes().get("kind"), Some("sensor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_names_https() {
    let ca = Ca::new();
    let site = Site::of(World::new(memory).await, ca.options(&["127.0.0.1"])).await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let at = site.addr();
    for (host, base, status) in [
        (at.to_string(), format!("https://{at}"), 200),
        (at.to_string(), format!("http://{at}"), 401),
        ("Example.com:443".to_owned(), "https://example.com".to_owned(), 200),
        ("example.com:80".to_owned(), "https://example.com".to_owned(), 401),
    ] {
        let mut request = ByHand::new(&site, &enroller.identity, &key, "GET", "/v1/members", b"");
        (request.host, request.base) = (host, Some(base.clone()));
        let answer = ca.send(at, request.head().await.as_bytes()).await;
        assert_eq!(answer.status, status, "{base} at {}: {}", request.host, answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_and_plain_http_is_not() {
    let ca = Ca::new();
    let site = Site::of(World::new(memory).await, ca.options(&["127.0.0.1"])).await;
    let head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut stream = ca.connect(site.addr(), &[version]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        stream.write_all(head).await.unwrap();
        assert_eq!(read(&mut stream).await.status, 200);
    }
    let mut plain = TcpStream::connect(site.addr()).await.unwrap();
    plain.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("closed");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// Asks for health, and returns what came of it.
async fn refusal(endpoint: Endpoint) -> authority::client::Error {
    tokio::task::spawn_blocking(move || endpoint.alive().unwrap_err()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_convince_says_what_to_do() {
    let (ca, other) = (Ca::new(), Ca::new());
    let site = Site::of(World::new(memory).await, ca.options(&["127.0.0.1"])).await;
    let url = format!("https://{}", site.addr());
    let stranger = Endpoint::trusting(&url, other.pem.as_bytes()).unwrap();
    for (endpoint, hint) in [(stranger, "--authority-ca"), (Endpoint::new(&url).unwrap(), "--authority-ca")] {
        let refused = refusal(endpoint).await;
        assert_eq!(refused.kind(), Kind::Untrusted, "{refused}");
        assert!(refused.hint().unwrap().contains(hint), "{refused}: {:?}", refused.hint());
        assert!(!refused.may_have_happened());
    }
    let elsewhere = Site::of(World::new(memory).await, ca.options(&["authority.example"])).await;
    let refused = refusal(ca.endpoint(elsewhere.addr())).await;
    assert_eq!(refused.kind(), Kind::Untrusted, "{refused}");
    assert!(refused.hint().unwrap().contains("host name"), "{refused}");
    let (certificate, key) = ca.issue_valid(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let options = Options { tls: Some(Tls::load(&certificate, &key).unwrap()), ..Options::default() };
    let expired = Site::of(World::new(memory).await, options).await;
    let refused = refusal(ca.endpoint(expired.addr())).await;
    assert_eq!(refused.kind(), Kind::Untrusted, "{refused}");
    assert!(refused.hint().unwrap().contains("clock"), "{refused}");
    let plain = Site::new().await;
    let refused = refusal(ca.endpoint(plain.addr())).await;
    assert_eq!(refused.kind(), Kind::Unexpected, "{refused}");
    assert!(refused.hint().unwrap().contains("http://"), "{refused}");
    assert_eq!(Endpoint::trusting(&url, b"nothing").unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_without_a_restart() {
    let ca = Ca::new();
    let (certificate, key) = ca.issue(&["authority.example"]);
    let tls = Tls::load(&certificate, &key).unwrap();
    let options = Options { tls: Some(tls.clone()), ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    assert_eq!(refusal(ca.endpoint(site.addr())).await.kind(), Kind::Untrusted);
    ca.issue(&["127.0.0.1"]);
    tls.reload().unwrap();
    let endpoint = ca.endpoint(site.addr());
    tokio::task::spawn_blocking(move || endpoint.alive().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_deadline() {
    let ca = Ca::new();
    let options = Options { header_deadline: Duration::from_millis(300), ..ca.options(&["127.0.0.1"]) };
    let site = Site::of(World::new(memory).await, options).await;
    let begin = Instant::now();
    // The first bytes of a hello that never goes on.
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("cut");
    assert!(begin.elapsed() >= Duration::from_millis(250));
    let endpoint = ca.endpoint(site.addr());
    tokio::task::spawn_blocking(move || endpoint.alive().unwrap()).await.unwrap();
}

#[tokio::test]
async fn with_a_certificate_other_machines_are_let_in() {
    let (ca, world) = (Ca::new(), World::new(memory).await);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let server = Server::start(world.authority.clone(), listener, ca.options(&["127.0.0.1"])).unwrap();
    server.stop().await;
}
