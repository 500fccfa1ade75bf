//! Opening channels, and what goes through them over TCP, beside the published crates and beside what the cryptography alone
//! costs.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use channel::{AnyPeer, Driver, Progress};
use identity::{Clock, SystemClock};
use vault::{Algorithm, SecretBytes};

use super::nodes::{Ours, TheirHandshakes, Theirs};
use super::party::Somebody;
use super::raw::RawSigner;
use super::wire::{Sealer, Wire};
use super::{MESSAGE, Row, must};
use crate::contender::Runner;
use crate::{Contender, Result};

/// Sizes of what goes there and back.
const ROUND_TRIPS: [(usize, &str); 2] = [(64, "64 B"), (1024, "1 KiB")];
/// The size of what goes one way.
const BULK: usize = 64 * 1024;

pub(super) fn rows(wants: &impl Fn(&str) -> bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let name = "open a channel, ed25519, both sides in one process";
    if wants(name) {
        rows.push(handshakes(name)?);
    }
    for (size, text) in ROUND_TRIPS {
        let name = format!("round trip of {text} through a channel over TCP");
        if wants(&name) {
            rows.push(round_trips(name, size)?);
        }
    }
    let name = "64 KiB through a channel over TCP, one way";
    if wants(name) {
        rows.push(bulk(name)?);
    }
    Ok(rows)
}

/// Three messages: four agreements and a key on each side; a history and an attestation of the other are verified.
async fn open(alice: &Somebody, bob: &Somebody) -> Result<(channel::Channel, channel::Channel)> {
    let now = SystemClock.now();
    let random = || SecretBytes::random(32);
    let (mut initiator, first) = Driver::initiate(alice.shown(), alice.key(), &random()?)?;
    let mut responder = Driver::respond(bob.shown(), bob.key(), &random()?)?;
    let Progress::Send(second) = responder.receive(&first, now, &AnyPeer).await? else {
        return Err("the responder has nothing to say".into());
    };
    let Progress::Open(Some(third), to_bob) = initiator.receive(&second, now, &AnyPeer).await? else {
        return Err("the initiator is not open".into());
    };
    let Progress::Open(None, to_alice) = responder.receive(&third, now, &AnyPeer).await? else {
        return Err("the responder is not open".into());
    };
    Ok((*to_bob, *to_alice))
}

fn handshakes(name: &str) -> Result<Row> {
    let ours = {
        let (alice, bob) = (Somebody::new(Algorithm::Ed25519)?, Somebody::new(Algorithm::Ed25519)?);
        Contender::awaited(
            "channel: Driver, three messages",
            Runner::Plain,
            async move || open(&alice, &bob).await,
            |(mut to_bob, mut to_alice)| {
                let mut record = to_bob.seal(channel::Message::Close)?;
                must(to_alice.open(&mut record)? == channel::Message::Close, "the sides have other keys")
            },
        )
    };
    let peer = {
        let theirs = TheirHandshakes::new()?;
        Contender::awaited(
            "ockam_identity: create_secure_channel, and its end",
            Runner::Tokio(Arc::clone(&theirs.runtime)),
            async move || theirs.open().await,
            Ok,
        )
    };
    let bound = {
        let key = RawSigner::new(Algorithm::Ed25519)?;
        let (check, signature) = (key.verifier(), key.sign(&MESSAGE));
        let peer = [9; 32];
        Contender::called(
            "bound: 2 × make and 6 × agree, X25519 of aws-lc; 4 × verify of ed25519-dalek",
            move || {
                for side in 0..2_u8 {
                    let own = PrivateKey::from_private_key(&X25519, &[side.wrapping_add(7); 32])?;
                    black_box(own.compute_public_key()?);
                    for _ in 0..3 {
                        let peer = UnparsedPublicKey::new(&X25519, black_box(&peer));
                        agree(&own, peer, "they do not agree", |secret| Ok(black_box(secret[0])))?;
                    }
                    for _ in 0..2 {
                        check.verify(black_box(&MESSAGE), &signature)?;
                    }
                }
                Ok(())
            },
            Ok,
        )
    };
    Ok(Row { name: name.to_owned(), contenders: vec![ours, peer, bound] })
}

fn round_trips(name: String, size: usize) -> Result<Row> {
    let payload = vec![0x5a; size];
    let ours = {
        let (nodes, payload, expected) = (Ours::new(0)?, payload.clone(), payload.clone());
        Contender::awaited(
            "node: ask",
            Runner::Tokio(Arc::clone(&nodes.runtime)),
            async move || nodes.round_trip(&payload).await,
            move |answer| must(answer == expected, "another answer"),
        )
    };
    let peer = {
        let (nodes, expected) = (Theirs::new()?, payload.clone());
        Contender::awaited(
            "ockam_node: send_and_receive",
            Runner::Tokio(Arc::clone(&nodes.runtime)),
            async move || nodes.round_trip(&payload).await,
            move |answer| must(answer == expected, "another answer"),
        )
    };
    Ok(Row { name, contenders: vec![ours, peer] })
}

fn bulk(name: &str) -> Result<Row> {
    let payload = vec![0x5a; BULK];
    let ours = {
        let (nodes, payload) = (Ours::new(0)?, payload.clone());
        let runtime = Arc::clone(&nodes.runtime);
        let nodes = Arc::new(nodes);
        Contender::batches("node: send", move |count| runtime.block_on(nodes.stream(&payload, count)))
    };
    let peer = {
        let nodes = Theirs::new()?;
        let runtime = Arc::clone(&nodes.runtime);
        Contender::batches("ockam_node: send", move |count| runtime.block_on(nodes.stream(&payload, count)))
    };
    let bound = {
        let (mut sealer, mut text) = (Sealer::new()?, vec![0x5a; BULK]);
        Contender::batches("bound: AES-256-GCM of aws-lc, sealing in place, one core", move |count| {
            for _ in 0..count {
                black_box(sealer.seal(black_box(&mut text))?);
            }
            Ok(())
        })
    };
    let mut bare = Wire::new(BULK, false)?;
    let bare = Contender::batches("bound: two threads and TCP, not sealed", move |count| bare.stream(count));
    let mut sealed = Wire::new(BULK, true)?;
    let sealed = Contender::batches("bound: two threads and TCP, sealed and opened", move |count| {
        sealed.stream(count)
    });
    Ok(Row { name: name.to_owned(), contenders: vec![ours, peer, bound, bare, sealed] })
}
