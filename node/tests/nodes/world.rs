//! What the tests share: nodes, parties, and somebody who speaks TCP by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::{AnyPeer, Presentation, Trust};
use identity::{
    Clock, Credential, Identifier, Identity, PurposeKey, PurposeKeyAttestation, SystemClock, Timestamp,
    Validity,
};
use node::multiaddr::MultiAddr;
use node::workers::{Echo, Hop, Uppercase, decode_text, encode_text};
use node::{
    Address, Admission, ChannelOptions, Forwarding, Kind, Node, NodeOptions, Party, Pending, Result, Route,
    Runs,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use vault::soft::SoftVault;
use vault::{Agreer, KeyName, KeySpec, Signer, Vault};

/// Longer than anything here takes on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// As long as nothing is waited for that should not come.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Dials everything that is on the loopback.
struct Loopback;

impl Forwarding for Loopback {
    fn may_dial(&self, to: &str) -> bool {
        to.starts_with("127.0.0.1:")
    }
}

/// An identity with a channel key.
pub(crate) struct Somebody {
    pub(crate) identity: Identity,
    pub(crate) primary: Signer,
    attestation: PurposeKeyAttestation,
    key: Agreer,
    pub(crate) credentials: Vec<Credential>,
}

impl Somebody {
    pub(crate) async fn new() -> Self {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let key = KeySpec::ed25519(KeyName::new("primary").unwrap());
        let key = vault.signing().unwrap().generate(&key).await.unwrap();
        let primary = Signer::bind(Arc::clone(&vault), key).unwrap();
        let identity = Identity::create(&primary, Validity::of_primary_key(now())).await.unwrap();
        let key = KeySpec::x25519(KeyName::new("channel").unwrap());
        let key = vault.agreement().unwrap().generate(&key).await.unwrap();
        let key = Agreer::bind(vault, key).unwrap();
        let purpose = PurposeKey::Channel(key.public().clone());
        let valid = Validity::starting(now(), 3600);
        let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await.unwrap();
        Self { identity, primary, attestation, key, credentials: vec![] }
    }

    pub(crate) fn identifier(&self) -> Identifier {
        self.identity.identifier()
    }

    pub(crate) fn presentation(&self) -> Presentation {
        Presentation::new(&self.identity, &self.attestation, &self.credentials, now()).unwrap()
    }

    pub(crate) fn key(&self) -> Agreer {
        self.key.clone()
    }
}

impl Party for Somebody {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move { Ok((self.presentation(), self.key.clone())) })
    }
}

/// What somebody is in channels.
pub(crate) async fn options(trust: impl Trust + 'static) -> (Identifier, ChannelOptions) {
    let party = Somebody::new().await;
    (party.identifier(), ChannelOptions::new(Arc::new(party), Arc::new(trust)))
}

pub(crate) fn local(name: &str) -> Address {
    Address::local(name)
}

pub(crate) fn route(names: &[&str]) -> Route {
    names.iter().map(|name| local(name)).collect()
}

/// A node as the command line makes them: `echo`, `uppercase` and `api` to be reached over TCP, the first two through channels
/// of `api` as well; and where it listens.
pub(crate) async fn node() -> (Node, SocketAddr) {
    let node = Node::new(NodeOptions { forwarding: Arc::new(Loopback), ..NodeOptions::default() });
    let api = local("api");
    let admission = Admission::local().tcp().of_listener(&api);
    node.start_worker(local("echo"), Echo, admission.clone(), Runs::Inline).unwrap();
    node.start_worker(local("uppercase"), Uppercase, admission.clone(), Runs::Inline).unwrap();
    node.listen_channels(api, options(AnyPeer).await.1, admission).unwrap();
    let socket = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    (node, socket)
}

pub(crate) fn start_hop(node: &Node) {
    let admission = Admission::local().tcp().channels();
    node.start_worker(local("hop"), Hop, admission, Runs::Inline).unwrap();
}

/// A way over nodes that listen there, to a worker of the last.
pub(crate) fn way(over: &[SocketAddr], then: &str) -> MultiAddr {
    let nodes: String = over.iter().map(|one| format!("/ip4/{}/tcp/{}", one.ip(), one.port())).collect();
    format!("{nodes}{then}").parse().unwrap()
}

/// Asks `uppercase` at the end of a route.
pub(crate) async fn shout(node: &Node, route: &Route, text: &str) -> Result<String> {
    let answer = node.ask(route.clone(), encode_text(text), WAIT).await?;
    Ok(decode_text(&answer.payload).unwrap().to_owned())
}

/// That nobody answers.
pub(crate) async fn assert_silent(node: &Node, route: Route) {
    let silent = node.ask(route, encode_text("hello"), SHORT).await.unwrap_err();
    assert_eq!(silent.kind(), Kind::Unavailable, "{silent}");
}

/// Waits until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, waiting).await.expect("it never becomes so");
}

/// Somebody who speaks TCP by hand.
pub(crate) struct ByHand(pub(crate) TcpStream);

impl ByHand {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::greet(TcpStream::connect(to).await.unwrap()).await
    }

    async fn greet(mut stream: TcpStream) -> Self {
        stream.write_all(&[1]).await.unwrap();
        let mut by_hand = Self(stream);
        let mut version = [0];
        by_hand.read(&mut version).await;
        assert_eq!(version, [1]);
        by_hand
    }

    /// From this address.
    pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        Self::greet(socket.connect(to).await.unwrap()).await
    }

    async fn read(&mut self, bytes: &mut [u8]) {
        tokio::time::timeout(WAIT, self.0.read_exact(bytes)).await.expect("nothing comes").unwrap();
    }

    /// Sends a frame of this CBOR.
    pub(crate) async fn frame(&mut self, cbor: &[u8]) {
        let length = u32::try_from(cbor.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], cbor].concat()).await.unwrap();
    }

    pub(crate) async fn send(&mut self, onward: &Route, back: &Route, payload: &[u8]) {
        let mut cbor = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut cbor);
        encoder.array(3).unwrap().encode(onward).unwrap().encode(back).unwrap().bytes(payload).unwrap();
        self.frame(&cbor).await;
    }

    /// The next frame: its routes and its payload.
    pub(crate) async fn receive(&mut self) -> (Route, Route, Vec<u8>) {
        let mut length = [0; 4];
        self.read(&mut length).await;
        let mut cbor = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.read(&mut cbor).await;
        let mut decoder = minicbor::Decoder::new(&cbor);
        assert_eq!(decoder.array().unwrap(), Some(4));
        let (onward, back) = (decoder.decode().unwrap(), decoder.decode().unwrap());
        let payload = decoder.bytes().unwrap().to_vec();
        assert_eq!(decoder.str().unwrap(), "{}");
        (onward, back, payload)
    }

    /// That the other side ends the connection.
    pub(crate) async fn assert_ended(mut self) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(WAIT, self.0.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection stays");
    }
}
