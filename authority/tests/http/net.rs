//! A server, clients of it, and requests made by hand. What is signed by hand is put together here from the text of the rules
//! and shares no code with what is tested.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authority::client::{self, Client, Endpoint};
use authority::http::{Options, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{Identity, REQUEST_KEY_SECONDS, RequestKeyAttestation, Timestamp, Validity};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vault::{Algorithm, Signer};

use crate::common::{NOW, Person, World, memory, person, signer};

/// Compares a table with its golden file. `UPDATE_GOLDEN=1` writes it anew.
pub(crate) fn golden(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let mut lines = expected.lines();
    for (number, line) in found.lines().enumerate() {
        assert_eq!(lines.next(), Some(line), "{name}, line {}: read it before you bless it", number + 1);
    }
    assert_eq!(lines.next(), None, "{name} has more lines");
}

/// When servers start, and what time it is afterwards.
pub(crate) const STARTED: Timestamp = Timestamp(NOW.0 + 970);
pub(crate) const THEN: Timestamp = Timestamp(NOW.0 + 1000);

/// An authority behind a server.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) server: Server,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::of(World::new(memory).await, Options::default()).await
    }

    pub(crate) async fn of(world: World, options: Options) -> Self {
        let server = serve(&world, options).await;
        Self { world, server }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    pub(crate) async fn client(&self, person: &Person) -> Client {
        self.client_with(&person.identity, &RequestKey::of(&self.world, person).await)
    }

    pub(crate) fn client_with(&self, identity: &Identity, key: &RequestKey) -> Client {
        let clock = self.world.clock.clone();
        let authority = self.world.root.identity.identifier();
        Client::new(
            Endpoint::new(&self.url()).unwrap(),
            authority,
            identity.clone(),
            key.signer.clone(),
            &key.attestation,
            clock,
        )
        .unwrap()
    }

    pub(crate) async fn enroller(&self) -> Client {
        self.client(&self.world.enroller).await
    }

    pub(crate) async fn stranger(&self) -> (Person, Client) {
        let person = person(&self.world.vault).await;
        let client = self.client(&person).await;
        (person, client)
    }
}

/// Starts a server on any port, half a minute before it is [`THEN`].
pub(crate) async fn serve(world: &World, options: Options) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.clock.set(STARTED);
    let server = Server::start(world.authority.clone(), listener, options).unwrap();
    world.clock.set(THEN);
    server
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn ask<T: Send + 'static>(
    client: &Arc<Client>,
    what: impl FnOnce(&Client) -> client::Result<T> + Send + 'static,
) -> client::Result<T> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || what(&client)).await.unwrap()
}

/// A request key with its attestation.
#[derive(Clone)]
pub(crate) struct RequestKey {
    pub(crate) signer: Signer,
    pub(crate) attestation: RequestKeyAttestation,
}

impl RequestKey {
    pub(crate) async fn of(world: &World, person: &Person) -> Self {
        Self::valid(world, person, Validity::starting(NOW, REQUEST_KEY_SECONDS)).await
    }

    pub(crate) async fn valid(world: &World, person: &Person, valid: Validity) -> Self {
        Self::with(signer(&world.vault).await, person, valid).await
    }

    pub(crate) async fn with(signer: Signer, person: &Person, valid: Validity) -> Self {
        let attestation =
            RequestKeyAttestation::attest(&person.identity, &person.primary, signer.public(), valid)
                .await
                .unwrap();
        Self { signer, attestation }
    }
}

/// The header that shows history and attestation: base64 of the CBOR array of both.
pub(crate) fn shown(identity: &Identity, key: &RequestKey) -> String {
    shown_as(identity, &key.attestation)
}

/// The same, of an attestation without its key.
pub(crate) fn shown_as(identity: &Identity, attestation: &RequestKeyAttestation) -> String {
    let mut bytes = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut bytes);
    encoder.array(2).unwrap().bytes(identity.as_bytes()).unwrap();
    encoder.bytes(&attestation.encode().unwrap()).unwrap();
    STANDARD.encode(bytes)
}

pub(crate) fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    STANDARD.encode([COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes(), [7; 8]].concat())
}

/// A signed request, made by hand: everything in it can be changed before it is signed, and its bytes after.
#[derive(Clone)]
pub(crate) struct ByHand {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    /// What comes before the path in the URI that is signed, when it is not `http://` and the host.
    pub(crate) base: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) components: Vec<String>,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    pub(crate) nonce: String,
    pub(crate) keyid: String,
    pub(crate) alg: String,
    pub(crate) tag: String,
    pub(crate) more: String,
    /// Parameters that are left out.
    pub(crate) without: Vec<&'static str>,
    pub(crate) audience: String,
    pub(crate) digest: String,
    pub(crate) idempotency_key: Option<String>,
    /// Further headers, each with the end of its line.
    pub(crate) headers: String,
    pub(crate) shown: Option<String>,
    pub(crate) signer: Signer,
}

impl ByHand {
    pub(crate) fn new(
        site: &Site,
        identity: &Identity,
        key: &RequestKey,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            host: site.addr().to_string(),
            base: None,
            body: body.to_vec(),
            components: ["@method", "@target-uri", "content-digest", "ockam-authority"]
                .map(str::to_owned)
                .to_vec(),
            created: THEN.0,
            expires: THEN.0 + 60,
            nonce: nonce(),
            keyid: format!("{}:{}", identity.identifier(), identity.latest().hash()),
            alg: if key.signer.algorithm() == Algorithm::EcdsaP256 { "ecdsa-p256-sha256" } else { "ed25519" }
                .to_owned(),
            tag: "ockam-kms-v1".to_owned(),
            more: String::new(),
            without: Vec::new(),
            audience: site.world.root.identity.identifier().to_string(),
            digest: digest(body),
            idempotency_key: None,
            headers: String::new(),
            shown: Some(shown(identity, key)),
            signer: key.signer.clone(),
        }
    }

    /// Has it done under an idempotency key.
    pub(crate) fn once(&mut self, key: &str) {
        self.components.push("idempotency-key".to_owned());
        self.idempotency_key = Some(key.to_owned());
        self.headers = format!("idempotency-key: {key}\r\n");
    }

    /// Gives it a nonce of its own again.
    pub(crate) fn renew(&mut self) {
        self.nonce = nonce();
    }

    /// The parameters, and the headers that carry the signature.
    async fn signature(&self) -> (String, String) {
        let quoted: Vec<_> = self.components.iter().map(|name| format!("\"{name}\"")).collect();
        let parameters = [
            ("created", self.created.to_string()),
            ("expires", self.expires.to_string()),
            ("nonce", format!("\"{}\"", self.nonce)),
            ("keyid", format!("\"{}\"", self.keyid)),
            ("alg", format!("\"{}\"", self.alg)),
            ("tag", format!("\"{}\"", self.tag)),
        ];
        let mut input = format!("({})", quoted.join(" "));
        for (name, value) in parameters.iter().filter(|(name, _)| !self.without.contains(name)) {
            input.push_str(&format!(";{name}={value}"));
        }
        input.push_str(&self.more);
        let mut base = String::new();
        for name in &self.components {
            let value = match name.as_str() {
                "@method" => self.method.clone(),
                "@target-uri" => {
                    let base = self.base.clone().unwrap_or_else(|| format!("http://{}", self.host));
                    format!("{base}{}", self.path)
                }
                "content-digest" => self.digest.clone(),
                "ockam-authority" => self.audience.clone(),
                "idempotency-key" => self.idempotency_key.clone().unwrap_or_default(),
                _ => String::from("x"),
            };
            base.push_str(&format!("\"{name}\": {value}\n"));
        }
        base.push_str(&format!("\"@signature-params\": {input}"));
        let signature = self.signer.sign(base.as_bytes()).await.unwrap();
        (input, STANDARD.encode(signature.as_bytes()))
    }

    /// The whole request, as text up to its body.
    pub(crate) async fn head(&self) -> String {
        let (input, signature) = self.signature().await;
        let shown =
            self.shown.as_ref().map(|shown| format!("ockam-identity: {shown}\r\n")).unwrap_or_default();
        format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\ncontent-digest: {}\r\n\
             ockam-authority: {}\r\nsignature-input: sig={input}\r\nsignature: sig=:{signature}:\r\n{}{shown}\r\n",
            self.method,
            self.path,
            self.host,
            self.body.len(),
            self.digest,
            self.audience,
            self.headers,
        )
    }

    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        let mut bytes = self.head().await.into_bytes();
        bytes.extend(&self.body);
        send(to, &bytes).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A field of a problem, or a dash.
    pub(crate) fn field(&self, name: &str) -> String {
        self.json().get(name).and_then(|value| value.as_str()).unwrap_or("-").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn send(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The server may answer and close before it read everything.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

/// Reads until the server closes, for ten seconds at most.
pub(crate) async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    let whole = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(Duration::from_secs(10), whole).await.expect("the server closes");
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// An unsigned request.
pub(crate) async fn plain(site: &Site, method: &str, path: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", site.addr());
    send(site.addr(), head.as_bytes()).await
}
