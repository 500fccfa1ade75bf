//! The node itself: in the foreground, until it is told to end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authority::http::Server;
use home::control::ControlSocket;
use home::{Home, Name, NewKey, ServerRecord, Writer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::control::Running;
use super::party;
use super::plan::Plan;
use super::renewal;
use super::service::Service;
use super::show;
use crate::commands::authority::ensure_vault;
use crate::commands::server::NODE;
use crate::commands::server::process::{self, Signals, end_with_eof, end_with_starter, until_told};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::Report;

/// How many requests are answered on the control socket at a time.
const ASKED_AT_ONCE: usize = 64;
/// How long what was asked on the control socket may take to end.
const CONTROL_WAIT: Duration = Duration::from_secs(10);

/// How often it is looked whether relays are still there.
const RELAYS: Duration = Duration::from_secs(5);

/// What ends a node beside a signal and the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndsWith {
    /// Whoever started it in the background, before it was seen ready.
    Starter,
    /// Standard input.
    Input,
    Nothing,
}

pub(super) fn run(context: &Context, plan: Plan, ends_with: EndsWith) -> Result<Report> {
    let home = context.home()?;
    process::begin(home, &plan.name, plan.log_format, ends_with == EndsWith::Starter);
    // For as long as this process lives, also when it ends without a word.
    let _lock = home.lock_server(&plan.name)?;
    let identity = prepare(context, &plan)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(context, &plan, identity, ends_with));
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended.map(|()| Report::written())
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e))
}

/// Makes sure that the identity is there, with a channel key, and that what it is told to believe is known.
pub(super) fn prepare(context: &Context, plan: &Plan) -> Result<Name> {
    let home = context.home()?;
    let identity = match &plan.identity {
        Some(identity) => ensure_identity(context, identity)?,
        None => default_identity(context)?,
    };
    home.identity(&identity)?.own_key()?;
    if let Some(history) = &plan.record.authority {
        let authority = identity::Identity::import_hex(history)?;
        let known = home.known_identity(&authority.identifier())?;
        // A newer one that is known is better than the one that was given.
        if known.is_none() {
            home.remember(&*context.writer()?, &authority, context.now())?;
        }
    }
    let (record, vaults, now) = (home.identity(&identity)?, context.vaults()?, context.now());
    let found = vault::block_on(home.channel_key(vaults, &record, now.after(3600), now))?;
    if found.is_none() {
        // Finishes a rotation that was cut off, before.
        drop(context.writer()?);
        let _whole = interrupt::hold();
        party::ensure(home, vaults, &identity)?;
    }
    Ok(identity)
}

/// The default identity; made when there is none at all, with a vault when there is none either.
pub(super) fn default_identity(context: &Context) -> Result<Name> {
    let home = context.home()?;
    if let Some(name) = home.default_identity()? {
        return Ok(name);
    }
    let writer = context.writer()?;
    // Another process may have been quicker.
    if let Some(name) = home.default_identity()? {
        return Ok(name);
    }
    let name = Name::new("default")?;
    make_identity(context, &writer, &name)?;
    context.output.note("there was no identity: the identity `default` is made");
    Ok(name)
}

/// The identity of this name; made when there is none, as the reference does for `node create --identity`.
fn ensure_identity(context: &Context, name: &Name) -> Result<Name> {
    let home = context.home()?;
    let is_there = || Ok::<_, Error>(home.identities()?.iter().any(|(known, _)| known == name));
    if !is_there()? {
        let writer = context.writer()?;
        // Another process may have been quicker.
        if !is_there()? {
            make_identity(context, &writer, name)?;
            context.output.note(&format!("there was no identity `{name}`: it is made"));
        }
    }
    Ok(name.clone())
}

fn make_identity(context: &Context, writer: &Writer, name: &Name) -> Result<()> {
    let home = context.home()?;
    let vault = ensure_vault(context, writer)?;
    let clock = context.clock();
    let made = home.create_identity(writer, context.vaults()?, name, &vault, NewKey::Generate(None), &clock);
    vault::block_on(made)?;
    Ok(())
}

async fn serve(context: &Context, plan: &Plan, identity: Name, ends_with: EndsWith) -> Result<()> {
    let home = context.home()?.clone();
    let vaults = Arc::clone(context.vaults()?);
    let service = Arc::new(Service::new(home.clone(), vaults, identity.clone(), &plan.record)?);
    service.start()?;
    let address = listen(&home, plan, &service).await?;
    service.want_relays(&plan.record.relays)?;
    service.keep_relays().await;
    let status = tell_status(&home, plan, &service).await?;
    let record = ServerRecord {
        tcp_address: Some(address.to_string()),
        http_address: status.as_ref().map(|status| status.local_addr().to_string()),
        node: Some(plan.record.clone()),
        ..record(&identity)?
    };
    put(&home, &plan.name, &record)?;
    let signals = Signals::watch()?;
    interrupt::leave_to_server();
    let (stop, mut stopping) = watch::channel(false);
    let running = Running::new(home.clone(), plan.name.clone(), Arc::clone(&service), stop.clone());
    let socket = ControlSocket::serve_many(&home.control_socket(&plan.name), ASKED_AT_ONCE, move |ask| {
        running.answer(ask)
    })?;
    tracing::info!(name = %plan.name, %address, %identity, "the node is ready");
    // In the background there is nobody who reads it but the log.
    if ends_with != EndsWith::Starter {
        context.output.write(&show::created(&home, &plan.name)?)?;
    }
    match ends_with {
        EndsWith::Starter => end_with_starter(stop),
        EndsWith::Input => end_with_eof(stop),
        EndsWith::Nothing => {}
    }
    let why = tokio::select! {
        why = until_told(&mut stopping, signals) => why,
        never = renewal::run(context, &service, &identity, &plan.record) => match never {},
        never = keep_relays(&service) => match never {},
    };
    tracing::info!("ending: {why}");
    if let Some(status) = status {
        status.stop().await;
    }
    service.stop().await;
    // Waits for who is being answered: messages that are waited for end with the node.
    let socket = tokio::task::spawn_blocking(move || drop(socket));
    if timeout(CONTROL_WAIT, socket).await.is_err() {
        tracing::warn!("what was asked on the control socket does not end: it is cut");
    }
    tracing::info!("ended");
    Ok(())
}

/// Looks after the node's relays for as long as it lives.
async fn keep_relays(service: &Service) -> Infallible {
    loop {
        // Looked after from time to time, and at once when there is a new one.
        let _ = timeout(RELAYS, service.relay_wanted()).await;
        service.keep_relays().await;
    }
}

/// Listens where the node listened before, so that routes to it stay good; else where it is told to.
async fn listen(home: &Home, plan: &Plan, service: &Service) -> Result<SocketAddr> {
    let told = plan.listen()?;
    let before = home.servers()?.into_iter().find(|(name, ..)| *name == plan.name);
    let before = before.and_then(|(_, record, _)| record.tcp_address?.parse::<SocketAddr>().ok());
    if let Some(before) = before.filter(|before| told.port() == 0 && before.ip() == told.ip())
        && let Ok(address) = service.listen(before).await
    {
        return Ok(address);
    }
    service.listen(told).await
}

/// Says over HTTP how the node is, where that was asked for.
async fn tell_status(home: &Home, plan: &Plan, service: &Arc<Service>) -> Result<Option<Server>> {
    let Some(at) = plan.status_endpoint()? else { return Ok(None) };
    let listener = TcpListener::bind(at).await.map_err(|e| {
        Error::new(Kind::Unavailable, format!("`{at}` cannot be listened at: {e}"))
            .with_hint("name another address with --status-endpoint, or leave it out")
    })?;
    let (home, name, service) = (home.clone(), plan.name.clone(), Arc::clone(service));
    let show = move || {
        let shown = home.server(&name).map_err(Error::from);
        let shown = shown.and_then(|(record, running)| {
            show::json_node(&home, &name, (&record, running), Some(&service.summary()))
        });
        shown.ok().map(|shown| shown.to_string())
    };
    Ok(Some(Server::start_show(listener, show)?))
}

fn record(identity: &Name) -> Result<ServerRecord> {
    let record = json!({ "kind": NODE, "pid": std::process::id(), "identity": identity.as_str() });
    Ok(serde_json::from_value(record)?)
}

/// Records a node; the first one becomes the default.
fn put(home: &Home, name: &Name, record: &ServerRecord) -> Result<()> {
    let writer = home.write()?;
    home.put_server(&writer, name, record)?;
    if home.default_node()?.is_none() {
        home.set_default_node(&writer, name)?;
    }
    Ok(())
}
