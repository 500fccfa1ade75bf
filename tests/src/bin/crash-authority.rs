//! An authority over a home that the real program made, in ways that the real program has not: the process that
//! tests/crash.rs kills. Never shipped.
//!
//! ```text
//! crash-authority              as it should be
//! crash-authority answers-first    the control: answers what is not on the disk yet
//! crash-authority dies-in-sign     kills itself while the vault makes a credential's signature
//! ```
//! The ways can be given together.

use std::error::Error;
use std::sync::Arc;

use authority::http::{Options, Server};
use authority::issuer::IssuerKeys;
use authority::service::{Authority, Operator, Settings};
use authority::store::{Store, controls};
use home::control::{Answer, Ask, ControlSocket};
use home::{Home, Name, Vaults};
use identity::{Clock as _, SystemClock};
use ockam_kms_tests::crash::{NAME, PROJECT};
use serde_json::json;
use vault::soft::SoftBackend;
use vault::{
    Capabilities, Custody, KeyHandle, KeyName, KeySpec, KeyUri, Nobody, Pending, Registry, Scheme, Signature,
    Signer, Signing, SigningFacet, Vault, VaultId, block_on,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let ways: Vec<_> = std::env::args().skip(1).collect();
    let has = |way: &str| ways.iter().any(|given| given == way);
    let home = Home::open(Home::locate(|name| std::env::var_os(name))?)?;
    let name = Name::new(NAME)?;
    let registry = Registry::new().with(SoftBackend);
    let vaults = Vaults::new(home.clone(), registry, Arc::new(Nobody));
    let now = SystemClock.now();
    let (signer, attestation) =
        block_on(home.ensure_credential_key(&home.write()?, &vaults, &name, now.after(7200), &SystemClock))?;
    let identity = home.identity(&name)?.identity()?;
    let signer = if has("dies-in-sign") { dying(&home, &vaults, &name)? } else { signer };
    let issuer = IssuerKeys::new(identity, signer, attestation, Vec::new(), now)?;
    let (record, _) = home.server(&name)?;
    let path = record.store.strip_prefix("rocksdb:").ok_or("a store on disk")?;
    let store: Arc<dyn Store> = if has("answers-first") {
        controls::answering_first(path.as_ref(), issuer.identifier(), now)?
    } else {
        authority::store::open(&record.store, issuer.identifier(), now)?
    };
    let mut settings = Settings::new(PROJECT);
    // Whom the real program put in place.
    let view = store.view()?;
    let members = authority::store::query::members(view, None, 9)?;
    for member in members.items.into_iter().filter(|member| member.pre_trusted) {
        settings.pre_trusted.insert(member.identifier, member.attributes);
    }
    tokio::runtime::Runtime::new()?.block_on(serve(&home, &name, store, issuer, settings))
}

async fn serve(
    home: &Home,
    name: &Name,
    store: Arc<dyn Store>,
    issuer: IssuerKeys,
    settings: Settings,
) -> Result<()> {
    let authority = Authority::open(Arc::clone(&store), issuer, settings, Arc::new(SystemClock)).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = Server::start(authority.clone(), listener, Options::default())?;
    let started = authority.now();
    let socket = {
        let authority = authority.clone();
        ControlSocket::serve(&home.control_socket(name), move |ask| answer(&authority, &store, ask))?
    };
    while authority.now() <= started {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let identifier = authority.identifier().to_string();
    println!("{}", json!({ "http_address": server.local_addr().to_string(), "identifier": identifier }));
    std::future::pending::<()>().await;
    drop(socket);
    Ok(())
}

fn answer(authority: &Authority, store: &Arc<dyn Store>, ask: Ask) -> Answer {
    let answered = || -> Result<serde_json::Value> {
        match ask {
            Ask::Audit { to } => {
                let lines: std::result::Result<Vec<_>, _> =
                    authority::audit::export(Arc::clone(store)).collect();
                std::fs::write(to, lines?.join("\n"))?;
                Ok(json!({}))
            }
            Ask::Orphans { .. } => {
                let page = block_on(authority.orphans(&Operator::of_this_process(), None, 1000))?;
                Ok(json!({ "items": page.items, "next": null }))
            }
            _ => Err("this authority does not rotate".into()),
        }
    };
    answered().map_or_else(
        |error| Answer::Failed { kind: "unavailable".to_owned(), message: error.to_string(), hint: None },
        Answer::Done,
    )
}

/// The credential key, in a vault that kills the process when it is asked to sign.
fn dying(home: &Home, vaults: &Vaults, name: &Name) -> Result<Signer> {
    let record = home.identity(name)?;
    let key = &record.credential_key().ok_or("a credential key")?.key;
    let inner = block_on(vaults.open(&key.vault()?))?;
    let handle = {
        let signing = inner.signing().ok_or("a vault that signs")?;
        block_on(signing.open(&key.uri()?))?
    };
    Ok(Signer::bind(Arc::new(Dying(inner)), handle)?)
}

#[derive(Debug)]
struct Dying(Arc<dyn Vault>);

impl Dying {
    fn signing(&self) -> vault::Result<&dyn SigningFacet> {
        self.0.signing().ok_or_else(|| vault::Error::new(vault::Kind::Unsupported, "it does not sign"))
    }
}

impl Vault for Dying {
    fn id(&self) -> &VaultId {
        self.0.id()
    }

    fn scheme(&self) -> Scheme {
        self.0.scheme()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }
}

impl Custody<Signing> for Dying {
    fn generate<'a>(&'a self, spec: &'a KeySpec<Signing>) -> Pending<'a, KeyHandle<Signing>> {
        Box::pin(async move { Self::signing(self)?.generate(spec).await })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<Signing>> {
        Box::pin(async move { Self::signing(self)?.open(uri).await })
    }

    fn destroy(&self, key: KeyHandle<Signing>) -> Pending<'_, ()> {
        Box::pin(async move { Self::signing(self)?.destroy(key).await })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Box::pin(async move { Self::signing(self)?.discard(name).await })
    }
}

impl SigningFacet for Dying {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            // The signature is made, and nobody hears of it.
            let signature = Self::signing(self)?.sign(key, message).await;
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            signature
        })
    }
}
