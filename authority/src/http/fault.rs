//! Why a request does not prove who sent it. Whoever writes a client has to learn which rule it broke, so the rule is named;
//! of a signature that does not hold nothing more is said.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// The rules of a signed request (docs/formats.md, "HTTP requests"), one for each way to break them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
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

faults! {
    /// There is no `Signature-Input` or no `Signature`.
    Unsigned = "unsigned", "the request carries no signature";
    /// The two headers are not one signature of the form of RFC 9421 §4.
    Form = "form", "the headers `signature-input` and `signature` do not hold exactly one signature under the same label";
    /// It does not cover exactly what it has to.
    Components = "components", "the signature has to cover @method, @target-uri, content-digest and ockam-authority, also an idempotency-key if one is sent, and nothing else";
    /// A parameter is missing, of the wrong type or form, or not one of ours.
    Parameters = "parameters", "the signature has to have exactly the parameters created, expires, nonce (16 bytes in base64), keyid (`IDENTIFIER:CHANGE`), alg and tag";
    /// The tag names another use of signatures.
    Tag = "tag", "the signature's tag is not ockam-kms-v1";
    /// The algorithm is none that we take, or not the key's.
    Algorithm = "algorithm", "the signature's alg has to be ed25519 or ecdsa-p256-sha256, as the request key is";
    /// It is meant for another authority.
    Audience = "audience", "the header ockam-authority does not name this authority";
    /// It is valid for longer than a minute, or not at all.
    Lifetime = "lifetime", "the signature has to expire after it was created, and at most 60 seconds after";
    /// It was made in the future.
    Future = "future", "the signature was created in the future (by more than 60 seconds, or by more than 2 when the request changes something and has no idempotency key): one of the two clocks is wrong";
    /// It has expired.
    Expired = "expired", "the signature has expired: sign again, and if that does not help compare the two clocks";
    /// It was made before this server can know whether it saw it.
    BeforeStart = "before-start", "the signature was created before this server started, or too soon after: sign again";
    /// The body is not what was signed.
    Digest = "digest", "the header content-digest has no sha-256 of the body that came";
    /// The same nonce was seen before.
    Replayed = "replayed", "the signature's nonce was used before";
    /// The header with history and attestation does not decode.
    Identity = "identity", "the header ockam-identity is not a change history and a request key attestation that verify";
    /// What the header shows is not what the signature's keyid names.
    OtherIdentity = "other-identity", "the header ockam-identity shows another identity or change than keyid names";
    /// It does not hold under the request keys that are remembered of its sender, and the request shows no other.
    RequestKey = "request-key", "the signature does not hold under the request keys that are known: send the key's attestation along";
    /// It does not hold.
    Signature = "signature", "the signature does not hold";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
