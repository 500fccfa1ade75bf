//! Attributes: what a credential says about its subject.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;

use crate::error::{Error, Refusal, Result};
use crate::wire::{AttributesWire, MAX_ATTRIBUTES};

/// The schema of a project member's attributes, as the reference's authority issues them.
pub const MEMBER_SCHEMA: u64 = 1;

/// Names that would stand for what the policy engine itself says about a subject. A credential that carries one is
/// never issued, and a policy never reads one from a credential.
pub const RESERVED_NAMES: [&str; 2] = ["identifier", "has_credential"];

/// The most bytes of a name and of a value.
pub const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// Named values under a schema. Names and values are bytes; ours are UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    schema: u64,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Attributes {
    /// Attributes to be issued.
    ///
    /// # Errors
    /// [`Invalid`](crate::Kind::Invalid) for a reserved or empty name, a name or value that is too long, or too many.
    pub fn new<'a>(schema: u64, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (name, value) in pairs {
            check_attribute(name, value)?;
            map.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        if map.len() > MAX_ATTRIBUTES {
            return Err(Error::invalid(format!("more than {MAX_ATTRIBUTES} attributes")));
        }
        Ok(Self { schema, map })
    }

    pub(crate) fn from_wire(wire: AttributesWire) -> Result<Self> {
        if wire.map.len() > MAX_ATTRIBUTES {
            return Err(Refusal::TooLarge.into());
        }
        let map = wire.map.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Ok(Self { schema: wire.schema, map })
    }

    pub(crate) fn to_wire(&self) -> AttributesWire {
        let bytes = |bytes: &Vec<u8>| ByteVec::from(bytes.clone());
        AttributesWire {
            schema: self.schema,
            map: self.map.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        }
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> u64 {
        self.schema
    }

    /// Names and values as bytes, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.map.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Those of which both name and value are UTF-8, ordered by name.
    pub fn text(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?)))
    }

    /// The value of a name, when it is UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.map.get(name.as_bytes()).and_then(|value| str::from_utf8(value).ok())
    }
}

/// Checks one attribute that is to be issued or stored.
///
/// # Errors
/// [`Invalid`](crate::Kind::Invalid) for a reserved or empty name, white space or control characters in a name, or a
/// name or value that is too long.
pub fn check_attribute(name: &str, value: &str) -> Result<()> {
    let shown = || name.chars().take(40).collect::<String>().escape_debug().to_string();
    if RESERVED_NAMES.contains(&name) {
        return Err(Error::invalid(format!(
            "the attribute name `{name}` is reserved: policies use it for what they know by themselves"
        )));
    }
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!("`{}` cannot be an attribute name", shown())));
    }
    if name.len() > MAX_ATTRIBUTE_BYTES || value.len() > MAX_ATTRIBUTE_BYTES {
        return Err(Error::invalid(format!(
            "the attribute `{}` is longer than {MAX_ATTRIBUTE_BYTES} bytes",
            shown()
        )));
    }
    Ok(())
}
