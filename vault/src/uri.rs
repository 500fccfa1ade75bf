//! Key URIs: text that finds a vault or a key in it, in the shape of RFC 7512.
//!
//! ```text
//! soft:?path=/srv/vaults/issuer                        a vault        soft:name=issuer        a key in it
//! pkcs11:token=ca?module-path=/usr/lib/….so            a vault        pkcs11:object=issuer    a key in it
//! tpm:?tcti=device:/dev/tpmrm0                         a vault        tpm:name=issuer         a key in it
//! yubikey:serial=12345678                              a vault        yubikey:slot=9c         a key in it
//! awskms:region=eu-west-1                              a vault        awskms:name=issuer      a key in it
//! ```
//!
//! Parsing is total, printing is canonical (attributes in the order of the table below, everything outside RFC 3986's
//! unreserved characters percent-encoded), and printing what was parsed parses to the same value. An attribute that the
//! scheme does not know is an error, and no secret may appear in one.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::spec::KeyName;

/// The longest key URI, in bytes.
pub const MAX_URI: usize = 4096;

/// The first word of a key URI: which backend it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scheme {
    /// The software vault.
    Soft,
    /// A PKCS#11 token (RFC 7512).
    Pkcs11,
    /// A TPM 2.0.
    Tpm,
    /// The PIV application of a YubiKey.
    YubiKey,
    /// The key management service of AWS.
    AwsKms,
}

struct Grammar {
    scheme: Scheme,
    name: &'static str,
    path: &'static [&'static str],
    query: &'static [&'static str],
    /// The attribute that holds the name a key was generated under.
    key: &'static str,
}

const GRAMMARS: [Grammar; 5] = [
    Grammar { scheme: Scheme::Soft, name: "soft", path: &["name"], query: &["path"], key: "name" },
    Grammar {
        scheme: Scheme::Pkcs11,
        name: "pkcs11",
        path: &["token", "serial", "object", "id"],
        query: &["module-path", "pin-source"],
        key: "object",
    },
    Grammar {
        scheme: Scheme::Tpm,
        name: "tpm",
        path: &["name", "persistent"],
        query: &["tcti", "path", "auth-source", "pcrs", "attestation-key", "attestation-certificate"],
        key: "name",
    },
    Grammar {
        scheme: Scheme::YubiKey,
        name: "yubikey",
        path: &["serial", "slot", "name"],
        query: &["pin-source", "management-key-source", "touch-policy", "allow-default-secrets"],
        key: "name",
    },
    Grammar {
        scheme: Scheme::AwsKms,
        name: "awskms",
        path: &["region", "namespace", "key-id", "alias", "name"],
        query: &["endpoint", "profile", "deletion-days"],
        key: "name",
    },
];

/// Attributes that find a key inside a vault, and those that tell vaults apart.
const FIND_KEYS: [&str; 7] = ["name", "object", "id", "persistent", "slot", "key-id", "alias"];
const TELL_VAULTS: [&str; 4] = ["token", "serial", "region", "namespace"];

/// Attributes that would put a secret into the text.
const SECRET_ATTRIBUTES: [&str; 4] = ["pin-value", "pin", "password", "passphrase"];

impl Scheme {
    fn grammar(self) -> &'static Grammar {
        match self {
            Self::Soft => &GRAMMARS[0],
            Self::Pkcs11 => &GRAMMARS[1],
            Self::Tpm => &GRAMMARS[2],
            Self::YubiKey => &GRAMMARS[3],
            Self::AwsKms => &GRAMMARS[4],
        }
    }

    /// The attribute of its key URIs that holds the name a key was generated under.
    #[must_use]
    pub fn key_attribute(self) -> &'static str {
        self.grammar().key
    }

    /// Every scheme.
    pub const ALL: [Self; 5] = [Self::Soft, Self::Pkcs11, Self::Tpm, Self::YubiKey, Self::AwsKms];

    /// The word itself, which also names the backend in text and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.grammar().name
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        GRAMMARS.iter().find(|grammar| grammar.name == text).map(|grammar| grammar.scheme).ok_or_else(|| {
            let names: Vec<_> = GRAMMARS.iter().map(|grammar| grammar.name).collect();
            Error::new(Kind::Unsupported, format!("this build has no backend `{}`", cut(text)))
                .with_hint(format!("it has: {}", names.join(", ")))
        })
    }
}

/// Text that finds a vault or a key in it. Equal when the canonical texts are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyUri {
    scheme: Scheme,
    path: Vec<(&'static str, Vec<u8>)>,
    query: Vec<(&'static str, Vec<u8>)>,
}

impl KeyUri {
    /// A URI of this scheme without attributes.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, path: Vec::new(), query: Vec::new() }
    }

    /// The URI that finds the key of this name inside a vault of this scheme.
    #[must_use]
    pub fn of_key(scheme: Scheme, name: &KeyName) -> Self {
        Self {
            scheme,
            path: vec![(scheme.key_attribute(), name.as_str().as_bytes().to_vec())],
            query: Vec::new(),
        }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The same URI with an attribute set or replaced.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the scheme has no such attribute, or the text would get too long.
    pub fn with(mut self, attribute: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        self.set(attribute, value.as_ref().to_vec(), true)?;
        if self.to_string().len() > MAX_URI {
            return Err(too_long());
        }
        Ok(self)
    }

    /// The same URI without an attribute.
    #[must_use]
    pub fn without(mut self, attribute: &str) -> Self {
        self.path.retain(|(name, _)| *name != attribute);
        self.query.retain(|(name, _)| *name != attribute);
        self
    }

    /// The value of an attribute, as bytes (a PKCS#11 `id` need not be text).
    #[must_use]
    pub fn bytes(&self, attribute: &str) -> Option<&[u8]> {
        self.path
            .iter()
            .chain(&self.query)
            .find(|(name, _)| *name == attribute)
            .map(|(_, value)| value.as_slice())
    }

    /// The value of an attribute, as text.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is not UTF-8 or has control characters.
    pub fn text(&self, attribute: &str) -> Result<Option<&str>> {
        let Some(bytes) = self.bytes(attribute) else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => Ok(Some(text)),
            _ => Err(Error::new(Kind::Invalid, format!("the value of `{attribute}` is not plain text"))),
        }
    }

    /// The value of an attribute that has to be there, as text.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is missing or not text.
    pub fn require(&self, attribute: &str) -> Result<&str> {
        self.text(attribute)?.ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{self}` has no `{attribute}`"))
                .with_hint(format!("add `{attribute}=…`, as in `{}`", example(self.scheme)))
        })
    }

    /// Whether both mean the same key of one vault: every attribute that both name is the same, and one of those that
    /// find a key is among them.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        let agrees = |attribute: &str| match (self.bytes(attribute), other.bytes(attribute)) {
            (Some(one), Some(other)) => Some(one == other),
            _ => None,
        };
        let all = FIND_KEYS.iter().chain(&TELL_VAULTS).all(|attribute| agrees(attribute).unwrap_or(true));
        self.scheme == other.scheme
            && all
            && FIND_KEYS.iter().any(|attribute| agrees(attribute) == Some(true))
    }

    fn set(&mut self, attribute: &str, value: Vec<u8>, replace: bool) -> Result<()> {
        let grammar = self.scheme.grammar();
        let known = |names: &'static [&'static str]| names.iter().position(|name| *name == attribute);
        let (list, names, place) = match (known(grammar.path), known(grammar.query)) {
            (Some(place), _) => (&mut self.path, grammar.path, place),
            (None, Some(place)) => (&mut self.query, grammar.query, place),
            (None, None) => return Err(unknown_attribute(grammar, attribute)),
        };
        let rank = |name: &str| names.iter().position(|known| *known == name);
        match list.binary_search_by_key(&Some(place), |(name, _)| rank(name)) {
            Ok(_) if !replace => {
                return Err(Error::new(Kind::Invalid, format!("the URI names `{attribute}` twice")));
            }
            Ok(found) => {
                if let Some(entry) = list.get_mut(found) {
                    entry.1 = value;
                }
            }
            Err(insert) => list.insert(insert, (names.get(place).copied().unwrap_or_default(), value)),
        }
        Ok(())
    }
}

fn unknown_attribute(grammar: &Grammar, attribute: &str) -> Error {
    if SECRET_ATTRIBUTES.contains(&attribute) {
        return Error::new(Kind::Invalid, format!("`{attribute}` would put a secret into the URI"))
            .with_hint("put the PIN into a file that only you can read and name it: `pin-source=file:PATH`");
    }
    let known: Vec<_> = grammar.path.iter().chain(grammar.query).copied().collect();
    Error::new(Kind::Invalid, format!("`{}` URIs have no attribute `{}`", grammar.name, cut(attribute)))
        .with_hint(format!("they have: {}", known.join(", ")))
}

fn example(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Soft => "soft:name=issuer",
        Scheme::Pkcs11 => {
            "pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ca.pin"
        }
        Scheme::Tpm => "tpm:?tcti=device:/dev/tpmrm0&auth-source=file:/etc/tpm.auth",
        Scheme::YubiKey => "yubikey:serial=12345678?pin-source=file:/etc/piv.pin",
        Scheme::AwsKms => "awskms:region=eu-west-1",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_debug().to_string()
}

fn too_long() -> Error {
    Error::new(Kind::Invalid, format!("a key URI of more than {MAX_URI} bytes"))
}

impl FromStr for KeyUri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_URI {
            return Err(too_long());
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is not a key URI", cut(text)))
                .with_hint("a key URI starts with its backend, as in `soft:name=issuer`")
        })?;
        let mut uri = Self::new(scheme.parse()?);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let grammar = uri.scheme.grammar();
        for (part, separator, names) in [(path, ';', grammar.path), (query, '&', grammar.query)] {
            for pair in part.split(separator).filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').ok_or_else(|| {
                    Error::new(Kind::Invalid, format!("`{}` in the URI has no `=`", cut(pair)))
                })?;
                if !names.contains(&name) && (grammar.path.contains(&name) || grammar.query.contains(&name)) {
                    let side = if separator == ';' { "after the `?`" } else { "before the `?`" };
                    return Err(Error::new(Kind::Invalid, format!("`{name}` belongs {side} of the URI")));
                }
                uri.set(name, decode(value)?, false)?;
            }
        }
        // Percent-encoding can make a text longer: what was read must also be printable.
        if uri.to_string().len() > MAX_URI { Err(too_long()) } else { Ok(uri) }
    }
}

fn decode(text: &str) -> Result<Vec<u8>> {
    let bad = || {
        Error::new(Kind::Invalid, format!("`{}` has a `%` that is not followed by two hex digits", cut(text)))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(bad);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    Ok(bytes)
}

fn encode(f: &mut impl fmt::Write, value: &[u8]) -> fmt::Result {
    for byte in value {
        // Unreserved characters of RFC 3986 §2.3, and those of `pchar` that read better plain in paths.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':') {
            f.write_char(char::from(*byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        for (lead, list, separator) in [("", &self.path, ';'), ("?", &self.query, '&')] {
            for (place, (name, value)) in list.iter().enumerate() {
                if place == 0 {
                    f.write_str(lead)?;
                } else {
                    f.write_char(separator)?;
                }
                write!(f, "{name}=")?;
                encode(f, value)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_canonically() {
        for (text, canonical) in [
            ("soft:name=issuer", "soft:name=issuer"),
            ("soft:", "soft:"),
            ("soft:?path=/a b", "soft:?path=/a%20b"),
            ("pkcs11:id=%01%ff;token=my%20ca", "pkcs11:token=my%20ca;id=%01%FF"),
            (
                "pkcs11:token=t?pin-source=file:/p&module-path=/m.so",
                "pkcs11:token=t?module-path=/m.so&pin-source=file:/p",
            ),
        ] {
            assert_eq!(text.parse::<KeyUri>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (text, says) in [
            ("issuer", "not a key URI"),
            ("vmtpm:persistent=0x81000001", "no backend `vmtpm`"),
            ("soft:token=x", "no attribute `token`"),
            ("soft:name", "no `=`"),
            ("soft:name=a;name=b", "twice"),
            ("soft:name=%4", "two hex digits"),
            ("soft:name=%zz", "two hex digits"),
            ("pkcs11:token=t?pin-value=1234", "a secret into the URI"),
            ("pkcs11:token=t;module-path=/m", "after the `?`"),
            ("pkcs11:?token=t", "before the `?`"),
        ] {
            let error = text.parse::<KeyUri>().unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
        assert!(format!("soft:name={}", "x".repeat(MAX_URI)).parse::<KeyUri>().is_err());
    }

    #[test]
    fn a_secret_attribute_does_not_echo_its_value() {
        let error = "pkcs11:token=t?pin-value=hunter2".parse::<KeyUri>().unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("hunter2"));
    }

    #[test]
    fn two_uris_mean_the_same_key_when_nothing_contradicts() {
        let uri = |text: &str| text.parse::<KeyUri>().unwrap();
        let known = uri("pkcs11:token=ca;object=k;id=%01");
        for (text, same) in [
            ("pkcs11:object=k", true),
            ("pkcs11:id=%01", true),
            ("pkcs11:token=ca;object=k", true),
            ("pkcs11:token=other;object=k", false),
            ("pkcs11:object=l;id=%01", false),
            ("pkcs11:token=ca", false),
            ("soft:name=k", false),
        ] {
            assert_eq!(uri(text).same_key(&known), same, "{text}");
            assert_eq!(known.same_key(&uri(text)), same, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(
            token in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            module in proptest::option::of(".{0,40}"),
        ) {
            let mut uri = KeyUri::new(Scheme::Pkcs11);
            if let Some(id) = id { uri = uri.with("id", id).unwrap(); }
            if let Some(token) = token { uri = uri.with("token", token).unwrap(); }
            if let Some(module) = module { uri = uri.with("module-path", module).unwrap(); }
            prop_assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
        }

        #[test]
        fn parsing_is_total(text in "(soft|pkcs11|tpm|yubikey|awskms|x)?:?[a-z=;&?%0-9A-F]{0,60}|\\PC{0,60}") {
            if let Ok(uri) = text.parse::<KeyUri>() {
                let printed = uri.to_string();
                let again: KeyUri = printed.parse().unwrap();
                prop_assert_eq!(again.to_string(), printed);
            }
        }
    }
}
