//! What an operator sees: whether it is ready, what it counts, and what it writes into its log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authority::Kind;
use authority::http::{Options, Server};
use authority::ticket::Code;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::{Failing, World, memory};
use crate::load::sample;
use crate::net::{Site, THEN, ask, plain, send};

async fn missing(site: &Site) -> Value {
    let answer = plain(site, "GET", "/readyz").await;
    let value = answer.json()["missing"].clone();
    assert_eq!(answer.status, if value == json!([]) { 200 } else { 503 });
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_does_not_sign_is_missed() {
    let failing = Failing::new();
    let site = Site::of(World::with(memory, failing.clone(), |_| {}).await, Options::default()).await;
    let gate = failing.hold();
    let begin = Instant::now();
    // However many ask, one question goes to the vault, and nobody waits for it for long.
    let many: Vec<_> = (0..20).map(|_| plain(&site, "GET", "/readyz")).collect();
    for answer in many {
        let answer = answer.await;
        assert_eq!((answer.status, answer.json()["missing"].clone()), (503, json!(["vault"])));
        assert!(answer.field("detail").contains("token"), "{}", answer.body);
        if begin.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    let asked = "ockam_kms_vault_calls_total{operation=\"probe\",outcome=\"ok\"}";
    assert_eq!(sample(&site, asked), 0.0);
    gate.add_permits(1);
    let ready = async {
        while missing(&site).await != json!([]) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), ready).await.expect("ready again");
    for _ in 0..20 {
        assert_eq!(missing(&site).await, json!([]));
    }
    assert_eq!(sample(&site, asked), 1.0, "what was asked when it hung, and nothing since");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_back_is_not_trusted() {
    let site = Site::new().await;
    assert_eq!(missing(&site).await, json!([]));
    // Written down: the latest that the clock said.
    site.world.member(&[]).await;
    for (behind, expected) in [(60, json!([])), (61, json!(["clock"]))] {
        site.world.clock.set(identity::Timestamp(THEN.0 - behind));
        assert_eq!(missing(&site).await, expected, "{behind} seconds behind");
    }
    // Nobody forgets by starting again.
    let again = crate::net::serve(&site.world, Options::default()).await;
    again.stop().await;
}

/// The text of `/metrics`, from a door of its own.
async fn scrape(site: &Site) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Server::start_metrics(&site.world.authority, listener, Options::default()).unwrap();
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = send(door.local_addr(), head("/metrics").as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert_eq!(send(door.local_addr(), head("/v1/issuer").as_bytes()).await.status, 404);
    door.stop().await;
    answer.body
}

/// What a node says of itself, to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn how_something_is_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = Arc::new(Mutex::new(true));
    let says = Arc::clone(&well);
    let show = move || says.lock().unwrap().then(|| r#"{"name":"n1"}"#.to_owned());
    let door = Server::start_show(listener, show).unwrap();
    let at = door.local_addr();
    let ask = async |line: &str| {
        send(at, format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
    };
    assert_eq!(ask("HEAD /").await.status, 200);
    let shown = ask("GET /show").await;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/json")));
    assert_eq!(shown.json(), json!({ "name": "n1" }));
    for (line, status) in [("GET /", 405), ("POST /show", 405), ("GET /shown", 404), ("GET /v1/issuer", 404)]
    {
        assert_eq!(ask(line).await.status, status, "{line}");
    }
    *well.lock().unwrap() = false;
    assert_eq!(ask("GET /show").await.status, 503);
    door.stop().await;
}

type Labels = Vec<(String, String)>;

/// The samples of an OpenMetrics text: name, labels, value.
fn samples(text: &str) -> Vec<(String, Labels, f64)> {
    assert!(text.ends_with("# EOF\n"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let labels = labels.split_terminator(',').map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.strip_suffix('"').unwrap().to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_and_names_nobody() {
    let site =
        Site::of(World::new(memory).await, Options { limit_loopback: true, ..Options::default() }).await;
    let enroller = Arc::new(site.enroller().await);
    let (person, client) = site.stranger().await;
    let client = Arc::new(client);
    let ticket =
        ask(&enroller, |enroller| enroller.make_ticket(&Default::default(), None, None)).await.unwrap();
    let code = ticket.code.expose_hex().to_string();
    ask(&client, |client| client.enrol(&Code::generate().unwrap()).map(drop)).await.unwrap_err();
    ask(&client, move |client| client.enrol(&ticket.code)).await.unwrap();
    ask(&client, |client| client.credential()).await.unwrap();
    for path in ["/nothing", "/v1/../secret", "/v1/members/%00"] {
        plain(&site, "GET", path).await;
    }
    for _ in 0..12 {
        plain(&site, "GET", "/v1/members").await;
    }
    let text = scrape(&site).await;
    let samples = samples(&text);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let fits =
            |found: &Labels| labels.iter().all(|(k, v)| found.iter().any(|(fk, fv)| fk == k && fv == v));
        samples.iter().filter(|(n, l, _)| n == name && fits(l)).map(|(.., value)| value).sum::<f64>()
    };
    assert_eq!(value("ockam_kms_tickets_total", &[("outcome", "made")]), 1.0);
    assert_eq!(value("ockam_kms_tickets_total", &[("outcome", "redeemed")]), 1.0);
    assert_eq!(value("ockam_kms_tickets_total", &[("outcome", "refused")]), 1.0);
    assert_eq!(value("ockam_kms_credentials_issued_total", &[]), 1.0);
    assert_eq!(value("ockam_kms_vault_calls_total", &[("operation", "sign"), ("outcome", "ok")]), 1.0);
    assert_eq!(value("ockam_kms_vault_call_seconds_count", &[("operation", "sign")]), 1.0);
    assert!(value("ockam_kms_requests_total", &[("outcome", "rate-limited")]) > 0.0);
    assert!(value("ockam_kms_store_commits_total", &[]) >= 4.0);
    assert_eq!(
        value("ockam_kms_store_commits_total", &[]),
        value("ockam_kms_store_commit_seconds_count", &[])
    );
    let enrol = [("method", "POST"), ("route", "/v1/enrol")];
    assert_eq!(value("ockam_kms_requests_total", &[&enrol[..], &[("outcome", "ok")]].concat()), 1.0);
    assert_eq!(value("ockam_kms_requests_total", &[&enrol[..], &[("outcome", "forbidden")]].concat()), 1.0);
    assert!(value("ockam_kms_requests_total", &[("route", "other"), ("outcome", "not-found")]) >= 1.0);
    assert_eq!(value("ockam_kms_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    let identifier = person.identity.identifier().to_string();
    for secret in [identifier.as_str(), &identifier[1..], &code, "secret", "nothing", "%00", "127.0.0.1"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    let known = ["method", "route", "outcome", "operation", "le", "version"];
    for (name, labels, _) in &samples {
        assert!(name.starts_with("ockam_kms_"), "{name}");
        assert!(labels.iter().all(|(label, _)| known.contains(&label.as_str())), "{name}: {labels:?}");
    }
    assert!(samples.len() < 400, "{} series", samples.len());
}

#[tokio::test]
async fn metrics_are_for_this_machine_unless_it_is_said() {
    let world = World::new(memory).await;
    let open = async |options| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        Server::start_metrics(&world.authority, listener, options)
    };
    assert_eq!(open(Options::default()).await.unwrap_err().kind(), Kind::Denied);
    open(Options { insecure_http: true, ..Options::default() }).await.unwrap().stop().await;
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_in_the_log_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    // Each test has a process of its own, so there is no other logger.
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let failing = Failing::new();
    let site = Site::of(World::with(memory, failing.clone(), |_| {}).await, Options::default()).await;
    let (person, client) = site.stranger().await;
    let (client, enroller) = (Arc::new(client), Arc::new(site.enroller().await));
    let ticket =
        ask(&enroller, |enroller| enroller.make_ticket(&Default::default(), None, None)).await.unwrap();
    let code = ticket.code.expose_hex().to_string();
    ask(&client, move |client| client.enrol(&ticket.code)).await.unwrap();
    failing
        .fail_next(vault::Error::new(vault::Kind::Backend, "the token said 0x30").with_source("deeper down"));
    ask(&client, |client| client.credential()).await.unwrap_err();
    let granted = ask(&client, |client| client.credential()).await.unwrap();
    let answer = plain(&site, "GET", "/v1/members").await;
    let id = answer.header("x-request-id").unwrap().to_owned();

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<_> = lines.iter().filter(|line| line["fields"]["message"] == "answered").collect();
    let of = |route: &str, status: u64| {
        let fits = |line: &&&Value| line["span"]["route"] == route && line["fields"]["status"] == status;
        answered.iter().find(fits).unwrap_or_else(|| panic!("{route} {status}: {text}"))
    };
    let subject = person.identity.identifier().to_string();
    let enrolled = of("/v1/enrol", 204);
    assert_eq!(
        (&enrolled["span"]["subject"], &enrolled["span"]["method"]),
        (&json!(subject), &json!("POST"))
    );
    assert!(enrolled["fields"]["milliseconds"].as_f64().unwrap() > 0.0);
    let failed = of("/v1/credential", 500);
    assert_eq!((&failed["level"], &failed["fields"]["outcome"]), (&json!("WARN"), &json!("internal")));
    // What is behind a fault of ours stands under the same id, with its kind and its sources.
    let why = lines.iter().find(|line| line["fields"]["message"] == "issuing failed").unwrap();
    assert_eq!(why["span"]["id"], failed["span"]["id"]);
    assert!(why["fields"]["kind"].as_str().unwrap().contains("Backend"), "{why}");
    assert!(why["fields"]["source"].as_str().unwrap().contains("deeper down"), "{why}");
    let unsigned = of("/v1/members", 401);
    assert_eq!((&unsigned["span"]["id"], &unsigned["fields"]["reason"]), (&json!(id), &json!("unsigned")));
    assert_eq!(unsigned["span"].get("subject"), None);
    let ids: std::collections::BTreeSet<_> =
        answered.iter().map(|line| line["span"]["id"].to_string()).collect();
    assert_eq!(ids.len(), answered.len(), "each has its own");
    for secret in [code, granted.credential.to_hex().unwrap(), "sig=:".to_owned(), "sha-256=:".to_owned()] {
        assert!(!text.contains(&secret), "`{secret}` is in the log");
    }
}
