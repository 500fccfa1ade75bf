//! `relay …`

use home::Home;
use home::control::{NodeAsk, PartyAsk};
use serde_json::{Value, json};

use super::node::ask::{Asked, authorized, field, listed, looked_up, pick};
use crate::args::relay::{Create, Verb};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::output::{Report, table};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, create),
        Verb::List(list) => {
            let items = Asked::find(context, list.to.as_deref())?.list(NodeAsk::Relays)?;
            Ok(listed(items, plain, "there are no relays").items_as(bare))
        }
        Verb::Show(which) => {
            let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::Relays)?;
            let item = pick(items, &which.name, &["name"], "relay")?;
            let (told, name) = (plain(&item), field(&item, "name"));
            Ok(Report::new(told, with(item, "destination", "destination_address")).machine(name))
        }
        Verb::Delete(delete) => {
            let asked = Asked::with_something(context, delete.which.at.at.as_deref())?;
            let name = delete.which.name;
            let found = pick(asked.list(NodeAsk::Relays)?, &name, &["name"], "relay")?;
            if delete.consent.dry_run {
                let mut preview = Preview::default();
                preview.destroys(format!("the relay `{name}` at {}", field(&found, "destination_address")));
                preview.keeps("connections and channels to the other node that were made by hand");
                return Ok(preview.report());
            }
            context.confirm(delete.consent.yes, &format!("Take nothing more from the relay `{name}`?"))?;
            asked.ask(NodeAsk::DeleteRelay { name: name.clone() })?;
            Ok(Report::new(format!("the relay `{name}` is given up"), json!({ "name": name })).machine(name))
        }
    }
}

fn create(context: &Context, create: Create) -> Result<Report> {
    let asked = Asked::find(context, create.to.as_deref())?;
    let ask = NodeAsk::CreateRelay {
        to: way(context.home()?, create.at.as_deref())?,
        name: create.name,
        address: create.relay_address,
        party: PartyAsk { identity: create.party.identity, credential: None },
        authorized: authorized(context.home()?, &create.party.authorized)?,
        wait: (!create.no_connection_wait).then(|| create.wait.millis()),
    };
    let relay = asked.ask_within(ask, create.wait.timeout)?;
    let name = field(&relay, "name");
    if create.no_connection_wait {
        let plain = format!("the relay `{name}` is registered as soon as the other node takes it");
        return Ok(Report::new(plain, bare(relay)));
    }
    let remote = field(&relay, "remote_address");
    let plain = format!("the relay `{name}` is registered\n{remote}");
    Ok(Report::new(plain, bare(relay)).machine(remote))
}

/// The way to the node that has a relay, from how it is typed: a name without a slash is a node's.
fn way(home: &Home, typed: Option<&str>) -> Result<String> {
    match typed {
        Some(name) if !name.contains('/') => looked_up(home, &format!("/node/{name}")),
        Some(route) => looked_up(home, route),
        None => {
            let project = home.defaults()?.project.ok_or_else(|| {
                Error::usage("the way to the node that has the relay is not given")
                    .with_hint("as in --at /node/n2; without, it is at the node of the default project")
            })?;
            looked_up(home, &format!("/project/{project}"))
        }
    }
}

/// A relay where the reference has the name of the address alone: what `create` and `list` print.
fn bare(mut relay: Value) -> Value {
    if let Some(Value::String(remote)) = relay.get_mut("remote_address")
        && let Some(name) = remote.strip_prefix("/service/")
    {
        *remote = name.to_owned();
    }
    relay
}

/// A member under a second name.
fn with(mut of: Value, name: &str, like: &str) -> Value {
    let value = of.get(like).cloned().unwrap_or_default();
    if let Value::Object(map) = &mut of {
        map.insert(name.to_owned(), value);
    }
    of
}

fn plain(relay: &Value) -> String {
    table(&[
        ("name", field(relay, "name")),
        ("at", field(relay, "destination_address")),
        ("address there", field(relay, "remote_address")),
        ("worker here", field(relay, "worker_address")),
        ("connection", field(relay, "connection_status")),
    ])
}
