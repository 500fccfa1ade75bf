//! A vault whose keys come from fixed seeds, so that what they sign can be compared byte for byte. It counts what it
//! signs, and refuses to when told so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};
use vault::{
    Algorithm, Capabilities, Capability, Custody, Error, KeyHandle, KeyName, KeySpec, KeyUri, Kind, Pending,
    Presence, Protection, Result, Scheme, Signature, Signer, Signing, SigningFacet, Vault, VaultId,
    VerifyingKey,
};

#[derive(Clone)]
enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl Secret {
    fn new(algorithm: Algorithm, seed: &[u8; 32]) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)),
            Algorithm::EcdsaP256 => Self::EcdsaP256(p256::ecdsa::SigningKey::from_slice(seed).unwrap()),
            other => panic!("{other} does not sign"),
        }
    }

    fn public(&self) -> VerifyingKey {
        match self {
            Self::Ed25519(key) => VerifyingKey::Ed25519(key.verifying_key().into()),
            Self::EcdsaP256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                VerifyingKey::from_bytes(Algorithm::EcdsaP256, point.as_bytes()).unwrap()
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Signature {
        match self {
            Self::Ed25519(key) => Signature::Ed25519(key.sign(message).to_bytes()),
            Self::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Signature::ecdsa_p256_normalised(&signature.to_bytes()).unwrap()
            }
        }
    }
}

/// The vault.
pub(crate) struct SeedVault {
    id: VaultId,
    capabilities: Capabilities,
    keys: Mutex<BTreeMap<String, Secret>>,
    signed: AtomicUsize,
    broken: AtomicBool,
}

impl std::fmt::Debug for SeedVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeedVault")
    }
}

impl SeedVault {
    fn new(id: String) -> Self {
        let line = |algorithm| Capability {
            algorithm,
            protection: Protection::Software,
            presence: Presence::None,
            note: "",
        };
        Self {
            id: VaultId::new(id),
            capabilities: Capabilities::new(vec![line(Algorithm::Ed25519), line(Algorithm::EcdsaP256)]),
            keys: Mutex::default(),
            signed: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// How often it signed.
    pub(crate) fn signed(&self) -> usize {
        self.signed.load(Ordering::SeqCst)
    }

    /// From now on it is away.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    fn secret(&self, name: &str) -> Result<Secret> {
        self.keys.lock().unwrap().get(name).cloned().ok_or_else(|| Error::new(Kind::NotFound, "no such key"))
    }

    fn handle(&self, name: &str, secret: &Secret) -> Result<KeyHandle<Signing>> {
        let uri = KeyUri::new(Scheme::Soft).with("name", name)?;
        let public = secret.public();
        Ok(KeyHandle::new(self.id.clone(), name, uri, public.algorithm(), public))
    }

    fn insert(&self, name: &KeyName, secret: Secret) -> Result<KeyHandle<Signing>> {
        let handle = self.handle(name.as_str(), &secret);
        self.keys.lock().unwrap().insert(name.as_str().to_owned(), secret);
        handle
    }
}

impl Vault for SeedVault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::Soft
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }
}

impl Custody<Signing> for SeedVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<Signing>) -> Pending<'a, KeyHandle<Signing>> {
        let seed = Sha256::digest(spec.name().as_str()).into();
        Box::pin(async move { self.insert(spec.name(), Secret::new(spec.algorithm(), &seed)) })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<Signing>> {
        Box::pin(async move {
            let name = uri.require("name")?;
            self.handle(name, &self.secret(name)?)
        })
    }

    fn destroy(&self, key: KeyHandle<Signing>) -> Pending<'_, ()> {
        Box::pin(async move {
            let gone = self.keys.lock().unwrap().remove(key.id());
            gone.map(drop).ok_or_else(|| Error::new(Kind::NotFound, "no such key"))
        })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Box::pin(async move {
            self.keys.lock().unwrap().remove(name.as_str());
            Ok(())
        })
    }
}

impl SigningFacet for SeedVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(Error::new(Kind::Unavailable, "the vault is away"));
            }
            let signature = self.secret(key.id())?.sign(message);
            self.signed.fetch_add(1, Ordering::SeqCst);
            Ok(signature)
        })
    }
}

/// A key of which every byte of the secret is `seed`, alone in its vault.
pub(crate) fn in_vault(algorithm: Algorithm, seed: u8) -> (Signer, Arc<SeedVault>) {
    let vault = Arc::new(SeedVault::new(format!("{algorithm} {seed}")));
    let name = KeyName::new("key").unwrap();
    let handle = vault.insert(&name, Secret::new(algorithm, &[seed; 32])).unwrap();
    (Signer::bind(vault.clone(), handle).unwrap(), vault)
}

/// An Ed25519 key.
pub(crate) fn ed25519(seed: u8) -> Signer {
    in_vault(Algorithm::Ed25519, seed).0
}

/// A P-256 key.
pub(crate) fn p256(seed: u8) -> Signer {
    in_vault(Algorithm::EcdsaP256, seed).0
}
