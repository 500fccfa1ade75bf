//! Channels between identities whose keys lie in different vaults: the static key of a channel in a token agrees there,
//! and the records are the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::sync::Arc;

use channel::{AnyPeer, Channel, Driver, HandshakeError, Message, Only, Presentation, Progress};
use identity::{Identity, PurposeKey, PurposeKeyAttestation, Timestamp, Validity};
use ockam_kms_tests::softhsm::SoftHsm;
use pkcs11::Pkcs11Backend;
use vault::soft::SoftVault;
use vault::{
    AgreementKey, Agreer, KeyName, KeySpec, Kind, Nobody, Registry, SecretBytes, Signer, Vault, block_on,
};

const NOW: Timestamp = Timestamp(1_790_000_000);

struct Party {
    identity: Identity,
    shown: Presentation,
    key: Agreer,
}

fn party(vault: &Arc<dyn Vault>, name: &str) -> Party {
    let named = |what: &str| KeyName::new(&format!("{name}-{what}")).unwrap();
    block_on(async {
        let primary = vault.signing().unwrap().generate(&KeySpec::p256(named("primary"))).await.unwrap();
        let primary = Signer::bind(Arc::clone(vault), primary).unwrap();
        let key = vault.agreement().unwrap().generate(&KeySpec::x25519(named("channel"))).await.unwrap();
        let key = Agreer::bind(Arc::clone(vault), key).unwrap();
        let identity = Identity::create(&primary, Validity::of_primary_key(NOW)).await.unwrap();
        let purpose = PurposeKey::Channel(key.public().clone());
        let valid = Validity::starting(NOW, 3600);
        let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await.unwrap();
        let shown = Presentation::new(&identity, &attestation, &[], NOW).unwrap();
        Party { identity, shown, key }
    })
}

fn random() -> SecretBytes {
    SecretBytes::random(32).unwrap()
}

fn opened(progress: Progress) -> (Option<Vec<u8>>, Channel) {
    match progress {
        Progress::Open(message, channel) => (message, *channel),
        Progress::Send(_) => panic!("the channel is not open yet"),
    }
}

fn shake(one: &Party, two: &Party) -> (Channel, Channel) {
    let (mut initiator, first) = Driver::initiate(one.shown.clone(), one.key.clone(), &random()).unwrap();
    let mut responder = Driver::respond(two.shown.clone(), two.key.clone(), &random()).unwrap();
    let trust = Only(vec![two.identity.identifier()]);
    block_on(async {
        let Progress::Send(second) = responder.receive(&first, NOW, &AnyPeer).await.unwrap() else {
            panic!()
        };
        let (third, to_two) = opened(initiator.receive(&second, NOW, &trust).await.unwrap());
        let (_, to_one) = opened(responder.receive(&third.unwrap(), NOW, &AnyPeer).await.unwrap());
        assert_eq!(to_one.peer().identifier(), one.identity.identifier());
        (to_two, to_one)
    })
}

#[test]
fn the_static_key_may_lie_in_a_token() {
    let Some(hsm) = SoftHsm::enter("the_static_key_may_lie_in_a_token") else { return };
    let registry = Registry::new().with(Pkcs11Backend::new());
    let token = block_on(registry.open(&hsm.init("t"), Arc::new(Nobody))).unwrap();
    let software: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let in_token = [party(&token, "one"), party(&token, "two")];
    let in_software = party(&software, "three");
    for (one, two) in
        [(&in_token[0], &in_software), (&in_software, &in_token[0]), (&in_token[0], &in_token[1])]
    {
        let (to_two, to_one) = shake(one, two);
        let ((_, mut seals, mut opens), (_, mut answers, mut hears)) = (to_two.split(), to_one.split());
        for at in 0..100_u8 {
            assert_eq!(hears.open_bytes(&mut seals.seal_bytes(&[at]).unwrap()).unwrap(), [at]);
            assert_eq!(opens.open_bytes(&mut answers.seal_bytes(&[at, 1]).unwrap()).unwrap(), [at, 1]);
        }
        assert_eq!(hears.open(&mut seals.close().unwrap()).unwrap(), Message::Close);
    }
}

#[test]
fn a_token_that_is_gone_leaves_the_handshake_where_it_was() {
    let Some(hsm) = SoftHsm::enter("a_token_that_is_gone_leaves_the_handshake_where_it_was") else { return };
    let registry = Registry::new().with(Pkcs11Backend::new());
    let token = block_on(registry.open(&hsm.init("t"), Arc::new(Nobody))).unwrap();
    let software: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let (one, two) = (party(&software, "one"), party(&token, "two"));
    let (_, first) = Driver::initiate(one.shown.clone(), one.key.clone(), &random()).unwrap();
    let mut responder = Driver::respond(two.shown.clone(), two.key.clone(), &random()).unwrap();
    block_on(two.key.clone().destroy()).unwrap();
    let Err(HandshakeError::Us(error)) = block_on(responder.receive(&first, NOW, &AnyPeer)) else {
        panic!("its key is gone");
    };
    assert_ne!(error.kind(), Kind::Rejected);
    assert!(matches!(block_on(responder.resume()), Err(HandshakeError::Us(_))));
}

#[test]
fn a_token_agrees_with_no_key_of_small_order() {
    let Some(hsm) = SoftHsm::enter("a_token_agrees_with_no_key_of_small_order") else { return };
    let registry = Registry::new().with(Pkcs11Backend::new());
    let token = block_on(registry.open(&hsm.init("t"), Arc::new(Nobody))).unwrap();
    let one = party(&token, "one");
    let mut responder = Driver::respond(one.shown.clone(), one.key.clone(), &random()).unwrap();
    assert!(matches!(
        block_on(responder.receive(&[0; 32], NOW, &AnyPeer)),
        Err(HandshakeError::Peer(_) | HandshakeError::Us(_))
    ));
    assert!(block_on(one.key.agree(&AgreementKey::X25519([0; 32]))).is_err());
}
