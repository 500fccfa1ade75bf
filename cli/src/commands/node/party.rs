//! Who a node is in secure channels and whom it believes, as the home has it at each handshake: a rotation, a new credential,
//! a history that was learnt or a conflict counts from the next one on.

use std::sync::{Arc, Mutex, PoisonError};

use channel::{Peer, Presentation, Trust};
use home::{Home, IdentityRecord, Name, Vaults};
use identity::{
    Clock as _, Credential, Identifier, Identity, IssuerBundle, Relation, SystemClock, Timestamp,
};
use node::{Opened, Party, Pending};
use vault::Agreer;

use crate::commands::resolve;
use crate::error::{Error, Result};

/// How long what is shown is shown again, as long as the home says the same.
const SHOWN_AGAIN_SECONDS: u64 = 300;
/// How long an attestation has to be good beyond now, and how long a new one is asked to be.
const GOOD_SECONDS: u64 = 600;
/// The most credentials that are presented: a handshake has room for more, but each is checked by the peer.
const MAX_PRESENTED: usize = 8;

/// A failure of ours as a node tells it.
pub(super) fn failed(error: impl Into<home::Error>) -> node::Error {
    let error: home::Error = error.into();
    let told = node::Error::new(error.kind(), error.to_string());
    match error.hint().map(str::to_owned) {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
    .with_source(error)
}

/// An identity of the home, with the credentials that it has.
pub(super) struct HomeParty {
    pub(super) home: Home,
    pub(super) vaults: Arc<Vaults>,
    pub(super) identity: Name,
    /// Whose credentials are presented, of those that are stored.
    pub(super) issuers: Vec<Identifier>,
    /// Of which scope; of any when there is none.
    pub(super) scope: Option<String>,
    /// Credentials that are presented in any case.
    pub(super) given: Vec<Credential>,
    pub(super) shown: Mutex<Option<Shown>>,
}

/// What was shown last.
pub(super) struct Shown {
    record: IdentityRecord,
    credentials: Vec<Credential>,
    at: Timestamp,
    presentation: Presentation,
    key: Agreer,
}

impl HomeParty {
    async fn shown(&self) -> home::Result<(Presentation, Agreer)> {
        let now = SystemClock.now();
        let record = self.home.identity(&self.identity)?;
        let credentials = self.credentials(&record, now)?;
        {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |shown: &&Shown| {
                shown.record == record
                    && now.since(shown.at) < SHOWN_AGAIN_SECONDS
                    && encoded(&shown.credentials) == encoded(&credentials)
            };
            if let Some(shown) = shown.as_ref().filter(same) {
                return Ok((shown.presentation.clone(), shown.key.clone()));
            }
        }
        let found = self.home.channel_key(&self.vaults, &record, now.after(GOOD_SECONDS), now).await?;
        let (key, attestation) = match found {
            Some(found) => found,
            None => self.ensure().await?,
        };
        // What vouches for the key may be new.
        let record = self.home.identity(&self.identity)?;
        let presentation = Presentation::new(&record.identity()?, &attestation, &credentials, now)?;
        let shown =
            Shown { record, credentials, at: now, presentation: presentation.clone(), key: key.clone() };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok((presentation, key))
    }

    /// Has the key made, or attested anew. Waits for the lock of writers, so not among the tasks.
    async fn ensure(&self) -> home::Result<(Agreer, identity::PurposeKeyAttestation)> {
        let (home, vaults, name) = (self.home.clone(), Arc::clone(&self.vaults), self.identity.clone());
        let ensured = tokio::task::spawn_blocking(move || ensure(&home, &vaults, &name)).await;
        ensured.map_err(|e| {
            home::Error::new(vault::Kind::Backend, "making a channel key failed").with_source(e)
        })?
    }

    /// The credentials that are good now: what was given, and of what is stored of each issuer that which is good for longest.
    pub(super) fn credentials(
        &self,
        record: &IdentityRecord,
        now: Timestamp,
    ) -> home::Result<Vec<Credential>> {
        let subject = record.identifier();
        let mut stored: Vec<Credential> = Vec::new();
        for one in self.home.credentials()? {
            let wanted = one.subject == subject
                && self.issuers.contains(&one.issuer)
                && self.scope.as_ref().is_none_or(|scope| one.scope == *scope);
            if wanted {
                stored.push(one.credential()?);
            }
        }
        stored.retain(|credential| credential.expires_at() > now);
        stored.sort_by_key(|credential| std::cmp::Reverse(credential.expires_at()));
        let mut kept: Vec<Credential> = self.given.clone();
        for credential in stored {
            if kept.len() < MAX_PRESENTED && kept.iter().all(|one| one.issuer() != credential.issuer()) {
                kept.push(credential);
            }
        }
        Ok(kept)
    }
}

fn encoded(credentials: &[Credential]) -> Vec<Option<Vec<u8>>> {
    credentials.iter().map(|credential| credential.encode().ok()).collect()
}

/// The channel key of an identity; made, or attested anew, when it is not good for long.
pub(super) fn ensure(
    home: &Home,
    vaults: &Vaults,
    name: &Name,
) -> home::Result<(Agreer, identity::PurposeKeyAttestation)> {
    let writer = home.write()?;
    let good_until = SystemClock.now().after(GOOD_SECONDS);
    vault::block_on(home.ensure_channel_key(&writer, vaults, name, good_until, &SystemClock))
}

impl Party for HomeParty {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move { self.shown().await.map_err(failed) })
    }
}

/// What the home knows of others, and whom one speaks to.
pub(super) struct HomeTrust {
    pub(super) home: Home,
    /// Whose credentials count.
    pub(super) issuers: Vec<Identifier>,
    /// Who may be at the other end; anybody when there is nobody.
    pub(super) authorized: Vec<Identifier>,
    /// What somebody's history was when it was written down elsewhere than among the known ones: nothing older is taken.
    pub(super) pinned: Option<Arc<Identity>>,
}

impl Trust for HomeTrust {
    fn admits(&self, peer: &Peer) -> bool {
        let identifier = peer.identifier();
        let undisputed = matches!(self.home.conflict(&identifier), Ok(None));
        if !undisputed {
            tracing::warn!(%identifier, "refused: two histories of it contradict each other, and nobody has decided");
        }
        // What is known could not be compared with: a history that was replaced since might pass.
        let compared = self.home.known_identity(&identifier).is_ok();
        undisputed && compared && (self.authorized.is_empty() || self.authorized.contains(&identifier))
    }

    fn known(&self, identifier: &Identifier) -> Option<Arc<Identity>> {
        let pinned = self.pinned.as_ref().filter(|pinned| pinned.identifier() == *identifier);
        let known = match self.home.known_identity(identifier) {
            Ok(known) => known.map(Arc::new),
            Err(error) => {
                tracing::warn!(%identifier, %error, "what is known of a peer cannot be read");
                None
            }
        };
        match (known, pinned) {
            (Some(known), Some(pinned)) if pinned.compared_to(&known) != Relation::Newer => Some(known),
            (known, pinned) => pinned.cloned().or(known),
        }
    }

    fn issuer(&self, identifier: &Identifier) -> Option<Arc<IssuerBundle>> {
        if !self.issuers.contains(identifier) {
            return None;
        }
        match resolve::known(&self.home, identifier) {
            Ok(known) => known.map(|(bundle, _)| Arc::new(bundle)),
            Err(error) => {
                tracing::warn!(%identifier, %error, "the authority's credentials do not count for now");
                None
            }
        }
    }
}

/// Writes down what was seen of peers that were meant, and of those that the home knows already: nothing older is taken of them
/// from then on. Not of strangers, who could fill the disk.
pub(super) struct Remembers {
    pub(super) home: Home,
    /// Whether also those are meant that the home does not know.
    pub(super) strangers: bool,
}

impl Opened for Remembers {
    fn opened<'a>(&'a self, peer: &'a Peer) -> Pending<'a, ()> {
        Box::pin(async move {
            let shown = peer.identity().clone();
            let is_seen = match self.home.known_identity(&shown.identifier()).map_err(failed)? {
                Some(known) => known.as_bytes() == shown.as_bytes(),
                None => !self.strangers,
            };
            if is_seen {
                return Ok(());
            }
            let home = self.home.clone();
            let remember = move || home.remember(&home.write()?, &shown, SystemClock.now());
            let remembered = tokio::task::spawn_blocking(remember).await;
            let failure =
                |e| node::Error::new(vault::Kind::Backend, "remembering a peer failed").with_source(e);
            remembered.map_err(failure)?.map_err(failed)
        })
    }
}

/// Identifiers as a node is told them.
pub(super) fn identifiers(given: &[String]) -> Result<Vec<Identifier>> {
    given.iter().map(|one| Ok(one.parse()?)).collect()
}

impl From<node::Error> for Error {
    fn from(error: node::Error) -> Self {
        let who = "see who is let in there: by --authorized, a policy, or the credentials that its authority issues";
        let hint =
            error.hint().unwrap_or(if error.kind() == vault::Kind::Denied { who } else { "" }).to_owned();
        let told = Self::new(error.kind().into(), error.to_string());
        let told = if hint.is_empty() { told } else { told.with_hint(hint) };
        told.with_source(error)
    }
}
