//! The credential authority: admits members by ticket, issues them credentials, and keeps a log of it.
//!
//! An [`Authority`](service::Authority) is a service without a transport over a [`Store`](store::Store). A transport
//! authenticates whoever calls, presents them ([`Authority::meet`](service::Authority::meet)), and maps each [`Problem`] to
//! its own codes. Every method passes one gate ([`authz`]); what changes something passes it inside the transaction that
//! does it, together with its row in the audit log ([`audit`]). An answer means that it is durable.
//!
//! The authority's identity and credential key may live in any vault: it is given bound keys ([`issuer::IssuerKeys`]), which
//! are replaced as a whole, while it issues, when they rotate.
//!
//! ```
//! use std::sync::Arc;
//! use authority::{audit, issuer::IssuerKeys, member::MemberAttributes, service::*, store::MemoryStore, ticket::NewTicket};
//! use identity::*;
//! use vault::{Custody as _, KeyName, KeySpec, Signer, Vault, soft::SoftVault};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
//! let facet = vault.signing().expect("a software vault signs");
//! let key = async |name: &str| -> vault::Result<Signer> {
//!     Signer::bind(vault.clone(), facet.generate(&KeySpec::ed25519(KeyName::new(name)?)).await?)
//! };
//! let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000)));
//! let (now, validity) = (clock.now(), Validity::of_primary_key(clock.now()));
//!
//! // The authority: an identity, a credential key that it vouches for, a store, and one enroller it trusts from the start.
//! let (root, credentials) = (key("root").await?, key("credentials").await?);
//! let issuer = Identity::create(&root, validity).await?;
//! let purpose = PurposeKey::Credential(credentials.public().clone());
//! let year = Validity::starting(now, 365 * 86_400);
//! let attestation = PurposeKeyAttestation::attest(&issuer, &root, &purpose, year).await?;
//! let keys = IssuerKeys::new(issuer.clone(), credentials, attestation, Vec::new(), now)?;
//! let enroller = Identity::create(&key("enroller").await?, validity).await?;
//! let mut settings = Settings::new("project-1");
//! settings.pre_trusted.insert(enroller.identifier(), MemberAttributes::of([("ockam-role", "enroller")])?);
//! let store = Arc::new(MemoryStore::new(issuer.identifier(), now)?);
//! let authority = Authority::open(store.clone(), keys, settings, clock).await?;
//!
//! // The enroller has a ticket made, a stranger becomes a member by it and gets a credential. The transport has checked who
//! // they are.
//! let enroller = authority.meet(enroller).await?;
//! let attributes = MemberAttributes::of([("kind", "sensor")])?;
//! let made = authority.make_ticket(&enroller, NewTicket::new(attributes, None, None)?).await?;
//! let stranger = authority.meet(Identity::create(&key("stranger").await?, validity).await?).await?;
//! authority.enrol(&stranger, &made.code).await?;
//! let credential = authority.credential(&stranger).await?;
//!
//! // Somebody else checks it, with what the authority publishes.
//! let verified = verify(&credential, &authority.issuer_bundle(), None, now, Rule::default())?;
//! assert_eq!(verified.attributes().get("kind"), Some("sensor"));
//! let lines: Vec<String> = audit::export(store).collect::<authority::Result<_>>()?;
//! assert_eq!(audit::verify(&lines, None)?.rows(), 7);
//! # Ok(()) }
//! ```

mod attempts;
pub mod audit;
pub mod authz;
pub mod client;
pub mod enrolment;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod guesses;
pub mod http;
pub mod issuer;
pub mod member;
pub mod metrics;
pub mod ockam;
pub mod once;
mod problem;
pub mod service;
pub mod store;
pub mod threads;
pub mod ticket;

pub use error::{Error, Kind, Result};
pub use problem::{Needs, Problem};
