//! Through the program.

use ockam_kms_tests::awskms::{Emulator, REGION};
use ockam_kms_tests::cli::{Kms, Ran};
use serde_json::json;

/// A home, and an emulator whose credentials its program has.
fn start() -> (Kms, Emulator) {
    let (mut kms, aws) = (Kms::new(), Emulator::start());
    for (name, value) in aws.variables() {
        kms.set(name, value);
    }
    (kms, aws)
}

fn create(kms: &mut Kms, aws: &Emulator) -> Ran {
    kms.run(&["vault", "create", "cloud", "--uri", &aws.uri().to_string()])
}

#[test]
fn a_vault_is_registered_checked_and_used() {
    let (mut kms, aws) = start();
    create(&mut kms, &aws).code(0);
    let check = kms.run(&["vault", "check", "cloud", "--output", "json"]).code(0).json();
    assert_eq!(check["backend"], json!("awskms"));
    let lines = check["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 12);
    assert!(lines.iter().all(|line| line["ok"] == json!(true)), "{check}");
    assert_eq!(check["inventory"]["product"], json!("AWS KMS"), "{check}");
    let version = kms.run(&["version", "--output", "json"]).code(0).json();
    assert_eq!(version["backends"], json!(["soft", "pkcs11", "tpm", "yubikey", "awskms"]), "{version}");

    let identifier = kms.run(&["identity", "create", "issuer", "--vault", "cloud"]).code(0).stdout;
    kms.run(&["vault", "create", "soft"]).code(0);
    kms.run(&["identity", "rotate", "issuer", "--to-vault", "soft"]).code(0);
    kms.run(&["identity", "rotate", "issuer", "--to-vault", "cloud"]).code(0);
    assert_eq!(kms.run(&["identity", "show", "issuer"]).code(0).stdout, identifier);

    kms.run(&["key", "generate", "build", "--vault", "cloud", "--key-type", "p256"]).code(0);
    kms.run(&["key", "generate", "build", "--vault", "cloud", "--key-type", "p256"]).code(73);
    let signature = kms.run(&["key", "sign", "build", "release", "--vault", "cloud"]).code(0).stdout;
    let verify = ["key", "verify", "build", "release", "--vault", "cloud", "--signature", signature.trim()];
    kms.run(&verify).code(0);

    let said = kms.run(&["key", "attest", "build", "--vault", "cloud"]).code(0).stdout;
    let judged = kms.run(&["key", "attest", "verify", said.trim(), "--output", "json"]).code(0).json();
    assert_eq!(judged["kind"], json!("kms-origin"), "{judged}");
    assert_eq!(judged["attributes"]["key.protection"], json!("hardware"), "{judged}");
    assert_eq!(judged["attributes"]["key.exportable"], json!("false"), "{judged}");
}

#[test]
fn processes_that_make_one_name_make_one_key() {
    let (mut kms, aws) = start();
    create(&mut kms, &aws).code(0);
    for round in 0..3 {
        let name = format!("race-{round}");
        let make = ["key", "generate", &name, "--vault", "cloud", "--key-type", "p256"];
        let codes: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| kms.run_apart(&make, b"").code)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        let count = |code| codes.iter().filter(|found| **found == code).count();
        assert_eq!((count(0), count(73)), (1, 3), "{codes:?}");
    }
    let living = aws.keys().iter().filter(|key| key["state"] == json!("Enabled")).count();
    assert_eq!(living, 3);
}

#[test]
fn it_locks_a_software_vault() {
    let (mut kms, aws) = start();
    create(&mut kms, &aws).code(0);
    kms.run(&["vault", "create", "soft", "--kek", "vault=cloud"]).code(0);
    let identifier = kms.run(&["identity", "create", "alice", "--vault", "soft"]).code(0).stdout;
    // Each command is a start of its own: unlocked again and again.
    kms.run(&["key", "list", "--vault", "soft"]).code(0);

    aws.down();
    let refused = kms.run(&["key", "list", "--vault", "soft", "--output", "json"]).code(69).json();
    let text = refused["error"]["message"].as_str().unwrap();
    assert!(text.contains("`cloud`") && text.contains("`soft`"), "{refused}");
    aws.up();
    kms.run(&["key", "list", "--vault", "soft"]).code(0);

    // The key of the lock is gone, says so, and can be had back.
    let key = aws.keys().into_iter().find(|key| key["spec"] == json!("SYMMETRIC_DEFAULT")).unwrap();
    let id = key["id"].as_str().unwrap();
    aws.set(id, "key_state", &json!("Disabled"));
    kms.run(&["key", "list", "--vault", "soft"]).code(77);
    aws.set(id, "key_state", &json!("Enabled"));
    let name = key["tags"]["ockam-kms:name"].as_str().unwrap().to_owned();
    kms.run(&["key", "destroy", &name, "--vault", "cloud", "--yes"]).code(77);

    kms.run(&["vault", "rekey", "soft", "--key-file", "kek"]).code(0);
    aws.down();
    kms.run(&["key", "list", "--vault", "soft"]).code(0);
    aws.up();
    kms.run(&["vault", "rekey", "soft", "--kek", "vault=cloud"]).code(0);
    assert_eq!(kms.run(&["identity", "show", "alice"]).code(0).stdout, identifier);
}

#[test]
fn credentials_come_from_the_standard_chain() {
    let (mut kms, aws) = start();
    let uri = aws.uri().to_string();
    let attempt = |kms: &Kms, change: &dyn Fn(&mut std::process::Command)| {
        let mut command = kms.command(&["vault", "create", "cloud", "--uri", &uri, "--output", "json"]);
        change(&mut command);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    // None at all, and a profile that does not exist.
    let (code, said) = attempt(&kms, &|command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    });
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("no AWS credentials"), "{said}");
    let (code, said) = attempt(&kms, &|command| {
        command.env("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2");
    });
    assert_eq!(code, 77, "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let (code, said) = attempt(&kms, &|command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIDOFNOBODY");
    });
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("does not know"), "{said}");
    // A profile of the credentials file, named by the URI.
    let of = |wanted: &str| aws.variables().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    let text = format!(
        "[ca]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY")
    );
    let file = kms.file("credentials", text);
    kms.set("AWS_SHARED_CREDENTIALS_FILE", &file);
    // The variables do not stand in for it.
    kms.set("AWS_ACCESS_KEY_ID", "AKIDOFNOBODY");
    kms.run(&["vault", "create", "profile", "--uri", &format!("{uri}&profile=ca")]).code(0);
    kms.run(&["vault", "create", "none", "--uri", &format!("{uri}&profile=cb")]).code(77);
    // A program that hands them out, as single sign-on is used.
    let handed = format!(
        "{{\"Version\":1,\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\"}}",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY")
    );
    let handed = kms.file("handed.json", handed);
    let config = format!("[profile handed]\ncredential_process = /bin/cat {}\n", handed.display());
    let config = kms.file("config", config);
    kms.set("AWS_CONFIG_FILE", &config);
    kms.run(&["vault", "create", "handed", "--uri", &format!("{uri}&profile=handed")]).code(0);
}

#[test]
fn the_flag_takes_the_region_of_the_environment() {
    let (mut kms, aws) = start();
    kms.set("AWS_ENDPOINT_URL", aws.endpoint());
    kms.run(&["vault", "create", "cloud", "--aws-kms"]).code(64);
    kms.set("AWS_REGION", REGION);
    kms.run(&["vault", "create", "cloud", "--aws-kms"]).code(0);
    let shown = kms.run(&["vault", "show", "cloud", "--output", "json"]).code(0).json();
    assert_eq!(shown["vault"]["uri"], json!("awskms:region=eu-west-1"), "{shown}");
    kms.run(&["key", "generate", "build", "--vault", "cloud"]).code(0);
}

/// Called by the test over TLS: without `AWS_CA_BUNDLE` the system's CAs count, and none of them knows the emulator.
pub(crate) fn refuses_a_ca_that_nobody_trusts(aws: &Emulator) {
    let mut kms = Kms::new();
    for (name, value) in aws.variables() {
        kms.set(name, value);
    }
    create(&mut kms, aws).code(69);
    assert!(aws.keys().len() == 2, "nothing came of it");
    let bundle = kms.file("bundle.pem", "no certificate");
    kms.set("AWS_CA_BUNDLE", bundle);
    create(&mut kms, aws).code(64);
}
