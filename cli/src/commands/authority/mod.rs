//! `authority …` and `node …`.

mod background;
mod control;
mod plan;
mod serve;
mod show;

use std::time::{Duration, Instant};

use home::control::{Ask, ask, ask_within};
use home::{Home, Name, ServerRecord};
use serde_json::{Value, json};

use crate::args::authority::{Create, Delete, NodeVerb, Stop, Verb};
use crate::context::{Context, name, optional_name};
use crate::dry_run::Preview;
use crate::error::{Error, Result, io};
use crate::exit::Kind;
use crate::output::{Report, blocks, table};
use crate::progress;
pub(crate) use control::{orphans_of, write_log};
use plan::Plan;
pub(crate) use serve::ensure_vault;

/// How long a server may take to end: it answers first what it was asked.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// How long one that may be killed has to take the question, and to end after it: longer than it drains.
const ASK_WAIT: Duration = Duration::from_secs(5);
const FORCE_WAIT: Duration = Duration::from_secs(20);

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List => list(context),
        Verb::Show(which) => show::run(context, &which),
        Verb::Reload(named) => reload(context, named.name.as_deref()),
        Verb::Stop(which) => stop(context, &which),
    }
}

pub(crate) fn run_node(context: &Context, verb: NodeVerb) -> Result<Report> {
    match verb {
        NodeVerb::List => list(context),
        NodeVerb::Show(named) => {
            let home = context.read()?;
            let name = server_name(home, named.name.as_deref())?;
            show::local(home, &name)
        }
        NodeVerb::Stop(which) => stop(context, &which),
        NodeVerb::Delete(delete) => self::delete(context, &delete),
    }
}

fn create(context: &Context, create: &Create) -> Result<Report> {
    let plan = Plan::new(context, create)?;
    if create.foreground {
        serve::run(context, plan, create.detached)
    } else {
        background::run(context, &plan)
    }
}

/// The server that was named, or the only one that there is.
pub(crate) fn server_name(home: &Home, given: Option<&str>) -> Result<Name> {
    if let Some(name) = optional_name("a server", given)? {
        home.server(&name)?;
        return Ok(name);
    }
    let mut names = home.servers()?.into_iter().map(|(name, ..)| name);
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::new(Kind::NotFound, "there is no server")
            .with_hint("`ockam-kms authority create` starts one")),
        (Some(_), Some(_)) => {
            Err(Error::usage("there are several servers").with_hint("name one: `ockam-kms authority list`"))
        }
    }
}

fn list(context: &Context) -> Result<Report> {
    let (mut plain, mut items) = (Vec::new(), Vec::new());
    for (name, record, running) in context.read()?.servers()? {
        plain.push(plain_server(&name, &record, running));
        items.push(json_server(&name, &record, running));
    }
    Ok(Report::new(blocks(&plain, "there are no servers"), Value::Array(items)))
}

fn plain_server(name: &Name, record: &ServerRecord, running: bool) -> String {
    let mut rows = vec![
        ("name", name.to_string()),
        ("kind", record.kind.clone()),
        ("state", if running { format!("running, process {}", record.pid) } else { "stopped".to_owned() }),
        ("identity", record.identity.clone()),
        ("project", record.project.clone()),
    ];
    rows.extend(record.url().map(|url| ("http", url)));
    rows.extend(record.channel_route().map(|route| ("secure channels", route)));
    rows.push(("store", record.store.clone()));
    table(&rows)
}

fn json_server(name: &Name, record: &ServerRecord, running: bool) -> Value {
    json!({
        "name": name.as_str(),
        "kind": record.kind,
        "is_authority": record.kind == "authority",
        "running": running,
        "pid": if running { Some(record.pid) } else { None },
        "identity": record.identity,
        "project": record.project,
        "http_address": record.http_address,
        "tls": record.tls,
        "tcp_address": record.tcp_address,
        "route": record.channel_route(),
        "store": record.store,
    })
}

fn reload(context: &Context, given: Option<&str>) -> Result<Report> {
    let home = context.home()?;
    let name = server_name(home, given)?;
    let answer = ask(&home.control_socket(&name), &Ask::Reload)?;
    Ok(Report::new(format!("the server `{name}` has read its identity and certificate again"), answer)
        .machine(name.as_str()))
}

fn stop(context: &Context, which: &Stop) -> Result<Report> {
    let home = context.home()?;
    let name = server_name(home, which.name.as_deref())?;
    let (record, was_running) = home.server(&name)?;
    if which.dry_run {
        let mut preview = Preview::default();
        if was_running {
            preview.destroys(format!(
                "the process {} of the server `{name}`, which serves `{}`",
                record.pid, record.project
            ));
            if record.store == "memory:" {
                preview.destroys("its members, tickets and audit log, which are in its memory alone");
            }
        }
        if record.store != "memory:" {
            preview.keeps(format!("its store `{}`", record.store));
        }
        preview.keeps(format!("the identity `{}` and its keys", record.identity));
        return Ok(preview.report());
    }
    let killed = was_running && end(context, &name, which.force)?;
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

fn preview_of_delete(home: &Home, name: &Name, record: &ServerRecord, in_the_way: bool) -> Preview {
    let mut preview = Preview::default();
    preview.destroys(format!("the record and the logs of the server `{name}`"));
    if record.store == plan::store_url(&plan::default_store(home, name)) {
        preview.destroys(format!("its store `{}`: members, tickets and audit log", record.store));
    } else {
        preview.keeps(format!("its store `{}`", record.store));
    }
    preview.keeps(format!("the identity `{}` and its keys", record.identity));
    if in_the_way {
        preview.needed_by(format!("the process {}, which is running: --force stops it", record.pid));
    }
    preview
}

/// Asks a server to end, and waits until it has; whether it had to be killed.
fn end(context: &Context, name: &Name, force: bool) -> Result<bool> {
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
                    "see its log in the home, `servers/NAME.log`; `authority stop NAME --force` kills it",
                ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn delete(context: &Context, delete: &Delete) -> Result<Report> {
    let name = name("a server", &delete.name)?;
    let home = context.home()?;
    let (record, running) = home.server(&name)?;
    if delete.dry_run {
        return Ok(preview_of_delete(home, &name, &record, running && !delete.force).report());
    }
    if running && !delete.force {
        return Err(Error::new(Kind::Denied, format!("the server `{name}` is running"))
            .with_hint("stop it first, or add --force"));
    }
    let own = plan::default_store(home, &name);
    let store_is_ours = record.store == plan::store_url(&own);
    let question = if store_is_ours {
        format!("Delete `{name}`? Its members, tickets and audit log are gone for good.")
    } else {
        format!("Forget `{name}`? Its store `{}` stays.", record.store)
    };
    context.confirm(delete.yes, &question)?;
    if running {
        end(context, &name, true)?;
    }
    let writer = context.writer()?;
    // Held until the end, so that it cannot be started meanwhile.
    let _lock = home.lock_server(&name)?;
    home.remove_server(&writer, &name)?;
    for log in [plan::log_file(home, &name), plan::old_log_file(home, &name)] {
        let _ = std::fs::remove_file(log);
    }
    if store_is_ours && own.exists() {
        std::fs::remove_dir_all(&own).map_err(|e| io("remove", &own, e))?;
    }
    Ok(Report::new(format!("the server `{name}` is deleted"), json!({ "name": name.as_str() }))
        .machine(name.as_str()))
}
