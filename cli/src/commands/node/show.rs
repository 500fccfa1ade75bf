//! `node show`, and what a node that was started comes back with.

use home::control::{Ask, ask};
use home::{Home, Name, ServerRecord};
use serde_json::{Value, json};

use crate::commands::server::{json_server, multiaddr, plain_server};
use crate::error::Result;
use crate::output::{Report, table};

/// A node of this home, with what it says of itself when it runs.
pub(super) fn local(home: &Home, name: &Name) -> Result<Report> {
    let (record, running) = home.server(name)?;
    let status = if running { ask(&home.control_socket(name), &Ask::Status).ok() } else { None };
    let node = status.as_ref().and_then(|status| status.get("node")).cloned();
    let json = json_node(home, name, (&record, running), node.as_ref())?;
    let mut rows = vec![("identifier", identifier(home, &record)?.unwrap_or_else(|| "?".to_owned()))];
    rows.extend(multiaddr(&record).filter(|_| running).map(|route| ("route", route)));
    if let Some(node) = &node {
        let names = |part: &str, field: &str| {
            let all = node.get(part).and_then(Value::as_array).into_iter().flatten();
            let names: Vec<_> = all.filter_map(|one| one.get(field)?.as_str()).collect();
            names.join(", ")
        };
        rows.push(("listens at", names("transports", "socket_addr")));
        rows.push(("takes channels at", names("secure_channel_listeners", "address")));
        rows.push(("services", names("services", "addr")));
        for (word, part) in
            [("channels", "secure_channels"), ("connections", "tcp_connections"), ("relays", "relays")]
        {
            rows.push((word, node.get(part).and_then(Value::as_u64).unwrap_or_default().to_string()));
        }
    }
    let plain = format!("{}\n{}", plain_server(home, name, &record, running)?, table(&rows));
    Ok(Report::new(plain, json))
}

fn identifier(home: &Home, record: &ServerRecord) -> Result<Option<String>> {
    Ok(home.identity(&Name::new(&record.identity)?).map(|record| record.identifier().to_string()).ok())
}

/// The same in JSON, with what the node says of itself when it runs.
pub(super) fn json_node(
    home: &Home,
    name: &Name,
    (record, running): (&ServerRecord, bool),
    said: Option<&Value>,
) -> Result<Value> {
    let mut json = json_server(home, name, record, running)?;
    if let Value::Object(map) = &mut json {
        map.insert("identifier".to_owned(), json!(identifier(home, record)?));
        for part in ["transports", "secure_channel_listeners", "services"] {
            let found = said.and_then(|node| node.get(part)).cloned();
            map.insert(part.to_owned(), found.unwrap_or_else(|| json!([])));
        }
    }
    Ok(json)
}

/// What `node create` comes back with.
pub(super) fn created(home: &Home, name: &Name) -> Result<Report> {
    let (record, running) = home.server(name)?;
    let at = record.tcp_address.clone().unwrap_or_default();
    let json = json_server(home, name, &record, running)?;
    Ok(Report::new(format!("node `{name}` is ready at {at}"), json).machine(name.as_str()))
}
