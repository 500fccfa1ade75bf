//! What was found out about a key, and its names as attributes.

use vault::Inventory;

/// How sure it is that the key lives in hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protection {
    /// It need not: the device, or the evidence, says that it is software.
    Software,
    /// The device says so.
    Hardware,
    /// The device proved it to somebody whom the verifier trusts.
    Attested,
}

impl Protection {
    /// The value of `key.protection`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Hardware => "hardware",
            Self::Attested => "attested",
        }
    }
}

/// Whether a person has to touch the device for each signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Touch {
    /// No, or nothing is known of it.
    Never,
    /// Yes; one touch is enough for some seconds.
    Cached,
    /// Yes, for each.
    Always,
}

impl Touch {
    /// The value of `key.touch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Cached => "cached",
            Self::Always => "always",
        }
    }
}

/// Whether the device has a weakness that is publicly known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// None is known of the version that it tells.
    None,
    /// These are, by the numbers they are known under.
    Known(Vec<&'static str>),
    /// It tells no version.
    Unknown,
}

impl Weakness {
    /// That of a device's firmware. `of` is maker and model, as the device tells them.
    pub(crate) fn of_firmware(of: &str, version: &str) -> Self {
        // PKCS#11 has no other way to say that there is no version.
        if !version.starts_with(|first: char| first.is_ascii_digit()) || version == "0.0" {
            return Self::Unknown;
        }
        let inventory = Inventory::new(of).with_version("firmware", of, version);
        let known: Vec<_> = inventory.weaknesses().map(|(weakness, _)| weakness.id).collect();
        if known.is_empty() { Self::None } else { Self::Known(known) }
    }

    /// The value of `key.weakness`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Known(_) => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// What evidence shows about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Where it lives.
    pub protection: Protection,
    /// Whether it can leave, or was ever outside.
    pub exportable: bool,
    /// Whether it needs a touch.
    pub touch: Touch,
    /// Whether its device is known to be weak.
    pub weakness: Weakness,
    /// What is known of the device, name and value, for people.
    pub device: Vec<(String, String)>,
}

impl KeyFacts {
    /// The facts as attributes, as a policy sees them: `key.protection` (`software`, `hardware`, `attested`),
    /// `key.exportable` (`true`, `false`), `key.touch` (`never`, `cached`, `always`), `key.weakness` (`none`, `known`, `unknown`).
    #[must_use]
    pub fn attributes(&self) -> [(&'static str, &'static str); 4] {
        [
            ("key.protection", self.protection.name()),
            ("key.exportable", if self.exportable { "true" } else { "false" }),
            ("key.touch", self.touch.name()),
            ("key.weakness", self.weakness.name()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_and_no_version_is_not() {
        for (of, version, name) in [
            ("Yubico YubiKey", "5.4.3", "known"),
            ("Yubico YubiKey", "5.7.1", "none"),
            ("Yubico YubiHSM", "2.3.1", "known"),
            ("Yubico YubiHSM", "2.4.0", "none"),
            ("SoftHSM project SoftHSM v2", "2.6", "none"),
            ("SoftHSM project SoftHSM v2", "0.0", "unknown"),
            ("Yubico YubiKey", "", "unknown"),
            ("Yubico YubiKey", "new", "unknown"),
        ] {
            assert_eq!(Weakness::of_firmware(of, version).name(), name, "{of} {version}");
        }
    }
}
