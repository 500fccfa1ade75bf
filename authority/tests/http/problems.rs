//! Every refusal is a problem document (RFC 9457), whoever makes it: the authority, the router, or the HTTP library before
//! there is a request.

use std::fmt::Write as _;
use std::time::Duration;

use authority::http::{MAX_BODY, Options, ROUTES};
use serde_json::Value;

use crate::common::{World, memory};
use crate::net::{Answer, ByHand, RequestKey, Site, golden, plain, send};

/// A line about an answer that has to be a problem.
fn line(name: &str, answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}: {answer:?}");
    assert!(answer.header("date").is_some(), "{name}: {answer:?}");
    let body = answer.json();
    assert_eq!(body.get("status").and_then(Value::as_u64), Some(answer.status.into()), "{name}: {answer:?}");
    for member in ["title", "detail"] {
        let words = body.get(member).and_then(Value::as_str).unwrap_or_default();
        assert!(!words.is_empty(), "{name} has no {member}");
    }
    let allow = answer.header("allow").map(|allow| format!(" allow={allow}")).unwrap_or_default();
    format!("{name:<42} {} {} {}{allow}\n", answer.status, answer.field("kind"), answer.field("type"))
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_by_http_itself_are_problems() {
    let short = Duration::from_millis(300);
    let options = Options { body_deadline: short, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n{more}\r\n");
    let post = |more: &str| format!("POST /v1/enrol HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}");
    let mut table = String::new();
    for (name, bytes) in [
        ("a path that is not there", get("/v1/nothing", "connection: close\r\n")),
        ("the path of a proxy", get("http://other/v1/issuer/x", "connection: close\r\n")),
        ("not http", "hello\r\n\r\n".to_owned()),
        ("no method", " / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("no version", "GET  /healthz\r\n\r\n".to_owned()),
        ("another version", "GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_owned()),
        ("a header without a name", get("/healthz", ": x\r\n")),
        ("a header with a nul", get("/healthz", "a: \0\r\n")),
        ("two lengths", get("/healthz", "content-length: 1\r\ncontent-length: 2\r\n")),
        ("a length that is none", get("/healthz", "content-length: -1\r\n")),
        ("101 headers", get("/healthz", &"a: b\r\n".repeat(101))),
        ("a header too long", get("/healthz", &format!("a: {}\r\n", "x".repeat(49_200)))),
        ("a target too long", get(&format!("/{}", "x".repeat(65_535)), "")),
        ("a body too large, as declared", post(&format!("content-length: {}\r\n\r\n", MAX_BODY + 1))),
        ("a body too slow", post("content-length: 2\r\n\r\n{")),
        ("chunks that are none", post("transfer-encoding: chunked\r\n\r\nzz\r\n")),
    ] {
        let answer = send(site.addr(), bytes.as_bytes()).await;
        table.push_str(&line(name, &answer));
    }
    golden("http-early.txt", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_is_answered_with_those_that_are() {
    let site = Site::new().await;
    let mut table = String::new();
    let mut paths: Vec<_> = ROUTES.iter().map(|route| route.path).collect();
    paths.dedup();
    for path in paths {
        let answer = plain(&site, "PUT", &path.replace(['{', '}'], "")).await;
        write!(table, "{}", line(&format!("PUT {path}"), &answer)).unwrap();
        let allowed: Vec<_> = answer.header("allow").unwrap().split(',').collect();
        for route in ROUTES.iter().filter(|route| route.path == path) {
            assert!(allowed.contains(&route.method), "{path}: {allowed:?}");
        }
    }
    golden("http-methods.txt", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_type_is_refused() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for (content_type, status) in [
        ("application/json", 201),
        ("Application/JSON; charset=utf-8", 201),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("text/plain, application/json", 415),
        ("application/json\r\ncontent-type: text/plain", 415),
        ("", 415),
        ("\u{ff}", 415),
    ] {
        let request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/tickets", b"{}");
        let typed = format!("\r\ncontent-type: {content_type}\r\ncontent-length:");
        let head = request.head().await.replacen("\r\ncontent-length:", &typed, 1);
        let answer = send(site.addr(), &[head.as_bytes(), b"{}"].concat()).await;
        assert_eq!(answer.status, status, "{content_type}: {answer:?}");
        if status == 415 {
            assert!(line(content_type, &answer).contains("415 malformed urn:ockam-kms:problem:wrong-type"));
        }
    }
}
