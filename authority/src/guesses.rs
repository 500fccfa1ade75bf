//! Whoever guesses, whichever door they come through: failures of a machine and of an identity are counted once for all doors
//! that share a [`Guesses`].

use std::fmt;
use std::sync::Arc;

use identity::Identifier;
use node::Source;

use crate::attempts::{Attempt, Limiter};
use crate::problem::Problem;
use crate::service::{Answer, Authority, Caller};
use crate::ticket::Code;

/// How many requests that fail to prove their sender, and how many wrong tickets, are taken from one machine in a minute by
/// default; and as many wrong tickets from one identity.
pub const FAILURES_A_MINUTE: u32 = 10;

/// Failures of late. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Guesses(Arc<Inner>);

struct Inner {
    limit_loopback: bool,
    sources: Limiter<Source>,
    subjects: Limiter<Identifier>,
}

impl Guesses {
    /// So many failures are allowed in a minute, of a machine and of an identity. This machine itself is counted only when it
    /// is said: behind a proxy all clients come from it, and one of them could lock the others out.
    #[must_use]
    pub fn new(failures_a_minute: u32, limit_loopback: bool) -> Self {
        let (sources, subjects) = (Limiter::new(failures_a_minute), Limiter::new(failures_a_minute));
        Self(Arc::new(Inner { limit_loopback, sources, subjects }))
    }

    /// Refuses a machine that failed too often of late, before anything is done for it.
    pub(crate) fn check(&self, source: Source) -> Result<(), Problem> {
        if self.is_exempt(source) { Ok(()) } else { self.0.sources.check(&source) }
    }

    /// Begins an attempt of a machine to prove who sends.
    pub(crate) async fn begin(&self, source: Source) -> Result<Option<Attempt<'_, Source>>, Problem> {
        if self.is_exempt(source) {
            return Ok(None);
        }
        self.0.sources.begin(source).await.map(Some)
    }

    /// Makes the caller a member by the code of a ticket ([`Authority::enrol_showing`]), unless they or the machine that they
    /// come from guessed wrong too often of late. Of a machine that is not known nothing is counted, and of the caller then
    /// in any case.
    ///
    /// # Errors
    /// [`Problem::RateLimited`]; else as there.
    pub(crate) async fn enrol(
        &self,
        authority: &Authority,
        (caller, source): (&Caller, Option<Source>),
        code: &Code,
        shown: Option<&[u8]>,
    ) -> Answer<()> {
        let guess = self.guess(source, caller).await?;
        let enrolled = authority.enrol_showing(caller, code, shown).await;
        if !matches!(enrolled, Err(Problem::Forbidden(_))) {
            guess.went_well();
        }
        enrolled
    }

    async fn guess(&self, source: Option<Source>, caller: &Caller) -> Result<Guess<'_>, Problem> {
        let subject = self.0.subjects.begin(caller.identifier()).await?;
        let Some(source) = source.filter(|source| !self.is_exempt(*source)) else {
            return Ok(Guess { source: None, subject });
        };
        match self.0.sources.begin(source).await {
            Ok(source) => Ok(Guess { source: Some(source), subject }),
            // Not tried, so not wrong.
            Err(refused) => {
                subject.went_well();
                Err(refused)
            }
        }
    }

    fn is_exempt(&self, source: Source) -> bool {
        source.is_loopback() && !self.0.limit_loopback
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self::new(FAILURES_A_MINUTE, false)
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guesses").field("limit_loopback", &self.0.limit_loopback).finish_non_exhaustive()
    }
}

/// A guess at a ticket, counted for the machine it came from and for whoever made it. It was wrong unless it is said that it
/// was not.
#[derive(Debug)]
struct Guess<'a> {
    source: Option<Attempt<'a, Source>>,
    subject: Attempt<'a, Identifier>,
}

impl Guess<'_> {
    fn went_well(self) {
        if let Some(source) = self.source {
            source.went_well();
        }
        self.subject.went_well();
    }
}
