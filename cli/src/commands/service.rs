//! `service …`, `worker …`

use home::control::NodeAsk;
use serde_json::Value;

use super::node::ask::{Asked, field};
use crate::args::service::{Start, Verb, WorkerVerb};
use crate::context::Context;
use crate::error::Result;
use crate::output::Report;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Start(start) => self::start(context, start),
        Verb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Services)?;
            Ok(listed_workers(items, "there are no services"))
        }
    }
}

pub(crate) fn run_worker(context: &Context, verb: WorkerVerb) -> Result<Report> {
    match verb {
        WorkerVerb::List(at) => {
            let items = Asked::find(context, at.at.as_deref())?.list(NodeAsk::Workers)?;
            Ok(listed_workers(items, "there are no workers"))
        }
    }
}

fn start(context: &Context, start: Start) -> Result<Report> {
    let asked = Asked::find(context, start.at.at.as_deref())?;
    let address = start.addr.unwrap_or_else(|| start.service.clone());
    let started = asked.ask(NodeAsk::StartService { service: start.service, address })?;
    let address = field(&started, "addr");
    let plain = format!("the service `{}` is started at `{address}`", field(&started, "type"));
    Ok(Report::new(plain, started).machine(address))
}

/// One line each, so that they can be taken in at a glance.
fn listed_workers(items: Vec<Value>, none: &str) -> Report {
    let width = items.iter().map(|item| field(item, "addr").chars().count()).max().unwrap_or_default();
    let line = |item: &Value| format!("{:<width$}  {}", field(item, "addr"), field(item, "type"));
    let lines: Vec<_> = items.iter().map(line).collect();
    let plain = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
    Report::new(plain, Value::Array(items))
}
