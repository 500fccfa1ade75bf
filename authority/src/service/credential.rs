//! Issuing: draft, store the intent, sign, record, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use identity::{Attributes, Credential, CredentialDraft, MEMBER_SCHEMA};
use tracing::Instrument as _;
use vault::{Kind, Retry};

use crate::authz::Action;
use crate::issuer::IssuerKeys;
use crate::member::MemberAttributes;
use crate::once::{Once, Receipt};
use crate::problem::Problem;
use crate::service::{Answer, Authority, Caller, PROJECT_ATTRIBUTE};
use crate::store::{Intent, KnownHistory, Operation, query};
use crate::ticket::Code;

/// How often a credential is drafted again because the member changed meanwhile.
const TRIES: usize = 4;

impl Authority {
    /// Makes the caller a member, by a ticket.
    ///
    /// # Errors
    /// [`Problem::Conflict`] `already a member`, and the ticket is not spent; [`Problem::Forbidden`]
    /// `unknown enrollment token` for a code that is unknown, expired or used up.
    pub async fn enrol(&self, caller: &Caller, code: &Code) -> Answer<()> {
        self.enrol_showing(caller, code, None).await
    }

    /// The same, of a caller who shows what a device says of the key behind its identity: an encoded
    /// [`evidence::KeyAttestation`], for the [enrolment policy](crate::enrolment). Without such a policy it is not looked at.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol), and [`Problem::Forbidden`] when the policy does not admit the caller; the ticket is not
    /// spent then.
    pub async fn enrol_showing(&self, caller: &Caller, code: &Code, shown: Option<&[u8]>) -> Answer<()> {
        let lookup = code.lookup(&self.identifier());
        if let Err(problem) = self.admit(caller, &lookup, shown).await {
            self.metrics().ticket("refused");
            if !problem.is_fault() {
                self.execute(*caller.actor(), Operation::Refused(Action::Enrol, problem.code())).await?;
            }
            return Err(problem);
        }
        let history = KnownHistory::from(caller.identity());
        let redeemed = self.execute_for(caller, Operation::Redeem { lookup, history }, Receipt::Done).await;
        match &redeemed {
            Ok(applied) if applied.receipt.is_none() => {
                self.metrics().ticket("redeemed");
                // Who becomes a member asks for a credential next.
                self.remember(caller.identity());
            }
            Err(problem) if !problem.is_fault() => self.metrics().ticket("refused"),
            Ok(_) | Err(_) => {}
        }
        redeemed.map(drop)
    }

    /// Asks the enrolment policy, if there is one, about a caller who would become a member by this ticket. About others
    /// redeeming has the word: nobody learns from the policy which codes are good.
    async fn admit(&self, caller: &Caller, lookup: &[u8; 32], shown: Option<&[u8]>) -> Answer<()> {
        let Some(policy) = &self.settings().enrolment else { return Ok(()) };
        let allowed = self.gate(caller.actor(), Action::Enrol).await?;
        let view = self.view(allowed)?;
        let ticket = query::ticket_by_lookup(view, lookup)?.filter(|ticket| ticket.is_good(self.now()));
        let (Some(ticket), None) = (ticket, query::member(view, &caller.identifier())?) else {
            return Ok(());
        };
        policy.admit(caller.identity(), &ticket.attributes, shown, self.now())
    }

    /// Issues a credential to the caller.
    ///
    /// It is signed and recorded even when whoever asked for it goes away meanwhile.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] `unauthorized member` for whoever is none; [`Problem::Unavailable`] when the vault or the
    /// store is away or has enough to do ([`MAX_AT_THE_VAULT`](crate::service::MAX_AT_THE_VAULT)), or the credential key is
    /// about to end.
    pub async fn credential(&self, caller: &Caller) -> Answer<Credential> {
        let Some(once) = caller.key().cloned() else {
            return self.issue(caller).await;
        };
        // Storing the intent, signing and recording are not one transaction, so whoever asks again meanwhile waits; also
        // when whoever asked first has gone away.
        let turn = self.0.turns.take(&once).await;
        let (authority, caller) = (self.clone(), caller.clone());
        let issuing = async move {
            let _turn = turn;
            match authority.earlier_credential(&caller, &once).await? {
                Some(credential) => Ok(credential),
                None => authority.issue(&caller).await,
            }
        };
        let issued = tokio::spawn(issuing.in_current_span());
        issued.await.map_err(|_| Problem::Internal)?
    }

    async fn earlier_credential(&self, caller: &Caller, once: &Once) -> Answer<Option<Credential>> {
        let allowed = self.gate(caller.actor(), Action::GetCredential).await?;
        let kept = query::kept(self.view(allowed)?, once.id())?.filter(|kept| !kept.is_over(self.now()));
        match kept.map(|kept| kept.matching(once)).transpose() {
            Ok(None) => Ok(None),
            Ok(Some(receipt)) => credential_of(receipt).map(Some),
            Err(refused) => {
                let refusal = Operation::Refused(Action::GetCredential, refused.code());
                self.execute(*caller.actor(), refusal).await?;
                Err(refused)
            }
        }
    }

    async fn issue(&self, caller: &Caller) -> Answer<Credential> {
        let place =
            Arc::clone(&self.0.at_the_vault).try_acquire_owned().map_err(|_| Problem::unavailable())?;
        for _ in 0..TRIES {
            let allowed = self.gate(caller.actor(), Action::GetCredential).await?;
            let member = query::member(self.view(allowed)?, &caller.identifier())?;
            let attributes = member.map(|member| member.attributes).unwrap_or_default();
            // One issuer from the draft to the signature, whatever is put in place meanwhile.
            let issuer = self.issuer();
            let draft = self.draft(&issuer, caller, &attributes)?;
            let intent = Intent {
                hash: draft.hash(),
                subject: caller.identifier(),
                attributes,
                expires_at: draft.expires_at(),
            };
            let applied = self.execute(*caller.actor(), Operation::Intend(intent)).await?;
            if applied.changed == 0 {
                continue;
            }
            let (authority, caller) = (self.clone(), caller.clone());
            let signing = async move {
                let signed = authority.sign(&issuer, draft, &caller).await;
                drop(place);
                signed
            };
            let signed = tokio::spawn(signing.in_current_span());
            return signed.await.map_err(|_| Problem::Internal)?;
        }
        Err(Problem::unavailable())
    }

    fn draft(
        &self,
        issuer: &IssuerKeys,
        caller: &Caller,
        attributes: &MemberAttributes,
    ) -> Answer<CredentialDraft> {
        if self.0.halted.load(Ordering::SeqCst) {
            return Err(Problem::unavailable());
        }
        let settings = &self.0.settings;
        let project = settings.say_project.then_some((PROJECT_ATTRIBUTE, settings.project.as_str()));
        // The project last: no member's attribute replaces it.
        let all = Attributes::new(MEMBER_SCHEMA, attributes.iter().chain(project))?;
        issuer.draft(caller.identity(), &all, self.now(), settings.credential_seconds).map_err(|error| {
            match error.refusal() {
                Some(refusal) => {
                    tracing::error!(%refusal, "the credential key has to be attested anew before more can be issued");
                    Problem::unavailable()
                }
                None => error.into(),
            }
        })
    }

    async fn sign(&self, issuer: &IssuerKeys, draft: CredentialDraft, caller: &Caller) -> Answer<Credential> {
        let hash = draft.hash();
        let begin = Instant::now();
        let signed = draft.sign(issuer.signer()).await;
        let outcome = match &signed {
            Ok(_) => "ok",
            Err(error) => error.vault_error().map_or("internal", |error| error.kind().name()),
        };
        self.metrics().vault_call("sign", outcome, begin.elapsed());
        let credential = match signed {
            Ok(credential) => credential,
            Err(error) => {
                if certainly_unsigned(&error) {
                    self.execute(*caller.actor(), Operation::Abandon(hash)).await?;
                }
                if error.kind() == identity::Kind::Vault(Kind::Corrupt) {
                    // The key is not the one that was recorded. Nothing is signed until an operator has looked.
                    self.0.halted.store(true, Ordering::SeqCst);
                }
                return Err(error.into());
            }
        };
        let receipt = Receipt::Credential(credential.encode().map_err(|_| Problem::Internal)?);
        match self.execute_for(caller, Operation::Issued(hash), receipt).await?.receipt {
            None => {
                self.metrics().credential_issued();
                Ok(credential)
            }
            Some(receipt) => credential_of(receipt),
        }
    }
}

fn credential_of(receipt: Receipt) -> Answer<Credential> {
    match receipt {
        Receipt::Credential(bytes) => Credential::decode(&bytes).map_err(|_| Problem::Internal),
        _ => Err(Problem::Internal),
    }
}

/// Whether a failure to sign leaves no signature behind. If in doubt it does: then the intent stays, as an orphan.
fn certainly_unsigned(error: &identity::Error) -> bool {
    let Some(vault) = error.vault_error() else {
        return true;
    };
    let before_signing = match vault.kind() {
        Kind::Invalid | Kind::Unsupported | Kind::NotFound | Kind::AlreadyExists => true,
        Kind::Denied | Kind::Presence | Kind::Exhausted | Kind::Unavailable => true,
        Kind::Rejected | Kind::Corrupt | Kind::Backend => false,
    };
    before_signing && vault.retry() != Retry::Indeterminate
}
