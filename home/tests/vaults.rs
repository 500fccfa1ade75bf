//! Vaults under two names, vaults that are away, and where their files are: no key is destroyed, or left, by mistake.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use home::rotation::{self, Moment, NoServer, Plan, Witness};
use home::{Home, IdentityRecord, Kind, NewKey, Result, ServerRecord, Vaults};
use identity::ManualClock;
use vault::soft::{Lock, SoftBackend};
use vault::{
    Backend, Capabilities, Custody, Interact, KeyHandle, KeyName, KeySpec, KeyUri, Nobody, Pending, Registry,
    Scheme, Signature, Signing, SigningFacet, Vault, VaultId, block_on,
};

use common::{DieAt, NOW, name};

struct World {
    directory: tempfile::TempDir,
    home: Home,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path().join("home")).unwrap();
        Self { directory, home, clock: ManualClock::new(NOW) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As another process sees them.
    fn vaults(&self) -> Vaults {
        Vaults::new(self.home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody))
    }

    fn make(&self, vault: &str, path: Option<&Path>) -> Result<()> {
        let writer = self.home.write()?;
        self.home.create_soft_vault(&writer, &name(vault), path, &Lock::KeyFile(None))
    }

    /// Another name of the vault in a directory.
    fn register(&self, vault: &str, path: &Path) {
        let writer = self.home.write().unwrap();
        let uri = KeyUri::new(Scheme::Soft).with("path", path.to_str().unwrap()).unwrap();
        self.home.register_vault(&writer, &name(vault), &uri).unwrap();
    }

    fn create(&self, identity: &str, vault: &str, key: NewKey) -> IdentityRecord {
        let writer = self.home.write().unwrap();
        let (identity, vault) = (name(identity), name(vault));
        let vaults = self.vaults();
        block_on(self.home.create_identity(&writer, &vaults, &identity, &vault, key, &self.clock)).unwrap()
    }

    /// An identity with a key that had its name before.
    fn adopt(&self, identity: &str, vault: &str, key: &str) -> IdentityRecord {
        let spec = vault::KeySpec::new(name(key), vault::Algorithm::Ed25519).unwrap();
        let opened = block_on(self.vaults().open(&name(vault))).unwrap();
        block_on(opened.signing().unwrap().generate(&spec)).unwrap();
        self.create(identity, vault, NewKey::Adopt(KeyUri::of_key(Scheme::Soft, &name(key))))
    }

    fn delete(&self, identity: &str) -> Result<()> {
        let writer = self.home.write()?;
        block_on(self.home.delete_identity(&writer, &self.vaults(), &name(identity), true))
    }

    fn rotate(&self, plan: &Plan, witness: &dyn Witness) -> Result<rotation::Outcome> {
        let writer = self.home.write()?;
        block_on(rotation::rotate(&writer, &self.vaults(), plan, witness, &self.clock))
    }

    fn recover(&self) -> Vec<rotation::Recovered> {
        let writer = self.home.write().unwrap();
        block_on(rotation::recover(&writer, &self.vaults(), &NoServer, &self.clock, None)).unwrap()
    }

    fn opens(&self, record: &IdentityRecord) -> bool {
        block_on(record.own_key().unwrap().open(&self.vaults())).is_ok()
    }

    fn keys_in(&self, vault: &str) -> usize {
        let vault = block_on(self.vaults().open(&name(vault))).unwrap();
        block_on(vault.listing().unwrap().list()).unwrap().len()
    }
}

#[test]
fn a_rotation_keeps_a_key_that_another_identity_has_by_another_name_of_the_vault() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.register("alias", &world.home.soft_vault_dir(&name("one")));
    let alice = world.create("alice", "one", NewKey::Generate(None));
    let bob = world.create("bob", "alias", NewKey::Adopt(alice.own_key().unwrap().uri().unwrap()));
    world.rotate(&Plan::within("alice"), &NoServer).unwrap();
    assert!(world.opens(&bob), "the key of another identity is gone");
    // With nobody else it goes, as it should.
    world.rotate(&Plan::within("bob"), &NoServer).unwrap();
    assert!(!world.opens(&bob));
    assert_eq!(world.keys_in("one"), 2);
}

#[test]
fn a_rotation_that_is_taken_back_keeps_one_too() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.register("alias", &world.home.soft_vault_dir(&name("one")));
    world.create("alice", "one", NewKey::Generate(None));
    let plan = Plan::within("alice");
    let died = catch_unwind(AssertUnwindSafe(|| world.rotate(&plan, &DieAt(Moment::Prepared))));
    assert!(died.is_err());
    // Somebody adopts the new key before the next writer comes.
    let opened = block_on(world.vaults().open(&name("one"))).unwrap();
    let old = world.home.identity(&name("alice")).unwrap().own_key().unwrap().uri().unwrap();
    let keys = block_on(opened.listing().unwrap().list()).unwrap();
    let new = keys.into_iter().find(|key| !key.uri.same_key(&old)).unwrap();
    let bob = world.create("bob", "alias", NewKey::Adopt(new.uri));
    assert_eq!(world.recover()[0].result.as_ref().unwrap_err().kind(), Kind::Corrupt);
    assert!(world.opens(&bob));
}

#[test]
fn deleting_keeps_each_key_that_another_identity_has() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.register("alias", &world.home.soft_vault_dir(&name("one")));
    let alice = world.create("alice", "one", NewKey::Generate(None));
    let writer = world.home.write().unwrap();
    let (alice_name, until) = (name("alice"), NOW.after(3600));
    let vaults = world.vaults();
    let ensured = world.home.ensure_credential_key(&writer, &vaults, &alice_name, until, &world.clock);
    let (credential_key, _) = block_on(ensured).unwrap();
    drop(writer);
    // The credential key, which is a signing key as any other.
    let bob = world.create("bob", "alias", NewKey::Adopt(credential_key.handle().uri().clone()));
    world.delete("alice").unwrap();
    assert!(world.opens(&bob) && !world.opens(&alice));
    world.delete("bob").unwrap();
    assert_eq!(world.keys_in("one"), 0);
}

#[test]
fn an_identity_whose_vault_is_away_is_not_deleted() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.make("two", Some(&world.path("two"))).unwrap();
    let record = world.adopt("carol", "two", "ceremony");
    std::fs::rename(world.path("two"), world.path("away")).unwrap();
    let error = world.delete("carol").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint().unwrap().contains("--keep-keys"), "{error:?}");
    assert_eq!(world.home.identity(&name("carol")).unwrap(), record);
    std::fs::rename(world.path("away"), world.path("two")).unwrap();
    assert!(world.opens(&record));
    world.delete("carol").unwrap();
    assert_eq!(world.keys_in("two"), 0);
    // A key that is gone from a vault that is there is no reason to keep the record.
    world.create("dora", "two", NewKey::Generate(None));
    let keys = world.path("two/keys");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::create_dir(&keys).unwrap();
    world.delete("dora").unwrap();
    assert!(world.home.identities().unwrap().is_empty());
}

#[test]
fn an_identity_whose_vault_stays_locked_is_not_deleted() {
    let world = World::new();
    world.make("one", None).unwrap();
    let record = world.create("alice", "one", NewKey::Generate(None));
    let passphrase = || vault::SecretBytes::new(b"correct horse".to_vec());
    let writer = world.home.write().unwrap();
    let relock = block_on(world.vaults().relock(&name("one"))).unwrap();
    block_on(relock.finish(&Lock::Passphrase(passphrase()))).unwrap();
    drop(writer);
    assert_eq!(world.delete("alice").unwrap_err().kind(), Kind::Presence);
    assert_eq!(world.home.identity(&name("alice")).unwrap(), record);
    assert_eq!(world.home.default_identity().unwrap(), Some(name("alice")));
}

/// Software vaults whose key `ceremony` cannot be destroyed.
#[derive(Debug)]
struct Stubborn;

#[derive(Debug)]
struct StubbornVault(Arc<dyn Vault>);

impl Backend for Stubborn {
    fn scheme(&self) -> Scheme {
        Scheme::Soft
    }

    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        Box::pin(async move {
            let opened: Arc<dyn Vault> = Arc::new(StubbornVault(SoftBackend.open(uri, interact).await?));
            Ok(opened)
        })
    }
}

impl Vault for StubbornVault {
    fn id(&self) -> &VaultId {
        self.0.id()
    }

    fn scheme(&self) -> Scheme {
        self.0.scheme()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }
}

impl Custody<Signing> for StubbornVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<Signing>) -> Pending<'a, KeyHandle<Signing>> {
        self.0.signing().unwrap().generate(spec)
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<Signing>> {
        self.0.signing().unwrap().open(uri)
    }

    fn destroy(&self, key: KeyHandle<Signing>) -> Pending<'_, ()> {
        if key.uri().to_string() == "soft:name=ceremony" {
            return Box::pin(async { Err(vault::Error::new(Kind::Denied, "the device says no")) });
        }
        self.0.signing().unwrap().destroy(key)
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        self.0.signing().unwrap().discard(name)
    }
}

impl SigningFacet for StubbornVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        self.0.signing().unwrap().sign(key, message)
    }
}

#[test]
fn a_key_that_a_deletion_leaves_is_named() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.adopt("carol", "one", "ceremony");
    let writer = world.home.write().unwrap();
    let vaults = Vaults::new(world.home.clone(), Registry::new().with(Stubborn), Arc::new(Nobody));
    let (carol, until) = (name("carol"), NOW.after(3600));
    block_on(world.home.ensure_credential_key(&writer, &vaults, &carol, until, &world.clock)).unwrap();
    assert_eq!(world.keys_in("one"), 2);
    let error = block_on(world.home.delete_identity(&writer, &vaults, &carol, true)).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let told = error.to_string();
    assert!(told.contains("`carol` is deleted") && told.contains("the device says no"), "{told}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("`ockam-kms key destroy 'soft:name=ceremony' --vault one`"), "{hint}");
    // The record is gone, and the other key with it.
    assert!(world.home.identities().unwrap().is_empty());
    assert_eq!(world.keys_in("one"), 1);
}

#[test]
fn a_journal_stays_until_the_vault_of_an_adopted_old_key_is_back() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.make("two", Some(&world.path("two"))).unwrap();
    let old = world.adopt("carol", "two", "ceremony");
    let plan = Plan { to_vault: Some("one".into()), ..Plan::within("carol") };
    let died = catch_unwind(AssertUnwindSafe(|| world.rotate(&plan, &DieAt(Moment::Served))));
    assert!(died.is_err());
    std::fs::rename(world.path("two"), world.path("away")).unwrap();
    assert_eq!(world.recover()[0].result.as_ref().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(rotation::pending(&world.home).unwrap(), [name("carol")]);
    std::fs::rename(world.path("away"), world.path("two")).unwrap();
    assert!(world.opens(&old));
    let recovered = world.recover();
    assert!(recovered[0].result.as_ref().unwrap().as_ref().unwrap().old_key_destroyed);
    assert_eq!(world.keys_in("two"), 0);
    assert!(rotation::pending(&world.home).unwrap().is_empty());
}

#[test]
fn a_rotation_that_misses_a_vault_does_not_begin() {
    let world = World::new();
    world.make("one", None).unwrap();
    world.make("two", Some(&world.path("two"))).unwrap();
    world.create("alice", "two", NewKey::Generate(None));
    world.create("bob", "one", NewKey::Generate(None));
    std::fs::rename(world.path("two"), world.path("away")).unwrap();
    for plan in [
        Plan::within("alice"),
        Plan { to_vault: Some("one".into()), ..Plan::within("alice") },
        Plan { to_vault: Some("two".into()), ..Plan::within("bob") },
    ] {
        assert_eq!(world.rotate(&plan, &NoServer).unwrap_err().kind(), Kind::NotFound, "{plan:?}");
        assert!(rotation::pending(&world.home).unwrap().is_empty(), "{plan:?}");
        assert_eq!(world.keys_in("one"), 1);
    }
}

#[test]
fn files_that_another_name_uses_are_neither_removed_nor_moved() {
    for link in [false, true] {
        let world = World::new();
        world.make("default", None).unwrap();
        let mut directory = world.home.soft_vault_dir(&name("default"));
        if link {
            std::os::unix::fs::symlink(&directory, world.path("link")).unwrap();
            directory = world.path("link");
        }
        world.register("alias", &directory);
        let alice = world.create("alice", "alias", NewKey::Generate(None));
        let writer = world.home.write().unwrap();
        for refused in [
            world.home.delete_vault(&writer, &name("default")),
            world.home.move_vault(&writer, &name("default"), &world.path("there")),
            world.home.move_vault(&writer, &name("alias"), &world.path("there")),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{error}");
            assert!(error.to_string().contains("`alias`"), "{error}");
        }
        assert!(world.opens(&alice) && !world.path("there").exists());
        drop(writer);
        // Without the other name it is as before.
        world.delete("alice").unwrap();
        let writer = world.home.write().unwrap();
        world.home.delete_vault(&writer, &name("alias")).unwrap();
        assert_eq!(world.keys_in("default"), 0);
        world.home.move_vault(&writer, &name("default"), &world.path("there")).unwrap();
        world.home.move_vault(&writer, &name("default"), &directory_of(&world, "default")).unwrap();
        world.home.delete_vault(&writer, &name("default")).unwrap();
        assert!(!directory_of(&world, "default").exists());
    }
}

fn directory_of(world: &World, vault: &str) -> PathBuf {
    world.home.soft_vault_dir(&name(vault))
}

#[test]
fn a_vault_is_not_made_where_another_one_is() {
    let world = World::new();
    let taken = directory_of(&world, "b");
    world.make("a", Some(&taken)).unwrap();
    let alice = world.create("alice", "a", NewKey::Generate(None));
    assert_eq!(world.make("b", None).unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(world.make("c", Some(&taken.join("sub"))).unwrap_err().kind(), Kind::AlreadyExists);
    let above = taken.parent().unwrap();
    assert_eq!(world.make("c", Some(above)).unwrap_err().kind(), Kind::AlreadyExists);
    assert!(world.opens(&alice));
    assert_eq!(world.home.vaults().unwrap().len(), 1);
    // And none that is elsewhere takes the directory with it that has its name.
    world.register("b", &world.path("elsewhere"));
    let writer = world.home.write().unwrap();
    world.home.delete_vault(&writer, &name("b")).unwrap();
    assert!(world.opens(&alice));
    drop(writer);
    // What a creation that was cut off left is replaced as before.
    vault::durable::create_dir(&directory_of(&world, "d").join("keys")).unwrap();
    vault::durable::write_new(&directory_of(&world, "d").join("kek"), b"half").unwrap();
    world.make("d", None).unwrap();
    assert_eq!(world.keys_in("d"), 0);
}

#[test]
fn a_vault_is_not_moved_into_itself_or_another_one() {
    let world = World::new();
    world.make("a", None).unwrap();
    world.make("b", None).unwrap();
    std::os::unix::fs::symlink(directory_of(&world, "a"), world.path("link")).unwrap();
    let alice = world.create("alice", "a", NewKey::Generate(None));
    let writer = world.home.write().unwrap();
    for (to, kind) in [
        (directory_of(&world, "a").join("sub"), Kind::Invalid),
        (directory_of(&world, "a").join("sub/deep"), Kind::Invalid),
        (world.path("link/sub"), Kind::Invalid),
        (directory_of(&world, "b").join("sub"), Kind::AlreadyExists),
    ] {
        let error = world.home.move_vault(&writer, &name("a"), &to).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!to.exists());
    }
    assert!(world.opens(&alice));
    // A name that only begins as the other's is outside of it.
    world.home.move_vault(&writer, &name("a"), &world.path("home/vaults/a-2")).unwrap();
    assert!(world.opens(&alice));
    world.home.move_vault(&writer, &name("a"), &world.path("new/deep")).unwrap();
    assert!(world.opens(&alice));
}

#[test]
fn a_move_that_fails_leaves_nothing_and_can_be_tried_again() {
    let world = World::new();
    world.make("a", None).unwrap();
    let alice = world.create("alice", "a", NewKey::Generate(None));
    let large = directory_of(&world, "a").join("large");
    std::fs::write(&large, vec![0; 2 * 1024 * 1024]).unwrap();
    let writer = world.home.write().unwrap();
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(world.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names();
    for _ in 0..2 {
        let error = world.home.move_vault(&writer, &name("a"), &world.path("there")).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert_eq!(names(), before);
    }
    assert!(world.opens(&alice));
    std::fs::remove_file(large).unwrap();
    world.home.move_vault(&writer, &name("a"), &world.path("there")).unwrap();
    assert!(world.opens(&alice) && !directory_of(&world, "a").exists());
}

#[test]
fn a_vault_is_not_moved_from_under_a_server() {
    let world = World::new();
    world.make("a", None).unwrap();
    world.make("b", None).unwrap();
    world.create("alice", "a", NewKey::Generate(None));
    let writer = world.home.write().unwrap();
    for (kind, server) in [("authority", "authority-p"), ("node", "n")] {
        let record: ServerRecord = serde_json::from_value(serde_json::json!({
            "kind": kind, "pid": std::process::id(), "identity": "alice", "http_address": null,
            "node": (kind == "node").then(|| serde_json::json!({ "listen": "127.0.0.1:0" })),
        }))
        .unwrap();
        world.home.put_server(&writer, &name(server), &record).unwrap();
        let lock = world.home.lock_server(&name(server)).unwrap();
        let error = world.home.move_vault(&writer, &name("a"), &world.path("there")).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.hint().unwrap().contains(&format!("ockam-kms {kind} stop {server}")), "{error:?}");
        // One that it does not need may go.
        world.home.move_vault(&writer, &name("b"), &world.path(server)).unwrap();
        drop(lock);
    }
    world.home.move_vault(&writer, &name("a"), &world.path("there")).unwrap();
}
