//! `authority …`.

mod control;
mod plan;
mod serve;
mod show;

use std::path::PathBuf;

use home::control::{Ask, ask};
use home::{Home, Name, ServerRecord};

use super::server::{self, AUTHORITY, background};
use crate::args::authority::{Create, Verb};
use crate::context::Context;
use crate::error::Result;
use crate::output::Report;
pub(crate) use control::{orphans_of, write_log};
use plan::Plan;
pub(crate) use serve::ensure_vault;
pub(crate) use show::local;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List => server::list(context, |record| record.kind == AUTHORITY),
        Verb::Show(which) => show::run(context, &which),
        Verb::Reload(named) => reload(context, named.name.as_deref()),
        Verb::Stop(which) => {
            let name = server::authority(context.home()?, which.name.as_deref())?;
            server::stop(context, &name, &which)
        }
    }
}

fn create(context: &Context, create: &Create) -> Result<Report> {
    let plan = Plan::new(context, create)?;
    if create.foreground {
        return serve::run(context, plan, create.detached);
    }
    let launch = background::Launch {
        name: &plan.name,
        waiting: "waiting for the authority to be ready",
        arguments: plan.arguments(),
    };
    background::run(context, &launch)?;
    show::created(context.home()?, &plan.name)
}

/// The directory in the home that an authority has for its data, when it has it there.
pub(crate) fn own_store(home: &Home, name: &Name, record: &ServerRecord) -> Option<PathBuf> {
    let own = plan::default_store(home, name);
    (record.kind == AUTHORITY && record.store == plan::store_url(&own)).then_some(own)
}

fn reload(context: &Context, given: Option<&str>) -> Result<Report> {
    let home = context.home()?;
    let name = server::authority(home, given)?;
    let answer = ask(&home.control_socket(&name), &Ask::Reload)?;
    Ok(Report::new(format!("the server `{name}` has read its identity and certificate again"), answer)
        .machine(name.as_str()))
}
