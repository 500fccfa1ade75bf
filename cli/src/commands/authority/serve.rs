//! The authority itself: in the foreground, until it is told to end.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use authority::guesses::{FAILURES_A_MINUTE, Guesses};
use authority::http::{Options, Server, Tls};
use authority::ockam::{self, Door};
use authority::service::{Authority, accept_clock, clock_is_behind};
use authority::store::Store;
use home::control::ControlSocket;
use home::rotation::{self, NoServer};
use home::{Home, Name, NewKey, ServerRecord, Writer};
use identity::{Clock as _, Identifier, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::control::{Keys, Running, Shown};
use super::plan::Plan;
use super::show;
use crate::commands::server::process::{self, Signals, end_with_starter, until_told};
use crate::context::{Context, recovery_text};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::{Report, time};

/// How often it is looked whether the credential key has to be renewed, or a rotation to be finished.
const TICK: Duration = Duration::from_secs(30);
/// How many descriptors are for something else than connections.
const OWN_FILES: usize = 48;
/// How many threads it has beside those that answer: for the control socket, for whoever started it, for what blocks.
const OWN_THREADS: usize = 4;
/// How long what was asked on the control socket may take to end.
const CONTROL_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(context: &Context, plan: Plan, detached: bool) -> Result<Report> {
    let home = context.home()?;
    process::begin(home, &plan.name, plan.log_format, detached);
    // For as long as this process lives, also when it ends without a word.
    let _lock = home.lock_server(&plan.name)?;
    // Before anything is made: a door that cannot be opened leaves nothing behind.
    let listeners = Listeners {
        http: plan.http.map(listen).transpose()?,
        tcp: plan.tcp.map(listen).transpose()?,
        metrics: plan.metrics.map(listen).transpose()?,
    };
    let writer = context.writer()?;
    ensure_nobody_elses(home, &plan)?;
    let known = home.identities()?.into_iter().find(|(name, _)| *name == plan.identity);
    // Before anything is made by a clock that may be wrong.
    let store = known.map(|(_, record)| open_store(&plan, record.identifier())).transpose()?;
    prepare(context, &plan, &writer)?;
    let keys = Keys {
        home: home.clone(),
        vaults: Arc::clone(context.vaults()?),
        identity: plan.identity.clone(),
        credential_seconds: plan.settings.credential_seconds,
    };
    let issuer = vault::block_on(keys.issuer(&writer))?;
    let shown = match plan.tcp {
        Some(_) => Some(Arc::new(Shown::new(vault::block_on(keys.channel(&writer))?))),
        None => None,
    };
    drop(writer);
    // The runtime has no error for those that it does not get.
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    authority::threads::ensure(workers.saturating_add(OWN_THREADS))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e))?;
    let ended = runtime.block_on(async {
        let store = store.map_or_else(|| open_store(&plan, issuer.identifier()), Ok)?;
        let authority = Authority::open(store, issuer, plan.settings.clone(), Arc::new(SystemClock)).await?;
        serve(context, &plan, (keys, shown), authority, listeners, detached).await
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended.map(|()| Report::written())
}

fn ensure_nobody_elses(home: &Home, plan: &Plan) -> Result<()> {
    match home.server_of_identity(&plan.identity)?.filter(|other| *other != plan.name) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            Kind::AlreadyExists,
            format!("the identity `{}` is used by the server `{other}`", plan.identity),
        )
        .with_hint("a running identity has one server, which rotates it: choose another identity")),
    }
}

/// Opens the store, provided that the clock is not behind what it has seen.
fn open_store(plan: &Plan, authority: Identifier) -> Result<Arc<dyn Store>> {
    let store = authority::store::open(&plan.store, authority, SystemClock.now())?;
    let Some(newest) = clock_is_behind(&*store, &SystemClock)? else { return Ok(store) };
    let (says, newest) = (time(SystemClock.now()), time(newest));
    if !plan.accept_clock {
        return Err(Error::new(
            Kind::Unavailable,
            format!("the clock is not trusted: it says {says}, and the store has a record of {newest}"),
        )
        .with_hint(
            "set the machine's clock; if it is right and the record was made by a wrong one, add --accept-clock",
        ));
    }
    tracing::warn!(%says, %newest, "the clock is taken for right");
    vault::block_on(accept_clock(&*store, &SystemClock))?;
    Ok(store)
}

/// Makes sure that the identity is there, and is not in the middle of a rotation.
fn prepare(context: &Context, plan: &Plan, writer: &Writer) -> Result<()> {
    let home = context.home()?;
    let (clock, vaults) = (context.clock(), context.vaults()?);
    // Readers took the rotation for ours while our record said that we run: it is left to us.
    let recovery = rotation::recover(writer, vaults, &NoServer, &clock, Some(&plan.identity));
    for recovered in vault::block_on(recovery)? {
        tracing::warn!("{}", recovery_text(&recovered));
        recovered.result?;
    }
    let exists = home.identities()?.iter().any(|(name, _)| *name == plan.identity);
    if !exists && plan.may_make_identity {
        let vault = ensure_vault(context, writer)?;
        let made =
            home.create_identity(writer, vaults, &plan.identity, &vault, NewKey::Generate(None), &clock);
        vault::block_on(made)?;
        tracing::info!(identity = %plan.identity, "the identity is created");
    }
    home.identity(&plan.identity)?.own_key()?;
    Ok(())
}

/// The default vault; made when there is none at all.
pub(crate) fn ensure_vault(context: &Context, writer: &Writer) -> Result<Name> {
    let home = context.home()?;
    if !home.vaults()?.is_empty() {
        return Ok(home.vault_or_default(None)?);
    }
    let vault = Name::new("default")?;
    home.create_soft_vault(writer, &vault, None, &vault::soft::Lock::KeyFile(None))?;
    context.output.note("there was no vault: the software vault `default` is made");
    Ok(vault)
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|e| {
        Error::new(Kind::Unavailable, format!("cannot listen on `{address}`: {e}"))
            .with_hint("another program may have it: choose another port, or 0 for any that is free")
            .with_source(e)
    })
}

/// What is listened on.
struct Listeners {
    http: Option<std::net::TcpListener>,
    tcp: Option<std::net::TcpListener>,
    metrics: Option<std::net::TcpListener>,
}

/// Opens the door of secure channels.
async fn open_door(
    plan: &Plan,
    authority: &Authority,
    shown: Option<&Arc<Shown>>,
    listener: Option<TcpListener>,
    (guesses, files): (Guesses, usize),
) -> Result<Option<Door>> {
    let (Some(shown), Some(listener)) = (shown, listener) else { return Ok(None) };
    let options = ockam::Options {
        direct_authentication: plan.direct_authentication,
        token_enrolment: plan.token_enrolment,
        guesses,
        connections: ockam::Options::default().connections.min(files),
        ..ockam::Options::default()
    };
    let opened = Door::open(authority, shown.clone(), listener, options).await;
    Ok(Some(opened.map_err(|e| home::Error::new(e.kind(), e.to_string()).with_source(e))?))
}

async fn serve(
    context: &Context,
    plan: &Plan,
    (keys, shown): (Keys, Option<Arc<Shown>>),
    authority: Authority,
    listeners: Listeners,
    detached: bool,
) -> Result<()> {
    let listening = |listener: Option<std::net::TcpListener>| {
        listener
            .map(TcpListener::from_std)
            .transpose()
            .map_err(|e| Error::new(Kind::Internal, "the listener cannot be used").with_source(e))
    };
    let (http, tcp) = (listening(listeners.http)?, listening(listeners.tcp)?);
    let metrics = listening(listeners.metrics)?;
    let guesses = Guesses::new(FAILURES_A_MINUTE, plan.limit_loopback);
    let tls = plan.tls.as_ref().map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
    // Both doors have descriptors, and so has the store.
    let files = process::connections(OWN_FILES) / if http.is_some() && tcp.is_some() { 2 } else { 1 };
    let options = Options {
        insecure_http: plan.insecure_http,
        tls: tls.clone(),
        limit_loopback: plan.limit_loopback,
        guesses: Some(guesses.clone()),
        public_url: plan.public_url.clone(),
        connections: Options::default().connections.min(files),
        ..Options::default()
    };
    let metrics = metrics.map(|door| Server::start_metrics(&authority, door, options.clone())).transpose()?;
    let server = http.map(|door| Server::start(authority.clone(), door, options)).transpose()?;
    let door = open_door(plan, &authority, shown.as_ref(), tcp, (guesses, files)).await?;
    let started = authority.now();
    let http_address = server.as_ref().map(|server| server.local_addr().to_string());
    let tcp_address = door.as_ref().map(|door| door.local_addr().to_string());
    let record = ServerRecord {
        kind: "authority".to_owned(),
        pid: std::process::id(),
        identity: plan.identity.to_string(),
        project: plan.settings.project.clone(),
        http_address: http_address.clone(),
        tls: tls.is_some(),
        metrics_address: metrics.as_ref().map(|metrics| metrics.local_addr().to_string()),
        store: plan.store.clone(),
        tcp_address: tcp_address.clone(),
        node: None,
    };
    let home = keys.home.clone();
    {
        let writer = home.write()?;
        // Between our look and this record another server may have taken the identity.
        ensure_nobody_elses(&home, plan)?;
        home.put_server(&writer, &plan.name, &record)?;
    }
    let signals = Signals::watch()?;
    interrupt::leave_to_server();
    let (stop, mut stopping) = watch::channel(false);
    let running = Arc::new(Running::new(
        (keys, shown),
        authority.clone(),
        plan.name.clone(),
        record,
        tls,
        stop.clone(),
    ));
    let socket = {
        let running = Arc::clone(&running);
        ControlSocket::serve(&home.control_socket(&plan.name), move |ask| running.answer(ask))?
    };
    // Requests of the second in which the server started are refused: ready is who takes them.
    while authority.now() <= started {
        if !authority.trusts_clock() {
            return Err(Error::new(Kind::Unavailable, "the clock is not trusted: it stands still")
                .with_hint("see what sets the machine's clock, then start the authority again"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.set_ready();
    tracing::info!(name = %plan.name, http = http_address, tcp = tcp_address, identifier = %running.identifier(), "the authority is ready");
    context.output.write(&show::created(&home, &plan.name)?)?;
    if detached {
        end_with_starter(stop);
    }
    let upkeep = tokio::spawn(upkeep(Arc::clone(&running)));
    let why = until_told(&mut stopping, signals).await;
    tracing::info!("ending: {why}");
    upkeep.abort();
    if let Some(server) = server {
        server.stop().await;
    }
    if let Some(door) = door {
        door.close().await;
    }
    if let Some(metrics) = metrics {
        metrics.stop().await;
    }
    // Joins its thread, which may be in the middle of a rotation. One whose device hangs is left as it is: its journal says
    // how far it came.
    let socket = tokio::task::spawn_blocking(move || drop(socket));
    match timeout(CONTROL_WAIT, socket).await {
        Ok(joined) => {
            joined.map_err(|e| Error::new(Kind::Internal, "the control socket did not end").with_source(e))?
        }
        Err(_) => tracing::warn!("what was asked on the control socket does not end: it is cut"),
    }
    tracing::info!("ended");
    Ok(())
}

/// Renews the credential key ahead of its end, and finishes what was cut off.
async fn upkeep(running: Arc<Running>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let running = Arc::clone(&running);
        if let Err(error) = tokio::task::spawn_blocking(move || running.upkeep()).await {
            tracing::error!(%error, "the upkeep failed");
        }
    }
}
