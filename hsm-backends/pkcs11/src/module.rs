//! The loaded module: one for each path in the whole process, initialised once, shared by every vault on it.
//!
//! `C_Initialize` and `C_Finalize` concern the process, so nobody may be inside the module when they are called. Every
//! use therefore holds a [`Pass`], and a [reset](Module::reset) waits until no pass is out. What a pass says is the
//! *generation*: sessions and object handles of an earlier one mean nothing, or worse, something else.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error as LibraryError, RvError};
use vault::device::AGAIN;
use vault::{Error, Kind, Result};

use crate::errors::Trouble;
use crate::turns::{Turn, Turns};

/// The most resets within a while: each makes every vault of the module log in again.
const RESETS: usize = 8;
const RESETS_WITHIN: Duration = Duration::from_secs(4);
/// How long a reset waits for calls under way. One that hangs keeps the module from being reset.
const RESET_PATIENCE: Duration = Duration::from_secs(3);

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

pub(crate) struct Module {
    path: PathBuf,
    turns: Arc<Turns>,
    /// Whether it needs turns; until its tokens were seen, it may.
    needs_turns: AtomicBool,
    context: OnceLock<Pkcs11>,
    gate: Mutex<Gate>,
    changed: Condvar,
}

struct Gate {
    phase: Phase,
    /// Passes that are out.
    inside: usize,
    generation: u64,
    /// When it was reset lately.
    resets: VecDeque<Instant>,
    /// Whether this backend initialised the module. When other code of the process did, it is not ours to reset.
    ours: bool,
}

impl Gate {
    fn may_reset(&mut self) -> bool {
        while self.resets.front().is_some_and(|reset| reset.elapsed() > RESETS_WITHIN) {
            self.resets.pop_front();
        }
        self.resets.len() < RESETS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Never initialised, or not successfully.
    New,
    /// Somebody is loading or resetting it.
    Busy,
    Ready,
    /// Finalised, and the following `C_Initialize` failed.
    Stopped,
}

impl Module {
    /// The module of this path, which has passed [`crate::trust::check`].
    pub(crate) fn at(path: &Path) -> Arc<Self> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let module = modules.entry(path.to_owned()).or_insert_with(|| {
            let gate =
                Gate { phase: Phase::New, inside: 0, generation: 0, resets: VecDeque::new(), ours: false };
            Arc::new(Self {
                path: path.to_owned(),
                turns: Turns::at(path),
                needs_turns: AtomicBool::new(true),
                context: OnceLock::new(),
                gate: Mutex::new(gate),
                changed: Condvar::new(),
            })
        });
        Arc::clone(module)
    }

    /// Loads and initialises it, unless that was done.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the file is no PKCS#11 module; what `C_Initialize` answers; [`Kind::Unavailable`] when
    /// another thread has been at it until the deadline.
    pub(crate) fn start(&self, deadline: Instant) -> Result<()> {
        let mut gate = self.lock();
        loop {
            match gate.phase {
                Phase::Ready | Phase::Stopped => return Ok(()),
                Phase::New => break,
                Phase::Busy => gate = self.wait(gate, deadline)?,
            }
        }
        gate.phase = Phase::Busy;
        drop(gate);
        let started = self.load().and_then(|context| {
            let _turn = self.turn();
            let ours = initialise(&context).map_err(|e| self.says(e))?;
            Ok((context, ours))
        });
        let mut gate = self.lock();
        let done = started.map(|(context, ours)| {
            let _ = self.context.set(context);
            gate.ours = ours;
        });
        gate.phase = if done.is_ok() { Phase::Ready } else { Phase::New };
        gate.generation += 1;
        drop(gate);
        self.changed.notify_all();
        done
    }

    fn load(&self) -> Result<Pkcs11> {
        if let Some(context) = self.context.get() {
            return Ok(context.clone());
        }
        Pkcs11::new(&self.path).map_err(|e| {
            Error::new(
                Kind::Invalid,
                format!("`{}` is not a PKCS#11 module that can be loaded", self.path.display()),
            )
            .with_hint("name the shared library that your device's vendor calls its PKCS#11 module")
            .with_source(e.to_string())
        })
    }

    /// Enters the module. Waits while it is being reset.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when that takes until the deadline, or the module stands still after a failed reset.
    pub(crate) fn enter(self: &Arc<Self>, deadline: Instant) -> Result<Pass> {
        let mut gate = self.lock();
        loop {
            match (gate.phase, self.context.get()) {
                (Phase::Ready, Some(context)) => {
                    gate.inside += 1;
                    let (context, generation) = (context.clone(), gate.generation);
                    return Ok(Pass { module: Arc::clone(self), context, generation });
                }
                (Phase::Busy, _) => gate = self.wait(gate, deadline)?,
                _ => return Err(self.standstill()),
            }
        }
    }

    /// Finalises and initialises the module, once nobody is inside. Does nothing when it is past generation `seen`
    /// already. Whoever calls this must hold no pass.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when a call hangs inside, the last reset is too recent, other code of the process owns the
    /// module, or it does not come up again.
    pub(crate) fn reset(&self, seen: u64, deadline: Instant) -> Result<()> {
        let mut gate = self.lock();
        while gate.phase == Phase::Busy {
            gate = self.wait(gate, deadline)?;
        }
        if gate.generation != seen && gate.phase == Phase::Ready {
            return Ok(());
        }
        let refuse = |why: &str| {
            Err(Error::new(
                Kind::Unavailable,
                format!("cannot reset the module `{}`: {why}", self.path.display()),
            ))
        };
        if !gate.ours {
            return refuse("other code of this process initialised it");
        }
        if !gate.may_reset() {
            return refuse("it was reset too often in the last seconds");
        }
        let was = std::mem::replace(&mut gate.phase, Phase::Busy);
        let patience = deadline.min(Instant::now() + RESET_PATIENCE);
        while gate.inside > 0 {
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                gate.phase = was;
                drop(gate);
                self.changed.notify_all();
                return refuse("a call hangs inside it");
            }
            gate = self.changed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        gate.resets.push_back(Instant::now());
        drop(gate);
        let done = match self.context.get() {
            None => Err(self.standstill()),
            Some(context) => self.again(context, was == Phase::Stopped).map_err(|e| self.says(e)),
        };
        let mut gate = self.lock();
        gate.phase = if done.is_ok() { Phase::Ready } else { Phase::Stopped };
        gate.generation += 1;
        drop(gate);
        self.changed.notify_all();
        done
    }

    fn again(&self, context: &Pkcs11, stopped: bool) -> std::result::Result<(), LibraryError> {
        let _turn = self.turn();
        if !stopped {
            match context.clone().finalize() {
                Ok(()) | Err(LibraryError::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
                Err(other) => return Err(other),
            }
        }
        initialise(context).map(drop)
    }

    /// Whether a reset would be tried.
    pub(crate) fn may_reset(&self) -> bool {
        let mut gate = self.lock();
        gate.ours && gate.may_reset()
    }

    /// The generation, whether or not the module runs.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    fn turn(&self) -> Option<Turn> {
        self.needs_turns.load(Ordering::Relaxed).then(|| self.turns.take())
    }

    fn standstill(&self) -> Error {
        Error::new(Kind::Unavailable, format!("the module `{}` stands still", self.path.display()))
            .with_hint("the vault starts it again by itself")
    }

    fn says(&self, error: LibraryError) -> Error {
        let error = Trouble::from(error).into_error(&self.path.display().to_string(), false);
        Error::new(error.kind(), format!("the module `{}` does not start: {error}", self.path.display()))
            .with_retry(error.retry())
            .with_source(error)
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, gate: MutexGuard<'a, Gate>, deadline: Instant) -> Result<MutexGuard<'a, Gate>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(
                Kind::Unavailable,
                format!("the module `{}` does not answer", self.path.display()),
            )
            .with_retry(AGAIN));
        }
        Ok(self.changed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Initialises, and says whether that was ours to do.
fn initialise(context: &Pkcs11) -> std::result::Result<bool, LibraryError> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(true),
        Err(LibraryError::Pkcs11(RvError::CryptokiAlreadyInitialized, Function::Initialize)) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Permission to be inside the module.
pub(crate) struct Pass {
    module: Arc<Module>,
    context: Pkcs11,
    generation: u64,
}

impl Pass {
    pub(crate) fn context(&self) -> &Pkcs11 {
        &self.context
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits for a turn, if the module needs that.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.module.turn()
    }

    /// Says whether the module needs turns, once that is known.
    pub(crate) fn set_needs_turns(&self, needs: bool) {
        self.module.needs_turns.store(needs, Ordering::Relaxed);
    }

    /// Whether this backend initialised the module, and so may reset it.
    pub(crate) fn is_ours(&self) -> bool {
        self.module.lock().ours
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut gate = self.module.lock();
        gate.inside = gate.inside.saturating_sub(1);
        let waited_for = gate.phase == Phase::Busy && gate.inside == 0;
        drop(gate);
        if waited_for {
            self.module.changed.notify_all();
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("generation", &self.generation).finish_non_exhaustive()
    }
}
