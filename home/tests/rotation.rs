//! Rotations that die at every moment, software to software, in one process: a panic stands for the crash, and the next
//! writer recovers. (tests/ kills real processes, and uses tokens.)

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use home::rotation::{self, Moment, NoServer, Plan, Witness};
use home::{Home, IdentityRecord, Kind, NewKey, Vaults};
use identity::{ManualClock, PurposeKeyAttestation, Timestamp};
use vault::soft::{Lock, SoftBackend};
use vault::{Nobody, Pending, Registry, Signer, block_on};

use common::{DieAt, NOW, name};

struct Fixture {
    _dir: tempfile::TempDir,
    home: Home,
    clock: ManualClock,
}

impl Fixture {
    /// A home with two vaults and an identity that has a credential key and a channel key.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("home")).unwrap();
        let clock = ManualClock::new(NOW);
        let writer = home.write().unwrap();
        for vault in ["one", "two"] {
            home.create_soft_vault(&writer, &name(vault), None, &Lock::KeyFile(None)).unwrap();
        }
        let fixture = Self { _dir: dir, home, clock };
        let vaults = fixture.vaults();
        let (alice, one, key) = (name("alice"), name("one"), NewKey::Generate(None));
        block_on(fixture.home.create_identity(&writer, &vaults, &alice, &one, key, &fixture.clock)).unwrap();
        let good_until = NOW.after(3600);
        block_on(fixture.home.ensure_credential_key(&writer, &vaults, &alice, good_until, &fixture.clock))
            .unwrap();
        block_on(fixture.home.ensure_channel_key(&writer, &vaults, &alice, good_until, &fixture.clock))
            .unwrap();
        fixture.clock.set(NOW.after(100));
        fixture
    }

    fn vaults(&self) -> Vaults {
        Vaults::new(self.home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody))
    }

    fn alice(&self) -> IdentityRecord {
        self.home.identity(&name("alice")).unwrap()
    }

    /// All keys of both vaults: the identity's primary key and purpose keys, and nothing else.
    fn check_keys(&self, extra: usize) {
        let vaults = self.vaults();
        let record = self.alice();
        block_on(record.own_key().unwrap().open(&vaults)).unwrap();
        let mut expected = 1 + extra;
        if let Some(credential_key) = record.credential_key() {
            block_on(credential_key.key.open(&vaults)).unwrap();
            let attestation = credential_key.attestation().unwrap();
            attestation.verify(&record.identity().unwrap(), NOW.after(200)).unwrap();
            expected += 1;
        }
        if let Some(channel_key) = record.channel_key() {
            block_on(channel_key.key.open_agreer(&vaults)).unwrap();
            let attestation = channel_key.attestation().unwrap();
            attestation.verify(&record.identity().unwrap(), NOW.after(200)).unwrap();
            expected += 1;
        }
        let keys: usize = ["one", "two"]
            .iter()
            .map(|vault| {
                let vault = block_on(vaults.open(&name(vault))).unwrap();
                block_on(vault.listing().unwrap().list()).unwrap().len()
            })
            .sum();
        assert_eq!(keys, expected, "a key too many or too few");
    }
}

fn plans() -> Vec<Plan> {
    let within = Plan::within("alice");
    vec![
        within.clone(),
        Plan { to_vault: Some("two".into()), key_type: Some("p256".into()), ..within.clone() },
        Plan { revoke_purpose_keys: true, ..within.clone() },
        Plan { keep_old_key: true, ..within },
    ]
}

#[test]
fn survives_a_crash_at_every_moment() {
    for plan in plans() {
        for moment in Moment::ALL {
            let fixture = Fixture::new();
            let before = fixture.alice().identity().unwrap();
            {
                let writer = fixture.home.write().unwrap();
                let vaults = fixture.vaults();
                let died = catch_unwind(AssertUnwindSafe(|| {
                    block_on(rotation::rotate(&writer, &vaults, &plan, &DieAt(moment), &fixture.clock))
                }));
                assert!(died.is_err());
            }
            let writer = fixture.home.write().unwrap();
            let vaults = fixture.vaults();
            let recovered =
                block_on(rotation::recover(&writer, &vaults, &NoServer, &fixture.clock, None)).unwrap();
            assert!(recovered.iter().all(|one| one.result.is_ok()), "{moment:?}: {recovered:?}");
            assert!(rotation::pending(&fixture.home).unwrap().is_empty());
            let after = fixture.alice().identity().unwrap();
            assert_eq!(after.identifier(), before.identifier());
            let rotated = after.len() == before.len() + 1;
            assert_eq!(rotated, moment >= Moment::Signed, "{moment:?}");
            fixture.check_keys(usize::from(rotated && plan.keep_old_key));
            // And it can be rotated again, without a crash.
            block_on(rotation::rotate(&writer, &vaults, &Plan::within("alice"), &NoServer, &fixture.clock))
                .unwrap();
            fixture.check_keys(usize::from(rotated && plan.keep_old_key));
        }
    }
}

#[test]
fn a_rotation_that_fails_is_taken_back() {
    let fixture = Fixture::new();
    let writer = fixture.home.write().unwrap();
    let vaults = fixture.vaults();
    let before = fixture.alice();
    for (plan, kind) in [
        (Plan { key_type: Some("x25519".into()), ..Plan::within("alice") }, Kind::Invalid),
        (Plan { key_type: Some("rsa".into()), ..Plan::within("alice") }, Kind::Invalid),
        (Plan { to_vault: Some("three".into()), ..Plan::within("alice") }, Kind::NotFound),
        (Plan { to_key: Some("soft:name=none".into()), ..Plan::within("alice") }, Kind::NotFound),
        (Plan::within("bob"), Kind::NotFound),
    ] {
        let error =
            block_on(rotation::rotate(&writer, &vaults, &plan, &NoServer, &fixture.clock)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(fixture.alice(), before);
        assert!(rotation::pending(&fixture.home).unwrap().is_empty());
        fixture.check_keys(0);
    }
}

#[test]
fn a_journal_that_was_changed_is_refused_and_destroys_nothing() {
    let fixture = Fixture::new();
    {
        let writer = fixture.home.write().unwrap();
        let vaults = fixture.vaults();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let plan = Plan::within("alice");
            block_on(rotation::rotate(&writer, &vaults, &plan, &DieAt(Moment::Served), &fixture.clock))
        }));
    }
    let path = fixture.home.path().join("rotations/alice.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("keep_old_key\\\":false", "keep_old_key\\\":true ")).unwrap();
    let writer = fixture.home.write().unwrap();
    let vaults = fixture.vaults();
    let recovered = block_on(rotation::recover(&writer, &vaults, &NoServer, &fixture.clock, None)).unwrap();
    assert_eq!(recovered[0].result.as_ref().unwrap_err().kind(), Kind::Corrupt);
    fixture.check_keys(1);
}

/// Keeps what the journal said at a moment.
struct Keeps(Moment, std::path::PathBuf);

impl Witness for Keeps {
    fn take_over<'a>(
        &'a self,
        _: &'a IdentityRecord,
        _: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn reached(&self, moment: Moment) {
        if moment == self.0 {
            std::fs::copy(&self.1, self.1.with_extension("kept")).unwrap();
        }
    }
}

#[test]
fn an_old_journal_that_was_put_back_destroys_nothing() {
    for moment in [Moment::Begun, Moment::Prepared, Moment::Signed, Moment::Committed, Moment::Served] {
        let fixture = Fixture::new();
        let writer = fixture.home.write().unwrap();
        let vaults = fixture.vaults();
        let path = fixture.home.path().join("rotations/alice.json");
        let keeps = Keeps(moment, path.clone());
        block_on(rotation::rotate(&writer, &vaults, &Plan::within("alice"), &keeps, &fixture.clock)).unwrap();
        // What it says is true of the last rotation, and then of one before that.
        for rotated_again in [false, true] {
            if rotated_again {
                block_on(rotation::rotate(
                    &writer,
                    &vaults,
                    &Plan::within("alice"),
                    &NoServer,
                    &fixture.clock,
                ))
                .unwrap();
            }
            let after = fixture.alice();
            std::fs::copy(path.with_extension("kept"), &path).unwrap();
            let recovered =
                block_on(rotation::recover(&writer, &vaults, &NoServer, &fixture.clock, None)).unwrap();
            // From `signed` on it says how the last rotation ended, so there is nothing to do.
            let harmless = moment >= Moment::Signed && !rotated_again;
            match &recovered[0].result {
                Ok(_) => assert!(harmless, "{moment:?}"),
                Err(e) => {
                    assert!(!harmless && (rotated_again || e.kind() == Kind::Corrupt), "{moment:?}: {e}")
                }
            }
            assert_eq!(fixture.alice(), after);
            fixture.check_keys(0);
            std::fs::remove_file(&path).unwrap_or_default();
        }
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_break_the_chain() {
    let fixture = Fixture::new();
    fixture.clock.set(Timestamp(NOW.0 - 5000));
    let writer = fixture.home.write().unwrap();
    let vaults = fixture.vaults();
    block_on(rotation::rotate(&writer, &vaults, &Plan::within("alice"), &NoServer, &fixture.clock)).unwrap();
    assert_eq!(fixture.alice().identity().unwrap().len(), 2);
}
