//! `secure-channel …`, `secure-channel-listener …`

use home::Home;
use home::control::{NodeAsk, PartyAsk};
use node::multiaddr::{MultiAddr, Part};
use serde_json::{Value, json};

use super::node::ask::{Asked, ask_here, authorized, field, listed, looked_up, pick};
use crate::args::node::Trust;
use crate::args::secure_channel::{Create, ListenerCreate, ListenerVerb, Show, Verb, Which};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::output::{Report, table, time};
use crate::secret_input::text;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List(at) => {
            let mut items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Channels)?;
            let home = context.read()?;
            items.iter_mut().try_for_each(|item| know(home, item))?;
            Ok(listed(items, plain, "there are no secure channels"))
        }
        Verb::Show(show) => self::show(context, &show),
        Verb::Delete(delete) => {
            let asked = Asked::with_something(context, delete.which.at.at.as_deref())?;
            let address = delete.which.address;
            let found = pick(asked.list(NodeAsk::Channels)?, &address, &["address"], "secure channel")?;
            let shown = field(&found, "address");
            if delete.consent.dry_run {
                let mut preview = Preview::default();
                preview.destroys(format!("the secure channel `{shown}` to {}", field(&found, "peer")));
                preview.destroys("what was opened on the way to it");
                return Ok(preview.report());
            }
            context.confirm(delete.consent.yes, &format!("Close the secure channel `{shown}`?"))?;
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

fn show(context: &Context, show: &Show) -> Result<Report> {
    let home = context.read()?;
    let route = match show.at.as_deref().filter(|at| at.starts_with('/')) {
        Some(at) => Some(at.parse::<MultiAddr>()?),
        None => None,
    };
    let (node, address) = match (&show.address, route.as_ref().map(MultiAddr::parts)) {
        (Some(address), None) => (show.at.clone(), address),
        (Some(address), Some([Part::Node(node)])) => (Some(node.clone()), address),
        // It may be a listener of a node: then somebody is met there.
        (None, Some([Part::Node(node), Part::Service(address)])) if has(context, node, address)? => {
            (Some(node.clone()), address)
        }
        (None, Some([Part::Node(_)]) | None) | (Some(_), Some(_)) => {
            return Err(Error::usage("one address of a channel is needed").with_hint(
                "as in `secure-channel show ADDRESS --at NODE`, or `--at /node/NODE/service/ADDRESS`",
            ));
        }
        (None, Some(_)) => {
            let to = looked_up(home, show.at.as_deref().unwrap_or_default())?;
            let party = PartyAsk::default();
            let ask = NodeAsk::OpenChannel { to, party, authorized: Vec::new(), wait: show.wait.millis() };
            let met = ask_here(context, show.identity.as_deref(), &Trust::default(), ask)?;
            return shown(home, met);
        }
    };
    let items = Asked::find(context, node.as_deref())?.list(NodeAsk::Channels)?;
    shown(home, pick(items, address, &["address"], "secure channel")?)
}

/// Whether a node has a channel at an address.
fn has(context: &Context, node: &str, address: &str) -> Result<bool> {
    let items = Asked::find(context, Some(node))?.list(NodeAsk::Channels)?;
    Ok(pick(items, address, &["address"], "secure channel").is_ok())
}

fn shown(home: &Home, mut channel: Value) -> Result<Report> {
    know(home, &mut channel)?;
    let (plain, address) = (plain(&channel), field(&channel, "address"));
    Ok(Report::new(plain, channel).machine(address))
}

/// Adds to a channel what is known of the peer: its history, when it was meant.
fn know(home: &Home, channel: &mut Value) -> Result<()> {
    let peer = field(channel, "peer");
    let known = match peer.parse() {
        Ok(identifier) => home.known_identity(&identifier)?.map(|known| known.to_hex()),
        Err(_) => None,
    };
    if let Value::Object(map) = channel {
        map.insert("their_identifier".to_owned(), json!(peer));
        map.insert("their_change_history".to_owned(), json!(known));
    }
    Ok(())
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
fn gone(answer: &Value, plain: &str) -> Result<Report> {
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
        ListenerVerb::Delete(delete) => {
            let Which { address, at } = delete.which;
            let asked = Asked::with_something(context, at.at.as_deref())?;
            if delete.dry_run {
                let items = asked.list(NodeAsk::ChannelListeners)?;
                let found = pick(items, &address, &["address"], "secure channel listener")?;
                let mut preview = Preview::default();
                preview.destroys(format!("the secure channel listener `{}`", field(&found, "address")));
                preview.keeps("secure channels that were opened to it");
                return Ok(preview.report());
            }
            let answer = asked.ask(NodeAsk::StopChannelListener { address })?;
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
