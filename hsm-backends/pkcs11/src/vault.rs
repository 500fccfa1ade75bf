//! The vault on a token: the facets, each turning a call into a request for a worker.

use std::fmt;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use vault::device::{Answer, Effect, Pool};
use vault::{
    Agreement, AgreementFacet, AgreementKey, Algorithm, AttestationFacet, Capabilities, Custody, Error,
    Inventory, KeyEvidence, KeyHandle, KeyInfo, KeyName, KeySpec, KeyUri, Kind, ListingFacet, MAX_SEAL,
    Pending, Protection, Purpose, PurposeKind, Result, Scheme, Sealing, SealingFacet, SecretBytes, Signature,
    Signing, SigningFacet, Vault, VaultId,
};
use zeroize::Zeroizing;

use crate::address::{Token, Wanted};
use crate::attest;
use crate::desk::{Bench, Desk};
use crate::errors::Trouble;
use crate::inventory;
use crate::keys::{self, KeyId, Making, Opened};
use crate::operations::{self, ToSign};

/// The keys of one PKCS#11 token.
pub struct Pkcs11Vault {
    id: VaultId,
    token: Token,
    capabilities: Capabilities,
    pool: Pool<Desk>,
}

impl Pkcs11Vault {
    pub(crate) fn new(token: Token, capabilities: Capabilities, pool: Pool<Desk>) -> Result<Self> {
        Ok(Self { id: token.vault_id()?, token, capabilities, pool })
    }

    fn has_purpose(&self, purpose: PurposeKind) -> bool {
        self.capabilities.iter().any(|line| line.algorithm.purpose() == purpose)
    }

    fn request<T: Send + 'static>(
        &self,
        effect: Effect,
        mut work: impl FnMut(&mut Bench<'_>, Instant) -> std::result::Result<T, Trouble> + Send + 'static,
    ) -> Answer<T> {
        self.pool.submit(effect, move |desk, deadline| desk.attempt(deadline, |bench| work(bench, deadline)))
    }

    fn mine<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<Named> {
        if key.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        Ok(Named {
            id: KeyId::parse(P::KIND, key.id())?,
            text: key.id().to_owned(),
            public: key.public_bytes().map(<[u8]>::to_vec),
        })
    }

    fn handle<P: Purpose>(&self, opened: Opened) -> Result<KeyHandle<P>> {
        let (id, public) = (opened.id.text(), opened.public.as_deref());
        KeyHandle::from_parts(self.id.clone(), id, opened.uri, opened.algorithm, public)
    }
}

/// A handle of ours, taken apart for a worker.
struct Named {
    id: KeyId,
    text: String,
    public: Option<Vec<u8>>,
}

impl Named {
    fn object(&self, bench: &mut Bench<'_>) -> std::result::Result<cryptoki::object::ObjectHandle, Trouble> {
        keys::resolve(bench, &self.id, &self.text, self.public.as_deref())
    }
}

impl Vault for Pkcs11Vault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::Pkcs11
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        self.has_purpose(PurposeKind::Signing).then_some(self)
    }

    fn agreement(&self) -> Option<&dyn AgreementFacet> {
        self.has_purpose(PurposeKind::Agreement).then_some(self)
    }

    fn sealing(&self) -> Option<&dyn SealingFacet> {
        self.has_purpose(PurposeKind::Sealing).then_some(self)
    }

    fn attestation(&self) -> Option<&dyn AttestationFacet> {
        self.has_purpose(PurposeKind::Signing).then_some(self)
    }

    fn listing(&self) -> Option<&dyn ListingFacet> {
        Some(self)
    }

    fn inventory(&self) -> Pending<'_, Inventory> {
        Box::pin(self.request(Effect::Reads, |bench, _| inventory::take(bench)))
    }
}

impl<P: Purpose> Custody<P> for Pkcs11Vault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let mut making = Making::new(spec.algorithm(), spec.name().as_str())?;
            let work = move |bench: &mut Bench<'_>, deadline| keys::generate(bench, &mut making, deadline);
            self.handle(self.request(Effect::Changes, work).await?)
        })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let wanted = Wanted::parse(uri, &self.token)?;
            let opened =
                self.request(Effect::Reads, move |bench, _| keys::open(bench, P::KIND, &wanted)).await?;
            self.handle(opened)
        })
    }

    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()> {
        Box::pin(async move {
            let key = self.mine(&key)?;
            let mut sent = false;
            let work = move |bench: &mut Bench<'_>, _| keys::destroy(bench, &key.id, &key.text, &mut sent);
            self.request(Effect::Changes, work).await
        })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        let name = name.as_str().to_owned();
        Box::pin(self.request(Effect::Changes, move |bench, _| keys::discard(bench, P::KIND, &name)))
    }
}

impl SigningFacet for Pkcs11Vault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            let named = self.mine(key)?;
            let what = match key.algorithm() {
                Algorithm::EcdsaP256 => ToSign::Digest(Sha256::digest(message).into()),
                _ => ToSign::Message(message.to_vec()),
            };
            self.request(Effect::Reads, move |bench, _| {
                let object = named.object(bench)?;
                operations::sign(bench, object, &what)
            })
            .await
        })
    }
}

impl AgreementFacet for Pkcs11Vault {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let named = self.mine(key)?;
            if peer.algorithm() != key.algorithm() {
                return Err(Error::new(Kind::Invalid, "the peer's key is of another type"));
            }
            let peer = peer.clone();
            self.request(Effect::Reads, move |bench, _| {
                let object = named.object(bench)?;
                operations::agree(bench, object, &peer)
            })
            .await
        })
    }
}

impl SealingFacet for Pkcs11Vault {
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
            let named = self.mine(key)?;
            let (plain, associated) = (Zeroizing::new(plain.to_vec()), associated.to_vec());
            self.request(Effect::Reads, move |bench, _| {
                let object = named.object(bench)?;
                operations::seal(bench, object, &plain, &associated)
            })
            .await
        })
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let named = self.mine(key)?;
            let (sealed, associated) = (sealed.to_vec(), associated.to_vec());
            self.request(Effect::Reads, move |bench, _| {
                let object = named.object(bench)?;
                operations::unseal(bench, object, &sealed, &associated)
            })
            .await
        })
    }
}

impl AttestationFacet for Pkcs11Vault {
    fn attest<'a>(&'a self, key: &'a KeyHandle<Signing>) -> Pending<'a, KeyEvidence> {
        Box::pin(async move {
            let named = self.mine(key)?;
            let line = self.capabilities.get(key.algorithm());
            let hardware = line.is_some_and(|line| line.protection == Protection::Hardware);
            self.request(Effect::Reads, move |bench, _| {
                let object = named.object(bench)?;
                attest::attest(bench, object, hardware)
            })
            .await
        })
    }
}

impl ListingFacet for Pkcs11Vault {
    fn list(&self) -> Pending<'_, Vec<KeyInfo>> {
        Box::pin(self.request(Effect::Reads, |bench, _| keys::list(bench)))
    }
}

impl fmt::Debug for Pkcs11Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Vault").field("id", &self.id).finish_non_exhaustive()
    }
}
