//! The authority over TLS, through the program: started, enrolled at, asked for a credential, given a new certificate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use ockam_kms_tests::cli::{Kms, Ran};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

/// A CA of one's own, whose certificate is the file `ca.crt`.
fn ca(kms: &Kms) -> Issuer<'static, KeyPair> {
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a CA of one's own");
    kms.file("ca.crt", params.self_signed(&key).unwrap().pem());
    Issuer::new(params, key)
}

/// Writes `tls.crt` and `tls.key`.
fn certificate(kms: &Kms, ca: &Issuer<'static, KeyPair>, name: &str) {
    let (key, params) =
        (KeyPair::generate().unwrap(), CertificateParams::new(vec![name.to_owned()]).unwrap());
    kms.file("tls.crt", params.signed_by(&key, ca).unwrap().pem());
    let path = kms.file("tls.key", key.serialize_pem());
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn create(kms: &mut Kms, more: &[&str]) -> Ran {
    let common =
        ["authority", "create", "--project-identifier", "demo", "--trusted-identities", "trusted.json"];
    kms.at("authority").run(&[&common[..], more].concat())
}

const TLS: [&str; 4] = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"];

#[test]
fn enrolment_and_credentials_over_tls() {
    let mut kms = Kms::new();
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    kms.file("trusted.json", json!({ enroller: { "ockam-role": "enroller" } }).to_string());
    let ca = ca(&kms);
    certificate(&kms, &ca, "127.0.0.1");

    let shown =
        create(&mut kms, &[&TLS[..], &["--http-address", "127.0.0.1:0", "--output", "json"]].concat());
    let shown = shown.code(0).json();
    let url = shown["authority_route"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://127.0.0.1:") && shown["tls"] == json!(true), "{shown}");
    let history = kms
        .run_apart(&["identity", "show", "authority-demo", "--full", "--encoding", "hex"], b"")
        .code(0)
        .stdout;

    // Nobody whom this system trusts issued the certificate: the refusal names the way out.
    let route = ["--authority-route", &url, "--authority-identity", &history];
    let ticket = [&["project", "ticket", "-a", "role=member"], &route[..]].concat();
    let refused = kms.at("enroller").run(&[&ticket[..], &["--output", "json"]].concat()).code(65).json();
    assert!(refused["error"]["hint"].as_str().unwrap().contains("--authority-ca"), "{refused}");
    let ticket = kms.run(&[&ticket[..], &["--authority-ca", "ca.crt"]].concat()).code(0).stdout;
    // Stored with the project, from now on it needs no word.
    kms.run(&["project-member", "list"]).code(0);

    kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(65);
    let enroll = ["project", "enroll", "-", "--authority-ca", "ca.crt", "--output", "json"];
    let enrolled = kms.run_with(&enroll, ticket.as_bytes()).code(0).json();
    let credential = enrolled["credential"].as_str().unwrap();
    let issuer = kms.at("authority").run(&["identity", "show"]).code(0).stdout;
    let verified = kms
        .at("member")
        .run(&["credential", "verify", "--credential", credential, "--issuer", &issuer, "--output", "json"])
        .code(0)
        .json();
    assert_eq!(verified["attributes"]["role"], json!("member"), "{verified}");
    kms.run(&["project", "enroll"]).code(0);

    // A certificate for another host is taken in without a restart, and refused by whoever comes to this one.
    certificate(&kms, &ca, "authority.example");
    kms.at("authority").run(&["authority", "reload"]).code(0);
    let refused = kms.at("member").run(&["project", "enroll", "--output", "json"]).code(65).json();
    assert!(refused["error"]["hint"].as_str().unwrap().contains("host name"), "{refused}");
    // One that is no good is refused, and what is there stays.
    std::fs::set_permissions(kms.path("tls.key"), Permissions::from_mode(0o644)).unwrap();
    kms.at("authority").run(&["authority", "reload"]).code(77);
    std::fs::set_permissions(kms.path("tls.key"), Permissions::from_mode(0o600)).unwrap();
    certificate(&kms, &ca, "127.0.0.1");
    kms.at("authority").run(&["authority", "reload"]).code(0);
    kms.at("member").run(&["project", "enroll"]).code(0);
    kms.at("authority").run(&["authority", "stop"]).code(0);
}

#[test]
fn other_machines_need_tls_or_a_word() {
    let mut kms = Kms::new();
    kms.file("trusted.json", "{}");
    let ca = ca(&kms);
    certificate(&kms, &ca, "127.0.0.1");
    let open = ["--http-address", "0.0.0.0:0"];
    let refused = create(&mut kms, &[&open[..], &["--output", "json"]].concat()).code(77).json();
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("--tls-cert") && hint.contains("--insecure-http"), "{hint}");
    create(&mut kms, &[&open[..], &TLS[..2]].concat()).code(64);
    std::fs::set_permissions(kms.path("tls.key"), Permissions::from_mode(0o640)).unwrap();
    create(&mut kms, &[&open[..], &TLS[..]].concat()).code(77);
    std::fs::set_permissions(kms.path("tls.key"), Permissions::from_mode(0o600)).unwrap();
    for way in [&TLS[..], &["--insecure-http"]] {
        create(&mut kms, &[&open[..], way].concat()).code(0);
        kms.run(&["authority", "stop"]).code(0);
    }
}
