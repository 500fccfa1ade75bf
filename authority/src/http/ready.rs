//! Whether requests are worth sending, and what is missing when they are not: what `/readyz` says.

use super::routes::Shared;

/// What a server can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Store,
    Vault,
    CredentialKey,
    Clock,
    Start,
    Draining,
}

impl Missing {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] =
        [Self::Store, Self::Vault, Self::CredentialKey, Self::Clock, Self::Start, Self::Draining];

    /// The word for machines, which never changes.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Vault => "vault",
            Self::CredentialKey => "credential-key",
            Self::Clock => "clock",
            Self::Start => "start",
            Self::Draining => "draining",
        }
    }

    /// The same for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Store => "the store failed: make room, or repair the disk",
            Self::Vault => "the vault does not sign with the credential key: see that its token is there",
            Self::CredentialKey => {
                "the credential key ends too soon for a credential: see why it was not attested anew"
            }
            Self::Clock => "the clock is behind what the store has seen, or stands still: set it right",
            Self::Start => "the second in which the server started is not over",
            Self::Draining => "the server is ending",
        }
    }
}

/// Everything that is missing.
pub(crate) async fn missing(shared: &Shared) -> Vec<Missing> {
    let authority = &shared.authority;
    let mut missing = Vec::new();
    // Read it for true: that no write failed says nothing about a disk that went away.
    if authority.known(&authority.identifier()).is_err() {
        missing.push(Missing::Store);
    }
    if !authority.trusts_clock() {
        missing.push(Missing::Clock);
    }
    if !authority.can_sign().await {
        missing.push(Missing::Vault);
    }
    if !authority.outlives_a_credential() {
        missing.push(Missing::CredentialKey);
    }
    if !shared.authenticator.has_settled() {
        missing.push(Missing::Start);
    }
    if shared.is_draining() {
        missing.push(Missing::Draining);
    }
    missing
}
