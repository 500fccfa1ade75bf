//! The engine: begins a rotation, carries it on from whatever the journal says, or takes it back.

use std::sync::Arc;

use identity::{
    Clock, Identifier, Identity, PurposeKey, PurposeKeyAttestation, Rotation, Timestamp, Validity,
};
use serde::Serialize;
use vault::{Custody, Signer, Signing};

use super::journal::{Entry, Journal, Phase};
use super::{Moment, Plan, Witness};
use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::identities::IdentityRecord;
use crate::keys::{KeyRef, PurposeKeyRecord, adopt_signer, attest, derived_key_name, generate_signer};
use crate::record::Name;
use crate::vaults::Vaults;

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Outcome {
    /// The identity, which is still the same.
    pub identifier: Identifier,
    /// How many changes it has now.
    pub changes: usize,
    /// The hash of the new change.
    pub latest_change_hash: String,
    /// Where the old key was.
    pub old_key: KeyRef,
    /// Where the new key is.
    pub new_key: KeyRef,
    /// Whether the old key was destroyed.
    pub old_key_destroyed: bool,
}

/// What was done about a rotation that was cut off.
#[derive(Debug)]
pub struct Recovered {
    /// The identity.
    pub identity: Name,
    /// The rotation was finished, taken back (`None`), or could be neither for now.
    pub result: Result<Option<Outcome>>,
}

struct Run<'a> {
    writer: &'a Writer,
    vaults: &'a Vaults,
    witness: &'a dyn Witness,
    clock: &'a dyn Clock,
    name: Name,
}

/// The identities whose rotation was cut off: readers see their last committed state.
///
/// # Errors
/// When the journals cannot be listed.
pub fn pending(home: &Home) -> Result<Vec<Name>> {
    Journal(home).list()
}

/// What [`rotate`] would do, without doing it: the plan is checked and the vaults are opened.
///
/// # Errors
/// As `rotate`.
pub async fn preview(vaults: &Vaults, plan: &Plan) -> Result<(Identifier, KeyRef, Name)> {
    let entry = begin(vaults, plan).await?;
    open_all(vaults, &entry).await?;
    let vault = stored_name(&entry.new_vault)?;
    Ok((entry.identifier, entry.before.own_key()?.clone(), vault))
}

/// Opens what a rotation will need: what is away is missed before the journal says that one began.
async fn open_all(vaults: &Vaults, entry: &Entry) -> Result<()> {
    vaults.open(&stored_name(&entry.new_vault)?).await?;
    entry.before.own_key()?.open(vaults).await?;
    // Whoever takes over signs with it.
    if let Some(record) = entry.before.credential_key().filter(|_| !entry.plan.revoke_purpose_keys) {
        record.key.open(vaults).await?;
    }
    Ok(())
}

/// Rotates the primary key of an identity.
///
/// # Errors
/// [`Kind::NotFound`] without such an identity or vault, [`Kind::Unsupported`] for an identity without a key, and what
/// the vaults meet; a rotation that fails before the new change is signed is taken back.
pub async fn rotate(
    writer: &Writer,
    vaults: &Vaults,
    plan: &Plan,
    witness: &dyn Witness,
    clock: &dyn Clock,
) -> Result<Outcome> {
    let name = plan_name(plan)?;
    if Journal(vaults.home()).read(&name)?.is_some() {
        return Err(Error::new(
            Kind::Unavailable,
            format!("a rotation of `{name}` was cut off and is not finished yet"),
        )
        .with_hint(
            "make its vaults reachable and run any command that writes: it finishes the rotation first",
        ));
    }
    let run = Run { writer, vaults, witness, clock, name };
    let entry = begin(vaults, plan).await?;
    open_all(vaults, &entry).await?;
    run.save(&entry, Moment::Begun)?;
    match run.forward(entry).await {
        Ok(outcome) => Ok(outcome),
        Err(error) => {
            // Not yet signed: as if it had never begun. Else the journal stays, and the next writer goes on.
            if let Some(entry) = run.journal().read(&run.name)?.filter(|entry| entry.phase < Phase::Signed) {
                let _ = run.back(&entry).await;
            }
            Err(error)
        }
    }
}

/// Finishes, or takes back, every rotation that was cut off. Called under the writers' lock, by whoever takes it; `only`
/// restricts it to one identity.
///
/// # Errors
/// When the journals cannot be listed; what happens to each rotation is in its own result.
pub async fn recover(
    writer: &Writer,
    vaults: &Vaults,
    witness: &dyn Witness,
    clock: &dyn Clock,
    only: Option<&Name>,
) -> Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for name in pending(vaults.home())? {
        if only.is_some_and(|only| *only != name) {
            continue;
        }
        let run = Run { writer, vaults, witness, clock, name: name.clone() };
        let result = match run.journal().read(&name) {
            Ok(Some(entry)) if entry.phase < Phase::Signed => run.back(&entry).await.map(|()| None),
            Ok(Some(entry)) => run.forward(entry).await.map(Some),
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        recovered.push(Recovered { identity: name, result });
    }
    Ok(recovered)
}

fn plan_name(plan: &Plan) -> Result<Name> {
    Ok(Name::new(&plan.identity)?)
}

/// Checks a plan and fixes what the first journal entry says.
async fn begin(vaults: &Vaults, plan: &Plan) -> Result<Entry> {
    let home = vaults.home();
    let name = plan_name(plan)?;
    let before = home.identity(&name)?;
    let old_key = before.own_key()?;
    if let Some(key_type) = &plan.key_type {
        key_type.parse::<vault::Algorithm>()?;
    }
    let new_vault = match &plan.to_vault {
        Some(vault) => Name::new(vault)?,
        None => old_key.vault()?,
    };
    home.vault(&new_vault)?;
    let new_name = match &plan.to_key {
        Some(uri) => {
            // An adopted key is opened now, so that a wrong URI is refused before anything is written.
            let signer = adopt_signer(vaults, &new_vault, &uri.parse()?).await?;
            if *signer.public() == old_key.public()? {
                return Err(Error::new(Kind::Invalid, format!("`{name}` already has the key `{uri}`"))
                    .with_hint("name another key"));
            }
            None
        }
        None => {
            let random = vault::SecretBytes::random(8)?;
            Some(derived_key_name(&name, &hex::encode(random.expose()))?.to_string())
        }
    };
    Ok(Entry {
        phase: Phase::Begun,
        plan: plan.clone(),
        identifier: before.identifier(),
        before,
        new_vault: new_vault.to_string(),
        new_name,
        new_key: None,
        after: None,
    })
}

impl Run<'_> {
    fn home(&self) -> &Home {
        self.vaults.home()
    }

    fn journal(&self) -> Journal<'_> {
        Journal(self.vaults.home())
    }

    fn save(&self, entry: &Entry, moment: Moment) -> Result<()> {
        self.journal().write(self.writer, &self.name, entry)?;
        self.witness.reached(moment);
        Ok(())
    }

    /// Carries a rotation on from its phase to its end.
    async fn forward(&self, mut entry: Entry) -> Result<Outcome> {
        if entry.phase == Phase::Begun {
            let signer = self.make_key(&entry).await?;
            self.witness.reached(Moment::KeyMade);
            entry.new_key = Some(KeyRef::new(&stored_name(&entry.new_vault)?, &signer));
            entry.phase = Phase::Prepared;
            self.save(&entry, Moment::Prepared)?;
        }
        if entry.phase == Phase::Prepared {
            entry.after = Some(self.sign(&entry).await?);
            self.witness.reached(Moment::KeysSigned);
            entry.phase = Phase::Signed;
            self.save(&entry, Moment::Signed)?;
        }
        let after = entry.after.clone().ok_or_else(incomplete)?;
        if entry.phase == Phase::Signed {
            self.commit(&entry, &after)?;
            self.witness.reached(Moment::RecordReplaced);
            entry.phase = Phase::Committed;
            self.save(&entry, Moment::Committed)?;
        }
        let new = after.own_key()?.open(self.vaults).await?;
        if entry.phase == Phase::Committed {
            self.witness.take_over(&after, self.credential_key(&after).await?).await?;
            self.probe(&after, &new).await?;
            self.witness.reached(Moment::TakenOver);
            entry.phase = Phase::Served;
            self.save(&entry, Moment::Served)?;
        }
        self.retire(&entry, &after, &new).await
    }

    async fn make_key(&self, entry: &Entry) -> Result<Signer> {
        let vault = stored_name(&entry.new_vault)?;
        let Some(new_name) = &entry.new_name else {
            let uri = entry.plan.to_key.as_deref().ok_or_else(incomplete)?;
            return adopt_signer(self.vaults, &vault, &uri.parse()?).await;
        };
        let wanted = entry.plan.key_type.as_deref().map(str::parse).transpose()?;
        let preferred = Some(entry.before.own_key()?.algorithm()?);
        generate_signer(self.vaults, &vault, &stored_name(new_name)?, wanted, preferred).await
    }

    /// Has both keys sign the change, and the new one vouch for the purpose keys.
    async fn sign(&self, entry: &Entry) -> Result<IdentityRecord> {
        let new_ref = entry.new_key.as_ref().ok_or_else(incomplete)?;
        let old = entry.before.own_key()?.open(self.vaults).await?;
        let new = new_ref.open(self.vaults).await?;
        let now = self.clock.now();
        let before = entry.before.identity()?;
        // The clock may stand behind the latest change, set back or on another machine: a change never goes back.
        let from = now.max(before.latest().valid_from());
        let rotation = Rotation {
            valid: Validity::of_primary_key(from),
            revoke_purpose_keys: entry.plan.revoke_purpose_keys,
        };
        let after = before.rotate(&old, &new, rotation).await?;
        let (mut credential_key, mut channel_key) = (None, None);
        if !entry.plan.revoke_purpose_keys {
            if let Some(record) = entry.before.credential_key() {
                let key = PurposeKey::Credential(record.key.public()?);
                credential_key = Some(attest_anew(record, &key, &after, &new, from).await?);
            }
            if let Some(record) = entry.before.channel_key() {
                let key = PurposeKey::Channel(record.key.agreement_public()?);
                channel_key = Some(attest_anew(record, &key, &after, &new, from).await?);
            }
        }
        Ok(IdentityRecord::new(&after, Some(new_ref.clone()), credential_key).with_channel_key(channel_key))
    }

    /// Replaces the record, unless a run before this one did.
    fn commit(&self, entry: &Entry, after: &IdentityRecord) -> Result<()> {
        let current = self.home().identity(&self.name)?;
        if current == *after {
            return Ok(());
        }
        if current != entry.before {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the identity `{}` is neither what it was before the rotation nor what it became",
                    self.name
                ),
            )
            .with_hint("compare its record with the rotation's journal in the home; nothing was destroyed"));
        }
        self.home().update_identity(self.writer, &self.name, after)
    }

    async fn credential_key(
        &self,
        after: &IdentityRecord,
    ) -> Result<Option<(Signer, PurposeKeyAttestation)>> {
        match after.credential_key() {
            Some(record) => Ok(Some((record.key.open(self.vaults).await?, record.attestation()?))),
            None => Ok(None),
        }
    }

    /// The new key signs a probe that verifies under the key that the stored history names.
    async fn probe(&self, after: &IdentityRecord, new: &Signer) -> Result<()> {
        let stored = self.home().identity(&self.name)?;
        if stored.key() != after.key() {
            return Err(Error::new(Kind::Corrupt, "the stored identity does not name the new key"));
        }
        let probe = vault::SecretBytes::random(32)?;
        let signature = new.sign(probe.expose()).await?;
        let identity = stored.identity()?;
        let _proof = identity.latest().primary_key().verify(probe.expose(), &signature)?;
        Ok(())
    }

    async fn retire(&self, entry: &Entry, after: &IdentityRecord, new: &Signer) -> Result<Outcome> {
        self.probe(after, new).await?;
        let old_key = entry.before.own_key()?.clone();
        let destroy = !entry.plan.keep_old_key;
        if destroy {
            self.destroy(&old_key).await?;
            // Purpose keys that were revoked are not needed by anybody.
            if entry.plan.revoke_purpose_keys {
                for revoked in entry.before.credential_key().into_iter().chain(entry.before.channel_key()) {
                    self.destroy(&revoked.key).await?;
                }
            }
        }
        self.witness.reached(Moment::OldKeyGone);
        self.journal().remove(self.writer, &self.name)?;
        self.witness.reached(Moment::Retired);
        let identity = after.identity()?;
        Ok(Outcome {
            identifier: identity.identifier(),
            changes: identity.len(),
            latest_change_hash: identity.latest().hash().to_string(),
            old_key,
            new_key: after.own_key()?.clone(),
            old_key_destroyed: destroy,
        })
    }

    async fn destroy(&self, key: &KeyRef) -> Result<()> {
        // Another identity may have adopted the same key: then it is not ours to destroy.
        if !self.home().dependants(&key.vault()?, &key.public_bytes()?)?.is_empty() {
            return Ok(());
        }
        // A run before this one may have destroyed it. When its vault is away, that is not known, and the journal stays.
        let opened = key.doom(self.vaults).await?;
        key.end(self.vaults, opened).await
    }

    async fn discard(&self, vault: &Name, key: &Name) -> Result<()> {
        let vault = self.vaults.open(vault).await?;
        match Arc::clone(&vault).signing() {
            Some(facet) => Ok(Custody::<Signing>::discard(facet, key).await?),
            None => Ok(()),
        }
    }

    /// No identity uses the key that is about to be discarded. The journal alone does not show that: an old one that was
    /// put back, by somebody or with a backup, is authentic, and the key that it calls unfinished may be in use.
    fn still_before(&self, entry: &Entry) -> Result<()> {
        let unchanged = self.home().identity(&self.name)?.key() == entry.before.key();
        let dependants = match &entry.new_key {
            Some(key) if entry.new_name.is_some() => {
                self.home().dependants(&key.vault()?, key.public()?.as_bytes())?
            }
            _ => Vec::new(),
        };
        if unchanged && dependants.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Corrupt,
            format!("the rotation journal of `{}` is older than the identity: it is not taken back", self.name),
        )
        .with_hint("compare the identity's record with the journal in the home, then remove the journal; nothing was destroyed"))
    }

    /// Takes a rotation back: nothing that it made is left.
    async fn back(&self, entry: &Entry) -> Result<()> {
        self.still_before(entry)?;
        if let Some(new_name) = &entry.new_name {
            self.discard(&stored_name(&entry.new_vault)?, &stored_name(new_name)?).await?;
        }
        self.journal().remove(self.writer, &self.name)
    }
}

/// The new primary key vouches for a purpose key that stays.
async fn attest_anew(
    record: &PurposeKeyRecord,
    key: &PurposeKey,
    identity: &Identity,
    primary: &Signer,
    from: Timestamp,
) -> Result<PurposeKeyRecord> {
    let attestation = attest(identity, primary, key, from).await?;
    Ok(PurposeKeyRecord { key: record.key.clone(), attestation: attestation.to_hex()? })
}

fn incomplete() -> Error {
    Error::new(Kind::Corrupt, "the rotation journal lacks what its phase implies")
}
