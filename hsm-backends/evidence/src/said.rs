//! Evidence that nobody signs: what a device or a service says through its own interface. It is worth as much as the way
//! that it came.

use crate::error::{Error, Result};
use crate::facts::{KeyFacts, Protection, Touch, Weakness};

/// What has to be said of a private key in a PKCS#11 token for it to be called unexportable (PKCS#11 v3.1 §4.9).
const NEVER_OUTSIDE: [(&str, bool); 5] = [
    ("CKA_SENSITIVE", true),
    ("CKA_ALWAYS_SENSITIVE", true),
    ("CKA_EXTRACTABLE", false),
    ("CKA_NEVER_EXTRACTABLE", true),
    ("CKA_LOCAL", true),
];

pub(crate) fn pkcs11(
    token: &[(String, String)],
    attributes: &[(String, bool)],
    hardware: bool,
) -> Result<KeyFacts> {
    let says = |wanted: &str| {
        let mut found = attributes.iter().filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(Some(*value)),
            (None, _) => Ok(None),
            _ => Err(Error::malformed(format!("`{wanted}` is said twice"))),
        }
    };
    let mut exportable = false;
    for (name, wanted) in NEVER_OUTSIDE {
        exportable |= says(name)? != Some(wanted);
    }
    let told = |wanted: &str| {
        token.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let of = format!("{} {}", told("manufacturer"), told("model"));
    Ok(KeyFacts {
        protection: if hardware { Protection::Hardware } else { Protection::Software },
        exportable,
        touch: Touch::Never,
        weakness: Weakness::of_firmware(&of, told("firmware")),
        device: token.to_vec(),
    })
}

pub(crate) fn kms(arn: &str, origin: &str, spec: &str, multi_region: bool) -> KeyFacts {
    // Key material that was brought along, or that a store outside AWS keeps, was or is elsewhere.
    let born_inside = matches!(origin, "AWS_KMS" | "AWS_CLOUDHSM");
    let device = [("arn", arn), ("origin", origin), ("spec", spec)];
    KeyFacts {
        protection: if born_inside { Protection::Hardware } else { Protection::Software },
        exportable: !born_inside || multi_region,
        touch: Touch::Never,
        // A service tells no version.
        weakness: Weakness::Unknown,
        device: device.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(String, bool)> {
        NEVER_OUTSIDE.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_token_has_to_say_everything() {
        let facts = pkcs11(&[], &all(), true).unwrap();
        assert_eq!((facts.protection, facts.exportable), (Protection::Hardware, false));
        assert_eq!(pkcs11(&[], &all(), false).unwrap().protection, Protection::Software);
        for place in 0..NEVER_OUTSIDE.len() {
            let mut missing = all();
            missing.remove(place);
            assert!(pkcs11(&[], &missing, true).unwrap().exportable);
            let mut wrong = all();
            wrong[place].1 ^= true;
            assert!(pkcs11(&[], &wrong, true).unwrap().exportable);
            let mut twice = all();
            twice.push((NEVER_OUTSIDE[place].0.to_owned(), NEVER_OUTSIDE[place].1));
            assert!(pkcs11(&[], &twice, true).is_err());
        }
    }

    #[test]
    fn a_token_that_is_known_to_be_weak_is_said_to_be() {
        let token = |firmware: &str| {
            [("manufacturer", "Yubico (www.yubico.com)"), ("model", "YubiHSM"), ("firmware", firmware)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let weakness = |token: &[(String, String)]| pkcs11(token, &all(), true).unwrap().weakness;
        assert_eq!(weakness(&token("2.3.1")), Weakness::Known(vec!["CVE-2024-45678 (EUCLEAK, YSA-2024-03)"]));
        assert_eq!(weakness(&token("2.4.0")), Weakness::None);
        assert_eq!(weakness(&[]), Weakness::Unknown);
    }

    #[test]
    fn a_key_that_was_brought_along_was_outside() {
        for (origin, multi_region, protection, exportable) in [
            ("AWS_KMS", false, Protection::Hardware, false),
            ("AWS_KMS", true, Protection::Hardware, true),
            ("AWS_CLOUDHSM", false, Protection::Hardware, false),
            ("EXTERNAL", false, Protection::Software, true),
            ("EXTERNAL_KEY_STORE", false, Protection::Software, true),
            ("", false, Protection::Software, true),
        ] {
            let facts = kms("arn", origin, "ECC_NIST_P256", multi_region);
            assert_eq!((facts.protection, facts.exportable), (protection, exportable), "{origin}");
        }
    }
}
