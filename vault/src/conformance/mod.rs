//! The suite that every backend runs: does a vault do what its capabilities say, no more and no less, and does it refuse
//! what it should?
//!
//! It runs against a vault that is open and may hold other keys; it leaves none of its own. It panics where a vault fails,
//! and otherwise reports what ran and what was skipped, and why, so that a backend that quietly loses an ability
//! changes a golden file. Results are checked with the primitive crates directly, not with this crate's own verifier.
//!
//! For tests only: turn on the feature `conformance`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite for tests: a failed check panics"
)]

mod custody;
mod usage;

use std::fmt;
use std::sync::Arc;

use crate::{
    Agreement, AgreementFacet, Algorithm, Custody, KeyHandle, KeyName, KeySpec, Kind, Presence, Protection,
    Purpose, PurposeKind, Sealing, SealingFacet, Signing, SigningFacet, Vault,
};

/// How many callers use a vault at the same time.
const CALLERS: usize = 64;

/// What ran and what did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    scheme: &'static str,
    lines: Vec<Line>,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    algorithm: Algorithm,
    check: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Ran(String),
    Skipped(&'static str),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance of {}", self.scheme)?;
        for Line { algorithm, check, outcome } in &self.lines {
            match outcome {
                Outcome::Ran(what) => writeln!(f, "{:<10}  {check:<12}  ran      {what}", algorithm.name())?,
                Outcome::Skipped(why) => {
                    writeln!(f, "{:<10}  {check:<12}  skipped  {why}", algorithm.name())?
                }
            }
        }
        Ok(())
    }
}

impl Report {
    fn ran(&mut self, algorithm: Algorithm, check: &'static str, what: impl Into<String>) {
        self.lines.push(Line { algorithm, check, outcome: Outcome::Ran(what.into()) });
    }

    fn skipped(&mut self, algorithm: Algorithm, check: &'static str, why: &'static str) {
        self.lines.push(Line { algorithm, check, outcome: Outcome::Skipped(why) });
    }
}

/// Runs the suite.
///
/// # Panics
/// When the vault fails a check; the message says which.
pub async fn run(vault: Arc<dyn Vault>) -> Report {
    let mut report = Report { scheme: vault.scheme().name(), lines: Vec::new() };
    let before = custody::listed(&*vault).await;
    for algorithm in Algorithm::ALL {
        let Some(line) = vault.capabilities().get(algorithm) else {
            refused(&*vault, algorithm).await;
            report.skipped(algorithm, "capability", "not listed, and refused");
            continue;
        };
        let protection = match line.protection {
            Protection::Software => "software",
            Protection::Hardware => "hardware",
        };
        let presence = match line.presence {
            Presence::None => "nobody has to be there",
            Presence::Pin => "a PIN when it is opened",
            Presence::Touch => "a touch for each use",
        };
        let note = if line.note.is_empty() { String::new() } else { format!("; {}", line.note) };
        report.ran(algorithm, "capability", format!("{protection}, {presence}{note}"));
        match algorithm.purpose() {
            PurposeKind::Signing => one::<Signing>(&vault, algorithm, &mut report).await,
            PurposeKind::Agreement => one::<Agreement>(&vault, algorithm, &mut report).await,
            PurposeKind::Sealing => one::<Sealing>(&vault, algorithm, &mut report).await,
        }
    }
    assert_eq!(
        custody::listed(&*vault).await,
        before,
        "the suite's keys are gone and the others are all there"
    );
    report
}

/// Everything for one algorithm.
async fn one<P: Conform>(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) {
    custody::generate::<P>(&**vault, algorithm, report).await;
    custody::open::<P>(&**vault, algorithm, report).await;
    custody::names::<P>(&**vault, algorithm, report).await;
    custody::list::<P>(&**vault, algorithm, report).await;
    custody::strangers::<P>(&**vault, algorithm, report).await;
    P::uses(vault, algorithm, report).await;
    custody::race::<P>(vault, algorithm, report);
    custody::destroy::<P>(&**vault, algorithm, report).await;
    custody::discard::<P>(&**vault, algorithm, report).await;
}

/// An algorithm that is not listed is refused, by having no facet or in so many words.
async fn refused(vault: &dyn Vault, algorithm: Algorithm) {
    async fn by<P: Conform>(vault: &dyn Vault, algorithm: Algorithm) {
        if let Some(facet) = P::custody(vault) {
            let spec = KeySpec::<P>::new(name("refused", algorithm), algorithm).unwrap();
            let error = facet.generate(&spec).await.expect_err("an algorithm that is not listed is refused");
            assert_eq!(error.kind(), Kind::Unsupported, "{algorithm}: {error}");
        }
    }
    match algorithm.purpose() {
        PurposeKind::Signing => by::<Signing>(vault, algorithm).await,
        PurposeKind::Agreement => by::<Agreement>(vault, algorithm).await,
        PurposeKind::Sealing => by::<Sealing>(vault, algorithm).await,
    }
}

fn name(check: &str, algorithm: Algorithm) -> KeyName {
    KeyName::new(&format!("conformance-{check}-{algorithm}")).unwrap()
}

/// A key of the suite.
async fn key<P: Conform>(vault: &dyn Vault, check: &str, algorithm: Algorithm) -> KeyHandle<P> {
    let spec = KeySpec::<P>::new(name(check, algorithm), algorithm).unwrap();
    let key = P::facet(vault, algorithm).generate(&spec).await;
    key.unwrap_or_else(|e| panic!("{algorithm} is among the capabilities, but {check}: {e} ({e:?})"))
}

/// The purposes, with the facet that keeps their keys and the checks of what they are for.
trait Conform: Purpose {
    /// The custody of the facet, if the vault has it.
    fn custody(vault: &dyn Vault) -> Option<&dyn Custody<Self>>;

    /// The custody of a facet that has to be there.
    fn facet(vault: &dyn Vault, algorithm: Algorithm) -> &dyn Custody<Self> {
        Self::custody(vault)
            .unwrap_or_else(|| panic!("{algorithm} is among the capabilities, but its facet is missing"))
    }

    /// The public half.
    fn public_of(key: &KeyHandle<Self>) -> Self::Public;

    /// Uses a key once; `Err` holds what the vault said.
    fn use_once(vault: &dyn Vault, key: &KeyHandle<Self>) -> impl Future<Output = crate::Result<()>> + Send;

    /// Uses a key in every way.
    fn uses(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) -> impl Future<Output = ()>;
}

fn signing(vault: &dyn Vault) -> &dyn SigningFacet {
    vault.signing().expect("signing keys need a signing facet")
}

fn agreement(vault: &dyn Vault) -> &dyn AgreementFacet {
    vault.agreement().expect("agreement keys need an agreement facet")
}

fn sealing(vault: &dyn Vault) -> &dyn SealingFacet {
    vault.sealing().expect("sealing keys need a sealing facet")
}
