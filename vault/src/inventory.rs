//! What a vault's device says that it is: product and versions, tries that are left, room that is left, secrets that were
//! never changed, and which known weaknesses its versions have. For people and reports; no decision about a key is
//! made from it, since a device can say what it likes.

use std::fmt::Write as _;

use crate::weaknesses::{WEAKNESSES, Weakness};

/// The longest name or version that is kept of what a device says.
const MAX_TEXT: usize = 64;

/// What there is to know about the device, the service or the software that keeps the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    product: String,
    versions: Vec<Version>,
    tries: Vec<Tries>,
    capacity: Vec<Capacity>,
    default_secrets: Vec<&'static str>,
    notices: Vec<String>,
}

/// A version of one of the parts: library, firmware, hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which part: `library`, `firmware`, `hardware`.
    pub what: &'static str,
    /// Whose: maker and model, as the part tells them.
    pub of: String,
    /// The version itself.
    pub value: String,
}

/// How many wrong tries of a secret the device still takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Which secret: `user PIN`, `PUK`.
    pub secret: &'static str,
    /// How many.
    pub left: Left,
}

/// What a device tells of the tries that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// So many; none means that the secret is locked.
    Exactly(u32),
    /// Fewer than there were: a wrong one was given since the last right one.
    Fewer,
}

/// Room on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Of what: `sessions`, `bytes for private objects`, `key slots`.
    pub what: &'static str,
    /// How many are free, if that is told.
    pub free: Option<u64>,
    /// How many there are in all, if that is told.
    pub total: Option<u64>,
}

impl Inventory {
    /// What is known of this product.
    #[must_use]
    pub fn new(product: &str) -> Self {
        Self { product: clean(product), ..Self::default() }
    }

    /// Adds the version of a part. `of` and `value` are what the device says.
    #[must_use]
    pub fn with_version(mut self, what: &'static str, of: &str, value: &str) -> Self {
        self.versions.push(Version { what, of: clean(of), value: clean(value) });
        self
    }

    /// Adds the tries that are left of a secret.
    #[must_use]
    pub fn with_tries(mut self, secret: &'static str, left: Left) -> Self {
        self.tries.push(Tries { secret, left });
        self
    }

    /// Adds a figure of the room there is. A figure that nobody tells is left out.
    #[must_use]
    pub fn with_capacity(mut self, what: &'static str, free: Option<u64>, total: Option<u64>) -> Self {
        if free.is_some() || total.is_some() {
            self.capacity.push(Capacity { what, free, total });
        }
        self
    }

    /// Adds a secret that still is the one that the device was delivered or initialised with.
    #[must_use]
    pub fn with_default_secret(mut self, secret: &'static str) -> Self {
        self.default_secrets.push(secret);
        self
    }

    /// Adds what an operator should know of the state of the device.
    #[must_use]
    pub fn with_notice(mut self, notice: impl Into<String>) -> Self {
        self.notices.push(notice.into());
        self
    }

    /// What the device calls itself. Empty where nothing is known.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The versions of its parts.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The tries that are left, of the secrets that it tells them of.
    #[must_use]
    pub fn tries(&self) -> &[Tries] {
        &self.tries
    }

    /// The room that is left.
    #[must_use]
    pub fn capacity(&self) -> &[Capacity] {
        &self.capacity
    }

    /// The secrets that were never changed.
    #[must_use]
    pub fn default_secrets(&self) -> &[&'static str] {
        &self.default_secrets
    }

    /// The known weaknesses that its versions have, each with the version that has it.
    pub fn weaknesses(&self) -> impl Iterator<Item = (&'static Weakness, &Version)> {
        WEAKNESSES.iter().filter_map(|weakness| {
            let version = self.versions.iter().find(|version| weakness.affects(version))?;
            Some((weakness, version))
        })
    }

    /// What an operator has to be told of, a sentence each: weaknesses, default secrets, tries and room that run out.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .weaknesses()
            .map(|(weakness, version)| {
                let Weakness { id, text, fix, .. } = weakness;
                format!("{id}: {} {} {}: {text}; {fix}", version.of, version.what, version.value)
            })
            .collect();
        warnings.extend(self.default_secrets.iter().map(|secret| {
            format!(
                "the {secret} is the one that the device was set up with: change it before it guards anything"
            )
        }));
        for Tries { secret, left } in &self.tries {
            match left {
                Left::Exactly(0) => warnings.push(format!("the {secret} is locked")),
                Left::Exactly(1) => warnings.push(format!("the {secret} has one try left")),
                Left::Exactly(_) => {}
                Left::Fewer => {
                    warnings.push(format!("a wrong {secret} was given since the last right one"));
                }
            }
        }
        let full = |room: &&Capacity| room.free == Some(0);
        warnings.extend(self.capacity.iter().filter(full).map(|room| format!("no {} are free", room.what)));
        warnings.extend(self.notices.iter().cloned());
        warnings
    }

    /// The same for people: a line each, its name first.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if !self.product.is_empty() {
            lines.push(("product", self.product.clone()));
        }
        for Version { what, of, value } in &self.versions {
            let whose = if *of == self.product { String::new() } else { format!(" ({of})") };
            lines.push((*what, format!("{value}{whose}")));
        }
        for Tries { secret, left } in &self.tries {
            let left = match left {
                Left::Exactly(number) => format!("{number} tries left"),
                Left::Fewer => "fewer tries left than there were".to_owned(),
            };
            lines.push((*secret, left));
        }
        for Capacity { what, free, total } in &self.capacity {
            let text = match (free, total) {
                (Some(free), Some(total)) => format!("{free} of {total} {what} are free"),
                (Some(free), None) => format!("{free} {what} are free"),
                (None, total) => format!("{} {what} in all", total.unwrap_or_default()),
            };
            lines.push(("room", text));
        }
        lines
    }
}

/// What a device calls something, fit to be printed: no control characters, not too long, no blanks around it.
fn clean(text: &str) -> String {
    let mut clean = String::new();
    for c in text.trim_matches([' ', '\0']).chars().take(MAX_TEXT) {
        if c.is_control() {
            let _ = write!(clean, "{}", c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_known_nothing_is_told() {
        let none = Inventory::default();
        assert_eq!((none.lines().len(), none.warnings().len(), none.weaknesses().count()), (0, 0, 0));
    }

    #[test]
    fn a_device_cannot_write_to_a_terminal() {
        let long = "x".repeat(200);
        let inventory = Inventory::new("  a\u{1b}[2J\n ").with_version("firmware", &long, "1\0\0");
        assert_eq!(inventory.product(), "a\\u{1b}[2J\\n");
        let version = &inventory.versions()[0];
        assert_eq!((version.of.len(), version.value.as_str()), (MAX_TEXT, "1"));
    }

    #[test]
    fn what_runs_out_is_warned_of() {
        let inventory = Inventory::new("t")
            .with_version("hardware", "t", "1.0")
            .with_version("library", "l", "2.0")
            .with_tries("user PIN", Left::Exactly(0))
            .with_tries("PUK", Left::Exactly(1))
            .with_tries("PIN", Left::Exactly(2))
            .with_tries("SO PIN", Left::Fewer)
            .with_capacity("sessions", Some(0), Some(8))
            .with_capacity("bytes", None, None)
            .with_capacity("slots", None, Some(4))
            .with_default_secret("PUK")
            .with_notice("it is warm");
        let warnings = inventory.warnings();
        assert_eq!(
            warnings,
            [
                "the PUK is the one that the device was set up with: change it before it guards anything",
                "the user PIN is locked",
                "the PUK has one try left",
                "a wrong SO PIN was given since the last right one",
                "no sessions are free",
                "it is warm",
            ]
        );
        let lines: Vec<_> =
            inventory.lines().into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
        assert_eq!(
            lines,
            [
                "product: t",
                "hardware: 1.0",
                "library: 2.0 (l)",
                "user PIN: 0 tries left",
                "PUK: 1 tries left",
                "PIN: 2 tries left",
                "SO PIN: fewer tries left than there were",
                "room: 0 of 8 sessions are free",
                "room: 4 slots in all",
            ]
        );
    }
}
