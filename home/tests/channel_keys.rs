//! Channel keys: made once, kept, renewed, rotated with the identity, and in software where the device does not agree.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::sync::Arc;

use home::rotation::{self, NoServer, Plan};
use home::{Home, IdentityRecord, Kind, Name, NewKey, Vaults};
use identity::{ATTESTATION_SECONDS, Clock as _, ManualClock, PurposeKey, Timestamp};
use vault::soft::{Lock, SoftBackend};
use vault::{Agreer, Nobody, Registry, block_on};

const NOW: Timestamp = Timestamp(1_790_000_000);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

struct Fixture {
    _dir: tempfile::TempDir,
    home: Home,
    vaults: Vaults,
    clock: ManualClock,
}

impl Fixture {
    /// A home with a vault and an identity in it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("home")).unwrap();
        let vaults = Vaults::new(home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody));
        let fixture = Self { _dir: dir, home, vaults, clock: ManualClock::new(NOW) };
        let writer = fixture.home.write().unwrap();
        fixture.home.create_soft_vault(&writer, &name("one"), None, &Lock::KeyFile(None)).unwrap();
        let key = NewKey::Generate(None);
        let (alice, one) = (name("alice"), name("one"));
        block_on(fixture.home.create_identity(&writer, &fixture.vaults, &alice, &one, key, &fixture.clock))
            .unwrap();
        fixture
    }

    fn alice(&self) -> IdentityRecord {
        self.home.identity(&name("alice")).unwrap()
    }

    fn ensure(&self, good_until: Timestamp) -> Agreer {
        let writer = self.home.write().unwrap();
        let alice = name("alice");
        let ensured = self.home.ensure_channel_key(&writer, &self.vaults, &alice, good_until, &self.clock);
        let (key, attestation) = block_on(ensured).unwrap();
        let identity = self.alice().identity().unwrap();
        let proof = attestation.verify(&identity, self.clock.now()).unwrap();
        assert_eq!(*proof.key(), PurposeKey::Channel(key.public().clone()));
        assert!(attestation.expires_at() >= good_until);
        key
    }

    fn keys_in(&self, vault: &str) -> usize {
        let vault = block_on(self.vaults.open(&name(vault))).unwrap();
        block_on(vault.listing().unwrap().list()).unwrap().len()
    }
}

#[test]
fn the_key_is_made_once_and_attested_anew_before_it_ends() {
    let fixture = Fixture::new();
    assert!(fixture.alice().channel_key().is_none());
    let first = fixture.ensure(NOW.after(3600));
    let attested = fixture.alice().channel_key().unwrap().attestation.clone();
    assert_eq!(fixture.ensure(NOW.after(3600)).public(), first.public());
    assert_eq!(fixture.alice().channel_key().unwrap().attestation, attested);
    fixture.clock.set(NOW.after(ATTESTATION_SECONDS - 10));
    assert_eq!(fixture.ensure(fixture.clock.now().after(3600)).public(), first.public());
    assert_ne!(fixture.alice().channel_key().unwrap().attestation, attested);
    assert_eq!(fixture.keys_in("one"), 2);
}

#[test]
fn a_key_that_is_there_needs_no_lock() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    let find = || block_on(fixture.home.channel_key(&fixture.vaults, &fixture.alice(), now.after(60), now));
    assert!(find().unwrap().is_none());
    let made = fixture.ensure(now.after(3600));
    let _writer = fixture.home.write().unwrap();
    assert_eq!(find().unwrap().unwrap().0.public(), made.public());
}

#[test]
fn it_is_counted_wherever_keys_are() {
    let fixture = Fixture::new();
    let key = fixture.ensure(NOW.after(3600));
    let dependants = fixture.home.dependants(&name("one"), key.public().as_bytes()).unwrap();
    assert_eq!(dependants, [name("alice")]);
    let kinds: Vec<_> = fixture.alice().keys().map(|(what, _)| what).collect();
    assert_eq!(kinds, ["primary", "channel"]);
    let writer = fixture.home.write().unwrap();
    block_on(fixture.home.delete_identity(&writer, &fixture.vaults, &name("alice"), true)).unwrap();
    assert_eq!(fixture.keys_in("one"), 0);
}

#[test]
fn a_rotation_attests_it_anew_and_a_revoking_one_ends_it() {
    let fixture = Fixture::new();
    let first = fixture.ensure(NOW.after(3600));
    fixture.clock.set(NOW.after(100));
    let rotate = |plan: &Plan| {
        let writer = fixture.home.write().unwrap();
        block_on(rotation::rotate(&writer, &fixture.vaults, plan, &NoServer, &fixture.clock)).unwrap();
    };
    rotate(&Plan::within("alice"));
    let record = fixture.alice();
    let attestation = record.channel_key().unwrap().attestation().unwrap();
    attestation.verify(&record.identity().unwrap(), fixture.clock.now()).unwrap();
    assert_eq!(fixture.ensure(NOW.after(3600)).public(), first.public());
    assert_eq!(fixture.keys_in("one"), 2);
    rotate(&Plan { revoke_purpose_keys: true, ..Plan::within("alice") });
    assert!(fixture.alice().channel_key().is_none());
    assert_eq!(fixture.keys_in("one"), 1);
    assert_ne!(fixture.ensure(NOW.after(3600)).public(), first.public());
}

#[test]
fn somebody_elses_identity_gets_none() {
    let fixture = Fixture::new();
    let writer = fixture.home.write().unwrap();
    let other = IdentityRecord::new(&fixture.alice().identity().unwrap(), None, None);
    fixture.home.store_identity(&writer, &name("bob"), &other).unwrap();
    let (bob, until) = (name("bob"), NOW.after(60));
    let ensured = fixture.home.ensure_channel_key(&writer, &fixture.vaults, &bob, until, &fixture.clock);
    assert_eq!(block_on(ensured).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn records_from_before_channel_keys_are_still_read() {
    let fixture = Fixture::new();
    let path = fixture.home.path().join("identities/alice.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("channel_key"), "{text}");
    fixture.ensure(NOW.after(3600));
    assert!(std::fs::read_to_string(&path).unwrap().contains("channel_key"));
    std::fs::write(&path, text).unwrap();
    assert!(fixture.alice().channel_key().is_none());
}
