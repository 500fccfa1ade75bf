//! Two nodes that present credentials to each other, and a policy that decides on what they say.
//!
//! ```sh
//! cargo run --example credentials
//! ```

#[path = "party/mod.rs"]
mod party;

use std::sync::Arc;
use std::time::Duration;

use channel::{Peer, Trust};
use identity::{
    Attributes, Clock, Credential, CredentialDraft, Identifier, Identity, IssuerBundle, MEMBER_SCHEMA,
    PurposeKey, PurposeKeyAttestation, SystemClock, Validity,
};
use node::workers::Echo;
use node::{Address, Admission, ChannelOptions, Node, NodeOptions, Policies, Resource, Runs};
use party::Party;
use policy_lang::Policy;
use vault::soft::SoftVault;
use vault::{KeyName, KeySpec, Signer, Vault};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Speaks to members alone, as one issuer says who is one.
struct Members(Arc<IssuerBundle>);

impl Trust for Members {
    fn admits(&self, peer: &Peer) -> bool {
        peer.credentials(SystemClock.now())
            .any(|credential| credential.attributes().get("member") == Some("true"))
    }

    fn issuer(&self, identifier: &Identifier) -> Option<Arc<IssuerBundle>> {
        (self.0.identifier() == *identifier).then(|| Arc::clone(&self.0))
    }
}

/// An issuer: an identity and a credential key that it attests.
struct Issuer {
    identity: Identity,
    key: Signer,
    attestation: PurposeKeyAttestation,
}

impl Issuer {
    async fn new() -> Result<Self> {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
        let signing = vault.signing().ok_or("the vault does not sign")?;
        let primary = signing.generate(&KeySpec::p256(KeyName::new("primary")?)).await?;
        let primary = Signer::bind(Arc::clone(&vault), primary)?;
        let key = signing.generate(&KeySpec::ed25519(KeyName::new("credentials")?)).await?;
        let key = Signer::bind(Arc::clone(&vault), key)?;
        let now = SystemClock.now();
        let identity = Identity::create(&primary, Validity::of_primary_key(now)).await?;
        let purpose = PurposeKey::Credential(key.public().clone());
        let valid = Validity::starting(now, 3600);
        let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await?;
        Ok(Self { identity, key, attestation })
    }

    async fn issue(&self, subject: &Identity, attributes: &[(&str, &str)]) -> Result<Credential> {
        let now = SystemClock.now();
        let proof = self.attestation.verify(&self.identity, now)?;
        let attributes = Attributes::new(MEMBER_SCHEMA, attributes.iter().copied())?;
        let draft = CredentialDraft::new(&self.attestation, &proof, subject, &attributes, now, 600)?;
        Ok(draft.sign(&self.key).await?)
    }
}

/// Who of the two reached the guarded service: the member with the site that the policy names, and the one without.
pub(crate) async fn run() -> Result<(bool, bool)> {
    let issuer = Issuer::new().await?;
    let trust = Arc::new(Members(Arc::new(IssuerBundle::history_only(issuer.identity.clone()))));

    // The node that decides. It presents a credential as well: whoever comes may ask for that.
    let node = Node::new(NodeOptions::default());
    let mut own = Party::new().await?;
    own.credentials = vec![issuer.issue(&own.identity, &[("member", "true")]).await?];
    let api = Address::local("api");
    let options = ChannelOptions::new(Arc::new(own), Arc::clone(&trust) as Arc<dyn Trust>);
    node.listen_channels(api.clone(), options, Admission::local().tcp())?;
    let policies = Policies::default();
    policies.set(Resource::Name("echo".into()), Policy::parse("site=oslo")?);
    let guarded = Admission::local().of_listener(&api).gate(policies.gate("echo", "echoer"));
    node.start_worker(Address::local("echo"), Echo, guarded, Runs::Inline)?;
    let at = node.listen_tcp("127.0.0.1:0".parse()?).await?.socket;
    let to = format!("/ip4/{}/tcp/{}/secure/api/service/echo", at.ip(), at.port()).parse()?;

    let mut reached = Vec::new();
    for site in ["oslo", "bern"] {
        let mut member = Party::new().await?;
        member.credentials =
            vec![issuer.issue(&member.identity, &[("member", "true"), ("site", site)]).await?];
        let client = Node::new(NodeOptions::default());
        let options = ChannelOptions::new(Arc::new(member), Arc::clone(&trust) as Arc<dyn Trust>);
        let wait = Duration::from_secs(10);
        let resolved = client.resolve(&to, Some(&options), wait).await?;
        // Who is refused sees silence; the reasons are in the log of who refused.
        let answer = client.ask(resolved.route.clone(), b"may I".to_vec(), Duration::from_secs(1)).await;
        reached.push(answer.is_ok());
        client.release(&resolved).await;
    }
    node.stop().await;
    Ok((reached.first() == Some(&true), reached.get(1) == Some(&true)))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (oslo, bern) = run().await?;
    println!("the member of Oslo reached the service: {oslo}; that of Bern: {bern}");
    Ok(())
}
