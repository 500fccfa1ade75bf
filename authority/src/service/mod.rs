//! What an authority does, without a transport: every method takes a [`Caller`] whom the transport authenticated, passes the
//! gate of [`authz`](crate::authz), and answers with what was asked for or a [`Problem`].

mod caller;
mod credential;
mod member;
mod operator;
mod readiness;
mod ticket;
mod time;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use identity::{Clock, Identifier, Identity, IssuerBundle, Timestamp, check_attribute};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use caller::Caller;
pub use operator::Operator;
use readiness::Probes;
pub use time::{accept_clock, clock_is_behind};

use crate::audit::AuditHead;
use crate::authz::{Action, Actor, Allowed, Rules, authorise};
use crate::enrolment::EnrolmentPolicy;
use crate::error::{Error, Kind, Result};
use crate::issuer::IssuerKeys;
use crate::member::MemberAttributes;
use crate::metrics::Metrics;
use crate::once::Turns;
use crate::problem::Problem;
use crate::store::{Applied, Command, Operation, Store, View, query};
use time::Time;

/// The result of a request.
pub type Answer<T> = std::result::Result<T, Problem>;

/// How long credentials are good by default, in seconds.
pub const DEFAULT_CREDENTIAL_SECONDS: u64 = 3600;
/// The longest that credentials may be good, in seconds: as the reference's are by default.
pub const MAX_CREDENTIAL_SECONDS: u64 = 30 * 86_400;
/// The most credentials that are being signed at a time. Whoever comes then is told to come again, before anything of it
/// is stored.
pub const MAX_AT_THE_VAULT: usize = 256;
/// The attribute that names the project a credential is for.
pub const PROJECT_ATTRIBUTE: &str = "trust_context_id";

/// How an authority is to behave. Fixed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The project's identifier: every credential says it, as `trust_context_id`.
    pub project: String,
    /// Whether credentials say it.
    pub say_project: bool,
    /// How long credentials are good, in seconds.
    pub credential_seconds: u64,
    /// How admins are told from enrollers.
    pub rules: Rules,
    /// What a member has to be, beyond holding a ticket.
    pub enrolment: Option<EnrolmentPolicy>,
    /// Members that are put in place at start. They cannot be deleted by a request; those of an earlier start that are no
    /// longer here are removed.
    pub pre_trusted: BTreeMap<Identifier, MemberAttributes>,
}

impl Settings {
    /// The defaults, for this project.
    #[must_use]
    pub fn new(project: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            say_project: true,
            credential_seconds: DEFAULT_CREDENTIAL_SECONDS,
            rules: Rules::default(),
            enrolment: None,
            pre_trusted: BTreeMap::new(),
        }
    }

    fn check(&self) -> Result<()> {
        if self.say_project {
            check_attribute(PROJECT_ATTRIBUTE, &self.project)?;
        }
        if self.project.is_empty() {
            return Err(Error::new(Kind::Invalid, "the project identifier is empty"));
        }
        if !(1..=MAX_CREDENTIAL_SECONDS).contains(&self.credential_seconds) {
            return Err(Error::new(
                Kind::Invalid,
                format!("credentials cannot be good for {} seconds", self.credential_seconds),
            )
            .with_hint(format!("choose 1 to {MAX_CREDENTIAL_SECONDS} seconds")));
        }
        Ok(())
    }
}

/// How an authority is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The authority.
    pub authority: Identifier,
    /// How many changes its history has.
    pub changes: usize,
    /// The project.
    pub project: String,
    /// Which kind of store it has.
    pub store: String,
    /// How long credentials are good, in seconds.
    pub credential_seconds: u64,
    /// The last second that a credential by the present key can reach.
    pub credential_key_expires_at: Timestamp,
    /// Whether that key has to be renewed.
    pub needs_renewal: bool,
    /// Whether the machine's clock is believed: nothing is issued while it is not.
    pub clock_trusted: bool,
    /// Whether it stopped issuing because the vault no longer holds the key that was recorded.
    pub halted: bool,
    /// Where the audit log stands.
    pub audit: AuditHead,
}

/// A credential authority. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    issuer: RwLock<Arc<IssuerKeys>>,
    settings: Settings,
    rules: Arc<Rules>,
    time: Time,
    halted: AtomicBool,
    turns: Turns,
    probes: Probes,
    metrics: Metrics,
    /// Who may be at the vault at a time.
    at_the_vault: Arc<Semaphore>,
    // Histories that were verified, so that a request of somebody known costs no verifying of their history.
    verified: Mutex<HashMap<Identifier, Identity>>,
}

impl Authority {
    /// Puts an authority together, and the pre-trusted members in place.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for settings that make no sense, or a store of another authority; else when the store fails.
    pub async fn open(
        store: Arc<dyn Store>,
        issuer: IssuerKeys,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        settings.check()?;
        if store.authority() != issuer.identifier() {
            return Err(Error::new(
                Kind::Invalid,
                format!("the store belongs to the authority {}", store.authority()),
            )
            .with_hint("give each authority a store of its own"));
        }
        let time = Time::new(clock, query::newest(store.view()?)?);
        let metrics = Metrics::new(store.metrics().0);
        let authority = Self(Arc::new(Inner {
            store,
            issuer: RwLock::new(Arc::new(issuer)),
            rules: Arc::new(settings.rules.clone()),
            settings,
            time,
            halted: AtomicBool::new(false),
            turns: Turns::default(),
            probes: Probes::default(),
            metrics,
            at_the_vault: Arc::new(Semaphore::new(MAX_AT_THE_VAULT)),
            verified: Mutex::default(),
        }));
        let members = authority.0.settings.pre_trusted.clone();
        let loaded = authority.execute(Actor::Operator, Operation::LoadPreTrusted(members)).await;
        loaded.map_err(|problem| {
            Error::new(Kind::Unavailable, "the store did not take the pre-trusted members")
                .with_source(problem)
        })?;
        Ok(authority)
    }

    /// The authority's identifier.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.issuer().identifier()
    }

    /// The authority's identity, as it is now. Public.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.issuer().identity().clone()
    }

    /// What verifiers need of the authority, as it is now. Public.
    #[must_use]
    pub fn issuer_bundle(&self) -> IssuerBundle {
        self.issuer().bundle().clone()
    }

    /// What time it is here: what the clock says, and never less than before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.time.now()
    }

    /// Whether the clock is believed. While it is not, nothing is issued, no ticket is made or taken, and no request can be
    /// told from a repeated one.
    #[must_use]
    pub fn trusts_clock(&self) -> bool {
        self.0.time.is_trusted()
    }

    /// How it behaves.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Whether the credential key nears its end: then attest it (or another) anew, and
    /// [`replace_issuer`](Self::replace_issuer).
    #[must_use]
    pub fn needs_renewal(&self) -> bool {
        self.issuer().needs_renewal(self.now(), self.0.settings.credential_seconds)
    }

    /// Whether it can serve: the store takes writes, and issuing has not been halted.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when it cannot.
    pub fn ready(&self) -> Answer<()> {
        if self.0.halted.load(Ordering::SeqCst) {
            return Err(Problem::unavailable());
        }
        self.0.store.view()?;
        Ok(())
    }

    /// How it is doing.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for whoever is no enroller.
    pub async fn status(&self, caller: &Caller) -> Answer<Status> {
        let allowed = self.gate(caller.actor(), Action::ReadStatus).await?;
        self.status_of(allowed)
    }

    fn status_of(&self, allowed: Allowed<'_>) -> Answer<Status> {
        let issuer = self.issuer();
        Ok(Status {
            authority: issuer.identifier(),
            changes: issuer.identity().len(),
            project: self.0.settings.project.clone(),
            store: self.0.store.kind().to_owned(),
            credential_seconds: self.0.settings.credential_seconds,
            credential_key_expires_at: issuer.expires_at(),
            needs_renewal: self.needs_renewal(),
            clock_trusted: self.trusts_clock(),
            halted: self.0.halted.load(Ordering::SeqCst),
            audit: query::audit_head(self.view(allowed)?)?,
        })
    }

    fn issuer(&self) -> Arc<IssuerKeys> {
        Arc::clone(&self.0.issuer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Passes the gate in order to read. A refusal is recorded.
    async fn gate<'a>(&self, actor: &'a Actor, action: Action) -> Answer<Allowed<'a>> {
        let refused = match authorise(self.0.store.view()?, &self.0.rules, actor, action) {
            Ok(allowed) => return Ok(allowed),
            Err(problem) => problem,
        };
        if !refused.is_fault() {
            self.execute(*actor, Operation::Refused(action, refused.code())).await?;
        }
        Err(refused)
    }

    /// The state, for whoever passed the gate.
    fn view(&self, _: Allowed<'_>) -> Answer<&dyn View> {
        Ok(self.0.store.view()?)
    }

    async fn execute(&self, actor: Actor, operation: Operation) -> Answer<Applied> {
        if operation.hangs_on_time() {
            self.0.time.check()?;
        }
        let command = Command { actor, at: self.now(), rules: Arc::clone(&self.0.rules), operation };
        self.0.store.execute(command).await
    }
}

/// The authority's time: what it judges by, whoever is judged.
impl Clock for Authority {
    fn now(&self) -> Timestamp {
        self.0.time.now()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("identifier", &self.identifier())
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
