//! The OpenAPI document of the API, made from the table of routes, the table of refusals and the shapes of bodies: what the
//! server does and what it says it does are one thing. Served at `/openapi.json`, and kept in docs/openapi.json.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use http::StatusCode;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, HeaderBuilder, HttpMethod, InfoBuilder, LicenseBuilder, OpenApi,
    OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::fault::Fault;
use super::problem::{ProblemBody, Refused};
use super::routes::{Call, ROUTES, Route};
use super::shape::{
    AddMemberRequest, CredentialAnswer, DeletedAnswer, EnrolRequest, HealthAnswer, IssuerAnswer,
    MakeTicketRequest, ReadyAnswer, TicketAnswer,
};
use crate::member::{MAX_MEMBER_ATTRIBUTES, MAX_PAGE, Member, MemberAttributes};
use crate::once::MAX_KEY;
use crate::problem::{Needs, Problem};
use crate::ticket::Ticket;

const SIGNATURE: &str = "signature";
const ABOUT: &str = "The credential authority. Bytes and rules of signed requests: docs/formats.md; refusals, idempotency \
                     keys and rate limits: docs/http.md.";
const SIGNED: &str = "The request carries the headers signature-input, signature (RFC 9421), content-digest (RFC 9530) and \
                      ockam-authority, and ockam-identity when the server does not know its sender: docs/formats.md, `HTTP`.";

/// The document as JSON; `None` if it could not be written, which it can.
pub(crate) fn document() -> Option<&'static str> {
    static DOCUMENT: LazyLock<Option<String>> = LazyLock::new(|| openapi().to_pretty_json().ok());
    DOCUMENT.as_deref()
}

fn openapi() -> OpenApi {
    let info = InfoBuilder::new()
        .title("ockam-kms authority")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()));
    let mut paths: BTreeMap<&str, PathItem> = BTreeMap::new();
    for route in ROUTES {
        let item = PathItem::new(method(route), operation(route));
        match paths.get_mut(route.path) {
            Some(known) => known.merge_operations(item),
            None => drop(paths.insert(route.path, item)),
        }
    }
    let paths = paths.into_iter().fold(PathsBuilder::new(), |all, (path, item)| all.path(path, item));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn components() -> Components {
    let signature = ApiKey::Header(ApiKeyValue::with_description(SIGNATURE, SIGNED));
    ComponentsBuilder::new()
        .schema_from::<ProblemBody>()
        .schema_from::<IdentifierText>()
        .schema_from::<ReferenceText>()
        .schema_from::<HexText>()
        .schema_from::<Seconds>()
        .schema_from::<MemberAttributes>()
        .schema_from::<IssuerAnswer>()
        .schema_from::<EnrolRequest>()
        .schema_from::<CredentialAnswer>()
        .schema_from::<AddMemberRequest>()
        .schema_from::<DeletedAnswer>()
        .schema_from::<MakeTicketRequest>()
        .schema_from::<TicketAnswer>()
        .schema_from::<ReadyAnswer>()
        .schema_from::<HealthAnswer>()
        .schema_from::<Member>()
        .schema_from::<Ticket>()
        .security_scheme(SIGNATURE, SecurityScheme::ApiKey(signature))
        .build()
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        "POST" => HttpMethod::Post,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// What a route takes and answers when it goes well.
struct Said {
    summary: &'static str,
    body: Option<Ref>,
    status: StatusCode,
    answer: Option<RefOr<Schema>>,
}

fn said(call: Call) -> Said {
    let ok = |summary, answer: RefOr<Schema>| Said {
        summary,
        body: None,
        status: StatusCode::OK,
        answer: Some(answer),
    };
    let done = |summary, body| Said { summary, body, status: StatusCode::NO_CONTENT, answer: None };
    match call {
        Call::Health => ok("whether the server is alive", reference::<HealthAnswer>().into()),
        Call::Ready => ok("whether it can serve, and what it waits for", reference::<ReadyAnswer>().into()),
        Call::OpenApi => ok("this document", object().into()),
        Call::Issuer => ok("what verifiers need of the authority", reference::<IssuerAnswer>().into()),
        Call::Enrol => done("become a member, by the code of a ticket", Some(reference::<EnrolRequest>())),
        Call::Credential => ok("get a credential about oneself", reference::<CredentialAnswer>().into()),
        Call::ListMembers => ok("list members", page::<Member, IdentifierText>()),
        Call::ListMemberIds => {
            ok("list the identifiers of members", page::<IdentifierText, IdentifierText>())
        }
        Call::ShowMember => ok("look at a member", reference::<Member>().into()),
        Call::AddMember => {
            done("add a member, or replace its attributes", Some(reference::<AddMemberRequest>()))
        }
        Call::DeleteMember => done("delete a member", None),
        Call::DeleteMembers => ok("delete every member but oneself", reference::<DeletedAnswer>().into()),
        Call::ListTickets => ok("list tickets", page::<Ticket, ReferenceText>()),
        Call::MakeTicket => Said {
            summary: "make a ticket",
            body: Some(reference::<MakeTicketRequest>()),
            status: StatusCode::CREATED,
            answer: Some(reference::<TicketAnswer>().into()),
        },
        Call::RevokeTicket => done("revoke a ticket", None),
    }
}

/// How a route can refuse.
fn refusals(route: &Route, takes_a_body: bool) -> Vec<Refused> {
    let mut all = vec![
        Refused::Body(String::new()),
        Refused::NoHttp,
        Refused::TooSlow,
        Refused::TooLarge,
        Refused::LongTarget,
        Refused::LongHead,
        Refused::Ending,
        Problem::Internal.into(),
        Problem::unavailable().into(),
    ];
    if route.is_signed() {
        all.extend([
            Fault::Unsigned.into(),
            Problem::Unauthenticated { needs: Needs::History }.into(),
            Problem::forbidden("").into(),
            Problem::RateLimited { retry_after: std::time::Duration::ZERO }.into(),
        ]);
    }
    if route.call.changes_something() {
        all.push(Problem::KeyReused.into());
    }
    if takes_a_body {
        all.push(Refused::WrongType);
    }
    if route.path.contains('{') {
        all.push(Problem::not_found("").into());
    }
    if route.call == Call::Ready {
        all.push(Refused::NotReady(Vec::new()));
    }
    if route.call == Call::Enrol {
        all.push(Problem::conflict("").into());
    }
    all
}

fn operation(route: &Route) -> OperationBuilder {
    let Said { summary, body, status, answer } = said(route.call);
    let role = route.action.map_or("nobody in particular", |action| action.role().name());
    let mut operation = OperationBuilder::new()
        .summary(Some(summary))
        .description(Some(format!("For: {role}.")))
        .operation_id(Some(operation_id(route)));
    let mut well = ResponseBuilder::new().description(summary);
    if let Some(answer) = &answer {
        well = well.content("application/json", Content::new(Some(answer.clone())));
    }
    operation = operation.response(status.as_str(), well);
    let mut by_status: BTreeMap<StatusCode, BTreeSet<String>> = BTreeMap::new();
    for refused in refusals(route, body.is_some()) {
        let problem = refused.body();
        let status = StatusCode::from_u16(problem.status).unwrap_or_default();
        let name = problem.type_uri.rsplit(':').next().unwrap_or_default().to_owned();
        by_status.entry(status).or_default().insert(format!("`{name}`: {}", problem.title));
    }
    for (status, titles) in by_status {
        let words: Vec<_> = titles.into_iter().collect();
        let problem = Content::new(Some(reference::<ProblemBody>()));
        let mut refused =
            ResponseBuilder::new().description(words.join("; ")).content("application/problem+json", problem);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = object_of(Type::Integer).minimum(Some(1)).description(Some("in seconds"));
            refused = refused.header("retry-after", HeaderBuilder::new().schema(Some(seconds)).build());
        }
        operation = operation.response(status.as_str(), refused);
    }
    if let Some(body) = body {
        let json = Content::new(Some(body));
        let body = RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", json);
        operation = operation.request_body(Some(body.build()));
    }
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    if route.is_signed() {
        operation = operation.security(SecurityRequirement::new(SIGNATURE, [""; 0]));
    }
    operation
}

/// The method and the path, as one word.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1").replace(['{', '}'], "");
    format!("{}{}", route.method.to_ascii_lowercase(), path.replace(['/', '.'], "-"))
}

fn parameters(route: &Route) -> Vec<ParameterBuilder> {
    let of = |name: &str, place, required, schema: RefOr<Schema>| {
        ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema))
    };
    let mut all = Vec::new();
    if let Some((_, name)) = route.path.split_once('{') {
        let name = name.trim_end_matches('}');
        let schema =
            if name == "reference" { reference::<ReferenceText>() } else { reference::<IdentifierText>() };
        all.push(of(name, ParameterIn::Path, Required::True, schema.into()));
    }
    let cursor = match route.call {
        Call::ListMembers | Call::ListMemberIds => Some(reference::<IdentifierText>()),
        Call::ListTickets => Some(reference::<ReferenceText>()),
        _ => None,
    };
    if let Some(cursor) = cursor {
        let limit = object_of(Type::Integer).minimum(Some(1)).maximum(Some(MAX_PAGE));
        let limit = limit.description(Some("how many at most; 100 when it is not said")).build();
        all.push(of("after", ParameterIn::Query, Required::False, cursor.into()));
        all.push(of("limit", ParameterIn::Query, Required::False, Schema::Object(limit).into()));
    }
    if route.call.changes_something() {
        let key = object_of(Type::String)
            .pattern(Some(format!("^(\"[!#-\\[\\]-~]{{1,{MAX_KEY}}}\"|[!#-\\[\\]-~]{{1,{MAX_KEY}}})$")))
            .description(Some(
                "done once under it, however often it is sent, in quotation marks or not: docs/http.md",
            ))
            .build();
        all.push(of("idempotency-key", ParameterIn::Header, Required::False, Schema::Object(key).into()));
    }
    all
}

fn object_of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

fn object() -> Schema {
    Schema::Object(object_of(Type::Object).build())
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn page<T: ToSchema, C: ToSchema>() -> RefOr<Schema> {
    let items = ArrayBuilder::new().items(reference::<T>()).max_items(Some(MAX_PAGE));
    let page =
        object_of(Type::Object).property("items", items).required("items").property("next", reference::<C>());
    Schema::Object(page.build()).into()
}

/// An identifier, as it is written.
#[derive(Debug)]
pub(crate) struct IdentifierText;

/// The reference of a ticket, as it is written.
#[derive(Debug)]
pub(crate) struct ReferenceText;

/// Bytes, as they are written.
#[derive(Debug)]
pub(crate) struct HexText;

/// Seconds since 1970.
#[derive(Debug)]
pub(crate) struct Seconds;

macro_rules! text {
    ($($name:ident, $word:literal = $pattern:literal;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                Schema::Object(object_of(Type::String).pattern(Some($pattern)).build()).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($word)
            }
        }
    )*};
}

text! {
    IdentifierText, "Identifier" = "^I[0-9a-f]{64}$";
    ReferenceText, "TicketReference" = "^[0-9a-f]{16}$";
    HexText, "Hex" = "^([0-9a-f]{2})*$";
}

impl PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        Schema::Object(object_of(Type::Integer).minimum(Some(0)).build()).into()
    }
}

impl ToSchema for Seconds {}

impl PartialSchema for MemberAttributes {
    fn schema() -> RefOr<Schema> {
        let name = object_of(Type::String).pattern(Some("^[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$")).build();
        let attributes = object_of(Type::Object)
            .property_names(Some(Schema::Object(name)))
            .additional_properties(Some(Schema::Object(object_of(Type::String).build())))
            .max_properties(Some(MAX_MEMBER_ATTRIBUTES))
            .description(Some("names and values; 32 KiB together, 4 KiB each"));
        Schema::Object(attributes.build()).into()
    }
}

impl ToSchema for MemberAttributes {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn json() -> Value {
        serde_json::from_str(document().unwrap()).unwrap()
    }

    #[test]
    fn the_document_has_every_route_and_nothing_else() {
        let document = json();
        assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let route = ROUTES
                    .iter()
                    .find(|route| route.path == path && route.method.eq_ignore_ascii_case(method));
                let route = route.unwrap_or_else(|| panic!("{method} {path} is no route"));
                assert_eq!(operation.get("security").is_some(), route.is_signed(), "{method} {path}");
                let statuses = operation["responses"].as_object().unwrap();
                assert_eq!(statuses.contains_key("401"), route.is_signed(), "{method} {path}");
                found.push(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(found.len(), ROUTES.len());
        found.sort();
        found.dedup();
        assert_eq!(found.len(), ROUTES.len(), "two operations of one name");
    }

    #[test]
    fn nothing_is_referred_to_that_is_not_there() {
        let document = json();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn the_document_is_the_committed_one() {
        crate::http::golden::check("../../../docs/openapi.json", &format!("{}\n", document().unwrap()));
    }
}
