//! TPM2_Certify (TPM 2.0 Part 3 §18.2; structures of Part 2): an attestation key says of another object of its TPM which
//! name it has, and the name is a hash of what the object is and may do.

use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use vault::{VerifyingKey, binding};
use x509_parser::certificate::X509Certificate;

use crate::chain::{self, Anchors, parse, public_key};
use crate::error::{Error, Result};
use crate::facts::{KeyFacts, Protection, Touch, Weakness};

// Part 2 §6: constants.
const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ECC_NIST_P256: u16 = 0x0003;
// Part 2 §8.3: attributes of an object.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
/// tcg-kp-AIKCertificate: what the certificate of an attestation key says it is for.
const ATTESTATION_KEY: &str = "2.23.133.8.3";

pub(crate) fn verify(
    key: &VerifyingKey,
    attest: &[u8],
    signature: &[u8],
    public: &[u8],
    certificates: &[Vec<u8>],
    anchors: &Anchors,
    at: u64,
) -> Result<KeyFacts> {
    let object = Object::parse(public)?;
    if object.point.as_slice() != key.as_bytes() {
        return Err(Error::refused("the TPM describes another key"));
    }
    let certified = Certified::parse(attest)?;
    let name = [&ALG_SHA256.to_be_bytes()[..], &Sha256::digest(public)].concat();
    if certified.name != name {
        return Err(Error::refused("the TPM certified another object"));
    }
    if certified.extra != binding(key.as_bytes()) {
        return Err(Error::refused("the TPM certified the key for something else"));
    }
    let exportable = object.attributes & (FIXED_TPM | FIXED_PARENT) != FIXED_TPM | FIXED_PARENT
        || object.attributes & SENSITIVE_DATA_ORIGIN == 0;
    if object.attributes & SIGN == 0 || object.attributes & (DECRYPT | RESTRICTED) != 0 {
        return Err(Error::refused("the TPM describes a key that is not for signing alone"));
    }
    let firmware = certified.firmware;
    let facts = |protection| KeyFacts {
        protection,
        exportable,
        touch: Touch::Never,
        // The statement does not name the maker, and hides the version under most keys (TPM 2.0 Part 3, 18.1).
        weakness: Weakness::Unknown,
        device: vec![("firmware".to_owned(), format!("{firmware:016x}"))],
    };
    // Nobody has certified the key that signed: then anybody can have signed.
    if certificates.is_empty() {
        return Ok(facts(Protection::Hardware));
    }
    let chain = certificates.iter().map(|der| parse(der)).collect::<Result<Vec<_>>>()?;
    let chain: Vec<_> = chain.iter().collect();
    chain::verify(&chain, anchors, at)?;
    let attestation_key =
        chain.first().ok_or_else(|| Error::refused("nobody has certified the TPM's key"))?;
    let usage = attestation_key.extended_key_usage().ok().flatten();
    let attests =
        usage.is_some_and(|usage| usage.value.other.iter().any(|oid| oid.to_id_string() == ATTESTATION_KEY));
    if !attests {
        return Err(Error::refused("the certificate is not that of a TPM's attestation key"));
    }
    if !signed(attestation_key, attest, signature)? {
        return Err(Error::refused("the TPM's signature does not hold"));
    }
    Ok(facts(Protection::Attested))
}

/// `TPMT_SIGNATURE` (Part 2 §11.3.4) over `attest`, by the key of the certificate.
fn signed(certificate: &X509Certificate<'_>, attest: &[u8], signature: &[u8]) -> Result<bool> {
    let mut reader = Reader(signature);
    let scheme = reader.u16()?;
    if reader.u16()? != ALG_SHA256 {
        return Err(Error::refused("the TPM signed by another hash than SHA-256"));
    }
    match scheme {
        ALG_ECDSA => {
            let both = [fixed(reader.sized(32)?)?, fixed(reader.sized(32)?)?].concat();
            reader.end()?;
            let Some(point) = public_key(certificate).filter(|point| point.len() == 65) else {
                return Ok(false);
            };
            Ok(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(attest, &both).is_ok())
        }
        ALG_RSASSA => {
            let bytes = reader.sized(1024)?;
            reader.end()?;
            let info = certificate.public_key();
            // rsaEncryption (RFC 3279 §2.3.1).
            if info.algorithm.algorithm.to_id_string() != "1.2.840.113549.1.1.1" {
                return Ok(false);
            }
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &info.subject_public_key.data);
            Ok(key.verify(attest, bytes).is_ok())
        }
        _ => Err(Error::refused("the TPM signed by an unknown scheme")),
    }
}

/// A number of a TPM, which may come without its leading zeros, as 32 bytes.
fn fixed(number: &[u8]) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let start = bytes.len().checked_sub(number.len()).ok_or_else(shape)?;
    bytes.get_mut(start..).ok_or_else(shape)?.copy_from_slice(number);
    Ok(bytes)
}

/// `TPMS_ATTEST` with `TPMS_CERTIFY_INFO` (Part 2 §10.12).
struct Certified<'a> {
    extra: &'a [u8],
    firmware: u64,
    name: &'a [u8],
}

impl<'a> Certified<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        if reader.u32()? != GENERATED {
            return Err(Error::refused("what was signed was not made by a TPM"));
        }
        if reader.u16()? != ST_ATTEST_CERTIFY {
            return Err(Error::refused("the TPM says something else than what a key is"));
        }
        let _signer = reader.sized(68)?;
        let extra = reader.sized(64)?;
        // Clock, counters of resets and restarts, and whether the clock can be trusted.
        reader.take(17)?;
        let firmware = u64::from(reader.u32()?) << 32 | u64::from(reader.u32()?);
        let name = reader.sized(68)?;
        let _qualified = reader.sized(68)?;
        reader.end()?;
        Ok(Self { extra, firmware, name })
    }
}

/// `TPMT_PUBLIC` of an elliptic-curve key (Part 2 §12.2.4).
struct Object {
    attributes: u32,
    point: [u8; 65],
}

impl Object {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let (kind, hash) = (reader.u16()?, reader.u16()?);
        if kind != ALG_ECC || hash != ALG_SHA256 {
            return Err(Error::refused("the TPM describes a key of another kind"));
        }
        let attributes = reader.u32()?;
        let _policy = reader.sized(64)?;
        if reader.u16()? != ALG_NULL {
            return Err(Error::refused("the TPM describes a key that is not for signing alone"));
        }
        if reader.u16()? != ALG_NULL {
            // The hash of the scheme.
            reader.u16()?;
        }
        let curve = reader.u16()?;
        if reader.u16()? != ALG_NULL {
            reader.u16()?;
        }
        let (x, y) = (fixed(reader.sized(32)?)?, fixed(reader.sized(32)?)?);
        reader.end()?;
        if curve != ECC_NIST_P256 {
            return Err(Error::refused("the TPM describes a key on another curve"));
        }
        let mut point = [4; 65];
        for (place, byte) in point.iter_mut().skip(1).zip(x.into_iter().chain(y)) {
            *place = byte;
        }
        Ok(Self { attributes, point })
    }
}

fn shape() -> Error {
    Error::malformed("what the TPM wrote does not parse")
}

/// Big-endian numbers and sized buffers, and never more than there is.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(shape)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| shape())
    }

    fn u32(&mut self) -> Result<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).map_err(|_| shape())
    }

    /// `TPM2B_…`: a length and as many bytes.
    fn sized(&mut self, most: usize) -> Result<&'a [u8]> {
        let length = usize::from(self.u16()?);
        if length > most { Err(shape()) } else { self.take(length) }
    }

    fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(shape()) }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        PKCS_ECDSA_P256_SHA256,
    };
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use vault::{Algorithm, KeyEvidence};

    use super::*;
    use crate::{KeyAttestation, Kind};

    const NOW: u64 = 1_760_000_000;
    const GOOD: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | SIGN | (1 << 6);

    /// What a TPM would write, field by field, so that each can be wrong.
    #[derive(Clone)]
    struct Says {
        magic: u32,
        kind: u16,
        extra: Option<Vec<u8>>,
        name: Option<Vec<u8>>,
        attributes: u32,
        curve: u16,
        usage: ExtendedKeyUsagePurpose,
        flip: bool,
    }

    impl Says {
        fn good() -> Self {
            Self {
                magic: GENERATED,
                kind: ST_ATTEST_CERTIFY,
                extra: None,
                name: None,
                attributes: GOOD,
                curve: ECC_NIST_P256,
                usage: ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3]),
                flip: false,
            }
        }
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn made(says: &Says) -> (KeyAttestation, Anchors) {
        let secret = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
        let point = secret.verifying_key().to_sec1_point(false);
        let key = VerifyingKey::from_bytes(Algorithm::EcdsaP256, point.as_bytes()).unwrap();
        let number = |number: u16| number.to_be_bytes().to_vec();
        let public = [
            number(ALG_ECC),
            number(ALG_SHA256),
            says.attributes.to_be_bytes().to_vec(),
            sized(&[]),
            number(ALG_NULL),
            number(ALG_ECDSA),
            number(ALG_SHA256),
            number(says.curve),
            number(ALG_NULL),
            sized(&point.as_bytes()[1..33]),
            sized(&point.as_bytes()[33..]),
        ]
        .concat();
        let name = [&number(ALG_SHA256)[..], &Sha256::digest(&public)].concat();
        let attest = [
            says.magic.to_be_bytes().to_vec(),
            number(says.kind),
            sized(&[1; 34]),
            sized(says.extra.as_deref().unwrap_or(&binding(key.as_bytes()))),
            vec![0; 17],
            vec![0, 1, 2, 3, 4, 5, 6, 7],
            sized(says.name.as_deref().unwrap_or(&name)),
            sized(&[2; 34]),
        ]
        .concat();
        let pair = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let root_key = pair();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_certificate = root.self_signed(&root_key).unwrap();
        let attestation_key = pair();
        let mut leaf = CertificateParams::new(Vec::new()).unwrap();
        leaf.extended_key_usages = vec![says.usage.clone()];
        let leaf = leaf.signed_by(&attestation_key, &Issuer::new(root, &root_key)).unwrap();
        // The certificate's key signs, as the TPM would.
        let random = ring::rand::SystemRandom::new();
        let der = attestation_key.serialize_der();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
        let mut bytes = signer.sign(&random, &attest).unwrap().as_ref().to_vec();
        bytes[63] ^= u8::from(says.flip);
        let signature =
            [number(ALG_ECDSA), number(ALG_SHA256), sized(&bytes[..32]), sized(&bytes[32..])].concat();
        let chain = vec![leaf.der().to_vec()];
        let evidence = KeyEvidence::TpmCertify { attest, signature, public, chain };
        let anchors = Anchors::from_pem(root_certificate.pem().as_bytes()).unwrap();
        (KeyAttestation::new(key, evidence, NOW), anchors)
    }

    #[test]
    fn a_key_that_its_tpm_certifies() {
        let (attestation, anchors) = made(&Says::good());
        let facts = attestation.verify(&anchors, NOW).unwrap();
        assert_eq!((facts.protection, facts.exportable), (Protection::Attested, false));
        assert_eq!(facts.device, [("firmware".to_owned(), "0001020304050607".to_owned())]);
    }

    #[test]
    fn a_key_that_may_leave_is_said_to() {
        for missing in [FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN] {
            let (attestation, anchors) = made(&Says { attributes: GOOD & !missing, ..Says::good() });
            assert!(attestation.verify(&anchors, NOW).unwrap().exportable);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let good = Says::good;
        for (says, words) in [
            (Says { magic: 0, ..good() }, "not made by a TPM"),
            (Says { kind: 0x8018, ..good() }, "something else than what a key is"),
            (Says { extra: Some(vec![0; 32]), ..good() }, "for something else"),
            (Says { extra: Some(Vec::new()), ..good() }, "for something else"),
            (Says { name: Some(vec![0; 34]), ..good() }, "another object"),
            (Says { attributes: GOOD & !SIGN, ..good() }, "not for signing alone"),
            (Says { attributes: GOOD | DECRYPT, ..good() }, "not for signing alone"),
            (Says { attributes: GOOD | RESTRICTED, ..good() }, "not for signing alone"),
            (Says { curve: 4, ..good() }, "another curve"),
            (Says { usage: ExtendedKeyUsagePurpose::ClientAuth, ..good() }, "not that of a TPM's"),
            (Says { flip: true, ..good() }, "signature does not hold"),
        ] {
            let (attestation, anchors) = made(&says);
            let error = attestation.verify(&anchors, NOW).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        let (attestation, _) = made(&good());
        let (_, others) = made(&good());
        assert!(attestation.verify(&others, NOW).unwrap_err().to_string().contains("none that is trusted"));
    }

    #[test]
    fn without_a_certificate_it_is_only_said() {
        let (attestation, anchors) = made(&Says::good());
        let bytes = attestation.encode().unwrap();
        let KeyEvidence::TpmCertify { attest, signature, public, .. } = evidence_of(&bytes) else { panic!() };
        let bare = KeyEvidence::TpmCertify { attest, signature, public, chain: Vec::new() };
        let bare = KeyAttestation::new(attestation.public().clone(), bare, NOW);
        assert_eq!(bare.verify(&anchors, NOW).unwrap().protection, Protection::Hardware);
    }

    #[test]
    fn a_certificate_is_written_in_one_way() {
        let (attestation, anchors) = made(&Says::good());
        let KeyEvidence::TpmCertify { attest, signature, public, chain } =
            evidence_of(&attestation.encode().unwrap())
        else {
            panic!()
        };
        for place in 0..chain[0].len() {
            for bit in 0..8 {
                let mut chain = chain.clone();
                chain[0][place] ^= 1 << bit;
                let (attest, signature, public) = (attest.clone(), signature.clone(), public.clone());
                let altered = KeyEvidence::TpmCertify { attest, signature, public, chain };
                let altered = KeyAttestation::new(attestation.public().clone(), altered, NOW);
                assert!(altered.verify(&anchors, NOW).is_err(), "bit {bit} of byte {place}");
            }
        }
    }

    fn evidence_of(bytes: &[u8]) -> KeyEvidence {
        KeyAttestation::decode(bytes).unwrap().into_evidence()
    }

    #[test]
    fn what_is_cut_off_or_longer_does_not_parse() {
        let (attestation, anchors) = made(&Says::good());
        let KeyEvidence::TpmCertify { attest, signature, public, chain } =
            evidence_of(&attestation.encode().unwrap())
        else {
            panic!()
        };
        for part in 0..3 {
            let whole = [&attest, &signature, &public][part].clone();
            let longer = [whole.as_slice(), &[0]].concat();
            for altered in (0..whole.len()).map(|cut| whole[..cut].to_vec()).chain([longer]) {
                let mut parts = [attest.clone(), signature.clone(), public.clone()];
                parts[part] = altered;
                let [attest, signature, public] = parts;
                let evidence = KeyEvidence::TpmCertify { attest, signature, public, chain: chain.clone() };
                let altered = KeyAttestation::new(attestation.public().clone(), evidence, NOW);
                assert!(altered.verify(&anchors, NOW).is_err());
            }
        }
    }
}
