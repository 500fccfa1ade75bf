//! See [`crate::fuzzing`].

use identity::Identifier;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handlers;
use super::problem::ProblemBody;
use super::sender::{self, Shown};
use super::shape::{
    AddMemberRequest, CredentialAnswer, DeletedAnswer, EnrolRequest, HealthAnswer, IssuerAnswer,
    MakeTicketRequest, ReadyAnswer, TicketAnswer,
};
use super::signature::{self, Covered, Draft, Received};
use crate::member::{Member, Page};
use crate::ticket::{Reference, Ticket};

/// How many kinds of requests have a body, as [`request`] numbers them.
pub const REQUESTS: usize = 3;
/// How many kinds of answers there are, as [`answer`] numbers them.
pub const ANSWERS: usize = DECODERS.len();

type Decoder = fn(&[u8]) -> Option<Vec<u8>>;

const DECODERS: [Decoder; 11] = [
    read::<IssuerAnswer>,
    read::<CredentialAnswer>,
    read::<DeletedAnswer>,
    read::<TicketAnswer>,
    read::<ReadyAnswer>,
    read::<HealthAnswer>,
    read::<ProblemBody>,
    read::<Member>,
    read::<Page<Member, Identifier>>,
    read::<Page<Identifier, Identifier>>,
    read::<Page<Ticket, Reference>>,
];

/// The body of a request, as the server reads it.
#[must_use]
pub fn request(kind: usize, body: &[u8]) -> Option<Vec<u8>> {
    match kind {
        0 => again(&handlers::decode::<EnrolRequest>(body).ok()?),
        1 => again(&handlers::decode::<AddMemberRequest>(body).ok()?),
        2 => again(&handlers::decode::<MakeTicketRequest>(body).ok()?),
        _ => None,
    }
}

/// The body of an answer, as the client reads it.
#[must_use]
pub fn answer(kind: usize, body: &[u8]) -> Option<Vec<u8>> {
    DECODERS.get(kind)?(body)
}

fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<Vec<u8>> {
    again(&serde_json::from_slice::<T>(body).ok()?)
}

fn again(value: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

/// The query of a list of members: as the query that it stands for.
#[must_use]
pub fn page(query: &str) -> Option<String> {
    let (after, limit) = handlers::decode_page::<Identifier>(query).ok()?;
    let after = after.map(|after| format!("after={after}&")).unwrap_or_default();
    Some(format!("{after}limit={limit}"))
}

/// The headers `Signature-Input` and `Signature`: the same as we write them, and the signature base.
#[must_use]
pub fn signature(input: &str, signature: &str) -> Option<(String, String, Vec<u8>)> {
    let received = Received::parse(input, signature).ok()?;
    let mut covered = Covered {
        method: "POST",
        target_uri: "http://host/path",
        content_digest: "sha-256=:AA==:",
        audience: "I00",
        idempotency_key: None,
    };
    let base = received.base(&covered).or_else(|_| {
        covered.idempotency_key = Some("key");
        received.base(&covered)
    });
    let draft = Draft::new(received.parameters, &covered).ok()?;
    let (input, signature) = draft.headers(&received.signature());
    Some((input, signature, base.ok()?))
}

/// The header `Content-Digest` of a body.
#[must_use]
pub fn digest_of(body: &[u8]) -> String {
    signature::digest_of(body)
}

/// Whether that header is of this body.
#[must_use]
pub fn is_digest_of(header: &str, body: &[u8]) -> bool {
    signature::check_digest(header, body).is_ok()
}

/// The header `Ockam-Identity`.
#[must_use]
pub fn identity_header(header: &str) -> Option<String> {
    let shown = Shown::read(header).ok()?;
    sender::show(&shown.verify().ok()?, &shown.attestation.encode().ok()?)
}

/// The URL of a server, in its one spelling.
#[must_use]
pub fn url(text: &str) -> Option<String> {
    signature::normal_url(text)
}
