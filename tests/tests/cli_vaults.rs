//! Vaults as the program meets them: tokens that are away, vaults with two names, moves that go wrong, and what a lock
//! leaves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};

/// A home with a vault `hsm` on a token of that name.
fn with_token(hsm: &SoftHsm) -> Kms {
    hsm.init("hsm");
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    let pin = kms.file("pin", format!("{PIN}\n"));
    fs::set_permissions(pin, Permissions::from_mode(0o600)).unwrap();
    let create = ["vault", "create", "hsm", "--token", "hsm", "--module-path", MODULE, "--pin-file", "pin"];
    kms.run(&create).code(0);
    kms
}

fn keys(kms: &mut Kms, vault: &str) -> Vec<String> {
    let listed = kms.run(&["key", "list", "--vault", vault]).code(0).json();
    listed.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_identity_whose_token_is_away_stays() {
    let (_directory, hsm) = SoftHsm::prepare();
    let mut kms = with_token(&hsm);
    kms.run(&["key", "generate", "ceremony", "--vault", "hsm", "--key-type", "p256"]).code(0);
    kms.run(&["identity", "create", "a", "--vault", "hsm", "--key", "pkcs11:object=ceremony"]).code(0);
    kms.run(&["identity", "create", "b", "--vault", "hsm", "--key-type", "p256"]).code(0);
    let away = hsm.tokens().with_extension("away");
    fs::rename(hsm.tokens(), &away).unwrap();
    fs::create_dir(hsm.tokens()).unwrap();
    for name in ["a", "b"] {
        let refused = kms.run(&["identity", "delete", name, "--yes"]).code(66);
        assert!(refused.stderr.contains("nothing was deleted"), "{}", refused.stderr);
        assert!(refused.stderr.contains("--keep-keys"), "{}", refused.stderr);
        kms.run(&["identity", "show", name]).code(0);
        // No rotation of it begins.
        let _ = kms.run(&["identity", "rotate", name]).code(66);
    }
    fs::remove_dir(hsm.tokens()).unwrap();
    fs::rename(&away, hsm.tokens()).unwrap();
    // A wrong PIN, too.
    kms.file("pin", "0000\n");
    let _ = kms.run(&["identity", "delete", "a", "--yes"]).code(77);
    kms.file("pin", format!("{PIN}\n"));
    assert_eq!(kms.run(&["identity", "show", "a", "--output", "json"]).code(0).stderr, "");
    for name in ["a", "b"] {
        kms.run(&["identity", "delete", name, "--yes"]).code(0);
    }
    assert!(keys(&mut kms, "hsm").is_empty());
}

#[test]
fn the_files_of_a_vault_with_two_names_stay() {
    let mut kms = Kms::new();
    kms.run(&["vault", "create"]).code(0);
    let uri = format!("soft:?path={}", kms.home().join("vaults/default").display());
    kms.run(&["vault", "create", "alias", "--uri", &uri]).code(0);
    let alice = kms.run(&["identity", "create", "alice", "--vault", "alias"]).code(0).stdout;
    for command in
        [&["vault", "delete", "default", "--yes"][..], &["vault", "move", "default", "--path", "there"]]
    {
        let told = kms.run(&[command, &["--dry-run", "--output", "json"]].concat()).code(77).json();
        assert!(told["needed_by"].to_string().contains("the vault `alias`"), "{told}");
        let refused = kms.run(command).code(77);
        assert!(refused.stderr.contains("ockam-kms vault delete alias"), "{}", refused.stderr);
    }
    assert_eq!(
        kms.run(&["identity", "rotate", "alice", "--output", "json"]).code(0).json()["identifier"],
        alice.trim()
    );
    kms.run(&["identity", "delete", "alice", "--yes"]).code(0);
    // Both at once: the other name goes first.
    kms.run(&["vault", "delete", "--all", "--dry-run"]).code(0);
    kms.run(&["vault", "delete", "--all", "--yes"]).code(0);
    assert!(!kms.home().join("vaults/default").exists());
}

#[test]
fn a_vault_is_not_made_over_another_one() {
    let mut kms = Kms::new();
    let taken = kms.home().join("vaults/b");
    kms.run(&["vault", "create", "a", "--path", taken.to_str().unwrap()]).code(0);
    kms.run(&["identity", "create", "x", "--vault", "a"]).code(0);
    let refused = kms.run(&["vault", "create", "b"]).code(73);
    assert!(refused.stderr.contains("the vault `a`"), "{}", refused.stderr);
    kms.run(&["vault", "create", "b", "--kek", "vault=a"]).code(73);
    assert_eq!(keys(&mut kms, "a").len(), 1, "no key was made to lock it");
    kms.run(&["identity", "rotate", "x"]).code(0);
}

#[test]
fn a_vault_is_not_moved_from_under_a_node() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    kms.run(&["node", "create", "n", "--identity", "alice"]).code(0);
    let moved = ["vault", "move", "default", "--path", "there"];
    let told = kms.run(&[&moved[..], &["--dry-run", "--output", "json"]].concat()).code(77).json();
    assert!(told["needed_by"].to_string().contains("the node `n`"), "{told}");
    let refused = kms.run(&moved).code(77);
    assert!(refused.stderr.contains("ockam-kms node stop n"), "{}", refused.stderr);
    kms.run(&["node", "stop", "n"]).code(0);
    kms.run(&moved).code(0);
    kms.run(&["node", "start", "n"]).code(0);
    kms.run(&["identity", "rotate", "alice"]).code(0);
}

#[test]
fn what_a_move_that_was_cut_off_left_is_found() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    let inside = kms.home().join("vaults/default/sub");
    let refused = kms.run(&["vault", "move", "default", "--path", inside.to_str().unwrap()]).code(64);
    assert!(refused.stderr.contains("outside of it"), "{}", refused.stderr);
    // Killed between the record and the removal.
    let (old, kept) = (kms.home().join("vaults/default"), kms.path("kept"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-rp").args([from, to]).status().unwrap();
        assert!(status.success());
    };
    copy(&old, &kept);
    kms.run(&["vault", "move", "default", "--path", "there"]).code(0);
    kms.run(&["doctor"]).code(0);
    copy(&kept, &old);
    let found = kms.run(&["doctor"]).code(65).stdout;
    assert!(found.contains("is not where the vault `default` is"), "{found}");
    fs::remove_dir_all(&old).unwrap();
    // Killed while it copied.
    let half = kms.home().join("vaults/.new-0123456789abcdef");
    copy(&kept, &half);
    let found = kms.run(&["doctor"]).code(65).stdout;
    assert!(found.contains("whoever moved a vault there died"), "{found}");
    fs::remove_dir_all(&half).unwrap();
    kms.run(&["doctor"]).code(0);
}

#[test]
fn what_locked_a_vault_that_is_deleted_is_told() {
    let (_directory, hsm) = SoftHsm::prepare();
    let mut kms = with_token(&hsm);
    kms.run(&["vault", "create", "sealed", "--kek", "vault=hsm"]).code(0);
    let key = keys(&mut kms, "hsm").remove(0);
    kms.run(&["doctor"]).code(0);
    let told = kms.run(&["vault", "delete", "sealed", "--dry-run", "--output", "json"]).code(0).json();
    assert!(told["kept"].to_string().contains(&key), "{told}");
    let deleted = kms.run(&["vault", "delete", "sealed", "--yes"]).code(0);
    assert!(deleted.stderr.contains(&key), "{}", deleted.stderr);
    assert!(deleted.stderr.contains("`ockam-kms key destroy` ends it"), "{}", deleted.stderr);
    let found = kms.run(&["doctor"]).code(0).stdout;
    assert!(found.contains(&format!("the key `{key}` in the vault `hsm` locks no vault here")), "{found}");
    kms.run(&["key", "destroy", &key, "--vault", "hsm", "--yes"]).code(0);
    assert!(!kms.run(&["doctor"]).code(0).stdout.contains("locks no vault"));
    // A vault that stays keeps its lock.
    kms.run(&["vault", "create", "outside", "--path", "outside", "--kek", "vault=hsm"]).code(0);
    let told = kms.run(&["vault", "delete", "outside", "--dry-run", "--output", "json"]).code(0).json();
    assert!(!told["kept"].to_string().contains("-kek-"), "{told}");
    assert_eq!(kms.run(&["vault", "delete", "outside", "--yes"]).code(0).stderr, "");
}

#[test]
fn a_vault_is_registered_by_its_absolute_path() {
    let mut kms = Kms::new();
    kms.run(&["vault", "create", "made", "--path", "v1"]).code(0);
    kms.run(&["vault", "delete", "made", "--yes"]).code(0);
    kms.run(&["vault", "create", "registered", "--uri", "soft:?path=v1"]).code(0);
    let shown = kms.run(&["vault", "show", "registered", "--output", "json"]).code(0).json();
    let uri = format!("soft:?path={}", kms.path("v1").display());
    assert_eq!(shown["vault"]["uri"], uri.as_str());
    // And is found from elsewhere.
    let listed = kms.command(&["key", "list", "--vault", "registered"]).current_dir("/").status().unwrap();
    assert!(listed.success());
}
