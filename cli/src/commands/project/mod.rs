//! `project …`

mod delete;
pub(crate) mod enroll;
mod import;
pub(crate) mod member;
mod ticket;

use authority::member::MemberAttributes;
use home::ProjectRecord;
use identity::Identity;
use serde_json::{Value, json};

use crate::args::attribute;
use crate::args::project::{Show, Verb};
use crate::context::Context;
use crate::error::{Error, Result, shown};
use crate::output::{Report, blocks, table};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Ticket(ticket) => ticket::run(context, &ticket),
        Verb::Enroll(enroll) => enroll::run(context, &enroll),
        Verb::Import(import) => import::run(context, &import),
        Verb::List(_) => list(context),
        Verb::Show(show) => self::show(context, &show),
        Verb::Delete(delete) => delete::run(context, &delete),
    }
}

fn list(context: &Context) -> Result<Report> {
    let home = context.read()?;
    let default = home.defaults()?.project;
    let (mut plain, mut items) = (Vec::new(), Vec::new());
    for (name, project) in home.projects()? {
        let is_default = default.as_deref() == Some(name.as_str());
        plain.push(plain_project(&project));
        let mut item = json_project(&project);
        if let Value::Object(map) = &mut item {
            map.insert("is_default".to_owned(), Value::Bool(is_default));
        }
        items.push(item);
    }
    Ok(Report::new(blocks(&plain, "there are no projects yet: enrol with a ticket"), Value::Array(items)))
}

fn show(context: &Context, show: &Show) -> Result<Report> {
    let project = context.read()?.project_or_default(show.name.as_deref())?;
    Ok(Report::new(plain_project(&project), json_project(&project)).machine(project.identifier))
}

/// The scope under which a member's credential of a project is stored.
fn scope(project: &ProjectRecord) -> String {
    format!("project-member-{}", project.identifier)
}

fn authority_of(project: &ProjectRecord) -> Option<String> {
    Identity::import_hex(&project.authority_change_history)
        .ok()
        .map(|identity| identity.identifier().to_string())
}

fn plain_project(project: &ProjectRecord) -> String {
    table(&[
        ("project", project.identifier.clone()),
        ("name", shown(&project.name)),
        ("authority", authority_of(project).unwrap_or_else(|| "?".to_owned())),
        ("authority route", shown(&project.authority_route)),
    ])
}

/// The words of the reference's project file, and the identifier of the authority.
fn json_project(project: &ProjectRecord) -> Value {
    json!({
        "id": project.identifier,
        "name": project.name,
        "access_route": project.project_route,
        "project_change_history": project.project_change_history,
        "authority_access_route": project.authority_route,
        "authority_identity": project.authority_change_history,
        "authority_identifier": authority_of(project),
    })
}

/// Attributes from `-a` and from the options that stand for some.
fn attributes(pairs: &[String], relay: Option<&str>, enroller: bool, tls: bool) -> Result<MemberAttributes> {
    let typed = pairs.iter().map(|text| attribute(text));
    let relay = relay.map(|relay| ("ockam-relay", relay));
    let enroller = enroller.then_some(("ockam-role", "enroller"));
    let tls = tls.then_some(("ockam-tls-certificate", "true"));
    MemberAttributes::of(typed.chain(relay).chain(enroller).chain(tls))
        .map_err(|problem| Error::invalid(problem.to_string()))
}
