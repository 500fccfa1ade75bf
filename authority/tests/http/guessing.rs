//! Guessing: ten wrong tickets or unproven senders a minute, however they are spelled or sent; never a limit on
//! what goes well; and no answer that tells one useless ticket from another.

use std::sync::Arc;

use authority::http::Options;
use authority::ticket::{Code, NewTicket};
use identity::Timestamp;
use tokio::task::JoinSet;

use crate::common::{Person, World, attributes, memory, person};
use crate::net::{ByHand, RequestKey, Site, THEN, plain, send};

async fn limited() -> Arc<Site> {
    let options = Options { limit_loopback: true, ..Options::default() };
    Arc::new(Site::of(World::new(memory).await, options).await)
}

async fn enrolment(site: &Site, person: &Person, code: &str) -> ByHand {
    let key = RequestKey::of(&site.world, person).await;
    let body = serde_json::json!({ "code": code }).to_string();
    ByHand::new(site, &person.identity, &key, "POST", "/v1/enrol", body.as_bytes())
}

fn wrong() -> String {
    Code::generate().unwrap().expose_hex().to_string()
}

async fn ticket(site: &Site, uses: u32) -> String {
    let new = NewTicket::new(attributes(&[]), Some(60), Some(uses)).unwrap();
    let made = site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap();
    made.code.expose_hex().to_string()
}

/// How many of these requests, sent all at once, had which status.
async fn statuses(site: &Site, requests: Vec<ByHand>) -> Vec<(u16, usize)> {
    let (addr, mut sent) = (site.addr(), JoinSet::new());
    for request in requests {
        sent.spawn(async move { request.send(addr).await });
    }
    let mut counts = std::collections::BTreeMap::new();
    for answer in sent.join_all().await {
        *counts.entry(answer.status).or_default() += 1;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429, "{answer:?}");
    }
    counts.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_guesses_of_one_identity_at_once_are_ten() {
    let site = limited().await;
    let guesser = person(&site.world.vault).await;
    let mut requests = Vec::new();
    for _ in 0..40 {
        requests.push(enrolment(&site, &guesser, &wrong()).await);
    }
    assert_eq!(statuses(&site, requests).await, [(403, 10), (429, 30)]);
}

/// This machine is no source that is limited by default; an identity that comes from it is one.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_behind_a_proxy_of_this_machine_guesses_ten_times_and_keeps_nobody_out() {
    let site = Arc::new(Site::new().await);
    let guesser = person(&site.world.vault).await;
    let mut requests = Vec::new();
    for _ in 0..40 {
        requests.push(enrolment(&site, &guesser, &wrong()).await);
    }
    assert_eq!(statuses(&site, requests).await, [(403, 10), (429, 30)]);
    let code = ticket(&site, 1).await;
    let newcomer = person(&site.world.vault).await;
    assert_eq!(statuses(&site, vec![enrolment(&site, &newcomer, &code).await]).await, [(204, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_guesses_of_as_many_identities_on_one_machine_are_ten() {
    let site = limited().await;
    let mut requests = Vec::new();
    for _ in 0..40 {
        let guesser = person(&site.world.vault).await;
        requests.push(enrolment(&site, &guesser, &wrong()).await);
    }
    assert_eq!(statuses(&site, requests).await, [(403, 10), (429, 30)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_that_go_well_at_once_all_go() {
    let site = limited().await;
    let code = ticket(&site, 40).await;
    let mut requests = Vec::new();
    for _ in 0..40 {
        let newcomer = person(&site.world.vault).await;
        requests.push(enrolment(&site, &newcomer, &code).await);
    }
    assert_eq!(statuses(&site, requests).await, [(204, 40)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_and_no_header_makes_another_guesser() {
    let site = limited().await;
    let guesser = person(&site.world.vault).await;
    let code = wrong();
    let spellings = [
        code.clone(),
        code.to_ascii_uppercase(),
        format!(" {code}"),
        format!("{code}\\n"),
        format!("\\t{code} "),
        code.replacen(char::is_alphabetic, "A", 1),
        code.chars().enumerate().map(|(n, c)| if n % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect(),
    ];
    let headers = [
        "",
        "x-forwarded-for: 192.0.2.1\r\n",
        "x-forwarded-for: 2001:db8::1, 192.0.2.9\r\n",
        "forwarded: for=192.0.2.60;proto=http\r\n",
        "x-real-ip: 192.0.2.7\r\n",
        "x-client-ip: 192.0.2.8\r\ntrue-client-ip: 192.0.2.8\r\n",
        "cf-connecting-ip: 192.0.2.9\r\nvia: 1.1 proxy\r\n",
    ];
    let mut statuses = Vec::new();
    for number in 0..21 {
        let mut request = enrolment(&site, &guesser, "").await;
        let spelling = &spellings[number % spellings.len()];
        // As it stands in JSON: with escapes that mean the same.
        let escaped = if number % 2 == 0 { spelling.clone() } else { spelling.replacen('0', "\\u0030", 1) };
        request.body = format!(r#"{{ "code":{}"{escaped}" }}"#, " ".repeat(number)).into_bytes();
        request.digest = crate::net::digest(&request.body);
        let more = headers[(number / 2) % headers.len()];
        let head = request.head().await.replacen("content-length:", &format!("{more}content-length:"), 1);
        let answer = send(site.addr(), &[head.as_bytes(), &request.body].concat()).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..10], [403; 10]);
    assert_eq!(statuses[10..], [429; 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_has_one_spelling() {
    let site = limited().await;
    let somebody = person(&site.world.vault).await;
    let code = ticket(&site, 1).await;
    let good = enrolment(&site, &somebody, &code).await;
    let keyid = good.keyid.clone();
    let (identifier, change) = keyid.split_once(':').unwrap();
    for spelling in [
        keyid.to_ascii_uppercase(),
        keyid.to_ascii_lowercase(),
        format!(" {keyid}"),
        format!("{keyid} "),
        format!("{identifier}:{}", change.to_ascii_uppercase()),
        format!("{}:{change}", identifier.trim_start_matches('I')),
        format!("{identifier}::{change}"),
        format!("I{}{}:{change}", if identifier.starts_with("I0") { '1' } else { '0' }, &identifier[2..]),
    ] {
        let mut request = good.clone();
        request.keyid = spelling.clone();
        request.renew();
        let answer = request.send(site.addr()).await;
        assert_eq!(answer.status, 401, "{spelling}: {answer:?}");
    }
    assert_eq!(good.send(site.addr()).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn useless_tickets_are_answered_alike_byte_for_byte() {
    let site = Site::new().await;
    let enroller = site.world.enroller().await;
    let used = ticket(&site, 1).await;
    let spender = person(&site.world.vault).await;
    assert_eq!(enrolment(&site, &spender, &used).await.send(site.addr()).await.status, 204);
    let expired = ticket(&site, 1).await;
    let revoked = {
        let new = NewTicket::new(attributes(&[]), Some(3600), None).unwrap();
        let made = site.world.authority.make_ticket(&enroller, new).await.unwrap();
        site.world.authority.revoke_ticket(&enroller, &made.ticket.reference).await.unwrap();
        made.code.expose_hex().to_string()
    };
    site.world.clock.set(Timestamp(THEN.0 + 59));
    site.world.clock.set(Timestamp(THEN.0 + 60));
    let mut answers = Vec::new();
    for code in [wrong(), "0".repeat(64), used, expired, revoked] {
        let stranger = person(&site.world.vault).await;
        let answer = enrolment(&site, &stranger, &code).await.send(site.addr()).await;
        // But for the time, and the id that each answer has of its own.
        let is_its_own = |line: &&str| line.starts_with("date:") || line.starts_with("x-request-id:");
        let head: Vec<_> = answer.head.lines().filter(|line| !is_its_own(line)).collect();
        answers.push((head.join("\n"), answer.body));
    }
    assert!(answers[0].0.starts_with("HTTP/1.1 403 "), "{answers:?}");
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_neither_lifts_the_limit_nor_makes_one() {
    let site = limited().await;
    let (year, now) = (365 * 86_400, THEN.0);
    let times = [now, now + 3600, now + 10 * year, now, now - 900, 0, u64::MAX, now, now, now];
    for time in times {
        site.world.clock.set(Timestamp(time));
        assert_eq!(plain(&site, "GET", "/v1/members").await.status, 401, "{time}");
    }
    for time in [now, now + 10 * year, 0, u64::MAX] {
        site.world.clock.set(Timestamp(time));
        let answer = plain(&site, "GET", "/v1/members").await;
        assert_eq!(answer.status, 429, "{time}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_that_is_no_good_is_a_failure() {
    let site = limited().await;
    let (one, other) = (person(&site.world.vault).await, person(&site.world.vault).await);
    let mut statuses = Vec::new();
    for _ in 0..11 {
        // The history is one's own, the attestation another's.
        let key = RequestKey::of(&site.world, &other).await;
        let request = ByHand::new(&site, &one.identity, &key, "GET", "/v1/members", b"");
        statuses.push(request.send(site.addr()).await.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10], 429);
}
