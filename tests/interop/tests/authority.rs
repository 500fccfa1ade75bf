//! Our authority, and members of it that are of the published crates: over real TCP, with their client, their retriever of
//! credentials, and their verification of what they got.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authority::issuer::IssuerKeys;
use authority::member::MemberAttributes;
use authority::ockam::{Door, Options};
use authority::service::{Authority, DEFAULT_CREDENTIAL_SECONDS, Operator, Settings};
use authority::store::MemoryStore;
use channel::{Peer, Presentation, Trust};
use common::guarded::{Seen, guard_ours, they_ask};
use common::nodes::our_node;
use common::{in_node, now, ours_of};
use identity::{
    ATTESTATION_SECONDS, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation, Rotation, SystemClock,
    Validity,
};
use minicbor::{Decode, Encode};
use node::{ChannelOptions, Party, Pending};
use ockam_core::api::{Error, Reply, Request, Response, Status};
use ockam_core::{AllowAll, route};
use ockam_identity::models::{CredentialAndPurposeKey, Identifier, IdentifierList};
use ockam_identity::{
    AttributesEntry, CredentialRetriever, RemoteCredentialRetriever, RemoteCredentialRetrieverCreator,
    RemoteCredentialRetrieverInfo, RemoteCredentialRetrieverTimingOptions, SecureChannelOptions,
    SecureChannels, SecureClient, TimestampInSeconds, TrustIdentifierPolicy, secure_channels,
};
use ockam_node::Context;
use ockam_transport_tcp::{TCP, TcpConnectionOptions, TcpTransport};
use vault::soft::SoftVault;
use vault::{Agreer, Algorithm, KeyName, KeySpec, Signer, Vault};

const WAIT: Duration = Duration::from_secs(60);

/// Our authority's keys, and what it shows in handshakes.
struct Ours {
    vault: Arc<dyn Vault>,
    root: Mutex<(Signer, Identity)>,
    credential_key: Signer,
    channel_key: Agreer,
    shown: Mutex<Presentation>,
    authority: Authority,
}

async fn signer(vault: &Arc<dyn Vault>, name: &str, p256: bool) -> Signer {
    let name = KeyName::new(name).unwrap();
    let spec = if p256 { KeySpec::p256(name) } else { KeySpec::ed25519(name) };
    Signer::bind(Arc::clone(vault), vault.signing().unwrap().generate(&spec).await.unwrap()).unwrap()
}

async fn attest(root: &(Signer, Identity), key: PurposeKey) -> PurposeKeyAttestation {
    let valid = Validity::starting(now(), ATTESTATION_SECONDS);
    PurposeKeyAttestation::attest(&root.1, &root.0, &key, valid).await.unwrap()
}

async fn issuer(root: &(Signer, Identity), key: &Signer) -> IssuerKeys {
    let attestation = attest(root, PurposeKey::Credential(key.public().clone())).await;
    IssuerKeys::new(root.1.clone(), key.clone(), attestation, Vec::new(), now()).unwrap()
}

async fn presentation(root: &(Signer, Identity), key: &Agreer) -> Presentation {
    let attestation = attest(root, PurposeKey::Channel(key.public().clone())).await;
    Presentation::new(&root.1, &attestation, &[], now()).unwrap()
}

impl Ours {
    /// With a primary key of either type, and this enroller from the start.
    async fn new(p256: bool, enroller: &Identifier) -> Arc<Self> {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let primary = signer(&vault, "root", p256).await;
        let identity = Identity::create(&primary, Validity::of_primary_key(now())).await.unwrap();
        let root = (primary, identity);
        let credential_key = signer(&vault, "credentials", !p256).await;
        let spec = KeySpec::x25519(KeyName::new("channel").unwrap());
        let key = vault.agreement().unwrap().generate(&spec).await.unwrap();
        let channel_key = Agreer::bind(Arc::clone(&vault), key).unwrap();
        let mut settings = Settings::new("project-1");
        let role = MemberAttributes::of([("ockam-role", "enroller")]).unwrap();
        settings.pre_trusted.insert(ours_of(enroller), role);
        let store = Arc::new(MemoryStore::new(root.1.identifier(), now()).unwrap());
        let keys = issuer(&root, &credential_key).await;
        let authority = Authority::open(store, keys, settings, Arc::new(SystemClock)).await.unwrap();
        let shown = Mutex::new(presentation(&root, &channel_key).await);
        Arc::new(Self { vault, root: Mutex::new(root), credential_key, channel_key, shown, authority })
    }

    fn identifier(&self) -> Identifier {
        theirs_of(&self.root.lock().unwrap().1)
    }

    async fn open(self: &Arc<Self>) -> Door {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Door::open(&self.authority, self.clone(), listener, Options::default()).await.unwrap()
    }

    /// Sets another primary key, as a server does it while it runs.
    async fn rotate(&self) {
        let (old, identity) = self.root.lock().unwrap().clone();
        let new = signer(&self.vault, &format!("root-{}", identity.len()), false).await;
        let rotation = Rotation { valid: Validity::of_primary_key(now()), revoke_purpose_keys: false };
        let root = (new.clone(), identity.rotate(&old, &new, rotation).await.unwrap());
        let keys = issuer(&root, &self.credential_key).await;
        self.authority.replace_issuer(&Operator::of_this_process(), keys).await.unwrap();
        let shown = presentation(&root, &self.channel_key).await;
        *self.shown.lock().unwrap() = shown;
        *self.root.lock().unwrap() = root;
    }
}

impl Party for Ours {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        let shown = self.shown.lock().unwrap().clone();
        Box::pin(async { Ok((shown, self.channel_key.clone())) })
    }
}

fn theirs_of(identity: &Identity) -> Identifier {
    Identifier::try_from(identity.identifier().to_string().as_str()).unwrap()
}

/// What their client sends: the same shapes as theirs, by their library's rules.
#[derive(Encode)]
#[cbor(map)]
struct AddMember {
    #[n(1)]
    member: Identifier,
    #[n(2)]
    attributes: BTreeMap<String, String>,
}

#[derive(Encode)]
#[cbor(map)]
struct CreateToken {
    #[n(1)]
    attributes: BTreeMap<String, String>,
    #[n(2)]
    ttl_secs: Option<u64>,
    #[n(3)]
    ttl_count: Option<u64>,
}

#[derive(Encode, Decode, Clone)]
#[cbor(map)]
struct OneTimeCode {
    #[cbor(n(1), with = "minicbor::bytes")]
    code: [u8; 32],
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Somebody of theirs who asks our authority.
struct Somebody {
    context: Arc<Context>,
    crates: Arc<SecureChannels>,
    tcp: Arc<TcpTransport>,
    identifier: Identifier,
    authority: Identifier,
    client: SecureClient,
    at: SocketAddr,
}

impl Somebody {
    fn new(
        context: &Arc<Context>,
        crates: &Arc<SecureChannels>,
        tcp: &Arc<TcpTransport>,
        identifier: &Identifier,
        authority: &Identifier,
        at: SocketAddr,
    ) -> Self {
        let client = SecureClient::new(
            crates.clone(),
            None,
            tcp.clone(),
            route![(TCP, at.to_string()), "api"],
            Arc::new(TrustIdentifierPolicy::new(authority.clone())),
            identifier,
            WAIT,
            WAIT,
        );
        Self {
            context: context.clone(),
            crates: crates.clone(),
            tcp: tcp.clone(),
            identifier: identifier.clone(),
            authority: authority.clone(),
            client,
            at,
        }
    }

    /// A request with a body, or without, and what their client makes of the answer.
    async fn ask(
        &self,
        service: &str,
        request: Request,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, (Error, Option<Status>)> {
        let reply: Response<Vec<u8>> = match body {
            Some(body) => self.client.request(&self.context, service, request.body(body)).await.unwrap(),
            None => self.client.request(&self.context, service, request).await.unwrap(),
        };
        if reply.is_ok() && !reply.has_body() {
            return Ok(Vec::new());
        }
        match reply.to_reply::<Vec<u8>>().unwrap() {
            Reply::Successful(body) => Ok(body),
            Reply::Failed(error, status) => Err((error, status)),
        }
    }

    async fn add(&self, member: &Identifier, pairs: &[(&str, &str)]) -> Result<(), (Error, Option<Status>)> {
        let body = minicbor::to_vec(AddMember { member: member.clone(), attributes: attributes(pairs) });
        self.ask("direct_authenticator", Request::post("/"), Some(body.unwrap())).await.map(drop)
    }

    async fn mint(
        &self,
        pairs: &[(&str, &str)],
        uses: Option<u64>,
    ) -> Result<OneTimeCode, (Error, Option<Status>)> {
        let body = CreateToken { attributes: attributes(pairs), ttl_secs: Some(300), ttl_count: uses };
        let body = minicbor::to_vec(body).unwrap();
        let answer = self.ask("enrollment_token_issuer", Request::post("/"), Some(body)).await?;
        Ok(minicbor::decode(&answer).unwrap())
    }

    async fn redeem(&self, code: &OneTimeCode) -> Result<(), (Error, Option<Status>)> {
        let body = minicbor::to_vec(code).unwrap();
        self.ask("enrollment_token_acceptor", Request::post("/"), Some(body)).await.map(drop)
    }

    /// As their nodes get their credentials, and whether their verification takes what came.
    async fn credential(&self) -> ockam_core::Result<CredentialAndPurposeKey> {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let name = {
            let mut count = COUNT.lock().unwrap();
            *count += 1;
            format!("retriever-{count}")
        };
        let route = route![(TCP, self.at.to_string()), "api"];
        let retriever = RemoteCredentialRetriever::new(
            self.context.new_detached(name.as_str(), AllowAll, AllowAll)?,
            self.tcp.clone(),
            self.crates.clone(),
            RemoteCredentialRetrieverInfo::create_for_project_member(self.authority.clone(), route),
            self.identifier.clone(),
            name,
            RemoteCredentialRetrieverTimingOptions::default(),
        );
        retriever.initialize().await?;
        retriever.retrieve().await
    }

    async fn verified(
        &self,
        credential: &CredentialAndPurposeKey,
    ) -> ockam_core::Result<BTreeMap<String, String>> {
        let credentials = self.crates.identities().credentials();
        let verification = credentials.credentials_verification();
        let authorities = [self.authority.clone()];
        let data = verification.verify_credential(Some(&self.identifier), &authorities, credential).await?;
        let map = data.credential_data.subject_attributes.map;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(map.iter().map(|(name, value)| (text(name), text(value))).collect())
    }
}

fn message(refused: Result<(), (Error, Option<Status>)>) -> (String, Option<Status>) {
    let (error, status) = refused.unwrap_err();
    (error.message().unwrap_or_default().to_owned(), status)
}

#[test]
fn their_clients_enrol_and_are_enrolled() {
    for p256 in [false, true] {
        in_node(move |context| async move {
            let crates = secure_channels().await.unwrap();
            let tcp = TcpTransport::create_new(&context).unwrap();
            let creation = crates.identities().identities_creation();
            let (alice, bob, carol) = (
                creation.create_identity().await.unwrap(),
                creation.create_identity().await.unwrap(),
                creation.create_identity().await.unwrap(),
            );
            let ours = Ours::new(p256, &alice).await;
            let door = ours.open().await;
            let somebody =
                |who| Somebody::new(&context, &crates, &tcp, who, &ours.identifier(), door.local_addr());
            let (enroller, member, other) = (somebody(&alice), somebody(&bob), somebody(&carol));

            // Members, by an enroller and by nobody else.
            let refused = message(member.add(&carol, &[]).await);
            assert_eq!(refused, ("only an enroller may do this".into(), Some(Status::Forbidden)));
            enroller.add(&carol, &[("team", "blue"), ("ü", "")]).await.unwrap();
            let list = enroller.ask("direct_authenticator", Request::get("/"), None).await.unwrap();
            let list: HashMap<Identifier, AttributesEntry> = minicbor::decode(&list).unwrap();
            assert_eq!(list.len(), 2);
            let entry = &list[&carol];
            assert_eq!(entry.attrs()[b"team".as_slice()], b"blue");
            assert_eq!((entry.attested_by(), entry.expires_at()), (Some(alice.clone()), None));
            assert_eq!(list[&alice].attested_by(), Some(ours.identifier()), "trusted from the start");
            let ids = enroller.ask("direct_authenticator", Request::get("/member_ids"), None).await.unwrap();
            assert_eq!(minicbor::decode::<IdentifierList>(&ids).unwrap().0.len(), 2);
            let path = format!("/{carol}");
            let shown = enroller.ask("direct_authenticator", Request::get(&path), None).await.unwrap();
            assert_eq!(&minicbor::decode::<AttributesEntry>(&shown).unwrap(), entry);
            for _ in 0..2 {
                enroller.ask("direct_authenticator", Request::delete(&path), None).await.unwrap();
            }
            let gone = enroller.ask("direct_authenticator", Request::get(&path), None).await.unwrap_err();
            assert_eq!(gone.1, Some(Status::Forbidden));

            // Tickets.
            assert!(member.credential().await.is_err(), "no member yet");
            let code = enroller.mint(&[("role", "member")], Some(1)).await.unwrap();
            member.redeem(&code).await.unwrap();
            let again = message(member.redeem(&code).await);
            assert_eq!(again, ("already a member".into(), Some(Status::Forbidden)));
            let used = message(other.redeem(&code).await);
            assert_eq!(used, ("unknown enrollment token".into(), Some(Status::Forbidden)));

            // A credential, as their nodes get it and check it.
            let credential = member.credential().await.unwrap();
            let known = attributes(&[("role", "member"), ("trust_context_id", "project-1")]);
            assert_eq!(member.verified(&credential).await.unwrap(), known);
            // What is no request to the services is answered, too.
            let garbled = member.ask("enrollment_token_acceptor", Request::post("/"), Some(vec![0xff])).await;
            assert_eq!(garbled.unwrap_err().1, Some(Status::BadRequest));
            let unknown = member.ask("credential_issuer", Request::put("/nothing"), None).await.unwrap_err();
            assert_eq!((unknown.0.message(), unknown.1), (Some("unknown path"), Some(Status::BadRequest)));
            // What comes back is the request, which is no response.
            let echoed: ockam_core::Result<Response<Vec<u8>>> =
                member.client.request(&context, "echo", Request::post("/")).await;
            let said = echoed.unwrap_err().to_string();
            assert!(said.contains("expected u32"), "{said}");
            door.close().await;
        });
    }
}

#[test]
fn their_members_see_a_rotation_of_ours_with_the_next_channel() {
    in_node(|context| async move {
        let crates = secure_channels().await.unwrap();
        let tcp = TcpTransport::create_new(&context).unwrap();
        let alice = crates.identities().identities_creation().create_identity().await.unwrap();
        let ours = Ours::new(false, &alice).await;
        let door = ours.open().await;
        let member = Somebody::new(&context, &crates, &tcp, &alice, &ours.identifier(), door.local_addr());
        let before = member.credential().await.unwrap();
        member.verified(&before).await.unwrap();
        for _ in 0..3 {
            ours.rotate().await;
            // Until they connect they know nothing of it.
            member.verified(&before).await.unwrap_or_default();
            let after = member.credential().await.unwrap();
            member.verified(&after).await.unwrap();
            assert!(member.verified(&before).await.is_err(), "their rule: what was attested before is over");
        }
        door.close().await;
    });
}

/// Takes the credentials of our authority, and speaks to everybody.
struct Of(Arc<IssuerBundle>);

impl Trust for Of {
    fn admits(&self, _: &Peer) -> bool {
        true
    }

    fn issuer(&self, identifier: &identity::Identifier) -> Option<Arc<IssuerBundle>> {
        (self.0.identifier() == *identifier).then(|| Arc::clone(&self.0))
    }
}

#[test]
fn what_our_authority_says_of_their_member_gets_to_our_node_with_their_next_refresh() {
    /// Every so many seconds they ask anew.
    const INTERVAL: u64 = 2;
    const SKEW: u64 = 60;
    in_node(|context| async move {
        let crates = secure_channels().await.unwrap();
        let tcp = TcpTransport::create_new(&context).unwrap();
        // Who asks in the background has a database of their own: one in memory is for one at a time.
        let of_alice = secure_channels().await.unwrap();
        let alice = of_alice.identities().identities_creation().create_identity().await.unwrap();
        let bob = crates.identities().identities_creation().create_identity().await.unwrap();
        let authority = Ours::new(false, &alice).await;
        let door = authority.open().await;
        let at = door.local_addr();
        let enroller = Somebody::new(&context, &of_alice, &tcp, &alice, &authority.identifier(), at);
        enroller.add(&bob, &[("role", "guest")]).await.unwrap();
        // Our node knows the authority's history, and nothing of its members.
        let history = authority.root.lock().unwrap().1.clone();
        let trust = Of(Arc::new(IssuerBundle::history_only(history)));
        let party = Arc::new(common::Ours::new(&[Algorithm::EcdsaP256]).await);
        let seen = Arc::new(Seen::default());
        let options =
            ChannelOptions { opened: Some(seen.clone()), ..ChannelOptions::new(party, Arc::new(trust)) };
        let (node, socket) = our_node(options).await;
        let mut asked = guard_ours(&node);
        let retrievers = RemoteCredentialRetrieverCreator::new_extended(
            context.new_detached("retrievers", AllowAll, AllowAll).unwrap(),
            tcp.clone(),
            crates.clone(),
            RemoteCredentialRetrieverInfo::create_for_project_member(
                authority.identifier(),
                route![(TCP, at.to_string()), "api"],
            ),
            "members".into(),
            RemoteCredentialRetrieverTimingOptions {
                clock_skew_gap: TimestampInSeconds(SKEW),
                // Its last good second is the one before.
                proactive_refresh_gap: TimestampInSeconds(DEFAULT_CREDENTIAL_SECONDS - 1 - SKEW - INTERVAL),
                ..RemoteCredentialRetrieverTimingOptions::default()
            },
        );
        let options =
            SecureChannelOptions::new().with_credential_retriever_creator(Arc::new(retrievers)).unwrap();
        let connection = tcp.connect(socket.to_string(), TcpConnectionOptions::new()).await.unwrap();
        let channel =
            crates.create_secure_channel(&context, &bob, route![connection, "api"], options).await.unwrap();
        let mut becomes = async |wanted: bool, role: &str| {
            for _ in 0..600 {
                if asked.of(they_ask(&context, channel.encryptor_address())).await == wanted {
                    assert_eq!(seen.roles(&bob), [role]);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("our node never hears of `{role}`");
        };
        becomes(false, "guest").await;
        enroller.add(&bob, &[("role", "member")]).await.unwrap();
        becomes(true, "member").await;
        enroller.add(&bob, &[("role", "suspended")]).await.unwrap();
        becomes(false, "suspended").await;
        node.stop().await;
        door.close().await;
    });
}
