//! Every order of messages and answers up to six: only the one that is right opens a channel, and what is refused changes
//! nothing.

use vault::{Algorithm, SecretBytes, block_on};

use crate::tests::{Party, START, drivers, opened, seed, sent};
use crate::{AnyPeer, Handshake, HandshakeError, Misuse, PeerFault, Step};

const LENGTH: u32 = 6;

/// What can happen to a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    First,
    Second,
    Third,
    /// The message that the machine is made for, with one bit changed.
    Altered,
    /// The agreement with the genuine peer.
    Agreed,
    /// An answer that no agreement gives.
    NoAgreement,
}

const EVENTS: [Event; 6] =
    [Event::First, Event::Second, Event::Third, Event::Altered, Event::Agreed, Event::NoAgreement];

/// What both sides said, and agreed on, in the one right handshake. With the same randomness it is always the same.
struct Transcript {
    messages: [Vec<u8>; 3],
    by_initiator: SecretBytes,
    by_responder: SecretBytes,
}

fn transcript(initiator: &Party, responder: &Party) -> Transcript {
    let (mut one, mut two, first) = drivers(initiator, responder);
    let second = sent(block_on(two.receive(&first, START, &AnyPeer)).unwrap());
    let third = opened(block_on(one.receive(&second, START, &AnyPeer)).unwrap()).0.unwrap();
    let key = |message: &[u8]| vault::AgreementKey::X25519(*message.first_chunk().unwrap());
    let by_initiator = block_on(initiator.key.agree(&key(&second))).unwrap();
    let by_responder = block_on(responder.key.agree(&key(&first))).unwrap();
    Transcript { messages: [first, second, third], by_initiator, by_responder }
}

/// What a step led to, in the words of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Misuse,
    Agree,
    Send,
    Open,
}

fn outcome(result: Result<Step, HandshakeError>) -> Outcome {
    match result {
        Ok(Step::Agree(_)) => Outcome::Agree,
        Ok(Step::Send(_)) => Outcome::Send,
        Ok(Step::Open(..)) => Outcome::Open,
        Err(HandshakeError::Peer(_) | HandshakeError::Us(_)) => Outcome::Refused,
        Err(HandshakeError::Caller(Misuse::NoMessageExpected | Misuse::NoAgreementExpected)) => {
            Outcome::Misuse
        }
        Err(error) => panic!("{error}"),
    }
}

/// The states of either side, without what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Waiting,
    Agreeing { genuine: bool },
    Answered { genuine: bool },
    Done,
}

impl Model {
    fn next(self, event: Event, initiates: bool) -> (Self, Outcome) {
        let message = !matches!(event, Event::Agreed | Event::NoAgreement);
        match (self, event) {
            (Self::Waiting, Event::Second) if initiates => (Self::Agreeing { genuine: true }, Outcome::Agree),
            // The first message proves nothing: any 32 bytes may be one.
            (Self::Waiting, _) if message && !initiates => {
                (Self::Agreeing { genuine: event == Event::First }, Outcome::Agree)
            }
            (Self::Agreeing { .. }, Event::Agreed) if initiates => (Self::Done, Outcome::Open),
            (Self::Agreeing { genuine }, Event::Agreed) => (Self::Answered { genuine }, Outcome::Send),
            (Self::Agreeing { .. }, Event::NoAgreement) => (self, Outcome::Refused),
            (Self::Answered { genuine: true }, Event::Third) => (Self::Done, Outcome::Open),
            (Self::Waiting | Self::Answered { .. }, _) if message => (self, Outcome::Refused),
            _ => (self, Outcome::Misuse),
        }
    }
}

/// Puts every sequence of events to a fresh machine beside the model. How many opened a channel.
fn walk(transcript: &Transcript, initiates: bool, machine: impl Fn() -> Handshake) -> usize {
    let [first, second, third] = &transcript.messages;
    let mut altered = if initiates { second.clone() } else { third.clone() };
    *altered.last_mut().unwrap() ^= 1;
    let agreed = if initiates { &transcript.by_initiator } else { &transcript.by_responder };
    let mut established = 0;
    for sequence in 0..EVENTS.len().pow(LENGTH) {
        let (mut handshake, mut model) = (machine(), Model::Waiting);
        for place in 0..LENGTH {
            let event = EVENTS[sequence / EVENTS.len().pow(place) % EVENTS.len()];
            let result = match event {
                Event::First => handshake.receive(first, START, &AnyPeer),
                Event::Second => handshake.receive(second, START, &AnyPeer),
                Event::Third => handshake.receive(third, START, &AnyPeer),
                Event::Altered => handshake.receive(&altered, START, &AnyPeer),
                Event::Agreed => handshake.agreed(agreed),
                Event::NoAgreement => handshake.agreed(&SecretBytes::new(vec![1; 31])),
            };
            let (next, expected) = model.next(event, initiates);
            assert_eq!(outcome(result), expected, "{sequence}: {event:?} at {place} in {model:?}");
            established += usize::from(expected == Outcome::Open);
            model = next;
        }
    }
    established
}

#[test]
fn only_the_right_order_opens_the_initiators_channel() {
    let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::Ed25519));
    let transcript = transcript(&initiator, &responder);
    let shown = initiator.shown();
    let opened = walk(&transcript, true, || Handshake::initiate(shown.clone(), &seed(1)).unwrap().0);
    assert!(opened > 1000, "{opened}");
}

#[test]
fn only_the_right_order_opens_the_responders_channel() {
    let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::Ed25519));
    let transcript = transcript(&initiator, &responder);
    let shown = responder.shown();
    let opened = walk(&transcript, false, || Handshake::respond(shown.clone(), &seed(2)).unwrap());
    assert!(opened > 1000, "{opened}");
}

#[test]
fn a_genuine_message_is_taken_after_any_number_of_forged_ones() {
    let (initiator, responder) = (Party::new(Algorithm::Ed25519), Party::new(Algorithm::EcdsaP256));
    let (mut one, mut two, first) = drivers(&initiator, &responder);
    let second = sent(block_on(two.receive(&first, START, &AnyPeer)).unwrap());
    let forge = |message: &[u8], at: usize| {
        let mut forged = message.to_vec();
        let length = forged.len();
        forged[at * 7 % length] ^= 0x10;
        forged
    };
    for at in 0..60 {
        let refused = block_on(one.receive(&forge(&second, at), START, &AnyPeer));
        assert!(matches!(refused, Err(HandshakeError::Peer(PeerFault::Rejected))));
    }
    let (third, mut to_responder) = opened(block_on(one.receive(&second, START, &AnyPeer)).unwrap());
    let third = third.unwrap();
    for at in 0..60 {
        let refused = block_on(two.receive(&forge(&third, at), START, &AnyPeer));
        assert!(matches!(refused, Err(HandshakeError::Peer(PeerFault::Rejected))));
    }
    let (_, mut to_initiator) = opened(block_on(two.receive(&third, START, &AnyPeer)).unwrap());
    let mut record = to_responder.seal(crate::Message::Close).unwrap();
    assert_eq!(to_initiator.open(&mut record).unwrap(), crate::Message::Close);
}
