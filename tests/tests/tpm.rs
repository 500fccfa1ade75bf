//! The TPM backend on swtpm: it conforms, and what accidents of people and TPMs do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::signatures;
use ockam_kms_tests::swtpm::{AUTH, Swtpm};
use tpm::TpmBackend;
use vault::soft::SoftVault;
use vault::{
    Agreement, Algorithm, Backend, Custody, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Nobody, Protection,
    Retry, Sealing, Signer, Signing, Vault, block_on, conformance,
};

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

/// With a deadline for a machine that does much else beside it.
fn open(uri: &KeyUri) -> vault::Result<Arc<dyn Vault>> {
    let backend = TpmBackend::new().with_deadline(Duration::from_secs(120));
    block_on(backend.open(uri, Arc::new(Nobody)))
}

/// A vault whose directory may not be there yet.
fn make(uri: &KeyUri) -> Arc<dyn Vault> {
    let backend = TpmBackend::new().with_deadline(Duration::from_secs(120));
    block_on(backend.create(uri, Arc::new(Nobody))).unwrap()
}

fn p256(vault: &Arc<dyn Vault>, key: &str) -> vault::Result<KeyHandle<Signing>> {
    block_on(vault.signing().unwrap().generate(&KeySpec::p256(name(key))))
}

fn signs(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) -> vault::Result<()> {
    let signer = Signer::bind(Arc::clone(vault), key.clone())?;
    let signature = block_on(signer.sign(b"message"))?;
    signer.public().verify(b"message", &signature).map(drop)
}

fn sealer(vault: &Arc<dyn Vault>, key: &str) -> KeyHandle<Sealing> {
    block_on(vault.sealing().unwrap().generate(&KeySpec::aes256_gcm(name(key)))).unwrap()
}

fn find(vault: &Arc<dyn Vault>, uri: &str) -> vault::Result<KeyHandle<Signing>> {
    block_on(vault.signing().unwrap().open(&uri.parse().unwrap()))
}

/// Asks until it works; what it says meanwhile has to be that the TPM is away.
fn works_again(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) {
    let back = Instant::now();
    while let Err(e) = signs(vault, key) {
        assert_eq!(e.kind(), Kind::Unavailable, "{e} {e:?}");
        assert!(back.elapsed() < Duration::from_secs(30), "{e} {e:?}");
        sleep(Duration::from_millis(20));
    }
    println!("back after {:?}", back.elapsed());
}

#[test]
fn a_tpm_conforms() {
    let tpm = Swtpm::start();
    let vault = make(&tpm.uri("v"));
    let report = block_on(conformance::run(Arc::clone(&vault))).to_string();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/conformance-tpm.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &report).unwrap();
    }
    assert_eq!(report, fs::read_to_string(path).unwrap_or_default(), "record it with UPDATE_GOLDEN=1");
    // After thousands of uses: at most the one key that is cached, and the one session.
    let (objects, sessions) = tpm.held();
    assert!(objects <= 1 && sessions <= 1, "{objects} objects, {sessions} sessions");
    drop(vault);
    assert_eq!(tpm.held(), (0, 0), "nothing of ours is left in the TPM");
}

#[test]
fn keys_live_in_the_vault_and_its_tpm() {
    let mut tpm = Swtpm::start();
    let uri = tpm.uri("v");
    let vault = make(&uri);
    assert_eq!(vault.capabilities().get(Algorithm::EcdsaP256).unwrap().protection, Protection::Software);
    let key = p256(&vault, "k").unwrap();
    signs(&vault, &key).unwrap();
    let again = open(&uri).unwrap();
    assert_eq!(again.id(), vault.id());
    assert_ne!(make(&tpm.uri("w")).id(), vault.id(), "another directory is another vault");
    assert_eq!(find(&again, "tpm:name=k").unwrap(), key);
    drop((vault, again));
    tpm.kill();
    assert_eq!(open(&uri).unwrap_err().kind(), Kind::Unavailable);
    tpm.restart();
    let vault = open(&uri).unwrap();
    let found = find(&vault, "tpm:name=k").unwrap();
    assert_eq!(found, key);
    signs(&vault, &found).unwrap();
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["k"]);
    block_on(Custody::<Signing>::destroy(vault.signing().unwrap(), found)).unwrap();
    assert_eq!(find(&vault, "tpm:name=k").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_vault_that_is_not_there_is_not_made_by_opening_it() {
    let tpm = Swtpm::start();
    let uri = tpm.uri("v");
    let vault = make(&uri);
    let key = p256(&vault, "k").unwrap();
    drop(vault);
    // As when its disk is not mounted.
    let (path, away) = (tpm.directory().join("v"), tpm.directory().join("away"));
    fs::rename(&path, &away).unwrap();
    let error = open(&uri).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains(&format!("no TPM vault in `{}`", path.display())), "{error}");
    assert!(error.hint().unwrap().contains("mount its disk"), "{error:?}");
    assert!(!path.exists(), "nothing was made");
    fs::rename(&away, &path).unwrap();
    signs(&open(&uri).unwrap(), &key).unwrap();
}

#[test]
fn a_value_comes_from_a_file_or_a_person() {
    let tpm = Swtpm::start();
    let uri = tpm.uri("v");
    let vault = make(&uri);
    let error = open(&uri.clone().without("auth-source")).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Presence, Retry::NeedsOperator), "{error}");
    assert!(error.hint().unwrap().contains("auth-source"));
    let missing = uri.clone().with("auth-source", "file:/nowhere/auth").unwrap();
    assert_eq!(open(&missing).unwrap_err().kind(), Kind::NotFound);
    let key = p256(&vault, "k").unwrap();
    fs::write(tpm.auth_file(), "x".repeat(100)).unwrap();
    // It is loaded and was right: the file is read again when it is loaded again.
    let long = p256(&vault, "long").unwrap();
    signs(&vault, &long).unwrap();
    assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::Denied);
    fs::write(tpm.auth_file(), AUTH).unwrap();
    signs(&vault, &key).unwrap();
    let blobs = fs::read_to_string(tpm.directory().join("v/keys/k.json")).unwrap();
    assert!(!format!("{vault:?} {key:?} {error:?} {blobs}").contains(AUTH));
}

#[test]
fn the_last_try_is_never_spent() {
    let tpm = Swtpm::start_with_tries(3);
    let uri = tpm.uri("v");
    let vault = make(&uri);
    let (a, b) = (p256(&vault, "a").unwrap(), p256(&vault, "b").unwrap());
    signs(&vault, &a).unwrap();
    let counted = || {
        let text = tpm.tool("tpm2_getcap properties-variable");
        let line = text.lines().find(|line| line.contains("TPM2_PT_LOCKOUT_COUNTER")).unwrap();
        u32::from_str_radix(line.rsplit("0x").next().unwrap().trim(), 16).unwrap()
    };
    fs::write(tpm.auth_file(), "wrong").unwrap();
    let wrong = signs(&vault, &b).unwrap_err();
    assert_eq!((wrong.kind(), wrong.retry()), (Kind::Denied, Retry::NeedsOperator), "{wrong}");
    assert!(!format!("{wrong} {wrong:?} {:?}", wrong.hint()).contains("wrong\""));
    for _ in 0..5 {
        assert_eq!(signs(&vault, &b).unwrap_err().kind(), Kind::Denied);
    }
    assert_eq!(counted(), 1, "the same wrong value is sent once");
    fs::write(tpm.auth_file(), "also wrong").unwrap();
    assert_eq!(signs(&vault, &b).unwrap_err().kind(), Kind::Denied);
    assert_eq!(counted(), 2);
    for text in ["wrong again", "and again", AUTH] {
        fs::write(tpm.auth_file(), text).unwrap();
        let error = signs(&vault, &b).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("would lock the TPM"), "{error}");
    }
    assert_eq!(counted(), 2, "the last try is kept");
    tpm.tool("tpm2_dictionarylockout --clear-lockout");
    signs(&vault, &b).unwrap();
    // Somebody else locks it.
    tpm.tool("tpm2_createprimary -C o -G ecc -p right -c p.ctx");
    tpm.tool("tpm2_flushcontext -t");
    tpm.tool("tpm2_create -C p.ctx -P right -G ecc -p right -u k.pub -r k.priv");
    tpm.tool("tpm2_flushcontext -t");
    for _ in 0..4 {
        let _ = tpm.try_tool("tpm2_load -C p.ctx -P wrong -u k.pub -r k.priv -c k.ctx");
        let _ = tpm.try_tool("tpm2_flushcontext -t");
    }
    assert_eq!(counted(), 3);
    let locked = open(&uri).and_then(|vault| signs(&vault, &find(&vault, "tpm:name=b")?)).unwrap_err();
    assert_eq!(locked.kind(), Kind::Denied, "{locked}");
    tpm.tool("tpm2_dictionarylockout --clear-lockout");
    let vault = open(&uri).unwrap();
    signs(&vault, &find(&vault, "tpm:name=b").unwrap()).unwrap();
}

#[test]
fn a_tpm_that_goes_away_comes_back() {
    let mut tpm = Swtpm::start();
    let vault = make(&tpm.uri("v"));
    let soft: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let (key, other, seal) = (p256(&vault, "k").unwrap(), p256(&soft, "k").unwrap(), sealer(&vault, "s"));
    let sealed = block_on(vault.sealing().unwrap().seal(&seal, b"secret", b"")).unwrap();
    for _ in 0..3 {
        signs(&vault, &key).unwrap();
        tpm.kill();
        let error = signs(&vault, &key).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
        let error = p256(&vault, "lost").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        signs(&soft, &other).expect("other vaults do not notice");
        tpm.restart();
        works_again(&vault, &key);
        assert_eq!(find(&vault, "tpm:name=lost").unwrap_err().kind(), Kind::NotFound, "it was never made");
    }
    // Restarted between two calls, so that nobody was told.
    tpm.kill();
    tpm.restart();
    signs(&vault, &key).expect("what was loaded is loaded again");
    tpm.kill();
    tpm.restart();
    let plain = block_on(vault.sealing().unwrap().unseal(&seal, &sealed, b"")).unwrap();
    assert_eq!(plain.expose(), b"secret");
}

#[test]
fn a_tpm_that_hangs_ends_requests_and_not_the_service() {
    let tpm = Swtpm::start();
    let deadline = Duration::from_secs(2);
    let backend = TpmBackend::new().with_deadline(deadline);
    let uri = tpm.uri("v");
    let vault = block_on(backend.create(&uri, Arc::new(Nobody))).unwrap();
    let soft: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let (key, other) = (p256(&vault, "k").unwrap(), p256(&soft, "k").unwrap());
    signs(&vault, &key).unwrap();
    tpm.signal("STOP");
    let start = Instant::now();
    let error = signs(&vault, &key).unwrap_err();
    assert!(start.elapsed() >= deadline, "{:?}", start.elapsed());
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(matches!(error.retry(), Retry::After(_)), "{error:?}");
    assert_eq!(p256(&vault, "lost").unwrap_err().kind(), Kind::Unavailable);
    // With every worker hanging, nobody waits.
    let hanging = Instant::now();
    loop {
        let start = Instant::now();
        assert_eq!(signs(&vault, &key).unwrap_err().kind(), Kind::Unavailable);
        if start.elapsed() < deadline / 4 {
            break;
        }
        assert!(hanging.elapsed() < Duration::from_secs(60), "requests go on waiting");
    }
    assert_eq!(block_on(backend.open(&uri, Arc::new(Nobody))).unwrap_err().kind(), Kind::Unavailable);
    signs(&soft, &other).expect("other vaults do not notice");
    tpm.signal("CONT");
    works_again(&vault, &key);
    assert_eq!(find(&vault, "tpm:name=lost").unwrap_err().kind(), Kind::NotFound, "it was never made");
    p256(&vault, "lost").unwrap();
}

#[test]
fn another_tpm_is_noticed() {
    let mut tpm = Swtpm::start();
    let uri = tpm.uri("v");
    let vault = make(&uri);
    let key = p256(&vault, "k").unwrap();
    signs(&vault, &key).unwrap();
    let noticed = |error: vault::Error| {
        assert_eq!((error.kind(), error.retry()), (Kind::NotFound, Retry::NeedsOperator), "{error}");
        assert!(error.to_string().contains("cleared, or is another one"), "{error}");
    };
    tpm.kill();
    tpm.swap();
    noticed(signs(&vault, &key).unwrap_err());
    noticed(p256(&vault, "new").unwrap_err());
    noticed(open(&uri).unwrap_err());
    tpm.swap_back();
    works_again(&vault, &key);
    tpm.tool("tpm2_clear -c p");
    noticed(signs(&vault, &key).unwrap_err());
    noticed(open(&uri).unwrap_err());
    let _made = make(&tpm.uri("w"));
}

#[test]
fn files_that_were_changed_are_refused() {
    let tpm = Swtpm::start();
    let vault = make(&tpm.uri("v"));
    let (k, l) = (p256(&vault, "k").unwrap(), p256(&vault, "l").unwrap());
    let path = |key: &str| tpm.directory().join(format!("v/keys/{key}.json"));
    let read = |key: &str| {
        serde_json::from_str::<serde_json::Value>(&fs::read_to_string(path(key)).unwrap()).unwrap()
    };
    let (mut first, second) = (read("k"), read("l"));
    // A private part that does not belong to the public one, under a new id so that nothing cached stands in.
    first["tpm_private"] = second["tpm_private"].clone();
    first["key_id"] = "00112233445566778899aabbccddeeff".into();
    fs::write(path("k"), first.to_string()).unwrap();
    let error = find(&vault, "tpm:name=k").unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert_eq!(signs(&vault, &k).unwrap_err().kind(), Kind::NotFound, "it is not the key that was opened");
    // A whole key in the place of another.
    let mut swapped = second.clone();
    swapped["name"] = "k".into();
    swapped["key_id"] = k.id().into();
    fs::write(path("k"), swapped.to_string()).unwrap();
    assert_eq!(signs(&vault, &k).unwrap_err().kind(), Kind::Corrupt);
    signs(&vault, &l).unwrap();
}

#[test]
fn slots_that_others_hold_are_waited_for_and_never_taken() {
    let tpm = Swtpm::start();
    let vault = make(&tpm.uri("v"));
    let keys: Vec<_> = (0..5).map(|place| p256(&vault, &format!("k{place}")).unwrap()).collect();
    // More keys than slots, by more callers than slots.
    let (callers, shared) = (keys.iter().cycle().take(20), &vault);
    std::thread::scope(|scope| {
        for key in callers {
            scope.spawn(move || signs(shared, key).unwrap());
        }
    });
    assert!(tpm.held().0 <= 1);
    drop(vault);
    assert_eq!(tpm.held(), (0, 0));
    // Primary objects of somebody else, which without a resource manager stay.
    let fill = || while tpm.try_tool("tpm2_createprimary -C n -G ecc -c other.ctx").is_ok() {};
    fill();
    let error = open(&tpm.uri("v")).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.hint().unwrap().contains("tpmrm0"), "{error:?}");
    assert_eq!(tpm.held().0, 3, "what is not ours stays");
    tpm.tool("tpm2_flushcontext -t");
    let vault = open(&tpm.uri("v")).unwrap();
    signs(&vault, &find(&vault, "tpm:name=k0").unwrap()).unwrap();
    // A flush behind our back: what we loaded is gone, or another object is where it was.
    tpm.tool("tpm2_flushcontext -t");
    signs(&vault, &keys[0]).unwrap();
    // With one of ours loaded and the other slots held by others, that one works and no other can be loaded.
    fill();
    signs(&vault, &keys[0]).unwrap();
    let error = signs(&vault, &keys[1]).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error} {error:?}");
    tpm.tool("tpm2_flushcontext -t");
    signs(&vault, &keys[1]).unwrap();
}

#[test]
fn keys_that_the_tpm_keeps_are_adopted() {
    let tpm = Swtpm::start();
    tpm.tool("tpm2_createprimary -C o -G ecc -c p.ctx");
    let keep = |handle: &str, algorithm: &str, attributes: &str| {
        tpm.tool("tpm2_flushcontext -t");
        tpm.tool(&format!(
            "tpm2_create -C p.ctx -G {algorithm} -a {attributes} -p {AUTH} -u k.pub -r k.priv -c k.ctx"
        ));
        tpm.tool("tpm2_flushcontext -t");
        tpm.tool("tpm2_load -C p.ctx -u k.pub -r k.priv -c k.ctx");
        tpm.tool(&format!("tpm2_evictcontrol -C o -c k.ctx {handle}"));
        tpm.tool("tpm2_flushcontext -t");
    };
    let usual = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth";
    keep("0x81000001", "ecc:ecdsa-sha256", &format!("{usual}|sign"));
    keep("0x81000002", "ecc256", &format!("{usual}|decrypt"));
    keep("0x81000003", "ecc:ecdsa-sha256", "sensitivedataorigin|userwithauth|sign");
    let vault = make(&tpm.uri("v"));
    let key = find(&vault, "tpm:persistent=0x81000001").unwrap();
    assert_eq!(key.uri().to_string(), "tpm:persistent=0x81000001");
    for _ in 0..3 {
        signs(&vault, &key).unwrap();
    }
    let agreement = vault.agreement().unwrap();
    let agrees: KeyHandle<Agreement> =
        block_on(agreement.open(&"tpm:persistent=0x81000002".parse().unwrap())).unwrap();
    let soft = SoftVault::in_memory().unwrap();
    let spec = KeySpec::<Agreement>::new(name("k"), Algorithm::EcdhP256).unwrap();
    let peer = block_on(Custody::<Agreement>::generate(&soft, &spec)).unwrap();
    let ours = block_on(agreement.agree(&agrees, peer.public())).unwrap();
    let theirs = block_on(vault::AgreementFacet::agree(&soft, &peer, agrees.public())).unwrap();
    assert!(ours.same_as(&theirs));
    assert_eq!(find(&vault, "tpm:persistent=0x81000002").unwrap_err().kind(), Kind::Invalid);
    let error = find(&vault, "tpm:persistent=0x81000003").unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("fixedTPM"), "{error}");
    assert_eq!(find(&vault, "tpm:persistent=0x81000009").unwrap_err().kind(), Kind::NotFound);
    // Another key under the same handle is not this key.
    tpm.tool("tpm2_evictcontrol -C o -c 0x81000001");
    assert_eq!(signs(&open(&tpm.uri("v")).unwrap(), &key).unwrap_err().kind(), Kind::NotFound);
    tpm.tool("tpm2_createprimary -C o -G ecc -c p.ctx");
    keep("0x81000001", "ecc:ecdsa-sha256", &format!("{usual}|sign"));
    let error = signs(&open(&tpm.uri("v")).unwrap(), &key).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let new = find(&vault, "tpm:persistent=0x81000001").unwrap();
    assert_ne!(new, key);
    block_on(Custody::<Signing>::destroy(vault.signing().unwrap(), new)).unwrap();
    assert!(!tpm.tool("tpm2_getcap handles-persistent").contains("0x81000001"));
    assert_eq!(find(&vault, "tpm:persistent=0x81000001").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_sealing_key_is_bound_to_registers_on_request() {
    let tpm = Swtpm::start();
    // Register 16 is for debugging: it can be set back.
    let uri = tpm.uri("v").with("pcrs", "sha256:0,16").unwrap();
    let vault = make(&uri);
    let key = sealer(&vault, "s");
    let facet = vault.sealing().unwrap();
    let sealed = block_on(facet.seal(&key, b"secret", b"a")).unwrap();
    let unseal = || block_on(facet.unseal(&key, &sealed, b"a"));
    assert_eq!(unseal().unwrap().expose(), b"secret");
    // A vault without the attribute uses the key as it was made.
    let plain = open(&tpm.uri("v")).unwrap();
    let same: KeyHandle<Sealing> = block_on(plain.sealing().unwrap().open(key.uri())).unwrap();
    assert_eq!(block_on(plain.sealing().unwrap().unseal(&same, &sealed, b"a")).unwrap().expose(), b"secret");
    tpm.tool(&format!("tpm2_pcrextend 16:sha256={}", "11".repeat(32)));
    let error = unseal().unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.hint().unwrap().contains("registers"), "{error:?}");
    tpm.tool("tpm2_pcrreset 16");
    assert_eq!(unseal().unwrap().expose(), b"secret");
    // Signing keys are not bound.
    let signing = p256(&vault, "k").unwrap();
    tpm.tool(&format!("tpm2_pcrextend 16:sha256={}", "11".repeat(32)));
    signs(&vault, &signing).unwrap();
    let (objects, sessions) = tpm.held();
    assert!(objects <= 1 && sessions <= 1, "{objects} objects, {sessions} sessions");
}

#[test]
fn another_library_verifies_the_signatures() {
    let tpm = Swtpm::start();
    let vault = make(&tpm.uri("v"));
    let key = p256(&vault, "k").unwrap();
    signatures::hold(&[Signer::bind(vault, key).unwrap()], signatures::count());
}

#[test]
fn the_program_works_with_a_tpm() {
    let mut tpm = Swtpm::start();
    let mut kms = Kms::new();
    let uri = tpm.uri("v").without("path").to_string();
    let made = kms.run(&["vault", "create", "tpm", "--uri", &uri, "--output", "json"]).code(0);
    assert_eq!(made.json()["backend"], "tpm");
    assert!(kms.home().join("vaults/tpm/tpm.json").exists(), "its blobs lie in the home");
    let check = kms.run(&["vault", "check", "tpm", "--output", "json"]).code(0).json();
    let lines = check["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 9, "{lines:?}");
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let inventory = &check["inventory"];
    assert_eq!(inventory["product"], "IBM SW TPM", "{inventory}");
    assert_eq!(inventory["versions"][0]["what"], "firmware", "{inventory}");
    assert_eq!(inventory["tries"][0]["left"], 32, "{inventory}");
    assert_eq!(inventory["default_secrets"][0], "lockout authorization", "{inventory}");
    let warnings = check["warnings"].to_string();
    assert!(warnings.contains("lockout authorization") && warnings.contains("in software"), "{warnings}");
    tpm.tool("tpm2_changeauth -c lockout changed");
    let check = kms.run(&["vault", "check", "tpm", "--output", "json"]).code(0).json();
    assert_eq!(check["inventory"]["default_secrets"], serde_json::json!([]), "{check}");
    kms.run(&["vault", "create", "soft"]).code(0);
    kms.run(&["identity", "create", "anna", "--vault", "tpm"]).code(0);
    kms.run(&["identity", "create", "bert", "--vault", "soft"]).code(0);
    let before = kms.run(&["identity", "show", "bert", "--output", "json"]).code(0).json();
    kms.run(&["identity", "rotate", "bert", "--to-vault", "tpm"]).code(0);
    let after = kms.run(&["identity", "show", "bert", "--output", "json"]).code(0).json();
    assert_eq!(before["identifier"], after["identifier"]);
    kms.run(&["identity", "rotate", "anna", "--to-vault", "soft"]).code(0);
    // A software vault that the TPM locks.
    kms.run(&["vault", "create", "locked", "--kek", "vault=tpm"]).code(0);
    kms.run(&["identity", "create", "cora", "--vault", "locked"]).code(0);
    tpm.kill();
    let away = kms.run(&["identity", "rotate", "cora"]);
    assert_eq!(away.code, 69, "{} {}", away.stdout, away.stderr);
    assert!(away.stderr.contains("locked by the key") && away.stderr.contains("TPM"), "{}", away.stderr);
    assert!(
        !away.stderr.contains("tcti:") && !away.stderr.contains("ERROR:"),
        "the library is silent: {}",
        away.stderr
    );
    tpm.restart();
    kms.run(&["identity", "rotate", "cora"]).code(0);
    kms.run(&["vault", "rekey", "locked", "--own-key-file"]).code(0);
    kms.run(&["vault", "rekey", "locked", "--kek", "vault=tpm"]).code(0);
    tpm.kill();
    tpm.restart();
    kms.run(&["identity", "rotate", "cora"]).code(0);
    let refused = kms.run(&["vault", "delete", "tpm", "--yes"]);
    assert_eq!(refused.code, 77, "{}", refused.stderr);
    let twice = kms.run(&["vault", "create", "tpm", "--uri", &uri]);
    assert_eq!(twice.code, 73, "{}", twice.stderr);
}
