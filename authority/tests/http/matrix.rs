//! Every route, called by every kind of caller: the committed matrix of statuses, which has to agree with the table of
//! actions. A route without a request here fails the test.

use std::fmt::Write as _;

use authority::authz::Role;
use authority::http::{Options, ROUTES, Route};
use authority::service::Settings;
use authority::ticket::NewTicket;
use identity::Identifier;

use crate::common::{Person, World, attributes, enroller, memory, person};
use crate::net::{Answer, ByHand, RequestKey, Site, golden, plain, send};

const CALLERS: [&str; 7] = ["nobody", "stranger", "member", "enroller", "admin", "other-audience", "revoked"];

/// One authority with somebody of each kind.
struct Cast {
    site: Site,
    stranger: Person,
    member: Person,
    admin: Person,
    revoked: Person,
    target: Identifier,
}

impl Cast {
    async fn new() -> Self {
        let vault: std::sync::Arc<dyn vault::Vault> =
            std::sync::Arc::new(vault::soft::SoftVault::in_memory().unwrap());
        let admin = person(&vault).await;
        let set = |settings: &mut Settings| {
            settings.rules.enforce_admin = true;
            settings.rules.admins.insert(admin.identity.identifier());
        };
        let world = World::with(memory, std::sync::Arc::clone(&vault), set).await;
        let (member, _) = world.member(&[("a", "b")]).await;
        let (revoked, _) = world.member(&[]).await;
        let (target, _) = world.member(&[]).await;
        let by = world.enroller().await;
        world.authority.delete_member(&by, &revoked.identity.identifier()).await.unwrap();
        let stranger = person(&world.vault).await;
        let site = Site::of(world, Options::default()).await;
        Self { site, stranger, member, admin, revoked, target: target.identity.identifier() }
    }

    fn person(&self, caller: &str) -> &Person {
        match caller {
            "stranger" => &self.stranger,
            "member" => &self.member,
            "enroller" => &self.site.world.enroller,
            // Whoever may do most, at another authority.
            "admin" | "other-audience" => &self.admin,
            "revoked" => &self.revoked,
            other => panic!("there is no {other}"),
        }
    }

    /// A request that succeeds when it is made by whoever may.
    async fn sample(&self, route: &Route) -> (String, String) {
        let authority = &self.site.world.authority;
        let by = self.site.world.enroller().await;
        let ticket = || NewTicket::new(attributes(&[]), None, None).unwrap();
        let target = self.target;
        let fill = |value: String| route.path.split('{').next().unwrap().to_owned() + &value;
        match (route.method, route.path) {
            (
                "GET",
                "/healthz" | "/readyz" | "/openapi.json" | "/v1/issuer" | "/v1/members" | "/v1/member-ids"
                | "/v1/tickets",
            )
            | ("POST", "/v1/credential")
            | ("DELETE", "/v1/members") => (route.path.to_owned(), String::new()),
            ("POST", "/v1/enrol") => {
                let code = authority.make_ticket(&by, ticket()).await.unwrap().code;
                (route.path.to_owned(), format!(r#"{{"code":"{}"}}"#, code.expose_hex().as_str()))
            }
            ("POST", "/v1/members") => {
                (route.path.to_owned(), format!(r#"{{"identifier":"{target}","attributes":{{"c":"d"}}}}"#))
            }
            ("POST", "/v1/tickets") => (route.path.to_owned(), r#"{"attributes":{"c":"d"}}"#.to_owned()),
            ("GET" | "DELETE", "/v1/members/{identifier}") => (fill(target.to_string()), String::new()),
            ("DELETE", "/v1/tickets/{reference}") => {
                let made = authority.make_ticket(&by, ticket()).await.unwrap().ticket;
                (fill(made.reference.to_string()), String::new())
            }
            (method, path) => panic!("{method} {path} is not among the requests of this test: add it"),
        }
    }

    async fn call(&self, caller: &str, route: &Route) -> Answer {
        let (path, body) = self.sample(route).await;
        if caller == "nobody" {
            let head = format!(
                "{} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                route.method,
                body.len()
            );
            return send(self.site.addr(), head.as_bytes()).await;
        }
        let person = self.person(caller);
        let key = RequestKey::of(&self.site.world, person).await;
        let mut request =
            ByHand::new(&self.site, &person.identity, &key, route.method, &path, body.as_bytes());
        if caller == "other-audience" {
            request.audience = Identifier::from_bytes([9; 32]).to_string();
        }
        request.send(self.site.addr()).await
    }
}

fn role(caller: &str) -> Option<Role> {
    match caller {
        "nobody" | "other-audience" => Some(Role::Public),
        "stranger" | "revoked" => Some(Role::Anyone),
        "member" => Some(Role::Member),
        "enroller" => Some(Role::Enroller),
        "admin" => Some(Role::Admin),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn table_router_and_authorisation_agree() {
    let mut table = format!("{:<34}", "route");
    for caller in CALLERS {
        write!(table, " {caller}").unwrap();
    }
    table.push('\n');
    for route in ROUTES {
        write!(table, "{:<34}", format!("{} {}", route.method, route.path)).unwrap();
        for caller in CALLERS {
            // Nothing that one caller does is seen by the next.
            let cast = Cast::new().await;
            let answer = cast.call(caller, route).await;
            let wanted = route.action.map_or(Role::Public, |action| action.role());
            let let_in = answer.status != 401 && answer.status != 403;
            assert_eq!(let_in, role(caller).unwrap() >= wanted, "{caller} {route:?}: {answer:?}");
            write!(table, " {:<width$}", answer.status, width = caller.len()).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    golden("http-matrix.txt", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_by_admins_alone() {
    let cast = Cast::new().await;
    let body = serde_json::json!({ "identifier": cast.target, "attributes": { "ockam-role": "enroller" } })
        .to_string();
    for (caller, expected) in [("member", 403), ("enroller", 403), ("admin", 204)] {
        for path in ["/v1/members", "/v1/tickets"] {
            let body = match path {
                "/v1/members" => body.clone(),
                _ => serde_json::json!({ "attributes": enroller() }).to_string(),
            };
            let person = cast.person(caller);
            let key = RequestKey::of(&cast.site.world, person).await;
            let request = ByHand::new(&cast.site, &person.identity, &key, "POST", path, body.as_bytes());
            let status = request.send(cast.site.addr()).await.status;
            let made = if path == "/v1/tickets" && expected == 204 { 201 } else { expected };
            assert_eq!(status, made, "{caller} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_beside_the_table() {
    let site = Site::new().await;
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v1/members/",
        "/v1/members/a/b",
        "/v2/issuer",
        "/healthz/",
        "//healthz",
        "/%2e%2e",
    ];
    for path in paths {
        let answer = plain(&site, "GET", path).await;
        assert_eq!((answer.status, answer.field("kind").as_str()), (404, "not-found"), "{path}");
    }
    for route in ROUTES {
        for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
            let path = route.path.replace(['{', '}'], "");
            let answer = plain(&site, method, &path).await;
            assert_eq!((answer.status, answer.field("kind").as_str()), (405, "malformed"), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let id = enroller.identity.identifier();
    let deep = format!("{{\"code\":{}", "[".repeat(60_000));
    let rows: Vec<(&str, &str, String)> = vec![
        ("POST", "/v1/enrol", String::new()),
        ("POST", "/v1/enrol", "{".to_owned()),
        ("POST", "/v1/enrol", "{}".to_owned()),
        ("POST", "/v1/enrol", r#"{"code":1}"#.to_owned()),
        ("POST", "/v1/enrol", r#"{"code":"hunter2"}"#.to_owned()),
        ("POST", "/v1/enrol", r#"{"code":"","more":1}"#.to_owned()),
        ("POST", "/v1/enrol", r#""hunter2""#.to_owned()),
        ("POST", "/v1/enrol", r#"["hunter2"]"#.to_owned()),
        ("POST", "/v1/tickets", r#"{"attributes":"hunter2"}"#.to_owned()),
        ("POST", "/v1/tickets", r#"{"uses":"hunter2, expected"}"#.to_owned()),
        ("POST", "/v1/enrol", deep),
        ("POST", "/v1/credential", "{}".to_owned()),
        ("POST", "/v1/members", r#"{"attributes":{}}"#.to_owned()),
        ("POST", "/v1/members", r#"{"identifier":"../../etc"}"#.to_owned()),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}","attributes":[]}}"#)),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}","attributes":{{"a":1}}}}"#)),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}","attributes":{{"identifier":"x"}}}}"#)),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}","attributes":{{"has_credential":"x"}}}}"#)),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}","attributes":{{"":"x"}}}}"#)),
        ("POST", "/v1/members", format!(r#"{{"identifier":"{id}"}} {{"identifier":"{id}"}}"#)),
        ("POST", "/v1/tickets", r#"{"expires_in":-1}"#.to_owned()),
        ("POST", "/v1/tickets", r#"{"expires_in":0}"#.to_owned()),
        ("POST", "/v1/tickets", r#"{"uses":4294967296}"#.to_owned()),
        ("GET", "/v1/members/x", String::new()),
        ("GET", "/v1/members/..%2f..%2fetc", String::new()),
        ("GET", "/v1/members/%00", String::new()),
        ("GET", "/v1/members/%ff", String::new()),
        ("GET", "/v1/members?limit=0", String::new()),
        ("GET", "/v1/members?limit=1001", String::new()),
        ("GET", "/v1/members?after=x", String::new()),
        ("GET", "/v1/member-ids?before=x", String::new()),
        ("DELETE", "/v1/tickets/zz", String::new()),
        ("DELETE", "/v1/members", "{}".to_owned()),
    ];
    let mut table = String::new();
    for (method, path, body) in &rows {
        let answer = ByHand::new(&site, &enroller.identity, &key, method, path, body.as_bytes())
            .send(site.addr())
            .await;
        assert_eq!(answer.field("kind"), "malformed", "{method} {path} {body}: {answer:?}");
        assert!(!answer.body.contains("hunter2"), "what stands in the wrong place is never repeated");
        let mut shown: String = body.replace(&id.to_string(), "ID");
        shown.truncate(60);
        let (field, detail) = (answer.field("field"), answer.field("detail"));
        writeln!(table, "{method} {path} {shown}\n    {} field={field} {detail}", answer.status).unwrap();
    }
    golden("http-malformed.txt", &table);
}
