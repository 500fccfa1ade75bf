//! `policy create|show|list|delete`: who reaches the resources of a node.

use home::control::{NodeAsk, PolicyFor};
use serde_json::{Value, json};

use crate::args::policy::{Create, Delete, List, Which};
use crate::commands::node::ask::{Asked, field, listed};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, table};

/// The types of resources: those that nodes of ours have, and what else the reference's scripts name.
const TYPES: [&str; 7] =
    ["echoer", "relay", "tcp-inlet", "tcp-outlet", "kafka-consumer", "kafka-producer", "lessor"];

pub(super) fn create(context: &Context, create: Create) -> Result<Report> {
    let to = match (create.resource, create.resource_type) {
        (Some(name), _) => PolicyFor::Resource(name),
        (None, Some(name)) if TYPES.contains(&name.as_str()) => PolicyFor::ResourceType(name),
        (None, other) => {
            let other = other.unwrap_or_default();
            return Err(Error::invalid(format!("`{}` is no type of resources", other.escape_debug()))
                .with_hint(format!("types are {}", TYPES.join(", "))));
        }
    };
    let asked = Asked::find(context, create.at.at.as_deref())?;
    let policy = asked.ask(NodeAsk::SetPolicy { to, policy: create.allow })?;
    let plain = format!("the policy is set at the node `{}`\n{}", asked.name, plain(&policy));
    let expression = field(&policy, "expression");
    Ok(Report::new(plain, told(policy)).machine(expression))
}

pub(super) fn show(context: &Context, which: &Which) -> Result<Report> {
    let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::Policies)?;
    let policy = of(items, &which.resource).next().ok_or_else(|| none(&which.resource))?;
    Ok(Report::new(plain(&policy), told(policy)))
}

pub(super) fn list(context: &Context, list: &List) -> Result<Report> {
    let items = Asked::find(context, list.at.at.as_deref())?.list(NodeAsk::Policies)?;
    let items = match &list.resource {
        Some(resource) => of(items, resource).collect(),
        None => items,
    };
    Ok(listed(items, plain, "there are no policies").items_as(told))
}

/// A policy as scripts look for it: `resource` is what it is for, a resource or a type of resources.
fn told(mut policy: Value) -> Value {
    let of_type = policy.get("resource_type").filter(|of_type| of_type.is_string()).cloned();
    if let (Some(resource), Some(of_type)) = (policy.get_mut("resource"), of_type) {
        *resource = of_type;
    }
    policy
}

pub(super) fn delete(context: &Context, delete: Delete) -> Result<Report> {
    let resource = delete.which.resource;
    let asked = Asked::with_something(context, delete.which.at.at.as_deref())?;
    let found = of(asked.list(NodeAsk::Policies)?, &resource).next().ok_or_else(|| none(&resource))?;
    if delete.consent.dry_run {
        let mut preview = Preview::default();
        preview.destroys(format!("the policy for `{resource}`: {}", field(&found, "expression")));
        return Ok(preview.report());
    }
    context.confirm(delete.consent.yes, &format!("Forget the policy for `{resource}`?"))?;
    let to = match found.get("resource").and_then(Value::as_str) {
        Some(name) => PolicyFor::Resource(name.to_owned()),
        None => PolicyFor::ResourceType(field(&found, "resource_type")),
    };
    asked.ask(NodeAsk::RemovePolicy { to })?;
    let plain = format!("the policy for `{resource}` is forgotten");
    Ok(Report::new(plain, json!({ "resource": resource })).machine(resource))
}

/// Those for a resource, or else for resources of that type.
fn of(items: Vec<Value>, wanted: &str) -> impl Iterator<Item = Value> {
    let wanted = wanted.to_owned();
    items
        .into_iter()
        .filter(move |item| field(item, "resource") == wanted || field(item, "resource_type") == wanted)
}

fn none(resource: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no policy for `{}`", resource.escape_debug()))
        .with_hint("`ockam-kms policy list` shows those that there are")
}

fn plain(policy: &Value) -> String {
    let (word, to) = match field(policy, "resource") {
        name if name.is_empty() => ("resource type", field(policy, "resource_type")),
        name => ("resource", name),
    };
    table(&[(word, to), ("allow", field(policy, "expression"))])
}
