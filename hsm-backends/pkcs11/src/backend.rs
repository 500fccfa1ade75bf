//! Opening a vault: check the module's file, load it, find the token, get the PIN, log in, see what the token can do.
//!
//! Each step that calls the device runs on a thread of its own and is given up at the deadline. Asking a person for
//! the PIN takes as long as it takes.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::mechanism::MechanismType;
use cryptoki::slot::TokenInfo;
use vault::device::{AGAIN, Effect, Pool, Reply, Settings};
use vault::{
    Algorithm, Backend, Capabilities, Capability, Error, Interact, KeyUri, Kind, Pending, Presence,
    Protection, Result, Scheme, Vault,
};

use crate::address::{Address, PinSource, Token};
use crate::desk::{Bench, Desk, Offer, Station};
use crate::errors::Trouble;
use crate::keeper::Keeper;
use crate::keys::{self, KeyId};
use crate::make;
use crate::module::{Module, Pass};
use crate::quirks::{self, X25519Route};
use crate::trust;
use crate::vault::Pkcs11Vault;

/// Opens vaults on PKCS#11 tokens: `pkcs11:token=LABEL?module-path=PATH&pin-source=file:PATH`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pkcs11Backend {
    settings: Settings,
    takes_imported: bool,
}

impl Pkcs11Backend {
    /// A backend with four workers for each vault, and ten seconds for each request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a request may take, and each step of opening a vault, before it is answered with
    /// [`Kind::Unavailable`]. Time-outs of the device should be longer.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How many requests of one vault the device works on at the same time, each in a session of its own; at least one.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers.max(1);
        self
    }
}

/// Doors that only tests open: the product never turns the feature on.
#[cfg(feature = "danger")]
pub mod danger {
    use super::Pkcs11Backend;

    /// A backend that uses keys that were imported into the token, and may have copies, so that known vectors can go
    /// through it. Everything else that is asked of a key stays.
    #[must_use]
    pub fn backend_that_takes_imported_keys() -> Pkcs11Backend {
        Pkcs11Backend { takes_imported: true, ..Pkcs11Backend::new() }
    }
}

impl Backend for Pkcs11Backend {
    fn scheme(&self) -> Scheme {
        Scheme::Pkcs11
    }

    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        let backend = *self;
        Box::pin(async move {
            let address = Address::parse(uri)?;
            let (reply, answer) = Reply::new();
            let opener = thread::Builder::new().name("pkcs11-open".to_owned());
            opener.spawn(move || reply.answer(open(&address, backend, &interact))).map_err(|e| {
                Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e)
            })?;
            answer.await.map(|vault| Arc::new(vault) as Arc<dyn Vault>)
        })
    }
}

/// The pause before a token that was not found is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often that is.
const LOOKS: u32 = 2;

/// What the first look at a token shows.
struct Seen {
    token: Token,
    siblings: Vec<String>,
    needs_login: bool,
    may_mistake: bool,
    mechanisms: Vec<MechanismType>,
    hardware: Vec<MechanismType>,
}

fn open(address: &Address, backend: Pkcs11Backend, interact: &Arc<dyn Interact>) -> Result<Pkcs11Vault> {
    let settings = backend.settings;
    let path = trust::check(&address.module)?;
    let module = Module::at(&path);
    let seen = {
        let (address, module) = (address.clone(), Arc::clone(&module));
        within(settings.deadline, move |deadline| look(&module, &address, deadline))?
    };
    let (pin, presence) = if seen.needs_login {
        let presence = if address.pin_file.is_some() { Presence::None } else { Presence::Pin };
        (PinSource::settle(address, &seen.token, interact)?, presence)
    } else {
        (PinSource::None, Presence::None)
    };
    let keeper = {
        let (token, siblings) = (seen.token.clone(), seen.siblings.clone());
        within(settings.deadline, move |deadline| Keeper::open(module, token, siblings, pin, deadline))?
    };
    let station = Station::new(keeper, backend.takes_imported);
    let pool = {
        let station = Arc::clone(&station);
        let name = format!("token `{}`", seen.token.label);
        Pool::start(&name, settings, move || Desk::new(Arc::clone(&station)))?
    };
    let offer = Offer { may_mistake: seen.may_mistake, ..listed(&seen.mechanisms) };
    let offer = survey(&pool, offer)?;
    let capabilities = capabilities(&offer, &seen, presence);
    // The vault holds the pool only, so that the last worker, and never a caller, closes the login.
    let _ = station.offer.set(offer);
    drop(station);
    Pkcs11Vault::new(seen.token, capabilities, pool)
}

/// Runs something that may hang.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce(Instant) -> Result<T> + Send + 'static,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let (sender, receiver) = sync_channel(1);
    let step = thread::Builder::new()
        .name("pkcs11-step".to_owned())
        .spawn(move || {
            let _ = sender.send(work(deadline));
        })
        .map_err(|e| Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e))?;
    let answer = receiver.recv_timeout(limit);
    if !matches!(answer, Err(RecvTimeoutError::Timeout)) {
        // See the end of a pool.
        let _ = step.join();
    }
    answer.unwrap_or_else(|e| {
        Err(match e {
            RecvTimeoutError::Timeout => Error::new(
                Kind::Unavailable,
                format!("the module did not answer within {} ms", limit.as_millis()),
            )
            .with_retry(AGAIN)
            .with_hint("check the device and its driver"),
            RecvTimeoutError::Disconnected => {
                Error::new(Kind::Backend, "the module returned something that cannot be handled")
            }
        })
    })
}

/// Finds the token of the address. A token that came after `C_Initialize` may show only after another one (quirks:
/// frozen slots, torn reads), and a failure may have passed.
fn look(module: &Arc<Module>, address: &Address, deadline: Instant) -> Result<Seen> {
    module.start(deadline)?;
    let mut looks = 0..LOOKS;
    loop {
        let (seen, generation) = match module.enter(deadline) {
            Ok(pass) => (look_once(&pass, address), pass.generation()),
            // It stands still after a reset that failed.
            Err(error) => (Err(error), module.generation()),
        };
        match seen {
            Err(error) if may_pass(&error) && looks.next().is_some() => {
                thread::sleep(LOOK_AGAIN);
                // Where it cannot be reset, another look is all there is.
                let _ = module.reset(generation, deadline);
            }
            other => return other,
        }
    }
}

fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::Unavailable | Kind::Exhausted)
}

/// Finds the token by label and, if given, serial number.
fn look_once(pass: &Pass, address: &Address) -> Result<Seen> {
    let told = |e| Trouble::from(e).into_error(&address.label, false);
    let _turn = pass.turn();
    let mut needs_turns = false;
    let mut labels = Vec::new();
    let mut same_label: Vec<(_, TokenInfo)> = Vec::new();
    let mut unreadable = None;
    for slot in pass.context().get_slots_with_token().map_err(told)? {
        let info = match pass.context().get_token_info(slot) {
            Ok(info) => info,
            Err(error) => {
                unreadable = Some(error);
                continue;
            }
        };
        needs_turns |= quirks::needs_turns(&info);
        if !info.token_initialized() || quirks::is_torn(&info) {
            continue;
        }
        labels.push(format!("`{}`", info.label().escape_debug()));
        if info.label() == address.label {
            same_label.push((slot, info));
        }
    }
    pass.set_needs_turns(needs_turns);
    let wanted =
        |info: &TokenInfo| address.serial.as_deref().is_none_or(|serial| serial == info.serial_number());
    let mut chosen = same_label.iter().filter(|(_, info)| wanted(info));
    let (slot, info) = match (chosen.next(), chosen.next()) {
        (Some(only), None) => only,
        (None, _) => {
            let error = no_token(address, &same_label, &labels);
            let Some(unreadable) = unreadable.filter(|_| same_label.is_empty()) else { return Err(error) };
            // It may be the one that could not be read.
            let text = format!("{error}, and a slot cannot be read: {}", told(unreadable));
            let hint = error.hint().unwrap_or_default().to_owned();
            return Err(Error::new(Kind::Unavailable, text).with_hint(hint));
        }
        (Some(_), Some(_)) => {
            return Err(Error::new(
                Kind::Invalid,
                format!("several tokens have the label `{}`", address.label),
            )
            .with_hint("add the serial number of yours: `pkcs11:token=…;serial=…`"));
        }
    };
    let mechanisms = pass.context().get_mechanism_list(*slot).map_err(told)?;
    let by_hardware = |mechanism: &MechanismType| {
        pass.context().get_mechanism_info(*slot, *mechanism).is_ok_and(|info| info.hardware())
    };
    Ok(Seen {
        token: Token { label: info.label().to_owned(), serial: info.serial_number().to_owned() },
        siblings: same_label
            .iter()
            .map(|(_, other)| other.serial_number().to_owned())
            .filter(|serial| serial != info.serial_number())
            .collect(),
        needs_login: info.login_required(),
        may_mistake: quirks::needs_turns(info),
        hardware: mechanisms.iter().copied().filter(by_hardware).collect(),
        mechanisms,
    })
}

fn no_token<S>(address: &Address, same_label: &[(S, TokenInfo)], labels: &[String]) -> Error {
    let label = &address.label;
    if let (Some(serial), Some((_, other))) = (&address.serial, same_label.first()) {
        let text = format!("token `{label}` has serial number `{}`, not `{serial}`", other.serial_number());
        return Error::new(Kind::NotFound, text)
            .with_hint("it was re-initialised or exchanged: keys of the old one are gone for good");
    }
    let hint = if labels.is_empty() {
        "the module shows no initialised token at all".to_owned()
    } else {
        format!("the module shows: {}", labels.join(", "))
    };
    Error::new(Kind::NotFound, format!("there is no token `{label}`")).with_hint(hint)
}

/// What the mechanism list promises.
fn listed(mechanisms: &[MechanismType]) -> Offer {
    let all = |wanted: &[MechanismType]| wanted.iter().all(|mechanism| mechanisms.contains(mechanism));
    Offer {
        p256: all(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]),
        ed25519: all(&[MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, MechanismType::EDDSA]),
        x25519: X25519Route::listed(mechanisms),
        ecdh_p256: all(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDH1_DERIVE]),
        aes_gcm: all(&[MechanismType::AES_KEY_GEN, MechanismType::AES_GCM]),
        may_mistake: false,
    }
}

/// Tries what the list leaves open: whether X25519 keys can be made the other way, shown by one that is thrown away.
fn survey(pool: &Pool<Desk>, offer: Offer) -> Result<Offer> {
    if offer.x25519 != Some(X25519Route::Edwards) {
        return Ok(offer);
    }
    let tried = pool.submit(Effect::Reads, move |desk, deadline| desk.attempt(deadline, try_x25519));
    let works = vault::block_on(tried)?;
    Ok(Offer { x25519: offer.x25519.filter(|_| works), ..offer })
}

fn try_x25519(bench: &mut Bench<'_>) -> std::result::Result<bool, Trouble> {
    let id = KeyId::new(Algorithm::X25519, "")?;
    match make::by_route(bench, X25519Route::Edwards, &id.naming()) {
        Ok(()) => {
            let made = keys::made(bench, &id)?;
            keys::remove(bench, &id)?;
            Ok(made.is_some())
        }
        Err(trouble) if trouble.remedy() == crate::errors::Remedy::None => {
            bench.renew_session();
            Ok(false)
        }
        Err(trouble) => Err(trouble),
    }
}

fn capabilities(offer: &Offer, seen: &Seen, presence: Presence) -> Capabilities {
    let line = |algorithm: Algorithm, by: MechanismType, note| Capability {
        algorithm,
        protection: if seen.hardware.contains(&by) { Protection::Hardware } else { Protection::Software },
        presence,
        note,
    };
    let mut lines = Vec::new();
    if offer.p256 {
        lines.push(line(
            Algorithm::EcdsaP256,
            MechanismType::ECDSA,
            "hashed by us, signed by CKM_ECDSA, low s",
        ));
    }
    if offer.ed25519 {
        lines.push(line(Algorithm::Ed25519, MechanismType::EDDSA, ""));
    }
    if let Some(route) = offer.x25519 {
        lines.push(line(Algorithm::X25519, MechanismType::ECDH1_DERIVE, route.note()));
    }
    if offer.ecdh_p256 {
        lines.push(line(Algorithm::EcdhP256, MechanismType::ECDH1_DERIVE, ""));
    }
    if offer.aes_gcm {
        lines.push(line(Algorithm::Aes256Gcm, MechanismType::AES_GCM, "96-bit random nonces of ours"));
    }
    Capabilities::new(lines)
}
