//! Frames: what TCP carries (docs/formats.md, "nodes").
//!
//! ```text
//! once, by each side        01
//! each message              length, u32 big-endian ‖ CBOR of that length
//! CBOR                      [onward route, return route, payload: bstr, tracing: text]
//! ```

use channel::Route;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::message::{Message, cut};

/// The version of the protocol, the first byte of each side.
pub(super) const VERSION: u8 = 1;
/// The most bytes of a frame's CBOR.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

#[derive(Decode)]
struct FrameWire<'b> {
    #[n(0)]
    onward_route: Route,
    #[n(1)]
    return_route: Route,
    #[cbor(b(2), with = "minicbor::bytes")]
    payload: &'b [u8],
    #[b(3)]
    _tracing: Option<&'b str>,
}

/// A frame in pieces, so that the payload is not copied: its head and the payload. [`TAIL`] follows.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// What follows the payload: tracing that traces nothing, the text `{}`, which the reference always sends.
pub(super) const TAIL: [u8; 3] = *b"\x62{}";

impl Frame {
    /// The frame of a message, or nothing when it is too long: as a whole, or a route of it, which would end the connection
    /// at nodes that take no more than others.
    pub(super) fn new(message: Message) -> Option<Self> {
        if !message.onward_route.is_taken() || !message.return_route.is_taken() {
            return None;
        }
        let mut head = vec![0; size_of::<u32>()];
        let mut encoder = Encoder::new(&mut head);
        encoder.array(4).ok()?;
        message.onward_route.encode(&mut encoder, &mut ()).ok()?;
        message.return_route.encode(&mut encoder, &mut ()).ok()?;
        encoder.bytes_len(u64::try_from(message.payload.len()).ok()?).ok()?;
        let length = head.len() - size_of::<u32>() + message.payload.len() + TAIL.len();
        if length > MAX_FRAME {
            return None;
        }
        head.first_chunk_mut::<4>()?.copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        Some(Self { head, payload: message.payload })
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.payload.len() + TAIL.len()
    }
}

/// The message of a frame's CBOR, or nothing when it is none.
pub(crate) fn decode(frame: Vec<u8>) -> Option<(Route, Route, Vec<u8>)> {
    let wire: FrameWire<'_> = minicbor::decode(&frame).ok()?;
    let (onward, back) = (wire.onward_route, wire.return_route);
    // The payload lies within the frame.
    let start = wire.payload.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
    let length = wire.payload.len();
    Some((onward, back, cut(frame, start, length)?))
}

/// What stands before the payload of a frame, and how long both are.
pub(super) struct Head {
    pub(super) onward: Route,
    pub(super) back: Route,
    /// Its own length.
    pub(super) length: usize,
    /// That of the payload.
    pub(super) payload: usize,
    /// How many fields follow the payload.
    pub(super) fields: u64,
}

/// The head of a frame whose beginning this is; none when it does not end there, or is of a form that nobody writes.
pub(super) fn head(beginning: &[u8]) -> Option<Head> {
    let mut decoder = Decoder::new(beginning);
    let fields = decoder.array().ok()??.checked_sub(3)?;
    let (onward, back) = (decoder.decode().ok()?, decoder.decode().ok()?);
    // The head of a byte string: its type in three bits, and its length or how long that is.
    let at = decoder.position();
    let (first, rest) = beginning.get(at..)?.split_first()?;
    let (payload, more) = match first {
        0x58 => (u64::from(*rest.first()?), 1),
        0x59 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        0x5a => (u64::from(u32::from_be_bytes(*rest.first_chunk()?)), 4),
        _ => return None,
    };
    Some(Head { onward, back, length: at + 1 + more, payload: usize::try_from(payload).ok()?, fields })
}

/// Whether these are the fields that follow a payload: tracing, and whatever else.
pub(super) fn is_tail(bytes: &[u8], fields: u64) -> bool {
    let mut decoder = Decoder::new(bytes);
    let tracing = fields == 0 || decoder.decode::<Option<&str>>().is_ok();
    tracing && (1..fields).all(|_| decoder.skip().is_ok())
}

/// A frame without its length, in one piece.
#[cfg(feature = "fuzzing")]
pub(crate) fn encode(message: Message) -> Option<Vec<u8>> {
    let frame = Frame::new(message)?;
    Some([frame.head.get(size_of::<u32>()..)?, &frame.payload, &TAIL].concat())
}

#[cfg(test)]
mod tests {
    use channel::Address;

    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        [&frame.head[..], &frame.payload, &TAIL].concat()
    }

    #[test]
    fn a_frame_is_the_bytes_that_are_known() {
        let payload =
            hex::decode("358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254").unwrap();
        let onward = Route(vec![Address::local("api")]);
        let back = Route(vec![Address::local("00112233445566778899aabbccddeeff")]);
        let frame = Frame::new(Message::new(onward.clone(), back.clone(), payload.clone())).unwrap();
        let known = "000000528481820043617069818200582030303131323233333434353536363737383839396161626263636464656566665820358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254627b7d";
        assert_eq!(hex::encode(bytes(&frame)), known);
        assert_eq!(decode(bytes(&frame)[4..].to_vec()), Some((onward, back, payload)));
    }

    #[test]
    fn what_the_reference_takes_is_taken_and_the_rest_is_not() {
        for (hex, taken) in [
            ("8380804178", true),         // no tracing
            ("8480804178627b7d", true),   // as always
            ("84808041786178", true),     // tracing that is no JSON
            ("8580804178627b7d00", true), // a field more
            ("848080417800", false),      // tracing that is no text
            ("828080", false),            // no payload
            ("8380806178", false),        // text for a payload
            ("", false),
            ("ff", false),
            ("848080 5affffffff", false),
        ] {
            let bytes = hex::decode(hex.replace(' ', "")).unwrap();
            let decoded = decode(bytes);
            assert_eq!(decoded.is_some(), taken, "{hex}");
            if let Some((_, _, payload)) = decoded {
                assert_eq!(payload, b"x");
            }
        }
    }

    #[test]
    fn a_head_is_that_of_the_frame() {
        let (onward, back) = (Route(vec![Address::local("api")]), Route(vec![Address::local("x")]));
        for length in [24, 255, 256, 65_535, 65_536, 70_000] {
            let message = Message::new(onward.clone(), back.clone(), vec![7; length]);
            let written = bytes(&Frame::new(message).unwrap())[4..].to_vec();
            let head = head(&written[..40]).unwrap();
            assert_eq!((&head.onward, &head.back, head.payload, head.fields), (&onward, &back, length, 1));
            let tail = &written[head.length + head.payload..];
            assert_eq!(tail, TAIL);
            assert!(is_tail(tail, 1) && is_tail(b"", 0) && is_tail(b"\xf6\x01", 2));
            assert!(!is_tail(b"", 1) && !is_tail(b"\x01", 1) && !is_tail(b"\x60", 2));
        }
        // What does not end there, what is of no definite length, and a short payload are left to the whole.
        for other in ["84818200", "9f8080", "84808041 78", "838080", "82808058", "8380805affff"] {
            assert!(head(&hex::decode(other.replace(' ', "")).unwrap()).is_none(), "{other}");
        }
    }

    #[test]
    fn routes_have_a_limit() {
        let route = |hops: usize, length| Route(vec![Address::local(vec![b'a'; length]); hops]);
        for (hops, length, fits) in [
            (channel::MAX_HOPS, 1, true),
            (channel::MAX_HOPS + 1, 1, false),
            (1, channel::MAX_ADDRESS, true),
            (1, channel::MAX_ADDRESS + 1, false),
        ] {
            let (few, many) = (route(1, 1), route(hops, length));
            for (onward, back) in [(many.clone(), few.clone()), (few, many)] {
                let frame = Frame::new(Message::new(onward, back, Vec::new()));
                assert_eq!(frame.is_some(), fits, "{hops} of {length}");
                assert!(frame.is_none_or(|frame| decode(bytes(&frame)[4..].to_vec()).is_some()));
            }
        }
    }

    #[test]
    fn frames_have_a_limit() {
        let frame = |length| Frame::new(Message::new(Route::default(), Route::default(), vec![0; length]));
        let around = frame(MAX_FRAME / 2).unwrap().len() - MAX_FRAME / 2 - 4;
        assert_eq!(frame(MAX_FRAME - around).unwrap().len(), MAX_FRAME + 4);
        assert!(frame(MAX_FRAME - around + 1).is_none());
    }
}
