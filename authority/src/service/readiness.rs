//! Whether an authority could serve: asked often, by anybody, so what is dear is asked of the vault now and then only.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use vault::{SecretBytes, Signer};

use crate::metrics::Metrics;
use crate::service::Authority;

/// How long an answer of the vault stands for those after it: so often a device is asked at most.
const FRESH: Duration = Duration::from_secs(5);
/// How long the vault may take over it.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is known of the vault.
#[derive(Debug)]
pub(super) struct Probes(watch::Sender<Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Whether it signed, and when that was known.
    last: Option<(Instant, bool)>,
    /// Whether it is being asked. INVARIANT: only one asks, so that a device that hangs has one question in its queue.
    asking: bool,
}

impl Known {
    fn fresh(&self) -> Option<bool> {
        self.last.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, signed)| signed)
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self(watch::Sender::new(Known::default()))
    }
}

impl Authority {
    /// Whether the vault signs with the credential key. It is asked for a signature over random bytes, at most every five
    /// seconds, however many want to know; whoever has to wait for it waits two seconds at most.
    pub async fn can_sign(&self) -> bool {
        if self.0.halted.load(Ordering::SeqCst) {
            return false;
        }
        let probes = &self.0.probes.0;
        let is_mine = probes.send_if_modified(|known| {
            let ask = !known.asking && known.fresh().is_none();
            known.asking |= ask;
            ask
        });
        if is_mine {
            let authority = self.clone();
            tokio::spawn(async move {
                let asked =
                    tokio::spawn(probe(authority.issuer().signer().clone(), authority.metrics().clone()));
                let signed = asked.await.unwrap_or(false);
                authority.0.probes.0.send_modify(|known| {
                    *known = Known { last: Some((Instant::now(), signed)), asking: false }
                });
            });
        }
        let mut known = probes.subscribe();
        match timeout(DEADLINE, known.wait_for(|known| known.fresh().is_some())).await {
            Ok(Ok(known)) => known.fresh().unwrap_or(false),
            _ => false,
        }
    }

    /// Whether a credential that is issued now fits the credential key's own validity.
    #[must_use]
    pub fn outlives_a_credential(&self) -> bool {
        self.issuer().expires_at().since(self.now()) >= self.0.settings.credential_seconds
    }
}

async fn probe(signer: Signer, metrics: Metrics) -> bool {
    let Ok(nothing) = SecretBytes::random(32) else { return false };
    let begin = Instant::now();
    let signed = signer.sign(nothing.expose()).await;
    let outcome = signed.as_ref().map_or_else(|error| error.kind().name(), |_| "ok");
    metrics.vault_call("probe", outcome, begin.elapsed());
    match signed.and_then(|signature| signer.public().verify(nothing.expose(), &signature)) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(kind = error.kind().name(), %error, "the vault does not sign");
            false
        }
    }
}
