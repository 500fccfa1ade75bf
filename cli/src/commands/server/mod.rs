//! Servers that run from this home, of any kind: how they are named, listed, ended and forgotten.

pub(crate) mod background;
pub(crate) mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use home::control::{Ask, ask, ask_within};
use home::{Home, Name, ServerRecord};
use serde_json::{Value, json};

use crate::args::authority::Stop;
use crate::commands::authority::own_store;
use crate::context::{Context, name, optional_name};
use crate::dry_run::Preview;
use crate::error::{Error, Result, io};
use crate::exit::Kind;
use crate::output::{Report, blocks, table};
use crate::progress;

/// How long a server may take to end: it answers first what it was asked.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// How long one that may be killed has to take the question, and to end after it: longer than it drains.
const ASK_WAIT: Duration = Duration::from_secs(5);
const FORCE_WAIT: Duration = Duration::from_secs(20);

/// What a server is: its record says so.
pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const NODE: &str = "node";

/// The server that was named; else the default node, or the only server that there is.
pub(crate) fn any(home: &Home, given: Option<&str>) -> Result<Name> {
    match (given, home.default_node()?) {
        (None, Some(node)) => Ok(node),
        _ => of_kinds(home, given, &[AUTHORITY, NODE]),
    }
}

/// The authority that was named, or the only one that there is.
pub(crate) fn authority(home: &Home, given: Option<&str>) -> Result<Name> {
    of_kinds(home, given, &[AUTHORITY])
}

fn of_kinds(home: &Home, given: Option<&str>, kinds: &[&str]) -> Result<Name> {
    if let Some(name) = optional_name("a server", given)? {
        home.server(&name)?;
        return Ok(name);
    }
    let mut names = home
        .servers()?
        .into_iter()
        .filter(|(_, record, _)| kinds.contains(&record.kind.as_str()))
        .map(|(name, ..)| name);
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::new(Kind::NotFound, "there is no server")
            .with_hint("`ockam-kms node create` starts a node, `ockam-kms authority create` an authority")),
        (Some(_), Some(_)) => {
            let noun = if kinds == [AUTHORITY] { AUTHORITY } else { NODE };
            Err(Error::usage("there are several servers")
                .with_hint(format!("name one: `ockam-kms {noun} list`")))
        }
    }
}

/// The servers for which this holds.
pub(crate) fn list(context: &Context, listed: impl Fn(&ServerRecord) -> bool) -> Result<Report> {
    let home = context.read()?;
    let (mut plain, mut items) = (Vec::new(), Vec::new());
    for (name, record, running) in home.servers()? {
        if listed(&record) {
            plain.push(plain_server(home, &name, &record, running)?);
            let mut item = json_server(home, &name, &record, running)?;
            if let Value::Object(item) = &mut item {
                // In a list the reference has an object here, and a word for one server.
                let pid = item.get("pid").cloned();
                if let Some(status) = item.get_mut("status") {
                    *status = json!({ "status": status, "pid": pid });
                }
            }
            items.push(item);
        }
    }
    Ok(Report::new(blocks(&plain, "there are no servers"), Value::Array(items)))
}

pub(crate) fn plain_server(home: &Home, name: &Name, record: &ServerRecord, running: bool) -> Result<String> {
    let is_default = home.default_node()?.as_ref() == Some(name);
    let mut rows = vec![
        ("name", if is_default { format!("{name} (default)") } else { name.to_string() }),
        ("kind", record.kind.clone()),
        ("state", if running { format!("running, process {}", record.pid) } else { "stopped".to_owned() }),
        ("identity", record.identity.clone()),
    ];
    let mut row = |word, value: &str| {
        if !value.is_empty() {
            rows.push((word, value.to_owned()));
        }
    };
    row("project", &record.project);
    let is_node = record.node.is_some();
    row(
        if is_node { "status" } else { "http" },
        &record.url().filter(|_| running || !is_node).unwrap_or_default(),
    );
    row("tcp", record.tcp_address.as_deref().filter(|_| running).unwrap_or_default());
    row("secure channels", &channel_route(record).unwrap_or_default());
    row("store", &record.store);
    Ok(table(&rows))
}

pub(crate) fn json_server(home: &Home, name: &Name, record: &ServerRecord, running: bool) -> Result<Value> {
    let mut json = json!({
        "name": name.as_str(),
        "node_name": name.as_str(),
        "kind": record.kind,
        "is_authority": record.kind == AUTHORITY,
        "running": running,
        "status": if running { "running" } else { "stopped" },
        "pid": if running { Some(record.pid) } else { None },
        "identity": record.identity,
        "identity_name": record.identity,
    });
    let more = if record.node.is_some() {
        json!({
            "is_default": home.default_node()?.as_ref() == Some(name),
            "tcp_address": record.tcp_address.as_ref().filter(|_| running),
            "status_endpoint_address": record.http_address.as_ref().filter(|_| running),
            "route": { "short": format!("/node/{name}"), "verbose": multiaddr(record).filter(|_| running) },
        })
    } else {
        json!({
            "project": record.project,
            "http_address": record.http_address,
            "tls": record.tls,
            "tcp_address": record.tcp_address,
            "channel_route": channel_route(record),
            "store": record.store,
        })
    };
    if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
        json.extend(more);
    }
    Ok(json)
}

/// How a node or authority is reached by TCP, as the beginning of a route. One that listens on all addresses is reached on
/// this machine's own.
pub(crate) fn multiaddr(record: &ServerRecord) -> Option<String> {
    let address: std::net::SocketAddr = record.tcp_address.as_deref()?.parse().ok()?;
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let word = if ip.is_ipv4() { "ip4" } else { "ip6" };
    Some(format!("/{word}/{ip}/tcp/{}", address.port()))
}

/// The route to an authority's listener of secure channels, when that door is open. Whoever is on another machine puts that
/// machine's name in the place of an address that is only good here.
pub(crate) fn channel_route(record: &ServerRecord) -> Option<String> {
    let route = multiaddr(record).filter(|_| record.kind == AUTHORITY)?;
    Some(format!("{route}/service/{}", authority::ockam::LISTENER))
}

pub(crate) fn stop(context: &Context, name: &Name, which: &Stop) -> Result<Report> {
    let home = context.home()?;
    let (record, was_running) = home.server(name)?;
    if which.dry_run {
        return Ok(preview_of_stop(name, &record, was_running).report());
    }
    let killed = was_running && end(context, name, which.force)?;
    let words = match (was_running, killed) {
        (true, true) => "did not end by itself, and was killed",
        (true, false) => "stopped",
        (false, _) => "was not running",
    };
    Ok(Report::new(
        format!("the server `{name}` {words}"),
        json!({ "name": name.as_str(), "was_running": was_running, "killed": killed }),
    )
    .machine(name.as_str()))
}

fn preview_of_stop(name: &Name, record: &ServerRecord, was_running: bool) -> Preview {
    let mut preview = Preview::default();
    let is_node = record.node.is_some();
    if was_running && is_node {
        preview.destroys(format!("the process {} of the node `{name}`", record.pid));
        preview.destroys("its connections, channels, relays and services started by hand");
    } else if was_running {
        preview.destroys(format!(
            "the process {} of the server `{name}`, which serves `{}`",
            record.pid, record.project
        ));
        if record.store == "memory:" {
            preview.destroys("its members, tickets and audit log, which are in its memory alone");
        }
    }
    if is_node {
        preview.keeps("its record and its policies");
    } else if record.store != "memory:" {
        preview.keeps(format!("its store `{}`", record.store));
    }
    preview.keeps(format!("the identity `{}` and its keys", record.identity));
    preview
}

/// What would be gone with a server.
pub(crate) fn preview_of_delete(
    preview: &mut Preview,
    home: &Home,
    name: &Name,
    record: &ServerRecord,
    in_the_way: bool,
) {
    preview.destroys(format!("the record and the logs of the server `{name}`"));
    if record.node.is_none() {
        if own_store(home, name, record).is_some() {
            preview.destroys(format!("its store `{}`: members, tickets and audit log", record.store));
        } else {
            preview.keeps(format!("its store `{}`", record.store));
        }
    }
    preview.keeps(format!("the identity `{}` and its keys", record.identity));
    if in_the_way {
        preview.needed_by(format!("the process {}, which is running: --force stops it", record.pid));
    }
}

/// Forgets a server that was stopped, and removes what it has in the home.
pub(crate) fn forget(context: &Context, name: &Name, record: &ServerRecord) -> Result<()> {
    let home = context.home()?;
    let writer = context.writer()?;
    // Held until the end, so that it cannot be started meanwhile.
    let _lock = home.lock_server(name)?;
    home.remove_server(&writer, name)?;
    for log in [log_file(home, name), old_log_file(home, name)] {
        let _ = std::fs::remove_file(log);
    }
    match own_store(home, name, record) {
        Some(own) if own.exists() => std::fs::remove_dir_all(&own).map_err(|e| io("remove", &own, e)),
        _ => Ok(()),
    }
}

/// Asks a server to end, and waits until it has; whether it had to be killed.
pub(crate) fn end(context: &Context, name: &Name, force: bool) -> Result<bool> {
    let _waiting = progress::waiting(context.output, "waiting for the server to end");
    let home = context.home()?;
    let socket = home.control_socket(name);
    if force {
        // One that hangs takes the question and never answers.
        let patience = match ask_within(&socket, &Ask::Stop, ASK_WAIT) {
            Ok(_) => FORCE_WAIT,
            Err(_) => Duration::from_secs(2),
        };
        if wait_until_ended(home, name, patience).is_ok() {
            return Ok(false);
        }
        home.kill_server(name)?;
        return wait_until_ended(home, name, FORCE_WAIT).map(|()| true);
    }
    match ask(&socket, &Ask::Stop) {
        Ok(_) => {}
        // It may be ending already.
        Err(error) => wait_until_ended(home, name, Duration::from_secs(2)).map_err(|_| error)?,
    }
    wait_until_ended(home, name, STOP_WAIT).map(|()| false)
}

fn wait_until_ended(home: &Home, name: &Name, wait: Duration) -> Result<()> {
    let start = Instant::now();
    while home.server(name)?.1 {
        if start.elapsed() > wait {
            return Err(Error::new(Kind::Unavailable, format!("the server `{name}` does not end"))
                .with_hint(
                    "see its log in the home, `servers/NAME.log`; `node stop NAME --force` kills it",
                ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Where a server in the background writes what it says.
pub(crate) fn log_file(home: &Home, server: &Name) -> PathBuf {
    home.path().join("servers").join(format!("{server}.log"))
}

/// What it said before that.
pub(crate) fn old_log_file(home: &Home, server: &Name) -> PathBuf {
    home.path().join("servers").join(format!("{server}.log.1"))
}

/// A checked name of a server, from how a node is written in a command line: `n1`, or `/node/n1`.
pub(crate) fn node_name(given: &str) -> Result<Name> {
    name("a node", given.strip_prefix("/node/").unwrap_or(given))
}
