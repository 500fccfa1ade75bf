//! Changes of a lock that are killed, with SIGKILL, before each of the calls that make something durable: from a key file to
//! a key on a token, back to a key file, and to a passphrase. Afterwards the vault opens under the old lock or the new one,
//! the next change goes through, and no key that nobody names is left on the token.
//!
//! The control is a change that overwrites the header where it stands: the same check has to find it out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use home::{Home, Name};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, SoftHsm};
use vault::soft::LockedBy;

/// What makes a file, or its going, last. Between two of these nothing changes that a reader could see.
const CALLS: [&str; 3] = ["fsync", "rename", "unlink"];
/// More than any of them is made in one change.
const MOST: usize = 40;

/// Runs a command and kills it before the `n`th call of this name; says whether it came to that.
fn killed(command: &Command, call: &str, n: usize) -> bool {
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:signal=SIGKILL:when={n}"))
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap());
    let output = traced.output().unwrap();
    // strace ends as what it traces ends.
    match output.status.code() {
        None => true,
        Some(0) => false,
        Some(code) => panic!("{code}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

struct World {
    kms: Kms,
    _tokens: tempfile::TempDir,
}

impl World {
    /// A home with a token and a vault that one key is in.
    fn new() -> Self {
        let (tokens, hsm) = SoftHsm::prepare();
        hsm.init("t");
        let mut kms = Kms::new();
        kms.set("SOFTHSM2_CONF", hsm.conf());
        kms.file("old", "correct horse\n");
        kms.file("new", "battery staple\n");
        let pin = hsm.directory().join("t.pin");
        let pin = pin.to_str().unwrap();
        for command in [
            &["vault", "create", "v"][..],
            &["key", "generate", "k", "--vault", "v"],
            &["vault", "create", "hsm", "--token", "t", "--module-path", MODULE, "--pin-file", pin],
        ] {
            kms.run(command).code(0);
        }
        Self { kms, _tokens: tokens }
    }

    /// Keeps the home as it is, under a name.
    fn keep(&self, name: &str) {
        self.copy("home", name);
    }

    /// Makes the home what it was.
    fn back_to(&self, name: &str) {
        std::fs::remove_dir_all(self.kms.home()).unwrap();
        self.copy(name, "home");
    }

    fn copy(&self, from: &str, to: &str) {
        let copied = Command::new("cp").arg("-a").args([self.kms.path(from), self.kms.path(to)]).status();
        assert!(copied.unwrap().success());
    }

    fn lock(&self) -> Option<LockedBy> {
        let home = Home::open(self.kms.home()).unwrap();
        home.vault_lock(&Name::new("v").unwrap()).ok().flatten()
    }

    fn public(&self) -> Option<String> {
        let listed = self.kms.run_apart(
            &["key", "show", "k", "--vault", "v", "--passphrase-file", "new", "--output", "json"],
            b"",
        );
        (listed.code == 0).then(|| listed.json()["public_key"].as_str().unwrap().to_owned())
    }

    fn keys_on_the_token(&self) -> BTreeSet<String> {
        let listed = self.kms.run_apart(&["key", "list", "--vault", "hsm"], b"").code(0).json();
        listed.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Changes the lock of `v`, from that in a home that was kept, killed before each call; answers how many deaths it died.
fn die_everywhere(world: &World, from: &str, change: &[&str], calls: &[&str]) -> usize {
    world.back_to(from);
    let (before, public) = (world.lock(), world.public().unwrap());
    let (mut deaths, mut keys) = (0, world.keys_on_the_token());
    for call in calls {
        for n in 1.. {
            assert!(n < MOST);
            let at = format!("{change:?} before {call} {n}");
            world.back_to(from);
            let died = killed(&world.kms.command(change), call, n);
            let after = world.lock();
            assert!(died || after != before, "{at}");
            // Whichever lock it is, it opens, and can be changed.
            assert_eq!(world.public().as_ref(), Some(&public), "{at}: neither lock opens the vault");
            let _ = world.kms.run_apart(&[change, &["--passphrase-file", "new"]].concat(), b"").code(0);
            let named = |lock: Option<LockedBy>| match lock {
                Some(LockedBy::Vault(by)) => by.key.text("object").unwrap().map(ToOwned::to_owned),
                _ => None,
            };
            let named: BTreeSet<_> = [named(after), named(world.lock())].into_iter().flatten().collect();
            let all = world.keys_on_the_token();
            let made: BTreeSet<_> = all.difference(&keys).cloned().collect();
            keys = all;
            assert!(made.is_subset(&named), "{at}: {made:?} are left, of which {named:?} were locks");
            if !died {
                break;
            }
            deaths += 1;
        }
    }
    deaths
}

const TO_TOKEN: [&str; 5] = ["vault", "rekey", "v", "--kek", "vault=hsm"];
const TO_FILE: [&str; 4] = ["vault", "rekey", "v", "--own-key-file"];
const TO_PASSPHRASE: [&str; 5] = ["vault", "rekey", "v", "--new-passphrase-file", "new"];

#[test]
fn a_change_to_a_token_that_is_killed_leaves_the_old_lock_or_the_new_one() {
    let world = World::new();
    world.keep("file");
    let deaths = die_everywhere(&world, "file", &TO_TOKEN, &CALLS);
    assert!(deaths >= 10, "{deaths}");
}

#[test]
fn a_change_from_a_token_that_is_killed_leaves_the_old_lock_or_the_new_one() {
    let mut world = World::new();
    world.keep("file");
    // The one step; what comes before and after it does not depend on the lock.
    assert_eq!(die_everywhere(&world, "file", &TO_PASSPHRASE, &["rename"]), 1);
    world.back_to("file");
    world.kms.run(&TO_TOKEN).code(0);
    world.keep("sealed");
    let deaths = die_everywhere(&world, "sealed", &TO_FILE, &CALLS);
    assert!(deaths >= 6, "{deaths}");
}

/// A header that is written where it stands is lost when its writer dies.
#[test]
fn the_check_finds_a_change_that_is_not_one_step() {
    let mut world = World::new();
    world.keep("file");
    world.kms.run(&["vault", "rekey", "v", "--new-passphrase-file", "new"]).code(0);
    let header = world.kms.home().join("vaults/v/vault.json");
    let next = world.kms.file("next.json", std::fs::read(&header).unwrap());
    world.back_to("file");
    let public = world.public();
    assert!(public.is_some());
    let mut overwrite = Command::new("/bin/dd");
    overwrite
        .arg(format!("if={}", next.display()))
        .arg(format!("of={}", header.display()))
        .args(["bs=100", "status=none"])
        .current_dir(Path::new("/"));
    assert!(killed(&overwrite, "write", 2));
    assert_eq!((world.public(), world.lock()), (None, None));
}
