//! An authority as it is run: a software key, a store on the disk, a server on this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::authority::http::{Options, Server};
use ::authority::issuer::IssuerKeys;
use ::authority::member::{ENROLLER, MemberAttributes, ROLE_ATTRIBUTE};
use ::authority::service::{Authority, Settings};
use ::authority::store::RocksStore;
use ::authority::ticket::NewTicket;
use identity::{
    ATTESTATION_SECONDS, Clock as _, Credential, Identifier, Identity, PurposeKey, PurposeKeyAttestation,
    Rule, SystemClock, Validity, verify,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use vault::soft::SoftVault;
use vault::{Vault, block_on};

use crate::member::signer;
use crate::{Member, Result};

/// How many tickets are asked for at once.
const AT_ONCE: usize = 64;

/// A running authority.
pub struct Site {
    authority: Authority,
    enroller: Identity,
    server: Option<Server>,
    address: SocketAddr,
    runtime: Arc<Runtime>,
}

/// What the store did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Writes {
    /// Commands.
    pub commands: f64,
    /// Groups of them that were made durable by one sync.
    pub commits: f64,
}

impl Site {
    /// Starts one whose store is in this directory, and waits until it takes requests.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(directory: &Path) -> Result<Self> {
        let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
        let now = SystemClock.now();
        let valid = Validity::of_primary_key(now);
        let (primary, key) = (signer(&vault, "primary")?, signer(&vault, "credentials")?);
        let identity = block_on(Identity::create(&primary, valid))?;
        let enroller = block_on(Identity::create(&signer(&vault, "enroller")?, valid))?;
        let purpose = PurposeKey::Credential(key.public().clone());
        let starting = Validity::starting(now, ATTESTATION_SECONDS);
        let attestation = block_on(PurposeKeyAttestation::attest(&identity, &primary, &purpose, starting))?;
        let store = RocksStore::open(&directory.join("store"), identity.identifier(), now)?;
        let keys = IssuerKeys::new(identity, key, attestation, Vec::new(), now)?;
        let mut settings = Settings::new("bench");
        let role = MemberAttributes::of([(ROLE_ATTRIBUTE, ENROLLER)])?;
        settings.pre_trusted = BTreeMap::from([(enroller.identifier(), role)]);
        let open = Authority::open(Arc::new(store), keys, settings, Arc::new(SystemClock));
        let authority = runtime.block_on(open)?;
        let serving = authority.clone();
        let server = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            crate::Result::Ok(Server::start(serving, listener, Options::default())?)
        })?;
        // Requests without an idempotency key that were signed within two seconds of the start are not taken.
        while SystemClock.now() <= now.after(3) {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { authority, enroller, address: server.local_addr(), server: Some(server), runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who it is.
    #[must_use]
    pub fn authority(&self) -> Identifier {
        self.authority.identifier()
    }

    /// The codes of new tickets, each good once.
    pub(crate) fn tickets(&self, count: usize) -> Result<Vec<String>> {
        let attributes = [("project", "7d1b6e6c-0f5e-4f0a-9d2b-8a4f6f3c2b10"), ("team", "payments")];
        let new = NewTicket::new(MemberAttributes::of(attributes)?, None, None)?;
        self.runtime.block_on(async {
            let caller = self.authority.meet(self.enroller.clone()).await?;
            let share = move |n: usize| count / AT_ONCE + usize::from(n < count % AT_ONCE);
            let tasks: Vec<_> = (0..AT_ONCE)
                .map(|n| {
                    let (authority, caller, new) = (self.authority.clone(), caller.clone(), new.clone());
                    tokio::spawn(async move {
                        let mut codes = Vec::new();
                        for _ in 0..share(n) {
                            let ticket = authority.make_ticket(&caller, new.clone()).await?;
                            codes.push(ticket.code.expose_hex().to_string());
                        }
                        crate::Result::Ok(codes)
                    })
                })
                .collect();
            let mut codes = Vec::new();
            for task in tasks {
                codes.extend(task.await??);
            }
            Ok(codes)
        })
    }

    /// What its store did until now.
    #[must_use]
    pub fn writes(&self) -> Writes {
        let text = self.authority.metrics().text();
        let sample = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
        };
        Writes {
            commands: sample("ockam_kms_store_commands_total"),
            commits: sample("ockam_kms_store_commits_total"),
        }
    }

    /// Whether an answer holds a credential about this member, good under this authority.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, member: &Member, answer: &[u8]) -> Result<()> {
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        let hex = answer.get("credential").and_then(|hex| hex.as_str()).ok_or("no credential")?;
        let credential = Credential::from_hex(hex)?;
        let (bundle, now) = (self.authority.issuer_bundle(), SystemClock.now());
        verify(&credential, &bundle, Some(&member.identifier), now, Rule::default())?;
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("address", &self.address).finish_non_exhaustive()
    }
}
