//! What a worker works with: a session of its own, and the rule of what happens when the token fails it. Any failure of
//! the device costs the session; then the connection is looked at, and the request is tried once more, never twice. Only
//! requests come here that may be repeated: reading and using a key changes nothing, and making and destroying one
//! recognise what the first try did, by the id chosen before ([`crate::keys`]).

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Info;
use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::TokenInfo;
use vault::device::indeterminate;
use vault::{Algorithm, Error, Kind, Result};

use crate::address::Token;
use crate::errors::{Remedy, Trouble};
use crate::keeper::{Access, Keeper, is_logged_in, open_session};
use crate::module::Pass;
use crate::objects::Kept;
use crate::quirks::{self, X25519Route};
use crate::turns::Turn;

/// The most objects that one search may bring: a device is an input source, too.
const MAX_OBJECTS: usize = 10_000;
/// A login this young is taken for fresh (quirks: a login can outlive its token).
const FRESH: Duration = Duration::from_secs(5);
/// What is not found through a login this young is not there (quirks: torn reads).
const DOUBTLESS: Duration = Duration::from_secs(1);

/// What all workers of a vault share.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) keeper: Keeper,
    /// Whether keys that were imported are used, which only tests ask for.
    pub(crate) takes_imported: bool,
    /// What the token can do; written once, when the vault is opened.
    pub(crate) offer: OnceLock<Offer>,
    handles: Mutex<HashMap<String, Handle>>,
    /// Names of keys that are being made by this vault.
    making: Mutex<HashSet<Vec<u8>>>,
    kept: Mutex<HashMap<Algorithm, Kept>>,
}

#[derive(Clone, Copy, Debug)]
struct Handle {
    epoch: u64,
    object: ObjectHandle,
}

/// Which algorithms the token has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) p256: bool,
    pub(crate) ed25519: bool,
    pub(crate) x25519: Option<X25519Route>,
    pub(crate) ecdh_p256: bool,
    pub(crate) aes_gcm: bool,
    /// Whether the token may take what is there for missing (quirks: torn reads).
    pub(crate) may_mistake: bool,
}

impl Offer {
    pub(crate) fn has(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::EcdsaP256 => self.p256,
            Algorithm::Ed25519 => self.ed25519,
            Algorithm::X25519 => self.x25519.is_some(),
            Algorithm::EcdhP256 => self.ecdh_p256,
            Algorithm::Aes256Gcm => self.aes_gcm,
            _ => false,
        }
    }
}

impl Station {
    pub(crate) fn new(keeper: Keeper, takes_imported: bool) -> Arc<Self> {
        Arc::new(Self {
            keeper,
            takes_imported,
            offer: OnceLock::new(),
            handles: Mutex::default(),
            making: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    pub(crate) fn token(&self) -> &Token {
        self.keeper.token()
    }

    /// Refuses an algorithm that the token lacks.
    pub(crate) fn require(&self, algorithm: Algorithm) -> Result<()> {
        if self.offer.get().is_some_and(|offer| offer.has(algorithm)) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            format!("token `{}` has no keys of type {algorithm}", self.token().label),
        )
        .with_hint("`ockam-kms vault check NAME` lists what a vault can do"))
    }

    /// Claims a name for a key that is being made, until the claim is dropped.
    pub(crate) fn claim(self: &Arc<Self>, name: &[u8]) -> Option<Claim> {
        let mut making = lock(&self.making);
        making.insert(name.to_vec()).then(|| Claim { station: Arc::clone(self), name: name.to_vec() })
    }
}

/// A name that nobody else of this vault makes a key under.
pub(crate) struct Claim {
    station: Arc<Station>,
    name: Vec<u8>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.station.making).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's place.
#[derive(Debug)]
pub(crate) struct Desk {
    station: Arc<Station>,
    session: Option<Held>,
}

#[derive(Debug)]
struct Held {
    session: Session,
    epoch: u64,
    generation: u64,
}

impl Desk {
    pub(crate) fn new(station: Arc<Station>) -> Self {
        Self { station, session: None }
    }

    /// Does the work, and once more where that is safe and may help.
    pub(crate) fn attempt<T>(
        &mut self,
        deadline: Instant,
        mut work: impl FnMut(&mut Bench<'_>) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let mut first: Option<(Trouble, bool)> = None;
        loop {
            let (pass, access) = match (self.station.keeper.access(deadline), &first) {
                (Ok(access), _) => access,
                (Err(error), Some((_, true))) => return Err(indeterminate(error)),
                (Err(error), _) => return Err(error),
            };
            let mut bench = Bench::new(self, &pass, access);
            // The library computes with what the device returned: a panic there is the device's fault, and must not
            // take the worker with it.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut bench)));
            let sent = bench.sent || first.as_ref().is_some_and(|(_, sent)| *sent);
            let resolved = bench.resolved.take();
            let outcome = outcome.unwrap_or_else(|_| {
                bench.renew_session();
                Err(bench.nonsense("something that cannot be handled"))
            });
            let trouble = match outcome {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            if trouble.spoils_the_session() {
                self.discard(&pass);
            }
            drop(pass);
            let remedy = trouble.remedy();
            if let (Remedy::Resolve, Some(key)) = (remedy, resolved) {
                lock(&self.station.handles).remove(&key);
            }
            let cured = self.station.keeper.cure(remedy, access, deadline);
            let label = &self.station.token().label;
            if remedy == Remedy::None || first.is_some() {
                return Err(trouble.into_error(label, sent));
            }
            match (cured, &trouble) {
                (Ok(()), _) => first = Some((trouble, sent)),
                (Err(_), Trouble::Doubtful(_)) => return Err(trouble.into_error(label, sent)),
                (Err(error), _) if sent => return Err(indeterminate(error)),
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Throws the session away. Only one of the module's present generation is closed: the number of an older one
    /// may have been given to somebody else.
    fn discard(&mut self, pass: &Pass) {
        if let Some(held) = self.session.take()
            && held.generation == pass.generation()
        {
            let _ = held.session.close();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if self.session.is_some()
            && let Ok(pass) = self.station.keeper.enter(Instant::now())
        {
            self.discard(&pass);
        }
    }
}

/// A session that is ready for use, for the length of one request.
pub(crate) struct Bench<'a> {
    desk: &'a mut Desk,
    pass: &'a Pass,
    access: Access,
    sent: bool,
    resolved: Option<String>,
    turn: Option<Turn>,
    in_turn: bool,
}

impl<'a> Bench<'a> {
    fn new(desk: &'a mut Desk, pass: &'a Pass, access: Access) -> Self {
        Self { desk, pass, access, sent: false, resolved: None, turn: None, in_turn: false }
    }

    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.desk.station
    }

    pub(crate) fn token(&self) -> &Token {
        self.desk.station.token()
    }

    /// The session of this worker, opened when there is none for the present login.
    pub(crate) fn session(&mut self) -> std::result::Result<&Session, Trouble> {
        let fits = |held: &Held| held.epoch == self.access.epoch && held.generation == self.pass.generation();
        if self.desk.session.as_ref().is_some_and(|held| !fits(held)) {
            self.desk.discard(self.pass);
        }
        if self.desk.session.is_none() {
            let session = open_session(self.pass, self.access.slot)?;
            self.desk.session =
                Some(Held { session, epoch: self.access.epoch, generation: self.pass.generation() });
        }
        match &self.desk.session {
            Some(held) => Ok(&held.session),
            None => Err(Trouble::Away(Remedy::Device)),
        }
    }

    /// Throws the session away after a failure that the work goes on from.
    pub(crate) fn renew_session(&mut self) {
        self.desk.discard(self.pass);
    }

    /// From here on the token may have changed, whatever it answers. The work recognises what it did before when it is
    /// done once more.
    pub(crate) fn sending(&mut self) {
        self.sent = true;
    }

    /// An error for a key that was not found, or found twice. Where a token may be mistaken about that, it is doubtful until a fresh
    /// connection says the same.
    pub(crate) fn absent(&self, error: Error) -> Trouble {
        if self.access.since.elapsed() < DOUBTLESS { error.into() } else { self.missing(error) }
    }

    /// The same for something that has to be there because something else is, so that even a young login may have been
    /// too early.
    pub(crate) fn missing(&self, error: Error) -> Trouble {
        let mistaken = self.station().offer.get().is_some_and(|offer| offer.may_mistake);
        if mistaken && self.pass.is_ours() { Trouble::Doubtful(error) } else { error.into() }
    }

    /// Does something in one turn, on tokens that need turns ([`quirks::needs_turns`]). Turns within turns are one.
    pub(crate) fn in_turn<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let outermost = !self.in_turn;
        if outermost {
            self.turn = self.pass.turn();
            self.in_turn = true;
        }
        let done = work(self);
        if outermost {
            self.turn = None;
            self.in_turn = false;
        }
        done
    }

    /// Removes an object.
    pub(crate) fn destroy(&mut self, object: ObjectHandle) -> std::result::Result<(), Trouble> {
        self.in_turn(|bench| Ok(bench.session()?.destroy_object(object)?))
    }

    /// The objects that a template matches.
    pub(crate) fn find(&mut self, template: &[Attribute]) -> std::result::Result<Vec<ObjectHandle>, Trouble> {
        let found = self.in_turn(|bench| {
            let objects = bench.session()?.iter_objects(template)?.take(MAX_OBJECTS + 1);
            objects.map(|object| Ok(object?)).collect::<std::result::Result<Vec<_>, Trouble>>()
        })?;
        if found.len() > MAX_OBJECTS {
            return Err(self.nonsense(&format!("more than {MAX_OBJECTS} objects")));
        }
        Ok(found)
    }

    /// Removes objects, and does not mind those that are gone already.
    pub(crate) fn destroy_all(&mut self, objects: &[ObjectHandle]) -> std::result::Result<(), Trouble> {
        for object in objects {
            match self.destroy(*object) {
                Ok(()) => {}
                Err(Trouble::Answer(RvError::ObjectHandleInvalid, _)) => self.renew_session(),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    /// An attribute of variable length. `None` when the object has none, or does not give it out.
    pub(crate) fn bytes(
        &mut self,
        object: ObjectHandle,
        attribute: AttributeType,
        limit: usize,
    ) -> std::result::Result<Option<Vec<u8>>, Trouble> {
        // The library allocates as much as the device says, so the device is asked first.
        match self.session()?.get_attribute_info(object, &[attribute])?.first() {
            Some(AttributeInfo::Available(size)) if *size > limit => {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("token `{}` says that {attribute} of a key has {size} bytes", self.token().label),
                )
                .into());
            }
            Some(AttributeInfo::Available(_)) => {}
            _ => return Ok(None),
        }
        let read = self.session()?.get_attributes(object, &[attribute])?;
        Ok(read.into_iter().next().and_then(|attribute| match attribute {
            Attribute::Label(bytes)
            | Attribute::Id(bytes)
            | Attribute::EcParams(bytes)
            | Attribute::EcPoint(bytes)
            | Attribute::Value(bytes)
                if bytes.len() <= limit =>
            {
                Some(bytes)
            }
            _ => None,
        }))
    }

    /// Attributes of fixed length: those that the token states.
    pub(crate) fn fixed(
        &mut self,
        object: ObjectHandle,
        attributes: &[AttributeType],
    ) -> std::result::Result<Vec<Attribute>, Trouble> {
        Ok(self.session()?.get_attributes(object, attributes)?)
    }

    /// What the library, and the token as it is now, say of themselves.
    pub(crate) fn describe(&mut self) -> std::result::Result<(Info, TokenInfo), Trouble> {
        let library = self.pass.context().get_library_info()?;
        Ok((library, self.confirm()?))
    }

    /// That nothing was found means something only while the token is there and we are logged in to it.
    pub(crate) fn confirm(&mut self) -> std::result::Result<TokenInfo, Trouble> {
        let info = self.in_turn(|bench| bench.pass.context().get_token_info(bench.access.slot));
        let token = self.token();
        let there = info.ok().filter(|info| {
            info.token_initialized() && info.label() == token.label && info.serial_number() == token.serial
        });
        let Some(info) = there else { return Err(Trouble::Away(Remedy::Device)) };
        if info.login_required() && !is_logged_in(self.session()?) {
            return Err(Trouble::Away(Remedy::Login));
        }
        Ok(info)
    }

    /// That a key may be made: the token is there, and the login is that of the token as it is now
    /// ([`quirks::login_outlives_token`]).
    pub(crate) fn may_make_keys(&mut self) -> std::result::Result<(), Trouble> {
        let info = self.confirm()?;
        if !quirks::login_outlives_token(&info) || !self.pass.is_ours() || self.access.since.elapsed() < FRESH
        {
            return Ok(());
        }
        let epoch = self.access.epoch;
        let known: Vec<_> = {
            let handles = lock(&self.desk.station.handles);
            handles
                .values()
                .filter(|handle| handle.epoch == epoch)
                .map(|handle| handle.object)
                .take(4)
                .collect()
        };
        for object in known {
            if self
                .session()?
                .get_attributes(object, &[AttributeType::Class])
                .is_ok_and(|read| !read.is_empty())
            {
                return Ok(());
            }
        }
        Err(Trouble::Away(Remedy::Renew))
    }

    /// The cached handle of a key, if it is of this login.
    pub(crate) fn cached(&mut self, key: &str) -> Option<ObjectHandle> {
        let found = lock(&self.desk.station.handles).get(key).copied();
        let found = found.filter(|handle| handle.epoch == self.access.epoch)?;
        self.resolved = Some(key.to_owned());
        Some(found.object)
    }

    pub(crate) fn cache(&mut self, key: &str, object: ObjectHandle) {
        let handle = Handle { epoch: self.access.epoch, object };
        lock(&self.desk.station.handles).insert(key.to_owned(), handle);
        self.resolved = Some(key.to_owned());
    }

    pub(crate) fn forget(&mut self, key: &str) {
        lock(&self.desk.station.handles).remove(key);
    }

    /// What the token keeps of the attributes that not every token takes, for keys of this algorithm.
    pub(crate) fn kept(&mut self, algorithm: Algorithm) -> std::result::Result<Kept, Trouble> {
        if let Some(kept) = lock(&self.desk.station.kept).get(&algorithm) {
            return Ok(kept.clone());
        }
        let kept = Kept::probe(self, algorithm)?;
        lock(&self.desk.station.kept).insert(algorithm, kept.clone());
        Ok(kept)
    }

    /// For a device that answers something impossible.
    pub(crate) fn nonsense(&self, what: &str) -> Trouble {
        self.nonsense_error(what).into()
    }

    pub(crate) fn nonsense_error(&self, what: &str) -> Error {
        Error::new(Kind::Backend, format!("token `{}` returned {what}", self.token().label))
    }

    /// The X25519 way of this token.
    pub(crate) fn x25519(&self) -> Option<X25519Route> {
        self.desk.station.offer.get().and_then(|offer| offer.x25519)
    }
}

/// Whether a token refuses a template, or a spelling of a curve, where another may do.
pub(crate) fn is_about_the_template(trouble: &Trouble) -> bool {
    use RvError as R;
    let Trouble::Answer(answer, _) = trouble else { return false };
    matches!(
        answer,
        R::TemplateInconsistent
            | R::TemplateIncomplete
            | R::AttributeTypeInvalid
            | R::AttributeValueInvalid
            | R::AttributeReadOnly
            | R::CurveNotSupported
            | R::DomainParamsInvalid
            | R::MechanismParamInvalid
    )
}
