//! Credentials presented in channels, and what policies make of them.

use std::sync::Arc;

use channel::{AnyPeer, Peer, Renewed, Trust};
use identity::{
    Attributes, Credential, CredentialDraft, Identifier, IssuerBundle, PurposeKey, PurposeKeyAttestation,
    Timestamp, Validity,
};
use node::workers::Echo;
use node::{Address, Admission, ChannelOptions, Node, NodeOptions, Policies, Resource, Route, Runs};
use policy_lang::Policy;
use vault::soft::SoftVault;
use vault::{KeyName, KeySpec, Signer, Vault};

use crate::world::*;

/// An issuer and its credential key.
struct Issuer {
    somebody: Somebody,
    key: Signer,
    attestation: PurposeKeyAttestation,
}

impl Issuer {
    async fn new() -> Self {
        let somebody = Somebody::new().await;
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let key = KeySpec::ed25519(KeyName::new("credentials").unwrap());
        let key =
            Signer::bind(Arc::clone(&vault), vault.signing().unwrap().generate(&key).await.unwrap()).unwrap();
        let purpose = PurposeKey::Credential(key.public().clone());
        let valid = Validity::starting(now(), 3600);
        let attestation =
            PurposeKeyAttestation::attest(&somebody.identity, &somebody.primary, &purpose, valid)
                .await
                .unwrap();
        Self { somebody, key, attestation }
    }

    async fn issue(&self, subject: &Somebody, attributes: &[(&str, &str)], seconds: u64) -> Credential {
        let proof = self.attestation.verify(&self.somebody.identity, now()).unwrap();
        let attributes = Attributes::new(1, attributes.iter().copied()).unwrap();
        let draft =
            CredentialDraft::new(&self.attestation, &proof, &subject.identity, &attributes, now(), seconds);
        draft.unwrap().sign(&self.key).await.unwrap()
    }

    fn bundle(&self) -> Arc<IssuerBundle> {
        Arc::new(IssuerBundle::new(self.somebody.identity.clone(), vec![self.attestation.clone()]))
    }
}

/// Takes the credentials of one issuer.
struct Of(Arc<IssuerBundle>);

impl Trust for Of {
    fn admits(&self, _: &Peer) -> bool {
        true
    }

    fn issuer(&self, identifier: &Identifier) -> Option<Arc<IssuerBundle>> {
        (self.0.identifier() == *identifier).then(|| Arc::clone(&self.0))
    }
}

/// A node whose `echo` is guarded, and where it listens.
async fn guarded(trust: Of, policies: &Policies) -> (Node, std::net::SocketAddr) {
    let node = Node::new(NodeOptions::default());
    let (_, options) = options(trust).await;
    node.listen_channels(local("api"), options, Admission::local().tcp()).unwrap();
    let admission = Admission::local().tcp().of_listener(&local("api")).gate(policies.gate("echo", "echoer"));
    node.start_worker(local("echo"), Echo, admission, Runs::Inline).unwrap();
    let socket = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    (node, socket)
}

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

/// A channel of somebody who presents these credentials.
async fn present(n1: &Node, at: std::net::SocketAddr, somebody: Somebody) -> (Address, Route) {
    let options = ChannelOptions::new(Arc::new(somebody), Arc::new(AnyPeer));
    let inside = n1.resolve(&way(&[at], "/secure/api/service/echo"), Some(&options), WAIT).await.unwrap();
    (inside.channels[0].clone(), inside.route)
}

async fn reaches(n1: &Node, route: &Route) -> bool {
    n1.ask(route.clone(), b"may I".to_vec(), SHORT).await.is_ok()
}

#[tokio::test]
async fn what_credentials_say_decides() {
    let (issuer, other) = (Issuer::new().await, Issuer::new().await);
    let policies = Policies::with_default(policy("(= subject.has_credential true)"));
    let (_n2, at2) = guarded(Of(issuer.bundle()), &policies).await;
    let (n1, _) = node().await;
    let with = async |issuer: &Issuer, attributes: &[(&str, &str)]| {
        let mut somebody = Somebody::new().await;
        somebody.credentials = vec![issuer.issue(&somebody, attributes, 600).await];
        present(&n1, at2, somebody).await.1
    };
    let member = with(&issuer, &[("role", "member")]).await;
    let guest = with(&issuer, &[("role", "guest")]).await;
    let stranger = with(&other, &[("role", "member")]).await;
    let nobody = present(&n1, at2, Somebody::new().await).await.1;
    let plain = n1.resolve(&way(&[at2], "/service/echo"), None, WAIT).await.unwrap().route;
    let all = [&member, &guest, &stranger, &nobody, &plain];
    for (resource, text, reached) in [
        (None, "", [true, true, false, false, false]),
        (Some(Resource::Type("echoer".into())), "role=member", [true, false, false, false, false]),
        (Some(Resource::Name("other".into())), "(and true)", [true, false, false, false, false]),
        (Some(Resource::Name("echo".into())), "role=guest", [false, true, false, false, false]),
        (
            Some(Resource::Name("echo".into())),
            "(= subject.has_credential false)",
            [false, false, true, true, false],
        ),
        (Some(Resource::Name("echo".into())), "(= resource.id \"echo\")", [true, true, true, true, false]),
        (Some(Resource::Name("echo".into())), "(= action.id \"other\")", [false; 5]),
    ] {
        if let Some(resource) = resource {
            policies.set(resource, policy(text));
        }
        for (route, reached) in all.iter().zip(reached) {
            assert_eq!(reaches(&n1, route).await, reached, "{text}: {route:?}");
        }
    }
    // The policy of the type decides again when that of the name is gone.
    assert!(policies.remove(&Resource::Name("echo".into())));
    assert!(!policies.remove(&Resource::Name("echo".into())));
    assert_eq!((reaches(&n1, &member).await, reaches(&n1, &guest).await), (true, false));
    assert_eq!(policies.list().len(), 2);
}

#[tokio::test]
async fn without_any_policy_everybody_is_admitted_whom_the_worker_admits() {
    let issuer = Issuer::new().await;
    let (_n2, at2) = guarded(Of(issuer.bundle()), &Policies::default()).await;
    let (n1, _) = node().await;
    let plain = n1.resolve(&way(&[at2], "/service/echo"), None, WAIT).await.unwrap().route;
    assert!(reaches(&n1, &plain).await);
}

#[tokio::test]
async fn new_credentials_take_the_place_of_old_ones_and_end_in_time() {
    let issuer = Issuer::new().await;
    let policies = Policies::with_default(policy("role=member"));
    let (_n2, at2) = guarded(Of(issuer.bundle()), &policies).await;
    let (n1, _) = node().await;
    let somebody = Somebody::new().await;
    let identity = somebody.identity.clone();
    let guest = issuer.issue(&somebody, &[("role", "guest")], 600).await;
    let member = issuer.issue(&somebody, &[("role", "member")], 600).await;
    let brief = issuer.issue(&somebody, &[("role", "member")], 1).await;
    let (channel, route) = present(&n1, at2, somebody).await;
    assert!(!reaches(&n1, &route).await);
    let renew = async |credential: Credential| {
        let renewed = Renewed::new(&identity, &[credential]).unwrap();
        n1.renew_channel(&channel, &renewed).await.unwrap();
    };
    renew(member).await;
    assert!(reaches(&n1, &route).await);
    renew(guest).await;
    assert!(!reaches(&n1, &route).await);
    // One that ends while the channel stays counts until then.
    renew(brief.clone()).await;
    let end = brief.expires_at();
    let started = reaches(&n1, &route).await;
    assert!(started || now() > end);
    while now() <= Timestamp(end.0 + 1) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!reaches(&n1, &route).await);
}
