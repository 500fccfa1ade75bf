//! Evidence about keys: what a device says of where a key lives and whether it can leave, in the device's own words. It is
//! gathered here and judged elsewhere, without the device (`ockam-kms-evidence`).

use crate::facet::Pending;
use crate::handle::KeyHandle;
use crate::purpose::Signing;

/// Gathering evidence about a signing key.
pub trait AttestationFacet: Send + Sync {
    /// What the device says of this key. Where the device signs what it says, it signs over [`binding`] as well, if its
    /// format has room for that.
    fn attest<'a>(&'a self, key: &'a KeyHandle<Signing>) -> Pending<'a, KeyEvidence>;
}

/// What a device says of one of its keys, by the kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvidence {
    /// TPM 2.0 Part 3, TPM2_Certify: a statement signed by an attestation key of the same TPM.
    TpmCertify {
        /// `TPMS_ATTEST`, marshalled.
        attest: Vec<u8>,
        /// `TPMT_SIGNATURE` over it, marshalled.
        signature: Vec<u8>,
        /// `TPMT_PUBLIC` of the key, marshalled.
        public: Vec<u8>,
        /// Certificate of the attestation key, and those above it, in DER; nothing when nobody has certified it.
        chain: Vec<Vec<u8>>,
    },
    /// PIV slot attestation: a certificate for the key, issued by the device.
    PivAttestation {
        /// The certificate of the slot, in DER.
        certificate: Vec<u8>,
        /// The certificate of the device that issued it (slot f9), in DER.
        intermediate: Vec<u8>,
    },
    /// What a PKCS#11 token says of the attributes of the private key. Nothing signs it.
    Pkcs11Attributes {
        /// Manufacturer, model, serial number and firmware version of the token.
        token: Vec<(String, String)>,
        /// Attributes of the private key by their names in PKCS#11, `true` or `false`.
        attributes: Vec<(String, bool)>,
        /// Whether the token says that it does the key's mechanism in hardware (`CKF_HW`).
        hardware: bool,
    },
    /// What AWS KMS says of the key. Nothing signs it but the connection it came over.
    KmsOrigin {
        /// The key's ARN.
        arn: String,
        /// `AWS_KMS`, `EXTERNAL`, `AWS_CLOUDHSM` or `EXTERNAL_KEY_STORE`.
        origin: String,
        /// The kind of key: `ECC_NIST_P256`, ….
        spec: String,
        /// Whether replicas in other regions are possible.
        multi_region: bool,
    },
}

/// What a device that lets us choose a few bytes of what it signs is given: SHA-256 over
/// `ockam-kms key attestation v1`, a zero byte, and the public key.
#[must_use]
pub fn binding(public: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::new().chain_update(b"ockam-kms key attestation v1\0").chain_update(public).finalize().into()
}
