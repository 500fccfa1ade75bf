//! The JSON of requests and answers: what both sides agree on. What an answer holds that has a type of its own (members,
//! tickets) is written as that type writes itself.

use std::collections::BTreeMap;
use std::fmt;

use identity::{Identifier, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use super::openapi::{HexText, IdentifierText, ReferenceText, Seconds};
use crate::member::MemberAttributes;
use crate::ticket::{Reference, Ticket};

/// `GET /v1/issuer`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct IssuerAnswer {
    #[schema(value_type = IdentifierText)]
    pub(crate) identifier: Identifier,
    #[schema(value_type = HexText)]
    pub(crate) change_history: String,
    #[schema(value_type = Vec<HexText>)]
    pub(crate) attestations: Vec<String>,
    #[schema(value_type = HexText)]
    pub(crate) bundle: String,
}

/// `POST /v1/enrol`.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolRequest {
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(crate) code: String,
    /// What a device says of the primary key of whoever enrols (docs/formats.md, "key attestations").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HexText, required = false)]
    pub(crate) key_attestation: Option<String>,
}

impl fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolRequest").finish_non_exhaustive()
    }
}

/// `POST /v1/credential`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CredentialAnswer {
    #[schema(value_type = HexText)]
    pub(crate) credential: String,
    #[schema(value_type = Seconds)]
    pub(crate) expires_at: Timestamp,
}

/// `POST /v1/members`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddMemberRequest {
    #[schema(value_type = IdentifierText)]
    pub(crate) identifier: Identifier,
    #[serde(default)]
    #[schema(value_type = MemberAttributes, required = false)]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// `DELETE /v1/members`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeletedAnswer {
    pub(crate) deleted: u64,
}

/// `POST /v1/tickets`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeTicketRequest {
    #[serde(default)]
    #[schema(value_type = MemberAttributes, required = false)]
    pub(crate) attributes: BTreeMap<String, String>,
    /// In seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 31_536_000)]
    pub(crate) expires_in: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(crate) uses: Option<u32>,
}

/// The answer to that: the ticket, and the one time that its code is shown.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct TicketAnswer {
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(crate) code: String,
    #[schema(value_type = ReferenceText)]
    pub(crate) reference: Reference,
    pub(crate) attributes: MemberAttributes,
    #[schema(value_type = IdentifierText)]
    pub(crate) issued_by: Identifier,
    #[schema(value_type = Seconds)]
    pub(crate) created_at: Timestamp,
    #[schema(value_type = Seconds)]
    pub(crate) expires_at: Timestamp,
    pub(crate) uses_left: u32,
}

impl TicketAnswer {
    pub(crate) fn new(ticket: Ticket, code: &str) -> Self {
        Self {
            code: code.to_owned(),
            reference: ticket.reference,
            attributes: ticket.attributes,
            issued_by: ticket.issued_by,
            created_at: ticket.created_at,
            expires_at: ticket.expires_at,
            uses_left: ticket.uses_left,
        }
    }

    pub(crate) fn into_ticket(self) -> (Ticket, zeroize::Zeroizing<String>) {
        let ticket = Ticket {
            reference: self.reference,
            attributes: self.attributes,
            issued_by: self.issued_by,
            created_at: self.created_at,
            expires_at: self.expires_at,
            uses_left: self.uses_left,
        };
        (ticket, zeroize::Zeroizing::new(self.code))
    }
}

impl fmt::Debug for TicketAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketAnswer").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// `GET /readyz`. When it is not ready, the answer is a problem, whose `missing` is the same.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReadyAnswer {
    #[serde(default)]
    pub(crate) ready: bool,
    /// What it waits for.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
}

/// `GET /healthz`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HealthAnswer {
    pub(crate) alive: bool,
}

/// A whole number as JSON has them: `60.0` is one.
fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // Its text, so that nothing is rounded.
    let text = number.to_string();
    let digits = text.strip_suffix(".0").unwrap_or(&text);
    let whole = digits.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    let unexpected = || de::Error::invalid_value(de::Unexpected::Other("number"), &"a whole number");
    whole.map(Some).ok_or_else(unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a ticket is to be good, as it may be written.
    #[test]
    fn seconds_are_whole_numbers_or_nothing() {
        let read = |value: &str| {
            let body = format!("{{\"expires_in\":{value}}}");
            serde_json::from_str::<MakeTicketRequest>(&body).ok().map(|request| request.expires_in)
        };
        for (value, seconds) in
            [("60", Some(60)), ("60.0", Some(60)), ("6e1", Some(60)), ("0", Some(0)), ("null", None)]
        {
            assert_eq!(read(value), Some(seconds), "{value}");
        }
        assert_eq!(read("18446744073709551615"), Some(Some(u64::MAX)));
        for value in [
            "-1",
            "-0.0",
            "60.5",
            "1e-1",
            "1e400",
            "18446744073709551616",
            "\"60\"",
            "true",
            "[60]",
            "{}",
            "NaN",
            "0x3c",
            "060",
            "",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
        assert!(serde_json::from_str::<MakeTicketRequest>(r#"{"expires_in":1,"expires_in":2}"#).is_err());
        assert!(serde_json::from_str::<MakeTicketRequest>("{}").unwrap().expires_in.is_none());
    }
}
