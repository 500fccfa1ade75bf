use super::*;
use crate::interact::Nobody;
use crate::{Signer, block_on};

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
    for algorithm in Algorithm::ALL {
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
