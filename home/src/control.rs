//! The control socket of a running server: a Unix socket in the home, 0600, on which one's own processes ask for what only
//! the server itself can do. One JSON line each way.

mod node;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

pub use node::{NodeAsk, PartyAsk, PolicyFor};

use crate::error::{Error, Kind, Result};

/// The most bytes of a message that a node is asked to send: more than an argument of a program can have.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// The most bytes of a request: a message as hex, and something beside. Reading JSON may take many times as much memory.
const MAX_ASK: usize = 2 * MAX_MESSAGE + 64 * 1024;
/// The most bytes of an answer. An audit log is exported to a file, not through the socket.
const MAX_LINE: u64 = 1024 * 1024;
/// How long an answer may take: a rotation asks a device several times.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How long it waits when a connection could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
const READ_WAIT: Duration = Duration::from_secs(10);

/// What a server can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How it is.
    Status,
    /// To end, after the requests under way.
    Stop,
    /// To read its identity from the home again, and its TLS certificate from its files.
    Reload,
    /// To rotate the primary key of the identity that it uses.
    Rotate(crate::rotation::Plan),
    /// To write its audit log to a file that does not exist yet.
    Audit {
        /// The file, as an absolute path.
        to: PathBuf,
    },
    /// To list the intents to issue for which no credential was recorded.
    Orphans {
        /// The hash to go on after, as hex.
        after: Option<String>,
    },
    /// What only nodes do.
    Node(NodeAsk),
}

impl Ask {
    /// Reads the line of a request.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for one that does not decode, or is too long.
    pub fn parse(line: &str) -> Result<Self> {
        if line.len() > MAX_ASK {
            return Err(Error::new(Kind::Invalid, format!("the request has more than {MAX_ASK} bytes")));
        }
        serde_json::from_str(line)
            .map_err(|e| Error::new(Kind::Invalid, format!("the request does not decode: {e}")))
    }
}

/// An answer: what was asked for, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done; the value depends on what was asked.
    Done(serde_json::Value),
    /// Not done.
    Failed {
        /// The name of the error's kind.
        kind: String,
        /// What happened.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl From<&Error> for Answer {
    fn from(error: &Error) -> Self {
        Self::Failed {
            kind: error.kind().name().to_owned(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

/// Asks the server behind a socket.
///
/// # Errors
/// [`Kind::Unavailable`] when nobody answers; otherwise the server's own error.
pub fn ask(socket: &Path, ask: &Ask) -> Result<serde_json::Value> {
    ask_within(socket, ask, ANSWER_WAIT)
}

/// The same, waiting no longer than this for the answer.
///
/// # Errors
/// As [`ask`].
pub fn ask_within(socket: &Path, ask: &Ask, wait: Duration) -> Result<serde_json::Value> {
    let away = |e: std::io::Error| {
        Error::new(Kind::Unavailable, "the server does not answer on its control socket")
            .with_hint("see whether it runs: `ockam-kms node list`")
            .with_source(e)
    };
    let short = ShortPath::new(socket).map_err(away)?;
    let mut stream = UnixStream::connect(short.path()).map_err(away)?;
    stream.set_read_timeout(Some(wait)).map_err(away)?;
    stream.set_write_timeout(Some(READ_WAIT)).map_err(away)?;
    let mut line = serde_json::to_vec(ask).map_err(|e| json_failed(&e))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(away)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).map_err(away)?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|e| Error::new(Kind::Unavailable, "the server ended before it answered").with_source(e))?;
    match answer {
        Answer::Done(value) => Ok(value),
        Answer::Failed { kind, message, hint } => {
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap_or(Kind::Backend);
            let error = Error::new(kind, message);
            Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            })
        }
    }
}

fn json_failed(e: &serde_json::Error) -> Error {
    Error::new(Kind::Backend, "writing JSON failed").with_source(e.to_string())
}

/// A listening control socket and the threads that serve it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    places: Arc<Places>,
    thread: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Listens and answers, one request at a time, until dropped. Peers of another user are cut off.
    ///
    /// # Errors
    /// [`Kind::Denied`] when the socket cannot be made.
    pub fn serve(path: &Path, handle: impl Fn(Ask) -> Answer + Send + Sync + 'static) -> Result<Self> {
        Self::serve_many(path, 1, handle)
    }

    /// The same with up to this many requests at a time; further ones wait.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub fn serve_many(
        path: &Path,
        most: usize,
        handle: impl Fn(Ask) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("make the control socket", path, e);
        // The caller holds the server's lock, so a socket that is there belongs to nobody.
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let short = ShortPath::new(path).map_err(failed)?;
        let listener = UnixListener::bind(short.path()).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let places = Arc::new(Places { most: most.max(1), ..Places::default() });
        let (shared, handle) = (Arc::clone(&places), Arc::new(handle));
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                while let Some(place) = shared.take() {
                    let accepted = listener.accept();
                    if shared.lock().ending {
                        return;
                    }
                    match accepted {
                        Ok((stream, _)) => {
                            let handle = Arc::clone(&handle);
                            // A peer that misbehaves costs itself its connection, nobody else.
                            let answer = move || {
                                let _place = place;
                                drop(answer_one(stream, &*handle));
                            };
                            let thread = std::thread::Builder::new().name("control-answer".into());
                            // Without another thread, the connection ends unanswered.
                            drop(thread.spawn(answer));
                        }
                        // No more descriptors: whoever waits goes on waiting, and nobody spins.
                        Err(_) => std::thread::sleep(ACCEPT_AGAIN),
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), places, thread: Some(thread) })
    }
}

/// How many requests are being answered.
#[derive(Debug, Default)]
struct Places {
    most: usize,
    taken: Mutex<Taken>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    ending: bool,
}

/// A place among the requests that are answered at a time.
struct Place(Arc<Places>);

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; `None` when there will be none any more.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let full = |taken: &mut Taken| !taken.ending && taken.count >= self.most;
        let mut taken = self.given_back.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if taken.ending {
            return None;
        }
        taken.count += 1;
        Some(Place(Arc::clone(self)))
    }

    fn end(&self) {
        self.lock().ending = true;
        self.given_back.notify_all();
    }

    /// Waits until nothing is being answered any more.
    fn wait_until_idle(&self) {
        let busy = |taken: &mut Taken| taken.count > 0;
        drop(self.given_back.wait_while(self.lock(), busy));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().count -= 1;
        self.0.given_back.notify_all();
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.places.end();
        // Wakes the thread out of its wait.
        let woken = ShortPath::new(&self.path).and_then(|short| UnixStream::connect(short.path()));
        let _ = std::fs::remove_file(&self.path);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
            self.places.wait_until_idle();
        }
    }
}

fn answer_one(stream: UnixStream, handle: &impl Fn(Ask) -> Answer) -> std::io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if peer.uid != rustix::process::geteuid() {
        return Ok(());
    }
    stream.set_read_timeout(Some(READ_WAIT))?;
    stream.set_write_timeout(Some(READ_WAIT))?;
    let mut line = String::new();
    let most = u64::try_from(MAX_ASK).unwrap_or(u64::MAX).saturating_add(1);
    BufReader::new((&stream).take(most)).read_line(&mut line)?;
    let answer = match Ask::parse(&line) {
        Ok(ask) => handle(ask),
        Err(e) => Answer::from(&e),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    (&stream).write_all(&bytes)
}

/// A path through an open directory: socket addresses are limited to 107 bytes, homes are not.
struct ShortPath {
    _directory: OwnedFd,
    path: PathBuf,
}

impl ShortPath {
    fn new(path: &Path) -> std::io::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()));
        let path = short.join(path.file_name().unwrap_or_default());
        Ok(Self { _directory: directory, path })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_and_answers_under_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s.sock");
        let socket = ControlSocket::serve(&path, |ask| match ask {
            Ask::Status => Answer::Done(serde_json::json!({"ok": true})),
            _ => Answer::from(&Error::new(Kind::Denied, "no").with_hint("never")),
        })
        .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&path, &Ask::Status).unwrap(), serde_json::json!({"ok": true}));
        let refused = ask(&path, &Ask::Stop).unwrap_err();
        assert_eq!((refused.kind(), refused.hint()), (Kind::Denied, Some("never")));
        drop(socket);
        assert_eq!(ask(&path, &Ask::Status).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn a_slow_answer_holds_up_nobody_while_there_are_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let socket = ControlSocket::serve_many(&path, 2, move |ask| {
            if ask == Ask::Reload {
                let _ = wait.lock().unwrap().recv();
            }
            Answer::Done(serde_json::Value::Null)
        })
        .unwrap();
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| ask(&path, &Ask::Reload));
            while socket.places.lock().count < 2 {
                std::thread::yield_now();
            }
            assert!(ask(&path, &Ask::Status).is_ok());
            assert!(!slow.is_finished());
            release.send(()).unwrap();
            assert!(slow.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_a_node_is_asked_is_written_and_read() {
        let asks = [
            NodeAsk::Channels,
            NodeAsk::SetPolicy { to: PolicyFor::ResourceType("relay".into()), policy: "a".into() },
            NodeAsk::Send {
                to: "/service/a".into(),
                payload: "00".into(),
                party: PartyAsk::default(),
                wait: 1,
            },
        ];
        for ask in asks.map(Ask::Node) {
            assert_eq!(Ask::parse(&serde_json::to_string(&ask).unwrap()).unwrap(), ask);
        }
        for bad in [
            r#"{"ask":"node","node":"explode"}"#,
            r#"{"ask":"node","node":"close-channel"}"#,
            r#"{"ask":"node","node":"close-channel","address":"a","more":1}"#,
            r#"{"ask":"node"}"#,
        ] {
            assert_eq!(Ask::parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn garbage_is_answered_and_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let _socket = ControlSocket::serve(&path, |_| Answer::Done(serde_json::Value::Null)).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"ask\":\"destroy\"}\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("does not decode"), "{answer}");
        assert!(ask(&path, &Ask::Status).is_ok());
    }
}
