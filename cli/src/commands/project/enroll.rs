//! `project enroll`: become a member by a ticket, get a credential, and keep both project and credential.

use authority::client::{Ask, Enrolled};
use authority::ticket::{Code, TicketText};
use home::{Home, Name, NewKey, ProjectRecord, StoredCredential};
use identity::Identity;
use serde_json::json;

use crate::args::project::{At, Enroll};
use crate::commands::authority::ensure_vault;
use crate::commands::client::Place;
use crate::commands::key::gather;
use crate::context::{Context, optional_name};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::{Report, table, time};
use crate::secret_input::{file_text, text};

pub(super) fn run(context: &Context, enroll: &Enroll) -> Result<Report> {
    let ticket = match (&enroll.ticket, &enroll.ticket_file) {
        (Some(given), _) => Some(TicketText::parse(&text(given, "ticket")?)?),
        (None, Some(path)) => Some(TicketText::parse(&file_text(path, "ticket")?)?),
        (None, None) => None,
    };
    by_ticket(context, enroll, ticket)
}

/// Has an identity become a member by a ticket, for a command that needs a member and not this report.
pub(crate) fn join(context: &Context, ticket: TicketText, identity: &Name) -> Result<()> {
    let at = At { identity: Some(identity.to_string()), ..At::default() };
    by_ticket(context, &Enroll { at, ..Enroll::default() }, Some(ticket)).map(drop)
}

fn by_ticket(context: &Context, enroll: &Enroll, ticket: Option<TicketText>) -> Result<Report> {
    let wanted = optional_name("an identity", enroll.at.identity.as_deref())?;
    let home = context.home()?;
    let ca = enroll.at.authority_ca.as_deref();
    let place = match &ticket {
        Some(ticket) => Place::of_project(home, project_of(home, ticket)?, ca)?,
        None => Place::find(
            home,
            enroll.at.project.as_deref(),
            enroll.at.authority_route.as_deref(),
            enroll.at.authority_identity.as_deref(),
            ca,
        )?,
    };
    let place = place.waiting(enroll.timeout);
    let name = identity(context, wanted)?;
    let client = place.client(context, &name)?;
    // Whoever is a member at the authority knows of it here.
    let whole = interrupt::hold();
    if let Some(ticket) = &ticket {
        let shown = enroll.attest_key.then(|| key_attestation(context, &name)).transpose()?;
        redeem(context, &*client, ticket, shown.as_deref())?;
    }
    // Stored only now: a ticket that was refused has changed nothing here.
    if let Some(project) = &place.project {
        let writer = context.writer()?;
        home.store_project(&writer, project)?;
    }
    drop(whole);
    let identifier = client.identity().identifier().to_string();
    let project_name = place.project.as_ref().map(|project| project.name.clone());
    if enroll.skip_credential_issue {
        let json = json!({ "identity": identifier, "project_name": project_name, "credential": null });
        return Ok(Report::new(format!("`{name}` is a member"), json));
    }
    let granted = client.credential()?;
    place.remember(context, &granted.issuer)?;
    let hex = granted.credential.to_hex()?;
    let stored = StoredCredential {
        subject: granted.verified.subject(),
        issuer: granted.verified.issuer(),
        scope: place
            .project
            .as_ref()
            .map_or_else(|| format!("authority-{}", granted.verified.issuer()), super::scope),
        credential: hex.clone(),
    };
    let writer = context.writer()?;
    home.store_credential(&writer, &stored)?;
    let mut rows = vec![
        ("identity", name.to_string()),
        ("identifier", identifier.clone()),
        ("project", project_name.as_deref().map(shown).unwrap_or_default()),
        ("good until", time(granted.verified.expires_at())),
    ];
    rows.extend(
        granted
            .verified
            .attributes()
            .text()
            .map(|(name, value)| ("attribute", format!("{}={}", name.escape_debug(), value.escape_debug()))),
    );
    rows.push(("credential", hex.clone()));
    let json = json!({ "identity": identifier, "project_name": project_name, "credential": hex });
    Ok(Report::new(table(&rows), json))
}

/// Who enrols: the identity that was named, or the default one, made when there is none at all.
fn identity(context: &Context, wanted: Option<Name>) -> Result<Name> {
    let home = context.home()?;
    if let Some(name) = wanted {
        home.identity(&name)?;
        return Ok(name);
    }
    if let Some(name) = home.default_identity()? {
        return Ok(name);
    }
    let writer = context.writer()?;
    let vault = ensure_vault(context, &writer)?;
    let name = Name::new("default")?;
    let clock = context.clock();
    let made =
        home.create_identity(&writer, context.vaults()?, &name, &vault, NewKey::Generate(None), &clock);
    vault::block_on(made)?;
    context.output.note("there was no identity: `default` is made");
    Ok(name)
}

/// What the device says now of the identity's primary key; when it cannot be asked, what is stored of what it said. Asked
/// first, because certificates are renewed.
fn key_attestation(context: &Context, name: &Name) -> Result<Vec<u8>> {
    let home = context.home()?;
    let key = home.identity(name)?.own_key()?.clone();
    let signer = vault::block_on(key.open(context.vaults()?))?;
    let error = match gather(context, &signer) {
        Ok(said) => return Ok(said.encode()?),
        Err(error) => error,
    };
    match home.key_attestation(key.public()?.as_bytes())? {
        Some(stored) => {
            context.output.note(&format!("what the device said of the key before is shown: {error}"));
            Ok(stored)
        }
        None => Err(error),
    }
}

fn redeem(context: &Context, client: &dyn Ask, ticket: &TicketText, shown: Option<&[u8]>) -> Result<()> {
    let code = Code::from_hex(&ticket.code)?;
    if client.enrol(&code, shown)? == Enrolled::Already {
        context.output.note("already a member: the ticket is not spent");
    }
    Ok(())
}

/// The project that a ticket tells of. One that is stored under the same identifier keeps its authority: a ticket cannot put
/// another in its place.
fn project_of(home: &Home, ticket: &TicketText) -> Result<ProjectRecord> {
    let authority = ticket.authority()?;
    let known = home
        .projects()?
        .into_iter()
        .map(|(_, project)| project)
        .find(|p| p.identifier == ticket.project_identifier);
    let authority_ca = known.as_ref().and_then(|known| known.authority_ca.clone());
    let other = known.and_then(|known| Identity::import_hex(&known.authority_change_history).ok());
    if let Some(other) = other.filter(|other| other.identifier() != authority.identifier()) {
        return Err(Error::new(
            Kind::Conflict,
            format!(
                "the project `{}` is known with the authority {}, and the ticket names another",
                shown(&ticket.project_identifier),
                other.identifier()
            ),
        )
        .with_hint("use a ticket of the authority that you know, or another OCKAM_KMS_HOME"));
    }
    Name::new(&ticket.project_identifier).map_err(|_| {
        Error::invalid(format!(
            "`{}` in the ticket cannot be the identifier of a project",
            shown(&ticket.project_identifier)
        ))
    })?;
    Ok(ProjectRecord {
        identifier: ticket.project_identifier.clone(),
        name: ticket.project_name.clone(),
        project_route: ticket.project_route.clone(),
        project_change_history: ticket.project_change_history.clone(),
        authority_route: ticket.authority_route.clone(),
        authority_change_history: ticket.authority_change_history.clone(),
        authority_ca,
    })
}
