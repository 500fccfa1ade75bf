//! The vectors of the reference's own tests and those that were computed from the rules by a program that is none of ours
//! (tests/vectors/channel.txt).

use super::*;
use crate::tests::{bytes, known};

/// The vectors `f` and `g` have Noise's own name for the protocol.
const STANDARD: [u8; 32] = *b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0";

fn ephemeral(first: u8) -> EphemeralKey {
    EphemeralKey::new(&counting(first)).unwrap()
}

/// 32 bytes that count up from `first`.
fn counting(first: u8) -> SecretBytes {
    SecretBytes::new((first..first + 32).collect())
}

/// Both ends of a handshake with the keys of the vectors, its three messages and the keys at the end.
fn handshake(name: &[u8; 32], payloads: [&[u8]; 3]) -> ([Vec<u8>; 3], [Keys; 2]) {
    // Static keys as ephemeral ones: known, and able to agree.
    let (initiator, responder) = (ephemeral(0), ephemeral(1));
    let (opened, one) = Opened::write(name, ephemeral(32), payloads[0]);
    let heard = Heard::read(name, &one).unwrap();
    let agreed = responder.agree(&heard.peer_ephemeral).unwrap();
    let (answered, two) = heard.write(ephemeral(65), responder.public(), &agreed, payloads[1]).unwrap();
    let (confirming, brought) = opened.read(&two).unwrap();
    assert_eq!(brought, Brought { static_key: *responder.public(), payload: payloads[1].to_vec() });
    let agreed = initiator.agree(&confirming.peer_ephemeral).unwrap();
    let (ours, three) = confirming.write(initiator.public(), &agreed, payloads[2]).unwrap();
    let (theirs, brought) = answered.read(&three).unwrap();
    assert_eq!(brought, Brought { static_key: *initiator.public(), payload: payloads[2].to_vec() });
    ([one, two, three], [ours, theirs])
}

/// What a key seals tells which key it is.
fn print(key: &RecordKey) -> [u8; TAG] {
    key.seal(0, b"which", &mut []).unwrap()
}

fn compare(messages: &[Vec<u8>; 3], vector: &str) {
    for (at, message) in messages.iter().enumerate() {
        let name = format!("{vector}-message-{}", at + 1);
        assert_eq!(hex::encode(message), known(&name), "{name}");
    }
}

#[test]
fn the_transcript_starts_with_the_name() {
    assert_eq!(hex::encode(Transcript::new(&STANDARD).0), known("transcript-standard-name"));
    assert_eq!(hex::encode(Transcript::new(&NAME).0), known("transcript-ockam-name"));
}

#[test]
fn handshakes_under_the_standard_name_are_those_of_the_reference() {
    compare(&handshake(&STANDARD, [b"", b"", b""]).0, "f");
    compare(&handshake(&STANDARD, [b"test_msg_0", b"test_msg_1", b"test_msg_2"]).0, "g");
}

#[test]
fn a_handshake_under_ockams_name_and_its_keys_are_known() {
    let (messages, keys) = handshake(&NAME, [b"", b"", b""]);
    compare(&messages, "ockam");
    for keys in keys {
        for (key, name) in [(keys.by_responder, "by-responder"), (keys.by_initiator, "by-initiator")] {
            let known = RecordKey::new(&bytes(known(&format!("ockam-key-{name}")))).unwrap();
            assert_eq!(print(&key), print(&known), "{name}");
        }
    }
}

/// Whatever is changed, cut or added: refused, and the genuine message is taken afterwards by the same state.
#[test]
fn no_altered_message_is_taken_and_none_changes_anything() {
    let responder = ephemeral(1);
    let (opened, one) = Opened::write(&NAME, ephemeral(32), b"");
    let heard = Heard::read(&NAME, &one).unwrap();
    let agreed = responder.agree(&heard.peer_ephemeral).unwrap();
    let (answered, two) = heard.write(ephemeral(65), responder.public(), &agreed, b"payload").unwrap();
    for altered in altered(&two) {
        assert!(opened.read(&altered).is_err());
    }
    let (confirming, _) = opened.read(&two).unwrap();
    let initiator = ephemeral(0);
    let agreed = initiator.agree(&confirming.peer_ephemeral).unwrap();
    let (_, three) = confirming.write(initiator.public(), &agreed, b"payload").unwrap();
    for altered in altered(&three) {
        assert!(answered.read(&altered).is_err());
    }
    answered.read(&three).unwrap();
}

fn altered(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..message.len() * 8).map(|bit| {
        let mut altered = message.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        altered
    });
    let cut = (0..message.len()).map(|length| message[..length].to_vec());
    flipped.chain(cut).chain([[message, &[0]].concat()])
}

#[test]
fn lengths_are_checked_before_anything_else() {
    assert!(matches!(Heard::read(&NAME, &[9; KEY - 1]), Err(Error::Length)));
    assert!(Heard::read(&NAME, &[9; MAX_MESSAGE]).is_ok());
    assert!(matches!(Heard::read(&NAME, &[9; MAX_MESSAGE + 1]), Err(Error::Length)));
    let (opened, _) = Opened::write(&NAME, ephemeral(32), b"");
    assert!(matches!(opened.read(&[9; OVERHEAD - 1]), Err(Error::Length)));
    assert!(matches!(opened.read(&[9; OVERHEAD]), Err(Error::Rejected)));
    assert!(matches!(opened.read(&[9; MAX_MESSAGE + 1]), Err(Error::Length)));
}

#[test]
fn ephemeral_and_static_keys_of_small_order_are_rejected() {
    let (opened, one) = Opened::write(&NAME, ephemeral(32), b"");
    let heard = Heard::read(&NAME, &one).unwrap();
    for point in crate::tests::SMALL_ORDER.map(bytes::<32>) {
        let mut two = vec![9; OVERHEAD];
        two[..KEY].copy_from_slice(&point);
        assert!(matches!(opened.read(&two), Err(Error::Rejected)));
        // As the initiator's ephemeral key.
        let weak = Heard::read(&NAME, &point).unwrap();
        let (agreed, own) = (counting(3), ephemeral(1));
        assert!(matches!(weak.write(ephemeral(65), own.public(), &agreed, b""), Err(Error::Rejected)));
        // As the responder's static key: what it "agrees" is known to everybody, so the message itself is right.
        let (_, two) = heard.write(ephemeral(65), &point, &SecretBytes::new(vec![0; 32]), b"").unwrap();
        assert!(matches!(opened.read(&two), Err(Error::Rejected)));
        // As the initiator's static key.
        let own = ephemeral(1);
        let agreed = own.agree(&heard.peer_ephemeral).unwrap();
        let (answered, two) = heard.write(ephemeral(65), own.public(), &agreed, b"").unwrap();
        let (confirming, _) = opened.read(&two).unwrap();
        let (_, three) = confirming.write(&point, &SecretBytes::new(vec![0; 32]), b"").unwrap();
        assert!(matches!(answered.read(&three), Err(Error::Rejected)));
    }
}
