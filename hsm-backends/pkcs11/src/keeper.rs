//! The owner of the login. PKCS#11 logs a *process* in to a *token*: one session that is never used for anything else,
//! the anchor, keeps that login alive, and this is the only place that calls `C_Login`.
//!
//! A PIN is never tried twice for one reason: an outage ends with at most one `C_Login` that reaches the token, a wrong PIN
//! ends all further ones until the vault is opened anew, and a PIN is not spent on a token that says it has one try left. After
//! a login that failed and left open whether the PIN was judged, a second one follows soon only where the token says that it
//! counted no wrong PIN; then the pauses are long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cryptoki::error::{Error as LibraryError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use vault::{Error, Kind, Result, Retry};

use crate::address::{PinSource, Token};
use crate::errors::{Remedy, Trouble, away};
use crate::module::{Module, Pass};
use crate::quirks;

/// How long an absent token is left alone before the next request looks for it again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The same for a token that was re-initialised: its keys do not come back, unless the old token does.
const LOOK_AGAIN_REPLACED: Duration = Duration::from_secs(10);
/// How long another process takes to write what SoftHSM reads, with much to spare.
const TORN: Duration = Duration::from_millis(50);
/// After a login that failed for another reason than the PIN, the token has to go away and come back, or this long
/// to pass, before the PIN is given again.
const LOGIN_AGAIN: Duration = Duration::from_secs(30);
/// The same after the first such failure, when the token says that it counted no wrong PIN.
const LOGIN_SOON: Duration = Duration::from_secs(2);

/// What a request needs to know of the login.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) slot: Slot,
    /// Counts the logins: object handles and sessions of an earlier one are not used.
    pub(crate) epoch: u64,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    module: Arc<Module>,
    token: Token,
    /// Serial numbers of other tokens that had the same label when the vault was opened.
    siblings: Vec<String>,
    pin: PinSource,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    epoch: u64,
}

#[derive(Debug)]
enum Phase {
    Up(Login),
    /// A thread is connecting; the others wait for it.
    Busy,
    Down {
        fault: Fault,
        look_at: Instant,
        /// Until when the PIN is kept back, or was: after a login that failed.
        login_at: Option<Instant>,
    },
    /// The PIN was refused: never tried again.
    Refused(Fault),
}

#[derive(Debug)]
struct Login {
    access: Access,
    generation: u64,
    anchor: Session,
}

/// An error that is told more than once.
#[derive(Clone, Debug)]
struct Fault {
    kind: Kind,
    retry: Retry,
    message: String,
    hint: Option<String>,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { kind: error.kind(), retry: error.retry(), message: error.to_string(), hint }
    }
}

impl From<&Fault> for Error {
    fn from(fault: &Fault) -> Self {
        let error = Self::new(fault.kind, fault.message.clone()).with_retry(fault.retry);
        match &fault.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }
}

/// Why the connection is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The module was reset, by this vault or another on it: it is fresh.
    Reset,
    /// An absent token may be back.
    Return,
    /// A request met something that looks like an absent token.
    Suspicion,
    /// A request met something that looks like a lost login.
    LostLogin,
    /// Whatever is there must not be trusted.
    Distrust,
}

/// How connecting failed.
enum Failure {
    Absent(Error),
    Replaced(Error),
    /// For another reason than the PIN, and whether the token may have counted it as a wrong one.
    Login(Error, bool),
    Refused(Error),
}

impl Keeper {
    /// Connects for the first time.
    ///
    /// # Errors
    /// [`Kind::Denied`] for a wrong PIN; whatever the token answers.
    pub(crate) fn open(
        module: Arc<Module>,
        token: Token,
        siblings: Vec<String>,
        pin: PinSource,
        deadline: Instant,
    ) -> Result<Self> {
        let busy = Mutex::new(State { phase: Phase::Busy, epoch: 0 });
        let keeper = Self { module, token, siblings, pin, state: busy, changed: Condvar::new() };
        keeper.connect_and_tell(Reason::Reset, None, None, deadline)?;
        Ok(keeper)
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether the PIN is one that everybody knows. One that cannot be read now is not judged.
    pub(crate) fn has_well_known_pin(&self) -> bool {
        self.pin.with(|pin| pin.is_some_and(quirks::is_well_known)).unwrap_or(false)
    }

    /// Enters the module, logged in to the token.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] while the token is away, [`Kind::NotFound`] when it was re-initialised, [`Kind::Denied`] when
    /// the PIN was refused.
    pub(crate) fn access(&self, deadline: Instant) -> Result<(Pass, Access)> {
        loop {
            let mut state = self.lock();
            let (reason, old, login_at) = match &state.phase {
                Phase::Up(login) if login.generation == self.module.generation() => {
                    let (access, generation) = (login.access, login.generation);
                    drop(state);
                    let pass = self.module.enter(deadline)?;
                    if pass.generation() == generation {
                        return Ok((pass, access));
                    }
                    continue;
                }
                Phase::Up(_) => (Reason::Reset, None, None),
                Phase::Busy => {
                    drop(self.wait(state, deadline)?);
                    continue;
                }
                Phase::Down { fault, look_at, login_at } => {
                    let left = look_at.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        let error = Error::from(fault);
                        let waiting = matches!(error.retry(), Retry::After(_));
                        return Err(if waiting { error.with_retry(Retry::After(left)) } else { error });
                    }
                    (Reason::Return, None, *login_at)
                }
                Phase::Refused(fault) => return Err(fault.into()),
            };
            state.phase = Phase::Busy;
            drop(state);
            self.connect_and_tell(reason, old, login_at, deadline)?;
        }
    }

    /// Looks at the connection that a request had trouble with, and makes it anew if that is needed. Whoever calls this
    /// must hold no pass.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub(crate) fn cure(&self, remedy: Remedy, access: Access, deadline: Instant) -> Result<()> {
        let reason = match remedy {
            Remedy::None | Remedy::Resolve | Remedy::Reopen => return Ok(()),
            Remedy::Login => Reason::LostLogin,
            Remedy::Device => Reason::Suspicion,
            Remedy::Renew => Reason::Distrust,
        };
        if reason == Reason::Distrust && !self.module.may_reset() {
            return Err(Error::new(
                Kind::Unavailable,
                format!("token `{}` cannot be looked at afresh", self.token.label),
            ));
        }
        let mut state = self.lock();
        let old = match std::mem::replace(&mut state.phase, Phase::Busy) {
            Phase::Up(login) if login.access.epoch == access.epoch => login,
            // Somebody was faster.
            other => {
                state.phase = other;
                return Ok(());
            }
        };
        drop(state);
        self.connect_and_tell(reason, Some(old), None, deadline)
    }

    /// Connects and leaves the outcome for everybody. The phase is `Busy` and this thread made it so.
    fn connect_and_tell(
        &self,
        reason: Reason,
        old: Option<Login>,
        login_at: Option<Instant>,
        deadline: Instant,
    ) -> Result<()> {
        // A panic here would leave everybody waiting for this thread.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.connect(reason, old, login_at, deadline)));
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::Absent(away(&self.token.label))));
        let now = Instant::now();
        let down =
            |error: Error, wait, login_at| Phase::Down { fault: error.into(), look_at: now + wait, login_at };
        let mut state = self.lock();
        state.phase = match outcome {
            Ok(mut login) => {
                if login.access.epoch == 0 {
                    state.epoch += 1;
                    login.access.epoch = state.epoch;
                }
                Phase::Up(login)
            }
            Err(Failure::Absent(error)) => down(error, LOOK_AGAIN, None),
            Err(Failure::Replaced(error)) => down(error, LOOK_AGAIN_REPLACED, None),
            Err(Failure::Login(error, counted)) => {
                let pause = if counted || login_at.is_some() { LOGIN_AGAIN } else { LOGIN_SOON };
                // While the PIN is kept back nothing was tried, so the pause stays as it is.
                let login_at = login_at.filter(|at| *at > now).unwrap_or(now + pause);
                down(error, LOOK_AGAIN, Some(login_at))
            }
            Err(Failure::Refused(error)) => Phase::Refused(error.into()),
        };
        let result = match &state.phase {
            Phase::Down { fault, .. } | Phase::Refused(fault) => Err(fault.into()),
            _ => Ok(()),
        };
        drop(state);
        self.changed.notify_all();
        result
    }

    fn connect(
        &self,
        reason: Reason,
        old: Option<Login>,
        login_at: Option<Instant>,
        deadline: Instant,
    ) -> std::result::Result<Login, Failure> {
        let mut pass = match self.module.enter(deadline) {
            Ok(pass) => pass,
            // It stands still after a reset that failed.
            Err(_) => self.reset(self.module.generation(), deadline)?,
        };
        // What the module says is fresh when it was reset since the request that had trouble.
        let fresh =
            reason == Reason::Reset || old.as_ref().is_some_and(|old| old.generation != pass.generation());
        if let Some(old) = old.filter(|_| !fresh) {
            match reason {
                Reason::Distrust => {
                    let generation = pass.generation();
                    drop(pass);
                    // Where nothing could be reset, everything is as it was, doubts included.
                    if self.module.reset(generation, deadline).is_err()
                        && self.module.generation() == generation
                    {
                        return Ok(old);
                    }
                    pass = self.enter(deadline).map_err(Failure::Absent)?;
                }
                _ if !self.is_there(&pass, old.access.slot) => drop(old.anchor.close()),
                _ if is_logged_in(&old.anchor) => return Ok(old),
                _ => {
                    let _ = old.anchor.close();
                    return self.log_in(&pass, old.access.slot, login_at);
                }
            }
        }
        let mut tries = if reason == Reason::Return { 1_u32..2 } else { 1..3 };
        loop {
            let outcome = self.find(&pass).and_then(|slot| self.log_in(&pass, slot, login_at));
            match (outcome, tries.next()) {
                // A module may never see a token again that it lost sight of (quirks: sticky absence), and one that was
                // there a moment ago may just be changed by another process (quirks: torn reads).
                (Err(Failure::Absent(_)), Some(again)) => {
                    sleep(TORN * again.saturating_sub(1));
                    let generation = pass.generation();
                    drop(pass);
                    pass = match self.reset(generation, deadline) {
                        Ok(pass) => pass,
                        // Where it cannot be reset, another look is all there is.
                        Err(failure) => self.module.enter(deadline).map_err(|_| failure)?,
                    };
                }
                (outcome, _) => return outcome,
            }
        }
    }

    fn reset(&self, generation: u64, deadline: Instant) -> std::result::Result<Pass, Failure> {
        let absent = |error: Error| Failure::Absent(away(&self.token.label).with_source(error));
        self.module.reset(generation, deadline).map_err(absent)?;
        self.module.enter(deadline).map_err(absent)
    }

    /// Whether the token is in this slot, going by its serial number.
    fn is_there(&self, pass: &Pass, slot: Slot) -> bool {
        let _turn = pass.turn();
        pass.context().get_token_info(slot).is_ok_and(|info| self.is_ours(&info))
    }

    fn is_ours(&self, info: &TokenInfo) -> bool {
        info.token_initialized()
            && info.label() == self.token.label
            && info.serial_number() == self.token.serial
    }

    fn find(&self, pass: &Pass) -> std::result::Result<Slot, Failure> {
        let _turn = pass.turn();
        let slots = pass.context().get_slots_with_token();
        let slots =
            slots.map_err(|e| Failure::Absent(Trouble::from(e).into_error(&self.token.label, false)))?;
        let mut replaced_by = None;
        for slot in slots {
            // A slot that cannot be read is not the token, for now.
            let Ok(info) = pass.context().get_token_info(slot) else { continue };
            if self.is_ours(&info) {
                return Ok(slot);
            }
            let serial = info.serial_number().to_owned();
            if info.token_initialized()
                && info.label() == self.token.label
                && !quirks::is_torn(&info)
                && !self.siblings.contains(&serial)
            {
                replaced_by = Some(serial);
            }
        }
        let Token { label, serial } = &self.token;
        Err(match replaced_by {
            None => Failure::Absent(away(label)),
            Some(new) => Failure::Replaced(
                Error::new(
                    Kind::NotFound,
                    format!("token `{label}` was re-initialised: it had serial number `{serial}` and has `{new}` now"),
                )
                .with_hint("its keys are gone for good, and none is made anew by itself: rotate to new keys"),
            ),
        })
    }

    fn log_in(
        &self,
        pass: &Pass,
        slot: Slot,
        login_at: Option<Instant>,
    ) -> std::result::Result<Login, Failure> {
        let _turn = pass.turn();
        let label = &self.token.label;
        let failed = |error: LibraryError| Failure::Absent(Trouble::from(error).into_error(label, false));
        let info = pass.context().get_token_info(slot).map_err(failed)?;
        let anchor = open_session(pass, slot).map_err(failed)?;
        let login = |anchor| {
            let access = Access { slot, epoch: 0, since: Instant::now() };
            Ok(Login { access, generation: pass.generation(), anchor })
        };
        // Another vault of this process may hold the login already.
        if !info.login_required() || is_logged_in(&anchor) {
            return login(anchor);
        }
        match self.spend_the_pin(&info, &anchor, login_at) {
            Ok(()) => login(anchor),
            Err(failure) => {
                let _ = anchor.close();
                Err(match failure {
                    Failure::Login(error, _) => Failure::Login(error, counts_pins(pass, slot)),
                    other => other,
                })
            }
        }
    }

    fn spend_the_pin(
        &self,
        info: &TokenInfo,
        anchor: &Session,
        login_at: Option<Instant>,
    ) -> std::result::Result<(), Failure> {
        let label = &self.token.label;
        if info.user_pin_locked() || info.user_pin_final_try() {
            let state = if info.user_pin_locked() {
                "is locked"
            } else {
                "has one try left, which is not spent here"
            };
            return Err(Failure::Refused(
                Error::new(Kind::Denied, format!("the PIN of token `{label}` {state}"))
                    .with_hint("unlock it with the token's own tools, then open the vault again"),
            ));
        }
        if login_at.is_some_and(|at| at > Instant::now()) {
            let error = Error::new(Kind::Unavailable, format!("the last login to token `{label}` failed"));
            let error = error.with_hint("the PIN is not given again so soon: check the token");
            return Err(Failure::Login(error, true));
        }
        let answer = self.pin.with(|pin| {
            let pin = RawAuthPin::new(Box::new(pin.unwrap_or_default().to_vec()));
            anchor.login_with_raw(UserType::User, &pin)
        });
        match answer.map_err(Failure::Absent)? {
            Ok(()) | Err(LibraryError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let trouble = Trouble::from(error);
                let unheard = trouble.is_before_the_pin();
                let error = trouble.into_error(label, false);
                if unheard {
                    return Err(Failure::Absent(error));
                }
                if error.kind() != Kind::Denied {
                    return Err(Failure::Login(error, true));
                }
                Err(Failure::Refused(
                    Error::new(Kind::Denied, format!("token `{label}` refused the PIN"))
                        .with_hint("it is not tried again: correct it, then open the vault anew")
                        .with_source(error),
                ))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> Result<MutexGuard<'a, State>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(
                Kind::Unavailable,
                format!("token `{}` does not answer", self.token.label),
            ));
        }
        Ok(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Enters the module whatever the state of the login is.
    ///
    /// # Errors
    /// As [`Module::enter`].
    pub(crate) fn enter(&self, deadline: Instant) -> Result<Pass> {
        self.module.enter(deadline)
    }
}

impl Drop for Keeper {
    /// Closes the anchor: the last session of the process on a token ends its login.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Up(login) = std::mem::replace(&mut state.phase, Phase::Busy)
            && let Ok(pass) = self.module.enter(Instant::now())
            && pass.generation() == login.generation
        {
            let _ = login.anchor.close();
        }
    }
}

/// Opens a session that is closed by hand: after a reset its number may belong to somebody else's.
pub(crate) fn open_session(pass: &Pass, slot: Slot) -> std::result::Result<Session, LibraryError> {
    match pass.context().open_rw_session_no_drop(slot) {
        Err(LibraryError::Pkcs11(RvError::TokenWriteProtected, _)) => {
            pass.context().open_ro_session_no_drop(slot)
        }
        other => other,
    }
}

/// Whether the token may have counted a wrong PIN since the last right one.
fn counts_pins(pass: &Pass, slot: Slot) -> bool {
    let untouched =
        |info: TokenInfo| !info.user_pin_count_low() && !info.user_pin_final_try() && !info.user_pin_locked();
    !pass.context().get_token_info(slot).is_ok_and(untouched)
}

/// Whether the user is logged in, as this session sees it.
pub(crate) fn is_logged_in(session: &Session) -> bool {
    let user = |state| matches!(state, SessionState::RwUser | SessionState::RoUser);
    session.get_session_info().is_ok_and(|info| user(info.session_state()))
}
