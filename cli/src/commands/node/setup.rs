//! What `node create` is told beside its options: by a configuration, and by an enrolment ticket. What is said by options
//! goes before what the configuration says.

use std::collections::BTreeMap;
use std::path::Path;

use authority::ticket::TicketText;
use home::{Home, Name, NewKey};
use node::multiaddr::{MultiAddr, Part};
use policy_lang::Policy;

use super::ask::authorized;
use super::configuration::{Configuration, Variables};
use super::plan::{Plan, Said};
use super::project::ProjectNode;
use crate::args::node::Create;
use crate::commands::authority::ensure_vault;
use crate::commands::project;
use crate::context::{Context, name};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::secret_input::text;

/// A node that is about to be made.
pub(super) struct Setup {
    pub(super) create: Create,
    ticket: Option<TicketText>,
    said: Said,
}

impl Setup {
    /// Reads what there is to read. Nothing is changed yet.
    pub(super) fn read(mut create: Create) -> Result<Self> {
        let positional = create.name.as_deref().map(configuration_in).transpose()?.unwrap_or(false);
        if positional && create.configuration.is_some() {
            return Err(Error::usage("two configurations are given")
                .with_hint("give one, and the name of the node under `name`"));
        }
        let configuration = if positional { create.name.take() } else { create.configuration.take() };
        let mut read = match configuration {
            Some(given) => configured(&given, &create.variables)?,
            None if create.variables.is_empty() => Configuration::default(),
            None => {
                return Err(Error::usage("--variable is of a configuration, and none is given")
                    .with_hint("name it: ockam-kms node create ./node.yaml"));
            }
        };
        let ticket = create.enrollment_ticket.take().map(Into::into).or(read.ticket.take());
        let ticket = ticket.filter(|given: &zeroize::Zeroizing<String>| !given.is_empty());
        let ticket = ticket.map(|given| Ok(TicketText::parse(&text(&given, "ticket")?)?));
        let ticket: Option<TicketText> = ticket.transpose().map_err(|e: Error| e)?;
        create.name = create.name.or(read.name);
        create.identity = create.identity.or(read.identity);
        create.tcp_listener_address = create.tcp_listener_address.or(read.tcp_listener_address);
        if !create.no_status_endpoint {
            create.status_endpoint = create.status_endpoint.or(read.status_endpoint);
        }
        create.foreground |= read.foreground;
        create.exit_on_eof |= read.exit_on_eof;
        let trust = &mut create.trust;
        if trust.project.is_none() && trust.authority_identity.is_none() {
            (trust.project, trust.authority_identity) = (read.project, read.authority_identity);
        }
        trust.credential_scope = trust.credential_scope.take().or(read.credential_scope);
        if trust.project.is_some() && trust.authority_identity.is_some() {
            return Err(Error::usage("both a project and an authority are named")
                .with_hint("give one of `project` and `authority-identity`"));
        }
        if create.exit_on_eof && !create.foreground {
            return Err(Error::usage("--exit-on-eof is of a node in the foreground")
                .with_hint("add --foreground: in the background there is no input that could end"));
        }
        if let Some(ticket) = &ticket {
            let trust = &mut create.trust;
            let same = |named: &String| *named == ticket.project_identifier || *named == ticket.project_name;
            if trust.authority_identity.is_some() || !trust.project.as_ref().is_none_or(same) {
                return Err(Error::usage(format!(
                    "the ticket is of the project `{}`, and another one is named",
                    shown(&ticket.project_identifier)
                ))
                .with_hint("leave the project and the authority out: the ticket names both"));
            }
            trust.project = None;
        }
        let said = Said { policies: read.policies, relays: read.relays };
        Ok(Self { create, ticket, said })
    }

    /// Makes the plan of it. With a ticket the node's identity is a member after that, and is made where it is not there.
    pub(super) fn plan(self, context: &Context) -> Result<Plan> {
        let Self { create, ticket, mut said } = self;
        let home = context.home()?;
        for (to, text) in &said.policies {
            Policy::parse(text).map_err(|e| {
                Error::invalid(format!("the policy for `{}` is refused: {e}", shown(to)))
                    .with_hint("`ockam-kms policy check` shows where")
            })?;
        }
        if let (Some(ticket), Some(given)) = (&ticket, &create.identity) {
            make_identity(context, &name("an identity", given)?, &ticket.project_identifier)?;
        }
        let mut plan = Plan::new(context, &create)?;
        if let Some(ticket) = ticket {
            // A ticket is not spent for a node that cannot be started.
            if home.servers()?.iter().any(|(name, _, running)| *running && *name == plan.name) {
                return Err(Error::new(
                    Kind::AlreadyExists,
                    format!("the server `{}` is already running", plan.name),
                )
                .with_hint("stop it first, or choose another name"));
            }
            let identity = match &plan.identity {
                Some(identity) => identity.clone(),
                None => super::serve::default_identity(context)?,
            };
            let project = ticket.project_identifier.clone();
            project::enroll::join(context, ticket, &identity)?;
            plan.identity = Some(identity);
            plan.record.project = Some(project);
        }
        for (name, relay) in &mut said.relays {
            if relay.at.is_empty() {
                relay.at = default_way(home, &plan, name)?;
            }
            let at: MultiAddr = relay.at.parse()?;
            for part in at.parts() {
                if let Part::Project(name) = part {
                    ProjectNode::find(home, name)?;
                }
            }
            relay.authorized = authorized(home, &relay.authorized)?;
        }
        plan.say(said);
        Ok(plan)
    }
}

/// Whether what stands for a name is a configuration: a file, or YAML as it is.
fn configuration_in(given: &str) -> Result<bool> {
    if given.starts_with("http://") || given.starts_with("https://") {
        return Err(Error::new(Kind::Unsupported, "a configuration is not fetched from a URL")
            .with_hint("fetch it in a way that you trust, and give the file"));
    }
    if given.contains([':', '\n']) || given.starts_with('{') {
        return Ok(true);
    }
    let path = Path::new(given);
    let ending = path.extension().and_then(|ending| ending.to_str());
    if path.is_file() {
        // A word alone is a name, whatever lies in the directory that one happens to be in.
        return Ok(given.contains(['/', '.']));
    }
    if matches!(ending, Some("yaml" | "yml" | "json")) {
        return Err(Error::new(Kind::NotFound, format!("there is no file `{}`", shown(given)))
            .with_hint("name the configuration's file, or give a name for the node"));
    }
    Ok(false)
}

fn configured(given: &str, variables: &[String]) -> Result<Configuration> {
    let mut values = BTreeMap::new();
    for one in variables {
        let (name, value) = one
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| {
                Error::usage(format!("`{}` is no variable with a value", shown(one)))
                    .with_hint("as in --variable PORT=4000")
            })?;
        values.insert(name.to_owned(), value.to_owned());
    }
    let environment = |name: &str| std::env::var(name).ok();
    let variables = Variables { given: &values, environment: &environment };
    Configuration::parse(&text(given, "configuration")?, &variables)
}

/// The identity that enrols, made when it is not there.
fn make_identity(context: &Context, name: &Name, project: &str) -> Result<()> {
    let home = context.home()?;
    if home.identities()?.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let writer = context.writer()?;
    let vault = ensure_vault(context, &writer)?;
    let clock = context.clock();
    let made = home.create_identity(&writer, context.vaults()?, name, &vault, NewKey::Generate(None), &clock);
    vault::block_on(made)?;
    context.output.note(&format!("the identity `{name}` is made, for the project `{}`", shown(project)));
    Ok(())
}

/// Where a relay is that is named alone: at the node of the project, as the reference has it.
fn default_way(home: &Home, plan: &Plan, relay: &str) -> Result<String> {
    let project = plan.record.project.clone().or(home.defaults()?.project);
    project.map(|project| format!("/project/{project}")).ok_or_else(|| {
        Error::invalid(format!("the relay `{}` has no way to another node", shown(relay))).with_hint(
            "give it one, as in `relays: {NAME: {at: /node/n2}}`; without, it is at the node of the project",
        )
    })
}
