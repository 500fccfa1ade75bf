//! The JSON of requests and answers: what both sides agree on. What an answer holds that has a type of its own (members,
//! tickets) is written as that type writes itself.

use std::collections::BTreeMap;
use std::fmt;

use identity::{Identifier, Timestamp};
use serde::{Deserialize, Serialize};

use crate::member::MemberAttributes;
use crate::ticket::{Reference, Ticket};

/// `GET /v1/issuer`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IssuerAnswer {
    pub(crate) identifier: Identifier,
    pub(crate) change_history: String,
    pub(crate) attestations: Vec<String>,
    pub(crate) bundle: String,
}

/// `POST /v1/enrol`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolRequest {
    pub(crate) code: String,
}

impl fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolRequest").finish_non_exhaustive()
    }
}

/// `POST /v1/credential`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CredentialAnswer {
    pub(crate) credential: String,
    pub(crate) expires_at: Timestamp,
}

/// `POST /v1/members`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddMemberRequest {
    pub(crate) identifier: Identifier,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// `DELETE /v1/members`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeletedAnswer {
    pub(crate) deleted: u64,
}

/// `POST /v1/tickets`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeTicketRequest {
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    /// In seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uses: Option<u32>,
}

/// The answer to that: the ticket, and the one time that its code is shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct TicketAnswer {
    pub(crate) code: String,
    pub(crate) reference: Reference,
    pub(crate) attributes: MemberAttributes,
    pub(crate) issued_by: Identifier,
    pub(crate) created_at: Timestamp,
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
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadyAnswer {
    #[serde(default)]
    pub(crate) ready: bool,
    /// What it waits for.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
}

/// `GET /healthz`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HealthAnswer {
    pub(crate) alive: bool,
}
