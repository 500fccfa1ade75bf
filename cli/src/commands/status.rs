//! `status`: what there is in the home, in one piece.

use serde_json::{Map, json};

use super::{identity, node, project, vault};
use crate::args;
use crate::context::Context;
use crate::error::Result;
use crate::output::{Report, blocks};

pub(super) fn run(context: &Context) -> Result<Report> {
    let home = context.read()?;
    let mut nodes = Vec::new();
    for (name, ..) in home.servers()? {
        let named = args::node::Named { name: Some(name.to_string()) };
        nodes.push(node::run(context, args::node::Verb::Show(named))?.into_parts());
    }
    let (plain, items): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    let nodes = (blocks(&plain, "there are no servers"), items.into());
    let path = home.path().display().to_string();
    let mut told = vec![format!("ockam-kms {}, in {path}", env!("CARGO_PKG_VERSION"))];
    let mut json = Map::new();
    json.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    json.insert("home".to_owned(), json!(path));
    for (word, (plain, items)) in [
        ("vaults", vault::run(context, args::vault::Verb::List)?.into_parts()),
        ("identities", identity::run(context, args::identity::Verb::List)?.into_parts()),
        (
            "projects",
            project::run(context, args::project::Verb::List(args::project::ListProjects::default()))?
                .into_parts(),
        ),
        ("nodes", nodes),
    ] {
        told.push(format!("{word}\n\n{plain}"));
        json.insert(word.to_owned(), items);
    }
    let plain = told.join("\n\n");
    Ok(Report::new(plain, json.into()))
}
