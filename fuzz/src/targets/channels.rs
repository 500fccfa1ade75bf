//! What nodes and channels read: frames, messages of records, what is presented in handshakes, and how ways are written.

use authority::fuzzing::{BODIES, service_body};
use node::multiaddr::MultiAddr;
use node::request::{ErrorBody, Request, Response};

use super::identities::NOW;
use super::written_again;
use crate::seeds;

/// What a record says is the same once written, and written again the same bytes.
pub fn channel_message(data: &[u8]) {
    let Some(written) = channel::fuzzing::message(data) else { return };
    written_again(&written[..], |bytes| channel::fuzzing::message(bytes).map(Vec::into_boxed_slice));
}

/// Whoever is presented holds the key that is attested, and is the identity whose attestation it is.
pub fn handshake_payload(data: &[u8]) {
    let key: [u8; 32] = hex::decode(seeds::CHANNEL_KEY).unwrap().try_into().unwrap();
    assert_eq!(channel::fuzzing::presented(data, &[7; 32], NOW), None, "a key that nobody attested");
    if let Some(identifier) = channel::fuzzing::presented(data, &key, NOW) {
        let one = "I3dd461c06600ec6bd4ac9197f9f65e0cea5b64e7a0e12275abfd4bc297aa3bbc";
        assert_eq!(identifier.to_string(), one, "an identity that did not attest the key");
    }
}

/// A frame is the same once written.
pub fn node_frame(data: &[u8]) {
    let Some((onward, back, payload)) = node::fuzzing::frame(data) else { return };
    let written = node::fuzzing::written(onward.clone(), back.clone(), payload.clone()).unwrap();
    assert_eq!(node::fuzzing::frame(&written), Some((onward, back, payload)));
}

/// Requests, answers and what is said of failures are the same once written; so are the bodies of the authority's services, each
/// by the number that the input begins with.
pub fn service_request(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let written = request.encode();
        assert_eq!(Request::decode(&written).unwrap(), request);
    }
    if let Ok(response) = Response::decode(data) {
        let written = response.encode();
        assert_eq!(Response::decode(&written).unwrap().body, response.body);
        let error = response.error();
        assert_eq!(ErrorBody::decode(&error.encode()), Some(error));
    }
    let Some((kind, body)) = data.split_first() else { return };
    let kind = usize::from(*kind) % BODIES;
    if let Some(written) = service_body(kind, body) {
        written_again(&written[..], |bytes| service_body(kind, bytes).map(Vec::into_boxed_slice));
    }
}

/// A way is the same once written.
pub fn multiaddr(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(way) = text.parse::<MultiAddr>() else { return };
    let again: MultiAddr = way.to_string().parse().unwrap();
    assert_eq!(again, way);
}
