//! Opening a vault: get the PIN, find the card, check its secrets, enter the PIN, see what its firmware can do.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::yubikey::{TouchPolicy, Version};
use vault::device::{Effect, Pool, Reply, Settings};
use vault::{
    Algorithm, Backend, Capabilities, Capability, Error, Interact, KeyUri, Kind, Pending, Presence,
    Protection, Result, Scheme, Vault,
};

use crate::address::Address;
use crate::desk::Desk;
use crate::quirks;
use crate::station::Station;
use crate::vault::YubiKeyVault;

/// A card does one thing at a time.
const WORKERS: usize = 1;
/// A use that wants a touch waits for a person, who has 15 seconds.
const WITH_TOUCH: Duration = Duration::from_secs(40);

/// Opens vaults on YubiKeys: `yubikey:serial=N?pin-source=file:PATH`.
#[derive(Clone, Copy, Debug)]
pub struct YubiKeyBackend {
    settings: Settings,
}

impl Default for YubiKeyBackend {
    fn default() -> Self {
        Self { settings: Settings { workers: WORKERS, ..Settings::default() } }
    }
}

impl YubiKeyBackend {
    /// A backend with ten seconds for each request, and more where new keys ask for a touch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a request may take before it is answered with [`Kind::Unavailable`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }
}

impl Backend for YubiKeyBackend {
    fn scheme(&self) -> Scheme {
        Scheme::YubiKey
    }

    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        let mut settings = self.settings;
        Box::pin(async move {
            let address = Address::parse(uri)?;
            if address.touch != TouchPolicy::Never {
                settings.deadline = settings.deadline.max(WITH_TOUCH);
            }
            let (reply, answer) = Reply::new();
            thread::Builder::new()
                .name("yubikey-open".to_owned())
                .spawn(move || reply.answer(open(address, settings, interact)))
                .map_err(|e| {
                    Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e)
                })?;
            answer.await.map(|vault| Arc::new(vault) as Arc<dyn Vault>)
        })
    }
}

fn open(address: Address, settings: Settings, interact: Arc<dyn Interact>) -> Result<YubiKeyVault> {
    let presence = match (address.touch, &address.pin_file) {
        (TouchPolicy::Always | TouchPolicy::Cached, _) => Presence::Touch,
        (_, Some(_)) => Presence::None,
        (_, None) => Presence::Pin,
    };
    let name = address.card();
    let station = Arc::new(Station::new(address, interact)?);
    let pool = {
        let station = Arc::clone(&station);
        Pool::start(&name, settings, move || Desk::new(Arc::clone(&station)))?
    };
    let looked = pool.submit(Effect::Reads, |desk, _| desk.attempt(|card| card.version()));
    let version = vault::block_on(looked)?;
    YubiKeyVault::new(station, capabilities(version, presence), pool)
}

fn capabilities(version: Version, presence: Presence) -> Capabilities {
    let line = |algorithm, note| Capability { algorithm, protection: Protection::Hardware, presence, note };
    let mut lines = vec![
        line(Algorithm::EcdsaP256, quirks::ecdsa_note(version)),
        line(Algorithm::EcdhP256, quirks::ecdh_note(version)),
        line(Algorithm::EciesP256, "the card agrees, this program encrypts"),
    ];
    if quirks::has_curve25519(version) {
        lines.push(line(Algorithm::Ed25519, "messages of at most 254 bytes"));
        lines.push(line(Algorithm::X25519, ""));
    }
    Capabilities::new(lines)
}
