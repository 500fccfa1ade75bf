//! What an object on the token is: its name, its algorithm, its public half, and whether its attributes are those of
//! [`crate::template`].

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use vault::{Algorithm, Error, Kind, PurposeKind};

use crate::desk::{Bench, is_about_the_template};
use crate::errors::Trouble;
use crate::keys::{self, KeyId};
use crate::template::{self, Need, Rule};
use crate::{make, quirks};

type Done<T> = std::result::Result<T, Trouble>;

/// Longest values that are read: generous for names, tight for the rest.
const MAX_NAME: usize = 4096;
const MAX_POINT: usize = 256;

/// A key on the token, as the token describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) object: ObjectHandle,
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
}

/// Reads name and algorithm of the secret half of a key. `None` for a kind of key that this software does not use.
pub(crate) fn describe(bench: &mut Bench<'_>, object: ObjectHandle) -> Done<Option<Described>> {
    const KIND: [AttributeType; 4] =
        [AttributeType::Class, AttributeType::KeyType, AttributeType::Sign, AttributeType::Derive];
    let (mut class, mut key_type, mut length) = (None, None, None);
    let (mut signs, mut derives) = (false, false);
    for attribute in bench.fixed(object, &KIND)? {
        match attribute {
            Attribute::Class(value) => class = Some(value),
            Attribute::KeyType(value) => key_type = Some(value),
            Attribute::Sign(value) => signs = value,
            Attribute::Derive(value) => derives = value,
            _ => {}
        }
    }
    let Some(key_type) = key_type else { return Ok(None) };
    let mut curve = None;
    if key_type == KeyType::AES {
        for attribute in bench.fixed(object, &[AttributeType::ValueLen])? {
            if let Attribute::ValueLen(value) = attribute {
                length = Some(usize::from(value));
            }
        }
    } else {
        curve = bench.bytes(object, AttributeType::EcParams, MAX_POINT)?;
    }
    // One that does both is taken for a signing key, and refused as one.
    let agrees = derives && !signs;
    let Some(algorithm) = template::algorithm(key_type, curve.as_deref(), length, agrees) else {
        return Ok(None);
    };
    if class != Some(template::class(algorithm.purpose())) {
        return Ok(None);
    }
    let label = bench.bytes(object, AttributeType::Label, MAX_NAME)?.unwrap_or_default();
    let id = bench.bytes(object, AttributeType::Id, MAX_NAME)?.unwrap_or_default();
    Ok(Some(Described { object, id: KeyId { purpose: algorithm.purpose(), id, label }, algorithm }))
}

/// Refuses a key whose attributes are not those of its template, naming all that differ.
pub(crate) fn check(bench: &mut Bench<'_>, key: &Described) -> Done<()> {
    let rules: Vec<Rule> = template::rules(key.algorithm).collect();
    let types: Vec<_> = rules.iter().map(|rule| rule.attribute).collect();
    let stated = bench.fixed(key.object, &types)?;
    let mut differences = Vec::new();
    for rule in rules {
        if bench.station().takes_imported && template::is_about_origin(rule.attribute) {
            continue;
        }
        let says = |value| template::flag(rule.attribute, value).is_some_and(|flag| stated.contains(&flag));
        let (right, wrong) = (says(rule.want), says(!rule.want));
        let refused = match rule.need {
            Need::Always => !right || wrong,
            Need::WhereStated => wrong,
            Need::WhereKept => wrong && bench.kept(key.algorithm)?.keeps(rule.attribute),
        };
        if refused {
            let is = if wrong { word(!rule.want) } else { "not stated" };
            differences.push(format!("{} is {is} and has to be {}", rule.attribute, word(rule.want)));
        }
    }
    let only = template::mechanism(key.algorithm);
    let allowed = allowed_mechanisms(bench, key.object);
    if allowed.as_deref() != Some(&[only])
        && bench.kept(key.algorithm)?.keeps(AttributeType::AllowedMechanisms)
    {
        differences.push(format!("CKA_ALLOWED_MECHANISMS has to hold {only} and nothing else"));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let text = format!("the key `{}` is not used: {}", key.id.shown(), differences.join(", "));
    Err(Error::new(Kind::Invalid, text)
        .with_hint("keys made here have the attributes they need: make a new one, most cannot be changed")
        .into())
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// The mechanisms that a key is limited to. p11-kit cannot carry this attribute and answers `CKR_DEVICE_ERROR`, so any
/// failure to read it means that it is not stated; should the token be gone, the next call says so.
fn allowed_mechanisms(
    bench: &mut Bench<'_>,
    object: ObjectHandle,
) -> Option<Vec<cryptoki::mechanism::MechanismType>> {
    let read = bench.fixed(object, &[AttributeType::AllowedMechanisms]);
    if read.is_err() {
        bench.renew_session();
    }
    read.ok()?.into_iter().find_map(|attribute| match attribute {
        Attribute::AllowedMechanisms(list) => Some(list),
        _ => None,
    })
}

/// What a token keeps of the attributes that not every token takes: shown by a key that lives as long as its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Vec<AttributeType>);

impl Kept {
    pub(crate) fn keeps(&self, attribute: AttributeType) -> bool {
        self.0.contains(&attribute)
    }

    pub(crate) fn probe(bench: &mut Bench<'_>, algorithm: Algorithm) -> Done<Self> {
        let id = KeyId::new(algorithm, "")?;
        match make::objects(bench, algorithm, &id.naming(), false, false) {
            Ok(()) => {}
            // It does not take them at all.
            Err(trouble) if is_about_the_template(&trouble) => return Ok(Self::default()),
            Err(trouble) => return Err(trouble),
        }
        let Some(made) = keys::made(bench, &id)? else {
            return Err(bench.nonsense("no key where it had made one"));
        };
        let mut kept = Vec::new();
        for rule in template::rules(algorithm).filter(|rule| rule.need == Need::WhereKept) {
            let read = bench.fixed(made, &[rule.attribute])?;
            if template::flag(rule.attribute, rule.want).is_some_and(|flag| read.contains(&flag)) {
                kept.push(rule.attribute);
            }
        }
        if allowed_mechanisms(bench, made).is_some_and(|list| !list.is_empty()) {
            kept.push(AttributeType::AllowedMechanisms);
        }
        keys::remove(bench, &id)?;
        Ok(Self(kept))
    }
}

/// The public half of a key pair, from the public key object with the same id and label. `None` for secret keys.
pub(crate) fn public_half(bench: &mut Bench<'_>, key: &Described) -> Done<Option<Vec<u8>>> {
    if key.id.purpose == PurposeKind::Sealing {
        return Ok(None);
    }
    let mut halves = bench.find(&key.id.template(ObjectClass::PUBLIC_KEY))?;
    if halves.is_empty() && !key.id.id.is_empty() {
        halves =
            bench.find(&[Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(key.id.id.clone())])?;
    }
    if halves.len() > 1 {
        return Err(Error::new(
            Kind::Invalid,
            format!("the key `{}` has {} public halves on the token", key.id.shown(), halves.len()),
        )
        .with_hint("remove those that do not belong to it, with the token's own tools")
        .into());
    }
    // Some tokens have the point with the private key, too.
    for object in halves.into_iter().chain([key.object]) {
        if let Some(bytes) = bench.bytes(object, AttributeType::EcPoint, MAX_POINT)? {
            return Ok(Some(quirks::point(key.algorithm, &bytes)?.to_vec()));
        }
    }
    bench.confirm()?;
    Err(bench.missing(Error::new(
        Kind::Corrupt,
        format!("the public half of the key `{}` is not on the token", key.id.shown()),
    )))
}
