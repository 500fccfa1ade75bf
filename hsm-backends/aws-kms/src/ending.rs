//! Ending keys, and taking that back.
//!
//! KMS deletes no key at once: it schedules that, seven to thirty days ahead. From that moment the key cannot be used, so it counts
//! as destroyed here, and its alias is removed, which frees the name. First the deletion and then the alias: whoever dies
//! between the two leaves a name that means a dying key, which `open` says and `discard` and `restore` mend; the other way round
//! a living key would be left that has no name.

use aws_sdk_kms::types::{KeyMetadata, KeyState};
use vault::device::indeterminate;
use vault::{Error, KeyInfo, Kind, PurposeKind, Result};

use crate::address::{Target, Wanted};
use crate::client::Kms;
use crate::errors::{Fault, Meaning};
use crate::keys::{self, wrong_purpose};
use crate::making::taken;

fn is_doomed(key: &KeyMetadata) -> bool {
    matches!(key.key_state, Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion))
}

fn in_the_way(name: &str) -> Error {
    taken(name).with_hint(
        "it got the name after the other was destroyed: destroy it first, then have the other back",
    )
}

impl Kms {
    /// Destroys a key that is there.
    pub(crate) async fn destroy(&self, key_id: &str, shown: &str) -> Result<()> {
        let key = self.describe(key_id).await.map_err(|fault| self.absent(shown, fault))?;
        if key.key_id != key_id {
            return Err(keys::other_key(shown));
        }
        if is_doomed(&key) {
            // Says that it is not there.
            keys::usable(shown, &key)?;
        }
        self.schedule_deletion(key_id).await.map_err(|fault| self.changed(shown, fault))?;
        let names = self.names(key_id).await;
        for name in names.map_err(|fault| indeterminate(self.told(fault)))? {
            self.remove_name(&name, key_id).await.map_err(|fault| indeterminate(self.told(fault)))?;
        }
        Ok(())
    }

    /// Makes sure that no key of this purpose has this name, and that what a cut-off generation left behind goes.
    pub(crate) async fn discard(&self, purpose: PurposeKind, name: &str) -> Result<()> {
        let alias = self.address.alias(name);
        if let Some(key) = self.behind(&alias).await.map_err(|fault| self.told(fault))? {
            if self.check(name, &key)?.purpose() != purpose {
                return Err(wrong_purpose(name, purpose));
            }
            if !is_doomed(&key) {
                self.schedule_deletion(&key.key_id).await.map_err(|fault| self.changed(name, fault))?;
            }
            self.remove_name(name, &key.key_id).await.map_err(|fault| self.changed(name, fault))?;
        }
        for id in self.once_named(name).await.map_err(|fault| self.told(fault))? {
            let key = match self.describe(&id).await {
                Err(fault) if fault.meaning() == Some(Meaning::Gone) => continue,
                other => other.map_err(|fault| self.told(fault))?,
            };
            let ours = self.check(name, &key).is_ok_and(|algorithm| algorithm.purpose() == purpose);
            if !ours || is_doomed(&key) {
                continue;
            }
            // Somebody gave it another name: then it is in use under that.
            if !self.names(&id).await.map_err(|fault| self.told(fault))?.is_empty() {
                continue;
            }
            self.schedule_deletion(&id).await.map_err(|fault| self.changed(name, fault))?;
        }
        Ok(())
    }

    /// Has a key back that is going to be deleted, under the name that it had.
    pub(crate) async fn restore(&self, wanted: &Wanted) -> Result<KeyInfo> {
        let shown = wanted.target.shown();
        let key = match &wanted.target {
            Target::Name(name) => self.doomed_of(name).await?,
            Target::KeyId(asked) | Target::Alias(asked) => {
                self.describe(asked).await.map_err(|fault| self.absent(shown, fault))?
            }
        };
        let algorithm = self.check(shown, &key)?;
        if !is_doomed(&key) {
            return Err(Error::new(Kind::NotFound, format!("the key `{shown}` is not going to be deleted"))
                .with_hint("there is nothing to take back"));
        }
        let name = self.name_by_tag(&key.key_id).await.map_err(|fault| self.told(fault))?;
        let name = name.ok_or_else(|| {
            Error::new(Kind::Invalid, format!("the key `{shown}` was not made in this vault"))
                .with_hint(format!("`aws kms cancel-key-deletion --key-id {}` has it back", key.key_id))
        })?;
        let alias = self.address.alias(&name);
        match self.behind(&alias).await.map_err(|fault| self.told(fault))? {
            Some(other) if other.key_id != key.key_id => return Err(in_the_way(&name)),
            _ => {}
        }
        self.cancel_deletion(&key.key_id).await.map_err(|fault| self.changed(shown, fault))?;
        let give = self.kms.create_alias().alias_name(&alias).target_key_id(&key.key_id);
        match give.send().await.map_err(|e| Fault::of("CreateAlias", e)) {
            Err(fault) if fault.meaning() == Some(Meaning::Taken) => {
                self.still_named(&alias, &key.key_id, &name).await?
            }
            other => other.map(drop).map_err(|fault| indeterminate(self.told(fault)))?,
        }
        let key = self.describe(&key.key_id).await.map_err(|fault| self.told(fault))?;
        let opened = self.adopt(algorithm.purpose(), shown, key, Some(&name)).await?;
        Ok(opened.into_info(name))
    }

    /// The one key that had this name and is going to be deleted.
    async fn doomed_of(&self, name: &str) -> Result<KeyMetadata> {
        let mut doomed = Vec::new();
        for id in self.once_named(name).await.map_err(|fault| self.told(fault))? {
            match self.describe(&id).await {
                Ok(key) if is_doomed(&key) => doomed.push(key),
                Ok(_) => {}
                Err(fault) if fault.meaning() == Some(Meaning::Gone) => {}
                Err(fault) => return Err(self.told(fault)),
            }
        }
        match doomed.pop() {
            None => Err(Error::new(Kind::NotFound, format!("no key `{name}` is going to be deleted"))
                .with_hint(
                    "tags take a while to be found: try again, or name the key by its id, `awskms:key-id=…`",
                )),
            Some(key) if doomed.is_empty() => Ok(key),
            Some(key) => {
                doomed.push(key);
                let ids: Vec<_> = doomed.iter().map(|key| format!("awskms:key-id={}", key.key_id)).collect();
                Err(Error::new(Kind::Invalid, format!("{} keys had the name `{name}`", ids.len()))
                    .with_hint(format!("name yours by its id: {}", ids.join(", "))))
            }
        }
    }

    /// The name was given by an attempt whose answer was lost, or never removed; or somebody was faster.
    async fn still_named(&self, alias: &str, key_id: &str, name: &str) -> Result<()> {
        match self.behind(alias).await.map_err(|fault| indeterminate(self.told(fault)))? {
            Some(named) if named.key_id == key_id => Ok(()),
            _ => Err(in_the_way(name)),
        }
    }

    /// Schedules the deletion. Repeated after a lost answer, KMS says that the state forbids it, and the key tells that it is done.
    pub(crate) async fn schedule_deletion(&self, key_id: &str) -> std::result::Result<(), Fault> {
        let days = self.address.deletion_days;
        let ask = self.kms.schedule_key_deletion().key_id(key_id).pending_window_in_days(days);
        let Err(error) = ask.send().await else { return Ok(()) };
        let fault = Fault::of("ScheduleKeyDeletion", error);
        let done = fault.meaning() == Some(Meaning::State) && is_doomed(&self.describe(key_id).await?);
        if done { Ok(()) } else { Err(fault) }
    }

    /// Cancels the deletion, and enables the key.
    async fn cancel_deletion(&self, key_id: &str) -> std::result::Result<(), Fault> {
        if let Err(error) = self.kms.cancel_key_deletion().key_id(key_id).send().await {
            let fault = Fault::of("CancelKeyDeletion", error);
            let done = fault.meaning() == Some(Meaning::State) && !is_doomed(&self.describe(key_id).await?);
            if !done {
                return Err(fault);
            }
        }
        let enabled = self.kms.enable_key().key_id(key_id).send().await;
        enabled.map(drop).map_err(|e| Fault::of("EnableKey", e))
    }

    /// Removes the alias of a key, unless it is another's by now.
    async fn remove_name(&self, name: &str, key_id: &str) -> std::result::Result<(), Fault> {
        let alias = self.address.alias(name);
        match self.behind(&alias).await? {
            Some(key) if key.key_id == key_id => {}
            _ => return Ok(()),
        }
        match self.kms.delete_alias().alias_name(alias).send().await.map_err(|e| Fault::of("DeleteAlias", e))
        {
            // By an attempt whose answer was lost.
            Err(fault) if fault.meaning() == Some(Meaning::Gone) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The error of a call that changes a key.
    fn changed(&self, shown: &str, fault: Fault) -> Error {
        if fault.meaning() == Some(Meaning::Gone) {
            self.absent(shown, fault)
        } else {
            fault.into_error_of_change(&self.address.shown())
        }
    }
}
