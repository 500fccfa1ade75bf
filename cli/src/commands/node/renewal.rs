//! The credential that a node presents is fetched anew before it ends, as `project enroll` does it, and presented anew in the
//! channels that are open.

use std::convert::Infallible;
use std::time::Duration;

use clap::Parser as _;
use home::{Home, Name, NodeRecord};
use identity::{Clock as _, SystemClock, Timestamp};

use super::plan;
use super::service::Service;
use crate::args::{Cli, Noun};
use crate::commands::project;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;

/// How often it is looked whether there is a credential, or a new one.
const LOOK: Duration = Duration::from_secs(5);
/// When it is fetched: with this part of its life left.
const PART_LEFT: u64 = 4;

/// Runs beside a node until that ends.
pub(super) async fn run(
    context: &Context,
    service: &Service,
    identity: &Name,
    record: &NodeRecord,
) -> Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let home = service.home();
        let (Some(project), Ok(Some(due))) = (project_of(home, record), due(home, identity, record)) else {
            continue;
        };
        if SystemClock.now() < due {
            continue;
        }
        let (apart, name) = (context.apart(), identity.clone());
        let fetched = tokio::task::spawn_blocking(move || fetch(&apart, &project, &name)).await;
        match fetched {
            Ok(Ok(())) => {
                tracing::info!(%identity, "the credential is renewed");
                service.present_anew().await;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, hint = error.hint(), "the credential could not be renewed")
            }
            Err(error) => tracing::error!(%error, "the renewal failed"),
        }
    }
}

/// The project whose authority is asked; nobody is where only its history is known.
fn project_of(home: &Home, record: &NodeRecord) -> Option<String> {
    if record.authority.is_some() {
        return None;
    }
    record.project.clone().or_else(|| home.defaults().ok()?.project)
}

/// When the stored credential that is good for longest has to be fetched anew; never where there is none.
fn due(home: &Home, identity: &Name, record: &NodeRecord) -> Result<Option<Timestamp>> {
    let Some(issuer) = plan::issuer(home, record)? else { return Ok(None) };
    let subject = home.identity(identity)?.identifier();
    let mut due = None;
    for stored in home.credentials()? {
        let wanted = stored.subject == subject
            && stored.issuer == issuer
            && record.credential_scope.as_ref().is_none_or(|scope| stored.scope == *scope);
        if wanted {
            let credential = stored.credential()?;
            let (made, ends) = (credential.created_at(), credential.expires_at());
            let at = Timestamp(ends.0.saturating_sub(ends.since(made) / PART_LEFT));
            due = due.max(Some(at));
        }
    }
    Ok(due)
}

/// As who types it.
fn fetch(context: &Context, project: &str, identity: &Name) -> Result<()> {
    let line = ["ockam-kms", "project", "enroll", "--project", project, "--identity", identity.as_str()];
    match Cli::try_parse_from(line).map(|cli| cli.noun) {
        Ok(Noun::Project(verb)) => project::run(context, verb).map(drop),
        _ => Err(Error::new(Kind::Internal, "the credential's command is none")),
    }
}
