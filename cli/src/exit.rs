//! Kinds of failure and exit codes: one table, under a golden test. Nothing else in the program knows an exit code.

/// What kind of failure a command ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line itself is wrong.
    Usage,
    Invalid,
    Rejected,
    NotFound,
    Unavailable,
    Backend,
    AlreadyExists,
    Corrupt,
    Exhausted,
    Presence,
    Denied,
    Unsupported,
    /// The refusals of a service, by its own words.
    Malformed,
    Unauthenticated,
    Forbidden,
    Conflict,
    RateLimited,
    Internal,
    Interrupted,
}

/// Kind, its word in JSON, its exit code (sysexits.h).
const TABLE: [(Kind, &str, u8); 19] = [
    (Kind::Usage, "usage", 64),
    (Kind::Invalid, "invalid", 64),
    (Kind::Malformed, "malformed", 64),
    (Kind::Rejected, "rejected", 65),
    (Kind::NotFound, "not-found", 66),
    (Kind::Unavailable, "unavailable", 69),
    (Kind::Backend, "backend", 70),
    (Kind::Internal, "internal", 70),
    (Kind::AlreadyExists, "already-exists", 73),
    (Kind::Conflict, "conflict", 73),
    (Kind::Corrupt, "corrupt", 74),
    (Kind::Exhausted, "exhausted", 75),
    (Kind::Presence, "presence", 75),
    (Kind::RateLimited, "rate-limited", 75),
    (Kind::Denied, "denied", 77),
    (Kind::Unauthenticated, "unauthenticated", 77),
    (Kind::Forbidden, "forbidden", 77),
    (Kind::Unsupported, "unsupported", 78),
    (Kind::Interrupted, "interrupted", 130),
];

impl Kind {
    /// Every kind, for tables that must be complete.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(kind, ..)| *kind)
    }

    fn row(self) -> (&'static str, u8) {
        TABLE
            .iter()
            .find(|(kind, ..)| *kind == self)
            .map_or(("internal", 70), |(_, name, code)| (*name, *code))
    }

    /// The word for it in JSON.
    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        self.row().1
    }

    /// The kind of this word, as another process of this program wrote it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|(_, word, _)| *word == name).map(|(kind, ..)| *kind)
    }
}

impl From<vault::Kind> for Kind {
    fn from(kind: vault::Kind) -> Self {
        match kind {
            vault::Kind::Invalid => Self::Invalid,
            vault::Kind::Unsupported => Self::Unsupported,
            vault::Kind::NotFound => Self::NotFound,
            vault::Kind::AlreadyExists => Self::AlreadyExists,
            vault::Kind::Denied => Self::Denied,
            vault::Kind::Presence => Self::Presence,
            vault::Kind::Exhausted => Self::Exhausted,
            vault::Kind::Unavailable => Self::Unavailable,
            vault::Kind::Rejected => Self::Rejected,
            vault::Kind::Corrupt => Self::Corrupt,
            vault::Kind::Backend => Self::Backend,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_golden_one() {
        let found: String = TABLE.iter().map(|(_, name, code)| format!("{code} {name}\n")).collect();
        assert_eq!(found, include_str!("../../tests/golden/cli-exit-codes.txt"));
    }

    #[test]
    fn every_kind_of_a_vault_has_a_row_of_its_own_name() {
        for kind in vault::Kind::ALL {
            assert_eq!(Kind::from(kind).name(), kind.name());
        }
    }
}
