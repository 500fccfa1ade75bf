//! Who may become a member: whoever has a ticket, and satisfies the authority's enrolment policy when it has one. The policy
//! sees what the ticket gives (`subject.NAME`), who asks (`subject.identifier`), and what evidence shows about the key that
//! stands behind the identity: `key.protection`, `key.exportable`, `key.touch`, `key.weakness`.

use evidence::{Anchors, KeyAttestation};
use identity::{Identity, Timestamp};
use policy_lang::{Decision, Env, Policy};

use crate::error::{Error, Kind, Result};
use crate::member::MemberAttributes;
use crate::problem::Problem;
use crate::service::Answer;

/// A policy over enrolling, and whom it believes about keys.
#[derive(Clone, Debug, PartialEq)]
pub struct EnrolmentPolicy {
    policy: Policy,
    anchors: Anchors,
}

// A policy has no value that is unequal to itself: its numbers are checked when it is read.
impl Eq for EnrolmentPolicy {}

impl EnrolmentPolicy {
    /// A policy, by its strict meaning, with the certificates of those who certify devices.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a text that is no policy.
    pub fn new(policy: &str, anchors: Anchors) -> Result<Self> {
        let policy = Policy::parse(policy).map_err(|error| {
            Error::new(Kind::Invalid, format!("the enrolment policy does not parse: {error}"))
                .with_hint("`ockam-kms policy check` shows where")
        })?;
        Ok(Self { policy, anchors })
    }

    /// Whether an identity with a good ticket may enrol, with the evidence that it showed about its primary key.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for evidence that does not parse or is about another key, [`Problem::Forbidden`] for evidence
    /// that does not hold, and when the policy denies.
    pub(crate) fn admit(
        &self,
        identity: &Identity,
        given: &MemberAttributes,
        shown: Option<&[u8]>,
        now: Timestamp,
    ) -> Answer<()> {
        let mut env = Env::new();
        for (name, value) in given.iter() {
            env.bind(format!("subject.{name}"), value);
        }
        // After the attributes: none of them can speak in the place of these.
        env.bind("subject.identifier", identity.identifier().to_string());
        env.bind("subject.has_credential", false);
        if let Some(shown) = shown {
            let attestation =
                KeyAttestation::decode(shown).map_err(|error| Problem::malformed(error.to_string()))?;
            if attestation.public() != identity.latest().primary_key() {
                return Err(Problem::malformed(
                    "the key attestation is about another key than the identity's primary key",
                ));
            }
            let facts = attestation.verify(&self.anchors, now.0).map_err(|error| match error.kind() {
                evidence::Kind::Malformed => Problem::malformed(error.to_string()),
                evidence::Kind::Refused => Problem::forbidden(format!("the key attestation: {error}")),
            })?;
            for (name, value) in facts.attributes() {
                env.bind(name, value);
            }
        }
        match self.policy.decide(&env) {
            Decision::Allow => Ok(()),
            Decision::Deny if shown.is_none() => Err(Problem::forbidden(
                "the enrolment policy does not admit this identity without more: it showed no key attestation",
            )),
            Decision::Deny => Err(Problem::forbidden("the enrolment policy does not admit this identity")),
        }
    }
}
