//! Keys of a vault: made by the TPM, loaded to be looked at, and named.

use tss_esapi::constants::SessionType;
use tss_esapi::handles::{ObjectHandle, PersistentTpmHandle};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::Provision;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, Private, Public, SensitiveData};
use vault::device::indeterminate;
use vault::{Algorithm, Error, KeyName, Kind, PurposeKind, Result, SecretBytes};

use crate::aead;
use crate::auth::auth;
use crate::errors::{At as _, Done, Remedy, Trouble};
use crate::link::{Link, Place, Secrecy, Source, Ward, persistent_id};
use crate::pcrs::Pcrs;
use crate::store::Stored;
use crate::template::{self, Origin};

/// How a handle of ours names its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyId {
    /// A file of the vault, by the id in it.
    File(String),
    /// A key that the TPM keeps, by its handle and name.
    Persistent(u32, Vec<u8>),
}

impl KeyId {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::File(id) => id.clone(),
            Self::Persistent(handle, name) => persistent_id(*handle, name),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix("persistent-") else { return Some(Self::File(text.to_owned())) };
        let (handle, name) = rest.split_once('-')?;
        Some(Self::Persistent(u32::from_str_radix(handle, 16).ok()?, hex::decode(name).ok()?))
    }
}

/// How a stored key is loaded.
pub(crate) fn source(stored: &Stored) -> Source {
    Source {
        id: stored.key_id.clone(),
        shown: stored.name.to_string(),
        place: Place::Blob(Box::new(stored.public.clone()), stored.private.clone()),
    }
}

/// How a key that the TPM keeps is found.
pub(crate) fn kept(handle: u32, name: Option<Vec<u8>>) -> Source {
    let id = name.as_deref().map_or_else(String::new, |name| persistent_id(handle, name));
    Source { id, shown: format!("{handle:#010x}"), place: Place::Persistent(handle, name) }
}

/// Has the TPM make a key. Nothing is left in it: what comes back is to be stored.
pub(crate) fn create(
    link: &mut Link,
    ward: &Ward,
    algorithm: Algorithm,
    pcrs: Option<&Pcrs>,
) -> Done<(Public, Private)> {
    let value = ward.auth.value()?;
    let (template, sensitive) = if algorithm.purpose() == PurposeKind::Sealing {
        let policy = pcrs.map(|pcrs| policy_now(link, pcrs)).transpose()?;
        let key = SecretBytes::random(aead::KEY)?;
        (template::sealed(policy), Some(SensitiveData::try_from(key.expose()).at("its secret")?))
    } else {
        (template::pair(algorithm.purpose()), None)
    };
    let template = template.at("its template")?;
    let auth = auth(&value)?;
    let made = link.with_storage(|link, storage| {
        link.run(Secrecy::COMMAND, "TPM2_Create", |context| {
            context.create(storage, template, Some(auth), sensitive, None, None)
        })
    })?;
    template::check(&made.out_public, algorithm, Origin::Ours, "that was just made")?;
    Ok((made.out_public, made.out_private))
}

/// The policy that holds while the registers have the values that they have now, for who has the authorization value.
fn policy_now(link: &mut Link, pcrs: &Pcrs) -> Done<Digest> {
    link.with_policy_session(SessionType::Trial, |link, trial| {
        let policy = assert_policy(link, trial, pcrs)?;
        link.run(Secrecy::RESPONSE, "TPM2_PolicyGetDigest", |context| context.policy_get_digest(policy))
    })
}

/// Asserts the policy in a session: TPM2_PolicyPCR, then TPM2_PolicyAuthValue.
pub(crate) fn assert_policy(link: &mut Link, session: AuthSession, pcrs: &Pcrs) -> Done<PolicySession> {
    let policy = PolicySession::try_from(session).at("its session")?;
    let selection = pcrs.selection().at("its registers")?;
    link.bare("TPM2_PolicyPCR", |context| context.policy_pcr(policy, Digest::default(), selection))?;
    link.bare("TPM2_PolicyAuthValue", |context| context.policy_auth_value(policy))?;
    Ok(policy)
}

/// Looks at a stored key: that it loads, and that the TPM says of it what its file says.
pub(crate) fn inspect(link: &mut Link, ward: &Ward, stored: &Stored) -> Done<()> {
    let (public, _) = link.read_public(ward, &source(stored))?;
    let origin = if ward.takes_imported { Origin::Imported } else { Origin::Ours };
    template::check(&public, stored.algorithm, origin, stored.name.as_str())?;
    if public == stored.public {
        return Ok(());
    }
    Err(Error::new(
        Kind::Corrupt,
        format!("the key `{}` is another in the TPM than in its file", stored.name),
    )
    .into())
}

/// A key that the TPM keeps, found and checked.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) point: Vec<u8>,
}

/// Looks at a key that the TPM keeps.
pub(crate) fn adopt(link: &mut Link, ward: &Ward, handle: u32, purpose: PurposeKind) -> Done<Found> {
    let source = kept(handle, None);
    let (public, name) = link.read_public(ward, &source)?;
    let wrong = || {
        Error::new(Kind::Invalid, format!("the key `{}` is for another purpose than {purpose}", source.shown))
    };
    let algorithm =
        template::algorithm(&public).filter(|found| found.purpose() == purpose).ok_or_else(wrong)?;
    template::check(&public, algorithm, Origin::Adopted, &source.shown)?;
    let point = template::point(&public)
        .ok_or_else(|| Trouble::Nonsense(format!("the public point of `{}`", source.shown)))?;
    Ok(Found { id: KeyId::Persistent(handle, name), algorithm, point })
}

/// Has the TPM give up a key that it keeps. Whether that happened is unknown when the answer is lost.
pub(crate) fn evict(link: &mut Link, ward: &Ward, handle: u32, name: &[u8], tpm: &str) -> Done<()> {
    const COMMAND: &str = "TPM2_EvictControl";
    let source = kept(handle, Some(name.to_vec()));
    // Nothing is destroyed for who cannot show that it is still this key.
    link.read_public(ward, &source)?;
    let persistent = Persistent::Persistent(PersistentTpmHandle::new(handle).at(COMMAND)?);
    let key: ObjectHandle = link.taken(&source.id)?;
    let evicted =
        link.run(Secrecy::NONE, COMMAND, |context| context.evict_control(Provision::Owner, key, persistent));
    match evicted {
        Ok(_) => Ok(()),
        Err(trouble) if trouble.remedy() == Remedy::Reconnect => {
            Err(indeterminate(trouble.into_error(tpm)).into())
        }
        Err(trouble) => Err(trouble),
    }
}

/// The name in the URI of a key of ours.
pub(crate) fn name_of(uri: &vault::KeyUri) -> Result<KeyName> {
    KeyName::new(uri.require("name")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [KeyId::File("0123456789abcdef".into()), KeyId::Persistent(0x8100_0001, vec![0, 11, 7])] {
            assert_eq!(KeyId::parse(&id.text()), Some(id));
        }
        for bad in ["persistent-81000001", "persistent-x-00", "persistent-81000001-0"] {
            assert_eq!(KeyId::parse(bad), None);
        }
    }
}
