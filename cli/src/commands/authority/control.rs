//! What the control socket of a running authority answers: status, stop, reload, rotate, audit; conflicts are beside it.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use authority::audit::AuditRow;
use authority::http::Tls;
use authority::issuer::{IssuerKeys, RENEW_AHEAD_SECONDS};
use authority::service::{Authority, Operator};
use authority::store::Store;
use channel::Presentation;
use home::control::{Answer, Ask};
use home::rotation::{self, Plan, Witness};
use home::{Home, IdentityRecord, Name, ServerRecord, Vaults, Writer};
use identity::{Clock as _, Identifier, PurposeKeyAttestation, SystemClock};
use node::Party;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use vault::{Agreer, Pending, Signer};

use super::conflicts;
use crate::context::recovery_text;
use crate::error::{Error, Result, io};
use crate::exit::Kind;

/// The authority's keys, as the home has them.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) home: Home,
    pub(super) vaults: Arc<Vaults>,
    pub(super) identity: Name,
    pub(super) credential_seconds: u64,
}

impl Keys {
    /// Issuer keys with a credential key that is good for long enough, attested anew when it is not.
    pub(super) async fn issuer(&self, writer: &Writer) -> home::Result<IssuerKeys> {
        let ahead = RENEW_AHEAD_SECONDS.max(self.credential_seconds.saturating_mul(2));
        let good_until = SystemClock.now().after(ahead);
        let ensured =
            self.home.ensure_credential_key(writer, &self.vaults, &self.identity, good_until, &SystemClock);
        let (signer, attestation) = ensured.await?;
        put_together(&self.home.identity(&self.identity)?, signer, attestation)
    }

    /// What is shown in handshakes: the identity as it is now, with a channel key that is good for long enough.
    pub(super) async fn channel(&self, writer: &Writer) -> home::Result<(Presentation, Agreer)> {
        let now = SystemClock.now();
        let good_until = now.after(RENEW_AHEAD_SECONDS);
        let ensured =
            self.home.ensure_channel_key(writer, &self.vaults, &self.identity, good_until, &SystemClock);
        let (key, attestation) = ensured.await?;
        let identity = self.home.identity(&self.identity)?.identity()?;
        let shown = Presentation::new(&identity, &attestation, &[], now).map_err(|e| {
            home::Error::new(vault::Kind::Corrupt, format!("the channel key does not fit the identity: {e}"))
                .with_source(e)
        })?;
        Ok((shown, key))
    }
}

/// What is shown in handshakes until something else is put in its place.
pub(super) struct Shown(RwLock<(Presentation, Agreer)>);

impl Shown {
    pub(super) fn new(shown: (Presentation, Agreer)) -> Self {
        Self(RwLock::new(shown))
    }

    fn replace(&self, shown: (Presentation, Agreer)) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    fn now(&self) -> (Presentation, Agreer) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Party for Shown {
    fn present(&self) -> node::Pending<'_, (Presentation, Agreer)> {
        let now = self.now();
        Box::pin(async { Ok(now) })
    }
}

fn put_together(
    record: &IdentityRecord,
    signer: Signer,
    attestation: PurposeKeyAttestation,
) -> home::Result<IssuerKeys> {
    IssuerKeys::new(record.identity()?, signer, attestation, Vec::new(), SystemClock.now()).map_err(|e| {
        home::Error::new(vault::Kind::Corrupt, format!("the identity's keys do not fit together: {e}"))
            .with_source(e)
    })
}

/// An authority that runs.
#[derive(Debug)]
pub(super) struct Running {
    keys: Keys,
    /// What the door of secure channels shows, when that is open.
    shown: Option<Arc<Shown>>,
    authority: Authority,
    operator: Operator,
    name: Name,
    record: ServerRecord,
    tls: Option<Tls>,
    ready: AtomicBool,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

impl Running {
    /// To be called where the runtime runs.
    pub(super) fn new(
        (keys, shown): (Keys, Option<Arc<Shown>>),
        authority: Authority,
        name: Name,
        record: ServerRecord,
        tls: Option<Tls>,
        stop: watch::Sender<bool>,
    ) -> Self {
        Self {
            keys,
            shown,
            authority,
            operator: Operator::of_this_process(),
            name,
            record,
            tls,
            ready: AtomicBool::new(false),
            stop,
            runtime: Handle::current(),
        }
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    pub(super) fn identifier(&self) -> Identifier {
        self.authority.identifier()
    }

    /// Answers whoever asks on the control socket: a process of the same user. Called on the socket's own thread.
    pub(super) fn answer(&self, ask: Ask) -> Answer {
        let asked = match &ask {
            Ask::Status => "status",
            Ask::Stop => "stop",
            Ask::Reload => "reload",
            Ask::Rotate(_) => "rotate",
            Ask::Audit { .. } => "audit",
            Ask::Orphans { .. } => "orphans",
            Ask::Conflicts { .. } => "conflicts",
            Ask::Conflict { .. } => "conflict",
            Ask::Decide { .. } => "decide",
            Ask::Node(_) => "node",
        };
        let answered = match ask {
            Ask::Status => self.status(),
            Ask::Stop => {
                let _ = self.stop.send(true);
                Ok(json!({}))
            }
            Ask::Reload => self.reload(),
            Ask::Rotate(plan) => self.rotate(&plan),
            Ask::Audit { to } => self.audit(&to),
            Ask::Orphans { after } => self.orphans(after.as_deref()),
            Ask::Conflicts { after } => {
                conflicts::list(&self.runtime, &self.authority, &self.operator, after)
            }
            Ask::Conflict { identifier } => {
                conflicts::show(&self.runtime, &self.authority, &self.operator, &identifier)
            }
            Ask::Decide { identifier, keep } => {
                conflicts::decide(&self.runtime, &self.authority, &self.operator, &identifier, keep)
            }
            Ask::Node(_) => {
                Err(Error::new(Kind::Unsupported, format!("the server `{}` is no node", self.name))
                    .with_hint("`ockam-kms node list` shows which are nodes"))
            }
        };
        match answered {
            Ok(value) => Answer::Done(value),
            Err(error) => {
                tracing::warn!(asked, %error, "the control socket refused");
                Answer::Failed {
                    kind: error.kind().name().to_owned(),
                    message: error.to_string(),
                    hint: Some(error.hint().to_owned()),
                }
            }
        }
    }

    fn status(&self) -> Result<Value> {
        let status = self.runtime.block_on(self.authority.status_for(&self.operator))?;
        let ready = self.ready.load(Ordering::SeqCst)
            && self.authority.ready().is_ok()
            && self.authority.trusts_clock();
        Ok(json!({
            "name": self.name.as_str(),
            "pid": self.record.pid,
            "version": env!("CARGO_PKG_VERSION"),
            "ready": ready,
            "http_address": self.record.http_address,
            "tls": self.record.tls,
            "tcp_address": self.record.tcp_address,
            "metrics_address": self.record.metrics_address,
            "authority": serde_json::to_value(status)?,
        }))
    }

    fn reload(&self) -> Result<Value> {
        // First: what is wrong with the files is not to cost a new record of issuer keys.
        if let Some(tls) = &self.tls {
            tls.reload()?;
            tracing::info!("the TLS certificate is read again");
        }
        let writer = self.keys.home.write()?;
        self.runtime.block_on(async {
            let keys = self.keys.issuer(&writer).await?;
            self.authority.replace_issuer(&self.operator, keys).await?;
            self.show_anew(&writer).await?;
            Ok(json!({ "changes": self.authority.identity().len() }))
        })
    }

    fn rotate(&self, plan: &Plan) -> Result<Value> {
        if plan.identity != self.keys.identity.as_str() {
            return Err(Error::invalid(format!("this server uses the identity `{}`", self.keys.identity)));
        }
        let writer = self.keys.home.write()?;
        self.finish_what_was_cut_off(&writer)?;
        let witness = TakeOver { running: self, writer: &writer };
        let rotation = rotation::rotate(&writer, &self.keys.vaults, plan, &witness, &SystemClock);
        let outcome = self.runtime.block_on(rotation)?;
        tracing::info!(changes = outcome.changes, latest = %outcome.latest_change_hash, "the identity is rotated");
        Ok(serde_json::to_value(outcome)?)
    }

    /// Shows in handshakes from now on what the home has.
    async fn show_anew(&self, writer: &Writer) -> Result<()> {
        if let Some(shown) = &self.shown {
            shown.replace(self.keys.channel(writer).await?);
        }
        Ok(())
    }

    fn finish_what_was_cut_off(&self, writer: &Writer) -> Result<()> {
        let witness = TakeOver { running: self, writer };
        let only = Some(&self.keys.identity);
        let recovery = rotation::recover(writer, &self.keys.vaults, &witness, &SystemClock, only);
        for recovered in self.runtime.block_on(recovery)? {
            tracing::warn!("{}", recovery_text(&recovered));
            recovered.result?;
        }
        Ok(())
    }

    /// Looks after the keys: finishes a rotation that was cut off, renews the credential key. What fails is tried again the
    /// next time; until then the present keys are used.
    pub(super) fn upkeep(&self) {
        let pending =
            rotation::pending(&self.keys.home).is_ok_and(|names| names.contains(&self.keys.identity));
        if !pending && !self.authority.needs_renewal() && !self.channel_needs_renewal() {
            return;
        }
        let looked_after = self.keys.home.write().map_err(Error::from).and_then(|writer| {
            self.finish_what_was_cut_off(&writer)?;
            if self.authority.needs_renewal() {
                let keys = self.runtime.block_on(self.keys.issuer(&writer))?;
                self.runtime.block_on(self.authority.replace_issuer(&self.operator, keys))?;
                tracing::info!("the credential key is attested anew");
            }
            if self.channel_needs_renewal() {
                self.runtime.block_on(self.show_anew(&writer))?;
                tracing::info!("the channel key is attested anew");
            }
            Ok(())
        });
        if let Err(error) = looked_after {
            tracing::error!(%error, hint = error.hint(), "the keys could not be looked after");
        }
    }

    /// Whether the attestation of the channel key nears its end.
    fn channel_needs_renewal(&self) -> bool {
        let attested =
            || self.keys.home.identity(&self.keys.identity).ok()?.channel_key()?.attestation().ok();
        let ends = self.shown.as_ref().and_then(|_| attested()).map(|found| found.expires_at());
        ends.is_some_and(|ends| ends < self.authority.now().after(RENEW_AHEAD_SECONDS))
    }

    fn orphans(&self, after: Option<&str>) -> Result<Value> {
        let after = after.map(credential_hash).transpose()?;
        let page = self.runtime.block_on(self.authority.orphans(&self.operator, after.as_ref(), ORPHANS))?;
        Ok(json!({ "items": page.items, "next": page.next.map(hex::encode) }))
    }

    fn audit(&self, to: &Path) -> Result<Value> {
        let lines = self.runtime.block_on(self.authority.audit(&self.operator))?;
        write_log(lines, to)
    }
}

/// The most orphans that are listed at a time.
const ORPHANS: usize = 1000;

/// The hash of a credential, from hex.
fn credential_hash(text: &str) -> Result<[u8; 32]> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::invalid("the hash of a credential is 64 hex digits"))
}

/// A page of orphans of a store that nobody runs.
pub(crate) fn orphans_of(store: &dyn Store, after: Option<&str>) -> Result<Value> {
    let after = after.map(credential_hash).transpose()?;
    let page = authority::store::query::orphans(store.view()?, after.as_ref(), ORPHANS)?;
    Ok(json!({ "items": page.items, "next": page.next.map(hex::encode) }))
}

/// Writes an audit log to a file that must not exist yet, whole or not at all.
pub(crate) fn write_log(lines: impl Iterator<Item = authority::Result<String>>, to: &Path) -> Result<Value> {
    if !to.is_absolute() {
        return Err(Error::invalid("the path of the log is not absolute"));
    }
    let file =
        File::options().create_new(true).write(true).mode(0o600).open(to).map_err(|e| io("create", to, e))?;
    let mut file = BufWriter::new(file);
    let written = (|| {
        let (mut rows, mut last) = (0_u64, None);
        for line in lines {
            let line = line?;
            writeln!(file, "{line}").map_err(|e| io("write", to, e))?;
            rows += 1;
            last = Some(line);
        }
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|e| io("write", to, e))?;
        Ok((rows, last))
    })();
    let (rows, last) = written.inspect_err(|_: &Error| {
        // Half a log would verify, as far as it goes.
        let _ = std::fs::remove_file(to);
    })?;
    Ok(
        json!({ "to": to.display().to_string(), "rows": rows, "head": last.as_deref().map(head).transpose()? }),
    )
}

fn head(line: &str) -> Result<Value> {
    let row: AuditRow = serde_json::from_str(line)
        .map_err(|e| Error::new(Kind::Corrupt, "an audit row does not read back").with_source(e))?;
    Ok(serde_json::to_value(row.head())?)
}

/// Takes a rotated identity over while requests go on: what is being issued is finished with the keys it was started with.
struct TakeOver<'a> {
    running: &'a Running,
    writer: &'a Writer,
}

impl TakeOver<'_> {
    async fn take(
        &self,
        record: &IdentityRecord,
        credential: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Result<()> {
        let keys = match credential {
            Some((signer, attestation)) => {
                probe(&signer).await?;
                put_together(record, signer, attestation)?
            }
            // The purpose keys are revoked: a new one, under the change that is already stored.
            None => self.running.keys.issuer(self.writer).await?,
        };
        self.running.authority.replace_issuer(&self.running.operator, keys).await?;
        // Whoever connects from now on sees the new history, and gets credentials that hold under it.
        self.running.show_anew(self.writer).await
    }
}

/// The key that will issue signs something that is nothing.
async fn probe(signer: &Signer) -> vault::Result<()> {
    let nothing = vault::SecretBytes::random(32)?;
    let signature = signer.sign(nothing.expose()).await?;
    signer.public().verify(nothing.expose(), &signature).map(drop)
}

impl Witness for TakeOver<'_> {
    fn take_over<'a>(
        &'a self,
        record: &'a IdentityRecord,
        credential: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            self.take(record, credential).await.map_err(|error| {
                vault::Error::new(
                    vault::Kind::Unavailable,
                    format!("the server could not take over: {error}"),
                )
                .with_source(error)
            })
        })
    }
}
