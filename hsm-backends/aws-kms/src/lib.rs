//! Keys in the key management service of AWS: made there, used there, never exported.
//!
//! ```text
//! awskms:region=eu-west-1                                                        a vault
//! awskms:region=eu-west-1;namespace=prod?profile=ca&deletion-days=30             another
//! awskms:region=eu-west-1;key-id=1234abcd-12ab-34cd-56ef-1234567890ab;name=issuer    a key in the first
//! ```
//!
//! [`AwsKmsBackend`] opens an [`AwsKmsVault`]. What stands between a caller and KMS:
//!
//! ```text
//! caller ── future ── thread of the vault, with a runtime ── SDK: credentials, signatures, retries ── TLS ── KMS
//!              └────── deadline: answered then, whatever the network does
//! ```
//!
//! * A vault is a namespace in a region of an account: its keys have aliases `alias/ockam-kms/NAMESPACE/NAME`. Keys are
//!   found by name, alias or id, never by going through those of the account; once found they are used by id.
//! * P-256 is signed as a digest that is made here; Ed25519 as the message, which KMS limits to 4096 bytes. What is sealed is
//!   sealed here, under a data key of KMS.
//! * A key is used only when KMS made it, keeps it in this region and lets it do one thing.
//! * What is destroyed is deleted by KMS after a week or more, and can be had back until then.
//!
//! One thing is out of our hands: the SDK's and the HTTP library's buffers, through which data keys and shared secrets come,
//! are not wiped.

mod address;
mod backend;
mod client;
mod desk;
mod encoding;
mod ending;
mod envelope;
mod errors;
mod keys;
mod making;
mod operations;
mod quirks;
mod tags;
mod vault;

pub use backend::AwsKmsBackend;
pub use vault::AwsKmsVault;
