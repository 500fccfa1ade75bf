//! All backends together: an identity's key moves between every ordered pair of them, and what it issues holds after every
//! move; each of them locks a software vault, and the lock passes from each to each; none of them leaves a caller waiting who has
//! a crowd beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ockam_kms_tests::awskms::Emulator;
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::piv::PivCard;
use ockam_kms_tests::softhsm::SoftHsm;
use ockam_kms_tests::swtpm::Swtpm;
use vault::soft::SoftVault;
use vault::{Backend as _, KeyName, KeySpec, Nobody, Signer, Vault, block_on};

const CARD: &str = env!("CARGO_BIN_EXE_virtual-piv-card");
const VAULTS: [&str; 5] = ["soft", "hsm", "tpm", "card", "cloud"];

/// What has to live as long as the test.
struct World {
    kms: Kms,
    _tokens: tempfile::TempDir,
    _tpm: Swtpm,
    _cloud: Emulator,
}

/// A home with one vault of each backend.
fn world(card: &PivCard) -> World {
    let (tokens, hsm) = SoftHsm::prepare();
    let (tpm, cloud) = (Swtpm::start(), Emulator::start());
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.set("PCSCLITE_CSOCK_NAME", std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap());
    for (name, value) in cloud.variables() {
        kms.set(name, value);
    }
    kms.run(&["vault", "create", "soft"]).code(0);
    for (name, uri) in [
        ("hsm", hsm.init("mixed")),
        ("tpm", tpm.uri("mixed").without("path")),
        ("card", card.uri()),
        ("cloud", cloud.uri()),
    ] {
        kms.run(&["vault", "create", name, "--uri", &uri.to_string()]).code(0);
    }
    World { kms, _tokens: tokens, _tpm: tpm, _cloud: cloud }
}

/// A walk that goes from each to each once, and stays at each once: 25 steps after the first place.
fn walk() -> Vec<usize> {
    let (mut left, mut path) = (BTreeSet::new(), vec![0]);
    for from in 0..VAULTS.len() {
        for to in 0..VAULTS.len() {
            left.insert((from, to));
        }
    }
    // Hierholzer: every place has as many ways in as out, so a walk that is stuck is back where it began.
    let mut done = Vec::new();
    while let Some(&at) = path.last() {
        match left.iter().copied().find(|(from, _)| *from == at) {
            Some(way) => {
                left.remove(&way);
                path.push(way.1);
            }
            None => done.extend(path.pop()),
        }
    }
    done.reverse();
    assert_eq!(done.len(), VAULTS.len() * VAULTS.len() + 1);
    done
}

#[test]
fn a_key_moves_between_every_two_and_its_identity_stays() {
    let test = "a_key_moves_between_every_two_and_its_identity_stays";
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.7.1") else { return };
    let mut world = world(&card);
    let kms = &mut world.kms;
    kms.run(&["identity", "create", "member", "--vault", "soft"]).code(0);
    let walk = walk();
    let identifier = kms.run(&["identity", "create", "issuer", "--vault", VAULTS[walk[0]]]).code(0).stdout;
    let mut changes = 1;
    for way in walk.windows(2) {
        let (from, to) = (VAULTS[way[0]], VAULTS[way[1]]);
        let rotated = kms.run(&["identity", "rotate", "issuer", "--to-vault", to, "--output", "json"]);
        let rotated = rotated.code(0).json();
        changes += 1;
        assert_eq!(rotated["changes"], changes, "{from} to {to}: {rotated}");
        assert_eq!(rotated["new_key"]["vault"], to);
        assert_eq!(rotated["old_key"]["vault"], from);
        let verified = kms.run(&["identity", "verify", "issuer", "--output", "json"]).code(0).json();
        assert_eq!(verified["identifier"].as_str(), Some(identifier.trim()), "{from} to {to}");
        // Its credential key moves with it when it is made anew: what it issues now holds by the reference's rule too.
        let issued =
            ["credential", "issue", "--as", "issuer", "--for", "member", "--attribute", "team=payments"];
        let credential = kms.run(&issued).code(0).stdout;
        for rule in ["reference", "continuous"] {
            let verify = ["credential", "verify", "--issuer", "issuer", "--rule", rule, "--credential"];
            let judged =
                kms.run(&[&verify[..], &[credential.trim(), "--output", "json"]].concat()).code(0).json();
            assert_eq!(judged["valid"], true, "{from} to {to}, by the rule `{rule}`: {judged}");
        }
    }
    // Nothing is left behind but what is used.
    for vault in VAULTS {
        let keys = kms.run(&["key", "list", "--vault", vault, "--output", "json"]).code(0).json();
        assert!(keys.as_array().unwrap().len() <= 3, "{vault}: {keys}");
    }
}

#[test]
fn each_locks_a_software_vault_and_the_lock_passes_on() {
    let test = "each_locks_a_software_vault_and_the_lock_passes_on";
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.4.3") else { return };
    let mut world = world(&card);
    let kms = &mut world.kms;
    kms.run(&["vault", "create", "locked", "--kek", "vault=cloud"]).code(0);
    let identifier = kms.run(&["identity", "create", "deputy", "--vault", "locked"]).code(0).stdout;
    for by in ["hsm", "tpm", "card", "cloud", "tpm", "hsm", "card", "soft"] {
        let kek = format!("vault={by}");
        kms.run(&["vault", "rekey", "locked", "--kek", &kek]).code(0);
        let shown = kms.run(&["vault", "show", "locked", "--output", "json"]).code(0).json();
        assert_eq!(shown["lock"]["vault"], by, "{shown}");
        // Each command is a process of its own, which has to unlock it anew.
        kms.run(&["identity", "rotate", "deputy"]).code(0);
        assert_eq!(kms.run(&["identity", "show", "deputy"]).code(0).stdout, identifier, "locked by {by}");
    }
}

const CALLERS: usize = 64;
/// How many signatures they get together, for each of them.
const ROUNDS: usize = 8;

/// How many signatures each caller got who asked again as soon as it had its answer, until all together had enough. One thread
/// drives them all, so that nobody but the vault decides who is next.
fn served(signer: &Signer) -> Vec<usize> {
    let ask = || -> Pin<Box<dyn Future<Output = _> + '_>> { Box::pin(signer.sign(b"message")) };
    let mut callers: Vec<_> = (0..CALLERS).map(|_| ask()).collect();
    let mut served = vec![0; CALLERS];
    block_on(std::future::poll_fn(|context| {
        let mut answered = false;
        for (caller, count) in callers.iter_mut().zip(&mut served) {
            if let Poll::Ready(signature) = caller.as_mut().poll(context) {
                let _: vault::Signature = signature.unwrap();
                (*caller, *count, answered) = (ask(), *count + 1, true);
            }
        }
        if served.iter().sum::<usize>() >= CALLERS * ROUNDS {
            return Poll::Ready(());
        }
        // A new question is heard when it is polled.
        if answered {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }));
    served
}

#[test]
fn nobody_waits_for_ever_in_a_crowd() {
    let test = "nobody_waits_for_ever_in_a_crowd";
    // Children within children: each device is found through a variable of the process.
    let Some(hsm) = SoftHsm::enter(test) else { return };
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.7.1") else { return };
    let Some(cloud) = Emulator::enter(test) else { return };
    let tpm = Swtpm::start();
    let long = std::time::Duration::from_secs(120);
    let vaults: [Arc<dyn Vault>; 5] = [
        Arc::new(SoftVault::in_memory().unwrap()),
        block_on(pkcs11::Pkcs11Backend::new().with_deadline(long).open(&hsm.init("crowd"), Arc::new(Nobody)))
            .unwrap(),
        block_on(tpm::TpmBackend::new().with_deadline(long).create(&tpm.uri("crowd"), Arc::new(Nobody)))
            .unwrap(),
        block_on(
            yubikey_vault::YubiKeyBackend::new().with_deadline(long).open(&card.uri(), Arc::new(Nobody)),
        )
        .unwrap(),
        block_on(aws_kms::AwsKmsBackend::new().with_deadline(long).open(&cloud.uri(), Arc::new(Nobody)))
            .unwrap(),
    ];
    for vault in vaults {
        let key = KeySpec::p256(KeyName::new("crowd").unwrap());
        let key = block_on(vault.signing().unwrap().generate(&key)).unwrap();
        let served = served(&Signer::bind(Arc::clone(&vault), key).unwrap());
        let (fewest, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        println!("{}: {fewest} to {most} each", vault.scheme().name());
        // First come, first served: those who fall behind are those whom the system takes the processor from in the middle of it.
        assert!(*fewest >= ROUNDS / 4, "{}: {served:?}", vault.scheme().name());
    }
}
