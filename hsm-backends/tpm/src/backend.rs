//! Opening a vault: get the authorization value, connect, see which TPM it is, and open the directory that belongs to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tss_esapi::constants::PropertyTag;
use vault::device::{Effect, Pool, Reply, Settings};
use vault::{
    Algorithm, Backend, Capabilities, Capability, Error, Interact, KeyUri, Kind, Pending, Presence,
    Protection, Result, Scheme, Vault,
};

use crate::address::{Address, Tcti};
use crate::attest::Attester;
use crate::auth::AuthSource;
use crate::desk::Desk;
use crate::errors::Done;
use crate::link::{Link, Ward};
use crate::store::Store;
use crate::vault::TpmVault;

/// Opens vaults on TPMs: `tpm:?tcti=TCTI&path=DIRECTORY&auth-source=file:PATH`.
#[derive(Clone, Copy, Debug)]
pub struct TpmBackend {
    settings: Settings,
    /// Whether keys that were imported into the TPM, and may have copies, are used. Only tests say so.
    pub(crate) takes_imported: bool,
}

impl TpmBackend {
    /// A backend that gives a TPM ten seconds for each request.
    #[must_use]
    pub fn new() -> Self {
        // One owner: a TPM does one thing at a time, and its slots are too few to share.
        Self { settings: Settings { workers: 1, ..Settings::default() }, takes_imported: false }
    }

    /// How long a request may take before it is answered with [`Kind::Unavailable`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }
}

impl Default for TpmBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for TpmBackend {
    fn scheme(&self) -> Scheme {
        Scheme::Tpm
    }

    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        self.opened(uri, interact, Missing::Refused)
    }

    fn create<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        self.opened(uri, interact, Missing::Made)
    }
}

/// What comes of a vault's directory that is not there. It may be on a disk that is not mounted: one that was used is never
/// made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Refused,
    Made,
}

impl TpmBackend {
    fn opened<'a>(
        &self,
        uri: &'a KeyUri,
        interact: Arc<dyn Interact>,
        missing: Missing,
    ) -> Pending<'a, Arc<dyn Vault>> {
        let backend = *self;
        Box::pin(async move {
            let address = Address::parse(uri)?;
            // A person is asked on a thread that may block.
            let (reply, answer) = Reply::new();
            let opener = thread::Builder::new().name("tpm-open".to_owned());
            opener.spawn(move || reply.answer(open(&address, backend, &interact, missing))).map_err(|e| {
                Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e)
            })?;
            answer.await.map(|vault| Arc::new(vault) as Arc<dyn Vault>)
        })
    }
}

fn open(
    address: &Address,
    backend: TpmBackend,
    interact: &Arc<dyn Interact>,
    missing: Missing,
) -> Result<TpmVault> {
    // Before anybody is asked, and whatever the TPM does.
    let found = match Store::open(&address.path) {
        Err(error) if error.kind() == Kind::NotFound && missing == Missing::Made => None,
        found => Some(found?),
    };
    let auth = AuthSource::settle(address, interact)?;
    let pool = owner(&address.tcti, backend.settings)?;
    let seen =
        vault::block_on(pool.submit(Effect::Reads, |desk, deadline| desk.attempt(deadline, None, look)))?;
    let store = match found {
        Some(store) => store,
        None => Store::create(&address.path, &seen.storage_name)?,
    };
    let presence = if auth.is_kept() { Presence::Pin } else { Presence::None };
    let takes_imported = backend.takes_imported;
    let ward = Ward { store, auth, refused: Mutex::new(HashSet::new()), takes_imported };
    let vault = TpmVault::new(
        address.tcti.text.clone(),
        ward,
        address.pcrs.clone(),
        Attester { key: address.attestation_key, certificates: address.certificates.clone() },
        capabilities(&seen, presence, address),
        pool,
    );
    // Another TPM in the place of the vault's own is said now, and not at the first use.
    vault.recognised()?;
    Ok(vault)
}

type Owners = HashMap<(String, Duration), Weak<Pool<Desk>>>;

/// The owner of a TPM in this process: vaults on one TPM share it, as they share its slots.
fn owner(tcti: &Tcti, settings: Settings) -> Result<Arc<Pool<Desk>>> {
    static OWNERS: Mutex<Option<Owners>> = Mutex::new(None);
    let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    let owners = owners.get_or_insert_default();
    owners.retain(|_, pool| pool.strong_count() > 0);
    let key = (tcti.text.clone(), settings.deadline);
    if let Some(pool) = owners.get(&key).and_then(Weak::upgrade) {
        return Ok(pool);
    }
    let name = format!("the TPM `{}`", tcti.text);
    let tcti = tcti.clone();
    let pool = Arc::new(Pool::start(&name, settings, move || Desk::new(tcti.clone()))?);
    owners.insert(key, Arc::downgrade(&pool));
    Ok(pool)
}

/// What the first look at a TPM shows.
struct Seen {
    storage_name: Vec<u8>,
    simulated: bool,
}

/// The manufacturers that simulators name: libtpms, and with it swtpm, and Microsoft's reference.
const SOFTWARE: [&[u8; 4]; 2] = [b"IBM\0", b"MSFT"];

fn look(link: &mut Link) -> Done<Seen> {
    let list = link.properties(PropertyTag::Manufacturer, 1)?;
    let manufacturer = list.find(PropertyTag::Manufacturer).map(|found| found.value().to_be_bytes());
    let simulated = manufacturer.is_some_and(|manufacturer| SOFTWARE.contains(&&manufacturer));
    Ok(Seen { storage_name: link.storage_name().to_vec(), simulated })
}

fn capabilities(seen: &Seen, presence: Presence, address: &Address) -> Capabilities {
    let protection = if seen.simulated { Protection::Software } else { Protection::Hardware };
    let line = |algorithm, protection, note| Capability { algorithm, protection, presence, note };
    let sealing = if address.pcrs.is_some() {
        "an AES key sealed by the TPM and bound to its registers, unsealed and used in memory for each operation"
    } else {
        "an AES key sealed by the TPM, unsealed and used in memory for each operation"
    };
    Capabilities::new(vec![
        line(
            Algorithm::EcdsaP256,
            protection,
            "hashed by us, signed by TPM2_Sign, low s; TPMs have no Ed25519",
        ),
        line(
            Algorithm::EcdhP256,
            protection,
            "by TPM2_ECDH_ZGen; no X25519: channel keys are software keys that the TPM seals",
        ),
        line(Algorithm::Aes256Gcm, Protection::Software, sealing),
    ])
}
