use std::os::unix::fs::FileExt as _;

use super::*;
use crate::interact::{Ask, Nobody};
use crate::{Sealer, Signer, block_on};

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn signing(vault: &SoftVault) -> &dyn SigningFacet {
    vault.signing().unwrap()
}

#[derive(Debug)]
struct Says(&'static str);

impl Interact for Says {
    fn secret(&self, _: &Ask) -> Result<SecretBytes> {
        Ok(SecretBytes::new(self.0.as_bytes().to_vec()))
    }
}

#[test]
fn keys_survive_a_new_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let made = SoftVault::create(&path, &Lock::KeyFile(None)).unwrap();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let key =
            block_on(signing(&made).generate(&KeySpec::new(name(algorithm.name()), algorithm).unwrap()))
                .unwrap();
        let other = SoftVault::open(&path, &Nobody).unwrap();
        assert_eq!(other.id(), made.id());
        let again = block_on(signing(&other).open(key.uri())).unwrap();
        assert_eq!(again, key);
        let signature = block_on(signing(&other).sign(&key, b"m")).unwrap();
        let _ = key.public().verify(b"m", &signature).unwrap();
    }
    let listed = block_on(made.listing().unwrap().list()).unwrap();
    assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["ed25519", "p256"]);
}

#[test]
fn a_name_is_taken_once_even_by_two_processes() {
    let dir = tempfile::tempdir().unwrap();
    let one = SoftVault::create(dir.path(), &Lock::KeyFile(None)).unwrap();
    let two = SoftVault::open(dir.path(), &Nobody).unwrap();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let vault = if n % 2 == 0 { &one } else { &two };
                scope.spawn(move || block_on(signing(vault).generate(&KeySpec::ed25519(name("k")))))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    for error in made.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), Kind::AlreadyExists);
    }
}

#[test]
fn a_wrong_passphrase_is_denied_and_nobody_means_presence() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::Passphrase(SecretBytes::new(b"right".to_vec()));
    let vault = SoftVault::create(dir.path(), &lock).unwrap();
    block_on(signing(&vault).generate(&KeySpec::ed25519(name("k")))).unwrap();
    assert_eq!(SoftVault::open(dir.path(), &Says("wrong")).unwrap_err().kind(), Kind::Denied);
    assert_eq!(SoftVault::open(dir.path(), &Nobody).unwrap_err().kind(), Kind::Presence);
    let again = SoftVault::open(dir.path(), &Says("right")).unwrap();
    assert_eq!(block_on(again.listing().unwrap().list()).unwrap().len(), 1);
}

#[test]
fn altered_swapped_and_foreign_records_are_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let vault = SoftVault::create(dir.path(), &Lock::KeyFile(None)).unwrap();
    for key in ["a", "b"] {
        block_on(signing(&vault).generate(&KeySpec::ed25519(name(key)))).unwrap();
    }
    let file = |key: &str| dir.path().join(format!("keys/{key}.json"));
    let open = |key: &str| {
        let fresh = SoftVault::open(dir.path(), &Nobody).unwrap();
        block_on(signing(&fresh).open(&format!("soft:name={key}").parse().unwrap()))
    };
    let good = std::fs::read_to_string(file("a")).unwrap();
    // The other key's file under this name, with and without the name inside adapted.
    let other = std::fs::read_to_string(file("b")).unwrap();
    for text in
        [other.clone(), other.replace("\"b\"", "\"a\""), good.replace("ed25519", "p256"), "{}".to_owned()]
    {
        std::fs::write(file("a"), text).unwrap();
        assert_eq!(open("a").unwrap_err().kind(), Kind::Corrupt);
    }
    // Every single hex digit of the record matters.
    for place in good.char_indices().filter(|(_, c)| c.is_ascii_hexdigit()).map(|(place, _)| place).step_by(7)
    {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
        std::fs::write(file("a"), &bytes).unwrap();
        assert!(open("a").is_err(), "byte {place} does not matter");
    }
    std::fs::write(file("a"), &good).unwrap();
    open("a").unwrap();
}

#[test]
fn no_secret_is_stored_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let vault = SoftVault::create(dir.path(), &Lock::Passphrase(SecretBytes::new(b"p".to_vec()))).unwrap();
    for capability in vault.capabilities().iter() {
        let algorithm = capability.algorithm;
        let material = Material::generate(algorithm).unwrap();
        vault.directory.as_ref().unwrap().write_new(&name(algorithm.name()), &material).unwrap();
        let secret = material.secret();
        let text = std::fs::read(dir.path().join(format!("keys/{algorithm}.json"))).unwrap();
        let hex = hex::encode(secret.expose());
        for needle in [secret.expose(), hex.as_bytes()] {
            assert!(!text.windows(needle.len()).any(|window| window == needle));
        }
    }
}

#[test]
fn a_destroyed_key_is_gone_and_its_name_free() {
    let dir = tempfile::tempdir().unwrap();
    for vault in
        [SoftVault::create(dir.path(), &Lock::KeyFile(None)).unwrap(), SoftVault::in_memory().unwrap()]
    {
        let spec = KeySpec::ed25519(name("k"));
        let old = block_on(signing(&vault).generate(&spec)).unwrap();
        block_on(signing(&vault).destroy(old.clone())).unwrap();
        assert_eq!(block_on(signing(&vault).destroy(old.clone())).unwrap_err().kind(), Kind::NotFound);
        let new = block_on(signing(&vault).generate(&spec)).unwrap();
        assert_ne!(new, old);
        assert_eq!(block_on(signing(&vault).sign(&old, b"m")).unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn handles_do_not_cross_vaults() {
    let one: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let two: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let key = block_on(one.signing().unwrap().generate(&KeySpec::p256(name("k")))).unwrap();
    assert_eq!(Signer::bind(two, key).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_newer_format_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    SoftVault::create(dir.path(), &Lock::KeyFile(None)).unwrap();
    let path = dir.path().join("vault.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = SoftVault::open(dir.path(), &Nobody).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("newer"), "{error}");
}

/// A sealing key in another vault that counts how often it is called.
#[derive(Debug)]
struct Counted {
    vault: SoftVault,
    unseals: std::sync::atomic::AtomicUsize,
}

impl Vault for Counted {
    fn id(&self) -> &VaultId {
        self.vault.id()
    }

    fn scheme(&self) -> Scheme {
        Scheme::Soft
    }

    fn capabilities(&self) -> &Capabilities {
        self.vault.capabilities()
    }

    fn sealing(&self) -> Option<&dyn SealingFacet> {
        Some(self)
    }
}

impl Custody<Sealing> for Counted {
    fn generate<'a>(&'a self, spec: &'a KeySpec<Sealing>) -> Pending<'a, KeyHandle<Sealing>> {
        self.vault.generate(spec)
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<Sealing>> {
        Custody::open(&self.vault, uri)
    }

    fn destroy(&self, key: KeyHandle<Sealing>) -> Pending<'_, ()> {
        self.vault.destroy(key)
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Custody::<Sealing>::discard(&self.vault, name)
    }
}

impl SealingFacet for Counted {
    fn seal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        plain: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, Vec<u8>> {
        self.vault.seal(key, plain, associated)
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        self.unseals.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.vault.unseal(key, sealed, associated)
    }
}

fn sealing_vault() -> Arc<Counted> {
    Arc::new(Counted { vault: SoftVault::in_memory().unwrap(), unseals: Default::default() })
}

fn sealer(vault: &Arc<Counted>, key: &str) -> Sealer {
    let made = block_on(vault.generate(&KeySpec::aes256_gcm(name(key)))).unwrap();
    Sealer::bind(Arc::clone(vault) as Arc<dyn Vault>, made).unwrap()
}

#[test]
fn another_vault_is_called_once_for_each_opening() {
    let dir = tempfile::tempdir().unwrap();
    let device = sealing_vault();
    let (right, wrong) = (sealer(&device, "right"), sealer(&device, "wrong"));
    let calls = || device.unseals.load(std::sync::atomic::Ordering::Relaxed);
    let lock = Lock::Vault { name: name("hsm"), sealer: right.clone() };
    let made = SoftVault::create(dir.path(), &lock).unwrap();
    for key in ["a", "b"] {
        block_on(signing(&made).generate(&KeySpec::ed25519(name(key)))).unwrap();
    }
    let before = calls();
    let opened = block_on(SoftVault::unlock(dir.path(), Unlock::Sealer(&right))).unwrap();
    for key in ["a", "b"] {
        let key = block_on(signing(&opened).open(&format!("soft:name={key}").parse().unwrap())).unwrap();
        block_on(signing(&opened).sign(&key, b"m")).unwrap();
    }
    assert_eq!(calls(), before + 1);
    let (id, by) = SoftVault::locked_by(dir.path()).unwrap();
    let sealed = SealedBy {
        vault: name("hsm"),
        vault_id: device.id().clone(),
        key: "soft:name=right".parse().unwrap(),
    };
    assert_eq!((&id, &by), (made.id(), &LockedBy::Vault(sealed)));
    // Another key, and nobody who has one.
    let error = block_on(SoftVault::unlock(dir.path(), Unlock::Sealer(&wrong))).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("`soft:name=right` of the vault `hsm`"), "{error}");
    assert_eq!(SoftVault::open(dir.path(), &Nobody).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_lock_of_another_vault_says_which_and_cannot_be_edited() {
    let dir = tempfile::tempdir().unwrap();
    let device = sealing_vault();
    let key = sealer(&device, "k");
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    for path in [&one, &two] {
        SoftVault::create(path, &Lock::Vault { name: name("hsm"), sealer: key.clone() }).unwrap();
    }
    let open = |path: &Path| block_on(SoftVault::unlock(path, Unlock::Sealer(&key)));
    let text = std::fs::read_to_string(one.join("vault.json")).unwrap();
    // The sealed data key of another vault under the same key, and each field that is bound.
    let field = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\": \"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let other = std::fs::read_to_string(two.join("vault.json")).unwrap();
    let swaps = [
        text.replace(&field(&text, "data_key"), &field(&other, "data_key")),
        text.replace(device.id().as_str(), "0000"),
        text.replace("soft:name=k", "soft:name=l"),
        text.replacen(&field(&text, "vault_id"), &field(&other, "vault_id"), 1),
    ];
    for swapped in swaps {
        assert_ne!(swapped, text);
        std::fs::write(one.join("vault.json"), swapped).unwrap();
        assert_eq!(open(&one).unwrap_err().kind(), Kind::Denied);
    }
    std::fs::write(one.join("vault.json"), &text).unwrap();
    open(&one).unwrap();
}

fn bytes_of(dir: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let changed = path.metadata().unwrap().modified().unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap(), changed)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_is_no_file_locks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, given) = (dir.path().join("vault"), dir.path().join("given"));
    let refused = |given: &std::path::Path| {
        let error = SoftVault::create(&path, &Lock::KeyFile(Some(given.to_owned()))).unwrap_err();
        assert!(!path.join("vault.json").exists());
        (error.kind(), error.hint().unwrap().to_owned())
    };
    std::fs::create_dir(&given).unwrap();
    for no_file in [given.as_path(), std::path::Path::new("/dev/null")] {
        let (kind, hint) = refused(no_file);
        assert_eq!(kind, Kind::Invalid);
        assert!(hint.starts_with("name a file"), "{hint}");
    }
    std::fs::remove_dir(&given).unwrap();
    // Of a vault that is there, the file is what opens it.
    SoftVault::create(&path, &Lock::KeyFile(Some(given.clone()))).unwrap();
    std::fs::remove_file(&given).unwrap();
    let error = SoftVault::open(&path, &crate::Nobody).unwrap_err();
    assert!(error.kind() == Kind::NotFound && error.hint().unwrap().contains("restore it"), "{error}");
}

#[test]
fn a_lock_is_changed_between_all_kinds_and_no_key_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (path, outside) = (dir.path().join("v"), dir.path().join("outside"));
    let device = sealing_vault();
    let key = sealer(&device, "k");
    let made = SoftVault::create(&path, &Lock::KeyFile(None)).unwrap();
    let signer = block_on(signing(&made).generate(&KeySpec::ed25519(name("a")))).unwrap();
    let keys = bytes_of(&path.join("keys"));
    let locks = [
        Lock::KeyFile(None),
        Lock::KeyFile(Some(outside.clone())),
        Lock::Passphrase(SecretBytes::new(b"right".to_vec())),
        Lock::Vault { name: name("hsm"), sealer: key.clone() },
    ];
    let unlock = |by: &LockedBy| match by {
        LockedBy::Vault(_) => Unlock::Sealer(&key),
        _ => Unlock::Asking(&Says("right")),
    };
    // Each kind after each kind, itself included: a passphrase takes its time.
    for next in [0, 1, 0, 2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0] {
        let lock = &locks[next];
        let by = SoftVault::locked_by(&path).unwrap().1;
        block_on(block_on(Relock::begin(&path, unlock(&by))).unwrap().finish(lock)).unwrap();
        let left: Vec<_> = bytes_of(&path).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(left.len(), if next == 0 { 2 } else { 1 }, "{lock:?}: {left:?}");
    }
    let opened = SoftVault::open(&path, &Nobody).unwrap();
    assert_eq!(block_on(signing(&opened).open(signer.uri())).unwrap(), signer);
    assert_eq!(bytes_of(&path.join("keys")), keys);
    // What a process opened before goes on.
    block_on(signing(&made).sign(&signer, b"m")).unwrap();
}

#[test]
fn a_lock_that_somebody_else_changed_meanwhile_stays() {
    let dir = tempfile::tempdir().unwrap();
    SoftVault::create(dir.path(), &Lock::KeyFile(None)).unwrap();
    let slow = block_on(Relock::begin(dir.path(), Unlock::Asking(&Nobody))).unwrap();
    let fast = block_on(Relock::begin(dir.path(), Unlock::Asking(&Nobody))).unwrap();
    block_on(fast.finish(&Lock::Passphrase(SecretBytes::new(b"p".to_vec())))).unwrap();
    assert_eq!(block_on(slow.finish(&Lock::KeyFile(None))).unwrap_err().kind(), Kind::Exhausted);
    SoftVault::open(dir.path(), &Says("p")).unwrap();
    assert!(!dir.path().join("kek").exists(), "the key file of the lock that was");
}

/// Every bit of what is sealed at rest matters: header and keys, over three kinds of key.
#[test]
fn no_bit_can_be_flipped_unnoticed() {
    const FLIPS: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let device = sealing_vault();
    let key = sealer(&device, "what-locks-it");
    let lock = Lock::Vault { name: name("hsm"), sealer: key.clone() };
    let made = SoftVault::create(dir.path(), &lock).unwrap();
    block_on(signing(&made).generate(&KeySpec::ed25519(name("a")))).unwrap();
    block_on(made.agreement().unwrap().generate(&KeySpec::x25519(name("b")))).unwrap();
    block_on(made.sealing().unwrap().generate(&KeySpec::aes256_gcm(name("c")))).unwrap();
    let open = |file: &str| -> Result<()> {
        if file == "vault.json" {
            // What the lock calls the other vault is for its home to resolve: by another name it finds none.
            match SoftVault::locked_by(dir.path())?.1 {
                LockedBy::Vault(by) if by.vault == name("hsm") => {}
                _ => return Err(Error::rejected()),
            }
        }
        let opened = block_on(SoftVault::unlock(dir.path(), Unlock::Sealer(&key)))?;
        let uri = |key| KeyUri::of_key(Scheme::Soft, &name(key));
        match file {
            "keys/a.json" => block_on(Custody::<Signing>::open(&opened, &uri("a"))).map(drop),
            "keys/b.json" => block_on(Custody::<Agreement>::open(&opened, &uri("b"))).map(drop),
            "keys/c.json" => block_on(Custody::<Sealing>::open(&opened, &uri("c"))).map(drop),
            _ => Ok(()),
        }
    };
    let mut flips = 0;
    for file in ["vault.json", "keys/a.json", "keys/b.json", "keys/c.json"] {
        let path = dir.path().join(file);
        let good = std::fs::read(&path).unwrap();
        open(file).unwrap();
        // In place: truncating it each time would wait for the disk.
        let writer = std::fs::File::options().write(true).open(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let (at, byte) = (bit / 8, good[bit / 8]);
            let put = |byte: u8| writer.write_all_at(&[byte], at.try_into().unwrap()).unwrap();
            put(byte ^ (1 << (bit % 8)));
            assert!(open(file).is_err(), "{file}: bit {bit}");
            put(byte);
            flips += 1;
        }
        open(file).unwrap();
    }
    assert!(flips >= FLIPS, "{flips}");
}
