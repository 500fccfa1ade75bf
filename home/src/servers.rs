//! Records of servers that run from this home. A server holds a lock on a file of its own for as long as it lives, so a
//! record whose lock is free is of one that ended without saying so.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vault::durable;

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::record::{Name, Records};

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// What kind of server: `authority` or `node`.
    pub kind: String,
    /// Its process.
    pub pid: u32,
    /// The name of the identity that it uses.
    pub identity: String,
    /// The project that it is for; empty for a node.
    #[serde(default)]
    pub project: String,
    /// The address of its HTTP door, when that is open.
    pub http_address: Option<String>,
    /// Whether that door speaks TLS.
    #[serde(default)]
    pub tls: bool,
    /// The address of its metrics, when they are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<String>,
    /// Where its data is; empty for a node.
    #[serde(default)]
    pub store: String,
    /// The address of its TCP listener, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_address: Option<String>,
    /// What a node is started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRecord>,
}

/// What a node was made with: it keeps that while it is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Where it was told to listen.
    pub listen: String,
    /// The project whose authority's credentials count, and are presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The change history of the authority whose credentials count, as hex, where no project is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The scope of the stored credentials that are presented; any when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_scope: Option<String>,
    /// Where it was told to say over HTTP how it is; nowhere when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_endpoint: Option<String>,
    /// Its policies, by what they are for: `resource:NAME` or `resource-type:TYPE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, String>,
    /// The relays that it was made with, by name: it registers them whenever it runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relays: BTreeMap<String, RelayRecord>,
}

/// A relay that a node registers at another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayRecord {
    /// The way to the other node.
    pub at: String,
    /// What the relay is called there, when that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whom the other node may be; anybody when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorized: Vec<String>,
}

impl ServerRecord {
    /// The URL of its HTTP door, when that is open.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.http_address.as_ref().map(|address| format!("{scheme}://{address}"))
    }
}

/// Held by a server while it lives.
#[derive(Debug)]
pub struct ServerLock(#[expect(dead_code, reason = "the lock is released when the file is closed")] File);

impl Home {
    fn server_records(&self) -> Records<ServerRecord> {
        Records::new(self.dir("servers"), "server")
    }

    /// The servers and whether each is running, ordered by name.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn servers(&self) -> Result<Vec<(Name, ServerRecord, bool)>> {
        let records = self.server_records().list()?;
        records
            .into_iter()
            .map(|(name, record)| Ok((name.clone(), record, self.is_running(&name)?)))
            .collect()
    }

    /// A server and whether it is running.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn server(&self, name: &Name) -> Result<(ServerRecord, bool)> {
        Ok((self.server_records().get(name)?, self.is_running(name)?))
    }

    /// The running server that has an identity for itself, and rotates it, if there is one: an authority. Nodes share theirs,
    /// and see a rotation at their next handshake.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn server_of_identity(&self, identity: &Name) -> Result<Option<Name>> {
        let servers = self.servers()?;
        let uses = |record: &ServerRecord| record.node.is_none() && record.identity == identity.as_str();
        Ok(servers.into_iter().find(|(_, record, running)| *running && uses(record)).map(|(name, _, _)| name))
    }

    /// The name of the default node, if there is one.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn default_node(&self) -> Result<Option<Name>> {
        let Some(name) = self.defaults()?.node.as_deref().map(stored_name).transpose()? else {
            return Ok(None);
        };
        Ok(self.server_records().find(&name)?.map(|_| name))
    }

    /// Makes this node the default.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn set_default_node(&self, writer: &Writer, name: &Name) -> Result<()> {
        if self.server_records().get(name)?.node.is_none() {
            return Err(Error::new(Kind::Invalid, format!("the server `{name}` is no node"))
                .with_hint("`ockam-kms node list` shows which are nodes"));
        }
        let mut defaults = self.defaults()?;
        defaults.node = Some(name.to_string());
        self.set_defaults(writer, &defaults)
    }

    /// Takes the lock of a server, for as long as the process lives.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when a server of this name is running.
    pub fn lock_server(&self, name: &Name) -> Result<ServerLock> {
        let file = self.open_server_lock(name)?;
        // Whoever asks whether a server runs holds the lock for a moment: look more than once.
        for _ in 0..20 {
            match file.try_lock() {
                Ok(()) => return Ok(ServerLock(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(e)) => {
                    return Err(Error::io("lock", &self.server_lock_path(name), e));
                }
            }
        }
        Err(Error::new(Kind::AlreadyExists, format!("the server `{name}` is already running"))
            .with_hint("stop it first, or choose another name"))
    }

    /// Records a server, replacing the record of an earlier run.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn put_server(&self, writer: &Writer, name: &Name, record: &ServerRecord) -> Result<()> {
        self.server_records().put(writer, name, record)
    }

    /// Forgets a server.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn remove_server(&self, writer: &Writer, name: &Name) -> Result<()> {
        self.server_records().remove(writer, name)?;
        let mut defaults = self.defaults()?;
        if defaults.node.as_deref() == Some(name.as_str()) {
            let rest = self.server_records().list()?;
            defaults.node =
                rest.iter().find(|(_, one)| one.node.is_some()).map(|(first, _)| first.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }

    /// Kills a server that runs, without a word to it: what it has answered is kept, what it was doing is cut.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Denied`] when the process of its record is not the one that holds its lock, or this user may
    /// not kill it.
    pub fn kill_server(&self, name: &Name) -> Result<()> {
        let (record, running) = self.server(name)?;
        if !running {
            return Ok(());
        }
        let denied = |words: String| {
            Error::new(Kind::Denied, words).with_hint(
                "look for the process that has the file `servers/NAME.lock` of the home open, and end it",
            )
        };
        let pid = i32::try_from(record.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| denied(format!("the record of `{name}` names no process")))?;
        // Opened before it is looked at: a number may be given to another process meanwhile, an open process stays the same.
        let process = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|e| denied(format!("the process {pid:?} of `{name}` cannot be reached: {e}")))?;
        if !has_open(record.pid, &self.server_lock_path(name)) {
            return Err(denied(format!("another process than {} holds the lock of `{name}`", record.pid)));
        }
        pidfd_send_signal(&process, Signal::KILL)
            .map_err(|e| denied(format!("the process {} of `{name}` cannot be killed: {e}", record.pid)))
    }

    /// The path of a server's control socket. Short whatever the name, since socket paths are limited to 107 bytes.
    #[must_use]
    pub fn control_socket(&self, name: &Name) -> PathBuf {
        let hash = hex::encode(Sha256::digest(name.as_str()));
        self.dir("servers").join(format!("{}.sock", hash.get(..16).unwrap_or(&hash)))
    }

    fn server_lock_path(&self, name: &Name) -> PathBuf {
        self.dir("servers").join(format!("{name}.lock"))
    }

    fn open_server_lock(&self, name: &Name) -> Result<File> {
        let directory = self.dir("servers");
        durable::create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
        let path = self.server_lock_path(name);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))
    }

    fn is_running(&self, name: &Name) -> Result<bool> {
        // Shared: several look at once, and none of them is taken for the server.
        match self.open_server_lock(name)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &self.server_lock_path(name), e)),
        }
    }
}

/// Whether a process has a file open.
fn has_open(pid: u32, path: &Path) -> bool {
    let Ok(wanted) = std::fs::metadata(path) else { return false };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .any(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
}
