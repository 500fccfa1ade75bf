//! What the tests with the published crates at the other end share: a node of theirs, identities of either side with keys of
//! either kind, one after the other.

#![allow(dead_code, reason = "not every test needs all of it")]

pub(crate) mod guarded;
pub(crate) mod nodes;

use std::sync::Arc;

use channel::Presentation;
use identity::{
    Clock as _, Credential, Identity, PurposeKey, PurposeKeyAttestation, Rotation, SystemClock, Timestamp,
    Validity,
};
use ockam_identity::SecureChannels;
use ockam_identity::models::Identifier;
use ockam_node::{Context, NodeBuilder};
use ockam_vault::SigningKeyType;
use vault::soft::SoftVault;
use vault::{Agreer, Algorithm, KeyName, KeySpec, Signer, Vault};

/// Round trips through each channel: 37 changes of keys in each direction.
pub(crate) const ROUND_TRIPS: usize = 1200;

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Runs a test inside a node of theirs, and ends the node.
pub(crate) fn in_node<F: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) {
    // By itself it ends the process at a panic, and what the panic says is lost.
    let (context, mut executor) = NodeBuilder::new().no_logging().no_exit_on_panic().build();
    let outcome = executor.execute(async move {
        let context = Arc::new(context);
        let test = tokio::spawn(test(Arc::clone(&context)));
        let outcome = test.await.map_err(|failed| failed.to_string());
        context.shutdown_node().await.unwrap();
        outcome
    });
    outcome.unwrap().unwrap();
}

/// Our side.
pub(crate) struct Ours {
    pub(crate) identity: Identity,
    pub(crate) primary: Signer,
    pub(crate) attestation: PurposeKeyAttestation,
    pub(crate) key: Agreer,
    pub(crate) credentials: Vec<Credential>,
}

pub(crate) async fn signer(vault: &Arc<dyn Vault>, algorithm: Algorithm, at: usize) -> Signer {
    let name = KeyName::new(&format!("primary-{at}")).unwrap();
    let spec = if algorithm == Algorithm::EcdsaP256 { KeySpec::p256(name) } else { KeySpec::ed25519(name) };
    let key = vault.signing().unwrap().generate(&spec).await.unwrap();
    Signer::bind(Arc::clone(vault), key).unwrap()
}

impl Ours {
    pub(crate) async fn new(keys: &[Algorithm]) -> Self {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let mut primary = signer(&vault, keys[0], 0).await;
        let mut identity = Identity::create(&primary, Validity::of_primary_key(now())).await.unwrap();
        for (at, algorithm) in keys.iter().enumerate().skip(1) {
            let new = signer(&vault, *algorithm, at).await;
            let rotation = Rotation { valid: Validity::of_primary_key(now()), revoke_purpose_keys: false };
            identity = identity.rotate(&primary, &new, rotation).await.unwrap();
            primary = new;
        }
        let spec = KeySpec::x25519(KeyName::new("channel").unwrap());
        let key = vault.agreement().unwrap().generate(&spec).await.unwrap();
        let key = Agreer::bind(vault, key).unwrap();
        let purpose = PurposeKey::Channel(key.public().clone());
        let valid = Validity::starting(now(), 3600);
        let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await.unwrap();
        Self { identity, primary, attestation, key, credentials: vec![] }
    }

    pub(crate) fn shown(&self) -> Presentation {
        assert_eq!(self.primary.public(), self.identity.latest().primary_key());
        Presentation::new(&self.identity, &self.attestation, &self.credentials, now()).unwrap()
    }

    pub(crate) fn identifier(&self) -> Identifier {
        Identifier::try_from(self.identity.identifier().to_string().as_str()).unwrap()
    }
}

/// Their type of keys is no `Clone`.
pub(crate) fn same(key: &SigningKeyType) -> SigningKeyType {
    match key {
        SigningKeyType::EdDSACurve25519 => SigningKeyType::EdDSACurve25519,
        SigningKeyType::ECDSASHA256CurveP256 => SigningKeyType::ECDSASHA256CurveP256,
    }
}

/// An identity of theirs with these keys, one after the other.
pub(crate) async fn theirs(crates: &SecureChannels, keys: &[SigningKeyType]) -> Identifier {
    let creation = crates.identities().identities_creation();
    let identifier = creation.identity_builder().with_random_key(same(&keys[0])).build().await.unwrap();
    for key in &keys[1..] {
        let options = creation.identity_builder().with_random_key(same(key)).build_options().await.unwrap();
        creation.rotate_identity_with_options(&identifier, options).await.unwrap();
    }
    identifier
}

pub(crate) fn ours_of(identifier: &Identifier) -> identity::Identifier {
    identifier.to_string().parse().unwrap()
}

pub(crate) const ED25519: SigningKeyType = SigningKeyType::EdDSACurve25519;
pub(crate) const P256: SigningKeyType = SigningKeyType::ECDSASHA256CurveP256;

/// Keys of ours beside keys of theirs.
pub(crate) const PAIRS: [(&[Algorithm], &[SigningKeyType]); 4] = [
    (&[Algorithm::Ed25519], &[ED25519]),
    (&[Algorithm::EcdsaP256], &[ED25519, P256]),
    (&[Algorithm::Ed25519, Algorithm::EcdsaP256], &[P256]),
    (&[Algorithm::EcdsaP256, Algorithm::Ed25519, Algorithm::Ed25519], &[P256, ED25519, P256]),
];
