//! The attributes of the keys we make, and of those we are willing to use: set when a key is made, and read back
//! then and each time it is opened. A key whose attributes differ is refused and the attribute named, because a key that
//! may also decrypt, derive, wrap or be copied can be talked out of its token (the attacks on wrapping that PKCS#11
//! tokens are known for), and one that was imported may have copies.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use vault::{Algorithm, PurposeKind};

use crate::quirks::curve_spellings;

/// Whether a token may lack an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It has to be stated, and right.
    Always,
    /// It has to be right where it is stated: not every token states it for every class.
    WhereStated,
    /// It has to be right where the token keeps what it is given, which a throw-away key shows.
    WhereKept,
}

/// One attribute of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) attribute: AttributeType,
    pub(crate) want: bool,
    pub(crate) need: Need,
    /// Whether it is set when a key is made. Some cannot be, as the token decides them.
    set: bool,
}

const fn set(attribute: AttributeType, want: bool, need: Need) -> Rule {
    Rule { attribute, want, need, set: true }
}

const fn read(attribute: AttributeType, want: bool, need: Need) -> Rule {
    Rule { attribute, want, need, set: false }
}

use AttributeType as A;
use Need::{Always, WhereKept, WhereStated};

/// Rules for every key, private or secret.
const COMMON: [Rule; 10] = [
    set(A::Token, true, Always),
    set(A::Private, true, Always),
    set(A::Sensitive, true, Always),
    set(A::Extractable, false, Always),
    read(A::AlwaysSensitive, true, Always),
    read(A::NeverExtractable, true, Always),
    read(A::Local, true, Always),
    set(A::Modifiable, false, WhereKept),
    set(A::Copyable, false, WhereKept),
    set(A::WrapWithTrusted, true, WhereKept),
];

/// Whether it tells a key that was made on the token, and never left it, from one that was imported.
pub(crate) fn is_about_origin(attribute: AttributeType) -> bool {
    matches!(attribute, A::AlwaysSensitive | A::NeverExtractable | A::Local)
}

/// Rules for private keys. `CKA_WRAP` and `CKA_ENCRYPT` belong to public keys: SoftHSM refuses a template that has
/// them, so they are only read, where a token states them all the same.
const PRIVATE: [Rule; 6] = [
    set(A::Decrypt, false, Always),
    set(A::Unwrap, false, Always),
    set(A::SignRecover, false, WhereStated),
    read(A::Wrap, false, WhereStated),
    read(A::Encrypt, false, WhereStated),
    // A key that wants its PIN for each use cannot be used without a person.
    read(A::AlwaysAuthenticate, false, WhereStated),
];

const SIGNING: [Rule; 2] = [set(A::Sign, true, Always), set(A::Derive, false, Always)];

const AGREEMENT: [Rule; 2] = [set(A::Derive, true, Always), set(A::Sign, false, Always)];

/// Never two of {WRAP, DECRYPT} or {UNWRAP, ENCRYPT} on one key.
const SEALING: [Rule; 7] = [
    set(A::Encrypt, true, Always),
    set(A::Decrypt, true, Always),
    set(A::Wrap, false, Always),
    set(A::Unwrap, false, Always),
    set(A::Sign, false, Always),
    set(A::Verify, false, Always),
    set(A::Derive, false, Always),
];

/// Every rule for keys of this algorithm.
pub(crate) fn rules(algorithm: Algorithm) -> impl Iterator<Item = Rule> {
    let (class, purpose): (&[Rule], &[Rule]) = match algorithm.purpose() {
        PurposeKind::Signing => (&PRIVATE, &SIGNING),
        PurposeKind::Agreement => (&PRIVATE, &AGREEMENT),
        PurposeKind::Sealing => (&[], &SEALING),
    };
    COMMON.iter().chain(class).chain(purpose).copied()
}

/// The only mechanism that a key of this algorithm may be used with.
pub(crate) fn mechanism(algorithm: Algorithm) -> MechanismType {
    match algorithm.purpose() {
        PurposeKind::Agreement => MechanismType::ECDH1_DERIVE,
        PurposeKind::Sealing => MechanismType::AES_GCM,
        PurposeKind::Signing if algorithm == Algorithm::Ed25519 => MechanismType::EDDSA,
        PurposeKind::Signing => MechanismType::ECDSA,
    }
}

/// The class of the object that holds the secret half.
pub(crate) fn class(purpose: PurposeKind) -> ObjectClass {
    match purpose {
        PurposeKind::Signing | PurposeKind::Agreement => ObjectClass::PRIVATE_KEY,
        PurposeKind::Sealing => ObjectClass::SECRET_KEY,
    }
}

/// How a key is named on the token.
#[derive(Clone, Debug)]
pub(crate) struct Naming<'a> {
    pub(crate) label: &'a [u8],
    pub(crate) id: &'a [u8],
}

/// The template of the secret half. A `lean` one leaves out what not every token takes.
pub(crate) fn secret_half(
    algorithm: Algorithm,
    naming: &Naming<'_>,
    token: bool,
    lean: bool,
) -> Vec<Attribute> {
    let mut template: Vec<_> = rules(algorithm)
        .filter(|rule| rule.set && !(lean && rule.need != Always))
        .filter_map(|rule| flag(rule.attribute, if rule.attribute == A::Token { token } else { rule.want }))
        .collect();
    template.push(Attribute::Label(naming.label.to_vec()));
    template.push(Attribute::Id(naming.id.to_vec()));
    if !lean {
        template.push(Attribute::AllowedMechanisms(vec![mechanism(algorithm)]));
    }
    if algorithm == Algorithm::Aes256Gcm {
        template.push(Attribute::ValueLen(32.into()));
    }
    template
}

/// The template of the public half, with the `spelling`-th way to write the curve, if there are that many.
pub(crate) fn public_half(
    algorithm: Algorithm,
    naming: &Naming<'_>,
    token: bool,
    lean: bool,
    spelling: usize,
) -> Option<Vec<Attribute>> {
    let curve = curve_spellings(algorithm).get(spelling)?;
    let mut template = vec![
        Attribute::Token(token),
        Attribute::Private(false),
        Attribute::EcParams(curve.to_vec()),
        Attribute::Label(naming.label.to_vec()),
        Attribute::Id(naming.id.to_vec()),
        Attribute::Verify(algorithm.purpose() == PurposeKind::Signing),
    ];
    if !lean {
        template.extend([
            Attribute::Encrypt(false),
            Attribute::Wrap(false),
            Attribute::VerifyRecover(false),
            Attribute::Modifiable(false),
            Attribute::Copyable(false),
        ]);
    }
    Some(template)
}

/// The algorithm of an object, from its type, its curve or length, and, since a key on P-256 can sign or agree, whether it
/// does nothing but agree. `None` for what this software does not use.
pub(crate) fn algorithm(
    key_type: KeyType,
    curve: Option<&[u8]>,
    length: Option<usize>,
    agrees: bool,
) -> Option<Algorithm> {
    if key_type == KeyType::AES {
        return (length == Some(32)).then_some(Algorithm::Aes256Gcm);
    }
    // The type alone tells Ed25519 and X25519 not apart (quirks: the way to X25519), the curve does.
    let candidates: &[Algorithm] = if key_type == KeyType::EC {
        if agrees { &[Algorithm::EcdhP256] } else { &[Algorithm::EcdsaP256] }
    } else if key_type == KeyType::EC_EDWARDS || key_type == KeyType::EC_MONTGOMERY {
        &[Algorithm::Ed25519, Algorithm::X25519]
    } else {
        &[]
    };
    let curve = curve?;
    candidates.iter().copied().find(|algorithm| curve_spellings(*algorithm).contains(&curve))
}

/// A boolean attribute of this type.
pub(crate) fn flag(attribute: AttributeType, value: bool) -> Option<Attribute> {
    Some(match attribute {
        A::Token => Attribute::Token(value),
        A::Private => Attribute::Private(value),
        A::Sensitive => Attribute::Sensitive(value),
        A::Extractable => Attribute::Extractable(value),
        A::Modifiable => Attribute::Modifiable(value),
        A::Copyable => Attribute::Copyable(value),
        A::WrapWithTrusted => Attribute::WrapWithTrusted(value),
        A::Encrypt => Attribute::Encrypt(value),
        A::Decrypt => Attribute::Decrypt(value),
        A::Wrap => Attribute::Wrap(value),
        A::Unwrap => Attribute::Unwrap(value),
        A::Sign => Attribute::Sign(value),
        A::SignRecover => Attribute::SignRecover(value),
        A::Verify => Attribute::Verify(value),
        A::Derive => Attribute::Derive(value),
        A::AlwaysSensitive => Attribute::AlwaysSensitive(value),
        A::NeverExtractable => Attribute::NeverExtractable(value),
        A::Local => Attribute::Local(value),
        A::AlwaysAuthenticate => Attribute::AlwaysAuthenticate(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_be_written_and_read() {
        for algorithm in Algorithm::ALL {
            for rule in rules(algorithm) {
                for value in [true, false] {
                    let attribute = flag(rule.attribute, value).unwrap();
                    assert_eq!(attribute.attribute_type(), rule.attribute);
                }
                assert!(!(rule.set && rule.attribute == A::Local), "what the token decides cannot be set");
            }
            let mut seen: Vec<_> = rules(algorithm).map(|rule| format!("{}", rule.attribute)).collect();
            seen.sort_unstable();
            let all = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), all, "{algorithm}: an attribute has two rules");
        }
    }

    #[test]
    fn no_key_has_two_purposes() {
        let wants = |algorithm, attribute| {
            rules(algorithm).any(|rule| rule.attribute == attribute && rule.want && rule.need == Always)
        };
        for algorithm in Algorithm::ALL {
            let can: Vec<_> = [A::Sign, A::Derive, A::Encrypt, A::Wrap, A::Unwrap]
                .into_iter()
                .filter(|a| wants(algorithm, *a))
                .collect();
            assert_eq!(can.len(), 1, "{algorithm}: {can:?}");
        }
        assert!(wants(Algorithm::Aes256Gcm, A::Decrypt) && !wants(Algorithm::EcdsaP256, A::Decrypt));
    }

    #[test]
    fn algorithms_are_told_by_type_and_curve() {
        let curve = |algorithm: Algorithm| curve_spellings(algorithm).first().copied();
        let (p256, ed, x) =
            (curve(Algorithm::EcdsaP256), curve(Algorithm::Ed25519), curve(Algorithm::X25519));
        for (key_type, curve, length, agrees, expected) in [
            (KeyType::EC, p256, None, false, Algorithm::EcdsaP256),
            (KeyType::EC, p256, None, true, Algorithm::EcdhP256),
            (KeyType::EC_EDWARDS, ed, None, false, Algorithm::Ed25519),
            (KeyType::EC_EDWARDS, x, None, true, Algorithm::X25519),
            (KeyType::EC_MONTGOMERY, x, None, true, Algorithm::X25519),
            (KeyType::AES, None, Some(32), false, Algorithm::Aes256Gcm),
        ] {
            assert_eq!(algorithm(key_type, curve, length, agrees), Some(expected));
        }
        for (key_type, curve, length) in [
            (KeyType::EC, ed, None),
            (KeyType::EC_EDWARDS, p256, None),
            (KeyType::EC, None, None),
            (KeyType::AES, None, Some(16)),
            (KeyType::RSA, None, None),
        ] {
            for agrees in [false, true] {
                assert_eq!(algorithm(key_type, curve, length, agrees), None);
            }
        }
    }
}
