//! Projects that this operator takes part in: what a ticket said about them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::record::{Name, Records};

/// A project: where its authority is, and the history that pins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRecord {
    /// The project's identifier, as the authority was created with.
    pub identifier: String,
    /// The project's name.
    pub name: String,
    /// The route to the project's node; `/service/IDENTIFIER` when there is none.
    pub project_route: String,
    /// The change history of the project's node, as hex; empty when there is none.
    pub project_change_history: String,
    /// The route to the authority: an HTTP URL or a multiaddr.
    pub authority_route: String,
    /// The authority's change history when it was pinned, as hex.
    pub authority_change_history: String,
    /// The certificates, as PEM, of whom alone the authority's TLS certificate may come; those that the system trusts when
    /// there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_ca: Option<String>,
}

impl Home {
    fn project_records(&self) -> Records<ProjectRecord> {
        Records::new(self.dir("projects"), "project")
    }

    /// The projects, ordered by name.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn projects(&self) -> Result<Vec<(Name, ProjectRecord)>> {
        self.project_records().list()
    }

    /// A project, by the name it is stored under or by its identifier; the default one when none is given.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn project_or_default(&self, wanted: Option<&str>) -> Result<ProjectRecord> {
        let Some(wanted) = wanted else {
            let name = self.defaults()?.project.as_deref().map(stored_name).transpose()?.ok_or_else(|| {
                Error::new(Kind::NotFound, "there is no project yet").with_hint(
                    "enrol with a ticket, or name the authority with --authority-route and --authority-identity",
                )
            })?;
            return self.project_records().get(&name);
        };
        let all = self.projects()?;
        let found =
            all.into_iter().map(|(_, record)| record).find(|p| p.name == wanted || p.identifier == wanted);
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no project `{}`", wanted.escape_debug()))
                .with_hint("enrol with a ticket of that project first")
        })
    }

    /// Stores a project under its identifier; the first one becomes the default.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the identifier cannot be a name.
    pub fn store_project(&self, writer: &Writer, project: &ProjectRecord) -> Result<()> {
        let name = Name::new(&project.identifier)?;
        self.project_records().put(writer, &name, project)?;
        let mut defaults = self.defaults()?;
        if defaults.project.is_none() {
            defaults.project = Some(name.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }

    /// Forgets a project; the first of those that are left becomes the default when it was that.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn remove_project(&self, writer: &Writer, project: &ProjectRecord) -> Result<()> {
        let name = Name::new(&project.identifier)?;
        self.project_records().remove(writer, &name)?;
        let mut defaults = self.defaults()?;
        if defaults.project.as_deref() == Some(name.as_str()) {
            defaults.project = self.projects()?.first().map(|(first, _)| first.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }
}
