//! What each route does: read what was sent, ask the authority, write what it answers. No decision is made here.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::authenticate::single;
use super::fault::Fault;
use super::problem::Refused;
use super::ready;
use super::routes::{Arrived, Call, Shared};
use super::shape::{
    AddMemberRequest, CredentialAnswer, DeletedAnswer, EnrolRequest, HealthAnswer, IssuerAnswer,
    MakeTicketRequest, ReadyAnswer, TicketAnswer,
};
use super::signature::IDEMPOTENCY_KEY;
use super::told::sent_by;
use crate::member::{MAX_PAGE, MemberAttributes};
use crate::problem::Problem;
use crate::service::Caller;
use crate::ticket::{Code, NewTicket};

type Answered = Result<Response, Refused>;

/// How many items a page has when the request does not say.
const PAGE: usize = 100;

pub(super) async fn handle(shared: &Shared, call: Call, arrived: Arrived) -> Answered {
    match call {
        Call::Health => return json(StatusCode::OK, &HealthAnswer { alive: true }),
        Call::Ready => return ready(shared).await,
        Call::OpenApi => return openapi(),
        Call::Issuer => return issuer(shared),
        _ => {}
    }
    let caller = shared.authenticator.authenticate(&arrived.parts, &arrived.body, arrived.source).await?;
    sent_by(caller.identifier());
    let caller = once(caller, call, &arrived)?;
    signed(shared, call, &caller, &arrived).await
}

/// Under the idempotency key that the request names, if it changes something and names one.
fn once(caller: Caller, call: Call, arrived: &Arrived) -> Result<Caller, Refused> {
    let Parts { method, uri, headers, .. } = &arrived.parts;
    let Some(value) =
        single(headers, IDEMPOTENCY_KEY, Fault::Components)?.filter(|_| call.changes_something())
    else {
        return Ok(caller);
    };
    // As a string of RFC 8941, or as many clients write it: without the quotation marks.
    let key = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let request = Sha256::new()
        .chain_update(format!(
            "{method} {uri}\n",
            uri = uri.path_and_query().map_or("", |path| path.as_str())
        ))
        .chain_update(&arrived.body);
    caller.once(key, request.finalize().into()).map_err(|problem| field(IDEMPOTENCY_KEY, problem))
}

async fn signed(shared: &Shared, call: Call, caller: &Caller, arrived: &Arrived) -> Answered {
    let authority = &shared.authority;
    match call {
        // Answered before.
        Call::Health | Call::Ready | Call::OpenApi | Call::Issuer => Err(Problem::Internal.into()),
        Call::Enrol => enrol(shared, caller, arrived).await,
        Call::Credential => {
            empty(arrived)?;
            let credential = authority.credential(caller).await?;
            let answer = CredentialAnswer {
                expires_at: credential.expires_at(),
                credential: credential.to_hex().map_err(|_| Problem::Internal)?,
            };
            json(StatusCode::OK, &answer)
        }
        Call::ListMembers => {
            let (after, limit) = page(arrived)?;
            json(StatusCode::OK, &authority.members(caller, after.as_ref(), limit).await?)
        }
        Call::ListMemberIds => {
            let (after, limit) = page(arrived)?;
            json(StatusCode::OK, &authority.member_ids(caller, after.as_ref(), limit).await?)
        }
        Call::ShowMember => {
            let identifier = segment(arrived, "identifier")?;
            json(StatusCode::OK, &authority.member(caller, &identifier).await?)
        }
        Call::AddMember => {
            let request: AddMemberRequest = body(arrived)?;
            let attributes = attributes(request.attributes)?;
            authority.add_member(caller, request.identifier, attributes).await?;
            nothing()
        }
        Call::DeleteMember => {
            empty(arrived)?;
            let identifier = segment(arrived, "identifier")?;
            authority.delete_member(caller, &identifier).await?;
            nothing()
        }
        Call::DeleteMembers => {
            empty(arrived)?;
            json(StatusCode::OK, &DeletedAnswer { deleted: authority.delete_members(caller).await? })
        }
        Call::ListTickets => {
            let (after, limit) = page(arrived)?;
            json(StatusCode::OK, &authority.tickets(caller, after.as_ref(), limit).await?)
        }
        Call::MakeTicket => {
            let request: MakeTicketRequest = body(arrived)?;
            let issued = authority.make_ticket(caller, new_ticket(request)?).await?;
            json(StatusCode::CREATED, &TicketAnswer::new(issued.ticket, &issued.code.expose_hex()))
        }
        Call::RevokeTicket => {
            empty(arrived)?;
            let reference = segment(arrived, "reference")?;
            authority.revoke_ticket(caller, &reference).await?;
            nothing()
        }
    }
}

async fn enrol(shared: &Shared, caller: &Caller, arrived: &Arrived) -> Answered {
    let request: EnrolRequest = body(arrived)?;
    let text = Zeroizing::new(request.code);
    let code = Code::from_hex(&text).map_err(|problem| field("code", problem))?;
    let shown = request.key_attestation.map(hex::decode).transpose();
    let shown = shown.map_err(|_| field("key_attestation", Problem::malformed("this is not hex")))?;
    let guesses = shared.authenticator.guesses();
    guesses.enrol(&shared.authority, (caller, Some(arrived.source)), &code, shown.as_deref()).await?;
    nothing()
}

fn issuer(shared: &Shared) -> Answered {
    // One value, so that history and attestations are of the same moment.
    let bundle = shared.authority.issuer_bundle();
    let hex = |encoded: identity::Result<String>| encoded.map_err(|_| Problem::Internal);
    let attestations = bundle.attestations().unwrap_or_default();
    let answer = IssuerAnswer {
        identifier: bundle.identifier(),
        change_history: bundle.identity().to_hex(),
        attestations: attestations.iter().map(|one| hex(one.to_hex())).collect::<Result<_, _>>()?,
        bundle: hex(bundle.to_hex())?,
    };
    json(StatusCode::OK, &answer)
}

async fn ready(shared: &Shared) -> Answered {
    let missing = ready::missing(shared).await;
    if missing.is_empty() {
        json(StatusCode::OK, &ReadyAnswer { ready: true, missing: Vec::new() })
    } else {
        Err(Refused::NotReady(missing))
    }
}

fn openapi() -> Answered {
    let document = super::openapi::document().ok_or(Problem::Internal)?;
    Ok(written(StatusCode::OK, Body::from(document)))
}

fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value).map_err(|_| Problem::Internal)?;
    Ok(written(status, Body::from(body)))
}

fn written(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn nothing() -> Answered {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn body<T: DeserializeOwned>(arrived: &Arrived) -> Result<T, Refused> {
    // Whoever does not say means the only type there is.
    if !arrived.parts.headers.get_all(header::CONTENT_TYPE).iter().all(is_json) {
        return Err(Refused::WrongType);
    }
    decode(&arrived.body)
}

/// Reads a JSON object.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    // An array of the fields would be read as well.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refused::Body("expected a JSON object".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, words) = (error.path().to_string(), without_values(error.inner()));
        // A field that is not there has no path, and is named by the words alone.
        let missing = words.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match missing {
            Some(name) => field(name, "it is missing"),
            None if path == "." || path == "?" => Refused::Body(words),
            None => Refused::Field(path, words),
        }
    })?;
    json.end().map_err(|error| Refused::Body(without_values(&error)))?;
    Ok(value)
}

fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// What is wrong, without what was sent in the wrong place: it may be a secret.
fn without_values(error: &serde_json::Error) -> String {
    let words = error.to_string();
    if words.starts_with("invalid type: ") || words.starts_with("invalid value: ") {
        let expected = words.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
        return format!(
            "expected {}",
            expected.replace("u32", "a whole number").replace("u64", "a whole number")
        );
    }
    words
}

fn empty(arrived: &Arrived) -> Result<(), Refused> {
    if arrived.body.is_empty() { Ok(()) } else { Err(Refused::Body("this request has no body".to_owned())) }
}

fn new_ticket(request: MakeTicketRequest) -> Result<NewTicket, Refused> {
    let attributes = attributes(request.attributes)?;
    let check = |seconds, uses| NewTicket::new(MemberAttributes::default(), seconds, uses);
    check(request.expires_in, None).map_err(|problem| field("expires_in", problem))?;
    check(None, request.uses).map_err(|problem| field("uses", problem))?;
    Ok(NewTicket::new(attributes, request.expires_in, request.uses)?)
}

fn attributes(map: BTreeMap<String, String>) -> Result<MemberAttributes, Refused> {
    MemberAttributes::new(map).map_err(|problem| field("attributes", problem))
}

fn field(name: &str, words: impl Display) -> Refused {
    Refused::Field(name.to_owned(), words.to_string())
}

fn segment<T: FromStr<Err: Display>>(arrived: &Arrived, name: &str) -> Result<T, Refused> {
    arrived.segment.as_deref().unwrap_or_default().parse().map_err(|error| field(name, error))
}

/// Reads `after` and `limit`. Neither has to be there; nothing else may.
fn page<C: FromStr<Err: Display>>(arrived: &Arrived) -> Result<(Option<C>, usize), Refused> {
    empty(arrived)?;
    decode_page(arrived.parts.uri.query().unwrap_or_default())
}

pub(super) fn decode_page<C: FromStr<Err: Display>>(query: &str) -> Result<(Option<C>, usize), Refused> {
    let (mut after, mut limit) = (None, PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // Identifiers, references and numbers: nothing here is ever percent-encoded.
        match pair.split_once('=') {
            Some(("after", value)) => after = Some(value.parse().map_err(|error| field("after", error))?),
            Some(("limit", value)) => {
                let number = value.parse().ok().filter(|number| (1..=MAX_PAGE).contains(number));
                limit =
                    number.ok_or_else(|| field("limit", format_args!("a number from 1 to {MAX_PAGE}")))?;
            }
            _ => return Err(field("query", "only `after` and `limit` are known")),
        }
    }
    Ok((after, limit))
}
