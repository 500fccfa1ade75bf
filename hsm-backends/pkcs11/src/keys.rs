//! Finding, making, destroying and listing keys.
//!
//! **Names.** A key's name is its `CKA_LABEL`, one to one. Its `CKA_ID` is chosen before the key exists, so that one call
//! creates both halves complete and unmodifiable: four bytes that say it is ours and twelve random ones. (A hash of the
//! public key, as others use, would have to be set afterwards, on a key that is still modifiable.)
//!
//! **Two at once.** PKCS#11 lets two keys have one label. Who makes a key looks for the name before, and counts after:
//! alone, the key is good. Otherwise the maker with the greater id removes its key and reports that the name is taken.
//! The one with the smallest id waits for the others to do so: if they do, its key is good; if one stays, that one was
//! made and reported earlier, and the waiting one gives way, too. So at most one maker succeeds.
//!
//! **Halves.** A process that dies while a key is made or destroyed can leave a public half without its private one. It is
//! in nobody's way, having an id of its own, and [`discard`] removes it. Nothing else does: another process may be about
//! to make the private half.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cryptoki::error::{Error as LibraryError, RvError};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use vault::{Algorithm, Error, KeyInfo, KeyUri, Kind, PurposeKind, Result};

use crate::address::{Token, Wanted};
use crate::desk::Bench;
use crate::errors::{Remedy, Trouble};
use crate::make;
use crate::objects::{self, Described};
use crate::operations;
use crate::template::{self, Naming};

type Done<T> = std::result::Result<T, Trouble>;

/// What the ids of our keys start with.
const MARK: &[u8] = b"okms";
const ID_LENGTH: usize = 16;
/// How long a maker waits for the others to remove their keys of the same name. Shorter than a reset of the module waits
/// for requests under way.
const RACE: Duration = Duration::from_secs(1);
const RACE_LOOK: Duration = Duration::from_millis(50);
/// The two looks at a torso are this far apart: an object that is being made has a name by then.
const TORSO_LOOK: Duration = Duration::from_secs(1);

/// How the token knows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId {
    pub(crate) purpose: PurposeKind,
    pub(crate) id: Vec<u8>,
    pub(crate) label: Vec<u8>,
}

impl KeyId {
    /// Of a key that is to be made: no other key has this id.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub(crate) fn new(algorithm: Algorithm, name: &str) -> Result<Self> {
        let mut random = [0_u8; ID_LENGTH - MARK.len()];
        getrandom::fill(&mut random).map_err(|e| {
            Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
        })?;
        let id = [MARK, &random].concat();
        Ok(Self { purpose: algorithm.purpose(), id, label: name.as_bytes().to_vec() })
    }

    pub(crate) fn naming(&self) -> Naming<'_> {
        Naming { label: &self.label, id: &self.id }
    }

    /// The text that a key handle carries.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", hex::encode(&self.id), hex::encode(&self.label))
    }

    /// From a handle's text.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the text is not of this backend.
    pub(crate) fn parse(purpose: PurposeKind, text: &str) -> Result<Self> {
        let parts = text.split_once(':').map(|(id, label)| (hex::decode(id), hex::decode(label)));
        match parts {
            Some((Ok(id), Ok(label))) => Ok(Self { purpose, id, label }),
            _ => Err(Error::new(Kind::Invalid, "the key handle is not one of a PKCS#11 vault")),
        }
    }

    /// The name as a person reads it.
    pub(crate) fn shown(&self) -> String {
        if self.label.is_empty() {
            return format!("id {}", hex::encode(&self.id));
        }
        String::from_utf8_lossy(&self.label).escape_debug().to_string()
    }

    /// What finds the object of this class. An empty id or label is no search term.
    pub(crate) fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let mut template = vec![Attribute::Class(class)];
        if !self.label.is_empty() {
            template.push(Attribute::Label(self.label.clone()));
        }
        if !self.id.is_empty() {
            template.push(Attribute::Id(self.id.clone()));
        }
        template
    }

    /// Whether [`template`](Self::template) finds an object of this id and label.
    fn finds(&self, other: &Self) -> bool {
        (self.label.is_empty() || self.label == other.label) && (self.id.is_empty() || self.id == other.id)
    }

    /// The URI that opens it: by its label, and by its id where it has no label or shares it.
    pub(crate) fn uri(&self, token: &Token, shared: bool) -> Result<KeyUri> {
        let mut uri = token.key_uri()?;
        if !self.label.is_empty() {
            uri = uri.with("object", &self.label)?;
        }
        if self.label.is_empty() || shared {
            uri = uri.with("id", &self.id)?;
        }
        Ok(uri)
    }
}

/// A key that was opened or made.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) id: KeyId,
    pub(crate) uri: KeyUri,
    pub(crate) algorithm: Algorithm,
    pub(crate) public: Option<Vec<u8>>,
}

const SECRET_CLASSES: [ObjectClass; 2] = [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY];

fn named(bench: &mut Bench<'_>, label: &[u8]) -> Done<Vec<ObjectHandle>> {
    let mut found = Vec::new();
    for class in SECRET_CLASSES {
        found.extend(bench.find(&[
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(label.to_vec()),
        ])?);
    }
    Ok(found)
}

/// Opens the key that a URI asks for.
pub(crate) fn open(bench: &mut Bench<'_>, purpose: PurposeKind, wanted: &Wanted) -> Done<Opened> {
    let search = KeyId {
        purpose,
        id: wanted.id.clone().unwrap_or_default(),
        label: wanted.label.clone().unwrap_or_default(),
    };
    let key = one(bench, &search)?;
    let opened = adopt(bench, &key, purpose)?;
    bench.cache(&key.id.text(), key.object);
    Ok(opened)
}

/// The one object that holds the secret half of a key.
fn one(bench: &mut Bench<'_>, search: &KeyId) -> Done<Described> {
    let class = template::class(search.purpose);
    let found = bench.find(&search.template(class))?;
    let object = match found.as_slice() {
        [object] => *object,
        [] => {
            for other in SECRET_CLASSES.into_iter().filter(|other| *other != class) {
                if !bench.find(&search.template(other))?.is_empty() {
                    return Err(wrong_purpose(search, search.purpose).into());
                }
            }
            bench.confirm()?;
            return Err(bench.absent(not_found(search, bench.token())));
        }
        several => {
            let (count, token, name) = (several.len(), &bench.token().label, search.shown());
            let error = Error::new(Kind::Invalid, format!("{count} keys on token `{token}` match `{name}`"))
                .with_hint("name one by label and id, `object=…;id=…`, or remove the others");
            return Err(bench.absent(error));
        }
    };
    let described = objects::describe(bench, object)?.ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            format!("the key `{}` is of a type that is not used here", search.shown()),
        )
        .with_hint("key types are ed25519, p256, x25519, ecdh-p256 and aes256-gcm")
    })?;
    if !search.finds(&described.id) {
        return Err(bench.nonsense("another key than the one it was asked for"));
    }
    Ok(described)
}

/// Checks a key that is there, and reads its public half.
fn adopt(bench: &mut Bench<'_>, key: &Described, purpose: PurposeKind) -> Done<Opened> {
    if key.algorithm.purpose() != purpose {
        return Err(wrong_purpose(&key.id, purpose).into());
    }
    bench.station().require(key.algorithm)?;
    objects::check(bench, key)?;
    let public = objects::public_half(bench, key)?;
    if let (PurposeKind::Agreement, Some(public)) = (purpose, &public) {
        operations::check_agreement_key(bench, key, public)?;
    }
    let by_label = named(bench, &key.id.label)?.len();
    let uri = key.id.uri(bench.token(), by_label > 1)?;
    Ok(Opened { id: key.id.clone(), uri, algorithm: key.algorithm, public })
}

fn wrong_purpose(id: &KeyId, purpose: PurposeKind) -> Error {
    Error::new(Kind::Invalid, format!("the key `{}` is not for {purpose}", id.shown()))
}

fn not_found(id: &KeyId, token: &Token) -> Error {
    Error::new(Kind::NotFound, format!("there is no key `{}` on token `{}`", id.shown(), token.label)).with_hint(
        "if it was there, it was destroyed, or the token re-initialised: it cannot be made again, rotate to a new key",
    )
}

/// The object of a key that was opened before: from the cache, or found again. What is found again is checked again,
/// since it may be another key by now.
pub(crate) fn resolve(
    bench: &mut Bench<'_>,
    id: &KeyId,
    text: &str,
    public: Option<&[u8]>,
) -> Done<ObjectHandle> {
    if let Some(object) = bench.cached(text) {
        return Ok(object);
    }
    let key = one(bench, id)?;
    let opened = adopt(bench, &key, id.purpose)?;
    if opened.public.as_deref() != public {
        return Err(Error::new(
            Kind::Corrupt,
            format!("the key `{}` is not the one that was opened", id.shown()),
        )
        .with_hint("somebody replaced it: restore the original, or rotate to a key that is still good")
        .into());
    }
    bench.cache(text, key.object);
    Ok(key.object)
}

/// A key to be made. Knows the id before the key exists, so that a second try after a lost answer finds the key of the
/// first and makes none.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    id: KeyId,
    algorithm: Algorithm,
    sent: bool,
}

impl Making {
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub(crate) fn new(algorithm: Algorithm, name: &str) -> Result<Self> {
        Ok(Self { id: KeyId::new(algorithm, name)?, algorithm, sent: false })
    }
}

/// Makes a key under a name that nothing else has.
pub(crate) fn generate(bench: &mut Bench<'_>, making: &mut Making, deadline: Instant) -> Done<Opened> {
    let Making { id, algorithm, sent } = making;
    bench.station().require(*algorithm)?;
    let Some(_claim) = bench.station().claim(&id.label) else { return Err(taken(id).into()) };
    bench.may_make_keys()?;
    if *sent {
        bench.sending();
        if let Some(made) = made(bench, id)? {
            return settle(bench, id, *algorithm, made, deadline);
        }
    }
    bench.in_turn(|bench| {
        if !named(bench, &id.label)?.is_empty() {
            return Err(taken(id).into());
        }
        bench.sending();
        *sent = true;
        make::objects(bench, *algorithm, &id.naming(), true, true)
    })?;
    match made(bench, id)? {
        Some(made) => settle(bench, id, *algorithm, made, deadline),
        None => Err(bench.missing(bench.nonsense_error("no key where it had made one"))),
    }
}

/// The secret half of a key that was made under this id. When there is none there is nothing, and afterwards nothing at all.
pub(crate) fn made(bench: &mut Bench<'_>, id: &KeyId) -> Done<Option<ObjectHandle>> {
    let secret = bench.find(&id.template(template::class(id.purpose)))?;
    bench.confirm()?;
    if secret.is_empty() {
        remove(bench, id)?;
    }
    Ok(secret.first().copied())
}

/// Removes what was made under this id, the private half first. What is gone already is fine.
pub(crate) fn remove(bench: &mut Bench<'_>, id: &KeyId) -> Done<()> {
    for class in [template::class(id.purpose), ObjectClass::PUBLIC_KEY] {
        let found = bench.find(&id.template(class))?;
        bench.destroy_all(&found)?;
    }
    Ok(())
}

fn settle(
    bench: &mut Bench<'_>,
    id: &KeyId,
    algorithm: Algorithm,
    made: ObjectHandle,
    deadline: Instant,
) -> Done<Opened> {
    let checked = check_made(bench, id, algorithm, made, deadline);
    if matches!(checked, Err(Trouble::Decided(_))) {
        // A key that could not be removed is found again, and removed, by the second try.
        remove(bench, id)?;
    }
    checked
}

fn check_made(
    bench: &mut Bench<'_>,
    id: &KeyId,
    algorithm: Algorithm,
    made: ObjectHandle,
    deadline: Instant,
) -> Done<Opened> {
    if !wins(bench, id, made, deadline)? {
        return Err(taken(id).into());
    }
    let key = Described { object: made, id: id.clone(), algorithm };
    let opened = adopt(bench, &key, id.purpose)?;
    bench.cache(&id.text(), made);
    Ok(opened)
}

/// Whether the key just made has its name for itself, in the end.
fn wins(bench: &mut Bench<'_>, id: &KeyId, mine: ObjectHandle, deadline: Instant) -> Done<bool> {
    let until = deadline.min(Instant::now() + RACE);
    loop {
        let mut others = named(bench, &id.label)?;
        others.retain(|object| *object != mine);
        if others.is_empty() {
            return Ok(true);
        }
        for object in others {
            match bench.bytes(object, AttributeType::Id, ID_LENGTH * 4) {
                Ok(other) if other.as_deref().unwrap_or_default() < id.id.as_slice() => return Ok(false),
                Ok(_) => {}
                // It is being removed under our eyes, most likely: look again.
                Err(_) => bench.renew_session(),
            }
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(RACE_LOOK);
    }
}

fn taken(id: &KeyId) -> Error {
    Error::new(Kind::AlreadyExists, format!("there already is a key `{}` on the token", id.shown()))
        .with_hint("open it, or choose another name")
}

/// Destroys a key, the private half first: what a crash leaves then is public. `sent` remembers that a first try may have
/// done it.
pub(crate) fn destroy(bench: &mut Bench<'_>, id: &KeyId, text: &str, sent: &mut bool) -> Done<()> {
    bench.forget(text);
    let key = match one(bench, id) {
        Err(Trouble::Decided(error) | Trouble::Doubtful(error))
            if *sent && error.kind() == Kind::NotFound =>
        {
            return Ok(());
        }
        other => other?,
    };
    let public = match id.purpose {
        PurposeKind::Sealing => Vec::new(),
        _ if key.id.id.is_empty() => Vec::new(),
        _ => bench.find(&key.id.template(ObjectClass::PUBLIC_KEY))?,
    };
    bench.sending();
    match bench.destroy(key.object) {
        // Somebody else was faster, so it was not us.
        Err(Trouble::Answer(RvError::ObjectHandleInvalid, function)) => {
            return Err(Trouble::Answer(RvError::ObjectHandleInvalid, function));
        }
        other => {
            *sent = true;
            other?;
        }
    }
    bench.destroy_all(&public)
}

/// Removes all that has this name and was made by us for this purpose, whole or not.
pub(crate) fn discard(bench: &mut Bench<'_>, purpose: PurposeKind, name: &str) -> Done<()> {
    let classes: &[ObjectClass] = match purpose {
        PurposeKind::Sealing => &[ObjectClass::SECRET_KEY],
        _ => &[ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY],
    };
    let mut doomed = Vec::new();
    for class in classes {
        let search =
            [Attribute::Class(*class), Attribute::Token(true), Attribute::Label(name.as_bytes().to_vec())];
        for object in bench.find(&search)? {
            let id = bench.bytes(object, AttributeType::Id, ID_LENGTH * 4)?.unwrap_or_default();
            let described = objects::describe(bench, object)?;
            if !is_ours(&id) || described.is_some_and(|key| key.algorithm.purpose() != purpose) {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("`{name}` is not a key for {purpose} that was made here"),
                )
                .with_hint("nothing was removed: use the token's own tools")
                .into());
            }
            doomed.push(object);
        }
    }
    bench.confirm()?;
    bench.sending();
    bench.destroy_all(&doomed)?;
    remove_torsos(bench)
}

/// Removes what a generation that was cut off early left: an object that has neither a name nor a key. Not every token
/// makes objects in one step; SoftHSM writes them attribute by attribute, name and key last. Since an object that another
/// process is about to make looks the same, only one that still does so after a while is removed.
fn remove_torsos(bench: &mut Bench<'_>) -> Done<()> {
    let first = torsos(bench)?;
    if first.is_empty() {
        return Ok(());
    }
    sleep(TORSO_LOOK);
    let mut still = torsos(bench)?;
    still.retain(|object| first.contains(object));
    bench.destroy_all(&still)
}

fn torsos(bench: &mut Bench<'_>) -> Done<Vec<ObjectHandle>> {
    let mut torsos = Vec::new();
    for object in bench.find(&[])? {
        if is_torso(bench.session()?, object) {
            torsos.push(object);
        }
    }
    Ok(torsos)
}

/// What a key or anything else of use has at least one of.
const SUBSTANCE: [AttributeType; 7] = [
    AttributeType::Label,
    AttributeType::Id,
    AttributeType::EcParams,
    AttributeType::EcPoint,
    AttributeType::Modulus,
    AttributeType::Prime,
    AttributeType::Value,
];

fn is_torso(session: &Session, object: ObjectHandle) -> bool {
    // An object of another class is none that we make in this way; one that was cut off at once does not state it.
    let class = session.get_attributes(object, &[AttributeType::Class]).unwrap_or_default();
    let halves = [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY].map(Attribute::Class);
    // One by one: what lacks an attribute may refuse to answer for the others, too.
    class.iter().all(|class| halves.contains(class))
        && SUBSTANCE.iter().all(|attribute| match session.get_attribute_info(object, &[*attribute]) {
            Ok(stated) => {
                !stated.iter().any(|info| matches!(info, AttributeInfo::Available(size) if *size > 0))
            }
            // What SoftHSM says of an attribute that it has not written yet.
            Err(e) => matches!(e, LibraryError::Pkcs11(RvError::AttributeValueInvalid, _)),
        })
}

fn is_ours(id: &[u8]) -> bool {
    id.len() == ID_LENGTH && id.starts_with(MARK)
}

/// Every key that this software can use, sorted by name.
pub(crate) fn list(bench: &mut Bench<'_>) -> Done<Vec<KeyInfo>> {
    let mut keys = Vec::new();
    for class in SECRET_CLASSES {
        for object in bench.find(&[Attribute::Class(class), Attribute::Token(true)])? {
            if let Some(key) = listed(bench, object, class)? {
                keys.push(key);
            }
        }
    }
    bench.confirm()?;
    let mut infos = Vec::with_capacity(keys.len());
    for (key, public) in &keys {
        let same = |id: bool| {
            keys.iter()
                .filter(|(other, _)| other.id.label == key.id.label && (!id || other.id.id == key.id.id))
                .count()
        };
        // Two keys of one label and one id cannot be told apart, so neither can be used.
        if same(true) > 1 {
            continue;
        }
        infos.push(KeyInfo {
            name: key.id.shown(),
            uri: key.id.uri(bench.token(), same(false) > 1)?,
            purpose: key.algorithm.purpose(),
            algorithm: key.algorithm,
            public: public.clone(),
        });
    }
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

/// A key and its public half.
type Usable = (Described, Option<Vec<u8>>);

/// A key of the listing. Nothing when it would be refused, or was destroyed by somebody else since it was found.
fn listed(bench: &mut Bench<'_>, object: ObjectHandle, class: ObjectClass) -> Done<Option<Usable>> {
    match usable(bench, object) {
        Err(trouble) if matches!(trouble.remedy(), Remedy::Resolve | Remedy::Device) => {
            bench.renew_session();
            bench.confirm()?;
            // A key that is still there was not destroyed: a list without it would be wrong.
            let there = bench.find(&[Attribute::Class(class), Attribute::Token(true)])?.contains(&object);
            if there { usable(bench, object) } else { Ok(None) }
        }
        other => other,
    }
}

/// A key that is fit to be used, or nothing.
fn usable(bench: &mut Bench<'_>, object: ObjectHandle) -> Done<Option<Usable>> {
    let read = (|| {
        let Some(key) = objects::describe(bench, object)? else { return Ok(None) };
        bench.station().require(key.algorithm)?;
        objects::check(bench, &key)?;
        let public = objects::public_half(bench, &key)?;
        Ok(Some((key, public)))
    })();
    match read {
        Err(Trouble::Decided(_) | Trouble::Doubtful(_)) => Ok(None),
        other => other,
    }
}
