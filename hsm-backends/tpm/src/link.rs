//! The connection to a TPM: a context of the library, one session, and the few keys that are loaded.
//!
//! INVARIANT: between two calls nothing of ours is in the TPM but that session and at most [`Link::room`] keys. The storage
//! key, whose derivation takes long, is swapped out (TPM2_ContextSave) and in for as long as it is needed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, Private, Public, SymmetricDefinition, TaggedTpmPropertyList};
use tss_esapi::utils::TpmsContext;
use vault::{Error, Kind, Retry};

use crate::address::{Tcti, Wanted};
use crate::auth::{AuthSource, auth};
use crate::errors::{At as _, Done, HANDLE, Remedy, Trouble};
use crate::lockout::Lockout;
use crate::store::Store;
use crate::template;

/// What a vault brings to a TPM that several vaults may share.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) store: Store,
    pub(crate) auth: AuthSource,
    /// Keys with the values that the TPM refused for them, as hashes: the same is not tried twice.
    pub(crate) refused: Mutex<HashSet<[u8; 32]>>,
    /// See [`TpmBackend`](crate::TpmBackend).
    pub(crate) takes_imported: bool,
}

/// A key to use: what the cache calls it, and how to load it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) id: String,
    /// What messages call it.
    pub(crate) shown: String,
    pub(crate) place: Place,
}

/// Where a key is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a file, wrapped.
    Blob(Box<Public>, Private),
    /// In the TPM, under a handle, with this name if it is known already.
    Persistent(u32, Option<Vec<u8>>),
}

/// What the cache calls a key that the TPM keeps.
pub(crate) fn persistent_id(handle: u32, name: &[u8]) -> String {
    format!("persistent-{handle:08x}-{}", hex::encode(name))
}

/// Which side of a command is encrypted. The other parameters of a command and what was authorized are always covered by the
/// session's HMAC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrecy {
    command: bool,
    response: bool,
}

impl Secrecy {
    pub(crate) const NONE: Self = Self { command: false, response: false };
    pub(crate) const COMMAND: Self = Self { command: true, response: false };
    pub(crate) const RESPONSE: Self = Self { command: false, response: true };
}

/// A key in the TPM.
struct Loaded {
    id: String,
    key: KeyHandle,
    /// Whether the TPM keeps it, so that it takes no slot.
    persistent: bool,
    /// Whether it is under the guard against dictionary attacks.
    guarded: bool,
    /// Whether its authorization value was seen to be right.
    proven: bool,
    /// The key and the value that was set for it.
    mark: [u8; 32],
}

pub(crate) struct Link {
    context: Context,
    session: AuthSession,
    storage: TpmsContext,
    storage_name: Vec<u8>,
    /// The least recently used first.
    loaded: Vec<Loaded>,
    room: usize,
}

impl Link {
    /// Connects: derives the storage key, starts the session that is salted with it, swaps the key out.
    pub(crate) fn open(tcti: &Tcti) -> Done<Self> {
        let mut context = Context::new(tcti.conf.clone()).at("the connection")?;
        let template = template::storage().at("its template")?;
        // The owner's password is the empty one, which is no secret; where it is another, the TPM refuses this.
        let storage = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)
            })
            .at("TPM2_CreatePrimary")?
            .key_handle;
        // The library checked that the name is the hash of the public area that it got.
        let storage_name = context.tr_get_name(storage.into()).at("its name")?.value().to_vec();
        let session = start_session(&mut context, Some(storage), SessionType::Hmac)?;
        let saved = context.context_save(storage.into()).at("TPM2_ContextSave")?;
        context.flush_context(storage.into()).at("TPM2_FlushContext")?;
        // A TPM has three slots. Where other programs use them too, one for our key and one for the storage key leaves them one.
        let room = if tcti.has_resource_manager() { 2 } else { 1 };
        Ok(Self { context, session, storage: saved, storage_name, loaded: Vec::new(), room })
    }

    /// The name of the storage key: which TPM this is, and since when it was not cleared.
    pub(crate) fn storage_name(&self) -> &[u8] {
        &self.storage_name
    }

    /// Runs a command in the salted session.
    pub(crate) fn run<T>(
        &mut self,
        secrecy: Secrecy,
        command: &'static str,
        work: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Done<T> {
        self.run_in(self.session, secrecy, command, work)
    }

    /// Runs a command that neither needs an authorization nor has anything to encrypt: no session may come with such a one
    /// (TPM 2.0 Part 1, 17.5).
    pub(crate) fn bare<T>(
        &mut self,
        command: &'static str,
        work: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Done<T> {
        self.context.execute_without_session(work).at(command)
    }

    /// Properties of the TPM, so many from this one on.
    pub(crate) fn properties(&mut self, first: PropertyTag, count: u32) -> Done<TaggedTpmPropertyList> {
        const COMMAND: &str = "TPM2_GetCapability";
        let (data, _) = self.bare(COMMAND, |context| {
            context.get_capability(CapabilityType::TpmProperties, first.into(), count)
        })?;
        match data {
            CapabilityData::TpmProperties(list) => Ok(list),
            _ => Err(Trouble::Nonsense(format!("{COMMAND}: another capability"))),
        }
    }

    /// Runs a command in a session.
    pub(crate) fn run_in<T>(
        &mut self,
        session: AuthSession,
        secrecy: Secrecy,
        command: &'static str,
        work: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Done<T> {
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_continue_session(true)
            .with_decrypt(secrecy.command)
            .with_encrypt(secrecy.response)
            .build();
        self.context.tr_sess_set_attributes(session, attributes, mask).at("its session")?;
        self.context.execute_with_session(Some(session), work).at(command)
    }

    /// Runs a command that two keys have to authorize: the first in the salted session, the attestation key by its value,
    /// which is the empty one.
    pub(crate) fn run_for_two<T>(
        &mut self,
        command: &'static str,
        work: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Done<T> {
        let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).build();
        self.context.tr_sess_set_attributes(self.session, attributes, mask).at("its session")?;
        let sessions = (Some(self.session), Some(AuthSession::Password), None);
        match self.context.execute_with_sessions(sessions, work) {
            Err(error) if Trouble::is_about_second_session(&error) => Err(attester_refuses().into()),
            done => done.at(command),
        }
    }

    /// Runs something with an attestation key: one that the TPM keeps, or the one that it derives, which is flushed on every
    /// path.
    pub(crate) fn with_attestation_key<T>(
        &mut self,
        kept: Option<u32>,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Done<T>,
    ) -> Done<T> {
        if let Some(handle) = kept {
            let loaded = self.find(handle, None)?;
            let key = loaded.key;
            let done = self.with_kept_attester(loaded.guarded, key, work);
            let closed = self.release(loaded);
            return done.and_then(|value| closed.map(|()| value));
        }
        let template = template::attestation().at("its template")?;
        let made = self
            .context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
            })
            .at("TPM2_CreatePrimary")?;
        let done = work(self, made.key_handle, &made.out_public);
        let flushed = self.context.flush_context(made.key_handle.into()).at("TPM2_FlushContext");
        done.and_then(|value| flushed.map(|()| value))
    }

    fn with_kept_attester<T>(
        &mut self,
        guarded: bool,
        key: KeyHandle,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Done<T>,
    ) -> Done<T> {
        // Its value is taken to be the empty one, and being wrong about that counts like any other mistake.
        if guarded {
            Lockout::read(self)?.check()?;
        }
        let read = self.run(Secrecy::RESPONSE, "TPM2_ReadPublic", |context| context.read_public(key));
        let (public, ..) = read?;
        work(self, key, &public)
    }

    /// Runs something with a policy session, which is flushed on every path.
    pub(crate) fn with_policy_session<T>(
        &mut self,
        kind: SessionType,
        work: impl FnOnce(&mut Self, AuthSession) -> Done<T>,
    ) -> Done<T> {
        let session =
            self.with_storage(|link, storage| start_session(&mut link.context, Some(storage), kind))?;
        let done = work(self, session);
        let handle = ObjectHandle::from(SessionHandle::from(session));
        let flushed = self.context.flush_context(handle).at("TPM2_FlushContext");
        done.and_then(|value| flushed.map(|()| value))
    }

    /// Runs something with the storage key swapped in; it is flushed on every path.
    pub(crate) fn with_storage<T>(&mut self, work: impl FnOnce(&mut Self, KeyHandle) -> Done<T>) -> Done<T> {
        let saved = self.storage.clone();
        let storage = self.context.context_load(saved).at("TPM2_ContextLoad").map_err(|trouble| {
            // A context from before a restart is nothing to this TPM any more.
            if trouble.remedy() == Remedy::None { Trouble::Stale } else { trouble }
        })?;
        let done = work(self, storage.into());
        let flushed = self.context.flush_context(storage).at("TPM2_FlushContext");
        done.and_then(|value| flushed.map(|()| value))
    }

    /// Uses a key: loads it unless it is loaded, and does not spend the last try on a value that may be wrong.
    pub(crate) fn with_key<T>(
        &mut self,
        ward: &Ward,
        source: &Source,
        work: impl FnOnce(&mut Self, KeyHandle) -> Done<T>,
    ) -> Done<T> {
        let mut loaded = self.take(ward, source)?;
        let done = self.authorized(ward, source, &mut loaded, work);
        // One whose value was refused is loaded anew next time, with what its source says then.
        let kept = if loaded.proven || done.is_ok() { self.keep(loaded) } else { self.release(loaded) };
        done.and_then(|value| kept.map(|()| value))
    }

    fn authorized<T>(
        &mut self,
        ward: &Ward,
        source: &Source,
        loaded: &mut Loaded,
        work: impl FnOnce(&mut Self, KeyHandle) -> Done<T>,
    ) -> Done<T> {
        if !loaded.proven {
            if ward.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&loaded.mark) {
                return Err(wrong_value(source).into());
            }
            if loaded.guarded {
                Lockout::read(self)?.check()?;
            }
        }
        match work(self, loaded.key) {
            Ok(value) => {
                loaded.proven = true;
                Ok(value)
            }
            // What was right before is not wrong now: another object is where ours was.
            Err(trouble) if trouble.refuses_auth() && loaded.proven => Err(Trouble::Stale),
            Err(trouble) if trouble.refuses_auth() => {
                ward.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(loaded.mark);
                Err(wrong_value(source).into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The public area of a key, as the TPM has it, and its name.
    pub(crate) fn read_public(&mut self, ward: &Ward, source: &Source) -> Done<(Public, Vec<u8>)> {
        let loaded = self.take(ward, source)?;
        let key = loaded.key;
        let read = self.run(Secrecy::RESPONSE, "TPM2_ReadPublic", |context| context.read_public(key));
        let kept = self.keep(loaded);
        let (public, name, _) = read?;
        kept?;
        Ok((public, name.value().to_vec()))
    }

    /// Takes a key out of the cache, or loads it.
    fn take(&mut self, ward: &Ward, source: &Source) -> Done<Loaded> {
        if let Some(place) = self.loaded.iter().position(|loaded| loaded.id == source.id) {
            return Ok(self.loaded.remove(place));
        }
        let takes_a_slot = matches!(source.place, Place::Blob(..));
        while self.loaded.iter().filter(|loaded| loaded.persistent != takes_a_slot).count() >= self.room {
            let Some(oldest) = self.loaded.iter().position(|loaded| loaded.persistent != takes_a_slot) else {
                break;
            };
            let oldest = self.loaded.remove(oldest);
            self.release(oldest)?;
        }
        let value = ward.auth.value()?;
        let mut loaded = match &source.place {
            Place::Blob(public, private) => self.load(source, public, private)?,
            Place::Persistent(handle, name) => self.find(*handle, name.as_deref())?,
        };
        loaded.mark = Sha256::new()
            .chain_update(&loaded.id)
            .chain_update([0])
            .chain_update(value.expose())
            .finalize()
            .into();
        let set = self.context.tr_set_auth(loaded.key.into(), auth(&value)?).at("its authorization value");
        match set {
            Ok(()) => Ok(loaded),
            Err(trouble) => {
                self.release(loaded)?;
                Err(trouble)
            }
        }
    }

    fn load(&mut self, source: &Source, public: &Public, private: &Private) -> Done<Loaded> {
        let (public, private) = (public.clone(), private.clone());
        let guarded = !public.object_attributes().no_da();
        let key = self.with_storage(|link, storage| {
            link.run(Secrecy::NONE, "TPM2_Load", |context| context.load(storage, private, public))
        })?;
        Ok(Loaded { id: source.id.clone(), key, persistent: false, guarded, proven: false, mark: [0; 32] })
    }

    fn find(&mut self, handle: u32, known: Option<&[u8]>) -> Done<Loaded> {
        const COMMAND: &str = "TPM2_ReadPublic";
        let tpm_handle = TpmHandle::Persistent(PersistentTpmHandle::new(handle).at(COMMAND)?);
        let found = self.bare(COMMAND, |context| context.tr_from_tpm_public(tpm_handle));
        let key = found.map_err(
            |trouble| {
                if trouble.is(HANDLE) { no_such_handle(handle).into() } else { trouble }
            },
        )?;
        let mut loaded = Loaded {
            id: String::new(),
            key: key.into(),
            persistent: true,
            guarded: true,
            proven: false,
            mark: [0; 32],
        };
        let looked = self.run(Secrecy::RESPONSE, COMMAND, |context| context.read_public(key.into()));
        match looked {
            Ok((public, name, _)) if known.is_none_or(|known| known == name.value()) => {
                loaded.guarded = !public.object_attributes().no_da();
                loaded.id = persistent_id(handle, name.value());
                Ok(loaded)
            }
            Ok(_) => {
                self.release(loaded)?;
                Err(no_such_handle(handle).into())
            }
            Err(trouble) => {
                self.release(loaded)?;
                Err(trouble)
            }
        }
    }

    /// Puts a key back as the most recently used.
    fn keep(&mut self, loaded: Loaded) -> Done<()> {
        if let Some(place) = self.loaded.iter().position(|other| other.id == loaded.id) {
            let other = self.loaded.remove(place);
            self.release(other)?;
        }
        self.loaded.push(loaded);
        Ok(())
    }

    fn release(&mut self, loaded: Loaded) -> Done<()> {
        let mut handle = ObjectHandle::from(loaded.key);
        if loaded.persistent {
            self.context.tr_close(&mut handle).at("its handle")
        } else {
            self.context.flush_context(handle).at("TPM2_FlushContext")
        }
    }

    /// Flushes what is loaded.
    pub(crate) fn release_all(&mut self) -> Done<()> {
        while let Some(loaded) = self.loaded.pop() {
            self.release(loaded)?;
        }
        Ok(())
    }

    /// The handle of a loaded key, which is no longer ours to flush.
    pub(crate) fn taken(&mut self, id: &str) -> Done<ObjectHandle> {
        let place = self.loaded.iter().position(|loaded| loaded.id == id).ok_or(Trouble::Stale)?;
        Ok(self.loaded.remove(place).key.into())
    }

    /// Flushes a key, if it is loaded.
    pub(crate) fn forget(&mut self, id: &str) -> Done<()> {
        match self.loaded.iter().position(|loaded| loaded.id == id) {
            Some(place) => {
                let loaded = self.loaded.remove(place);
                self.release(loaded)
            }
            None => Ok(()),
        }
    }
}

fn start_session(context: &mut Context, salt: Option<KeyHandle>, kind: SessionType) -> Done<AuthSession> {
    const COMMAND: &str = "TPM2_StartAuthSession";
    let started = context.execute_without_session(|context| {
        context.start_auth_session(
            salt,
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
    });
    started.at(COMMAND)?.ok_or_else(|| Trouble::Nonsense(format!("{COMMAND}: no session")))
}

fn wrong_value(source: &Source) -> Error {
    Error::new(Kind::Denied, format!("the TPM refuses the authorization value for the key `{}`", source.shown))
        .with_retry(Retry::NeedsOperator)
        .with_hint("see that `auth-source` names the value that the key was made with: it is not tried again until it changes")
}

fn attester_refuses() -> Error {
    Error::new(Kind::Denied, "the attestation key wants an authorization value of its own")
        .with_retry(Retry::NeedsOperator)
        .with_hint("make one whose value is the empty one: being restricted, it signs only what the TPM says")
}

fn no_such_handle(handle: u32) -> Error {
    let uri = Wanted::persistent_uri(handle).map_or_else(|_| format!("{handle:#x}"), |uri| uri.to_string());
    Error::new(Kind::NotFound, format!("the TPM keeps no such key as `{uri}` any more, or never did"))
        .with_hint("`tpm2_getcap handles-persistent` lists what it keeps")
}
