//! Change histories. An [`Identity`] is a change history that verified: nothing else can make one, so whoever holds one
//! need not check again.

use std::fmt;

use minicbor::bytes::ByteVec;
use vault::{Signer, VerifyingKey};

use crate::clock::Timestamp;
use crate::error::{Error, Refusal, Result};
use crate::identifier::{ChangeHash, Identifier};
use crate::wire::{
    self, BodyType, ChangeData, ChangeWire, ChangesWire, MAX_BYTES, MAX_CHANGES, VerifyingKeyWire,
};

/// No change of ours has more bytes.
const LARGEST_CHANGE: usize = 512;

/// One signed statement that sets the primary key.
#[derive(Clone, Debug)]
pub struct Change {
    hash: ChangeHash,
    primary_key: VerifyingKey,
    revokes_purpose_keys: bool,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

impl Change {
    /// The hash of its signed body.
    #[must_use]
    pub fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// The key it sets.
    #[must_use]
    pub fn primary_key(&self) -> &VerifyingKey {
        &self.primary_key
    }

    /// Whether it revokes every purpose key attested before it.
    #[must_use]
    pub fn revokes_purpose_keys(&self) -> bool {
        self.revokes_purpose_keys
    }

    /// The first second that an attestation under it may start at.
    #[must_use]
    pub fn valid_from(&self) -> Timestamp {
        self.valid_from
    }

    /// The last second that an attestation under it may reach.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

/// How a history that was shown relates to the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same changes.
    Equal,
    /// It continues the known one.
    Newer,
    /// The known one continues it.
    Older,
    /// Both have changes that the other lacks: somebody with the key of a common change signed two histories.
    Conflict,
}

/// A change history that verified.
#[derive(Clone)]
pub struct Identity {
    bytes: Vec<u8>,
    // INVARIANT: the first change is kept apart so that there always is one.
    first: Change,
    later: Vec<Change>,
}

impl Identity {
    /// Verifies a change history (CBOR): every change is signed by its own key and by the key before it.
    ///
    /// # Errors
    /// [`Malformed`](crate::Kind::Malformed) or [`Refused`](crate::Kind::Refused) with the rule.
    pub fn import(bytes: &[u8]) -> Result<Self> {
        let ChangesWire(changes) = wire::decode(bytes, "change history")?;
        if changes.len() > MAX_CHANGES {
            return Err(Refusal::TooLarge.into());
        }
        let mut verified: Vec<Change> = Vec::with_capacity(changes.len());
        for change in &changes {
            let next = verify_change(change, verified.last())?;
            verified.push(next);
        }
        let mut verified = verified.into_iter();
        let first = verified.next().ok_or(Refusal::EmptyHistory)?;
        Ok(Self { bytes: bytes.to_vec(), first, later: verified.collect() })
    }

    /// As [`import`](Self::import), from hex.
    ///
    /// # Errors
    /// As `import`.
    pub fn import_hex(text: &str) -> Result<Self> {
        Self::import(&wire::from_hex(text, "change history")?)
    }

    /// As [`import`](Self::import), of the identity one expects.
    ///
    /// # Errors
    /// As `import`, and [`Refusal::OtherIdentifier`].
    pub fn import_expected(bytes: &[u8], expected: &Identifier) -> Result<Self> {
        let identity = Self::import(bytes)?;
        if identity.identifier() == *expected { Ok(identity) } else { Err(Refusal::OtherIdentifier.into()) }
    }

    /// What names it for ever.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.first.hash.into()
    }

    /// Its changes, the oldest first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// How many changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.later.len() + 1
    }

    /// Never: a history without a change does not verify.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Its latest change.
    #[must_use]
    pub fn latest(&self) -> &Change {
        self.later.last().unwrap_or(&self.first)
    }

    /// The change history as it was received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.bytes)
    }

    /// How this history, just shown, relates to `known`. By change hashes alone, as the reference compares.
    #[must_use]
    pub fn compared_to(&self, known: &Self) -> Relation {
        let same = self.changes().zip(known.changes()).take_while(|(a, b)| a.hash == b.hash).count();
        match (same == self.len(), same == known.len()) {
            (true, true) => Relation::Equal,
            (false, true) => Relation::Newer,
            (true, false) => Relation::Older,
            (false, false) => Relation::Conflict,
        }
    }

    /// Creates an identity whose primary key is `primary`, valid from now on.
    ///
    /// # Errors
    /// When the vault fails, or the validity is empty.
    pub async fn create(primary: &Signer, valid: Validity) -> Result<Self> {
        let change = sign_change(None, primary, None, valid, false).await?;
        Self::import(&wire::encode(&vec![change])?)
    }

    /// The same identity with one more change, which sets the primary key `new`, signed by `old` and `new`.
    ///
    /// # Errors
    /// When `old` is not the current primary key, the validity starts before the latest change's, the current key's own
    /// validity is over, the history would get too large to be taken by anybody, or a vault fails.
    pub async fn rotate(&self, old: &Signer, new: &Signer, rotation: Rotation) -> Result<Self> {
        let latest = self.latest();
        if old.public() != latest.primary_key() {
            return Err(Error::invalid(
                "the key given as the old one is not the identity's current primary key",
            ));
        }
        if new.public() == latest.primary_key() {
            return Err(Error::invalid("the identity already has this primary key: rotate to another one"));
        }
        // Before a key has signed anything: what nobody would take must not come to be.
        if self.len() >= MAX_CHANGES || self.bytes.len() + LARGEST_CHANGE > MAX_BYTES {
            return Err(Refusal::TooLarge.into());
        }
        if rotation.valid.from < latest.valid_from {
            return Err(Refusal::TimeReversed.into());
        }
        // A key outside its validity signs nothing of ours, a change included; the reference would let it.
        if rotation.valid.from > latest.valid_until {
            return Err(Refusal::Expired.into());
        }
        let change =
            sign_change(Some(latest.hash), new, Some(old), rotation.valid, rotation.revoke_purpose_keys)
                .await?;
        let ChangesWire(mut changes) = wire::decode(&self.bytes, "change history")?;
        changes.push(change);
        // Encoding again what was decoded keeps each signed body, which is a byte string in it, as it was.
        Self::import_expected(&wire::encode(&changes)?, &self.identifier())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("identifier", &self.identifier())
            .field("changes", &self.len())
            .finish()
    }
}

/// From when until when attestations under a change may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: Timestamp,
    /// The last second.
    pub until: Timestamp,
}

impl Validity {
    /// Ten years, as the reference gives.
    pub const PRIMARY_KEY_SECONDS: u64 = 10 * 365 * 86_400;

    /// From `now`, for this many seconds.
    #[must_use]
    pub fn starting(now: Timestamp, seconds: u64) -> Self {
        Self { from: now, until: now.after(seconds) }
    }

    /// From `now`, for ten years.
    #[must_use]
    pub fn of_primary_key(now: Timestamp) -> Self {
        Self::starting(now, Self::PRIMARY_KEY_SECONDS)
    }
}

/// What a rotation sets besides the key.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// The validity of the new change.
    pub valid: Validity,
    /// Whether it revokes every purpose key attested before it.
    pub revoke_purpose_keys: bool,
}

async fn sign_change(
    previous: Option<ChangeHash>,
    new: &Signer,
    old: Option<&Signer>,
    valid: Validity,
    revoke: bool,
) -> Result<ChangeWire> {
    if valid.until <= valid.from {
        return Err(Error::invalid("the validity ends before it starts"));
    }
    let data = ChangeData {
        previous_change: previous,
        primary_public_key: VerifyingKeyWire::from(new.public()),
        revoke_all_purpose_keys: revoke,
        valid_from: valid.from.into(),
        valid_until: valid.until.into(),
    };
    let body = wire::seal_body(&data, BodyType::Change)?;
    let hash = wire::signed_hash(&body);
    // The old key first: when it refuses, the new one has signed nothing.
    let previous_signature = match old {
        Some(old) => Some(old.sign(&hash).await?.into()),
        None => None,
    };
    let signature = new.sign(&hash).await?.into();
    Ok(ChangeWire { data: ByteVec::from(body), signature, previous_signature })
}

fn verify_change(change: &ChangeWire, previous: Option<&Change>) -> Result<Change> {
    let data: ChangeData = wire::open_body(&change.data, BodyType::Change)?;
    let hash = ChangeHash::of(&change.data);
    match (previous, data.previous_change) {
        (None, None) => {}
        (None, Some(_)) => return Err(Refusal::FirstHasPrevious.into()),
        (Some(previous), Some(named)) if named == previous.hash => {}
        (Some(_), _) => return Err(Refusal::BrokenChain.into()),
    }
    let valid_from = Timestamp::from(data.valid_from);
    if previous.is_some_and(|previous| previous.valid_from > valid_from) {
        return Err(Refusal::TimeReversed.into());
    }
    let primary_key = data.primary_public_key.key()?;
    wire::check(&primary_key, &change.data, &change.signature)?;
    if let Some(previous) = previous {
        let signature = change.previous_signature.as_ref().ok_or(Refusal::MissingPreviousSignature)?;
        wire::check(previous.primary_key(), &change.data, signature)?;
    }
    Ok(Change {
        hash,
        primary_key,
        revokes_purpose_keys: data.revoke_all_purpose_keys,
        valid_from,
        valid_until: data.valid_until.into(),
    })
}
