//! The vaults of a home: what each is called, where it is, and opening it once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vault::soft::{Lock, LockedBy, Relock, SealedBy, SoftVault, Unlock};
use vault::{Interact, KeyUri, Registry, Scheme, Sealer, SecretBytes, Vault, durable};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::identities::IdentityRecord;
use crate::locks::{locked, sealing};
use crate::record::{Name, Records};
use crate::servers::ServerRecord;

/// What the name of a directory starts with that a vault is being copied to. One that stays was never finished.
pub const UNFINISHED: &str = ".new-";

/// A vault that the home knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaultRecord {
    uri: String,
}

impl VaultRecord {
    /// The URI that opens it.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none, [`Kind::Unsupported`] when this build lacks the backend.
    pub fn uri(&self) -> Result<KeyUri> {
        self.uri.parse().map_err(|e: vault::Error| match e.kind() {
            Kind::Unsupported => e.into(),
            _ => Error::new(Kind::Corrupt, "a stored vault URI breaks its own rules").with_source(e),
        })
    }

    /// The directory that its files are in, links followed: two names of one vault have the same. None for a vault
    /// without files of ours, or whose URI this program does not know.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        let uri = self.uri().ok().filter(|uri| matches!(uri.scheme(), Scheme::Soft | Scheme::Tpm))?;
        Some(real(Path::new(OsStr::from_bytes(uri.bytes("path")?))))
    }
}

/// A path without links in it, as far as there is anything.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (path.parent().map(real), path.file_name()) {
        (Some(above), Some(name)) => above.join(name),
        (Some(above), None) => above.parent().map_or_else(|| above.clone(), Path::to_owned),
        (None, _) => path,
    }
}

/// Whether the one lies in the other, or is it.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

impl Home {
    fn vault_records(&self) -> Records<VaultRecord> {
        Records::new(self.dir("vaults"), "vault")
    }

    /// The vaults, ordered by name.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn vaults(&self) -> Result<Vec<(Name, VaultRecord)>> {
        self.vault_records().list()
    }

    /// A vault's record.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn vault(&self, name: &Name) -> Result<VaultRecord> {
        self.vault_records().get(name)
    }

    /// The name of the default vault, if there is one.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn default_vault(&self) -> Result<Option<Name>> {
        self.defaults()?.vault.as_deref().map(stored_name).transpose()
    }

    /// The vault of this name, or the default one.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without either.
    pub fn vault_or_default(&self, name: Option<&Name>) -> Result<Name> {
        if let Some(name) = name {
            self.vault(name)?;
            return Ok(name.clone());
        }
        self.default_vault()?.ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no vault yet")
                .with_hint("`ockam-kms vault create` makes one")
        })
    }

    /// Makes this vault the default.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn set_default_vault(&self, writer: &Writer, name: &Name) -> Result<()> {
        self.vault(name)?;
        let mut defaults = self.defaults()?;
        defaults.vault = Some(name.to_string());
        self.set_defaults(writer, &defaults)
    }

    /// Makes a software vault, in the home or in another directory. The first vault becomes the default.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`], or when the files cannot be written.
    pub fn create_soft_vault(
        &self,
        writer: &Writer,
        name: &Name,
        path: Option<&Path>,
        lock: &Lock,
    ) -> Result<()> {
        self.refuse_taken(name)?;
        let path = self.soft_vault_path(name, path)?;
        self.refuse_occupied(&path)?;
        let uri = KeyUri::new(Scheme::Soft).with("path", path.as_os_str().as_encoded_bytes())?;
        uri.require("path")?;
        // A directory of ours without a record is what a creation that was cut off left behind: nothing uses it.
        if path == self.soft_vault_dir(name) && path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        SoftVault::create(&path, lock)?;
        self.register_vault(writer, name, &uri)
    }

    pub(crate) fn refuse_taken(&self, name: &Name) -> Result<()> {
        match self.vault_records().find(name)? {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::AlreadyExists, format!("there already is a vault `{name}`"))
                .with_hint("choose another name")),
        }
    }

    /// Where a software vault is made: in the directory that was named, or in the home.
    pub(crate) fn soft_vault_path(&self, name: &Name, path: Option<&Path>) -> Result<PathBuf> {
        match path {
            Some(path) => std::path::absolute(path)
                .map_err(|e| Error::new(Kind::Invalid, "the vault has no absolute path").with_source(e)),
            None => Ok(self.soft_vault_dir(name)),
        }
    }

    /// The vaults whose directory is this one, lies in it, or has it in it.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn vaults_at(&self, path: &Path) -> Result<Vec<Name>> {
        let path = real(path);
        let there = |record: &VaultRecord| record.directory().is_some_and(|found| overlap(&found, &path));
        let all = self.vaults()?.into_iter();
        Ok(all.filter(|(_, record)| there(record)).map(|(name, _)| name).collect())
    }

    /// Refuses to make a vault where the files of another one are, whatever that one is called.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`].
    pub fn refuse_occupied(&self, path: &Path) -> Result<()> {
        match self.vaults_at(path)?.first() {
            None => Ok(()),
            Some(other) => Err(Error::new(
                Kind::AlreadyExists,
                format!("the files of the vault `{other}` already are in `{}`", path.display()),
            )
            .with_hint("choose another name or another directory: no vault lies in one of another")),
        }
    }

    /// Registers a vault that exists. The first one becomes the default.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`].
    pub fn register_vault(&self, writer: &Writer, name: &Name, uri: &KeyUri) -> Result<()> {
        self.vault_records().create(writer, name, &VaultRecord { uri: uri.to_string() })?;
        let mut defaults = self.defaults()?;
        if defaults.vault.is_none() {
            defaults.vault = Some(name.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }

    /// Moves a software vault to another directory.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a vault of another backend, [`Kind::AlreadyExists`] when there is something,
    /// [`Kind::Denied`] while a key in it locks another vault, a running server has a key in it, or another vault lies
    /// there too.
    pub fn move_vault(&self, writer: &Writer, name: &Name, to: &Path) -> Result<()> {
        let uri = self.vault(name)?.uri()?;
        if uri.scheme() != Scheme::Soft {
            return Err(Error::new(
                Kind::Invalid,
                format!("the vault `{name}` is not made of files of ours"),
            )
            .with_hint("only software vaults can be moved"));
        }
        self.refuse_while_it_locks(name)?;
        let from = PathBuf::from(uri.require("path")?);
        self.refuse_while_shared(name, &from)?;
        if let Some((server, record)) = self.servers_with_vault(name)?.into_iter().next() {
            return Err(Error::new(
                Kind::Denied,
                format!("the server `{server}` runs with a key in the vault `{name}`"),
            )
            .with_hint(format!("stop it first: `ockam-kms {} stop {server}`", record.kind)));
        }
        let to = std::path::absolute(to)
            .map_err(|e| Error::new(Kind::Invalid, "the vault has no absolute path").with_source(e))?;
        if to.exists() {
            return Err(Error::new(Kind::AlreadyExists, format!("`{}` already exists", to.display()))
                .with_hint("name a directory that does not exist yet"));
        }
        if real(&to).starts_with(real(&from)) {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` lies in the vault `{name}` itself", to.display()),
            )
            .with_hint("name a directory outside of it"));
        }
        if real(self.path()).starts_with(real(&from)) {
            return Err(Error::new(Kind::Denied, format!("the home lies in the vault `{name}`"))
                .with_hint("it would be moved too: move the files yourself, and register them anew"));
        }
        self.refuse_occupied(&to)?;
        let new_uri = uri.with("path", to.as_os_str().as_bytes())?;
        new_uri.require("path")?;
        // Copy, switch, remove: at every moment the record names a directory that is whole.
        copy_whole(&from, &to)?;
        self.vault_records().put(writer, name, &VaultRecord { uri: new_uri.to_string() })?;
        std::fs::remove_dir_all(&from).map_err(|e| {
            Error::io("remove", &from, e)
                .with_hint(format!("the vault is in `{}`: remove what is left here", to.display()))
        })
    }

    /// The servers that run with a key in this vault: each opened it once, and looks for it where it was then.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn servers_with_vault(&self, vault: &Name) -> Result<Vec<(Name, ServerRecord)>> {
        let mut users = self.identities()?;
        users.retain(|(_, identity)| identity.uses_vault(vault));
        let has = |server: &ServerRecord| users.iter().any(|(user, _)| user.as_str() == server.identity);
        let running = self.servers()?.into_iter().filter(|(_, server, running)| *running && has(server));
        Ok(running.map(|(name, server, _)| (name, server)).collect())
    }

    /// Refuses to take a directory away from other vaults that are in it.
    fn refuse_while_shared(&self, name: &Name, directory: &Path) -> Result<()> {
        let others = self.vaults_at(directory)?.into_iter().find(|other| other != name);
        match others {
            None => Ok(()),
            Some(other) => Err(Error::new(
                Kind::Denied,
                format!(
                    "the files of the vault `{other}` are in the directory of the vault `{name}`, `{}`",
                    directory.display()
                ),
            )
            .with_hint(format!(
                "when it is another name of the same vault, `ockam-kms vault delete {other}` forgets it first"
            ))),
        }
    }

    /// The directory that is removed with a vault: the one in the home that has its name, when its record says so too.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn own_directory(&self, name: &Name) -> Result<Option<PathBuf>> {
        let own = self.soft_vault_dir(name);
        let recorded = self.vault(name)?.directory();
        Ok((recorded == Some(real(&own)) && own.exists()).then_some(own))
    }

    /// Forgets a vault; one whose files are in the home is removed with its keys.
    ///
    /// # Errors
    /// [`Kind::Denied`] while an identity has a key in it, a key in it locks another vault, or its directory is to be
    /// removed and is that of another vault too.
    pub fn delete_vault(&self, writer: &Writer, name: &Name) -> Result<()> {
        let own = self.own_directory(name)?;
        let users: Vec<_> = self
            .identities()?
            .into_iter()
            .filter(|(_, identity): &(Name, IdentityRecord)| identity.uses_vault(name))
            .map(|(user, _)| user.to_string())
            .collect();
        if !users.is_empty() {
            return Err(Error::new(
                Kind::Denied,
                format!("the vault `{name}` holds the keys of {}", users.join(", ")),
            )
            .with_hint("rotate these identities into another vault, or delete them, first"));
        }
        self.refuse_while_it_locks(name)?;
        if let Some(own) = &own {
            self.refuse_while_shared(name, own)?;
        }
        self.vault_records().remove(writer, name)?;
        if let Some(own) = &own {
            std::fs::remove_dir_all(own).map_err(|e| Error::io("remove", own, e))?;
        }
        let mut defaults = self.defaults()?;
        if defaults.vault.as_deref() == Some(name.as_str()) {
            defaults.vault = self.vaults()?.first().map(|(first, _)| first.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }

    /// Where the files of a vault of this name are when they are in the home.
    #[must_use]
    pub fn soft_vault_dir(&self, name: &Name) -> PathBuf {
        self.dir("vaults").join(name.as_str())
    }
}

/// Copies a directory to a name that is free: what has that name is whole.
fn copy_whole(from: &Path, to: &Path) -> Result<()> {
    let random = hex::encode(SecretBytes::random(8)?.expose());
    let unfinished = to.with_file_name(format!("{UNFINISHED}{random}"));
    let copied = copy_dir(from, &unfinished).and_then(|()| {
        std::fs::rename(&unfinished, to)
            .and_then(|()| to.parent().map_or(Ok(()), durable::sync_dir))
            .map_err(|e| Error::io("create", to, e))
    });
    if copied.is_err() {
        // The first failure is the one that is told.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    copied
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    durable::create_dir(to).map_err(|e| Error::io("create", to, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| Error::io("list", from, e))? {
        let entry = entry.map_err(|e| Error::io("list", from, e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(|e| Error::io("read", &source, e))?.is_dir() {
            copy_dir(&source, &target)?;
        } else {
            let bytes = durable::read(&source, 1024 * 1024).map_err(|e| Error::io("read", &source, e))?;
            durable::write_new(&target, &bytes).map_err(|e| Error::io("write", &target, e))?;
        }
    }
    Ok(())
}

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Vault>>> + Send + 'a>>;

/// Opens the vaults of a home by name, each once: a token is logged in once per process, a passphrase asked once.
pub struct Vaults {
    home: Home,
    registry: Registry,
    interact: Arc<dyn Interact>,
    open: Mutex<HashMap<Name, Arc<dyn Vault>>>,
}

impl Vaults {
    /// The vaults of `home`, by the backends of `registry`.
    #[must_use]
    pub fn new(home: Home, registry: Registry, interact: Arc<dyn Interact>) -> Self {
        Self { home, registry, interact, open: Mutex::default() }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The backends.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Opens a vault, and first those that lock it.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what the backend meets. When a vault that locks it cannot be used, the error names both.
    pub async fn open(&self, name: &Name) -> Result<Arc<dyn Vault>> {
        self.open_below(name, &[]).await
    }

    /// Opens the vault of a URI that is about to be registered; one on a TPM whose files are not there yet is made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn create_uri(&self, uri: &KeyUri) -> Result<Arc<dyn Vault>> {
        match uri.scheme() {
            Scheme::Soft => self.open_at(uri, &uri.to_string(), &[]).await,
            _ => Ok(self.registry.create(uri, Arc::clone(&self.interact)).await?),
        }
    }

    /// Opens the lock of a software vault, to change it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a vault of another backend; otherwise as [`open`](Self::open).
    pub async fn relock(&self, name: &Name) -> Result<Relock> {
        let uri = self.home.vault(name)?.uri()?;
        let Some((_, by)) = locked(&uri)? else {
            return Err(Error::new(
                Kind::Invalid,
                format!("the vault `{name}` is not made of files of ours: its device has its own lock"),
            )
            .with_hint("only software vaults have a lock that can be changed here"));
        };
        let path = Path::new(uri.require("path")?);
        match by {
            LockedBy::Vault(by) => {
                let sealer = self.sealer(name.as_str(), &by, std::slice::from_ref(name)).await?;
                let relock = Relock::begin(path, Unlock::Sealer(&sealer)).await;
                relock.map_err(|e| behind(name.as_str(), &by, e.into()))
            }
            _ => Ok(Relock::begin(path, Unlock::Asking(&*self.interact)).await?),
        }
    }

    /// `above`: the vaults that wait for this one to be opened.
    fn open_below<'a>(&'a self, name: &'a Name, above: &'a [Name]) -> Opening<'a> {
        Box::pin(async move {
            if let Some(vault) = self.cached(name) {
                return Ok(vault);
            }
            if above.contains(name) {
                return Err(Error::new(Kind::Corrupt, format!("the vault `{name}` locks itself"))
                    .with_hint("somebody edited its `vault.json`: restore it from a backup"));
            }
            let mut chain = above.to_vec();
            chain.push(name.clone());
            let uri = self.home.vault(name)?.uri()?;
            let vault = self.open_at(&uri, name.as_str(), &chain).await?;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Arc::clone(open.entry(name.clone()).or_insert(vault)))
        })
    }

    async fn open_at(&self, uri: &KeyUri, shown: &str, chain: &[Name]) -> Result<Arc<dyn Vault>> {
        let Some((_, LockedBy::Vault(by))) = locked(uri)? else {
            return Ok(self.registry.open(uri, Arc::clone(&self.interact)).await?);
        };
        let sealer = self.sealer(shown, &by, chain).await?;
        let opened = SoftVault::unlock(Path::new(uri.require("path")?), Unlock::Sealer(&sealer)).await;
        Ok(Arc::new(opened.map_err(|e| behind(shown, &by, e.into()))?))
    }

    /// The key that locks a vault.
    async fn sealer(&self, shown: &str, by: &SealedBy, chain: &[Name]) -> Result<Sealer> {
        if let Err(error) = self.home.vault(&by.vault) {
            return Err(behind(shown, by, error)
                .with_hint(format!("register it again as `{}`: nothing is lost", by.vault)));
        }
        let vault = match self.open_below(&by.vault, chain).await {
            Ok(vault) => vault,
            // Not this vault is missing, but the device of the other one.
            Err(e) if e.kind() == Kind::NotFound => {
                let hint = format!("connect the device `{}` again: nothing is lost", by.vault_id);
                return Err(behind(shown, by, e).of_kind(Kind::Unavailable).with_hint(hint));
            }
            Err(e) => return Err(behind(shown, by, e)),
        };
        let key = sealing(&by.vault, &*vault)?.open(&by.key).await.map_err(|e| {
            let error = behind(shown, by, e.into());
            if *vault.id() == by.vault_id {
                return error;
            }
            // Whether another device has the same key is seen by trying; this one has none.
            let hint = format!("connect the device `{}` instead: nothing is lost", by.vault_id);
            error.of_kind(Kind::Denied).with_hint(hint)
        })?;
        Ok(Sealer::bind(vault, key)?)
    }

    fn cached(&self, name: &Name) -> Option<Arc<dyn Vault>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }
}

/// Why a vault cannot be opened by the vault that locks it. Its own files are as they were.
fn behind(shown: &str, by: &SealedBy, error: Error) -> Error {
    let text = format!(
        "the vault `{shown}` is locked by the key `{}` of the vault `{}`, which cannot be used: {error}",
        by.key, by.vault
    );
    let hint = error.hint().map(ToOwned::to_owned);
    let told = Error::new(error.kind(), text).with_source(error);
    match hint {
        Some(hint) => told.with_hint(hint),
        None => told.with_hint("nothing is lost: it opens again when that key can be used"),
    }
}

impl fmt::Debug for Vaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vaults").field("home", &self.home).finish_non_exhaustive()
    }
}
