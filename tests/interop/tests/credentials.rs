//! Credentials between nodes of ours and of theirs, over real TCP: presented by either side, at either end of a channel, and
//! presented anew. What the other side makes of them is asked of a worker there that admits only `role=member`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use channel::{Peer, Renewed, SetAside, Trust};
use common::guarded::{GUARDED, Seen, Verdicts, guard_ours, guard_theirs, they_ask, we_ask};
use common::nodes::{WAIT, our_node, way};
use common::{ED25519, Ours, PAIRS, in_node, now, ours_of, signer, theirs};
use identity::{
    Attributes, Credential, CredentialDraft, Identity, IssuerBundle, Kind, PurposeKey, PurposeKeyAttestation,
    Refusal, Rotation, Validity,
};
use node::{ChannelOptions, Node, Party};
use ockam_core::{Address, async_trait, route};
use ockam_identity::models::{CredentialAndPurposeKey, CredentialSchemaIdentifier, Identifier};
use ockam_identity::utils::AttributesBuilder;
use ockam_identity::{
    CredentialRetriever, CredentialRetrieverCreator, SecureChannel, SecureChannelListenerOptions,
    SecureChannelOptions, SecureChannels, secure_channels,
};
use ockam_node::Context;
use ockam_transport_tcp::{TcpConnectionOptions, TcpListenerOptions, TcpTransport};
use ockam_vault::SigningKeyType;
use vault::soft::SoftVault;
use vault::{Algorithm, Signer, Vault};

const SECONDS: u64 = 600;

fn vault() -> Arc<dyn Vault> {
    Arc::new(SoftVault::in_memory().unwrap())
}

/// Who issues, on either side. No node has its keys.
enum Issuer {
    Theirs(Arc<SecureChannels>, Identifier),
    Ours(Box<(Ours, Signer, PurposeKeyAttestation)>),
}

impl Issuer {
    async fn theirs(keys: &[SigningKeyType]) -> Self {
        let crates = secure_channels().await.unwrap();
        let identifier = theirs(&crates, keys).await;
        Self::Theirs(crates, identifier)
    }

    async fn ours(keys: &[Algorithm]) -> Self {
        let ours = Ours::new(keys).await;
        let key = signer(&vault(), keys[0], 0).await;
        let purpose = PurposeKey::Credential(key.public().clone());
        let valid = Validity::starting(now(), 3600);
        let attestation = PurposeKeyAttestation::attest(&ours.identity, &ours.primary, &purpose, valid).await;
        Self::Ours(Box::new((ours, key, attestation.unwrap())))
    }

    async fn history(&self) -> Vec<u8> {
        match self {
            Self::Theirs(crates, identifier) => {
                crates.identities().export_identity(identifier).await.unwrap()
            }
            Self::Ours(ours) => ours.0.identity.as_bytes().to_vec(),
        }
    }

    async fn identity(&self) -> Identity {
        Identity::import(&self.history().await).unwrap()
    }

    /// A credential for who has this history, as it is encoded.
    async fn issue(&self, subject: &[u8], role: &str) -> Vec<u8> {
        match self {
            Self::Theirs(crates, identifier) => {
                let identities = crates.identities();
                let subject = identities.identities_verification().import(None, subject).await.unwrap();
                let attributes = AttributesBuilder::with_schema(CredentialSchemaIdentifier(1))
                    .with_attribute(b"role".to_vec(), role.as_bytes().to_vec())
                    .build();
                let valid = Duration::from_secs(SECONDS);
                let creation = identities.credentials().credentials_creation();
                let issued = creation.issue_credential(identifier, &subject, attributes, valid).await;
                issued.unwrap().encode_as_cbor_bytes().unwrap()
            }
            Self::Ours(issuer) => {
                let (ours, key, attestation) = &**issuer;
                let proof = attestation.verify(&ours.identity, now()).unwrap();
                let attributes = Attributes::new(1, [("role", role)]).unwrap();
                let subject = Identity::import(subject).unwrap();
                let draft =
                    CredentialDraft::new(attestation, &proof, &subject, &attributes, now(), SECONDS).unwrap();
                draft.sign(key).await.unwrap().encode().unwrap()
            }
        }
    }
}

fn for_us(credential: &[u8]) -> Credential {
    Credential::decode(credential).unwrap()
}

fn for_them(credential: &[u8]) -> CredentialAndPurposeKey {
    minicbor::decode(credential).unwrap()
}

/// Takes the credentials of one issuer, and speaks to everybody.
struct Of(Arc<IssuerBundle>);

impl Trust for Of {
    fn admits(&self, _: &Peer) -> bool {
        true
    }

    fn issuer(&self, identifier: &identity::Identifier) -> Option<Arc<IssuerBundle>> {
        (self.0.identifier() == *identifier).then(|| Arc::clone(&self.0))
    }
}

/// Their retriever as their channels see it: what it has is replaced, and its subscribers are told to ask for it.
struct Retriever {
    has: Mutex<CredentialAndPurposeKey>,
    subscribers: Mutex<Vec<Address>>,
}

impl Retriever {
    fn with(credential: &[u8]) -> Arc<Self> {
        Arc::new(Self { has: Mutex::new(for_them(credential)), subscribers: Mutex::default() })
    }

    async fn renew(&self, context: &Context, credential: &[u8]) {
        *self.has.lock().unwrap() = for_them(credential);
        let subscribers = self.subscribers.lock().unwrap().clone();
        assert_eq!(subscribers.len(), 1);
        for one in subscribers {
            context.send(route![one], ()).await.unwrap();
        }
    }
}

#[async_trait]
impl CredentialRetriever for Retriever {
    async fn initialize(&self) -> ockam_core::Result<()> {
        Ok(())
    }

    async fn retrieve(&self) -> ockam_core::Result<CredentialAndPurposeKey> {
        Ok(self.has.lock().unwrap().clone())
    }

    fn subscribe(&self, address: &Address) -> ockam_core::Result<()> {
        self.subscribers.lock().unwrap().push(address.clone());
        Ok(())
    }

    fn unsubscribe(&self, address: &Address) -> ockam_core::Result<()> {
        self.subscribers.lock().unwrap().retain(|one| one != address);
        Ok(())
    }
}

struct Always(Arc<Retriever>);

#[async_trait]
impl CredentialRetrieverCreator for Always {
    async fn create(&self, _: &Identifier) -> ockam_core::Result<Arc<dyn CredentialRetriever>> {
        Ok(Arc::clone(&self.0) as Arc<dyn CredentialRetriever>)
    }
}

/// A node of theirs, an issuer that counts on both sides, and one that counts on neither.
struct World {
    context: Arc<Context>,
    crates: Arc<SecureChannels>,
    tcp: Arc<TcpTransport>,
    our_keys: &'static [Algorithm],
    their_keys: &'static [SigningKeyType],
    issuer: Issuer,
    authority: Identifier,
    other: Issuer,
}

/// Runs a test with keys of each kind on both sides, and with issuers of either side.
fn everywhere<F: Future<Output = ()> + Send + 'static>(test: impl Fn(World) -> F + Copy + Send + 'static) {
    for (our_keys, their_keys) in PAIRS {
        for we_issue in [false, true] {
            in_node(move |context| async move {
                let crates = secure_channels().await.unwrap();
                let tcp = TcpTransport::create_new(&context).unwrap();
                let (ours, theirs) = (Issuer::ours(our_keys).await, Issuer::theirs(their_keys).await);
                let (issuer, other) = if we_issue { (ours, theirs) } else { (theirs, ours) };
                let identities = crates.identities();
                let history = issuer.history().await;
                let authority = identities.identities_verification().import(None, &history).await.unwrap();
                let world = World { context, crates, tcp, our_keys, their_keys, issuer, authority, other };
                test(world).await;
            });
        }
    }
}

impl World {
    /// Somebody of theirs, and their history.
    async fn somebody(&self) -> (Identifier, Vec<u8>) {
        let identifier = theirs(&self.crates, self.their_keys).await;
        let history = self.crates.identities().export_identity(&identifier).await.unwrap();
        (identifier, history)
    }

    /// Somebody of ours, who presents nothing yet.
    async fn us(&self) -> Ours {
        Ours::new(self.our_keys).await
    }

    /// Options of ours, and what is seen of peers.
    async fn options(&self, ours: &Arc<Ours>) -> (ChannelOptions, Arc<Seen>) {
        let trust = Of(Arc::new(IssuerBundle::history_only(self.issuer.identity().await)));
        let party = Arc::clone(ours) as Arc<dyn Party>;
        let seen = Arc::new(Seen::default());
        (ChannelOptions { opened: Some(seen.clone()), ..ChannelOptions::new(party, Arc::new(trust)) }, seen)
    }

    async fn they_open(
        &self,
        who: &Identifier,
        at: SocketAddr,
        options: SecureChannelOptions,
    ) -> SecureChannel {
        let connection = self.tcp.connect(at.to_string(), TcpConnectionOptions::new()).await.unwrap();
        let way = route![connection, "api"];
        self.crates.create_secure_channel(&self.context, who, way, options).await.unwrap()
    }

    /// Their listener with a guarded worker behind it, and where it is.
    async fn they_listen(
        &self,
        who: &Identifier,
        options: SecureChannelListenerOptions,
    ) -> (SocketAddr, Verdicts) {
        let listening = TcpListenerOptions::new();
        let spawner = listening.spawner_flow_control_id();
        let listener = self.tcp.listen("127.0.0.1:0", listening).await.unwrap();
        let options = options.with_authority(self.authority.clone()).as_consumer(&spawner);
        let channels =
            self.crates.create_secure_channel_listener(&self.context, who, "api", options).unwrap();
        let asked = guard_theirs(&self.context, &self.crates, &self.authority, channels.flow_control_id());
        (*listener.socket_address(), asked)
    }

    async fn we_open(&self, node: &Node, at: SocketAddr, options: &ChannelOptions) -> node::Address {
        let way = way(&[at], &format!("/secure/api/service/{GUARDED}"));
        node.resolve(&way, Some(options), WAIT).await.unwrap().channels[0].clone()
    }

    /// The role that they know somebody to have.
    async fn known(&self, who: &Identifier) -> Option<String> {
        let known = self.crates.identities().identities_attributes();
        let entry = known.get_attributes(who, &self.authority).await.unwrap()?;
        Some(String::from_utf8(entry.attrs()[&b"role"[..]].clone()).unwrap())
    }

    /// Their ends of the channels, once there are so many. We have sent our last message of a handshake before they are
    /// through with it, and two at a time are too many for their database in memory: it ends one as a deadlock.
    async fn their_ends(&self, count: usize) -> Vec<Address> {
        for _ in 0..1000 {
            let open = self.crates.secure_channel_registry().get_channel_list();
            if open.len() == count {
                return open.iter().map(|one| one.encryptor_messaging_address().clone()).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("they never have {count} channels");
    }
}

#[test]
fn what_they_present_decides_at_our_listener() {
    everywhere(|world| async move {
        let us = Arc::new(world.us().await);
        let (options, seen) = world.options(&us).await;
        let (node, at) = our_node(options).await;
        let mut asked = guard_ours(&node);
        let (member, history) = world.somebody().await;
        let its_own = world.issuer.issue(&history, "member").await;
        let (guest, history) = world.somebody().await;
        let no_member = world.issuer.issue(&history, "guest").await;
        let (nobody, _) = world.somebody().await;
        let (stranger, history) = world.somebody().await;
        let of_other = world.other.issue(&history, "member").await;
        let (thief, _) = world.somebody().await;
        let issuer = world.issuer.identity().await.identifier();
        let others = world.other.identity().await.identifier();
        let of_somebody_else = SetAside::Refused(issuer, Kind::Refused(Refusal::OtherCredentialSubject));
        let cases = [
            (&member, Some(&its_own), Some("member"), None),
            (&guest, Some(&no_member), Some("guest"), None),
            (&nobody, None, None, None),
            (&stranger, Some(&of_other), None, Some(SetAside::UnknownIssuer(others))),
            (&thief, Some(&its_own), None, Some(of_somebody_else)),
        ];
        let mut open = Vec::new();
        for (who, credential, ..) in &cases {
            let options = match credential {
                Some(credential) => {
                    SecureChannelOptions::new().with_credential(for_them(credential)).unwrap()
                }
                None => SecureChannelOptions::new(),
            };
            open.push(world.they_open(who, at, options).await);
        }
        for ((who, _, role, set_aside), channel) in cases.into_iter().zip(&open) {
            let reached = asked.of(they_ask(&world.context, channel.encryptor_address())).await;
            assert_eq!(reached, role == Some("member"), "{role:?} {set_aside:?}");
            assert_eq!(seen.roles(who), role.into_iter().collect::<Vec<_>>());
            assert_eq!(seen.last(who).set_aside(), set_aside.as_slice());
        }
        let mut peers: Vec<_> = node.channels().iter().map(|one| one.peer).collect();
        let mut wanted: Vec<_> = [member, guest, nobody, stranger, thief].iter().map(ours_of).collect();
        peers.sort();
        wanted.sort();
        assert_eq!(peers, wanted);
        node.stop().await;
    });
}

#[test]
fn what_we_present_decides_at_their_listener() {
    everywhere(|world| async move {
        let (bob, history) = world.somebody().await;
        let credential = for_them(&world.issuer.issue(&history, "server").await);
        let options = SecureChannelListenerOptions::new().with_credential(credential).unwrap();
        let (at, mut asked) = world.they_listen(&bob, options).await;
        let (mut member, mut guest, nobody) = (world.us().await, world.us().await, world.us().await);
        let (mut stranger, mut thief) = (world.us().await, world.us().await);
        let its_own = for_us(&world.issuer.issue(member.identity.as_bytes(), "member").await);
        thief.credentials = vec![its_own.clone()];
        member.credentials = vec![its_own];
        guest.credentials = vec![for_us(&world.issuer.issue(guest.identity.as_bytes(), "guest").await)];
        let of_other = world.other.issue(stranger.identity.as_bytes(), "member").await;
        stranger.credentials = vec![for_us(&of_other)];
        let everybody = [
            (member, Some("member")),
            (guest, Some("guest")),
            (nobody, None),
            (stranger, None),
            (thief, None),
        ];
        let (node, _) = our_node(world.options(&Arc::new(world.us().await)).await.0).await;
        let mut open = Vec::new();
        for (who, role) in everybody {
            let identifier = who.identifier();
            let (options, seen) = world.options(&Arc::new(who)).await;
            let channel = world.we_open(&node, at, &options).await;
            assert_eq!(seen.roles(&bob), ["server"]);
            open.push((channel, identifier, role));
            world.their_ends(open.len()).await;
        }
        for (channel, identifier, role) in open {
            assert_eq!(asked.of(we_ask(&node, &channel)).await, role == Some("member"), "{role:?}");
            assert_eq!(world.known(&identifier).await.as_deref(), role);
        }
        node.stop().await;
    });
}

/// Our end of the only channel.
async fn our_end(node: &Node) -> node::Address {
    // They have sent their last message of the handshake: we may still be at it.
    for _ in 0..1000 {
        if let [only] = &node.channels()[..] {
            return only.address.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("we have no channel");
}

/// Their side renews through a retriever, in a channel that either side opened.
async fn they_renew(world: &World, they_open: bool) {
    let us = Arc::new(world.us().await);
    let (options, seen) = world.options(&us).await;
    let (node, our_address) = our_node(options.clone()).await;
    let mut asked = guard_ours(&node);
    let (who, history) = world.somebody().await;
    let retriever = Retriever::with(&world.issuer.issue(&history, "guest").await);
    let creator = Arc::new(Always(Arc::clone(&retriever)));
    if they_open {
        let options = SecureChannelOptions::new().with_credential_retriever_creator(creator).unwrap();
        world.they_open(&who, our_address, options).await;
    } else {
        let theirs = SecureChannelListenerOptions::new().with_credential_retriever_creator(creator).unwrap();
        let (their_address, _) = world.they_listen(&who, theirs).await;
        world.we_open(&node, their_address, &options).await;
    }
    let channel = world.their_ends(1).await.remove(0);
    assert!(!asked.of(they_ask(&world.context, &channel)).await);
    assert_eq!(seen.roles(&who), ["guest"]);
    // The message behind a refresh is the first that it decides on.
    retriever.renew(&world.context, &world.issuer.issue(&history, "member").await).await;
    assert!(asked.of(they_ask(&world.context, &channel)).await);
    assert_eq!(seen.roles(&who), ["member"]);
    // One of an issuer that does not count changes nothing.
    retriever.renew(&world.context, &world.other.issue(&history, "guest").await).await;
    assert!(asked.of(they_ask(&world.context, &channel)).await);
    assert_eq!(seen.roles(&who), ["member"]);
    // With a history that has grown.
    let changes = seen.last(&who).identity().len();
    let creation = world.crates.identities().identities_creation();
    let rotation = creation.identity_builder().with_random_key(ED25519).build_options().await.unwrap();
    creation.rotate_identity_with_options(&who, rotation).await.unwrap();
    let history = world.crates.identities().export_identity(&who).await.unwrap();
    retriever.renew(&world.context, &world.issuer.issue(&history, "guest").await).await;
    assert!(!asked.of(they_ask(&world.context, &channel)).await);
    assert_eq!((seen.roles(&who), seen.last(&who).identity().len()), (vec!["guest".into()], changes + 1));
    assert_eq!(node.channels().len(), 1);
    node.stop().await;
}

#[test]
fn their_refresh_reaches_our_listener() {
    everywhere(|world| async move { they_renew(&world, true).await });
}

#[test]
fn their_listeners_refresh_reaches_us() {
    everywhere(|world| async move { they_renew(&world, false).await });
}

/// Our node renews, in a channel that either side opened.
async fn we_renew(world: &World, we_open: bool) {
    let mut us = world.us().await;
    let identity = us.identity.clone();
    let issue =
        async |identity: &Identity, role| for_us(&world.issuer.issue(identity.as_bytes(), role).await);
    us.credentials = vec![issue(&identity, "guest").await];
    let us = Arc::new(us);
    let (who, _) = world.somebody().await;
    let (options, _) = world.options(&us).await;
    let (node, our_address) = our_node(options.clone()).await;
    let (channel, mut asked) = if we_open {
        let (at, asked) = world.they_listen(&who, SecureChannelListenerOptions::new()).await;
        let channel = world.we_open(&node, at, &options).await;
        world.their_ends(1).await;
        (channel, asked)
    } else {
        let options = SecureChannelOptions::new().with_authority(world.authority.clone());
        let theirs = world.they_open(&who, our_address, options).await;
        let asked = guard_theirs(&world.context, &world.crates, &world.authority, theirs.flow_control_id());
        (our_end(&node).await, asked)
    };
    let renew = async |identity: &Identity, credential: Credential| {
        let renewed = Renewed::new(identity, &[credential]).unwrap();
        node.renew_channel(&channel, &renewed).await.unwrap();
    };
    assert!(!asked.of(we_ask(&node, &channel)).await);
    assert_eq!(world.known(&us.identifier()).await.as_deref(), Some("guest"));
    renew(&identity, issue(&identity, "member").await).await;
    assert!(asked.of(we_ask(&node, &channel)).await);
    assert_eq!(world.known(&us.identifier()).await.as_deref(), Some("member"));
    // One of an issuer that does not count changes nothing there, either.
    renew(&identity, for_us(&world.other.issue(identity.as_bytes(), "guest").await)).await;
    assert!(asked.of(we_ask(&node, &channel)).await);
    assert_eq!(world.known(&us.identifier()).await.as_deref(), Some("member"));
    // With a history that has grown.
    let new = signer(&vault(), Algorithm::Ed25519, 0).await;
    let rotation = Rotation { valid: Validity::of_primary_key(now()), revoke_purpose_keys: false };
    let rotated = identity.rotate(&us.primary, &new, rotation).await.unwrap();
    renew(&rotated, issue(&rotated, "guest").await).await;
    assert!(!asked.of(we_ask(&node, &channel)).await);
    assert_eq!(world.known(&us.identifier()).await.as_deref(), Some("guest"));
    let known = world.crates.identities().get_identity(&us.identifier()).await.unwrap();
    assert_eq!(known.changes().len(), identity.len() + 1);
    node.stop().await;
}

#[test]
fn our_refresh_reaches_their_listener() {
    everywhere(|world| async move { we_renew(&world, true).await });
}

#[test]
fn our_listeners_refresh_reaches_them() {
    everywhere(|world| async move { we_renew(&world, false).await });
}
