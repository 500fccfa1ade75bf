//! `project import`: a project from a file as the reference writes it.

use home::ProjectRecord;
use identity::Identity;
use serde::Deserialize;

use super::{json_project, plain_project};
use crate::args::project::Import;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::Report;
use crate::secret_input::file_text;

/// What of the reference's file is needed; the rest is its Orchestrator's.
#[derive(Deserialize)]
struct ProjectFile {
    id: String,
    name: String,
    #[serde(default)]
    access_route: Option<String>,
    #[serde(default)]
    project_change_history: Option<String>,
    #[serde(default)]
    authority_access_route: Option<String>,
    #[serde(default)]
    authority_identity: Option<String>,
}

pub(super) fn run(context: &Context, import: &Import) -> Result<Report> {
    let text = file_text(&import.project_file, "project")?;
    let file: ProjectFile = serde_json::from_str(&text).map_err(|e| {
        Error::invalid(format!("`{}` is no project: {e}", import.project_file.display()))
            .with_hint("it is the JSON object that `project show --output json` prints")
    })?;
    let (Some(route), Some(authority)) = (file.authority_access_route, file.authority_identity) else {
        return Err(Error::invalid("the project has no authority")
            .with_hint("`authority_access_route` and `authority_identity` have to be there"));
    };
    Identity::import_hex(&authority)?;
    let project_change_history = file.project_change_history.unwrap_or_default();
    if !project_change_history.is_empty() {
        Identity::import_hex(&project_change_history)?;
    }
    let project = ProjectRecord {
        project_route: file.access_route.unwrap_or_else(|| format!("/service/{}", file.id)),
        identifier: file.id,
        name: file.name,
        project_change_history,
        authority_route: route,
        authority_change_history: authority,
        authority_ca: None,
    };
    let writer = context.writer()?;
    context.home()?.store_project(&writer, &project)?;
    Ok(Report::new(plain_project(&project), json_project(&project)).machine(project.identifier))
}
