//! Asking a node: which one is meant, what names in a route stand for, and what it answers.

use std::time::Duration;

use home::control::{self, Ask, NodeAsk};
use home::{Home, Name};
use node::multiaddr::{MultiAddr, Part};
use serde_json::Value;

use super::plan::Plan;
use super::project::ProjectNode;
use super::serve::{prepare, runtime};
use super::service::Service;
use crate::args::node::Trust;
use crate::commands::resolve;
use crate::commands::server::{NODE, multiaddr, node_name};
use crate::context::{Context, optional_name};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, blocks};
use crate::progress;

/// How much longer than the node itself its answer is waited for.
const MARGIN: Duration = Duration::from_secs(20);

/// A node that runs.
pub(crate) struct Asked<'a> {
    context: &'a Context,
    pub(crate) name: Name,
}

impl<'a> Asked<'a> {
    /// The node that was named, as `n1` or `/node/n1`; else the default one, which is made when there is none.
    pub(crate) fn find(context: &'a Context, given: Option<&str>) -> Result<Self> {
        match Self::existing(context, given)? {
            Some(asked) => Ok(asked),
            None => Self::named(context, super::make_default(context)?),
        }
    }

    /// As [`Asked::find`], for what ends something: a node that would have to be made has nothing to end.
    pub(crate) fn with_something(context: &'a Context, given: Option<&str>) -> Result<Self> {
        Self::existing(context, given)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no node yet").with_hint("`ockam-kms node create` starts one")
        })
    }

    fn existing(context: &'a Context, given: Option<&str>) -> Result<Option<Self>> {
        let name = match given {
            Some(given) => Some(node_name(given)?),
            None => context.read()?.default_node()?,
        };
        name.map(|name| Self::named(context, name)).transpose()
    }

    fn named(context: &'a Context, name: Name) -> Result<Self> {
        let home = context.read()?;
        let (record, running) = home.server(&name)?;
        if record.kind != NODE {
            return Err(Error::new(Kind::Unsupported, format!("the server `{name}` is no node"))
                .with_hint("`ockam-kms node list` shows which are nodes"));
        }
        if !running {
            return Err(Error::new(Kind::Unavailable, format!("the node `{name}` does not run"))
                .with_hint(format!("`ockam-kms node start {name}` starts it")));
        }
        Ok(Self { context, name })
    }

    /// Asks for something that is done at once.
    pub(crate) fn ask(&self, ask: NodeAsk) -> Result<Value> {
        self.ask_within(ask, MARGIN)
    }

    /// Asks for something that may take this long.
    pub(crate) fn ask_within(&self, ask: NodeAsk, wait: Duration) -> Result<Value> {
        let _waiting = progress::waiting(self.context.output, "waiting for an answer");
        let socket = self.context.home()?.control_socket(&self.name);
        Ok(control::ask_within(&socket, &Ask::Node(ask), wait.saturating_add(MARGIN))?)
    }

    /// The items of a list.
    pub(crate) fn list(&self, ask: NodeAsk) -> Result<Vec<Value>> {
        match self.ask(ask)? {
            Value::Array(items) => Ok(items),
            _ => Err(Error::new(Kind::Internal, "the node's answer is no list")),
        }
    }
}

/// Asks a node that lives in this process for as long as that takes.
pub(crate) fn ask_here(
    context: &Context,
    identity: Option<&str>,
    trust: &Trust,
    ask: NodeAsk,
) -> Result<Value> {
    let identity = optional_name("an identity", identity)?;
    let home = context.read()?;
    let plan = Plan::passing(home, identity, trust)?;
    let identity = prepare(context, &plan)?;
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let service =
            Service::new(home.clone(), std::sync::Arc::clone(context.vaults()?), identity, &plan.record)?;
        let answer = service.answer(ask).await;
        service.stop().await;
        answer
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    answer
}

/// Puts in place of each name of a node where it is reached. Names of projects stay, and are of projects that one gets to: the
/// node that is asked opens a channel there.
pub(crate) fn looked_up(home: &Home, route: &str) -> Result<String> {
    let route: MultiAddr = route.parse()?;
    for part in route.parts() {
        if let Part::Project(name) = part {
            ProjectNode::find(home, name)?;
        }
    }
    Ok(nodes_looked_up(home, &route)?.to_string())
}

/// As [`looked_up`], for what has names of nodes alone.
pub(super) fn nodes_looked_up(home: &Home, route: &MultiAddr) -> Result<MultiAddr> {
    let mut parts = Vec::new();
    for part in route.parts() {
        let Part::Node(given) = part else {
            parts.push(part.clone());
            continue;
        };
        let name = node_name(given)?;
        let (record, running) = home.server(&name)?;
        let at = multiaddr(&record).filter(|_| running).ok_or_else(|| {
            Error::new(Kind::Unavailable, format!("the node `{name}` does not run, or has no TCP listener"))
                .with_hint(format!("`ockam-kms node start {name}` starts it"))
        })?;
        parts.extend_from_slice(at.parse::<MultiAddr>()?.parts());
    }
    Ok(MultiAddr::new(parts)?)
}

/// Who may be at the other end, as identifiers, from how they were typed: names of identities of the home, too.
pub(crate) fn authorized(home: &Home, given: &[String]) -> Result<Vec<String>> {
    given.iter().map(|one| Ok(resolve::identifier(home, one)?.to_string())).collect()
}

/// The text in a field of an answer.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The name in the address of a worker, from how it is typed: `/service/NAME`, `/worker/NAME`, or the name alone.
pub(crate) fn bare(address: &str) -> &str {
    address.strip_prefix("/service/").or_else(|| address.strip_prefix("/worker/")).unwrap_or(address)
}

/// The item whose fields, any of these, have this text.
pub(crate) fn pick(items: Vec<Value>, wanted: &str, fields: &[&str], what: &str) -> Result<Value> {
    let is = |item: &Value| fields.iter().any(|name| bare(&field(item, name)) == bare(wanted));
    items
        .into_iter()
        .find(is)
        .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no {what} `{}`", wanted.escape_debug())))
}

/// A list, as blocks of lines or as JSON.
pub(crate) fn listed(items: Vec<Value>, plain: impl Fn(&Value) -> String, none: &str) -> Report {
    let told: Vec<_> = items.iter().map(plain).collect();
    Report::new(blocks(&told, none), Value::Array(items))
}
