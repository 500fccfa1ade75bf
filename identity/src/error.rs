//! Why something about an identity was refused.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The bytes or the text are not of this shape.
    Malformed,
    /// Well formed, and refused by the rule that is named.
    Refused(Refusal),
    /// The caller asked for something that can never be right.
    Invalid,
    /// A vault failed; its own error is the source.
    Vault(vault::Kind),
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// The rules of verification (docs/formats.md, "what verifying checks"), one for each way to fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A short name for machines, which never changes.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The same for people.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

refusals! {
    /// A change history without a change.
    EmptyHistory = "empty-history", "the change history is empty";
    /// The version inside a signed body is not 1.
    WrongVersion = "wrong-version", "the signed body is of an unknown version";
    /// The signed body is of another type: an attestation where a change is expected, and so on.
    WrongType = "wrong-type", "the signed body is of another type";
    /// The first change names a previous one.
    FirstHasPrevious = "first-has-previous", "the first change names a previous change";
    /// A later change does not name the change before it.
    BrokenChain = "broken-chain", "a change does not follow the one before it";
    /// A change starts before the one before it.
    TimeReversed = "time-reversed", "a change starts earlier than the one before it";
    /// A signature does not hold under the key it has to hold under.
    Signature = "signature", "a signature does not hold";
    /// A rotation is not signed by the key before it.
    MissingPreviousSignature = "missing-previous-signature", "a change is not signed by the previous key";
    /// The history belongs to another identifier.
    OtherIdentifier = "other-identifier", "the change history belongs to another identifier";
    /// The history is older than the one that is known.
    Older = "older", "the change history is older than the known one";
    /// The history contradicts the one that is known.
    Conflict = "conflict", "the change history contradicts the known one";
    /// The attestation is by another identity.
    OtherSubject = "other-subject", "the attestation is by another identity";
    /// The attestation is not under the identity's latest change.
    NotLatestChange = "not-latest-change", "the attestation is not under the latest change";
    /// The attestation outlives the change that it is under.
    OutlivesChange = "outlives-change", "the attestation outlives the key that signed it";
    /// The attestation starts before the change that it is under.
    BeforeChange = "before-change", "the attestation starts before the key that signed it";
    /// It lies too far in the future.
    Future = "future", "it was made in the future";
    /// It has expired.
    Expired = "expired", "it has expired";
    /// The attested key is for another purpose.
    OtherPurpose = "other-purpose", "the attested key is for another purpose";
    /// The attestation was revoked by a rotation.
    Revoked = "revoked", "a rotation revoked the purpose keys that were attested before it";
    /// The credential is by another issuer.
    OtherIssuer = "other-issuer", "the credential is by another issuer";
    /// The credential names no subject.
    NoSubject = "no-subject", "the credential names no subject";
    /// The credential is about another subject.
    OtherCredentialSubject = "other-credential-subject", "the credential is about another subject";
    /// The credential starts before its purpose key.
    BeforePurposeKey = "before-purpose-key", "the credential starts before the purpose key that signed it";
    /// The credential outlives its purpose key.
    OutlivesPurposeKey = "outlives-purpose-key", "the credential outlives the purpose key that signed it";
    /// More bytes, changes or attributes than we take.
    TooLarge = "too-large", "it is larger than the limit";
    /// Bytes after the end.
    TrailingBytes = "trailing-bytes", "there are bytes after its end";
    /// It is valid for longer than such a thing may be.
    TooLong = "too-long", "it is valid for longer than it may be";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A failure.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Something that is not of the shape it has to be.
    #[must_use]
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Malformed, message: message.into(), source: None }
    }

    /// Something that can never be right.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Invalid, message: message.into(), source: None }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The rule that refused, when one did.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self.kind {
            Kind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The vault's own error, when a vault failed.
    #[must_use]
    pub fn vault_error(&self) -> Option<&vault::Error> {
        self.source.as_ref()?.downcast_ref()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self { kind: Kind::Refused(refusal), message: refusal.words().into(), source: None }
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        Self {
            kind: Kind::Vault(error.kind()),
            message: error.to_string().into(),
            source: Some(Box::new(error)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
