//! The vault on a TPM: the facets, each turning a call into a request for the TPM's owner thread. Files are read and
//! written by the caller, so that the TPM waits for no disk.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use vault::device::{Answer, Effect, Pool};
use vault::{
    Agreement, AgreementFacet, AgreementKey, AttestationFacet, Capabilities, Custody, Error, Inventory,
    KeyEvidence, KeyHandle, KeyInfo, KeyName, KeySpec, KeyUri, Kind, ListingFacet, MAX_SEAL, Pending,
    Purpose, PurposeKind, Result, Scheme, Sealing, SealingFacet, SecretBytes, Signature, Signing,
    SigningFacet, Vault, VaultId,
};

use crate::address::Wanted;
use crate::aead;
use crate::attest::{self, Attester};
use crate::desk::Desk;
use crate::errors::Done;
use crate::inventory;
use crate::keys::{self, KeyId};
use crate::link::{Link, Source, Ward};
use crate::operations;
use crate::pcrs::Pcrs;
use crate::store::Stored;
use crate::template;

/// The keys in one directory, and the TPM that uses them.
pub struct TpmVault {
    id: VaultId,
    /// The way to the TPM, for messages.
    tpm: String,
    ward: Arc<Ward>,
    pcrs: Option<Pcrs>,
    attester: Attester,
    capabilities: Capabilities,
    pool: Arc<Pool<Desk>>,
}

impl TpmVault {
    pub(crate) fn new(
        tpm: String,
        ward: Ward,
        pcrs: Option<Pcrs>,
        attester: Attester,
        capabilities: Capabilities,
        pool: Arc<Pool<Desk>>,
    ) -> Self {
        let id = VaultId::new(format!("tpm:{}", ward.store.id()));
        Self { id, tpm, ward: Arc::new(ward), pcrs, attester, capabilities, pool }
    }

    /// Sees that the TPM is the one of this vault.
    pub(crate) fn recognised(&self) -> Result<()> {
        vault::block_on(self.request(|_, _| Ok(())))
    }

    /// What the TPM does is safe to repeat: it keeps nothing, and files are written by who asked.
    fn request<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Link, &Ward) -> Done<T> + Send + 'static,
    ) -> Answer<T> {
        self.request_for(Effect::Reads, work)
    }

    fn request_for<T: Send + 'static>(
        &self,
        effect: Effect,
        mut work: impl FnMut(&mut Link, &Ward) -> Done<T> + Send + 'static,
    ) -> Answer<T> {
        let ward = Arc::clone(&self.ward);
        self.pool.submit(effect, move |desk, deadline| {
            desk.attempt(deadline, Some(&ward), |link| work(link, &ward))
        })
    }

    /// The key that a handle of ours names, as it is now.
    fn mine<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<Mine> {
        if key.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        let broken = || Error::new(Kind::Invalid, "the key handle is none of ours");
        match KeyId::parse(key.id()).ok_or_else(broken)? {
            KeyId::File(id) => {
                let name = keys::name_of(key.uri())?;
                let stored = self.ward.store.find_same(&name, &id)?;
                if template::point(&stored.public).as_deref() != key.public_bytes() {
                    return Err(Error::new(
                        Kind::Corrupt,
                        format!("the key `{name}` is not the one that was opened"),
                    ));
                }
                Ok(Mine { source: keys::source(&stored), pcrs: stored.pcrs.clone(), place: Held::File(name) })
            }
            KeyId::Persistent(handle, name) => Ok(Mine {
                source: keys::kept(handle, Some(name.clone())),
                pcrs: None,
                place: Held::Tpm(handle, name),
            }),
        }
    }

    fn handle<P: Purpose>(&self, stored: &Stored) -> Result<KeyHandle<P>> {
        let uri = KeyUri::of_key(Scheme::Tpm, &stored.name);
        let (id, public) = (stored.key_id.clone(), template::point(&stored.public));
        KeyHandle::from_parts(self.id.clone(), id, uri, stored.algorithm, public.as_deref())
    }

    async fn generate<P: Purpose>(&self, spec: &KeySpec<P>) -> Result<KeyHandle<P>> {
        let algorithm = spec.algorithm();
        if self.capabilities.get(algorithm).is_none() {
            return Err(Error::new(Kind::Unsupported, format!("TPMs have no keys of type {algorithm}"))
                .with_hint("they have p256, ecdh-p256 and, sealed by the TPM, aes256-gcm"));
        }
        self.ward.store.refuse_taken(spec.name())?;
        let pcrs = self.pcrs.clone().filter(|_| algorithm.purpose() == PurposeKind::Sealing);
        let bound = pcrs.clone();
        let (public, private) =
            self.request(move |link, ward| keys::create(link, ward, algorithm, bound.as_ref())).await?;
        let stored = Stored::new(spec.name(), algorithm, pcrs, public, private)?;
        let handle = self.handle(&stored)?;
        self.ward.store.write_new(&stored)?;
        Ok(handle)
    }

    async fn open<P: Purpose>(&self, uri: &KeyUri) -> Result<KeyHandle<P>> {
        match Wanted::parse(uri)? {
            Wanted::Named(name) => {
                let stored = self.ward.store.find(&name)?;
                of_purpose::<P>(&stored)?;
                let looked = stored.clone();
                self.request(move |link, ward| keys::inspect(link, ward, &looked)).await?;
                self.handle(&stored)
            }
            Wanted::Persistent(handle) => {
                let found = self.request(move |link, ward| keys::adopt(link, ward, handle, P::KIND)).await?;
                let (id, uri) = (found.id.text(), Wanted::persistent_uri(handle)?);
                KeyHandle::from_parts(self.id.clone(), id, uri, found.algorithm, Some(&found.point))
            }
        }
    }

    async fn destroy<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<()> {
        let mine = self.mine(key)?;
        match mine.place {
            Held::File(name) => {
                self.ward.store.remove(&name)?;
                self.flush(mine.source.id).await;
                Ok(())
            }
            Held::Tpm(handle, name) => {
                let tpm = self.tpm.clone();
                let work = move |link: &mut Link, ward: &Ward| keys::evict(link, ward, handle, &name, &tpm);
                self.request_for(Effect::Changes, work).await
            }
        }
    }

    async fn discard<P: Purpose>(&self, name: &KeyName) -> Result<()> {
        let store = &self.ward.store;
        match store.find(name) {
            Ok(stored) => {
                of_purpose::<P>(&stored)?;
                store.remove(name)?;
                self.flush(stored.key_id).await;
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
        store.forget(name)
    }

    /// Flushes a key whose file is gone. A TPM that is away has lost it anyway.
    async fn flush(&self, id: String) {
        let forgotten = self.pool.submit(Effect::Reads, move |desk, _| {
            desk.forget(&id);
            Ok(())
        });
        let _ = forgotten.await;
    }

    fn unsealed(&self, mine: Mine) -> Answer<SecretBytes> {
        self.request(move |link, ward| operations::unsealed(link, ward, &mine.source, mine.pcrs.as_ref()))
    }
}

/// A handle of ours, taken apart.
struct Mine {
    source: Source,
    pcrs: Option<Pcrs>,
    place: Held,
}

/// Who keeps a key.
enum Held {
    File(KeyName),
    Tpm(u32, Vec<u8>),
}

fn of_purpose<P: Purpose>(stored: &Stored) -> Result<()> {
    let purpose = stored.algorithm.purpose();
    if purpose == P::KIND {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, format!("the key `{}` is for {purpose}, not for {}", stored.name, P::KIND)))
}

impl Vault for TpmVault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::Tpm
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }

    fn agreement(&self) -> Option<&dyn AgreementFacet> {
        Some(self)
    }

    fn sealing(&self) -> Option<&dyn SealingFacet> {
        Some(self)
    }

    fn attestation(&self) -> Option<&dyn AttestationFacet> {
        Some(self)
    }

    fn listing(&self) -> Option<&dyn ListingFacet> {
        Some(self)
    }

    fn inventory(&self) -> Pending<'_, Inventory> {
        Box::pin(self.request(|link, _| inventory::take(link)))
    }
}

impl<P: Purpose> Custody<P> for TpmVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>> {
        Box::pin(self.generate(spec))
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>> {
        Box::pin(self.open::<P>(uri))
    }

    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()> {
        Box::pin(async move { self.destroy(&key).await })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Box::pin(self.discard::<P>(name))
    }
}

impl SigningFacet for TpmVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            let mine = self.mine(key)?;
            let digest: [u8; 32] = Sha256::digest(message).into();
            self.request(move |link, ward| operations::sign(link, ward, &mine.source, &digest)).await
        })
    }
}

impl AttestationFacet for TpmVault {
    fn attest<'a>(&'a self, key: &'a KeyHandle<Signing>) -> Pending<'a, KeyEvidence> {
        Box::pin(async move {
            let mine = self.mine(key)?;
            let chain = self.attester.chain()?;
            let (by, point) = (self.attester.key, key.public().as_bytes().to_vec());
            let extra = vault::binding(&point);
            let said = self
                .request(move |link, ward| attest::certify(link, ward, &mine.source, by, &point, &extra))
                .await?;
            attest::evidence(said, chain, &self.attester)
        })
    }
}

impl AgreementFacet for TpmVault {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let mine = self.mine(key)?;
            let AgreementKey::EcdhP256(peer) = peer.clone() else {
                return Err(Error::new(Kind::Invalid, "the peer's key is of another type"));
            };
            self.request(move |link, ward| operations::agree(link, ward, &mine.source, &peer)).await
        })
    }
}

impl SealingFacet for TpmVault {
    fn seal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        plain: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            if plain.len() > MAX_SEAL {
                return Err(Error::new(Kind::Invalid, format!("more than {MAX_SEAL} bytes to seal")));
            }
            let secret = self.unsealed(self.mine(key)?).await?;
            aead::seal(&secret, plain, associated)
        })
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let secret = self.unsealed(self.mine(key)?).await?;
            aead::unseal(&secret, sealed, associated)
        })
    }
}

impl ListingFacet for TpmVault {
    fn list(&self) -> Pending<'_, Vec<KeyInfo>> {
        Box::pin(async move {
            let info = |stored: &Stored| KeyInfo {
                name: stored.name.to_string(),
                uri: KeyUri::of_key(Scheme::Tpm, &stored.name),
                purpose: stored.algorithm.purpose(),
                algorithm: stored.algorithm,
                public: template::point(&stored.public),
            };
            Ok(self.ward.store.list()?.iter().map(info).collect())
        })
    }
}

impl fmt::Debug for TpmVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmVault").field("id", &self.id).finish_non_exhaustive()
    }
}
