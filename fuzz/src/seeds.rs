//! Where the fuzzer starts from: of each target's input some that is good and some that nearly is, from the vectors of the
//! published crates (tests/vectors) and from what docs/formats.md shows.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use authority::audit::{AuditHead, AuditRow};
use evidence::KeyAttestation;
use identity::{Identity, IssuerBundle, PurposeKeyAttestation, RequestKeyAttestation, Timestamp, Validity};
use minicbor::Encoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vault::soft::SoftVault;
use vault::{Algorithm, KeyEvidence, KeyName, KeySpec, Signer, Vault, VerifyingKey, block_on};

const OCKAM: &str = include_str!("../../tests/vectors/ockam-0.150.json");
const KNOWN: &str = include_str!("../../tests/vectors/known-answers.txt");

/// Signed things of others.
#[derive(Debug)]
pub struct Vectors {
    /// Change histories, mutated ones among them.
    pub histories: Vec<Vec<u8>>,
    /// The histories of those who issued the credentials.
    pub issuers: Vec<Vec<u8>>,
    /// Credentials, mutated ones among them.
    pub credentials: Vec<Vec<u8>>,
    /// Purpose key attestations.
    pub attestations: Vec<Vec<u8>>,
}

static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
    let json: Value = serde_json::from_str(OCKAM).unwrap();
    let all = |list: &str, field: &str| -> Vec<Vec<u8>> {
        let items = json[list].as_array().unwrap().iter();
        let mut found: Vec<_> =
            items.map(|item| hex::decode(item[field].as_str().unwrap()).unwrap()).collect();
        found.sort();
        found.dedup();
        found
    };
    let known: BTreeMap<_, _> = KNOWN.lines().filter_map(|line| line.split_once(' ')).collect();
    let named =
        |names: &[&str]| names.iter().map(|name| hex::decode(known[name]).unwrap()).collect::<Vec<_>>();
    let mine = ["history-a", "history-b", "history-c", "history-d", "identity-1", "identity-1-rotated"];
    let issuers = [all("credentials", "issuer_change_history"), named(&["identity-1"])].concat();
    Vectors {
        histories: [all("identities", "change_history"), named(&mine), issuers.clone()].concat(),
        issuers,
        credentials: [all("credentials", "credential"), named(&["credential-1-about-2"])].concat(),
        attestations: named(&["channel-attestation-1", "credential-key-attestation-1"]),
    }
});

/// The vectors.
#[must_use]
pub fn vectors() -> &'static Vectors {
    &VECTORS
}

/// What a target starts from.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "change_history" => VECTORS.histories.clone(),
        "credential" => VECTORS.credentials.clone(),
        "purpose_key_attestation" => VECTORS.attestations.clone(),
        "issuer_bundle" => bundles(),
        "key_attestation" => key_attestations(),
        "request_key_attestation" => vec![request_key().1],
        "ticket_text" => tickets(),
        "key_uri" => texts(&KEY_URIS),
        "policy" => texts(&POLICIES),
        "http_headers" => headers(),
        "http_bodies" => numbered(&bodies()),
        "home_records" => numbered(&home_records()),
        "store_records" => numbered(&store_records()),
        "vault_files" => numbered(&vault_files()),
        "control_socket" => texts(&ASKS),
        "channel_message" => [
            "8282008183818200446563686f8182004361707042686940",
            "8282028040",
            "8282018280804040",
            "828200819f9f82180043666f6fff80420102ff40",
        ]
        .iter()
        .filter_map(|seed| hex::decode(seed).ok())
        .chain(refresh())
        .collect(),
        "handshake_payload" => vec![presented()],
        "node_frame" => {
            ["84818200436170698182004161417862 7b7d", "8380804178", "8580804178627b7d00", "9f80804178ff"]
                .iter()
                .filter_map(|seed| hex::decode(seed.replace(' ', "")).ok())
                .collect()
        }
        "multiaddr" => texts(&MULTIADDRS),
        "service_request" => service_requests(),
        "audit_log" => vec![audit_log(0), audit_log(1), audit_log(3)],
        _ => Vec::new(),
    }
}

/// Requests and answers in their envelopes, and the bodies of the authority's services.
fn service_requests() -> Vec<Vec<u8>> {
    let id = "22".repeat(32);
    let envelopes = [
        "0ea4011a0102030402612f030104f4",
        "12a4011a0102030402622f78030004f5010203",
        "12a4011a0a0b0c0d021a010203040318c804f4",
        "2ea4011a0a0b0c0d021a010203040319019304f5a301612f02010373756e617574686f72697a6564206d656d626572",
    ];
    let bodies = [
        format!("a2015820{id}02a161616162"),
        "a401a1616161620219025803021901 00f5".replace(' ', ""),
        format!("a2015820{id}19010043010203"),
        format!("a301a181186181186202010458 20{id}").replace(' ', ""),
        format!("a15820{id}a201a1811861811862 0201").replace(' ', ""),
        format!("815820{id}"),
        format!("81a601480102030405060708 02a1616161620358 20{id}0401050206 03").replace(' ', ""),
        "a1190100f5".to_owned(),
        "a119010005".to_owned(),
    ];
    let decoded = |hex: &str| hex::decode(hex).unwrap_or_default();
    let bodies: Vec<_> = bodies.iter().map(|body| decoded(body)).collect();
    envelopes.iter().map(|envelope| decoded(envelope)).chain(numbered(&bodies)).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Each with its number before it.
fn numbered(all: &[Vec<u8>]) -> Vec<Vec<u8>> {
    all.iter().enumerate().map(|(n, bytes)| [&[n as u8][..], bytes].concat()).collect()
}

/// Ways, as they are written.
const MULTIADDRS: [&str; 6] = [
    "/node/n1/node/n2/node/n3/service/api",
    "/ip4/127.0.0.1/tcp/4000/secure/api/service/echo",
    "/ip6/::1/tcp/65535/worker/a",
    "/dnsaddr/example.com/tcp/1/service/api/",
    "/project/p/service/echo",
    "/ip4/1.2.3.4/udp/1",
];

/// What the first of the known identities presents in a handshake, its channel key being that of [`CHANNEL_KEY`].
fn presented() -> Vec<u8> {
    [&[0x83][..], first_history(), &VECTORS.attestations[0], &[0x80]].concat()
}

fn first_history() -> &'static [u8] {
    VECTORS.issuers.last().unwrap()
}

/// The channel key of the first of the known identities.
pub const CHANNEL_KEY: &str = "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59";

/// New credentials in a record.
fn refresh() -> Vec<Vec<u8>> {
    let history = first_history();
    VECTORS
        .credentials
        .iter()
        .take(3)
        .map(|credential| {
            [&[0x82, 0x82, 0x01, 0x81, 0x82][..], history, &[0x81], credential, &[0x40]].concat()
        })
        .collect()
}

/// The base point of P-256 (SEC 2 §2.4.2), whose secret is one: a key of nobody.
const BASE_POINT: [&str; 2] = [
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
];

/// One of each kind. What the TPM says fits its key; nobody has certified who signed it.
fn key_attestations() -> Vec<Vec<u8>> {
    let bytes = |hex: &str| hex::decode(hex).unwrap();
    let [x, y] = BASE_POINT;
    let public = VerifyingKey::from_bytes(Algorithm::EcdsaP256, &bytes(&format!("04{x}{y}"))).unwrap();
    // An ECC key of SHA-256 with fixedTPM, fixedParent, sensitiveDataOrigin and sign, for ECDSA with SHA-256 on P-256.
    let area = bytes(&format!("0023000b00040032000000100018000b000300100020{x}0020{y}"));
    let name = [&[0, 0x0b][..], &Sha256::digest(&area)].concat();
    let signer = "01".repeat(34);
    let attest = format!(
        "ff54434780170022{signer}0020{}{}{}0022{}0022{signer}",
        hex::encode(vault::binding(public.as_bytes())),
        "00".repeat(17),
        "0001020304050607",
        hex::encode(name)
    );
    let tpm = |chain| KeyEvidence::TpmCertify {
        attest: bytes(&attest),
        signature: bytes(&format!("0018000b0020{x}0020{y}")),
        public: area.clone(),
        chain,
    };
    let said = [
        tpm(Vec::new()),
        tpm(vec![vec![0x30, 0x03, 0x02, 0x01, 0x01]]),
        KeyEvidence::PivAttestation { certificate: vec![0x30, 0], intermediate: vec![0x30, 0] },
        KeyEvidence::Pkcs11Attributes {
            token: vec![("model".to_owned(), "m".to_owned())],
            attributes: vec![("CKA_SENSITIVE".to_owned(), true)],
            hardware: true,
        },
        KeyEvidence::KmsOrigin {
            arn: "arn:aws:kms:eu-west-1:111122223333:key/1".to_owned(),
            origin: "AWS_KMS".to_owned(),
            spec: "ECC_NIST_P256".to_owned(),
            multi_region: false,
        },
    ];
    said.map(|said| KeyAttestation::new(public.clone(), said, 1).encode().unwrap()).to_vec()
}

fn bundles() -> Vec<Vec<u8>> {
    let identity = Identity::import(VECTORS.issuers.last().unwrap()).unwrap();
    let decode = |bytes: &Vec<u8>| PurposeKeyAttestation::decode(bytes).unwrap();
    let attestations: Vec<_> = VECTORS.attestations.iter().map(decode).collect();
    let known = IssuerBundle::history_only(identity.clone());
    let none = IssuerBundle::new(identity.clone(), Vec::new());
    [known, none, IssuerBundle::new(identity, attestations)].map(|bundle| bundle.encode().unwrap()).to_vec()
}

/// An identity of nobody and the attestation of a request key of its.
fn request_key() -> (Identity, Vec<u8>) {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let signer = |name: &str| {
        let spec = KeySpec::ed25519(KeyName::new(name).unwrap());
        let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        Signer::bind(Arc::clone(&vault), key).unwrap()
    };
    let (primary, key, now) = (signer("primary"), signer("key"), Timestamp(1_795_300_000));
    let identity = block_on(Identity::create(&primary, Validity::of_primary_key(now))).unwrap();
    let valid = Validity::starting(now, 86_400);
    let attestation =
        block_on(RequestKeyAttestation::attest(&identity, &primary, key.public(), valid)).unwrap();
    (identity, attestation.encode().unwrap())
}

const CODE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ID: &str = "I923829d0397a06fa862be5a87b7966959b8ef99ab6455b843ca9131a747b4819";

fn tickets() -> Vec<Vec<u8>> {
    let short = format!("/service/p1,p1,name,{CODE},,8182,http://127.0.0.1:4100");
    let long = format!(
        "/dnsaddr/x/tcp/4000, p ,n,{CODE},82,{},/ip4/1.2.3.4/tcp/1,more",
        hex::encode(&VECTORS.histories[0])
    );
    let json = json!({
        "one_time_code": CODE, "project_route": {"id": "p1", "route": "/service/p1"}, "project_identifier": null,
        "project_name": "name", "project_change_history": null, "authority_change_history": "8182",
        "authority_route": "http://127.0.0.1:4100",
    });
    let node = format!(
        "/dnsaddr/x/tcp/4000/service/p1/service/api,{ID},n,{CODE},82,8182,/ip4/1.2.3.4/tcp/1/service/api"
    );
    let legacy = json!({"one_time_code": CODE, "project": {
        "id": "p1", "name": "n", "access_route": "/dnsaddr/x/tcp/4000/service/p1/service/api", "identity": ID, "space_id": "",
        "project_change_history": "82", "authority_access_route": "/ip4/1.2.3.4/tcp/1", "authority_identity": "8182",
    }});
    [
        hex::encode(&short),
        hex::encode(json.to_string()),
        json.to_string(),
        short,
        long,
        node,
        legacy.to_string(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

const KEY_URIS: [&str; 9] = [
    "soft:",
    "soft:name=issuer",
    "soft:?path=/srv/vaults/a%20b",
    "pkcs11:token=my%20ca;serial=0123;object=issuer;id=%01%ff?module-path=/m.so&pin-source=file:/p",
    "pkcs11:object=k",
    "pkcs11:token=t?pin-value=1234",
    "soft:name=%zz",
    "issuer-2026.key_1",
    "../issuer",
];

const POLICIES: [&str; 16] = [
    "member and not guest",
    "a",
    "role=member or (site=\"oslo\" and not a)",
    "notary and roid",
    "(and (= subject.role \"member\") (member? subject.site [\"oslo\" \"bern\"]))",
    "(or (exists? subject.team) (not (= subject.a \"true\")))",
    "(if (> n 1) true false)",
    "(= -1.5e3 2)",
    "(!= \"a\\\"b\" 'c')",
    "subject.has_credential",
    "(= subject.identifier \"I69c2\")",
    "(< [1 2] [1 3]) (; comment ;)",
    "((((a))))",
    "(not not)",
    "= 1 1)",
    "true",
];

const ASKS: [&str; 10] = [
    r#"{"ask":"status"}"#,
    r#"{"ask":"stop"}"#,
    r#"{"ask":"reload"}"#,
    r#"{"ask":"rotate","identity":"authority","to_vault":"ca","to_key":null,"key_type":"p256","revoke_purpose_keys":true,"keep_old_key":false}"#,
    r#"{"ask":"audit","to":"/tmp/log"}"#,
    r#"{"ask":"orphans","after":"00ff"}"#,
    r#"{"ask":"conflicts","after":null}"#,
    r#"{"ask":"conflict","identifier":"I0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}"#,
    r#"{"ask":"decide","identifier":"I0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","keep":"shown"}"#,
    r#"{"ask":"destroy"}"#,
];

fn headers() -> Vec<Vec<u8>> {
    let (identity, attestation) = request_key();
    let mut shown = Vec::new();
    let mut encoder = Encoder::new(&mut shown);
    encoder.array(2).unwrap().bytes(identity.as_bytes()).unwrap().bytes(&attestation).unwrap();
    let parameters = format!(
        "created=1795400000;expires=1795400060;nonce=\"AAAAAAAAAAAAAAAAAAAAAA==\";alg=\"ed25519\";keyid=\"{ID}:{CODE}\";tag=\"ockam-kms-v1\""
    );
    let covered = "\"@method\" \"@target-uri\" \"content-digest\" \"ockam-authority\"";
    let signature = format!("sig=:{}:", base64(&[7; 64]));
    let digest = authority::fuzzing::digest_of(b"{}");
    [
        format!("\0sig=({covered});{parameters}\n{signature}"),
        format!("\0sig=({covered} \"idempotency-key\");{parameters}\n{signature}"),
        format!("\u{1}{digest}\n{{}}"),
        format!("\u{1}md5=:AA==:, {digest}\n{{}}"),
        format!("\u{2}{}", base64(&shown)),
        format!("\u{3}after={ID}&limit=10"),
        "\u{3}limit=1000".to_owned(),
        "\u{4}HTTPS://Example.org:443/path/".to_owned(),
        "\u{4}http://127.0.0.1:4100".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// RFC 4648 §4, which nothing else here needs.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32, place: u32| char::from(DIGITS[(value >> place & 63) as usize]);
    let group = |three: &[u8]| {
        let value = (0..3).fold(0, |value, n| value << 8 | u32::from(three.get(n).copied().unwrap_or(0)));
        let text: String =
            [18, 12, 6, 0].map(|place| digit(value, place)).iter().take(three.len() + 1).collect();
        format!("{text:=<4}")
    };
    bytes.chunks(3).map(group).collect()
}

fn bytes_of(values: &[Value]) -> Vec<Vec<u8>> {
    values.iter().map(|value| serde_json::to_vec(value).unwrap()).collect()
}

/// In the order of `authority::fuzzing`: three requests, then answers.
fn bodies() -> Vec<Vec<u8>> {
    let ticket = json!({
        "reference": "0011223344556677", "attributes": {"role": "member"}, "issued_by": ID, "created_at": 1, "expires_at": 2,
        "uses_left": 3,
    });
    let mut made = ticket.clone();
    made["code"] = json!(CODE);
    let member =
        json!({"identifier": ID, "attributes": {}, "added_by": ID, "added_at": 1, "pre_trusted": true});
    bytes_of(&[
        json!({"code": CODE}),
        json!({"identifier": ID, "attributes": {"role": "member", "ockam-role": "enroller"}}),
        json!({"attributes": {"a": "b"}, "expires_in": 60.0, "uses": 3}),
        json!({"identifier": ID, "change_history": "81", "attestations": ["82"], "bundle": "82"}),
        json!({"credential": "8282", "expires_at": 1_795_400_000}),
        json!({"deleted": 7}),
        made,
        json!({"ready": false, "missing": ["store"]}),
        json!({"alive": true}),
        json!({"type": "urn:ockam-kms:problem:forbidden", "title": "t", "kind": "forbidden", "status": 403, "detail": "d", "needs": "history"}),
        member.clone(),
        json!({"items": [member], "next": ID}),
        json!({"items": [ID], "next": ID}),
        json!({"items": [ticket], "next": "0011223344556677"}),
    ])
}

/// In the order of `home::fuzzing::RECORDS`.
fn home_records() -> Vec<Vec<u8>> {
    let of = |record: Value| json!({"format": 1, "record": record});
    let key = json!({"vault": "default", "uri": "soft:name=a", "algorithm": "ed25519", "public": CODE});
    let history = hex::encode(&VECTORS.issuers[0]);
    let identity = json!({
        "identifier": ID, "change_history": history, "key": key, "credential_key": {"key": key, "attestation": "82"},
    });
    let entry = json!({
        "phase": "prepared", "plan": {"identity": "a", "to_vault": null, "to_key": null, "key_type": null,
        "revoke_purpose_keys": false, "keep_old_key": true}, "identifier": ID, "before": identity, "new_vault": "v",
        "new_name": "n", "new_key": key, "after": null,
    });
    bytes_of(&[
        of(json!({"uri": "soft:?path=/v"})),
        of(json!({"vault": "v", "path": "/p"})),
        of(identity),
        of(json!({"key": "k", "attestation": "82"})),
        of(json!({"change_history": history})),
        of(json!({"known": "81", "shown": "82", "at": 1})),
        of(
            json!({"subject": ID, "issuer": ID, "scope": "s", "credential": hex::encode(&VECTORS.credentials[0])}),
        ),
        of(
            json!({"identifier": "p", "name": "n", "project_route": "/service/p", "project_change_history": "",
            "authority_route": "http://x", "authority_change_history": history, "authority_ca": "PEM"}),
        ),
        of(
            json!({"kind": "authority", "pid": 1, "identity": "a", "project": "p", "http_address": "127.0.0.1:1", "tls": true,
            "metrics_address": "127.0.0.1:2", "store": "memory:"}),
        ),
        json!({"vault": "v", "identity": "i", "project": null}),
        json!({"format": 1, "entry": entry.to_string(), "code": CODE}),
    ])
}

/// In the order of `authority::fuzzing`.
fn store_records() -> Vec<Vec<u8>> {
    let record = |write: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut bytes = vec![1];
        write(&mut Encoder::new(&mut bytes));
        bytes
    };
    type Out<'a> = Encoder<&'a mut Vec<u8>>;
    let id = [3; 32];
    let attributes = |out: &mut Out<'_>| {
        out.map(1).unwrap().str("role").unwrap().str("member").unwrap();
    };
    let history = |out: &mut Out<'_>| {
        out.array(2).unwrap().bytes(&VECTORS.histories[0]).unwrap().array(1).unwrap().bytes(&id).unwrap();
    };
    let issued = |out: &mut Out<'_>| {
        out.array(4).unwrap().bytes(&id).unwrap().bytes(&id).unwrap().u64(1).unwrap().u64(2).unwrap();
    };
    vec![
        record(&|out| _ = out.array(2).unwrap().bytes(&id).unwrap().u64(1).unwrap()),
        record(&|out| {
            out.array(5).unwrap().bytes(&id).unwrap();
            attributes(out);
            out.bytes(&id).unwrap().u64(1).unwrap().bool(true).unwrap();
        }),
        record(&|out| {
            out.array(6).unwrap().bytes(&[1; 8]).unwrap();
            attributes(out);
            out.bytes(&id).unwrap().u64(1).unwrap().u64(2).unwrap().u32(3).unwrap();
        }),
        record(&|out| _ = out.bytes(&id).unwrap()),
        record(&|out| _ = out.u64(7).unwrap()),
        record(&|out| {
            out.array(5).unwrap().bytes(&id).unwrap().bytes(&id).unwrap().u64(1).unwrap().u64(2).unwrap();
            out.array(2).unwrap().u32(2).unwrap().array(3).unwrap();
            out.bytes(&[1; 8]).unwrap().bytes(&id).unwrap().u64(5).unwrap();
        }),
        record(&history),
        record(&|out| {
            out.array(5).unwrap().bytes(&id).unwrap();
            history(out);
            history(out);
            out.u64(1).unwrap().array(2).unwrap().u8(1).unwrap().u64(2).unwrap();
        }),
        record(&issued),
        record(&|out| {
            out.array(9).unwrap().u64(1).unwrap().u64(2).unwrap();
            for text in ["operator", "stop", "", "ockam-role", "done", CODE, CODE] {
                out.str(text).unwrap();
            }
        }),
        record(&|out| _ = out.array(2).unwrap().u64(1).unwrap().str(CODE).unwrap()),
        record(&|out| _ = out.array(2).unwrap().u64(1).unwrap().u32(2).unwrap()),
        record(&|out| {
            out.array(2).unwrap();
            issued(out);
            out.u32(1).unwrap();
        }),
    ]
}

fn vault_files() -> Vec<Vec<u8>> {
    let header = |lock: Value| json!({"format": 1, "vault_id": "00112233445566778899aabbccddeeff", "lock": lock, "data_key": CODE});
    let key = json!({"format": 1, "key_id": "00112233445566778899aabbccddeeff", "name": "issuer", "algorithm": "ed25519", "public": CODE, "sealed": CODE});
    let passphrase = json!({"type": "passphrase", "salt": "00112233445566778899aabbccddeeff", "memory_kib": 65536, "passes": 3, "lanes": 1});
    // Which file is even or odd.
    bytes_of(&[
        header(json!({"type": "key-file", "path": "kek"})),
        key,
        header(passphrase),
        json!({"format": 1, "key_id": "0", "name": "issuer", "algorithm": "aes256-gcm", "public": null, "sealed": ""}),
        header(
            json!({"type": "vault", "vault": "ca", "vault_id": "pkcs11:token=ca;serial=1", "key": "pkcs11:object=kek"}),
        ),
    ])
}

/// A log of so many rows.
fn audit_log(rows: u64) -> Vec<u8> {
    let mut head = AuditHead::start();
    let mut log = Vec::new();
    for sequence in 1..=rows {
        let text = str::to_owned;
        let mut row = AuditRow {
            sequence,
            at: Timestamp(1_795_400_000 + sequence),
            actor: text("operator"),
            action: text("store-create"),
            object: text(ID),
            details: text("ockam-role"),
            outcome: text("done"),
            previous: head.hash,
            hash: String::new(),
        };
        row.hash = row.computed_hash();
        log.extend(serde_json::to_vec(&row).unwrap());
        log.push(b'\n');
        head = row.head();
    }
    log
}
