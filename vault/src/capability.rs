//! Capabilities: what a vault can do, stated as data when it is opened. The conformance suite checks that a vault tells
//! the truth in both directions.

use std::fmt;

use crate::purpose::PurposeKind;
use crate::spec::Algorithm;

/// One operation a vault performs with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Make a key.
    Generate,
    /// Sign with it.
    Sign,
    /// Agree with it.
    Agree,
    /// Seal and unseal with it.
    Seal,
    /// Destroy it.
    Destroy,
}

impl Operation {
    /// The word for it in text and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Sign => "sign",
            Self::Agree => "agree",
            Self::Seal => "seal",
            Self::Destroy => "destroy",
        }
    }

    /// What one does with a key of this purpose.
    #[must_use]
    pub fn of(purpose: PurposeKind) -> Self {
        match purpose {
            PurposeKind::Signing => Self::Sign,
            PurposeKind::Agreement => Self::Agree,
            PurposeKind::Sealing => Self::Seal,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the secret half lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protection {
    /// In the memory of this process while it is used, sealed at rest.
    Software,
    /// In a device that does not give it out.
    Hardware,
}

/// What a person has to do for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Presence {
    /// Nothing.
    None,
    /// Enter a PIN when the vault is opened.
    Pin,
    /// Touch the device.
    Touch,
}

/// One stated fact: this vault has keys of this algorithm, protected so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The algorithm. Generating, using (see [`Operation::of`]) and destroying go together.
    pub algorithm: Algorithm,
    /// Where the secret half lives.
    pub protection: Protection,
    /// What a person has to do.
    pub presence: Presence,
    /// What should be known about it, or nothing: a quirk of the device, a limit.
    pub note: &'static str,
}

impl Capability {
    /// The operations it covers, in the order of a key's life.
    #[must_use]
    pub fn operations(&self) -> [Operation; 3] {
        [Operation::Generate, Operation::of(self.algorithm.purpose()), Operation::Destroy]
    }
}

/// All that a vault can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// From lines, sorted by algorithm.
    #[must_use]
    pub fn new(mut lines: Vec<Capability>) -> Self {
        lines.sort_by_key(|line| line.algorithm);
        lines.dedup_by_key(|line| line.algorithm);
        Self(lines)
    }

    /// The lines, one for each algorithm.
    pub fn iter(&self) -> impl Iterator<Item = &Capability> {
        self.0.iter()
    }

    /// The line of this algorithm, if the vault has it.
    #[must_use]
    pub fn get(&self, algorithm: Algorithm) -> Option<&Capability> {
        self.0.iter().find(|line| line.algorithm == algorithm)
    }

    /// The first algorithm of `wanted` that the vault has: a choice by order of preference.
    #[must_use]
    pub fn choose(&self, wanted: &[Algorithm]) -> Option<Algorithm> {
        wanted.iter().copied().find(|algorithm| self.get(*algorithm).is_some())
    }
}
