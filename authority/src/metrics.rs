//! What an authority counts and measures, as Prometheus reads it (OpenMetrics text).
//!
//! Every label has few values that are written down here or in the table of routes: nothing that a client sends, no
//! identifier, no name and no secret is ever one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The type of what [`Metrics::text`] writes, as HTTP names it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From half a millisecond to half a minute.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// What a store counts.
#[derive(Clone, Debug)]
pub(crate) struct StoreMetrics {
    pub(crate) commits: Counter,
    pub(crate) failures: Counter,
    pub(crate) commands: Counter,
    pub(crate) full: Counter,
    pub(crate) seconds: Histogram,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            failures: Counter::default(),
            commands: Counter::default(),
            full: Counter::default(),
            seconds: seconds(),
        }
    }
}

/// What a listener counts of its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: Gauge,
    pub(crate) evicted: Counter,
    pub(crate) turned_away: Counter,
}

/// The counts of one authority. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Counters<3>,
    request_seconds: Histograms<2>,
    vault_calls: Counters<2>,
    vault_seconds: Histograms<1>,
    tickets: Counters<1>,
    credentials: Counter,
    histories: Counter,
    connections: ConnectionMetrics,
}

impl Metrics {
    pub(crate) fn new(store: &StoreMetrics) -> Self {
        let mut registry = Registry::with_prefix("ockam_kms");
        let inner = Inner {
            requests: Counters::default(),
            request_seconds: Histograms::new_with_constructor(seconds),
            vault_calls: Counters::default(),
            vault_seconds: Histograms::new_with_constructor(seconds),
            tickets: Counters::default(),
            credentials: Counter::default(),
            histories: Counter::default(),
            connections: ConnectionMetrics::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register("requests", "Requests, by route and by what came of them", inner.requests.clone());
        r.register("request_seconds", "How long requests took", inner.request_seconds.clone());
        r.register("store_commits", "Groups of commands made durable", store.commits.clone());
        r.register("store_commit_failures", "Groups that could not be", store.failures.clone());
        r.register("store_commands", "Commands that the store decided", store.commands.clone());
        r.register("store_full", "Commands refused since too many waited", store.full.clone());
        r.register("store_commit_seconds", "How long a group took", store.seconds.clone());
        r.register("vault_calls", "Signatures asked of the vault, by outcome", inner.vault_calls.clone());
        r.register("vault_call_seconds", "How long the vault took", inner.vault_seconds.clone());
        r.register("tickets", "Tickets, by what was done with them", inner.tickets.clone());
        r.register("credentials_issued", "Credentials issued", inner.credentials.clone());
        r.register("histories_verified", "Histories that requests showed", inner.histories.clone());
        r.register("connections", "Connections that are open", inner.connections.open.clone());
        r.register("connections_evicted", "Ended for others", inner.connections.evicted.clone());
        r.register("connections_turned_away", "Without a place", inner.connections.turned_away.clone());
        Self(Arc::new(Inner { registry, ..inner }))
    }

    /// All of it, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    pub(crate) fn request(&self, route: Labels<2>, outcome: &'static str, took: Duration) {
        let [method, path] = route;
        self.0.requests.get_or_create(&[method, path, ("outcome", outcome)]).inc();
        self.0.request_seconds.get_or_create(&route).observe(took.as_secs_f64());
    }

    pub(crate) fn vault_call(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let operation = ("operation", operation);
        self.0.vault_calls.get_or_create(&[operation, ("outcome", outcome)]).inc();
        self.0.vault_seconds.get_or_create(&[operation]).observe(took.as_secs_f64());
    }

    pub(crate) fn ticket(&self, outcome: &'static str) {
        self.0.tickets.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn credential_issued(&self) {
        self.0.credentials.inc();
    }

    pub(crate) fn history_verified(&self) {
        self.0.histories.inc();
    }

    pub(crate) fn connections(&self) -> &ConnectionMetrics {
        &self.0.connections
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
