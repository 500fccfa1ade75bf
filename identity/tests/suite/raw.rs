//! CBOR by hand, and signed bodies as docs/formats.md lays them out, without a check: what our own code would refuse to
//! make has to be made somewhere.

use identity::{ChangeHash, Identifier};
use sha2::{Digest as _, Sha256};
use vault::{Signature, Signer, VerifyingKey, block_on};

/// A CBOR item.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Uint(u64),
    Bytes(Vec<u8>),
    Array(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Bool(bool),
    Null,
    /// Bytes that are CBOR already, or are meant to be none.
    Raw(Vec<u8>),
}

use Item::{Array, Bool, Bytes, Map, Null, Raw, Uint};

fn head(major: u8, value: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match value {
        0..24 => out.push(major | value as u8),
        24..0x100 => out.extend([major | 24, value as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend((value as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend((value as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(value.to_be_bytes());
        }
    }
}

impl Item {
    /// The shortest encoding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Uint(value) => head(0, *value, out),
            Bytes(bytes) => {
                head(2, bytes.len() as u64, out);
                out.extend(bytes);
            }
            Array(items) => {
                head(4, items.len() as u64, out);
                items.iter().for_each(|item| item.write(out));
            }
            Map(pairs) => {
                head(5, pairs.len() as u64, out);
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
            Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
            Null => out.push(0xf6),
            Raw(bytes) => out.extend(bytes),
        }
    }
}

/// An array.
pub(crate) fn array(items: impl IntoIterator<Item = Item>) -> Item {
    Array(items.into_iter().collect())
}

/// A byte string.
pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Item {
    Bytes(bytes.into())
}

/// A variant of an enumeration.
pub(crate) fn variant(index: u64, content: Item) -> Item {
    array([Uint(index), array([content])])
}

/// A signed body's type.
pub(crate) const CHANGE: u64 = 1;
/// See [`CHANGE`].
pub(crate) const ATTESTATION: u64 = 2;
/// See [`CHANGE`].
pub(crate) const CREDENTIAL: u64 = 3;
/// See [`CHANGE`].
pub(crate) const REQUEST_KEY: u64 = 16;

/// A signed body: version, type, content.
pub(crate) fn body(version: u64, data_type: u64, content: &Item) -> Vec<u8> {
    array([Uint(version), Uint(data_type), bytes(content.encode())]).encode()
}

/// A verifying key.
pub(crate) fn key(key: &VerifyingKey) -> Item {
    variant(u64::from(matches!(key, VerifyingKey::EcdsaP256(_))), bytes(key.as_bytes()))
}

/// A signature item from bytes.
pub(crate) fn signature(signature: &Signature) -> Item {
    variant(u64::from(matches!(signature, Signature::EcdsaP256(_))), bytes(*signature.as_bytes()))
}

/// The signature over a body.
pub(crate) fn sign(body: &[u8], signer: &Signer) -> Item {
    signature(&block_on(signer.sign(&Sha256::digest(body))).unwrap())
}

/// The content of a change.
pub(crate) fn change_data(
    previous: Option<ChangeHash>,
    new: &Signer,
    revoke: bool,
    window: (Item, Item),
) -> Item {
    let previous = previous.map_or(Null, |hash| bytes(*hash.as_bytes()));
    array([previous, key(new.public()), Bool(revoke), window.0, window.1])
}

/// A change with its signatures.
pub(crate) fn change(body: &[u8], new: &Signer, old: Option<&Signer>) -> Item {
    let mut items = vec![bytes(body), sign(body, new)];
    items.extend(old.map(|old| sign(body, old)));
    Array(items)
}

/// A history of one change with this validity.
pub(crate) fn first_history(primary: &Signer, window: (Item, Item)) -> Vec<u8> {
    let body = body(1, CHANGE, &change_data(None, primary, false, window));
    array([change(&body, primary, None)]).encode()
}

/// The content of a purpose key attestation, or of a request key: they differ in the type and the key.
pub(crate) fn attestation_data(of: Identifier, under: ChangeHash, key: Item, window: (Item, Item)) -> Item {
    array([bytes(*of.as_bytes()), bytes(*under.as_bytes()), key, window.0, window.1])
}

/// A credential key as it is attested.
pub(crate) fn credential_key(public: &VerifyingKey) -> Item {
    variant(1, key(public))
}

/// A channel key as it is attested.
pub(crate) fn channel_key(public: [u8; 32]) -> Item {
    variant(0, bytes(public))
}

/// The content of a credential.
pub(crate) fn credential_data(subject: Option<Identifier>, attributes: Item, window: (Item, Item)) -> Item {
    let subject = subject.map_or(Null, |subject| bytes(*subject.as_bytes()));
    array([subject, Null, attributes, window.0, window.1])
}

/// Attributes under a schema, in the order given.
pub(crate) fn attributes(schema: u64, pairs: &[(&[u8], &[u8])]) -> Item {
    array([Uint(schema), Map(pairs.iter().map(|(name, value)| (bytes(*name), bytes(*value))).collect())])
}

/// A body with one signature.
pub(crate) fn signed(body: &[u8], signer: &Signer) -> Item {
    array([bytes(body), sign(body, signer)])
}
