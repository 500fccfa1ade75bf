//! `project ticket`: have one made, list them, revoke one.

use authority::client::Made;
use authority::service::PROJECT_ATTRIBUTE;
use authority::ticket::{Reference, TicketText};
use home::ProjectRecord;
use identity::Identity;
use node::multiaddr::{MultiAddr, Part};
use serde_json::{Value, json};

use super::attributes;
use crate::args::project::Ticket;
use crate::commands::client::Asking;
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, blocks, table, time};

/// Beyond both of these a ticket is likelier to leak than to be needed, as the reference warns too.
const LONG_SECONDS: u64 = 5 * 86_400;
const MANY_USES: u32 = 10;

pub(super) fn run(context: &Context, ticket: &Ticket) -> Result<Report> {
    match &ticket.revoke {
        _ if ticket.list => list(context, ticket),
        Some(reference) => revoke(context, ticket, reference),
        None => make(context, ticket),
    }
}

fn make(context: &Context, ticket: &Ticket) -> Result<Report> {
    let given = attributes(&ticket.attributes, ticket.relay.as_deref(), ticket.enroller, ticket.tls)?;
    if ticket.expires_in.is_some_and(|seconds| seconds >= LONG_SECONDS)
        && ticket.usage_count.is_some_and(|uses| uses >= MANY_USES)
    {
        context.output.note("this ticket is good for long and for many: whoever finds it becomes a member");
    }
    let asking = Asking::new(context, &ticket.at)?;
    let project = project(context, &asking, ticket)?;
    let made = asking.client.make_ticket(&given, ticket.expires_in, ticket.usage_count)?;
    // The history as it is now pins the authority for whoever enrols, and what it continues.
    let issuer = asking.client.issuer()?;
    asking.place.remember(context, &issuer)?;
    let node = Identity::import_hex(&project.project_change_history).ok();
    let text = TicketText {
        project_route: project.project_route.clone(),
        project_identifier: project.identifier.clone(),
        project_node: String::new(),
        project_name: project.name.clone(),
        code: made.code.expose_hex().to_string(),
        project_change_history: project.project_change_history.clone(),
        authority_change_history: issuer.identity().to_hex(),
        authority_route: asking.place.route.clone(),
    }
    .of_node(node.map(|node| node.identifier()))
    .checked()?;
    report(&text, &made, ticket)
}

fn report(text: &TicketText, made: &Made, ticket: &Ticket) -> Result<Report> {
    let fields = text.fields();
    let written = match ticket {
        Ticket { legacy: true, .. } => text.legacy()?.to_string(),
        Ticket { hex: true, .. } => hex::encode(fields.as_bytes()),
        _ => fields.to_string(),
    };
    let mut json = text.json()?;
    if let Value::Object(map) = &mut json {
        map.insert("ticket".to_owned(), Value::String(written.clone()));
    }
    // An authority that is not ours tells no more than the code.
    let Some(ticket) = &made.ticket else { return Ok(Report::new(written.clone(), json).machine(written)) };
    if let Value::Object(map) = &mut json {
        map.insert("reference".to_owned(), Value::String(ticket.reference.to_string()));
        map.insert("expires_at".to_owned(), json!(ticket.expires_at.0));
        map.insert("uses_left".to_owned(), json!(ticket.uses_left));
    }
    let plain = format!(
        "{written}\n\n{}",
        table(&[
            ("reference", ticket.reference.to_string()),
            ("expires at", time(ticket.expires_at)),
            ("uses", ticket.uses_left.to_string()),
        ])
    );
    Ok(Report::new(plain, json).machine(written))
}

/// What the ticket says of the project. Where none is stored it is found out, and stored for the next time.
fn project(context: &Context, asking: &Asking, ticket: &Ticket) -> Result<ProjectRecord> {
    if let Some(project) = &asking.place.project {
        return Ok(project.clone());
    }
    let home = context.home()?;
    let authority = asking.client.authority();
    let is_its = |project: &ProjectRecord| {
        Identity::import_hex(&project.authority_change_history)
            .is_ok_and(|identity| identity.identifier() == authority)
    };
    let route = &asking.place.route;
    let stored = home.projects()?.into_iter().map(|(_, project)| project).find(is_its);
    if let Some(project) = stored {
        return Ok(ProjectRecord { authority_route: route.clone(), ..project });
    }
    let identifier = match &ticket.project_identifier {
        Some(identifier) => identifier.clone(),
        None => project_of_credential(asking)?,
    };
    if identifier.is_empty() || identifier.contains([',', '/']) {
        return Err(Error::invalid("a project identifier has no commas and no slashes")
            .with_hint("give the one that the authority was created with: --project-identifier"));
    }
    let project = ProjectRecord {
        name: identifier.clone(),
        project_route: project_route(route, &identifier),
        // The reference's readers want one, and there is no other node than the authority.
        project_change_history: if asking.place.is_by_channel() {
            asking.place.authority.to_hex()
        } else {
            String::new()
        },
        authority_route: route.clone(),
        authority_change_history: asking.place.authority.to_hex(),
        authority_ca: asking.place.ca.clone(),
        identifier,
    };
    let writer = context.writer()?;
    home.store_project(&writer, &project)?;
    Ok(project)
}

/// Where the project is. The reference's readers want an address in it, and there is no other node than the authority.
fn project_route(authority: &str, identifier: &str) -> String {
    let way = authority.parse::<MultiAddr>().ok();
    let address = way.and_then(|way| match way.parts() {
        [address @ Part::Tcp(..), ..] => MultiAddr::new(vec![address.clone()]).ok(),
        _ => None,
    });
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    format!("{address}/service/{identifier}")
}

/// Credentials say which project they are for, and an enroller is a member who can get one.
fn project_of_credential(asking: &Asking) -> Result<String> {
    let granted = asking.client.credential()?;
    let attributes = granted.verified.attributes();
    attributes.get(PROJECT_ATTRIBUTE).map(str::to_owned).ok_or_else(|| {
        Error::usage("the authority does not say which project it is for")
            .with_hint("give the project's identifier: --project-identifier")
    })
}

fn list(context: &Context, ticket: &Ticket) -> Result<Report> {
    let tickets = Asking::new(context, &ticket.at)?.client.tickets()?;
    let now = context.now();
    let (mut plain, mut items) = (Vec::new(), Vec::new());
    for ticket in tickets {
        let over = if ticket.expires_at <= now { " (over)" } else { "" };
        let names: Vec<_> = ticket.attributes.iter().map(|(name, _)| name).collect();
        plain.push(table(&[
            ("reference", ticket.reference.to_string()),
            ("issued by", ticket.issued_by.to_string()),
            ("expires at", format!("{}{over}", time(ticket.expires_at))),
            ("uses left", ticket.uses_left.to_string()),
            ("attributes", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        ]));
        items.push(serde_json::to_value(&ticket)?);
    }
    Ok(Report::new(blocks(&plain, "there are no tickets"), Value::Array(items)))
}

fn revoke(context: &Context, ticket: &Ticket, reference: &str) -> Result<Report> {
    let reference: Reference = reference.parse().map_err(|problem: authority::Problem| {
        Error::invalid(problem.to_string())
            .with_hint("`ockam-kms project ticket --list` shows the references")
    })?;
    let asking = Asking::new(context, &ticket.at)?;
    if ticket.dry_run {
        let found = asking.client.tickets()?.into_iter().find(|one| one.reference == reference);
        let found = found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no ticket `{reference}`"))
                .with_hint("`ockam-kms project ticket --list` shows those that there are")
        })?;
        let mut preview = Preview::default();
        preview.destroys(format!("the ticket {reference}, with {} uses left", found.uses_left));
        preview.keeps("whoever became a member by it, who stays one");
        return Ok(preview.report());
    }
    asking.client.revoke_ticket(&reference)?;
    let reference = reference.to_string();
    Ok(Report::new(format!("the ticket {reference} is revoked"), json!({ "reference": reference }))
        .machine(reference))
}
