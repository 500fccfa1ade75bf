//! One row for each way in which a request can fail to prove who sent it, and what the server answers. Every one of them asks
//! for a member to be added; after each refusal there is none.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{Identifier, Timestamp, Validity};

use crate::common::{NOW, person, rotated, signer};
use crate::net::{Answer, ByHand, RequestKey, STARTED, Site, THEN, digest, golden, send, shown};

/// Asks for a member of its own, so that what was done can be told from what was refused.
struct Rows<'a> {
    site: &'a Site,
    key: &'a RequestKey,
    count: u8,
    table: String,
}

impl Rows<'_> {
    fn target(&self) -> Identifier {
        Identifier::from_bytes([self.count; 32])
    }

    fn request(&mut self) -> ByHand {
        self.count += 1;
        let body = format!("{{\"identifier\":\"{}\",\"attributes\":{{}}}}", self.target());
        let identity = &self.site.world.enroller.identity;
        ByHand::new(self.site, identity, self.key, "POST", "/v1/members", body.as_bytes())
    }

    async fn row(&mut self, name: &str, change: impl FnOnce(&mut ByHand)) {
        let mut request = self.request();
        change(&mut request);
        let answer = request.send(self.site.addr()).await;
        self.note(name, &answer).await;
    }

    /// Changes the bytes after they were signed.
    async fn altered(&mut self, name: &str, from: &str, to: &str) {
        let request = self.request();
        let head = request.head().await;
        let from = from.replace("{host}", &request.host).replace("{digest}", &request.digest);
        let altered = head.replacen(&from, to, 1);
        assert_ne!(head, altered, "{name}: nothing was changed");
        let mut bytes = altered.into_bytes();
        bytes.extend(&request.body);
        let answer = send(self.site.addr(), &bytes).await;
        self.note(name, &answer).await;
    }

    async fn note(&mut self, name: &str, answer: &Answer) {
        let (kind, needs, reason) = (answer.field("kind"), answer.field("needs"), answer.field("reason"));
        writeln!(self.table, "{name:<48} {} {kind} {needs} {reason}", answer.status).unwrap();
        let world = &self.site.world;
        let added = world.authority.member(&world.enroller().await, &self.target()).await.is_ok();
        assert_eq!(added, answer.status == 204, "{name}: done and answered differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_rule_has_its_answer() {
    let site = Site::new().await;
    let key = RequestKey::of(&site.world, &site.world.enroller).await;
    let mut rows = Rows { site: &site, key: &key, count: 0, table: String::new() };
    rows.row("good", |_| {}).await;
    rows.row("good, history and key known", |r| r.shown = None).await;
    forms(&mut rows).await;
    components(&mut rows).await;
    parameters(&mut rows).await;
    times(&mut rows).await;
    contents(&mut rows).await;
    senders(&mut rows).await;
    replays(&mut rows).await;
    golden("http-refusals.txt", &rows.table);
}

async fn forms(rows: &mut Rows<'_>) {
    rows.altered("no signature-input", "signature-input:", "x-signature-input:").await;
    rows.altered("no signature", "\r\nsignature:", "\r\nx-signature:").await;
    rows.altered("two signature-inputs", "signature-input:", "signature-input: b=()\r\nsignature-input:")
        .await;
    rows.altered("two labels", "signature-input: ", "signature-input: b=(), ").await;
    rows.altered("labels differ", "signature-input: sig=", "signature-input: other=").await;
    rows.altered("no structured field", "signature-input: sig=(", "signature-input: sig=((").await;
    rows.altered("not ascii", "signature-input: sig", "signature-input: s\u{e9}g").await;
    rows.altered("signature is no byte sequence", "signature: sig=:", "signature: sig=:*").await;
    rows.altered("signature too long", "signature: sig=:", "signature: sig=:AAAA").await;
}

async fn components(rows: &mut Rows<'_>) {
    for missing in ["@method", "@target-uri", "content-digest", "ockam-authority"] {
        rows.row(&format!("{missing} not covered"), |r| r.components.retain(|name| name != missing)).await;
    }
    rows.row("nothing covered", |r| r.components.clear()).await;
    rows.row("one more covered", |r| r.components.push("date".to_owned())).await;
    rows.row("one covered twice", |r| r.components.push("@method".to_owned())).await;
    rows.row("@path in place of @target-uri", |r| r.components[1] = "@path".to_owned()).await;
    rows.row("another order (good)", |r| r.components.reverse()).await;
    rows.row("an idempotency key (good)", |r| r.once("a")).await;
    rows.row("an idempotency key, not covered", |r| {
        r.once("b");
        r.components.pop();
    })
    .await;
    rows.row("an idempotency key, covered and not sent", |r| {
        r.once("c");
        r.headers.clear();
    })
    .await;
    rows.altered(
        "an idempotency key put in on the way",
        "\r\ncontent-length:",
        "\r\nidempotency-key: d\r\ncontent-length:",
    )
    .await;
}

async fn parameters(rows: &mut Rows<'_>) {
    for missing in ["created", "expires", "nonce", "keyid", "alg", "tag"] {
        rows.row(&format!("no {missing}"), |r| r.without = vec![missing]).await;
    }
    rows.row("unknown parameter", |r| r.more = ";extra".to_owned()).await;
    rows.row("nonce of 15 bytes", |r| r.nonce = STANDARD.encode([1; 15])).await;
    rows.row("nonce of 17 bytes", |r| r.nonce = STANDARD.encode([1; 17])).await;
    rows.row("nonce is no base64", |r| r.nonce = "*".repeat(24)).await;
    rows.row("keyid without change", |r| r.keyid.truncate(65)).await;
    rows.row("keyid in upper case", |r| r.keyid.make_ascii_uppercase()).await;
    rows.row("alg none", |r| r.alg = "none".to_owned()).await;
    rows.row("alg hmac-sha256", |r| r.alg = "hmac-sha256".to_owned()).await;
    rows.row("alg rsa-pss-sha512", |r| r.alg = "rsa-pss-sha512".to_owned()).await;
    rows.row("alg of another key type", |r| r.alg = "ecdsa-p256-sha256".to_owned()).await;
    rows.row("foreign tag", |r| r.tag = "ockam-kms-v2".to_owned()).await;
}

async fn times(rows: &mut Rows<'_>) {
    let now = THEN.0;
    let mut at = async |name: &str, created: u64, expires: u64| {
        rows.row(name, |r| (r.created, r.expires) = (created, expires)).await;
    };
    at("lives 61 seconds", now, now + 61).await;
    at("lives no time", now, now).await;
    at("ends before it begins", now, now - 1).await;
    at("lives for ever", now, 999_999_999_999_999).await;
    at("created in 3 seconds", now + 3, now + 60).await;
    at("created in 2 seconds (good)", now + 2, now + 62).await;
    at("expired a second ago", now - 20, now - 1).await;
    at("expires now (good)", now - 20, now).await;
    at("created before the server started", STARTED.0 - 1, now + 10).await;
    at("created in the second of the start", STARTED.0, now + 10).await;
    at("created 2 seconds later", STARTED.0 + 2, now + 10).await;
    at("created 3 seconds later (good)", STARTED.0 + 3, now + 10).await;
    let mut under_a_key = async |name: &str, created: u64, expires: u64| {
        rows.row(name, |r| {
            (r.created, r.expires) = (created, expires);
            r.once(&format!("{created}"));
        })
        .await;
    };
    under_a_key("under a key: created in 61 seconds", now + 61, now + 100).await;
    under_a_key("under a key: created in 60 seconds (good)", now + 60, now + 120).await;
    under_a_key("under a key: created in the second of the start", STARTED.0, now + 10).await;
    under_a_key("under a key: created a second later (good)", STARTED.0 + 1, now + 10).await;
}

async fn contents(rows: &mut Rows<'_>) {
    let other = Identifier::from_bytes([0xAA; 32]).to_string();
    rows.row("signed for another authority", |r| r.audience = other.clone()).await;
    rows.altered("authority changed on the way", "ockam-authority: I", "ockam-authority: J").await;
    rows.altered("no ockam-authority", "ockam-authority: I", "x-authority: I").await;
    rows.altered("two ockam-authority", "ockam-authority: ", "ockam-authority: x\r\nockam-authority: ").await;
    rows.row("digest of another body", |r| r.digest = digest(b"another")).await;
    rows.row("digest by sha-512 alone", |r| r.digest = "sha-512=:AAAA:".to_owned()).await;
    rows.row("body changed on the way", |r| r.body[20] ^= 1).await;
    rows.altered("no content-digest", "content-digest:", "x-digest:").await;
    rows.altered("digest written in another way", "{digest}", "a=1").await;
    rows.altered("method changed on the way", "POST /v1/members", "DELETE /v1/members").await;
    rows.altered("path changed on the way", "POST /v1/members", "POST /v1/tickets").await;
    rows.altered("query added on the way", "POST /v1/members", "POST /v1/members?x").await;
    rows.altered("host changed on the way", "host: {host}", "host: example.com").await;
    rows.altered("no host", "host: ", "x-host: ").await;
    rows.altered(
        "time changed on the way",
        &format!("created={}", THEN.0),
        &format!("created={}", THEN.0 + 1),
    )
    .await;
    rows.altered("nonce changed on the way", "nonce=\"A", "nonce=\"B").await;
}

async fn senders(rows: &mut Rows<'_>) {
    let site = rows.site;
    let (world, enroller) = (&site.world, &site.world.enroller);
    let stranger = person(&world.vault).await;
    let strangers_key = RequestKey::of(world, &stranger).await;
    let second_key = RequestKey::of(world, enroller).await;
    let unattested = signer(&world.vault).await;
    let expired =
        RequestKey::valid(world, enroller, Validity { from: NOW, until: Timestamp(THEN.0 - 1) }).await;
    let of_stranger = |r: &mut ByHand| {
        r.signer = strangers_key.signer.clone();
        r.keyid = format!("{}:{}", stranger.identity.identifier(), stranger.identity.latest().hash());
    };
    rows.row("a stranger who shows nothing", |r| {
        of_stranger(r);
        r.shown = None;
    })
    .await;
    rows.row("a stranger who shows themselves", |r| {
        of_stranger(r);
        r.shown = Some(shown(&stranger.identity, &strangers_key));
    })
    .await;
    rows.row("a stranger in the enroller's name", |r| {
        r.signer = strangers_key.signer.clone();
        r.shown = None;
    })
    .await;
    rows.row("a stranger's history in the enroller's name", |r| {
        r.signer = strangers_key.signer.clone();
        r.shown = Some(shown(&stranger.identity, &strangers_key));
    })
    .await;
    rows.row("the enroller's history, a stranger's key", |r| {
        r.signer = strangers_key.signer.clone();
        r.shown = Some(shown(&enroller.identity, &strangers_key));
    })
    .await;
    rows.row("a key that nobody attested", |r| r.signer = unattested.clone()).await;
    rows.row("an attestation that is over", |r| {
        r.signer = expired.signer.clone();
        r.shown = Some(shown(&enroller.identity, &expired));
    })
    .await;
    rows.row("a second key, not shown", |r| {
        r.signer = second_key.signer.clone();
        r.shown = None;
    })
    .await;
    rows.row("a second key, shown (good)", |r| {
        r.signer = second_key.signer.clone();
        r.shown = Some(shown(&enroller.identity, &second_key));
    })
    .await;
    rows.row("the first key still (good)", |r| r.shown = None).await;
    rows.row("a change that is not known", |r| {
        r.keyid = format!("{}:{}", enroller.identity.identifier(), "00".repeat(32));
        r.shown = None;
    })
    .await;
    let fresh = rotated(enroller, &world.vault, THEN).await;
    let fresh_key = RequestKey::valid(world, &fresh, Validity::starting(THEN, 3600)).await;
    rows.row("a later history, under the earlier change", |r| {
        r.signer = fresh_key.signer.clone();
        r.shown = Some(shown(&fresh.identity, &fresh_key));
    })
    .await;
    for (name, header) in [
        ("identity header: no base64", "***".to_owned()),
        ("identity header: no cbor", STANDARD.encode([0xFF; 9])),
        ("identity header: empty", String::new()),
        ("identity header: bytes after its end", {
            let mut bytes = STANDARD.decode(shown(&enroller.identity, &second_key)).unwrap();
            bytes.push(0);
            STANDARD.encode(bytes)
        }),
        ("identity header: 32 KiB and more", "A".repeat(32 * 1024 + 4)),
    ] {
        rows.row(name, |r| {
            r.signer = unattested.clone();
            r.shown = Some(header);
        })
        .await;
    }
}

async fn replays(rows: &mut Rows<'_>) {
    let first = rows.request();
    let answer = first.send(rows.site.addr()).await;
    rows.note("before it is replayed (good)", &answer).await;
    let answer = first.send(rows.site.addr()).await;
    let (kind, reason) = (answer.field("kind"), answer.field("reason"));
    writeln!(rows.table, "{:<48} {} {kind} - {reason}", "replayed", answer.status).unwrap();
    let nonce = first.nonce.clone();
    rows.row("the same nonce, signed anew", |r| r.nonce = nonce.clone()).await;
    rows.row("the same nonce, another time", |r| (r.nonce, r.expires) = (nonce.clone(), r.expires - 5)).await;
    // Another identity's nonce is another nonce: it is refused for not being an enroller.
    let world = &rows.site.world;
    let other = person(&world.vault).await;
    let key = RequestKey::of(world, &other).await;
    rows.row("the same nonce, another identity", |r| {
        r.nonce = nonce;
        r.signer = key.signer.clone();
        r.keyid = format!("{}:{}", other.identity.identifier(), other.identity.latest().hash());
        r.shown = Some(shown(&other.identity, &key));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_at_once_are_taken_once() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for round in 0..20 {
        let body = format!("{{\"identifier\":\"{}\"}}", Identifier::from_bytes([round; 32]));
        let request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/members", body.as_bytes());
        let (addr, mut sent) = (site.addr(), tokio::task::JoinSet::new());
        for _ in 0..4 {
            let request = request.clone();
            sent.spawn(async move { request.send(addr).await.status });
        }
        let mut statuses = sent.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 401, 401, 401]);
    }
}
