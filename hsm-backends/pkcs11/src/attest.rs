//! Evidence about keys. A PKCS#11 token signs no statement about its keys; what it says of their attributes is read, and is
//! worth what the module is worth that says it.

use cryptoki::object::{Attribute, AttributeType as A, ObjectHandle};
use vault::KeyEvidence;

use crate::desk::Bench;
use crate::errors::Trouble;
use crate::quirks;

/// The attributes that tell whether a private key can leave, or was ever outside (PKCS#11 v3.1 §4.9).
const ATTRIBUTES: [A; 7] = [
    A::Sensitive,
    A::AlwaysSensitive,
    A::Extractable,
    A::NeverExtractable,
    A::Local,
    A::Private,
    A::Modifiable,
];

/// What the token says of itself and of the key. `hardware` is what it said of the key's mechanism when it was opened.
pub(crate) fn attest(
    bench: &mut Bench<'_>,
    object: ObjectHandle,
    hardware: bool,
) -> Result<KeyEvidence, Trouble> {
    let stated = bench.fixed(object, &ATTRIBUTES)?;
    let attributes = stated.into_iter().filter_map(|attribute| {
        let (name, value) = match attribute {
            Attribute::Sensitive(value) => ("CKA_SENSITIVE", value),
            Attribute::AlwaysSensitive(value) => ("CKA_ALWAYS_SENSITIVE", value),
            Attribute::Extractable(value) => ("CKA_EXTRACTABLE", value),
            Attribute::NeverExtractable(value) => ("CKA_NEVER_EXTRACTABLE", value),
            Attribute::Local(value) => ("CKA_LOCAL", value),
            Attribute::Private(value) => ("CKA_PRIVATE", value),
            Attribute::Modifiable(value) => ("CKA_MODIFIABLE", value),
            _ => return None,
        };
        Some((name.to_owned(), value))
    });
    let attributes = attributes.collect();
    let info = bench.confirm()?;
    let said = [
        ("manufacturer", info.manufacturer_id().to_owned()),
        ("model", info.model().to_owned()),
        ("serial", info.serial_number().to_owned()),
        ("firmware", quirks::version(info.manufacturer_id(), info.firmware_version())),
    ];
    // Fixed fields of the standard, padded with blanks; an envelope takes no control characters.
    let plain = |value: String| value.trim_end().chars().filter(|c| !c.is_control()).collect();
    let token = said.into_iter().map(|(name, value)| (name.to_owned(), plain(value))).collect();
    Ok(KeyEvidence::Pkcs11Attributes { token, attributes, hardware })
}
