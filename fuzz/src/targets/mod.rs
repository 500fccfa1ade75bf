//! The targets. Each takes any bytes, and panics when something that has to hold of them does not.

mod channels;
mod control;
mod evidence;
mod http;
mod identities;
mod stored;
mod texts;

pub use channels::{channel_message, handshake_payload, multiaddr, node_frame, service_request};
pub use control::control;
pub use evidence::key_attestation;
pub use http::{http_bodies, http_headers};
pub use identities::{
    change_history, credential, issuer_bundle, purpose_key_attestation, request_key_attestation,
};
pub use stored::{audit_log, control_socket, home_records, store_records, vault_files};
pub use texts::{key_uri, policy, ticket_text};

pub(crate) fn prepare() {
    identities::prepare();
    texts::prepare();
}

/// Decoding what was written from what was decoded gives the same: no value reads as another than it was written from.
fn written_again<T: PartialEq + std::fmt::Debug + ?Sized>(
    first: &T,
    decode: impl FnOnce(&T) -> Option<Box<T>>,
) {
    let again = decode(first).expect("what was written does not decode");
    assert_eq!(*again, *first, "what was written decodes to something else");
}
