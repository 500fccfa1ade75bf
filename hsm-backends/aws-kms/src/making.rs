//! Making keys.
//!
//! **Names.** A key has its name by an alias, and giving an alias is the one step that KMS does for one of several at most. So:
//! look whether the name is free, make a key, give it the alias. Who loses at the alias has its own new key deleted, and
//! reports that the name is taken. Until then the key is nobody's: it is found neither by name nor in a listing.
//!
//! **A lost answer.** `CreateKey` cannot be repeated without making a second key, so it is sent once; only when KMS says
//! that it did not do it (throttled) is it sent again. When its answer is lost, the key may be there: it has a tag that no
//! other has, and is looked for by that. `CreateAlias` may be repeated: that the name is taken, by the very key that was to have it,
//! is its success.
//!
//! **What is left behind** by whoever dies between the two steps is a key with our tags and no alias. It is in nobody's way, and
//! `discard` ([`crate::ending`]) removes it. Nothing takes it over: somebody may be about to name it.

use std::time::Duration;

use aws_sdk_kms::types::KeyMetadata;
use tokio::time::sleep;
use vault::device::indeterminate;
use vault::{Algorithm, Error, Kind, Result};

use crate::client::{self, Kms};
use crate::errors::{Fault, Meaning};
use crate::keys::{self, Opened, Stop};
use crate::quirks;
use crate::tags;

/// The pauses, in milliseconds, after which a throttled `CreateKey` is sent again.
const THROTTLED: [u64; 4] = [100, 200, 400, 800];

/// Half of a pause and a random part of the other half: who was throttled together shall not come back together.
fn jittered(milliseconds: u64) -> Duration {
    let mut random = [255_u8];
    // Without randomness, without jitter.
    let _ = getrandom::fill(&mut random);
    let [part] = random;
    let half = milliseconds / 2;
    Duration::from_millis(half + half * u64::from(part) / 255)
}

impl Kms {
    /// Makes a key under a name that nothing else has.
    pub(crate) async fn generate(&self, algorithm: Algorithm, name: &str) -> Result<Opened> {
        let alias = self.address.alias(name);
        match self.behind(&alias).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(taken(name)),
            // A policy that allows our keys alone may hide others, and what is not there. The alias decides.
            Err(fault) if fault.meaning() == Some(Meaning::Forbidden) => {}
            Err(fault) => return Err(self.told(fault)),
        }
        let key = self.create(algorithm, name).await?;
        self.give_name(&key, &alias, name).await?;
        let read = self.read_back(algorithm, name, &key).await;
        read.map_err(|stop| match stop {
            Stop::Fault(fault) => indeterminate(self.told(fault)),
            Stop::Decided(error) => error,
        })
    }

    /// Makes a key that has no name yet.
    async fn create(&self, algorithm: Algorithm, name: &str) -> Result<KeyMetadata> {
        let (spec, usage) = keys::spec(algorithm).ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("KMS has no keys of type {algorithm}"))
                .with_hint("key types are ed25519, p256, ecdh-p256 and aes256-gcm")
        })?;
        let making = tags::nonce()?;
        let tags = tags::of(&self.address.namespace, name, &making)?;
        let mut pauses = THROTTLED.into_iter();
        loop {
            let ask = self.kms.create_key().key_spec(spec.clone()).key_usage(usage.clone());
            let ask = ask.description(format!("ockam-kms key {name}")).set_tags(Some(tags.clone()));
            let fault = match ask.customize().config_override(client::once()).send().await {
                Ok(answer) => match answer.key_metadata {
                    Some(key) => return Ok(key),
                    None => Fault::empty("CreateKey"),
                },
                Err(error) => Fault::of("CreateKey", error),
            };
            let pause = pauses.next().filter(|_| fault.meaning() == Some(Meaning::Throttled));
            match (pause, fault.meaning()) {
                (Some(pause), _) => sleep(jittered(pause)).await,
                // The spec is one that KMS has, but not in every region.
                (None, Some(Meaning::Bad | Meaning::Unsupported)) => {
                    let text = format!("{} makes no keys of type {algorithm}", self.address.shown());
                    return Err(Error::new(Kind::Unsupported, text).with_source(self.told(fault)));
                }
                _ if fault.may_have_happened() => return self.look_for(&making, fault).await,
                _ => return Err(self.told(fault)),
            }
        }
    }

    /// The key whose answer was lost, if it was made.
    async fn look_for(&self, making: &str, fault: Fault) -> Result<KeyMetadata> {
        let tag = [(tags::MAKING, making)];
        let found = quirks::found(|| async { Ok(self.tagged(&tag).await?.into_iter().next()) }).await;
        let lost = || {
            fault.into_error_of_change(&self.address.shown()).with_hint(
                "a key without a name may be left: the same command again makes another, and `aws resourcegroupstaggingapi get-resources` \
                 finds what has the tag `ockam-kms:making` and no alias",
            )
        };
        match found {
            Ok(Some(id)) => quirks::settled(|| self.describe(&id)).await.map_err(|fault| self.told(fault)),
            Ok(None) | Err(_) => Err(lost()),
        }
    }

    /// Gives a new key its name, or removes it.
    async fn give_name(&self, key: &KeyMetadata, alias: &str, name: &str) -> Result<()> {
        let give = || async {
            let ask = self.kms.create_alias().alias_name(alias).target_key_id(&key.key_id);
            ask.send().await.map(drop).map_err(|e| Fault::of("CreateAlias", e))
        };
        // A key that was just made may not be known everywhere yet.
        let Err(fault) = quirks::settled(give).await else { return Ok(()) };
        let unclear = fault.meaning() == Some(Meaning::Taken) || fault.may_have_happened();
        if unclear {
            // Ours after all, by an attempt whose answer was lost?
            match self.behind(alias).await {
                Ok(Some(named)) if named.key_id == key.key_id => return Ok(()),
                Ok(_) => {}
                // Neither name nor removal can be made sure of now. The key stays, named or not.
                Err(_) => return Err(fault.into_error_of_change(&self.address.shown())),
            }
        }
        let error = if fault.meaning() == Some(Meaning::Taken) { taken(name) } else { self.told(fault) };
        // A key that is about to be deleted gets no alias any more, so an attempt that is still under way does no harm.
        match self.schedule_deletion(&key.key_id).await {
            Ok(()) => Err(error),
            Err(second) => Err(error.with_source(self.told(second)).with_hint(format!(
                "the new key could not be removed either and is left without a name: `aws kms schedule-key-deletion --key-id {}`",
                key.key_id
            ))),
        }
    }

    /// What KMS says of the key that was made: it has to be what was asked for.
    async fn read_back(
        &self,
        algorithm: Algorithm,
        name: &str,
        key: &KeyMetadata,
    ) -> std::result::Result<Opened, Stop> {
        let key = quirks::settled(|| self.describe(&key.key_id)).await?;
        if self.check(name, &key)? != algorithm {
            return Err(keys::other_key(name).into());
        }
        keys::usable(name, &key)?;
        let public = quirks::settled(|| async {
            match self.public_half(algorithm, &key.key_id).await {
                Ok(public) => Ok(Ok(public)),
                Err(Stop::Decided(error)) => Ok(Err(error)),
                Err(Stop::Fault(fault)) => Err(fault),
            }
        });
        let public = public.await??;
        let uri = self.address.key_uri(&key.key_id, Some(name))?;
        Ok(Opened { id: key.key_id, uri, algorithm, public })
    }
}

pub(crate) fn taken(name: &str) -> Error {
    Error::new(Kind::AlreadyExists, format!("there already is a key `{name}` in this vault"))
        .with_hint("open it, or choose another name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_stay_within_their_bounds() {
        let pauses: Vec<_> = (0..200).map(|_| jittered(800)).collect();
        let bounds = Duration::from_millis(400)..=Duration::from_millis(800);
        assert!(pauses.iter().all(|pause| bounds.contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
