//! What a payload may be, and what is refused in it. Whoever sends one has agreed on keys, and is nobody yet.

use identity::Refusal;
use vault::{Algorithm, block_on};

use crate::tests::{Party, START, drivers, opened, seed, sent};
use crate::{AnyPeer, Driver, HandshakeError, PeerFault, Presentation};

/// How the initiator and the responder take a payload of a peer with this channel key.
fn taken(payload: &[u8], of: &Party) -> [Result<(), HandshakeError>; 2] {
    let one = Party::new(Algorithm::Ed25519);
    let forged = Presentation::forged(payload, of.key.public());
    let (mut initiator, _, first) = drivers(&one, of);
    let mut responder = Driver::respond(forged.clone(), of.key.clone(), &seed(2)).unwrap();
    let second = sent(block_on(responder.receive(&first, START, &AnyPeer)).unwrap());
    let by_initiator = block_on(initiator.receive(&second, START, &AnyPeer)).map(drop);
    let (mut initiator, first) = Driver::initiate(forged, of.key.clone(), &seed(1)).unwrap();
    let (_, mut responder, _) = drivers(of, &one);
    let second = sent(block_on(responder.receive(&first, START, &AnyPeer)).unwrap());
    let third = opened(block_on(initiator.receive(&second, START, &AnyPeer)).unwrap()).0.unwrap();
    [by_initiator, block_on(responder.receive(&third, START, &AnyPeer)).map(drop)]
}

fn parts(party: &Party) -> (Vec<u8>, Vec<u8>) {
    (party.identity.as_bytes().to_vec(), party.attestation.encode().unwrap())
}

#[test]
fn payloads_are_laid_out_as_documented() {
    let party = Party::new(Algorithm::Ed25519);
    let (history, attestation) = parts(&party);
    assert_eq!(party.shown().payload(), [&[0x83][..], &history, &attestation, &[0x80]].concat());
    // The size that the reference's has, and the sizes of its messages.
    assert_eq!(party.shown().payload().len(), 323);
    let (mut one, mut two, first) = drivers(&party, &Party::new(Algorithm::Ed25519));
    let second = sent(block_on(two.receive(&first, START, &AnyPeer)).unwrap());
    let (third, _) = opened(block_on(one.receive(&second, START, &AnyPeer)).unwrap());
    assert_eq!([first.len(), second.len(), third.unwrap().len()], [32, 419, 387]);
}

#[test]
fn other_encodings_of_the_same_are_taken() {
    let party = Party::new(Algorithm::EcdsaP256);
    let (history, attestation) = parts(&party);
    for (head, tail) in [
        (&[0x83][..], &[0x80][..]),
        (&[0x9f], &[0x80, 0xff]),
        (&[0x83], &[0x9f, 0xff]),
        (&[0x85], &[0x80, 0x01, 0xf6]),
        (&[0x98, 0x03], &[0x98, 0x00]),
        // A credential that cannot be read is set aside.
        (&[0x83], &[0x81, 0x01]),
    ] {
        for result in taken(&[head, &history, &attestation, tail].concat(), &party) {
            assert!(result.is_ok(), "{head:?} {tail:?}: {result:?}");
        }
    }
}

#[test]
fn what_is_no_payload_is_malformed() {
    let party = Party::new(Algorithm::Ed25519);
    let (history, attestation) = parts(&party);
    let good = party.shown().payload().to_vec();
    let seventeen = [&[0x91][..], &[0x01; 17]].concat();
    let deep = vec![0x81; 60_000];
    for payload in [
        vec![],
        vec![0xff],
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        [&[0x82][..], &history, &attestation].concat(),
        [&[0x83][..], &history, &attestation, &[0xf6]].concat(),
        [&[0x83][..], &history, &attestation, &seventeen].concat(),
        [&[0x83][..], &history, &attestation, &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
            .concat(),
        [&[0x83][..], &deep].concat(),
        deep.clone(),
    ] {
        for result in taken(&payload, &party) {
            assert!(matches!(result, Err(HandshakeError::Peer(PeerFault::Malformed))), "{result:?}");
        }
    }
}

#[test]
fn histories_and_attestations_are_verified() {
    let party = Party::new(Algorithm::Ed25519);
    let (mut rotated, other) = (party.clone(), Party::new(Algorithm::Ed25519));
    rotated.rotate(Algorithm::EcdsaP256);
    let (history, attestation) = parts(&party);
    let mut unsigned = history.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    let mut unattested = attestation.clone();
    *unattested.last_mut().unwrap() ^= 1;
    let foreign = other.attestation.encode().unwrap();
    for (history, attestation, refusal) in [
        (&vec![0x80], &attestation, Refusal::EmptyHistory),
        (&unsigned, &attestation, Refusal::Signature),
        (&history, &unattested, Refusal::Signature),
        (&history, &foreign, Refusal::OtherSubject),
        (&rotated.identity.as_bytes().to_vec(), &attestation, Refusal::NotLatestChange),
        (&history, &rotated.attestation.encode().unwrap(), Refusal::NotLatestChange),
    ] {
        for result in taken(&[&[0x83][..], history, attestation, &[0x80]].concat(), &party) {
            assert_eq!(result.expect_err("it is refused").refusal(), Some(refusal));
        }
    }
}

#[test]
fn an_attested_credential_key_is_no_channel_key() {
    let party = Party::new(Algorithm::Ed25519);
    let key = identity::PurposeKey::Credential(party.primary.public().clone());
    let valid = identity::Validity::starting(START, 60);
    let attestation = identity::PurposeKeyAttestation::attest(&party.identity, &party.primary, &key, valid);
    let attestation = block_on(attestation).unwrap().encode().unwrap();
    let payload = [&[0x83][..], party.identity.as_bytes(), &attestation, &[0x80]].concat();
    for result in taken(&payload, &party) {
        assert_eq!(result.expect_err("it is refused").refusal(), Some(Refusal::OtherPurpose));
    }
}
