//! Which path and method is which action: one table, from which the router is made. What each route does stands in
//! [`handlers`](super::handlers).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::request::Parts;
use http::{HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use node::Source;
use tokio::time::timeout;

use super::admission::Place;
use super::authenticate::Authenticator;
use super::handlers;
use super::problem::Refused;
use super::server::Options;
use super::told::telling;
use crate::authz::{Action, Role};
use crate::problem::Problem;
use crate::service::Authority;

/// The most bytes of a request's body.
pub const MAX_BODY: usize = 64 * 1024;

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path; a segment in braces stands for any.
    pub path: &'static str,
    /// What is asked of the authority, and with it what the sender has to be. Nothing is asked for the server's own
    /// health.
    pub action: Option<Action>,
    pub(crate) call: Call,
}

impl Route {
    /// Whether its requests have to be signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.action.is_some_and(|action| action.role() != Role::Public)
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    Ready,
    OpenApi,
    Issuer,
    Enrol,
    Credential,
    ListMembers,
    ListMemberIds,
    ShowMember,
    AddMember,
    DeleteMember,
    DeleteMembers,
    ListTickets,
    MakeTicket,
    RevokeTicket,
}

impl Call {
    /// Whether it changes something, so that it can be asked for under an idempotency key.
    pub(crate) fn changes_something(self) -> bool {
        match self {
            Self::Enrol
            | Self::Credential
            | Self::AddMember
            | Self::DeleteMember
            | Self::DeleteMembers
            | Self::MakeTicket
            | Self::RevokeTicket => true,
            Self::Health
            | Self::Ready
            | Self::OpenApi
            | Self::Issuer
            | Self::ListMembers
            | Self::ListMemberIds
            | Self::ShowMember
            | Self::ListTickets => false,
        }
    }
}

const fn route(method: &'static str, path: &'static str, action: Option<Action>, call: Call) -> Route {
    Route { method, path, action, call }
}

/// Every route there is.
pub const ROUTES: &[Route] = &[
    route("GET", "/healthz", None, Call::Health),
    route("GET", "/readyz", None, Call::Ready),
    route("GET", "/openapi.json", None, Call::OpenApi),
    route("GET", "/v1/issuer", Some(Action::ReadIssuer), Call::Issuer),
    route("POST", "/v1/enrol", Some(Action::Enrol), Call::Enrol),
    route("POST", "/v1/credential", Some(Action::GetCredential), Call::Credential),
    route("GET", "/v1/members", Some(Action::ListMembers), Call::ListMembers),
    route("POST", "/v1/members", Some(Action::AddMember), Call::AddMember),
    route("DELETE", "/v1/members", Some(Action::DeleteMembers), Call::DeleteMembers),
    route("GET", "/v1/member-ids", Some(Action::ListMembers), Call::ListMemberIds),
    route("GET", "/v1/members/{identifier}", Some(Action::ShowMember), Call::ShowMember),
    route("DELETE", "/v1/members/{identifier}", Some(Action::DeleteMember), Call::DeleteMember),
    route("GET", "/v1/tickets", Some(Action::ListTickets), Call::ListTickets),
    route("POST", "/v1/tickets", Some(Action::MakeTicket), Call::MakeTicket),
    route("DELETE", "/v1/tickets/{reference}", Some(Action::RevokeTicket), Call::RevokeTicket),
];

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) authority: Authority,
    pub(crate) authenticator: Authenticator,
    /// Set when the server ends.
    draining: Arc<AtomicBool>,
    body_deadline: Duration,
    handler_deadline: Duration,
}

impl Shared {
    /// Whether the server is ending.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Answers what no route is for. Neither path nor method is told: they may be anything.
    async fn elsewhere(&self, refused: Refused) -> Response {
        telling(self.authority.metrics(), ("other", "other"), false, async { Err(refused) }).await
    }
}

/// A request whose body came.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) parts: Parts,
    pub(crate) body: Vec<u8>,
    /// The segment of the path that stands for any.
    pub(crate) segment: Option<String>,
    pub(crate) source: Source,
}

pub(crate) fn router(
    authority: Authority,
    authenticator: Authenticator,
    options: &Options,
    draining: Arc<AtomicBool>,
) -> Router {
    let shared = Arc::new(Shared {
        authority,
        authenticator,
        draining,
        body_deadline: options.body_deadline,
        handler_deadline: options.handler_deadline,
    });
    let mut router = Router::new();
    for route in ROUTES {
        let handler = async move |State(shared): State<Arc<Shared>>, request: Request| {
            answer(&shared, route, request).await
        };
        router = router.route(route.path, on(filter(route.method), handler));
    }
    router
        .fallback(async |State(shared): State<Arc<Shared>>| shared.elsewhere(Refused::NoSuchPath).await)
        .method_not_allowed_fallback(async |State(shared): State<Arc<Shared>>| {
            shared.elsewhere(Refused::NoSuchMethod).await
        })
        .with_state(shared)
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

async fn answer(shared: &Shared, route: &'static Route, request: Request) -> Response {
    let is_about_the_server = matches!(route.call, Call::Health | Call::Ready);
    let answering = async {
        let (parts, body) = request.into_parts();
        // As it came: nothing that can stand here needs an encoding, so nothing is decoded.
        let prefix = route.path.split('{').next().unwrap_or_default();
        let segment = parts.uri.path().strip_prefix(prefix).map(str::to_owned);
        let place = parts.extensions.get::<Arc<Place>>().cloned().ok_or(Problem::Internal)?;
        let source = place.source();
        // How it is doing is still told to whoever asks.
        if shared.is_draining() && !is_about_the_server {
            return Err(Refused::Ending);
        }
        // Before the body is read: whoever is refused for guessing costs nothing more.
        if route.is_signed() {
            shared.authenticator.guesses().check(source)?;
        }
        let body = receive(&parts, body, shared.body_deadline).await?;
        place.request_came();
        let arrived = Arrived { parts, body, segment, source };
        let handled = handlers::handle(shared, route.call, arrived);
        timeout(shared.handler_deadline, handled).await.map_err(|_| Problem::unavailable())?
    };
    let what = (route.method, route.path);
    let mut response = telling(shared.authority.metrics(), what, is_about_the_server, answering).await;
    if shared.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn receive(parts: &Parts, body: Body, deadline: Duration) -> Result<Vec<u8>, Refused> {
    let declared = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > MAX_BODY) {
        return Err(Refused::TooLarge);
    }
    let received = timeout(deadline, Limited::new(body, MAX_BODY).collect());
    match received.await.map_err(|_| Refused::TooSlow)? {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Refused::TooLarge),
        Err(_) => Err(Problem::malformed("the body is not of the form that its headers say").into()),
    }
}
