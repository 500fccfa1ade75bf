//! Enrolment tickets: one-time secrets that admit a subject. The code is shown once, to whoever had the ticket made; what
//! is stored is a hash of it, and what lists, revocations and the audit log name is the reference, which is no secret.

mod text;

use std::fmt;
use std::str::FromStr;

use identity::{Identifier, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use vault::SecretBytes;
use zeroize::Zeroizing;

pub use text::{MAX_TICKET_TEXT, TicketText};

use crate::http::openapi::{IdentifierText, ReferenceText, Seconds};
use crate::member::MemberAttributes;
use crate::problem::Problem;

/// How long a ticket is good when nothing else is asked for, in seconds.
pub const DEFAULT_TICKET_SECONDS: u64 = 600;
/// The longest a ticket may be good, in seconds.
pub const MAX_TICKET_SECONDS: u64 = 365 * 86_400;
/// How often a ticket may be used when nothing else is asked for.
pub const DEFAULT_TICKET_USES: u32 = 1;
/// The most often a ticket may be used.
pub const MAX_TICKET_USES: u32 = 1_000_000;

const CODE_BYTES: usize = 32;
const REFERENCE_BYTES: usize = 8;

/// The secret of a ticket: 32 random bytes, as text 64 hex digits.
#[derive(Debug)]
pub struct Code(SecretBytes);

impl Code {
    /// A new one.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Problem> {
        random(CODE_BYTES).map(Self)
    }

    pub(crate) fn from_bytes(bytes: [u8; CODE_BYTES]) -> Self {
        Self(SecretBytes::new(zeroize::Zeroizing::new(bytes).to_vec()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Problem::Malformed`], without the text, when it is not 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, Problem> {
        let mut bytes = Zeroizing::new(vec![0; CODE_BYTES]);
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| Problem::malformed("an enrolment code is 64 hex digits"))?;
        Ok(Self(SecretBytes::new(std::mem::take(&mut *bytes))))
    }

    /// The bytes: what goes to an authority, and nowhere else.
    pub(crate) fn expose_bytes(&self) -> &[u8] {
        self.0.expose()
    }

    /// The hex digits: what goes into a ticket, and nowhere else.
    #[must_use]
    pub fn expose_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.expose()))
    }

    /// What the ticket is stored under: SHA-256 of the authority's identifier and the code, so that a look-up compares
    /// nothing that is secret, and a code is worth nothing at another authority.
    #[must_use]
    pub fn lookup(&self, authority: &Identifier) -> [u8; 32] {
        Sha256::new().chain_update(authority.as_bytes()).chain_update(self.0.expose()).finalize().into()
    }
}

/// What a ticket is called: 16 hex digits, no secret.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference([u8; REFERENCE_BYTES]);

impl Reference {
    pub(crate) fn generate() -> Result<Self, Problem> {
        let bytes = random(REFERENCE_BYTES)?;
        bytes.expose_array().copied().map(Self).ok_or(Problem::Internal)
    }

    pub(crate) fn from_bytes(bytes: [u8; REFERENCE_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; REFERENCE_BYTES] {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut bytes = [0; REFERENCE_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| Problem::malformed("the reference of a ticket is 16 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A ticket that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTicket {
    attributes: MemberAttributes,
    seconds: u64,
    uses: u32,
}

impl NewTicket {
    /// A ticket that gives these attributes, good for so many seconds (600 by default) and so many uses (1 by default).
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a time or a number of uses that is zero or over the limit.
    pub fn new(
        attributes: MemberAttributes,
        seconds: Option<u64>,
        uses: Option<u32>,
    ) -> Result<Self, Problem> {
        let (seconds, uses) =
            (seconds.unwrap_or(DEFAULT_TICKET_SECONDS), uses.unwrap_or(DEFAULT_TICKET_USES));
        if seconds == 0 || seconds > MAX_TICKET_SECONDS {
            return Err(Problem::malformed(format!(
                "a ticket is good for 1 to {MAX_TICKET_SECONDS} seconds"
            )));
        }
        if uses == 0 || uses > MAX_TICKET_USES {
            return Err(Problem::malformed(format!("a ticket is good for 1 to {MAX_TICKET_USES} uses")));
        }
        Ok(Self { attributes, seconds, uses })
    }

    pub(crate) fn into_ticket(self, reference: Reference, issued_by: Identifier, now: Timestamp) -> Ticket {
        Ticket {
            reference,
            attributes: self.attributes,
            issued_by,
            created_at: now,
            expires_at: now.after(self.seconds),
            uses_left: self.uses,
        }
    }
}

/// A ticket, as far as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ticket {
    /// What it is called.
    #[schema(value_type = ReferenceText)]
    pub reference: Reference,
    /// What it gives.
    pub attributes: MemberAttributes,
    /// The enroller who had it made.
    #[schema(value_type = IdentifierText)]
    pub issued_by: Identifier,
    /// When.
    #[schema(value_type = Seconds)]
    pub created_at: Timestamp,
    /// The first second at which it is no longer good.
    #[schema(value_type = Seconds)]
    pub expires_at: Timestamp,
    /// How often it can still be used.
    pub uses_left: u32,
}

impl Ticket {
    /// Whether it can be used at this time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.uses_left > 0 && now < self.expires_at
    }
}

/// A ticket that was just made, with its code: the only time that the code is shown.
#[derive(Debug)]
pub struct IssuedTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// Its secret.
    pub code: Code,
}

pub(crate) fn random(length: usize) -> Result<SecretBytes, Problem> {
    SecretBytes::random(length).map_err(|error| {
        tracing::error!(%error, "no randomness");
        Problem::unavailable()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_not_printed_and_are_bound_to_their_authority() {
        let code = Code::generate().unwrap();
        let text = code.expose_hex();
        assert!(!format!("{code:?}").contains(text.as_str()));
        let again = Code::from_hex(&text).unwrap();
        assert_eq!(
            hex::encode(again.expose_bytes()),
            *text,
            "what goes to an authority is what the ticket says"
        );
        let (one, other) = (Identifier::from_bytes([1; 32]), Identifier::from_bytes([2; 32]));
        assert_eq!(code.lookup(&one), again.lookup(&one));
        assert_ne!(code.lookup(&one), code.lookup(&other));
    }

    #[test]
    fn what_is_no_code_is_not_repeated() {
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), "hunter2"] {
            let problem = Code::from_hex(bad).unwrap_err();
            assert_eq!(problem.code(), "malformed");
            assert!(bad.len() < 3 || !problem.to_string().contains(bad));
        }
    }

    #[test]
    fn references_round_trip() {
        let reference = Reference::generate().unwrap();
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        assert!("../../etc/passwd".parse::<Reference>().is_err());
    }

    #[test]
    fn a_ticket_is_good_for_some_time_and_some_uses() {
        let new = |seconds, uses| NewTicket::new(MemberAttributes::default(), seconds, uses);
        assert_eq!(new(None, None).unwrap(), new(Some(600), Some(1)).unwrap());
        for (seconds, uses) in [(0, 1), (1, 0), (MAX_TICKET_SECONDS + 1, 1), (1, MAX_TICKET_USES + 1)] {
            assert!(new(Some(seconds), Some(uses)).is_err());
        }
        assert_eq!((MAX_TICKET_SECONDS, MAX_TICKET_USES), (31_536_000, 1_000_000));
        assert!(new(Some(MAX_TICKET_SECONDS), Some(MAX_TICKET_USES)).is_ok());
    }
}
