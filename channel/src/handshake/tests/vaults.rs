//! The static key's vault fails, lies, or is not waited for: the handshake stays where it was, and no channel is open on
//! either side that the other could not open.

use std::future::Future as _;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use vault::{Algorithm, Kind, block_on};

use crate::tests::{Party, START, drivers, opened, sent};
use crate::{AnyPeer, Channel, Driver, HandshakeError, Message, Misuse, PeerFault, Progress};

/// Receives, and asks again each time the vault fails. How often it failed.
fn persistently(driver: &mut Driver, message: &[u8]) -> (Progress, usize) {
    let mut result = block_on(driver.receive(message, START, &AnyPeer));
    for failures in 0.. {
        match result {
            Ok(progress) => return (progress, failures),
            Err(HandshakeError::Us(error)) => assert_eq!(error.kind(), Kind::Unavailable),
            Err(error) => panic!("{error}"),
        }
        // A message that comes meanwhile is not for now, and changes nothing.
        let early = block_on(driver.receive(message, START, &AnyPeer));
        assert!(matches!(early, Err(HandshakeError::Caller(Misuse::NoMessageExpected))));
        result = block_on(driver.resume());
    }
    unreachable!()
}

fn works(mut one: Channel, mut two: Channel) {
    let mut record = two.seal(Message::Close).unwrap();
    assert_eq!(one.open(&mut record).unwrap(), Message::Close);
    let mut record = one.close().unwrap();
    assert_eq!(two.open(&mut record).unwrap(), Message::Close);
}

/// Each side asks its vault once. It fails at that call and at the next ones, `n` times in all, on each side.
#[test]
fn a_handshake_goes_on_after_its_vaults_have_failed() {
    for (first_fails, second_fails) in (0..4).flat_map(|one| (0..4).map(move |two| (one, two))) {
        let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::EcdsaP256));
        initiator.vault.failures.store(first_fails, Ordering::SeqCst);
        responder.vault.failures.store(second_fails, Ordering::SeqCst);
        let (mut one, mut two, first) = drivers(&initiator, &responder);
        let (progress, failed) = persistently(&mut two, &first);
        assert_eq!(failed, second_fails);
        let (progress, failed) = persistently(&mut one, &sent(progress));
        assert_eq!(failed, first_fails);
        let (third, to_responder) = opened(progress);
        let (progress, failed) = persistently(&mut two, &third.unwrap());
        assert_eq!(failed, 0);
        works(to_responder, opened(progress).1);
        for (party, failures) in [(&initiator, first_fails), (&responder, second_fails)] {
            assert_eq!(party.vault.asked.load(Ordering::SeqCst), failures + 1);
        }
        // At the end there is nothing more to ask, and nothing more to say.
        for driver in [&mut one, &mut two] {
            let again = block_on(driver.resume());
            assert!(matches!(again, Err(HandshakeError::Caller(Misuse::NoAgreementExpected))));
            let again = block_on(driver.receive(&first, START, &AnyPeer));
            assert!(matches!(again, Err(HandshakeError::Caller(Misuse::NoMessageExpected))));
        }
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_asked_for_again() {
    let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::Ed25519));
    let (mut one, mut two, first) = drivers(&initiator, &responder);
    give_up(&mut two, &responder, &first);
    let second = sent(block_on(two.resume()).unwrap());
    give_up(&mut one, &initiator, &second);
    let (third, to_responder) = opened(block_on(one.resume()).unwrap());
    let progress = block_on(two.receive(&third.unwrap(), START, &AnyPeer)).unwrap();
    works(to_responder, opened(progress).1);
}

/// Receives, and does not wait for a vault that takes its time.
fn give_up(driver: &mut Driver, party: &Party, message: &[u8]) {
    party.vault.stuck.store(true, Ordering::SeqCst);
    let mut pending = std::pin::pin!(driver.receive(message, START, &AnyPeer));
    assert!(pending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    party.vault.stuck.store(false, Ordering::SeqCst);
}

#[test]
fn what_a_vault_answers_is_checked() {
    for length in [0, 31, 32, 33, 64] {
        let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::Ed25519));
        let (mut one, mut two, first) = drivers(&initiator, &responder);
        responder.vault.zeros.store(length, Ordering::SeqCst);
        let refused = block_on(two.receive(&first, START, &AnyPeer)).unwrap_err();
        // 32 zeros are what a key of small order gives; any other length is what a device is to blame for.
        assert_eq!(matches!(refused, HandshakeError::Peer(PeerFault::Rejected)), length == 32);
        assert_eq!(matches!(refused, HandshakeError::Us(_)), length != 32);
        responder.vault.zeros.store(usize::MAX, Ordering::SeqCst);
        let second = sent(block_on(two.resume()).unwrap());
        initiator.vault.zeros.store(length, Ordering::SeqCst);
        assert!(block_on(one.receive(&second, START, &AnyPeer)).is_err(), "{length}");
        initiator.vault.zeros.store(usize::MAX, Ordering::SeqCst);
        let (third, to_responder) = opened(block_on(one.resume()).unwrap());
        let progress = block_on(two.receive(&third.unwrap(), START, &AnyPeer)).unwrap();
        works(to_responder, opened(progress).1);
    }
}

#[test]
fn a_peer_key_of_small_order_is_the_peers_fault() {
    for point in crate::tests::SMALL_ORDER.map(crate::tests::bytes::<32>) {
        let (_, mut two, _) = drivers(&Party::new(Algorithm::Ed25519), &Party::new(Algorithm::Ed25519));
        let refused = block_on(two.receive(&point, START, &AnyPeer));
        assert!(matches!(refused, Err(HandshakeError::Peer(PeerFault::Rejected))));
    }
}
