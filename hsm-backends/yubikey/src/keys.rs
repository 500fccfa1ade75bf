//! Keys: made in a free slot under a name, found again, checked, used, destroyed.

use vault::{Algorithm, Error, KeyInfo, KeyName, Kind, PurposeKind, Retry};

use crate::address::{Address, Wanted};
use crate::card::{Card, Content, Curve, Facts};
use crate::errors::{Done, Trouble};
use crate::ledger::{Fingerprint, Ledger, Use, fingerprint};
use crate::slots::Slot;

/// Which key a handle means: the slot, the key that was in it, and the name, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId {
    pub(crate) slot: Slot,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) name: Option<KeyName>,
}

impl KeyId {
    pub(crate) fn text(&self) -> String {
        let name = self.name.as_ref().map_or("", KeyName::as_str);
        format!("{}:{}:{name}", self.slot.text(), hex::encode(self.fingerprint))
    }

    /// # Errors
    /// [`Kind::Invalid`] when [`text`](Self::text) did not write it.
    pub(crate) fn parse(text: &str) -> vault::Result<Self> {
        let bad = || Error::new(Kind::Invalid, "the key handle is not of this backend");
        let mut parts = text.splitn(3, ':');
        let (Some(slot), Some(print), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let mut fingerprint = Fingerprint::default();
        hex::decode_to_slice(print, &mut fingerprint).map_err(|_| bad())?;
        let name = if name.is_empty() { None } else { Some(KeyName::new(name)?) };
        Ok(Self { slot: Slot::parse(slot)?, fingerprint, name })
    }

    /// For messages.
    fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| format!("slot {}", self.slot.text()), ToString::to_string)
    }
}

/// A key that was found and checked.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) public: Vec<u8>,
}

impl Opened {
    fn new(slot: Slot, name: Option<KeyName>, algorithm: Algorithm, facts: &Facts) -> Self {
        let id = KeyId { slot, fingerprint: facts.fingerprint(), name };
        Self { id, algorithm, public: facts.public.clone() }
    }
}

/// Makes a key under a name that no other has, in a slot that no other key has.
pub(crate) fn generate(card: &mut Card, algorithm: Algorithm, name: &KeyName) -> Done<Opened> {
    let curve = Curve::of(algorithm).ok_or_else(|| unsupported(card, algorithm))?;
    let mut ledger = card.ledger()?;
    match ledger.named(name.as_str()) {
        None => {}
        Some((_, Use::Begun { .. })) => return Err(cut_off(Kind::AlreadyExists, name.as_str()).into()),
        Some(_) => {
            let text = format!("there already is a key `{name}` on {}", card.name());
            return Err(Error::new(Kind::AlreadyExists, text)
                .with_hint("open it, or choose another name")
                .into());
        }
    }
    let slot = free_slot(card, &ledger, algorithm.purpose())?;
    ledger.set(slot, Some(Use::Begun { name: name.clone(), algorithm }));
    card.write_ledger(&ledger)?;
    let public = card.generate(slot, curve, card.touch_policy())?;
    let facts = match card.look(slot)? {
        Content::Key(facts) if facts.public == public && facts.curve == curve && facts.generated => facts,
        _ => return Err(Trouble::Nonsense("another key than it made")),
    };
    ledger.set(slot, Some(Use::Made { name: name.clone(), algorithm, fingerprint: facts.fingerprint() }));
    card.write_ledger(&ledger)?;
    Ok(Opened::new(slot, Some(name.clone()), algorithm, &facts))
}

/// A slot in which there is no key, or one that nobody owns: an occupied slot is never written to.
fn free_slot(card: &mut Card, ledger: &Ledger, purpose: PurposeKind) -> Done<Slot> {
    for slot in Slot::of(purpose) {
        if is_free(card, ledger, slot)? {
            return Ok(slot);
        }
    }
    let left: Vec<_> = ledger
        .iter()
        .filter(|(_, entry)| matches!(entry, Use::Begun { .. }))
        .filter_map(|(_, entry)| entry.name())
        .collect();
    let error = Error::new(Kind::Exhausted, format!("{} has no free slot for {purpose}", card.name()))
        .with_retry(Retry::NeedsOperator);
    Err(match left.first() {
        // Nobody can use it, and nobody sees it in a list.
        Some(name) => error.with_hint(format!(
            "the making of `{name}` was cut off: `ockam-kms key destroy {name}` frees its slot"
        )),
        None => error.with_hint("destroy a key that is not needed, or use another card"),
    }
    .into())
}

/// What is left of a key that was being made or removed.
fn cut_off(kind: Kind, name: &str) -> Error {
    Error::new(kind, format!("the making or removal of the key `{name}` was cut off"))
        .with_hint(format!("remove what is left of it, `ockam-kms key destroy {name}`, and make another"))
}

/// Whether a key may be made in a slot.
pub(crate) fn is_free(card: &mut Card, ledger: &Ledger, slot: Slot) -> Done<bool> {
    Ok(match (ledger.get(slot), card.look(slot)?) {
        (None | Some(Use::Spent { .. }), Content::Empty) => true,
        (Some(Use::Spent { fingerprint }), Content::Key(facts)) => facts.fingerprint() == *fingerprint,
        _ => false,
    })
}

/// Finds a key, and checks that it is what the ledger says and was generated on the card.
pub(crate) fn open(card: &mut Card, purpose: PurposeKind, wanted: &Wanted) -> Done<Opened> {
    let ledger = card.ledger();
    let (slot, entry) = match (&wanted.name, wanted.slot) {
        (Some(name), slot) => {
            let found = ledger?.named(name).cloned();
            let (at, entry) = found
                .filter(|(at, _)| slot.is_none_or(|slot| slot == *at))
                .ok_or_else(|| not_found(card, &wanted.shown()))?;
            (at, Some(entry))
        }
        // A damaged ledger does not keep anybody from a key whose slot they know.
        (None, Some(slot)) => (slot, ledger.ok().and_then(|ledger| ledger.get(slot).cloned())),
        (None, None) => return Err(Error::new(Kind::Invalid, "the URI names no key").into()),
    };
    let content = card.look(slot)?;
    let (name, algorithm, facts) = match (entry, content) {
        (Some(Use::Made { name, algorithm, fingerprint }), Content::Key(facts))
            if facts.fingerprint() == fingerprint =>
        {
            (Some(name), Some(algorithm), facts)
        }
        (Some(Use::Made { .. }), Content::Empty) => return Err(not_found(card, &wanted.shown())),
        (Some(Use::Made { .. }), _) => return Err(replaced(card, &wanted.shown())),
        (Some(Use::Begun { name, .. }), _) => return Err(cut_off(Kind::Corrupt, name.as_str()).into()),
        (Some(Use::Spent { fingerprint }), Content::Key(facts)) if facts.fingerprint() == fingerprint => {
            return Err(not_found(card, &wanted.shown()));
        }
        (_, Content::Empty) => return Err(not_found(card, &wanted.shown())),
        (_, Content::Other) => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the key in `{}` is of a type that is not used here", wanted.shown()),
            )
            .with_hint("key types of a YubiKey are p256, ed25519 and x25519")
            .into());
        }
        (_, Content::Key(facts)) => (None, None, facts),
    };
    let algorithm = algorithm.or_else(|| foreign(slot, facts.curve, purpose));
    let Some(algorithm) = algorithm.filter(|algorithm| algorithm.purpose() == purpose) else {
        return Err(
            Error::new(Kind::Invalid, format!("the key `{}` is not for {purpose}", wanted.shown())).into()
        );
    };
    if !facts.generated {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "the key `{}` was imported into {}: there may be copies of it",
                wanted.shown(),
                card.name()
            ),
        )
        .with_hint("use a key that was generated on the card")
        .into());
    }
    Ok(Opened::new(slot, name, algorithm, &facts))
}

/// What a key that other software made is for: its slot says so, where it has a meaning.
fn foreign(slot: Slot, curve: Curve, purpose: PurposeKind) -> Option<Algorithm> {
    let agrees = |purpose| matches!(purpose, PurposeKind::Agreement | PurposeKind::Sealing);
    let fits = slot.made_for().is_some_and(|made| made == purpose || agrees(made) && agrees(purpose));
    curve.used_for(purpose).filter(|_| fits)
}

/// The key of a handle, as the card has it now.
pub(crate) fn resolve(card: &mut Card, id: &KeyId) -> Done<Facts> {
    let content = card.look(id.slot)?;
    match content {
        Content::Key(facts) if facts.fingerprint() == id.fingerprint => return Ok(facts),
        Content::Empty => return Err(not_found(card, &id.shown())),
        Content::Key(_) | Content::Other => {}
    }
    // Another key is there. If the ledger knows of it, ours was destroyed; if not, somebody wrote over it.
    let still_ours = match (card.ledger()?.get(id.slot), &id.name) {
        (Some(Use::Made { fingerprint, .. }), _) => *fingerprint == id.fingerprint,
        (Some(Use::Begun { .. } | Use::Spent { .. }), _) => false,
        (None, name) => name.is_none(),
    };
    if still_ours { Err(replaced(card, &id.shown())) } else { Err(not_found(card, &id.shown())) }
}

/// Destroys a key for good: another, which nobody ever uses, is made over it. The ledger says first that this has begun.
pub(crate) fn destroy(card: &mut Card, id: &KeyId, algorithm: Algorithm) -> Done<()> {
    resolve(card, id)?;
    let mut ledger = card.ledger()?;
    match &id.name {
        Some(name) if ledger.named(name.as_str()).is_none_or(|(slot, _)| *slot != id.slot) => {
            return Err(not_found(card, &id.shown()));
        }
        Some(name) => {
            ledger.set(id.slot, Some(Use::Begun { name: name.clone(), algorithm }));
            card.write_ledger(&ledger)?;
        }
        None => {}
    }
    overwrite(card, ledger, id.slot)
}

fn overwrite(card: &mut Card, mut ledger: Ledger, slot: Slot) -> Done<()> {
    let public = card.generate(slot, Curve::P256, ::yubikey::TouchPolicy::Never)?;
    ledger.set(slot, Some(Use::Spent { fingerprint: fingerprint(&public) }));
    card.write_ledger(&ledger)
}

/// Removes all that has this name, whole or not.
pub(crate) fn discard(card: &mut Card, purpose: PurposeKind, name: &KeyName) -> Done<()> {
    let mut ledger = card.ledger()?;
    let Some((slot, entry)) = ledger.named(name.as_str()).cloned() else { return Ok(()) };
    let (Use::Begun { algorithm, .. } | Use::Made { algorithm, .. }) = &entry else { return Ok(()) };
    if algorithm.purpose() != purpose {
        return Err(Error::new(Kind::Invalid, format!("the key `{name}` is not for {purpose}"))
            .with_hint("nothing was removed")
            .into());
    }
    let ours = match (&entry, card.look(slot)?) {
        (_, Content::Empty) => false,
        // The slot was free before.
        (Use::Begun { .. }, _) => true,
        (Use::Made { fingerprint, .. }, Content::Key(facts)) => facts.fingerprint() == *fingerprint,
        _ => false,
    };
    if !ours {
        ledger.set(slot, None);
        return card.write_ledger(&ledger);
    }
    ledger.set(slot, Some(Use::Begun { name: name.clone(), algorithm: *algorithm }));
    card.write_ledger(&ledger)?;
    overwrite(card, ledger, slot)
}

/// Every key of the ledger that can be used, sorted by name.
pub(crate) fn list(card: &mut Card, address: &Address) -> Done<Vec<KeyInfo>> {
    let mut infos = Vec::new();
    for (slot, entry) in card.ledger()?.iter() {
        let Use::Made { name, algorithm, fingerprint } = entry else { continue };
        let Content::Key(facts) = card.look(*slot)? else { continue };
        if facts.fingerprint() != *fingerprint || !facts.generated {
            continue;
        }
        let purpose = algorithm.purpose();
        infos.push(KeyInfo {
            name: name.as_str().to_owned(),
            uri: address.key_uri(*slot, Some(name))?,
            purpose,
            algorithm: *algorithm,
            public: (purpose != PurposeKind::Sealing).then_some(facts.public),
        });
    }
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

fn unsupported(card: &Card, algorithm: Algorithm) -> Error {
    Error::new(Kind::Unsupported, format!("{} has no keys of type {algorithm}", card.name()))
        .with_hint("`ockam-kms vault check NAME` lists what it can do")
}

fn not_found(card: &Card, shown: &str) -> Trouble {
    Error::new(Kind::NotFound, format!("there is no key `{shown}` on {}", card.name()))
        .with_hint("if it was there, it was destroyed, or the card reset: it cannot be made again, rotate to a new key")
        .into()
}

fn replaced(card: &Card, shown: &str) -> Trouble {
    Error::new(
        Kind::Corrupt,
        format!("the key `{shown}` on {} is not the one that was made here", card.name()),
    )
    .with_hint("somebody wrote over its slot: it is gone for good, rotate to a key that is still good")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back() {
        for name in [None, Some(KeyName::new("a-b").unwrap())] {
            let id = KeyId { slot: Slot::new(0x9c).unwrap(), fingerprint: [7; 16], name };
            assert_eq!(KeyId::parse(&id.text()).unwrap(), id);
        }
        for bad in ["", "9c", "9c:00:", "9b:00000000000000000000000000000000:", "9c:zz:x"] {
            assert!(KeyId::parse(bad).is_err(), "{bad}");
        }
    }
}
