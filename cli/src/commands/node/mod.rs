//! `node …`

pub(crate) mod ask;
mod configuration;
mod control;
mod party;
mod plan;
mod project;
mod renewal;
mod serve;
mod service;
mod setup;
mod show;

use home::control::NodeAsk;
use home::{Home, Name, ServerRecord};
use serde_json::json;

use super::authority;
use super::server::{self, NODE, background};
use crate::args::node::{Create, Delete, Verb};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::Report;
use ask::{Asked, field};
use plan::Plan;
use serve::EndsWith;
use setup::Setup;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, *create),
        Verb::Start(named) => start(context, named.name.as_deref()),
        Verb::List => server::list(context, |_| true),
        Verb::Show(named) => {
            let home = context.read()?;
            let name = wanted(home, named.name.as_deref())?;
            match home.server(&name)?.0.kind.as_str() {
                NODE => show::local(home, &name),
                _ => authority::local(home, &name),
            }
        }
        Verb::Stop(which) => {
            let name = wanted(context.home()?, which.name.as_deref())?;
            server::stop(context, &name, &which)
        }
        Verb::Logs(named) => {
            let home = context.read()?;
            let name = wanted(home, named.name.as_deref())?;
            let path = server::log_file(home, &name).display().to_string();
            Ok(Report::new(path.clone(), json!({ "name": name.as_str(), "path": path })).machine(path))
        }
        Verb::Default(named) => default(context, named.name.as_deref()),
        Verb::Delete(delete) => self::delete(context, &delete),
    }
}

/// The server that was named, by name or as `/node/NAME`; the default node, or the only one.
fn wanted(home: &Home, given: Option<&str>) -> Result<Name> {
    let given = given.map(server::node_name).transpose()?;
    server::any(home, given.as_ref().map(Name::as_str))
}

fn create(context: &Context, create: Create) -> Result<Report> {
    if create.detached {
        // Who started it has read everything there is to read, and has enrolled.
        return serve::run(context, Plan::new(context, &create)?, EndsWith::Starter);
    }
    let setup = Setup::read(create)?;
    let (foreground, with_input) = (setup.create.foreground, setup.create.exit_on_eof);
    if !foreground {
        context.heard.keep();
    }
    let plan = setup.plan(context)?;
    if let Some(at) = plan.status_endpoint()?.filter(|at| !at.ip().to_canonical().is_loopback()) {
        context.output.note(&format!("whoever gets to `{at}` can read how the node is"));
    }
    match (foreground, with_input) {
        (true, true) => serve::run(context, plan, EndsWith::Input),
        (true, false) => serve::run(context, plan, EndsWith::Nothing),
        (false, _) => launch(context, plan),
    }
}

/// Starts a node in the background.
fn launch(context: &Context, mut plan: Plan) -> Result<Report> {
    context.heard.keep();
    // Here, where it is told to who waits, and not in a log.
    plan.identity = Some(serve::prepare(context, &plan)?);
    let launch = background::Launch {
        name: &plan.name,
        waiting: "waiting for the node to be ready",
        arguments: plan.arguments(),
    };
    background::run(context, &launch)?;
    note_relays(context, &plan)?;
    show::created(context.home()?, &plan.name)
}

/// What the state of a relay is called that the other node has taken, as in the reference.
const UP: &str = "Up";

/// Says which relays that the node was made with are not there yet.
fn note_relays(context: &Context, plan: &Plan) -> Result<()> {
    if plan.record.relays.is_empty() {
        return Ok(());
    }
    for relay in Asked::find(context, Some(plan.name.as_str()))?.list(NodeAsk::Relays)? {
        if field(&relay, "connection_status") != UP {
            let (name, at) = (field(&relay, "name"), field(&relay, "destination_address"));
            context
                .output
                .note(&format!("the relay `{name}` is not registered at `{at}` yet: the node tries again"));
        }
    }
    Ok(())
}

/// Makes the default node, where a command needs one and there is none.
pub(super) fn make_default(context: &Context) -> Result<Name> {
    let plan = Plan::new(context, &Create::default())?;
    let name = plan.name.clone();
    launch(context, plan)?;
    interrupt::in_time_again();
    context.output.note(&format!("there was no node: the node `{name}` is started"));
    Ok(name)
}

fn start(context: &Context, given: Option<&str>) -> Result<Report> {
    let home = context.home()?;
    let name = wanted(home, given)?;
    if home.server(&name)?.1 {
        // As the reference has it: what is wanted is so.
        return show::created(home, &name);
    }
    launch(context, Plan::stored(home, &name)?)
}

fn default(context: &Context, given: Option<&str>) -> Result<Report> {
    let name = match given {
        Some(given) => {
            let name = server::node_name(given)?;
            let home = context.home()?;
            home.server(&name)?;
            let writer = context.writer()?;
            home.set_default_node(&writer, &name)?;
            name
        }
        None => context.read()?.default_node()?.ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no node yet").with_hint("`ockam-kms node create` starts one")
        })?,
    };
    Ok(Report::new(format!("the default node is `{name}`"), json!({ "name": name.as_str() }))
        .machine(name.as_str()))
}

fn delete(context: &Context, delete: &Delete) -> Result<Report> {
    let home = context.home()?;
    let names = match delete.all {
        true => {
            let all = home.servers()?.into_iter();
            all.filter(|(_, record, _)| record.kind == NODE).map(|(name, ..)| name).collect()
        }
        false => vec![wanted(home, delete.name.as_deref())?],
    };
    let mut doomed: Vec<(Name, ServerRecord, bool)> = Vec::new();
    for name in names {
        let (record, running) = home.server(&name)?;
        doomed.push((name, record, running));
    }
    // A node has nothing that outlives its process; what an authority is doing is not cut by the way.
    let in_the_way = |record: &ServerRecord, running: bool| running && !delete.force && record.kind != NODE;
    if delete.dry_run {
        let mut preview = Preview::default();
        for (name, record, running) in &doomed {
            server::preview_of_delete(&mut preview, home, name, record, in_the_way(record, *running));
        }
        return Ok(preview.report());
    }
    if let Some((name, ..)) = doomed.iter().find(|(_, record, running)| in_the_way(record, *running)) {
        return Err(Error::new(Kind::Denied, format!("the server `{name}` is running"))
            .with_hint("stop it first, or add --force"));
    }
    context.confirm(delete.yes, &question(home, &doomed))?;
    for (name, record, running) in &doomed {
        if *running {
            server::end(context, name, true)?;
        }
        server::forget(context, name, record)?;
    }
    let json = match doomed.as_slice() {
        [(one, ..)] if !delete.all => json!({ "name": one.as_str() }),
        all => all.iter().map(|(name, ..)| json!({ "name": name.as_str() })).collect(),
    };
    let shown = doomed.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(", ");
    let plain = match doomed.as_slice() {
        [(one, ..)] => format!("the server `{one}` is deleted"),
        [] => "there was no node".to_owned(),
        _ => format!("deleted: {shown}"),
    };
    Ok(Report::new(plain, json).machine(shown))
}

fn question(home: &Home, doomed: &[(Name, ServerRecord, bool)]) -> String {
    match doomed {
        [(name, record, _)] if record.kind == NODE => format!("Delete the node `{name}`?"),
        [(name, record, _)] if authority::own_store(home, name, record).is_some() => {
            format!("Delete `{name}`? Its members, tickets and audit log are gone for good.")
        }
        [(name, record, _)] => format!("Forget `{name}`? Its store `{}` stays.", record.store),
        all => format!("Delete {} nodes?", all.len()),
    }
}
