//! `secure-channel …`, `secure-channel-listener …`

use home::control::{NodeAsk, PartyAsk};
use serde_json::{Value, json};

use super::node::ask::{Asked, authorized, field, listed, looked_up, pick};
use crate::args::secure_channel::{Create, ListenerCreate, ListenerVerb, Verb};
use crate::context::Context;
use crate::error::Result;
use crate::output::{Report, table, time};
use crate::secret_input::text;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Channels)?;
            Ok(listed(items, plain, "there are no secure channels"))
        }
        Verb::Show(which) => {
            let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::Channels)?;
            let item = pick(items, &which.address, &["address"], "secure channel")?;
            Ok(Report::new(plain(&item), item.clone()).machine(field(&item, "address")))
        }
        Verb::Delete(delete) => {
            let asked = Asked::find(context, delete.which.at.at.as_deref())?;
            let address = delete.which.address;
            let found = pick(asked.list(NodeAsk::Channels)?, &address, &["address"], "secure channel")?;
            context
                .confirm(delete.yes, &format!("Close the secure channel `{}`?", field(&found, "address")))?;
            gone(&asked.ask(NodeAsk::CloseChannel { address })?, "the secure channel is closed")
        }
    }
}

fn create(context: &Context, create: &Create) -> Result<Report> {
    let asked = Asked::find(context, create.from.as_deref())?;
    let credential = match create.credential.as_deref() {
        Some(given) => Some(text(given, "credential")?.to_string()),
        None => None,
    };
    let ask = NodeAsk::OpenChannel {
        to: looked_up(context.home()?, &create.to)?,
        party: PartyAsk { identity: create.party.identity.clone(), credential },
        authorized: authorized(context.home()?, &create.party.authorized)?,
        wait: create.wait.millis(),
    };
    let channel = asked.ask_within(ask, create.wait.timeout)?;
    let address = field(&channel, "address");
    let plain = format!("secure channel to {} open\n{address}", field(&channel, "peer"));
    Ok(Report::new(plain, json!([{ "address": address }])).machine(address))
}

fn plain(channel: &Value) -> String {
    let since = channel.get("since").and_then(Value::as_u64).unwrap_or_default();
    let mut rows = vec![
        ("address", field(channel, "address")),
        ("peer", field(channel, "peer")),
        ("role", field(channel, "role")),
        ("since", time(identity::Timestamp(since))),
    ];
    let listener = field(channel, "listener");
    if !listener.is_empty() {
        rows.insert(3, ("listener", listener));
    }
    table(&rows)
}

/// What a command that ended something comes back with.
pub(super) fn gone(answer: &Value, plain: &str) -> Result<Report> {
    let address = field(answer, "address");
    Ok(Report::new(plain, json!({ "address": address })).machine(address))
}

pub(crate) fn run_listener(context: &Context, verb: ListenerVerb) -> Result<Report> {
    match verb {
        ListenerVerb::Create(create) => self::create_listener(context, create),
        ListenerVerb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::ChannelListeners)?;
            let lines: Vec<_> = items.iter().map(|item| field(item, "address")).collect();
            let none = "there are no secure channel listeners";
            let plain = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
            Ok(Report::new(plain, Value::Array(items)))
        }
        ListenerVerb::Show(which) => {
            let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::ChannelListeners)?;
            let item = pick(items, &which.address, &["address"], "secure channel listener")?;
            let address = field(&item, "address");
            Ok(Report::new(address.clone(), item).machine(address))
        }
        ListenerVerb::Delete(which) => {
            let asked = Asked::find(context, which.at.at.as_deref())?;
            let answer = asked.ask(NodeAsk::StopChannelListener { address: which.address })?;
            gone(&answer, "no more secure channels are taken there")
        }
    }
}

fn create_listener(context: &Context, create: ListenerCreate) -> Result<Report> {
    let asked = Asked::find(context, create.at.at.as_deref())?;
    let answer = asked.ask(NodeAsk::ListenChannels {
        address: create.address,
        party: PartyAsk { identity: create.party.identity, credential: None },
        authorized: authorized(context.home()?, &create.party.authorized)?,
    })?;
    let address = field(&answer, "address");
    let plain = format!("secure channels are taken at {address}");
    Ok(Report::new(plain, json!([{ "address": address }])).machine(address))
}
