//! Keys, and identities that are made for them: beside other writers, and when something of that name is there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use home::{Home, Name};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};

fn keys(kms: &mut Kms, vault: &str) -> BTreeSet<String> {
    let listed = kms.run(&["key", "list", "--vault", vault, "--output", "json"]).code(0).json();
    listed.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_is_not_made_while_its_vault_is_moved() {
    let mut kms = Kms::new();
    kms.run(&["vault", "create"]).code(0);
    let home = Home::open(kms.home()).unwrap();
    let writer = home.write().unwrap();
    let generating =
        kms.command(&["key", "generate", "one"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut generating = generating.unwrap();
    // Time to open the vault where it was.
    std::thread::sleep(Duration::from_millis(500));
    assert!(generating.try_wait().unwrap().is_none(), "it waits for its turn");
    home.move_vault(&writer, &Name::new("default").unwrap(), &kms.path("there")).unwrap();
    drop(writer);
    let output = generating.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(keys(&mut kms, "default"), BTreeSet::from(["one".to_owned()]));
}

#[test]
fn no_key_is_lost_beside_moves() {
    let mut kms = Kms::new();
    kms.run(&["vault", "create"]).code(0);
    let names: Vec<_> = (0..24).map(|n| format!("key-{n}")).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(6) {
            let kms = &kms;
            scope.spawn(move || {
                for name in some {
                    let _ = kms.run_apart(&["key", "generate", name], b"").code(0);
                }
            });
        }
        for n in 0..6 {
            let _ =
                kms.run_apart(&["vault", "move", "default", "--path", &format!("place-{n}")], b"").code(0);
        }
    });
    assert_eq!(keys(&mut kms, "default"), names.into_iter().collect());
}

#[test]
fn an_identity_that_exists_is_not_told_as_another_one() {
    let (_directory, hsm) = SoftHsm::prepare();
    hsm.init("hsm");
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.file("pin", format!("{PIN}\n"));
    let create = ["vault", "create", "hsm", "--token", "hsm", "--module-path", MODULE, "--pin-file", "pin"];
    kms.run(&create).code(0);
    kms.run(&["vault", "create", "soft"]).code(0);
    let generate = ["key", "generate", "--vault", "hsm", "--key-type", "p256"];
    for key in ["ceremony", "other"] {
        kms.run(&[&generate[..], &[key]].concat()).code(0);
    }
    let mut create = |name: &str, options: &str| {
        let options: Vec<_> = options.split_whitespace().collect();
        kms.run(&[&["identity", "create", name, "--output", "json"], &options[..]].concat())
    };
    let made = create("a", "--vault hsm --key pkcs11:object=ceremony").code(0).json()["identifier"].clone();
    let soft = create("b", "--vault soft").code(0).json()["identifier"].clone();
    for (name, options, is) in [
        ("a", "", &made),
        ("a", "--vault hsm", &made),
        ("a", "--key-type p256", &made),
        ("a", "--vault hsm --key-type p256", &made),
        ("a", "--key pkcs11:object=ceremony", &made),
        ("b", "--vault soft --key-type ed25519", &soft),
    ] {
        assert_eq!(create(name, options).code(0).json()["identifier"], *is, "{name} {options}");
    }
    for (name, options, which) in [
        ("a", "--vault soft", "--vault"),
        ("a", "--vault nope", "--vault"),
        ("a", "--vault soft --key-type p256", "--vault"),
        ("a", "--vault hsm --key-type ed25519", "--key-type"),
        ("a", "--key-type ed25519", "--key-type"),
        ("a", "--key pkcs11:object=other", "--key"),
        ("b", "--key soft:name=other", "--key"),
        ("b", "--vault hsm", "--vault"),
    ] {
        let error = create(name, options).code(73).json()["error"].clone();
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains(&format!("leave {which} out")), "{name} {options}: {error}");
    }
    // Of somebody else's there is no key here.
    let history = kms.run(&["identity", "show", "b", "--full", "--encoding", "hex"]).code(0).stdout;
    let store = ["identity", "create", "c", "--identity", &history];
    for _ in 0..2 {
        kms.at("elsewhere").run(&store).code(0);
    }
    kms.run(&["identity", "create", "c"]).code(0);
    let refused = kms.run(&["identity", "create", "c", "--vault", "soft"]).code(73).stderr;
    assert!(refused.contains("no key of it is here"), "{refused}");
}

#[test]
fn a_vault_is_not_locked_by_what_is_no_file() {
    let mut kms = Kms::new();
    let directory = kms.path("directory");
    std::fs::create_dir(&directory).unwrap();
    for create in [
        &["vault", "create", "f", "--key-file", "directory"][..],
        &["vault", "create", "f", "--key-file", "/dev/null"],
    ] {
        let refused = kms.run(create).code(64).stderr;
        assert!(refused.contains("name a file") && !refused.contains("restore"), "{refused}");
    }
    assert_eq!(kms.run(&["vault", "list", "--output", "json"]).code(0).stdout.trim(), "[]");
    kms.run(&["vault", "create", "f"]).code(0);
    let refused = kms.run(&["vault", "rekey", "f", "--key-file", "directory"]).code(64).stderr;
    assert!(refused.contains("name a file"), "{refused}");
}
