//! The envelope: one shape for the evidence of every kind of device (docs/formats.md, "key attestations").
//!
//! ```text
//! [1, made at (seconds), algorithm (text), public key (bytes), kind (text), parts]
//! ```
//!
//! in CBOR, with the parts as the kind wants them. What is read is bounded: [`MAX_BYTES`], [`MAX_CHAIN`], [`MAX_PAIRS`].

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use vault::{Algorithm, KeyEvidence, VerifyingKey};

use crate::chain::Anchors;
use crate::error::{Error, Result};
use crate::facts::KeyFacts;
use crate::{piv, said, tpm};

/// The most bytes of an envelope.
pub const MAX_BYTES: usize = 16 * 1024;
/// The most certificates in one.
const MAX_CHAIN: u64 = 4;
/// The most names with values in one.
const MAX_PAIRS: u64 = 32;

const VERSION: u8 = 1;
const TPM: &str = "tpm-certify";
const PIV: &str = "piv-attestation";
const PKCS11: &str = "pkcs11-attributes";
const KMS: &str = "kms-origin";

/// A device's evidence about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttestation {
    made_at: u64,
    public: VerifyingKey,
    evidence: KeyEvidence,
}

impl KeyAttestation {
    /// Evidence about the key with this public half, gathered at this time (seconds since 1970).
    #[must_use]
    pub fn new(public: VerifyingKey, evidence: KeyEvidence, made_at: u64) -> Self {
        Self { made_at, public, evidence }
    }

    /// When it was gathered, as who gathered it says: nothing proves it.
    #[must_use]
    pub fn made_at(&self) -> u64 {
        self.made_at
    }

    /// The public half of the key.
    #[must_use]
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// The evidence itself.
    #[must_use]
    pub fn into_evidence(self) -> KeyEvidence {
        self.evidence
    }

    /// Which kind of evidence it is, as a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.evidence {
            KeyEvidence::TpmCertify { .. } => TPM,
            KeyEvidence::PivAttestation { .. } => PIV,
            KeyEvidence::Pkcs11Attributes { .. } => PKCS11,
            KeyEvidence::KmsOrigin { .. } => KMS,
        }
    }

    /// Judges the evidence: it is about this key, and whoever signed it is certified by an anchor, at this time (seconds
    /// since 1970).
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when it is about another key, or a signature or certificate does not hold;
    /// [`Kind::Malformed`](crate::Kind::Malformed) when what the device wrote does not parse.
    pub fn verify(&self, anchors: &Anchors, at: u64) -> Result<KeyFacts> {
        match &self.evidence {
            KeyEvidence::TpmCertify { attest, signature, public, chain } => {
                tpm::verify(&self.public, attest, signature, public, chain, anchors, at)
            }
            KeyEvidence::PivAttestation { certificate, intermediate } => {
                piv::verify(&self.public, certificate, intermediate, anchors, at)
            }
            KeyEvidence::Pkcs11Attributes { token, attributes, hardware } => {
                said::pkcs11(token, attributes, *hardware)
            }
            KeyEvidence::KmsOrigin { arn, origin, spec, multi_region } => {
                Ok(said::kms(arn, origin, spec, *multi_region))
            }
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`Kind::Malformed`](crate::Kind::Malformed) when the evidence is larger than can be read again.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut encoder = Encoder::new(Vec::new());
        // Writing into memory does not fail.
        let written = self.write(&mut encoder).is_ok();
        let bytes = encoder.into_writer();
        // What is too large to read again, or has more parts than are read, is not written.
        if written && Self::decode(&bytes).as_ref() == Ok(self) {
            Ok(bytes)
        } else {
            Err(Error::malformed("the evidence has more parts, or more bytes, than an envelope takes"))
        }
    }

    fn write(
        &self,
        e: &mut Encoder<Vec<u8>>,
    ) -> std::result::Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let length = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
        e.array(6)?.u8(VERSION)?.u64(self.made_at)?;
        e.str(self.public.algorithm().name())?.bytes(self.public.as_bytes())?.str(self.kind())?;
        match &self.evidence {
            KeyEvidence::TpmCertify { attest, signature, public, chain } => {
                e.array(4)?.bytes(attest)?.bytes(signature)?.bytes(public)?.array(length(chain.len()))?;
                for certificate in chain {
                    e.bytes(certificate)?;
                }
            }
            KeyEvidence::PivAttestation { certificate, intermediate } => {
                e.array(2)?.bytes(certificate)?.bytes(intermediate)?;
            }
            KeyEvidence::Pkcs11Attributes { token, attributes, hardware } => {
                e.array(3)?.array(length(token.len()))?;
                for (name, value) in token {
                    e.array(2)?.str(name)?.str(value)?;
                }
                e.array(length(attributes.len()))?;
                for (name, value) in attributes {
                    e.array(2)?.str(name)?.bool(*value)?;
                }
                e.bool(*hardware)?;
            }
            KeyEvidence::KmsOrigin { arn, origin, spec, multi_region } => {
                e.array(4)?.str(arn)?.str(origin)?.str(spec)?.bool(*multi_region)?;
            }
        }
        Ok(())
    }

    /// Reads an envelope. Nothing in it is believed yet.
    ///
    /// # Errors
    /// [`Kind::Malformed`](crate::Kind::Malformed) when it is not of this shape, of a newer version, or too large.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::malformed(format!("a key attestation of more than {MAX_BYTES} bytes")));
        }
        let mut decoder = Decoder::new(bytes);
        let read = Self::read(&mut decoder)?;
        if decoder.position() != bytes.len() {
            return Err(Error::malformed("there are bytes after the end of the key attestation"));
        }
        Ok(read)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self> {
        exactly(d, 6)?;
        if d.u8().map_err(shape)? != VERSION {
            return Err(Error::malformed("the key attestation is of a newer version"));
        }
        let made_at = d.u64().map_err(shape)?;
        let algorithm: Algorithm =
            d.str().map_err(shape)?.parse().map_err(|_| Error::malformed("an unknown key type"))?;
        let public = VerifyingKey::from_bytes(algorithm, d.bytes().map_err(shape)?)
            .map_err(|_| Error::malformed("the public key is none"))?;
        let evidence = match d.str().map_err(shape)? {
            TPM => {
                exactly(d, 4)?;
                let (attest, signature, public) = (bytes(d)?, bytes(d)?, bytes(d)?);
                let chain = list(d, MAX_CHAIN, bytes)?;
                KeyEvidence::TpmCertify { attest, signature, public, chain }
            }
            PIV => {
                exactly(d, 2)?;
                KeyEvidence::PivAttestation { certificate: bytes(d)?, intermediate: bytes(d)? }
            }
            PKCS11 => {
                exactly(d, 3)?;
                let token = list(d, MAX_PAIRS, |d| exactly(d, 2).and_then(|()| Ok((text(d)?, text(d)?))))?;
                let attributes = list(d, MAX_PAIRS, |d| {
                    exactly(d, 2).and_then(|()| Ok((text(d)?, d.bool().map_err(shape)?)))
                })?;
                KeyEvidence::Pkcs11Attributes { token, attributes, hardware: d.bool().map_err(shape)? }
            }
            KMS => {
                exactly(d, 4)?;
                let (arn, origin, spec) = (text(d)?, text(d)?, text(d)?);
                KeyEvidence::KmsOrigin { arn, origin, spec, multi_region: d.bool().map_err(shape)? }
            }
            _ => return Err(Error::malformed("an unknown kind of evidence")),
        };
        Ok(Self { made_at, public, evidence })
    }
}

fn shape<E>(_: E) -> Error {
    Error::malformed("this is not a key attestation")
}

fn exactly(d: &mut Decoder<'_>, length: u64) -> Result<()> {
    if d.datatype().map_err(shape)? == Type::Array && d.array().map_err(shape)? == Some(length) {
        Ok(())
    } else {
        Err(shape(()))
    }
}

fn bytes(d: &mut Decoder<'_>) -> Result<Vec<u8>> {
    Ok(d.bytes().map_err(shape)?.to_vec())
}

fn text(d: &mut Decoder<'_>) -> Result<String> {
    let text = d.str().map_err(shape)?;
    if text.chars().any(char::is_control) {
        return Err(Error::malformed("a text in the key attestation has control characters"));
    }
    Ok(text.to_owned())
}

fn list<T>(
    d: &mut Decoder<'_>,
    most: u64,
    mut item: impl FnMut(&mut Decoder<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let length = d.array().map_err(shape)?.filter(|length| *length <= most).ok_or_else(|| shape(()))?;
    (0..length).map(|_| item(d)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public() -> VerifyingKey {
        let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let point = secret.verifying_key().to_sec1_point(false);
        VerifyingKey::from_bytes(Algorithm::EcdsaP256, point.as_bytes()).unwrap()
    }

    fn samples() -> Vec<KeyEvidence> {
        vec![
            KeyEvidence::TpmCertify {
                attest: vec![1; 100],
                signature: vec![2; 72],
                public: vec![3; 88],
                chain: vec![vec![4; 600], vec![5; 500]],
            },
            KeyEvidence::PivAttestation { certificate: vec![1; 700], intermediate: vec![2; 800] },
            KeyEvidence::Pkcs11Attributes {
                token: vec![("model".to_owned(), "m".to_owned())],
                attributes: vec![("CKA_SENSITIVE".to_owned(), true), ("CKA_EXTRACTABLE".to_owned(), false)],
                hardware: true,
            },
            KeyEvidence::KmsOrigin {
                arn: "arn:aws:kms:eu-west-1:1:key/2".to_owned(),
                origin: "AWS_KMS".to_owned(),
                spec: "ECC_NIST_P256".to_owned(),
                multi_region: false,
            },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for evidence in samples() {
            let made = KeyAttestation::new(public(), evidence, 7);
            let bytes = made.encode().unwrap();
            assert_eq!(KeyAttestation::decode(&bytes).unwrap(), made);
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(KeyAttestation::decode(&longer).is_err());
            for cut in 0..bytes.len() {
                assert!(KeyAttestation::decode(&bytes[..cut]).is_err(), "{cut} bytes");
            }
        }
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_above() {
        let chain = |length: usize| KeyEvidence::TpmCertify {
            attest: Vec::new(),
            signature: Vec::new(),
            public: Vec::new(),
            chain: vec![Vec::new(); length],
        };
        assert!(KeyAttestation::new(public(), chain(4), 0).encode().is_ok());
        assert!(KeyAttestation::new(public(), chain(5), 0).encode().is_err());
        let pairs = |length: usize| KeyEvidence::Pkcs11Attributes {
            token: vec![(String::new(), String::new()); length],
            attributes: Vec::new(),
            hardware: false,
        };
        assert!(KeyAttestation::new(public(), pairs(32), 0).encode().is_ok());
        assert!(KeyAttestation::new(public(), pairs(33), 0).encode().is_err());
        let large = |length: usize| KeyEvidence::PivAttestation {
            certificate: vec![0; length],
            intermediate: Vec::new(),
        };
        assert!(KeyAttestation::new(public(), large(MAX_BYTES - 200), 0).encode().is_ok());
        assert!(KeyAttestation::new(public(), large(MAX_BYTES), 0).encode().is_err());
        // A length that promises more than there is takes no memory.
        assert!(KeyAttestation::decode(&[0x86, 1, 0, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
    }

    proptest! {
        #[test]
        fn reading_is_total(
            which in 0..4_usize,
            place in any::<proptest::sample::Index>(),
            with in any::<u8>(),
        ) {
            let made = KeyAttestation::new(public(), samples().swap_remove(which), 7);
            let mut bytes = made.encode().unwrap();
            let place = place.index(bytes.len());
            bytes[place] = with;
            if let Ok(read) = KeyAttestation::decode(&bytes) {
                let _ = read.verify(&Anchors::none(), 0);
            }
        }
    }
}
