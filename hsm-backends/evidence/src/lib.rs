//! What devices say of their keys, judged without the devices.
//!
//! A backend gathers a device's evidence about a key ([`vault::KeyEvidence`]); [`KeyAttestation`] is the envelope that is
//! stored with the key and sent to others; [`KeyAttestation::verify`] turns it into [`KeyFacts`], offline, with nothing but
//! the certificates that the verifier trusts. The facts have names as attributes, so that a policy can ask for them.
//!
//! | evidence | signed by | at best |
//! |---|---|---|
//! | TPM2_Certify | an attestation key of the TPM, certified by a CA that is trusted | `attested` |
//! | PIV slot attestation | the device's own key, certified by the manufacturer | `attested` |
//! | attributes of a PKCS#11 token | nobody: whoever has the token's module can say anything | `hardware` |
//! | what AWS KMS says of a key | nobody: the connection is the evidence | `hardware` |
//!
//! ```
//! use evidence::{Anchors, KeyAttestation};
//! use vault::{Algorithm, KeyEvidence, VerifyingKey};
//!
//! # fn main() -> evidence::Result<()> {
//! # let point: [u8; 32] = [0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
//! #     0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66];
//! let public = VerifyingKey::from_bytes(Algorithm::Ed25519, &point).expect("a point");
//! let said = KeyEvidence::KmsOrigin {
//!     arn: "arn:aws:kms:eu-west-1:111122223333:key/1234".to_owned(),
//!     origin: "AWS_KMS".to_owned(),
//!     spec: "ECC_NIST_EDWARDS25519".to_owned(),
//!     multi_region: false,
//! };
//! let sent = KeyAttestation::new(public, said, 1_700_000_000).encode()?;
//! let facts = KeyAttestation::decode(&sent)?.verify(&Anchors::none(), 1_700_000_060)?;
//! assert_eq!(facts.attributes()[0], ("key.protection", "hardware"));
//! # Ok(()) }
//! ```

mod chain;
mod envelope;
mod error;
mod facts;
mod piv;
mod said;
mod tpm;

pub use chain::Anchors;
pub use envelope::{KeyAttestation, MAX_BYTES};
pub use error::{Error, Kind, Result};
pub use facts::{KeyFacts, Protection, Touch, Weakness};
