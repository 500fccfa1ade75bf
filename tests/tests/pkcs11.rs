//! The PKCS#11 backend on SoftHSM: what accidents of people and tokens do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ockam_kms_tests::p11kit::P11Kit;
use ockam_kms_tests::softhsm::{MODULE, PIN, SO_PIN, SoftHsm};
use pkcs11::Pkcs11Backend;
use vault::soft::SoftVault;
use vault::{
    Ask, Backend, Interact, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Nobody, Retry, SecretBytes, Signer,
    Signing, Vault, block_on,
};

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn open_with(
    backend: Pkcs11Backend,
    uri: &KeyUri,
    interact: impl Interact + 'static,
) -> vault::Result<Arc<dyn Vault>> {
    block_on(backend.open(uri, Arc::new(interact)))
}

fn open(uri: &KeyUri) -> vault::Result<Arc<dyn Vault>> {
    open_with(Pkcs11Backend::new(), uri, Nobody)
}

fn p256(vault: &Arc<dyn Vault>, key: &str) -> vault::Result<KeyHandle<Signing>> {
    block_on(vault.signing().unwrap().generate(&KeySpec::p256(name(key))))
}

fn signs(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) -> vault::Result<()> {
    let signer = Signer::bind(Arc::clone(vault), key.clone())?;
    block_on(signer.sign(b"message")).map(drop)
}

/// Makes a token and says where it is on disk.
fn init(hsm: &SoftHsm, label: &str) -> (KeyUri, PathBuf) {
    let before = hsm.token_directories();
    let uri = hsm.init(label);
    let directory =
        hsm.token_directories().into_iter().find(|directory| !before.contains(directory)).unwrap();
    (uri, directory)
}

fn pin_file(hsm: &SoftHsm, name: &str, pin: &str) -> PathBuf {
    let path = hsm.directory().join(name);
    fs::write(&path, pin).unwrap();
    path
}

#[test]
fn keys_live_on_the_token() {
    let Some(hsm) = SoftHsm::enter("keys_live_on_the_token") else { return };
    let uri = hsm.init("t");
    let vault = open(&uri).unwrap();
    for spec in [KeySpec::p256(name("a")), KeySpec::ed25519(name("b"))] {
        let key = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        signs(&vault, &key).unwrap();
        let again = open(&uri).unwrap();
        assert_eq!(again.id(), vault.id());
        let found = block_on(again.signing().unwrap().open(key.uri())).unwrap();
        assert_eq!(found, key);
        signs(&again, &found).unwrap();
    }
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let key = block_on(vault.signing().unwrap().open(&listed[0].uri)).unwrap();
    block_on(vault.signing().unwrap().destroy(key.clone())).unwrap();
    assert_eq!(block_on(vault.signing().unwrap().destroy(key)).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap().len(), 1);
}

/// Somebody who knows a PIN, and counts how often they are asked.
#[derive(Debug)]
struct Knows(&'static str, Arc<AtomicUsize>);

impl Interact for Knows {
    fn secret(&self, ask: &Ask) -> vault::Result<SecretBytes> {
        assert!(matches!(ask, Ask::Pin { of } if of.contains("`t`")), "{ask:?}");
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(SecretBytes::new(self.0.as_bytes().to_vec()))
    }
}

#[test]
fn a_pin_comes_from_a_file_or_a_person() {
    let Some(hsm) = SoftHsm::enter("a_pin_comes_from_a_file_or_a_person") else { return };
    let uri = hsm.init("t");
    let without = uri.clone().without("pin-source");
    let error = open(&without).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Presence, Retry::NeedsOperator), "{error}");
    let wrong = open(&hsm.uri("t", &pin_file(&hsm, "wrong", "0000-wrong"))).unwrap_err();
    assert_eq!((wrong.kind(), wrong.retry()), (Kind::Denied, Retry::NeedsOperator), "{wrong}");
    assert!(!format!("{wrong} {wrong:?} {:?}", wrong.hint()).contains("0000-wrong"));
    assert_eq!(open(&hsm.uri("t", &hsm.directory().join("missing"))).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(open(&hsm.uri("t", &pin_file(&hsm, "empty", "\n"))).unwrap_err().kind(), Kind::Invalid);
    let asked = Arc::new(AtomicUsize::new(0));
    let denied =
        open_with(Pkcs11Backend::new(), &without, Knows("0000-wrong", Arc::clone(&asked))).unwrap_err();
    assert_eq!(denied.kind(), Kind::Denied);
    let vault = open_with(Pkcs11Backend::new(), &without, Knows(PIN, Arc::clone(&asked))).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "asked once for each opening");
    assert!(vault.capabilities().iter().all(|line| line.presence == vault::Presence::Pin));
    let key = p256(&vault, "k").unwrap();
    assert!(!format!("{vault:?} {key:?}").contains(PIN));
}

#[test]
fn what_is_not_there_is_said() {
    let Some(hsm) = SoftHsm::enter("what_is_not_there_is_said") else { return };
    let uri = hsm.init("t");
    hsm.init("u");
    let unknown = open(&uri.clone().with("token", "x").unwrap()).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    assert!(
        unknown.hint().unwrap().contains("`t`") && unknown.hint().unwrap().contains("`u`"),
        "{:?}",
        unknown.hint()
    );
    let serial = open(&uri.clone().with("serial", "0123").unwrap()).unwrap_err();
    assert_eq!(serial.kind(), Kind::NotFound);
    let vault = open(&uri).unwrap();
    let by_serial: KeyUri = vault.id().as_str().parse().unwrap();
    let own = uri.clone().with("serial", by_serial.bytes("serial").unwrap()).unwrap();
    assert_eq!(open(&own).unwrap().id(), vault.id());

    let module =
        |path: &Path| open(&uri.clone().with("module-path", path.as_os_str().as_encoded_bytes()).unwrap());
    let dir = hsm.directory();
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(module(&dir.join("missing.so")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(module(Path::new("libsofthsm2.so")).unwrap_err().kind(), Kind::Invalid);
    let text = dir.join("text.so");
    fs::write(&text, "no library").unwrap();
    assert_eq!(module(&text).unwrap_err().kind(), Kind::Invalid);
    let copy = dir.join("copy.so");
    fs::copy(MODULE, &copy).unwrap();
    for (mode, good) in [(0o646, false), (0o666, false), (0o644, true)] {
        fs::set_permissions(&copy, Permissions::from_mode(mode)).unwrap();
        match module(&copy) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(e) => assert!(!good && e.kind() == Kind::Denied, "{mode:o}: {e}"),
        }
    }
    // The same good file where others may exchange it.
    fs::create_dir(dir.join("open")).unwrap();
    fs::set_permissions(dir.join("open"), Permissions::from_mode(0o777)).unwrap();
    let exposed = dir.join("open/copy.so");
    fs::copy(MODULE, &exposed).unwrap();
    assert_eq!(module(&exposed).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_key_deleted_behind_our_back_is_gone() {
    let Some(hsm) = SoftHsm::enter("a_key_deleted_behind_our_back_is_gone") else { return };
    let vault = open(&hsm.init("t")).unwrap();
    let (gone, other) = (p256(&vault, "gone").unwrap(), p256(&vault, "other").unwrap());
    signs(&vault, &gone).unwrap();
    let deleted = Command::new("pkcs11-tool")
        .args(["--module", MODULE, "--token-label", "t", "--login", "--pin", PIN])
        .args(["--delete-object", "--type", "privkey", "--label", "gone"])
        .output()
        .unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
    for _ in 0..2 {
        let error = signs(&vault, &gone).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (Kind::NotFound, Retry::Permanent), "{error}");
    }
    signs(&vault, &other).unwrap();
    let next = p256(&vault, "gone").unwrap();
    signs(&vault, &next).unwrap();
    // The new key has the name, but it is not the one that the old handle names.
    assert_eq!(signs(&vault, &gone).unwrap_err().kind(), Kind::NotFound);
}

/// Ends what watches this flag, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_token_that_went_away_is_used_again_when_it_is_back() {
    let Some(hsm) = SoftHsm::enter("a_token_that_went_away_is_used_again_when_it_is_back") else { return };
    let (uri, directory) = init(&hsm, "t");
    let vault = open(&uri).unwrap();
    let key = p256(&vault, "k").unwrap();
    let other = open(&hsm.init("u")).unwrap();
    let soft: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let neighbours = [(p256(&other, "n").unwrap(), other), (p256(&soft, "n").unwrap(), soft)];
    let away = hsm.directory().join("away");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends_them = Ends(&done);
        let watched: Vec<_> = neighbours
            .iter()
            .map(|(key, vault)| {
                scope.spawn(|| {
                    let (mut slowest, mut count) = (Duration::ZERO, 0);
                    while !done.load(Ordering::SeqCst) {
                        let start = Instant::now();
                        signs(vault, key).unwrap_or_else(|e| panic!("a neighbour is disturbed: {e} ({e:?})"));
                        slowest = slowest.max(start.elapsed());
                        count += 1;
                    }
                    (slowest, count)
                })
            })
            .collect();
        for round in 0..3 {
            fs::rename(&directory, &away).unwrap();
            let gone = Instant::now();
            while gone.elapsed() < Duration::from_millis(2500) {
                let start = Instant::now();
                let error = signs(&vault, &key).expect_err("the token is away");
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
                // Long before its deadline.
                assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
                let made = p256(&vault, "while-away").expect_err("the token is away");
                assert_eq!(made.kind(), Kind::Unavailable, "{made}");
                assert_eq!(block_on(vault.listing().unwrap().list()).unwrap_err().kind(), Kind::Unavailable);
                sleep(Duration::from_millis(20));
            }
            fs::rename(&away, &directory).unwrap();
            let back = Instant::now();
            while let Err(e) = signs(&vault, &key) {
                assert_eq!(e.kind(), Kind::Unavailable, "{e}");
                assert!(back.elapsed() < Duration::from_secs(5), "round {round}: still {e}");
                sleep(Duration::from_millis(20));
            }
            println!("round {round}: back after {:?}", back.elapsed());
            let listed = block_on(vault.listing().unwrap().list()).unwrap();
            assert_eq!(listed.len(), 1, "nothing was made while it was away");
        }
        done.store(true, Ordering::SeqCst);
        for watched in watched {
            let (slowest, count) = watched.join().unwrap();
            println!("a neighbour signed {count} times, {slowest:?} at the slowest");
            assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        }
    });
}

#[test]
fn a_pin_is_not_repeated_after_an_outage() {
    let Some(hsm) = SoftHsm::enter("a_pin_is_not_repeated_after_an_outage") else { return };
    let (uri, directory) = init(&hsm, "t");
    let vault = open(&uri).unwrap();
    let key = p256(&vault, "k").unwrap();
    let away = hsm.directory().join("away");
    let outage = || {
        fs::rename(&directory, &away).unwrap();
        assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::Unavailable);
        fs::rename(&away, &directory).unwrap();
    };
    let settled = || {
        let start = Instant::now();
        loop {
            match signs(&vault, &key) {
                Err(e) if e.kind() == Kind::Unavailable => {
                    assert!(start.elapsed() < Duration::from_secs(5), "{e}")
                }
                other => return other,
            }
            sleep(Duration::from_millis(50));
        }
    };
    outage();
    settled().expect("the file still has the PIN");
    // A PIN file that is gone for a while spends nothing.
    let file = hsm.directory().join("t.pin");
    fs::rename(&file, hsm.directory().join("kept.pin")).unwrap();
    outage();
    assert_eq!(settled().unwrap_err().kind(), Kind::NotFound);
    fs::rename(hsm.directory().join("kept.pin"), &file).unwrap();
    sleep(Duration::from_millis(1100));
    settled().expect("the PIN is back");
    // A wrong one is tried once, and the right one after that not at all.
    fs::write(&file, "0000-wrong").unwrap();
    outage();
    assert_eq!(settled().unwrap_err().kind(), Kind::Denied);
    fs::write(&file, PIN).unwrap();
    sleep(Duration::from_millis(1100));
    let error = settled().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Denied, Retry::NeedsOperator), "{error}");
    signs(&open(&uri).unwrap(), &key).expect("opened anew, it works");
}

#[test]
fn a_person_is_not_asked_again_after_an_outage() {
    let Some(hsm) = SoftHsm::enter("a_person_is_not_asked_again_after_an_outage") else { return };
    let (uri, directory) = init(&hsm, "t");
    let asked = Arc::new(AtomicUsize::new(0));
    let knows = Knows(PIN, Arc::clone(&asked));
    let vault = open_with(Pkcs11Backend::new(), &uri.without("pin-source"), knows).unwrap();
    let key = p256(&vault, "k").unwrap();
    let away = hsm.directory().join("away");
    fs::rename(&directory, &away).unwrap();
    assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::Unavailable);
    fs::rename(&away, &directory).unwrap();
    sleep(Duration::from_millis(2200));
    signs(&vault, &key).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn keys_of_a_re_initialised_token_are_gone_for_good() {
    let Some(hsm) = SoftHsm::enter("keys_of_a_re_initialised_token_are_gone_for_good") else { return };
    let (uri, _) = init(&hsm, "t");
    let vault = open(&uri).unwrap();
    let key = p256(&vault, "k").unwrap();
    signs(&vault, &key).unwrap();
    // In place: same label, same serial number.
    hsm.init_again("t");
    for _ in 0..2 {
        let error = signs(&vault, &key).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (Kind::NotFound, Retry::Permanent), "{error}");
        assert!(error.hint().unwrap().contains("re-initialised"), "{:?}", error.hint());
    }
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap(), []);
    let again = p256(&vault, "k").expect("an explicit wish is granted");
    signs(&vault, &again).unwrap();
    assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::NotFound);
    let fresh = open(&uri).unwrap();
    signs(&fresh, &again).expect("the new key is good for a fresh login, too");

    // Another token with the same label: only the serial number changes.
    hsm.delete("t");
    let _ = hsm.init("t");
    let start = Instant::now();
    let error = loop {
        let error = signs(&vault, &again).unwrap_err();
        if error.kind() != Kind::Unavailable || start.elapsed() > Duration::from_secs(5) {
            break error;
        }
        sleep(Duration::from_millis(100));
    };
    assert_eq!((error.kind(), error.retry()), (Kind::NotFound, Retry::Permanent), "{error}");
    assert!(error.to_string().contains("re-initialised"), "{error}");
    let made = p256(&vault, "k").unwrap_err();
    assert_eq!(made.kind(), Kind::NotFound, "the old vault does not write to the new token: {made}");
    let new = open(&uri).unwrap();
    assert_ne!(new.id(), vault.id());
    assert_eq!(block_on(new.listing().unwrap().list()).unwrap(), []);
    assert_eq!(block_on(new.signing().unwrap().open(again.uri())).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_login_that_outlived_its_token_makes_no_keys() {
    let Some(hsm) = SoftHsm::enter("a_login_that_outlived_its_token_makes_no_keys") else { return };
    let uri = hsm.init("t");
    let vault = open(&uri).unwrap();
    // Nothing known from this login, and the login no longer fresh.
    sleep(Duration::from_millis(5200));
    p256(&vault, "k").expect("a login that is checked and found good");
    sleep(Duration::from_millis(5200));
    let other = "7305-other";
    hsm.util(&[
        "--init-token",
        "--token",
        "t",
        "--label",
        "t",
        "--so-pin",
        SO_PIN,
        "--pin",
        other,
        "--force",
    ]);
    let error = p256(&vault, "l").expect_err("whoever has the old PIN makes no keys");
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    let new = open(&hsm.uri("t", &pin_file(&hsm, "other", other))).unwrap();
    assert_eq!(block_on(new.listing().unwrap().list()).unwrap(), []);
}

#[test]
fn two_vaults_make_one_key_of_one_name() {
    let Some(hsm) = SoftHsm::enter("two_vaults_make_one_key_of_one_name") else { return };
    let uri = hsm.init("t");
    // Vaults that know nothing of each other, as two processes would not.
    let vaults: Vec<_> = (0..4).map(|_| open(&uri).unwrap()).collect();
    for round in 0..10 {
        let key = format!("k{round}");
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = vaults.iter().map(|vault| scope.spawn(|| p256(vault, &key))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let good: Vec<_> = made.iter().filter_map(|made| made.as_ref().ok()).collect();
        assert_eq!(good.len(), 1, "round {round}: {made:?}");
        for error in made.iter().filter_map(|made| made.as_ref().err()) {
            assert_eq!(error.kind(), Kind::AlreadyExists, "{error} {error:?}");
        }
        let listed = block_on(vaults[0].listing().unwrap().list()).unwrap();
        assert_eq!(listed.len(), round + 1);
        signs(&vaults[1], good[0]).unwrap();
    }
}

#[test]
fn two_processes_make_one_key_of_one_name() {
    const ROUND: &str = "OCKAM_KMS_TEST_RACE";
    let Some(hsm) = SoftHsm::enter("two_processes_make_one_key_of_one_name") else { return };
    if let Ok(round) = std::env::var(ROUND) {
        let vault = open(&hsm.uri("t", &hsm.directory().join("t.pin"))).unwrap();
        // All of them at the same moment, as far as that goes.
        while !hsm.directory().join(&round).exists() {
            std::hint::spin_loop();
        }
        match p256(&vault, &round) {
            Ok(key) => signs(&vault, &key).unwrap(),
            Err(error) => assert_eq!(error.kind(), Kind::AlreadyExists, "{error} {error:?}"),
        }
        return;
    }
    let vault = open(&hsm.init("t")).unwrap();
    for round in 0..5 {
        let label = format!("k{round}");
        let racers: Vec<_> = (0..3)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["two_processes_make_one_key_of_one_name", "--exact", "--nocapture"])
                    .env(ROUND, &label)
                    .spawn()
                    .unwrap()
            })
            .collect();
        sleep(Duration::from_millis(300));
        fs::write(hsm.directory().join(&label), "").unwrap();
        for mut racer in racers {
            assert!(racer.wait().unwrap().success());
        }
        let uri = KeyUri::of_key(vault.scheme(), &name(&label));
        let key = block_on(vault.signing().unwrap().open(&uri)).unwrap_or_else(|e| {
            let listed = Command::new("pkcs11-tool")
                .args(["--module", MODULE, "--token-label", "t", "--login", "--pin", PIN, "--list-objects"])
                .output();
            panic!("one key, and only one: {e} {e:?} {listed:?}")
        });
        signs(&vault, &key).unwrap();
    }
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap().len(), 5);
}

#[test]
fn a_hanging_device_ends_requests_and_not_the_service() {
    let Some(hsm) = SoftHsm::enter("a_hanging_device_ends_requests_and_not_the_service") else { return };
    let uri = hsm.init("t");
    let p11_kit = P11Kit::start(&hsm);
    let deadline = Duration::from_secs(1);
    let backend = Pkcs11Backend::new().with_deadline(deadline).with_workers(2);
    let vault = open_with(backend, &p11_kit.through(&uri), Nobody).unwrap();
    let soft: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let (key, other) = (p256(&vault, "k").unwrap(), p256(&soft, "k").unwrap());
    signs(&vault, &key).unwrap();
    p11_kit.signal("STOP");
    let in_time = |start: Instant| {
        assert!(start.elapsed() >= deadline && start.elapsed() < deadline + Duration::from_millis(500));
    };
    let start = Instant::now();
    let error = signs(&vault, &key).unwrap_err();
    in_time(start);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
    let start = Instant::now();
    let error = p256(&vault, "lost").unwrap_err();
    in_time(start);
    assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, Retry::Indeterminate), "{error}");
    let start = Instant::now();
    let error = block_on(vault.signing().unwrap().destroy(key.clone())).unwrap_err();
    in_time(start);
    assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, Retry::Indeterminate), "{error}");
    // With every worker hanging, nobody waits.
    let hanging = Instant::now();
    loop {
        let start = Instant::now();
        assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::Unavailable);
        if start.elapsed() < deadline / 4 {
            break;
        }
        assert!(hanging.elapsed() < Duration::from_secs(10), "requests go on waiting");
    }
    let opening = Instant::now();
    assert_eq!(open_with(backend, &p11_kit.through(&uri), Nobody).unwrap_err().kind(), Kind::Unavailable);
    assert!(opening.elapsed() < deadline + Duration::from_millis(500));
    signs(&soft, &other).expect("other vaults do not notice");
    p11_kit.signal("CONT");
    let back = Instant::now();
    // What was under way when it stopped may have happened, and is found by name: destroyed or not, made or not.
    let settled = loop {
        match signs(&vault, &key) {
            Err(e) if e.kind() == Kind::Unavailable => {}
            other => break other,
        }
        assert!(back.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(20));
    };
    assert!(settled.is_ok() || settled.is_err_and(|e| e.kind() == Kind::NotFound));
    sleep(Duration::from_secs(1));
    let lost = KeyUri::of_key(vault.scheme(), &name("lost"));
    let found = block_on(vault.signing().unwrap().open(&lost));
    let lost = match p256(&vault, "lost") {
        Err(e) if e.kind() == Kind::AlreadyExists => found.unwrap(),
        made => made.unwrap(),
    };
    signs(&vault, &lost).unwrap();
}

#[test]
fn a_driver_that_died_is_started_again() {
    let Some(hsm) = SoftHsm::enter("a_driver_that_died_is_started_again") else { return };
    let uri = hsm.init("t");
    let p11_kit = P11Kit::start(&hsm);
    let vault = open(&p11_kit.through(&uri)).unwrap();
    let key = p256(&vault, "k").unwrap();
    for _ in 0..3 {
        p11_kit.signal("KILL");
        let killed = Instant::now();
        while let Err(e) = signs(&vault, &key) {
            assert_eq!(e.kind(), Kind::Unavailable, "{e}");
            assert!(killed.elapsed() < Duration::from_secs(5), "{e}");
            sleep(Duration::from_millis(20));
        }
        println!("back after {:?}", killed.elapsed());
    }
}
