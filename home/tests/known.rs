//! Histories of others: newer replaces, older is refused, a contradiction blocks until somebody decides.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use std::sync::Arc;

use home::{Home, IdentityRecord, Kind, Name, Side};
use identity::{Identity, Refusal, Rotation, Timestamp, Validity};
use vault::soft::SoftVault;
use vault::{KeyName, KeySpec, Signer, Vault, block_on};

const NOW: Timestamp = Timestamp(1_790_000_000);

/// Somebody whose key is in the hands of two: each rotates on its own.
struct Somebody {
    vault: Arc<dyn Vault>,
    keys: usize,
}

impl Somebody {
    fn new() -> Self {
        Self { vault: Arc::new(SoftVault::in_memory().unwrap()), keys: 0 }
    }

    fn key(&mut self) -> Signer {
        self.keys += 1;
        let spec = KeySpec::ed25519(KeyName::new(&format!("key-{}", self.keys)).unwrap());
        let key = block_on(self.vault.signing().unwrap().generate(&spec)).unwrap();
        Signer::bind(Arc::clone(&self.vault), key).unwrap()
    }

    fn identity(&mut self) -> (Identity, Signer) {
        let key = self.key();
        (block_on(Identity::create(&key, Validity::of_primary_key(NOW))).unwrap(), key)
    }

    fn rotate(&mut self, (identity, key): &(Identity, Signer)) -> (Identity, Signer) {
        let new = self.key();
        let rotation = Rotation { valid: Validity::of_primary_key(NOW), revoke_purpose_keys: false };
        (block_on(identity.rotate(key, &new, rotation)).unwrap(), new)
    }
}

struct World {
    _dir: tempfile::TempDir,
    home: Home,
    first: (Identity, Signer),
    /// Two ways on from the first change, each of two more.
    mine: [(Identity, Signer); 2],
    theirs: [(Identity, Signer); 2],
    somebody: Somebody,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("home")).unwrap();
        let mut somebody = Somebody::new();
        let first = somebody.identity();
        let mut two = || {
            let second = somebody.rotate(&first);
            let third = somebody.rotate(&second);
            [second, third]
        };
        let (mine, theirs) = (two(), two());
        Self { _dir: dir, home, first, mine, theirs, somebody }
    }

    fn show(&self, history: &Identity) -> Result<(), Option<Refusal>> {
        let writer = self.home.write().unwrap();
        self.home.remember(&writer, history, NOW).map_err(|e| {
            assert_eq!(e.kind(), Kind::Rejected);
            e.refusal()
        })
    }

    fn known(&self) -> Vec<u8> {
        self.home.known_identity(&self.first.0.identifier()).unwrap().unwrap().as_bytes().to_vec()
    }

    fn decide(&self, kept: Side) {
        let writer = self.home.write().unwrap();
        self.home.decide_conflict(&writer, &self.first.0.identifier(), kept, NOW).unwrap();
    }

    fn is_blocked(&self) -> bool {
        // As a program that starts anew sees it.
        let home = Home::open(self.home.path()).unwrap();
        home.conflict(&self.first.0.identifier()).unwrap().is_some()
    }
}

const CONFLICT: Result<(), Option<Refusal>> = Err(Some(Refusal::Conflict));

#[test]
fn what_is_newer_replaces_and_a_prefix_that_is_played_again_is_refused() {
    let world = World::new();
    for history in [&world.first.0, &world.mine[0].0, &world.mine[1].0] {
        assert_eq!(world.show(history), Ok(()));
        assert_eq!(world.show(history), Ok(()), "the same again");
        assert_eq!(world.known(), history.as_bytes());
    }
    for prefix in [&world.first.0, &world.mine[0].0] {
        assert_eq!(world.show(prefix), Err(Some(Refusal::Older)));
        assert_eq!(world.known(), world.mine[1].0.as_bytes());
    }
    assert!(!world.is_blocked(), "a rollback is refused, and proves nothing");
}

#[test]
fn a_fork_is_evidence_and_blocks_until_somebody_decides() {
    // At the latest change, longer than what is known, and beside a change before the latest.
    for (known, shown) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let world = World::new();
        let (known, shown) = (&world.mine[known].0, &world.theirs[shown].0);
        world.show(known).unwrap();
        assert_eq!(world.show(shown), CONFLICT);
        let conflict = world.home.conflict(&known.identifier()).unwrap().unwrap();
        assert_eq!(world.home.conflicts().unwrap(), [(known.identifier(), conflict.clone())]);
        assert_eq!((conflict.known, conflict.shown, conflict.at), (known.to_hex(), shown.to_hex(), NOW));
        assert!(world.is_blocked());
        // Nothing of either side goes on, not even what was known.
        for history in [&world.first.0, known, shown, &world.mine[1].0, &world.theirs[1].0] {
            assert_eq!(world.show(history), CONFLICT);
        }
        assert_eq!(world.known(), known.as_bytes());
    }
}

#[test]
fn the_side_that_is_kept_goes_on_and_the_other_is_refused_and_blocks_no_more() {
    for kept in [Side::Known, Side::Shown] {
        let mut world = World::new();
        world.show(&world.mine[0].0).unwrap();
        assert_eq!(world.show(&world.theirs[0].0), CONFLICT);
        world.decide(kept);
        let (good, bad) = match kept {
            Side::Known => (world.mine.clone(), world.theirs.clone()),
            Side::Shown => (world.theirs.clone(), world.mine.clone()),
        };
        assert!(!world.is_blocked());
        assert_eq!(world.known(), good[0].0.as_bytes());
        let first = world.first.clone();
        let more = world.somebody.rotate(&first);
        for history in [&bad[0].0, &bad[1].0, &more.0] {
            assert_eq!(world.show(history), CONFLICT);
            assert!(!world.is_blocked(), "whoever has the stolen key must not block for ever");
        }
        assert_eq!(world.show(&good[1].0), Ok(()));
        // What both go on from is older, and no other way.
        for older in [&good[0].0, &first.0] {
            assert_eq!(world.show(older), Err(Some(Refusal::Older)));
        }
        // Deciding the same again goes back to nothing older.
        world.decide(kept);
        assert_eq!(world.known(), good[1].0.as_bytes());
        // A fork elsewhere is another conflict.
        let other = world.somebody.rotate(&good[0]);
        assert_eq!(world.show(&other.0), CONFLICT);
        assert!(world.is_blocked());
    }
}

#[test]
fn what_is_forgotten_is_met_anew() {
    let world = World::new();
    world.show(&world.mine[1].0).unwrap();
    assert_eq!(world.show(&world.theirs[0].0), CONFLICT);
    let (writer, identifier) = (world.home.write().unwrap(), world.first.0.identifier());
    world.home.forget_conflict(&writer, &identifier).unwrap();
    let again = world.home.forget_conflict(&writer, &identifier).unwrap_err();
    assert_eq!(again.kind(), Kind::NotFound);
    assert_eq!(
        world.home.decide_conflict(&writer, &identifier, Side::Known, NOW).unwrap_err().kind(),
        Kind::NotFound
    );
    drop(writer);
    assert_eq!(world.home.conflicts().unwrap(), []);
    assert_eq!(world.show(&world.theirs[0].0), Ok(()));
}

#[test]
fn a_name_stands_for_the_history_that_counts() {
    let world = World::new();
    let name = Name::new("partner").unwrap();
    let (known, shown) = (&world.mine[0].0, &world.theirs[0].0);
    world.show(known).unwrap();
    {
        let writer = world.home.write().unwrap();
        world.home.store_identity(&writer, &name, &IdentityRecord::new(known, None, None)).unwrap();
    }
    assert_eq!(world.show(shown), CONFLICT);
    world.decide(Side::Shown);
    assert_eq!(world.home.identity(&name).unwrap().identity().unwrap().as_bytes(), shown.as_bytes());
}

/// A decision about one identity leaves alone what stands for anybody else.
#[test]
fn a_name_of_somebody_else_is_left_alone() {
    let mut world = World::new();
    let other = world.somebody.identity().0;
    let name = Name::new("other").unwrap();
    {
        let writer = world.home.write().unwrap();
        world.home.store_identity(&writer, &name, &IdentityRecord::new(&other, None, None)).unwrap();
    }
    world.show(&world.mine[0].0).unwrap();
    assert_eq!(world.show(&world.theirs[0].0), CONFLICT);
    for kept in [Side::Shown, Side::Known] {
        world.decide(kept);
        assert_eq!(world.home.identity(&name).unwrap().identity().unwrap().as_bytes(), other.as_bytes());
    }
}

/// The evidence may have been edited: what is put in place of a history is verified, and is of the same identity.
#[test]
fn evidence_that_was_edited_is_refused() {
    let mut world = World::new();
    world.show(&world.mine[0].0).unwrap();
    assert_eq!(world.show(&world.theirs[0].0), CONFLICT);
    let identifier = world.first.0.identifier();
    let path = world.home.path().join("conflicts").join(format!("{identifier}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let other = world.somebody.identity().0;
    for instead in [other.to_hex(), "8182".to_owned()] {
        std::fs::write(&path, text.replace(&world.theirs[0].0.to_hex(), &instead)).unwrap();
        let writer = world.home.write().unwrap();
        let refused = world.home.decide_conflict(&writer, &identifier, Side::Shown, NOW).unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt);
        drop(writer);
        assert!(world.is_blocked());
        assert_eq!(world.known(), world.mine[0].0.as_bytes());
    }
}

/// The control: with the evidence taken away and what is known with it, as a rollback of the home does, the same histories
/// are taken that the rule refuses. It is the rule that refuses above, and not something else about them.
#[test]
fn without_what_was_seen_the_same_histories_are_taken() {
    let world = World::new();
    world.show(&world.mine[1].0).unwrap();
    assert_eq!(world.show(&world.theirs[0].0), CONFLICT);
    for directory in ["known", "conflicts"] {
        std::fs::remove_dir_all(world.home.path().join(directory)).unwrap();
    }
    assert_eq!(world.show(&world.first.0), Ok(()));
    assert_eq!(world.show(&world.theirs[0].0), Ok(()));
}
