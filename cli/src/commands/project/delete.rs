//! `project delete`: forget a project.

use home::{Home, Name, ProjectRecord, StoredCredential};
use serde_json::json;

use super::scope;
use crate::args::project::DeleteProject;
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::output::Report;

pub(super) fn run(context: &Context, delete: &DeleteProject) -> Result<Report> {
    let home = context.home()?;
    let project = home.project_or_default(delete.names.last().map(String::as_str))?;
    let credentials = credentials(home, &project)?;
    let nodes = nodes(home, &project)?;
    let name = shown(&project.name);
    if delete.dry_run {
        let mut preview = Preview::default();
        preview.destroys(format!("the record of the project `{name}`"));
        for credential in &credentials {
            preview.destroys(format!("the stored credential of {}", credential.subject));
        }
        preview.keeps("the membership at its authority, until an enroller ends it");
        for node in nodes {
            preview.needed_by(format!(
                "the node `{node}`, for which credentials of the project's authority count"
            ));
        }
        return Ok(preview.report());
    }
    // A node that knew no authority any more would let everybody in.
    if let Some(node) = nodes.first() {
        return Err(Error::new(
            Kind::Denied,
            format!("for the node `{node}` credentials of the authority of the project `{name}` count"),
        )
        .with_hint(
            "delete the node first, `ockam-kms node delete NAME`, or make it anew with another `--project`",
        ));
    }
    context.confirm(delete.yes, &format!("Forget the project `{name}` and its stored credentials?"))?;
    let writer = context.writer()?;
    for credential in &credentials {
        home.remove_credential(&writer, credential)?;
    }
    home.remove_project(&writer, &project)?;
    let json = json!({ "name": project.name, "id": project.identifier });
    Ok(Report::new(format!("the project `{name}` is deleted"), json).machine(project.name))
}

/// What members of it have stored.
fn credentials(home: &Home, project: &ProjectRecord) -> Result<Vec<StoredCredential>> {
    let scope = scope(project);
    Ok(home.credentials()?.into_iter().filter(|stored| stored.scope == scope).collect())
}

/// The nodes that count on it: those that name it, and, when it is the default one, those that name nothing.
fn nodes(home: &Home, project: &ProjectRecord) -> Result<Vec<Name>> {
    let is_default = home.defaults()?.project.as_deref() == Some(project.identifier.as_str());
    let counts = |node: &home::NodeRecord| match (&node.project, &node.authority) {
        (Some(named), _) => *named == project.identifier || *named == project.name,
        (None, authority) => is_default && authority.is_none(),
    };
    let all = home.servers()?.into_iter();
    Ok(all.filter(|(_, record, _)| record.node.as_ref().is_some_and(counts)).map(|(name, ..)| name).collect())
}
