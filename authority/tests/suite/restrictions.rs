//! A credential says what the store has for its member and nothing else, and lasts no longer than it may, whatever came before
//! it: random attributes that change, credentials that are renewed, an authority that rotates. Two controls give more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use authority::Problem;
use authority::issuer::IssuerKeys;
use authority::member::MemberAttributes;
use authority::service::{Operator, PROJECT_ATTRIBUTE};
use authority::store::{
    Applied, Command, Counted, Entry, MemoryStore, Operation, Pending, Store, View, query,
};
use authority::ticket::NewTicket;
use identity::{Credential, Identifier, PurposeKey, PurposeKeyAttestation, Rotation, Rule, Validity, verify};
use vault::Signer;
use vault::soft::SoftVault;

use crate::common::{Held, NOW, Person, World, memory, person, signer};

/// How many members have one authority: it rotates once for each, and its history grows.
const MEMBERS: usize = 20;
/// How many members the controls have: what they do is seen at once.
const MEMBERS_OF_CONTROL: usize = 20;

/// How many members the run has: `OCKAM_KMS_RESTRICTIONS`, or 400.
fn members() -> usize {
    std::env::var("OCKAM_KMS_RESTRICTIONS").map_or(400, |members| members.parse().unwrap())
}

/// A pseudo-random sequence, the same in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn text(&mut self, alphabet: &str, most: u64) -> String {
        let alphabet: Vec<_> = alphabet.chars().collect();
        let length = 1 + self.below(most);
        (0..length).map(|_| alphabet[usize::try_from(self.below(alphabet.len() as u64)).unwrap()]).collect()
    }

    fn value(&mut self) -> String {
        self.text("ab 0\"\\\u{e4}\u{1f512}\0", 12)
    }

    /// From names that are few, so that they come again.
    fn attributes(&mut self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<_, _> =
            (0..self.below(30)).map(|_| (self.text("abc-\u{e4}", 3), self.value())).collect();
        if self.below(4) == 0 {
            all.insert(PROJECT_ATTRIBUTE.to_owned(), self.value());
        }
        all
    }

    /// The same, less some and with some changed.
    fn restricted(&mut self, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut less = BTreeMap::new();
        for (name, value) in given {
            match self.below(4) {
                0 => {}
                1 => drop(less.insert(name.clone(), self.value())),
                _ => drop(less.insert(name.clone(), value.clone())),
            }
        }
        less
    }
}

/// A store whose readers see of each member what they first saw, and which takes what is decided by it.
#[derive(Debug)]
struct Stale {
    inner: MemoryStore,
    first: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl View for Stale {
    fn get(&self, key: &[u8]) -> authority::Result<Option<Vec<u8>>> {
        let found = self.inner.view()?.get(key)?;
        // Members are under `m` (docs/formats.md, "The authority's store").
        Ok(found.map(|found| match key.first() {
            Some(b'm') => self.first.lock().unwrap().entry(key.to_vec()).or_insert(found).clone(),
            _ => found,
        }))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> authority::Result<Vec<Entry>> {
        self.inner.view()?.scan(prefix, after, limit)
    }
}

impl Store for Stale {
    fn authority(&self) -> Identifier {
        self.inner.authority()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn execute(&self, mut command: Command) -> Pending<'_, Applied> {
        Box::pin(async move {
            // Else the store itself notices, and nothing is issued.
            if let Operation::Intend(intent) = &mut command.operation
                && let Some(member) = query::member(self.inner.view()?, &intent.subject)?
            {
                intent.attributes = member.attributes;
            }
            self.inner.execute(command).await
        })
    }

    fn metrics(&self) -> Counted<'_> {
        self.inner.metrics()
    }

    fn view(&self) -> authority::Result<&dyn View> {
        Ok(self)
    }
}

fn stale(authority: Identifier) -> Held {
    let inner = MemoryStore::new(authority, NOW).unwrap();
    Held { store: Arc::new(Stale { inner, first: Mutex::default() }), dir: None }
}

/// What came of a run.
#[derive(Debug, Default)]
struct Found {
    issued: usize,
    refused: usize,
    /// What credentials say or last beyond what they may.
    excesses: Vec<String>,
}

/// An authority, and what a credential of it may be.
struct Trial {
    world: World,
    random: Random,
    /// How long a credential may last, in seconds.
    most: u64,
    found: Found,
}

impl Trial {
    async fn new(held: fn(Identifier) -> Held, seed: u64, factor: u64) -> Self {
        let mut random = Random(seed);
        let most = 1 + random.below(3 * 86_400);
        let vault = Arc::new(SoftVault::in_memory().unwrap());
        let world = World::with(held, vault, |settings| settings.credential_seconds = most * factor).await;
        Self { world, random, most, found: Found::default() }
    }

    /// Becomes a member with these attributes, by a ticket or by an enroller.
    async fn join(&mut self, given: &MemberAttributes) -> Person {
        let authority = &self.world.authority;
        let enroller = self.world.enroller().await;
        let person = person(&self.world.vault).await;
        if self.random.below(2) == 0 {
            let ticket = NewTicket::new(given.clone(), None, None).unwrap();
            let made = authority.make_ticket(&enroller, ticket).await.unwrap();
            authority.enrol(&self.world.meet(&person).await, &made.code).await.unwrap();
        } else {
            authority.add_member(&enroller, person.identity.identifier(), given.clone()).await.unwrap();
        }
        person
    }

    fn wait(&mut self) {
        let seconds = self.random.below(2 * self.most);
        self.world.clock.set(self.world.authority.now().after(seconds));
    }

    /// Rotates the authority, and attests its credential key (another one when the rotation revokes) for a while that may be
    /// too short for a credential.
    async fn rotate(&mut self) {
        let world = &mut self.world;
        let now = world.authority.now();
        let revoke_purpose_keys = self.random.below(2) == 0;
        if revoke_purpose_keys {
            world.credential_key = signer(&world.vault).await;
        }
        let primary: Signer = signer(&world.vault).await;
        let rotation = Rotation { valid: Validity::of_primary_key(now), revoke_purpose_keys };
        let identity = world.root.identity.rotate(&world.root.primary, &primary, rotation).await.unwrap();
        world.root = Person { primary, identity };
        let seconds = 1 + self.random.below(4 * self.most);
        let purpose = PurposeKey::Credential(world.credential_key.public().clone());
        let valid = Validity::starting(now, seconds);
        let root = &world.root;
        let attestation =
            PurposeKeyAttestation::attest(&root.identity, &root.primary, &purpose, valid).await.unwrap();
        let key = world.credential_key.clone();
        let keys = IssuerKeys::new(root.identity.clone(), key, attestation, Vec::new(), now).unwrap();
        world.authority.replace_issuer(&Operator::of_this_process(), keys).await.unwrap();
    }

    /// Asks for a credential of a member who was given these attributes last, and looks at it.
    async fn credential(&mut self, person: &Person, given: &MemberAttributes) {
        let caller = self.world.meet(person).await;
        match self.world.authority.credential(&caller).await {
            Ok(credential) => {
                self.found.issued += 1;
                let excess = self.excess(&credential, person, given);
                self.found.excesses.extend(excess);
            }
            Err(problem) => {
                self.found.refused += 1;
                assert!(matches!(problem, Problem::Unavailable { .. }), "{problem:?}");
                assert!(!self.world.authority.outlives_a_credential(), "refused without a reason");
            }
        }
    }

    fn excess(&self, credential: &Credential, person: &Person, given: &MemberAttributes) -> Option<String> {
        let (now, bundle) = (self.world.authority.now(), self.world.authority.issuer_bundle());
        let subject = person.identity.identifier();
        let verified = verify(credential, &bundle, Some(&subject), now, Rule::default()).unwrap();
        let mut said: BTreeMap<_, _> = verified.attributes().text().collect();
        assert_eq!(said.len(), verified.attributes().iter().count(), "an attribute that is no text");
        let project = said.remove(PROJECT_ATTRIBUTE);
        // What is left out may be a restriction as well.
        let expected: BTreeMap<_, _> = given.iter().filter(|(name, _)| *name != PROJECT_ATTRIBUTE).collect();
        if said != expected || project != Some("project-1") {
            return Some(format!("says {said:?} of {expected:?}, in {project:?}"));
        }
        let (from, until) = (verified.created_at(), verified.expires_at());
        let key = verified.attestation().expires_at().min(self.world.root.identity.latest().valid_until());
        let most = now.after(self.most - 1).min(key);
        (from < now || until > most).then(|| format!("lasts from {from} to {until}, and not {now} to {most}"))
    }

    /// From the first credential to the last.
    async fn member(&mut self) {
        let mut map = self.random.attributes();
        let mut given = MemberAttributes::new(map.clone()).unwrap();
        let person = self.join(&given).await;
        self.credential(&person, &given).await;
        for _ in 0..2 {
            self.wait();
            map = self.random.restricted(&map);
            given = MemberAttributes::new(map.clone()).unwrap();
            let (enroller, id) = (self.world.enroller().await, person.identity.identifier());
            self.world.authority.add_member(&enroller, id, given.clone()).await.unwrap();
            self.credential(&person, &given).await;
            self.rotate().await;
            self.credential(&person, &given).await;
        }
        let (enroller, caller) = (self.world.enroller().await, self.world.meet(&person).await);
        self.world.authority.delete_member(&enroller, &caller.identifier()).await.unwrap();
        let refused = self.world.authority.credential(&caller).await.unwrap_err();
        assert_eq!(refused.code(), "forbidden", "{refused:?}");
    }
}

/// So many members of authorities whose credentials are good for so many times as long as they may.
async fn run(held: fn(Identifier) -> Held, members: usize, factor: u64) -> Found {
    let mut all = Found::default();
    for seed in 1..=members.div_ceil(MEMBERS) {
        let mut trial = Trial::new(held, 0x2545_f491_4f6c_dd1d ^ ((seed as u64) << 17), factor).await;
        for _ in 0..MEMBERS {
            trial.member().await;
        }
        all.issued += trial.found.issued;
        all.refused += trial.found.refused;
        all.excesses.extend(trial.found.excesses);
    }
    println!("{} issued, {} refused, {} with too much", all.issued, all.refused, all.excesses.len());
    all
}

#[tokio::test]
async fn no_credential_says_or_lasts_more_than_it_may() {
    let members = members();
    let found = run(memory, members, 1).await;
    assert_eq!(found.excesses, Vec::<String>::new());
    assert!(found.issued > 2 * members && found.refused > members / 4, "{found:?}");
}

#[tokio::test]
async fn control_credentials_by_attributes_of_before_are_noticed() {
    let found = run(stale, MEMBERS_OF_CONTROL, 1).await;
    let noticed = found.excesses.iter().filter(|excess| excess.starts_with("says ")).count();
    assert!(noticed > MEMBERS_OF_CONTROL, "{found:?}");
}

#[tokio::test]
async fn control_credentials_that_last_twice_as_long_are_noticed() {
    let found = run(memory, MEMBERS_OF_CONTROL, 2).await;
    let noticed = found.excesses.iter().filter(|excess| excess.starts_with("lasts ")).count();
    assert!(noticed > MEMBERS_OF_CONTROL, "{found:?}");
}
