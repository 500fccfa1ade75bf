//! What was found out about a key, and its names as attributes.

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

/// What evidence shows about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Where it lives.
    pub protection: Protection,
    /// Whether it can leave, or was ever outside.
    pub exportable: bool,
    /// Whether it needs a touch.
    pub touch: Touch,
    /// What is known of the device, name and value, for people.
    pub device: Vec<(String, String)>,
}

impl KeyFacts {
    /// The facts as attributes, as a policy sees them: `key.protection` (`software`, `hardware`, `attested`),
    /// `key.exportable` (`true`, `false`), `key.touch` (`never`, `cached`, `always`).
    #[must_use]
    pub fn attributes(&self) -> [(&'static str, &'static str); 3] {
        [
            ("key.protection", self.protection.name()),
            ("key.exportable", if self.exportable { "true" } else { "false" }),
            ("key.touch", self.touch.name()),
        ]
    }
}
