//! What the tests of this package share: identities, authorities on both stores, and a vault that fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use authority::issuer::IssuerKeys;
use authority::member::{ENROLLER, MemberAttributes, ROLE_ATTRIBUTE};
use authority::service::{Authority, Caller, Settings};
use authority::store::{MemoryStore, RocksStore, Store};
use identity::{
    ATTESTATION_SECONDS, Identity, ManualClock, PurposeKey, PurposeKeyAttestation, Timestamp, Validity,
};
use vault::soft::SoftVault;
use vault::{
    Capabilities, Custody, KeyHandle, KeyName, KeySpec, KeyUri, Pending, Scheme, Signature, Signer, Signing,
    SigningFacet, Vault, VaultId,
};

pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000);

/// Somebody with a key.
pub(crate) struct Person {
    pub(crate) primary: Signer,
    pub(crate) identity: Identity,
}

pub(crate) async fn signer(vault: &Arc<dyn Vault>) -> Signer {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = KeyName::new(&format!("k{}", COUNT.fetch_add(1, Ordering::Relaxed))).unwrap();
    let key = vault.signing().unwrap().generate(&KeySpec::ed25519(name)).await.unwrap();
    Signer::bind(Arc::clone(vault), key).unwrap()
}

pub(crate) async fn person(vault: &Arc<dyn Vault>) -> Person {
    let primary = signer(vault).await;
    let identity = Identity::create(&primary, Validity::of_primary_key(NOW)).await.unwrap();
    Person { primary, identity }
}

pub(crate) async fn rotated(person: &Person, vault: &Arc<dyn Vault>, at: Timestamp) -> Person {
    let primary = signer(vault).await;
    let rotation = identity::Rotation { valid: Validity::of_primary_key(at), revoke_purpose_keys: false };
    let identity = person.identity.rotate(&person.primary, &primary, rotation).await.unwrap();
    Person { primary, identity }
}

pub(crate) async fn attested(person: &Person, key: &Signer, at: Timestamp) -> PurposeKeyAttestation {
    let purpose = PurposeKey::Credential(key.public().clone());
    let valid = Validity::starting(at, ATTESTATION_SECONDS);
    PurposeKeyAttestation::attest(&person.identity, &person.primary, &purpose, valid).await.unwrap()
}

pub(crate) async fn issuer(person: &Person, key: &Signer, at: Timestamp) -> IssuerKeys {
    let attestation = attested(person, key, at).await;
    IssuerKeys::new(person.identity.clone(), key.clone(), attestation, Vec::new(), at).unwrap()
}

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> MemberAttributes {
    MemberAttributes::of(pairs.iter().copied()).unwrap()
}

pub(crate) fn enroller() -> MemberAttributes {
    attributes(&[(ROLE_ATTRIBUTE, ENROLLER)])
}

/// A store, and the directory it lives in if it has one.
pub(crate) struct Held {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) dir: Option<tempfile::TempDir>,
}

pub(crate) fn memory(authority: identity::Identifier) -> Held {
    Held { store: Arc::new(MemoryStore::new(authority, NOW).unwrap()), dir: None }
}

pub(crate) fn rocks(authority: identity::Identifier) -> Held {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(&dir.path().join("store"), authority, NOW).unwrap();
    Held { store: Arc::new(store), dir: Some(dir) }
}

/// An authority with one pre-trusted enroller.
pub(crate) struct World {
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) root: Person,
    pub(crate) credential_key: Signer,
    pub(crate) enroller: Person,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) authority: Authority,
    pub(crate) held: Held,
}

impl World {
    pub(crate) async fn new(held: fn(identity::Identifier) -> Held) -> Self {
        Self::with(held, Arc::new(SoftVault::in_memory().unwrap()), |_| {}).await
    }

    pub(crate) async fn with(
        held: fn(identity::Identifier) -> Held,
        issuing: Arc<dyn Vault>,
        set: impl FnOnce(&mut Settings),
    ) -> Self {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let (root, enrolling) = (person(&vault).await, person(&vault).await);
        let credential_key = signer(&issuing).await;
        let held = held(root.identity.identifier());
        let clock = Arc::new(ManualClock::new(NOW));
        let mut settings = Settings::new("project-1");
        settings.pre_trusted = BTreeMap::from([(enrolling.identity.identifier(), enroller())]);
        set(&mut settings);
        let keys = issuer(&root, &credential_key, NOW).await;
        let authority =
            Authority::open(Arc::clone(&held.store), keys, settings, clock.clone()).await.unwrap();
        Self { vault, root, credential_key, enroller: enrolling, clock, authority, held }
    }

    pub(crate) async fn meet(&self, person: &Person) -> Caller {
        self.authority.meet(person.identity.clone()).await.unwrap()
    }

    pub(crate) async fn enroller(&self) -> Caller {
        self.meet(&self.enroller).await
    }

    pub(crate) async fn stranger(&self) -> (Person, Caller) {
        let person = person(&self.vault).await;
        let caller = self.meet(&person).await;
        (person, caller)
    }

    /// Somebody who is a member with these attributes.
    pub(crate) async fn member(&self, pairs: &[(&str, &str)]) -> (Person, Caller) {
        let new = person(&self.vault).await;
        let id = new.identity.identifier();
        self.authority.add_member(&self.enroller().await, id, attributes(pairs)).await.unwrap();
        let caller = self.meet(&new).await;
        (new, caller)
    }

    pub(crate) fn audit_lines(&self) -> Vec<String> {
        authority::audit::export(Arc::clone(&self.held.store)).map(Result::unwrap).collect()
    }
}

/// A software vault whose next signatures fail as it is told, or wait until they are let through.
#[derive(Debug)]
pub(crate) struct Failing {
    inner: SoftVault,
    script: Mutex<VecDeque<vault::Error>>,
    gate: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
}

impl Failing {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: SoftVault::in_memory().unwrap(),
            script: Mutex::default(),
            gate: Mutex::default(),
        })
    }

    pub(crate) fn fail_next(&self, error: vault::Error) {
        self.script.lock().unwrap().push_back(error);
    }

    pub(crate) fn hold(&self) -> Arc<tokio::sync::Semaphore> {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }
}

impl Vault for Failing {
    fn id(&self) -> &VaultId {
        self.inner.id()
    }

    fn scheme(&self) -> Scheme {
        self.inner.scheme()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }
}

impl Custody<Signing> for Failing {
    fn generate<'a>(&'a self, spec: &'a KeySpec<Signing>) -> Pending<'a, KeyHandle<Signing>> {
        self.inner.generate(spec)
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<Signing>> {
        self.inner.open(uri)
    }

    fn destroy(&self, key: KeyHandle<Signing>) -> Pending<'_, ()> {
        self.inner.destroy(key)
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Custody::<Signing>::discard(&self.inner, name)
    }
}

impl SigningFacet for Failing {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            let gate = self.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                let _permit = gate.acquire().await.unwrap();
            }
            let next = self.script.lock().unwrap().pop_front();
            match next {
                Some(error) => Err(error),
                None => self.inner.sign(key, message).await,
            }
        })
    }
}
