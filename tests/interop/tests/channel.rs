//! Channels with `ockam_identity` at the other end, each side in turn the initiator: identities of both kinds and rotated
//! ones, records across changes of keys, credentials, refresh and close.
//!
//! What would be a transport is a mailbox of theirs that holds the bytes: `wire`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use channel::{
    Address, AnyPeer, Channel, Driver, Message, Only, Payload, Peer, Progress, Renewed, Route, Trust,
};
use common::{ED25519, Ours, P256, PAIRS, ROUND_TRIPS, in_node, now, ours_of, theirs};
use identity::{Credential, Identity, IssuerBundle};
use ockam_core::{AllowAll, LocalMessage, NeutralMessage, route};
use ockam_identity::models::{CredentialSchemaIdentifier, Identifier};
use ockam_identity::secure_channels::secure_channels;
use ockam_identity::utils::AttributesBuilder;
use ockam_identity::{SecureChannelListenerOptions, SecureChannelOptions, TrustIdentifierPolicy};
use ockam_node::Context;
use vault::{Algorithm, SecretBytes};

/// A mailbox of a node of theirs.
fn mailbox(context: &Context, name: &str) -> Context {
    context.new_detached(name, AllowAll, AllowAll).unwrap()
}

/// Sends bytes as a transport would deliver them.
async fn put(wire: &Context, to: ockam_core::Route, back: ockam_core::Route, bytes: Vec<u8>) {
    let message = LocalMessage::new().with_onward_route(to).with_return_route(back).with_payload(bytes);
    wire.forward(message).await.unwrap();
}

/// What came, and the way back.
async fn take(wire: &mut Context) -> (Vec<u8>, ockam_core::Route) {
    let message = wire.receive::<NeutralMessage>().await.unwrap();
    (message.payload().to_vec(), message.return_route().clone())
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

/// We open a channel to the listener. The channel, and their address of it.
async fn initiate(ours: &Ours, trust: &dyn Trust, wire: &mut Context) -> (Channel, ockam_core::Route) {
    let (mut driver, first) = Driver::initiate(ours.shown(), ours.key.clone(), &random()).unwrap();
    put(wire, route!["listener"], route!["wire"], first).await;
    let (second, to) = take(wire).await;
    let (third, channel) = opened(driver.receive(&second, now(), trust).await.unwrap());
    put(wire, to.clone(), route!["wire"], third.unwrap()).await;
    (channel, to)
}

/// We answer who opens a channel to `wire`. The channel, and their address of it.
async fn respond(ours: &Ours, trust: &dyn Trust, wire: &mut Context) -> (Channel, ockam_core::Route) {
    let mut driver = Driver::respond(ours.shown(), ours.key.clone(), &random()).unwrap();
    let (first, to) = take(wire).await;
    let Progress::Send(second) = driver.receive(&first, now(), trust).await.unwrap() else {
        panic!("a message is needed");
    };
    put(wire, to.clone(), route!["wire"], second).await;
    let (third, _) = take(wire).await;
    (opened(driver.receive(&third, now(), trust).await.unwrap()).1, to)
}

/// Round trips from us to `service` and back, of many sizes.
async fn talk(channel: &mut Channel, to: &ockam_core::Route, wire: &mut Context, app: &mut Context) {
    for at in 0..ROUND_TRIPS {
        let said = vec![u8::try_from(at % 251).unwrap(); at % 97 * 31];
        let record = channel.seal(Message::Payload(Payload {
            onward_route: Route(vec![Address::local("service")]),
            return_route: Route(vec![Address::local("us")]),
            payload: &said,
        }));
        put(wire, to.clone(), route![], record.unwrap()).await;
        let message = app.receive::<NeutralMessage>().await.unwrap();
        assert_eq!(message.payload(), said, "{at}");
        let back = message.return_route().clone();
        app.send(back, NeutralMessage::from([&said[..], b"!"].concat())).await.unwrap();
        let (mut record, _) = take(wire).await;
        let Message::Payload(answer) = channel.open(&mut record).unwrap() else { panic!("it is no payload") };
        assert_eq!(answer.payload, [&said[..], b"!"].concat(), "{at}");
        assert_eq!(answer.onward_route, Route(vec![Address::local("us")]));
    }
}

#[test]
fn we_open_channels_to_the_published_crates() {
    for (our_keys, their_keys) in PAIRS {
        in_node(move |context| async move {
            let crates = secure_channels().await.unwrap();
            let (ours, bob) = (Ours::new(our_keys).await, theirs(&crates, their_keys).await);
            let (mut wire, mut app) = (mailbox(&context, "wire"), mailbox(&context, "service"));
            let options = SecureChannelListenerOptions::new()
                .with_trust_policy(TrustIdentifierPolicy::new(ours.identifier()));
            let listener =
                crates.create_secure_channel_listener(&context, &bob, "listener", options).unwrap();
            context.flow_controls().add_consumer(&"service".into(), listener.flow_control_id());
            let only_bob = Only(vec![ours_of(&bob)]);
            let (mut channel, to) = initiate(&ours, &only_bob, &mut wire).await;
            assert_eq!(channel.peer().identity().len(), their_keys.len());
            talk(&mut channel, &to, &mut wire, &mut app).await;
            // After our close they take nothing more: their worker is gone.
            put(&wire, to.clone(), route![], channel.close().unwrap()).await;
            let address = to.iter().next().unwrap().clone();
            for _ in 0..1000 {
                if !context.is_worker_registered_at(&address).unwrap() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("they still listen after the close");
        });
    }
}

#[test]
fn the_published_crates_open_channels_to_us() {
    for (our_keys, their_keys) in PAIRS {
        in_node(move |context| async move {
            let crates = secure_channels().await.unwrap();
            let (ours, alice) = (Ours::new(our_keys).await, theirs(&crates, their_keys).await);
            let (mut wire, mut app) = (mailbox(&context, "wire"), mailbox(&context, "service"));
            let options =
                SecureChannelOptions::new().with_trust_policy(TrustIdentifierPolicy::new(ours.identifier()));
            let (opener, at) = (Arc::clone(&crates), Arc::clone(&context));
            let asking = tokio::spawn({
                let alice = alice.clone();
                async move { opener.create_secure_channel(&at, &alice, route!["wire"], options).await.unwrap() }
            });
            let only_alice = Only(vec![ours_of(&alice)]);
            let (mut channel, to) = respond(&ours, &only_alice, &mut wire).await;
            let theirs = asking.await.unwrap();
            assert_eq!(channel.peer().identifier(), ours_of(&alice));
            context.flow_controls().add_consumer(&"service".into(), theirs.flow_control_id());
            talk(&mut channel, &to, &mut wire, &mut app).await;
            // Their close reaches us, and is the last that we take.
            crates.stop_secure_channel(&context, theirs.encryptor_address()).unwrap();
            let (mut record, _) = take(&mut wire).await;
            assert_eq!(channel.open(&mut record).unwrap(), Message::Close);
        });
    }
}

/// Takes the credentials of one issuer.
struct Of(Arc<IssuerBundle>);

impl Trust for Of {
    fn admits(&self, peer: &Peer) -> bool {
        peer.credentials(now()).any(|one| one.attributes().get("role") == Some("theirs"))
    }

    fn issuer(&self, identifier: &identity::Identifier) -> Option<Arc<IssuerBundle>> {
        (self.0.identifier() == *identifier).then(|| Arc::clone(&self.0))
    }
}

#[test]
fn credentials_go_both_ways_and_are_refreshed() {
    in_node(move |context| async move {
        let crates = secure_channels().await.unwrap();
        let mut ours = Ours::new(&[Algorithm::EcdsaP256]).await;
        let (bob, authority) = (theirs(&crates, &[ED25519]).await, theirs(&crates, &[P256]).await);
        let identities = crates.identities();
        identities
            .identities_verification()
            .import(Some(&ours.identifier()), ours.identity.as_bytes())
            .await
            .unwrap();
        let issue = async |subject: &Identifier, role: &str| {
            let attributes = AttributesBuilder::with_schema(CredentialSchemaIdentifier(1))
                .with_attribute(b"role".to_vec(), role.as_bytes().to_vec())
                .build();
            let creation = identities.credentials().credentials_creation();
            creation
                .issue_credential(&authority, subject, attributes, Duration::from_secs(600))
                .await
                .unwrap()
        };
        let decode = |issued: &ockam_identity::models::CredentialAndPurposeKey| {
            Credential::decode(&issued.encode_as_cbor_bytes().unwrap()).unwrap()
        };
        ours.credentials = vec![decode(&issue(&ours.identifier(), "ours").await)];
        let role = async |wanted: &str| {
            for _ in 0..1000 {
                let known = identities.identities_attributes();
                let found = known.get_attributes(&ours.identifier(), &authority).await.unwrap();
                let role = found.and_then(|found| found.attrs().get(&b"role"[..]).cloned());
                if role.as_deref() == Some(wanted.as_bytes()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("they never take `{wanted}`");
        };
        let (mut wire, mut app) = (mailbox(&context, "wire"), mailbox(&context, "service"));
        let options = SecureChannelListenerOptions::new()
            .with_authority(authority.clone())
            .with_credential(issue(&bob, "theirs").await)
            .unwrap();
        let listener = crates.create_secure_channel_listener(&context, &bob, "listener", options).unwrap();
        context.flow_controls().add_consumer(&"service".into(), listener.flow_control_id());
        let history = identities.export_identity(&authority).await.unwrap();
        let issuer = Arc::new(IssuerBundle::history_only(Identity::import(&history).unwrap()));
        let (mut channel, to) = initiate(&ours, &Of(issuer), &mut wire).await;
        assert!(channel.peer().set_aside().is_empty());
        role("ours").await;
        // New ones take their place.
        let renewed = Renewed::new(&ours.identity, &[decode(&issue(&ours.identifier(), "renewed").await)]);
        put(&wire, to.clone(), route![], channel.seal(renewed.unwrap().message()).unwrap()).await;
        role("renewed").await;
        talk(&mut channel, &to, &mut wire, &mut app).await;
    });
}

#[test]
fn whom_we_do_not_want_is_refused_before_our_last_message() {
    in_node(move |context| async move {
        let crates = secure_channels().await.unwrap();
        let (ours, bob) = (Ours::new(&[Algorithm::Ed25519]).await, theirs(&crates, &[ED25519]).await);
        let mut wire = mailbox(&context, "wire");
        let options = SecureChannelListenerOptions::new();
        crates.create_secure_channel_listener(&context, &bob, "listener", options).unwrap();
        let (mut driver, first) = Driver::initiate(ours.shown(), ours.key.clone(), &random()).unwrap();
        put(&wire, route!["listener"], route!["wire"], first).await;
        let (second, _) = take(&mut wire).await;
        assert!(driver.receive(&second, now(), &Only(vec![])).await.is_err());
        // It waits for the same message still.
        assert!(driver.receive(&second, now(), &AnyPeer).await.is_ok());
    });
}
