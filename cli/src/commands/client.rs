//! Asking an authority in the name of an identity.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::client::{Ask, ChannelClient, Client, Endpoint};
use home::{Home, Name, ProjectRecord};
use identity::{Identity, IssuerBundle, PurposeKeyAttestation, Relation, SystemClock};
use vault::Agreer;

use crate::args::project::At;
use crate::context::{Context, optional_name};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::interrupt;
use crate::secret_input::{file_text, text};

/// Where an authority is, and the history that pins it.
pub(crate) struct Place {
    pub(crate) route: String,
    /// The latest history that is known here of the authority that was pinned.
    pub(crate) authority: Identity,
    /// Whom alone to believe about the authority's TLS certificate, as PEM; those that the system trusts when it is nobody.
    pub(crate) ca: Option<String>,
    /// The stored project, when it was found through one.
    pub(crate) project: Option<ProjectRecord>,
    /// How long an answer is waited for; as long as clients do when nothing was said.
    wait: Option<Duration>,
}

impl Place {
    /// From a stored project, or from a route and a history where none is stored.
    pub(crate) fn find(
        home: &Home,
        project: Option<&str>,
        route: Option<&str>,
        identity: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Self> {
        match (route, identity) {
            (Some(route), Some(identity)) => {
                let pinned = Identity::import_hex(&text(identity, "change history")?)?;
                Self::new(home, route, pinned, None, ca)
            }
            _ => {
                let project = home.project_or_default(project)?;
                Self::of_project(home, project, ca)
            }
        }
    }

    pub(crate) fn of_project(home: &Home, project: ProjectRecord, ca: Option<&Path>) -> Result<Self> {
        let pinned = Identity::import_hex(&project.authority_change_history).map_err(|e| {
            Error::new(Kind::Corrupt, format!("the stored project `{}` breaks its own rules", project.name))
                .with_source(e)
        })?;
        let route = project.authority_route.clone();
        Self::new(home, &route, pinned, Some(project), ca)
    }

    fn new(
        home: &Home,
        route: &str,
        pinned: Identity,
        mut project: Option<ProjectRecord>,
        ca: Option<&Path>,
    ) -> Result<Self> {
        let known = home.known_identity(&pinned.identifier())?;
        if home.conflict(&pinned.identifier())?.is_some() {
            return Err(Error::new(
                Kind::Rejected,
                format!(
                    "two histories of the authority `{}` that contradict each other were shown",
                    pinned.identifier()
                ),
            )
            .with_hint(home::decide_hint(&pinned.identifier())));
        }
        let authority = match known {
            Some(known) => match known.compared_to(&pinned) {
                Relation::Newer | Relation::Equal => known,
                Relation::Older => pinned,
                Relation::Conflict => {
                    return Err(Error::new(
                        Kind::Rejected,
                        "the authority's history contradicts the one that is known here",
                    )
                    .with_hint("one of its keys may have been stolen: ask its operator"));
                }
            },
            None => pinned,
        };
        let ca = match ca {
            Some(path) => Some(file_text(path, "certificate")?.to_string()),
            None => project.as_ref().and_then(|project| project.authority_ca.clone()),
        };
        if let Some(project) = &mut project {
            project.authority_ca.clone_from(&ca);
        }
        Ok(Self { route: route.to_owned(), authority, ca, project, wait: None })
    }

    /// The same, for somebody who said how long to wait.
    pub(crate) fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// Remembers what the authority showed: nothing older is taken from now on.
    pub(crate) fn remember(&self, context: &Context, issuer: &IssuerBundle) -> Result<()> {
        let home = context.home()?;
        let shown = issuer.identity();
        let known = home.known_identity(&shown.identifier())?;
        if known.is_some_and(|known| known.as_bytes() == shown.as_bytes()) {
            return Ok(());
        }
        let writer = context.writer()?;
        Ok(home.remember(&writer, shown, context.now())?)
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let endpoint = match &self.ca {
            Some(ca) => Endpoint::trusting(&self.route, ca.as_bytes())?,
            None => Endpoint::new(&self.route)?,
        };
        Ok(match self.wait {
            Some(wait) => endpoint.waiting(wait),
            None => endpoint,
        })
    }

    /// Whether it answers in secure channels, and not over HTTP.
    pub(crate) fn is_by_channel(&self) -> bool {
        self.route.starts_with('/')
    }

    /// A client for this authority, asking as `identity`.
    pub(crate) fn client(&self, context: &Context, identity: &Name) -> Result<Box<dyn Ask>> {
        let home = context.home()?;
        let record = home.identity(identity)?;
        let clock = context.clock();
        let known = IssuerBundle::history_only(self.authority.clone());
        let (authority, own) = (self.authority.identifier(), record.identity()?);
        // The key that is asked with may be a new one.
        let _whole = interrupt::hold();
        if self.is_by_channel() {
            let (key, attestation) = channel_key(context, identity)?;
            let client =
                ChannelClient::new(&self.route, authority, own, (key, &attestation), Arc::new(SystemClock))?;
            let client = match self.wait {
                Some(wait) => client.waiting(wait),
                None => client,
            };
            return Ok(Box::new(client.knowing(known)?));
        }
        let (signer, attestation) = vault::block_on(home.request_key(context.vaults()?, &record, &clock))?;
        let client =
            Client::new(self.endpoint()?, authority, own, signer, &attestation, Arc::new(SystemClock))?;
        Ok(Box::new(client.knowing(known)?))
    }
}

/// How long before its end an attestation of a channel key is renewed, in seconds.
const RENEW_AHEAD: u64 = 30 * 86_400;

/// The channel key of an identity, made on first use.
fn channel_key(context: &Context, name: &Name) -> Result<(Agreer, PurposeKeyAttestation)> {
    let (home, vaults, clock) = (context.home()?, context.vaults()?, context.clock());
    let good_until = context.now().after(RENEW_AHEAD);
    let record = home.identity(name)?;
    if let Some(found) = vault::block_on(home.channel_key(vaults, &record, good_until, context.now()))? {
        return Ok(found);
    }
    let writer = context.writer()?;
    Ok(vault::block_on(home.ensure_channel_key(&writer, vaults, name, good_until, &clock))?)
}

/// Somebody who asks, and whom.
pub(crate) struct Asking {
    pub(crate) place: Place,
    pub(crate) client: Box<dyn Ask>,
}

impl Asking {
    pub(crate) fn new(context: &Context, at: &At) -> Result<Self> {
        let home = context.read()?;
        let place = Place::find(
            home,
            at.project.as_deref(),
            at.authority_route.as_deref(),
            at.authority_identity.as_deref(),
            at.authority_ca.as_deref(),
        )?;
        let (name, _) =
            home.identity_or_default(optional_name("an identity", at.identity.as_deref())?.as_ref())?;
        let client = place.client(context, &name)?;
        Ok(Self { place, client })
    }

    /// The project's name, for what is told.
    pub(crate) fn project(&self) -> Option<&str> {
        self.place.project.as_ref().map(|project| project.name.as_str())
    }
}
