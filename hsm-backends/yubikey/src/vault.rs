//! The vault on a card: the facets, each turning a call into a request for the worker.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;

use sha2::{Digest as _, Sha256};
use vault::device::{Answer, Effect, Pool, Reply};
use vault::{
    Agreement, AgreementFacet, AgreementKey, Algorithm, AttestationFacet, Capabilities, Custody, Error,
    Inventory, KeyEvidence, KeyHandle, KeyInfo, KeyName, KeySpec, KeyUri, Kind, ListingFacet, MAX_SEAL,
    P256Point, Pending, Purpose, Result, Scheme, Sealing, SealingFacet, SecretBytes, Signature, Signing,
    SigningFacet, Vault, VaultId,
};

use crate::address::Wanted;
use crate::attest;
use crate::card::Card;
use crate::desk::Desk;
use crate::ecies;
use crate::errors::{Done, Trouble};
use crate::inventory;
use crate::keys::{self, KeyId, Opened};
use crate::quirks;
use crate::station::Station;

/// The keys in the PIV application of one YubiKey.
pub struct YubiKeyVault {
    id: VaultId,
    capabilities: Capabilities,
    station: Arc<Station>,
    pool: Pool<Desk>,
}

impl YubiKeyVault {
    pub(crate) fn new(station: Arc<Station>, capabilities: Capabilities, pool: Pool<Desk>) -> Result<Self> {
        Ok(Self { id: station.address.vault_id()?, capabilities, station, pool })
    }

    fn request<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnMut(&mut Card) -> Done<T> + Send + 'static,
    ) -> Answer<T> {
        self.pool.submit(effect, move |desk, _| desk.attempt(work))
    }

    /// Sees to it that the management key is known. Whoever has to be asked is asked on a thread of its own.
    async fn may_manage(&self) -> Result<()> {
        let (reply, answer) = Reply::new();
        let station = Arc::clone(&self.station);
        thread::Builder::new()
            .name("yubikey-ask".to_owned())
            .spawn(move || reply.answer(station.learn_management_key()))
            .map_err(|e| Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e))?;
        answer.await
    }

    fn mine<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<KeyId> {
        if key.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        KeyId::parse(key.id())
    }

    fn handle<P: Purpose>(&self, opened: &Opened) -> Result<KeyHandle<P>> {
        let uri = self.station.address.key_uri(opened.id.slot, opened.id.name.as_ref())?;
        let (id, public) = (opened.id.text(), Some(opened.public.as_slice()));
        KeyHandle::from_parts(self.id.clone(), id, uri, opened.algorithm, public)
    }
}

impl Vault for YubiKeyVault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::YubiKey
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
        Box::pin(self.request(Effect::Reads, inventory::take))
    }
}

impl<P: Purpose> Custody<P> for YubiKeyVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let (algorithm, name) = (spec.algorithm(), spec.name().clone());
            if self.capabilities.get(algorithm).is_none() {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("{} has no keys of type {algorithm}", self.station.address.card()),
                )
                .with_hint(
                    "Ed25519 and X25519 need firmware 5.7; `ockam-kms vault check NAME` lists what it can do",
                ));
            }
            self.may_manage().await?;
            let work = move |card: &mut Card| keys::generate(card, algorithm, &name);
            self.handle(&self.request(Effect::Changes, work).await?)
        })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let wanted = Wanted::parse(uri, &self.station.address)?;
            let opened = self.request(Effect::Reads, move |card| keys::open(card, P::KIND, &wanted)).await?;
            self.handle(&opened)
        })
    }

    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()> {
        Box::pin(async move {
            let id = self.mine(&key)?;
            self.may_manage().await?;
            let algorithm = key.algorithm();
            self.request(Effect::Changes, move |card| keys::destroy(card, &id, algorithm)).await
        })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        let name = name.clone();
        Box::pin(async move {
            self.may_manage().await?;
            self.request(Effect::Changes, move |card| keys::discard(card, P::KIND, &name)).await
        })
    }
}

impl SigningFacet for YubiKeyVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            let id = self.mine(key)?;
            let input = match key.algorithm() {
                Algorithm::EcdsaP256 => Sha256::digest(message).to_vec(),
                _ if message.len() > quirks::LONGEST_MESSAGE => {
                    return Err(Error::new(
                        Kind::Invalid,
                        format!(
                            "a YubiKey signs at most {} bytes by Ed25519, and these are {}",
                            quirks::LONGEST_MESSAGE,
                            message.len()
                        ),
                    )
                    .with_hint("sign a digest of it, or use a p256 key"));
                }
                _ => message.to_vec(),
            };
            let work = move |card: &mut Card| {
                let facts = keys::resolve(card, &id)?;
                card.sign(id.slot, &facts, &input)
            };
            let signature = signature(key.algorithm(), &self.request(Effect::Reads, work).await?)?;
            // What the card returns leaves the building only when it holds.
            let _proof = key.public().verify(message, &signature).map_err(|_| {
                let card = self.station.address.card();
                Error::new(Kind::Backend, format!("{card} returned a signature that does not hold"))
            })?;
            Ok(signature)
        })
    }

    fn message_lengths(&self, algorithm: Algorithm) -> RangeInclusive<usize> {
        0..=if algorithm == Algorithm::Ed25519 { quirks::LONGEST_MESSAGE } else { usize::MAX }
    }
}

fn signature(algorithm: Algorithm, bytes: &[u8]) -> Result<Signature> {
    let none = || Error::new(Kind::Backend, "the card returned something that is no signature");
    if algorithm == Algorithm::Ed25519 {
        return bytes.try_into().map(Signature::Ed25519).map_err(|_| none());
    }
    let signature = p256::ecdsa::Signature::from_der(bytes).map_err(|_| none())?;
    Signature::ecdsa_p256_normalised(&signature.to_bytes())
}

impl AttestationFacet for YubiKeyVault {
    fn attest<'a>(&'a self, key: &'a KeyHandle<Signing>) -> Pending<'a, KeyEvidence> {
        Box::pin(async move {
            let id = self.mine(key)?;
            let work = move |card: &mut Card| {
                keys::resolve(card, &id)?;
                attest::attest(card, id.slot)
            };
            self.request(Effect::Reads, work).await
        })
    }
}

impl AgreementFacet for YubiKeyVault {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let id = self.mine(key)?;
            if peer.algorithm() != key.algorithm() {
                return Err(Error::new(Kind::Invalid, "the peer's key is of another type"));
            }
            let peer = peer.as_bytes().to_vec();
            let work = move |card: &mut Card| {
                let facts = keys::resolve(card, &id)?;
                card.agree(id.slot, &facts, &peer)
            };
            let shared = self.request(Effect::Reads, work).await?;
            // RFC 7748 §6.1: an all-zero result means that the peer's key was of small order.
            if shared.same_as(&SecretBytes::new(vec![0; 32])) { Err(Error::rejected()) } else { Ok(shared) }
        })
    }
}

impl SealingFacet for YubiKeyVault {
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
            let id = self.mine(key)?;
            let work = move |card: &mut Card| public_point(&keys::resolve(card, &id)?.public);
            let public = self.request(Effect::Reads, work).await?;
            ecies::seal(&public, plain, associated)
        })
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let id = self.mine(key)?;
            let (ephemeral, rest) = ecies::split(sealed)?;
            let peer = ephemeral.clone();
            let work = move |card: &mut Card| {
                let facts = keys::resolve(card, &id)?;
                let public = public_point(&facts.public)?;
                Ok((card.agree(id.slot, &facts, peer.as_bytes())?, public))
            };
            let (shared, public) = self.request(Effect::Reads, work).await?;
            ecies::open(&shared, &ephemeral, &public, rest, associated)
        })
    }
}

fn public_point(bytes: &[u8]) -> Done<P256Point> {
    P256Point::from_bytes(bytes).ok_or(Trouble::Nonsense("a public key that is none"))
}

impl ListingFacet for YubiKeyVault {
    fn list(&self) -> Pending<'_, Vec<KeyInfo>> {
        let station = Arc::clone(&self.station);
        Box::pin(self.request(Effect::Reads, move |card| keys::list(card, &station.address)))
    }
}

impl fmt::Debug for YubiKeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YubiKeyVault").field("id", &self.id).finish_non_exhaustive()
    }
}
