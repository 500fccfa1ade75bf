//! The example of docs/formats.md, which was made by another implementation of that page, is a vault.

use super::*;
use crate::block_on;
use crate::interact::Nobody;

const FORMATS: &str = include_str!("../../../docs/formats.md");

#[test]
fn the_documented_vault_opens_and_its_key_signs() {
    let (_, example) = FORMATS.split_once("```text example-vault\n").unwrap();
    let lines: Vec<_> = example.lines().take(3).collect();
    let [kek, header, key] = lines[..] else { panic!("three files") };
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    for (file, content) in [("kek", kek), ("vault.json", header), ("keys/issuer.json", key)] {
        crate::durable::replace(&dir.path().join(file), content.as_bytes()).unwrap();
    }

    let vault = SoftVault::open(dir.path(), &Nobody).unwrap();
    let key = block_on(vault.signing().unwrap().open(&"soft:name=issuer".parse().unwrap())).unwrap();
    let seed: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
    let expected = ed25519_dalek::SigningKey::from_bytes(&seed);
    assert_eq!(key.public().as_bytes(), expected.verifying_key().as_bytes());
    let signature = block_on(vault.signing().unwrap().sign(&key, b"m")).unwrap();
    assert!(key.public().verify(b"m", &signature).is_ok());

    // Nothing of it is decoration: the name is part of what the key is sealed with.
    std::fs::rename(dir.path().join("keys/issuer.json"), dir.path().join("keys/other.json")).unwrap();
    assert!(block_on(vault.signing().unwrap().open(&"soft:name=other".parse().unwrap())).is_err());
}
