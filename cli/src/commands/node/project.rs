//! `/project/NAME` in a route: where the node of that project is, and who has to be there.

use std::sync::Arc;

use home::{Home, ProjectRecord};
use identity::{Identifier, Identity};
use node::multiaddr::{MultiAddr, Part};

use super::ask::nodes_looked_up;
use crate::error::{Error, Result, shown};
use crate::exit::Kind;

/// The listener of channels that the node of a project has.
const API: &str = "api";

/// The node of a project.
pub(super) struct ProjectNode {
    /// The way to it, which ends with a channel to its listener.
    pub(super) way: Vec<Part>,
    /// Who it is, as the project was imported; what is known of it since may be newer.
    pub(super) identity: Arc<Identity>,
    /// Whose credentials it asks for.
    pub(super) authority: Identifier,
}

impl ProjectNode {
    /// The node of the project of this name or identifier. A project without a node of its own is met at its authority,
    /// which is all that there is of a project that one hosts oneself.
    pub(super) fn find(home: &Home, name: &str) -> Result<Self> {
        let project = home.project_or_default(Some(name))?;
        let authority = imported(&project.authority_change_history)?;
        let own = (!project.project_change_history.is_empty())
            .then(|| imported(&project.project_change_history))
            .transpose()?;
        // An authority stands for the node of its project where there is no other: tickets have its identity and address there.
        let own = own.filter(|own| own.identifier() != authority.identifier());
        let stands_in = own.is_none() && !project.project_change_history.is_empty();
        let route = (!stands_in && leads_somewhere(&project.project_route)).then_some(&project.project_route);
        let (route, identity) = match (route, own) {
            (Some(route), Some(own)) => (route, own),
            (Some(_), None) => {
                return Err(refused(&project, "does not say who its node is").with_hint(
                    "import it again with `project_change_history`, which names who may answer there",
                ));
            }
            (None, Some(_)) => {
                return Err(refused(&project, "does not say where its node is").with_hint(
                    "import it again with an `access_route` as in /dnsaddr/HOST/tcp/PORT/service/api",
                ));
            }
            (None, None) if leads_somewhere(&project.authority_route) => {
                (&project.authority_route, authority.clone())
            }
            (None, None) => {
                return Err(refused(&project, "has no node, and its authority takes no secure channels").with_hint(
                    "start the authority with --tcp-listener-address, and use a ticket that has its route",
                ));
            }
        };
        let route: MultiAddr = nodes_looked_up(home, &route.parse()?)?;
        Ok(Self {
            way: into_channel(&project, route)?,
            identity: Arc::new(identity),
            authority: authority.identifier(),
        })
    }
}

fn refused(project: &ProjectRecord, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("the project `{}` {why}", shown(&project.name)))
}

fn imported(history: &str) -> Result<Identity> {
    Identity::import_hex(history).map_err(|e| {
        Error::new(Kind::Corrupt, "a stored history of the project breaks its own rules").with_source(e)
    })
}

/// Whether a route leads to another node: `/service/IDENTIFIER` stands for none.
fn leads_somewhere(route: &str) -> bool {
    let Ok(route) = route.parse::<MultiAddr>() else { return false };
    matches!(route.parts().first(), Some(Part::Tcp(..) | Part::Node(_)))
}

/// The same way with a channel opened at its end, however the end is written.
fn into_channel(project: &ProjectRecord, route: MultiAddr) -> Result<Vec<Part>> {
    let mut way = route.parts().to_vec();
    match way.pop() {
        Some(Part::Service(name) | Part::Secure(name)) => way.push(Part::Secure(name)),
        Some(tcp @ Part::Tcp(..)) => way.extend([tcp, Part::Secure(API.to_owned())]),
        _ => {
            return Err(refused(project, "has a route that leads to no node").with_hint(
                "import it again with an `access_route` as in /dnsaddr/HOST/tcp/PORT/service/api",
            ));
        }
    }
    Ok(way)
}
