//! Rotations that are killed: a world on disk that can be put back, a process in it that dies, and a check of what is left.
//!
//! The process is the program `rotation-crash` of this package; [`World`] starts and kills it, [`violations`] judges. Both
//! ways of dying are SIGKILL: at a [`Moment`], by the process itself, or at any time, from outside.

mod check;
mod cut_off;
mod world;

use std::collections::BTreeMap;

use home::rotation::Moment;
use serde::{Deserialize, Serialize};

pub use check::{Ending, violations};
pub use cut_off::cut_off;
pub use world::{Death, Run, World};

/// The name of the identity that is rotated.
pub const IDENTITY: &str = "alice";

/// What the program prints when the vaults are open and the rotation, or its recovery, is about to begin.
pub const READY: &str = "ready";
/// What it prints when it is over.
pub const DONE: &str = "done";

/// Where keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In software vaults.
    Soft,
    /// On SoftHSM tokens.
    Token,
}

impl Place {
    /// The two vaults of this place.
    #[must_use]
    pub fn vaults(self) -> [&'static str; 2] {
        match self {
            Self::Soft => ["soft-1", "soft-2"],
            Self::Token => ["token-1", "token-2"],
        }
    }
}

/// The world before anything happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The tokens: name of the vault, and its URI.
    pub tokens: Vec<(String, String)>,
    /// The vault of the identity's keys.
    pub vault: String,
    /// The type of its primary key.
    pub key_type: String,
}

/// A key that the identity's record names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The vault.
    pub vault: String,
    /// The public half, as hex.
    pub public: String,
}

/// What is in a vault, found without our own backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The public halves of its keys, as hex, sorted.
    pub keys: Vec<String>,
    /// Everything else that is there, described: halves of keys, other objects, files.
    pub odd: Vec<String>,
    /// Files and objects that a writer did not finish. They are under no name, so no vault takes them for keys.
    pub unfinished: usize,
}

/// A look at a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The identifier of the identity.
    pub identifier: String,
    /// Its change history, as hex.
    pub history: String,
    /// How many changes it has.
    pub changes: usize,
    /// Its primary key.
    pub primary: Named,
    /// Its credential key, when it has one, with the attestation as hex.
    pub credential: Option<(Named, String)>,
    /// What the identity's keys could not do, each with the reason.
    pub cannot: Vec<String>,
    /// What is in each vault.
    pub held: BTreeMap<String, Held>,
    /// The journals that are there.
    pub journals: Vec<String>,
}

/// The moment that is called this.
#[must_use]
pub fn moment(text: &str) -> Option<Moment> {
    Moment::ALL.into_iter().find(|moment| format!("{moment:?}") == text)
}
