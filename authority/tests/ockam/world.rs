//! Channel keys, peers as a handshake proves them, and an authority behind its door.

use std::sync::{Arc, Mutex};

use authority::client::{Ask, ChannelClient, Result};
use authority::guesses::Guesses;
use authority::ockam::{Desk, Door, Options, Service};
use channel::{AnyPeer, Driver, Peer, Presentation, Progress};
use identity::{PurposeKey, PurposeKeyAttestation, Timestamp, Validity};
use node::request::{ErrorBody, Method, Request, Response, Status};
use node::{Party, Pending};
use vault::{Agreer, KeyName, KeySpec, SecretBytes};

use crate::common::{NOW, Person, World, memory, person};

/// How long attestations of channel keys last here.
pub(crate) const HOUR: u64 = 3600;

/// A channel key, and its attestation by somebody, from then on for an hour.
pub(crate) async fn channel_key(
    world: &World,
    person: &Person,
    at: Timestamp,
) -> (Agreer, PurposeKeyAttestation) {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let name = {
        let mut count = COUNT.lock().unwrap();
        *count += 1;
        KeyName::new(&format!("channel-{count}")).unwrap()
    };
    let key = world.vault.agreement().unwrap().generate(&KeySpec::x25519(name)).await.unwrap();
    let key = Agreer::bind(Arc::clone(&world.vault), key).unwrap();
    let attestation = attest(person, &key, at).await;
    (key, attestation)
}

pub(crate) async fn attest(person: &Person, key: &Agreer, at: Timestamp) -> PurposeKeyAttestation {
    let purpose = PurposeKey::Channel(key.public().clone());
    let valid = Validity::starting(at, HOUR);
    PurposeKeyAttestation::attest(&person.identity, &person.primary, &purpose, valid).await.unwrap()
}

/// Somebody, as a handshake that is over proves them.
pub(crate) async fn peer(world: &World, person: &Person) -> Peer {
    let show = async |somebody: &Person| {
        let (key, attestation) = channel_key(world, somebody, NOW).await;
        (Presentation::new(&somebody.identity, &attestation, &[], NOW).unwrap(), key)
    };
    let ((shown, key), (ours, our_key)) = (show(person).await, show(&world.root).await);
    let random = || SecretBytes::random(32).unwrap();
    let (mut initiator, first) = Driver::initiate(shown, key, &random()).unwrap();
    let mut responder = Driver::respond(ours, our_key, &random()).unwrap();
    let Progress::Send(second) = responder.receive(&first, NOW, &AnyPeer).await.unwrap() else { panic!() };
    let Progress::Open(Some(third), _) = initiator.receive(&second, NOW, &AnyPeer).await.unwrap() else {
        panic!()
    };
    let Progress::Open(None, channel) = responder.receive(&third, NOW, &AnyPeer).await.unwrap() else {
        panic!()
    };
    channel.peer().clone()
}

/// What came back of a request, without its envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: u32,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn done(body: &str) -> Self {
        Self { status: 200, body: body.to_owned() }
    }

    pub(crate) fn error(&self) -> ErrorBody {
        ErrorBody::decode(&hex::decode(&self.body).unwrap()).unwrap()
    }

    pub(crate) fn message(&self) -> String {
        self.error().message.unwrap()
    }
}

/// A request made by hand, with a body in hexadecimal.
pub(crate) async fn ask(
    desk: &Desk,
    peer: &Peer,
    service: Service,
    (method, path): (Method, &str),
    body: Option<&str>,
) -> Got {
    let body = body.map(|body| hex::decode(body.replace(' ', "")).unwrap());
    let request = Request { id: 7, path, method: Some(method), body: body.as_deref(), key: None };
    let answer = desk.answer(Some(peer), None, service, &request.encode()).await;
    let response = Response::decode(&answer).unwrap();
    assert_eq!(response.re, 7);
    assert_ne!(response.id, 0);
    if response.is_ok() {
        assert!(response.body.is_none_or(|body| !body.is_empty()), "an empty body is none");
    }
    Got {
        status: response.status.map_or(0, Status::number),
        body: response.body.map(hex::encode).unwrap_or_default(),
    }
}

/// What the authority shows in handshakes, as it is now.
pub(crate) struct Shown(pub(crate) Mutex<(Presentation, Agreer)>);

impl Shown {
    pub(crate) fn of(
        person: &Person,
        key: &Agreer,
        attestation: &PurposeKeyAttestation,
    ) -> (Presentation, Agreer) {
        let from = attestation.created_at();
        (Presentation::new(&person.identity, attestation, &[], from).unwrap(), key.clone())
    }
}

impl Party for Shown {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        let now = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(now) })
    }
}

/// An authority behind its door.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) shown: Arc<Shown>,
    pub(crate) key: Agreer,
    pub(crate) door: Door,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::of(World::new(memory).await, Options::default()).await
    }

    pub(crate) async fn of(world: World, options: Options) -> Self {
        let (key, attestation) = channel_key(&world, &world.root, NOW).await;
        let shown = Arc::new(Shown(Mutex::new(Shown::of(&world.root, &key, &attestation))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::open(&world.authority, shown.clone(), listener, options).await.unwrap();
        Self { world, shown, key, door }
    }

    pub(crate) fn route(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}/service/api", self.door.local_addr().port())
    }

    pub(crate) async fn client(&self, person: &Person) -> ChannelClient {
        let (key, attestation) = channel_key(&self.world, person, NOW).await;
        let authority = self.world.root.identity.identifier();
        let clock = self.world.clock.clone();
        ChannelClient::new(&self.route(), authority, person.identity.clone(), (key, &attestation), clock)
            .unwrap()
    }

    pub(crate) async fn enroller(&self) -> Arc<dyn Ask> {
        Arc::new(self.client(&self.world.enroller).await)
    }

    pub(crate) async fn stranger(&self) -> (Person, Arc<dyn Ask>) {
        let person = person(&self.world.vault).await;
        let client = self.client(&person).await;
        (person, Arc::new(client))
    }
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn asking<T: Send + 'static>(
    client: &Arc<dyn Ask>,
    what: impl FnOnce(&dyn Ask) -> Result<T> + Send + 'static,
) -> Result<T> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || what(&*client)).await.unwrap()
}

/// Options that count the failures of this machine, so many a minute.
pub(crate) fn counting(failures: u32) -> Options {
    Options { guesses: Guesses::new(failures, true), ..Options::default() }
}
