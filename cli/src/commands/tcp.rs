//! `tcp-connection …`, `tcp-listener …`

use home::control::NodeAsk;
use serde_json::{Value, json};

use super::node::ask::{Asked, field, listed, pick};
use crate::args::tcp::{Connect, ConnectionVerb, ListenerVerb, Which};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::Result;
use crate::output::{Report, table};

/// What names a connection or listener.
const NAMED_BY: [&str; 2] = ["address", "socket_addr"];

pub(crate) fn run_connection(context: &Context, verb: ConnectionVerb) -> Result<Report> {
    match verb {
        ConnectionVerb::Create(connect) => self::connect(context, connect),
        ConnectionVerb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Connections)?;
            Ok(listed(items, plain_connection, "there are no TCP connections"))
        }
        ConnectionVerb::Show(which) => {
            let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::Connections)?;
            let item = pick(items, &which.address, &NAMED_BY, "TCP connection")?;
            Ok(Report::new(plain_connection(&item), item.clone()).machine(field(&item, "address")))
        }
        ConnectionVerb::Delete(delete) => {
            let Which { address, at } = delete.which;
            let asked = Asked::with_something(context, at.at.as_deref())?;
            let found = pick(asked.list(NodeAsk::Connections)?, &address, &NAMED_BY, "TCP connection")?;
            let to = field(&found, "socket_addr");
            if delete.consent.dry_run {
                let mut preview = Preview::default();
                preview.destroys(format!("the TCP connection `{}` to {to}", field(&found, "address")));
                preview.destroys("the way of what goes over it");
                return Ok(preview.report());
            }
            context.confirm(delete.consent.yes, &format!("End the TCP connection to {to}?"))?;
            asked.ask(NodeAsk::Disconnect { address: address.clone() })?;
            Ok(Report::new("the TCP connection is ended", json!({ "address": address })))
        }
    }
}

fn connect(context: &Context, connect: Connect) -> Result<Report> {
    let asked = Asked::find(context, connect.from.as_deref())?;
    let connection = asked.ask(NodeAsk::Connect { to: connect.to })?;
    // The word of the reference: the same as `/service`, and scripts look for it.
    let address = field(&connection, "address").replacen("/service/", "/worker/", 1);
    let to = field(&connection, "socket_addr");
    let json = json!({ "from": asked.name.as_str(), "to": to, "address": address });
    Ok(Report::new(format!("connected to {to}\n{address}"), json).machine(address))
}

fn plain_connection(connection: &Value) -> String {
    table(&[
        ("address", field(connection, "address")),
        ("mode", field(connection, "mode")),
        ("remote", field(connection, "socket_addr")),
        ("local", field(connection, "local_addr")),
    ])
}

pub(crate) fn run_listener(context: &Context, verb: ListenerVerb) -> Result<Report> {
    match verb {
        ListenerVerb::Create(which) => {
            let asked = Asked::find(context, which.at.at.as_deref())?;
            let listener = asked.ask(NodeAsk::Listen { address: which.address })?;
            let socket = field(&listener, "socket_addr");
            Ok(Report::new(format!("listening at {socket}"), listener).machine(socket))
        }
        ListenerVerb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Listeners)?;
            Ok(listed(items, plain_listener, "there are no TCP listeners"))
        }
        ListenerVerb::Show(which) => {
            let items = Asked::find(context, which.at.at.as_deref())?.list(NodeAsk::Listeners)?;
            let item = pick(items, &which.address, &NAMED_BY, "TCP listener")?;
            Ok(Report::new(plain_listener(&item), item))
        }
        ListenerVerb::Delete(delete) => {
            let Which { address, at } = delete.which;
            let asked = Asked::with_something(context, at.at.as_deref())?;
            let found = pick(asked.list(NodeAsk::Listeners)?, &address, &NAMED_BY, "TCP listener")?;
            let socket = field(&found, "socket_addr");
            if delete.consent.dry_run {
                let mut preview = Preview::default();
                preview.destroys(format!("the TCP listener at {socket}"));
                preview.keeps("connections that it has taken");
                return Ok(preview.report());
            }
            context.confirm(delete.consent.yes, &format!("Listen no more at {socket}?"))?;
            asked.ask(NodeAsk::StopListener { address })?;
            let node = asked.name.as_str();
            Ok(Report::new("the TCP listener is ended", json!({ "node": node })))
        }
    }
}

fn plain_listener(listener: &Value) -> String {
    table(&[("socket", field(listener, "socket_addr")), ("address", field(listener, "address"))])
}
