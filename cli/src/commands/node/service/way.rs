//! The way to where something is sent: connections are dialled and channels opened on it, those to the nodes of projects with
//! the credentials of that project, and to nobody else.

use super::*;
use crate::commands::node::project::ProjectNode;

impl Service {
    /// Makes the way. Who may be at the end of its channels is nobody else than these, if there are any; at a project's it is
    /// always the project's node.
    pub(super) async fn way(
        &self,
        to: &MultiAddr,
        party: &PartyAsk,
        authorized: Vec<Identifier>,
        wait: Duration,
    ) -> Result<Resolved> {
        // Everything that can be wrong with names is, before anything is opened.
        let options = self.options(party, authorized, true)?;
        let mut stretches: Vec<(Vec<Part>, ChannelOptions)> = Vec::new();
        let mut plain = Vec::new();
        for part in to.parts() {
            let Part::Project(name) = part else {
                plain.push(part.clone());
                continue;
            };
            let project = ProjectNode::find(&self.home, name)?;
            stretches.push((std::mem::take(&mut plain), options.clone()));
            let options = self.options_at(&project, party)?;
            stretches.push((project.way, options));
        }
        stretches.push((plain, options));
        let mut way = Resolved::default();
        for (parts, options) in stretches {
            way = self.node.resolve_on(way, &parts, Some(&options), wait).await?;
        }
        Ok(way)
    }

    /// A member of the project, when there is a credential that says so, and the project's own node at the other end.
    fn options_at(&self, project: &ProjectNode, party: &PartyAsk) -> Result<ChannelOptions> {
        let own = self.issuers.contains(&project.authority);
        let party = HomeParty {
            issuers: vec![project.authority],
            scope: self.scope.clone().filter(|_| own),
            ..self.asked_party(party)?
        };
        let trust = HomeTrust {
            home: self.home.clone(),
            issuers: self.issuers.clone(),
            authorized: vec![project.identity.identifier()],
            pinned: Some(Arc::clone(&project.identity)),
        };
        let mut options = ChannelOptions::new(Arc::new(party), Arc::new(trust));
        options.opened = Some(Arc::new(Remembers { home: self.home.clone(), strangers: true }));
        Ok(options)
    }
}
