//! Public keys and signatures as KMS writes them: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) and `ECDSA-Sig-Value` (RFC 3279 §2.2.3)
//! in DER. A public key of a known curve has one encoding, so it is compared and not parsed.

use vault::{AgreementKey, Algorithm, Error, Kind, Result, Signature, VerifyingKey};

/// id-ecPublicKey, prime256v1, and 65 bytes of an uncompressed point (RFC 5480 §2).
const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// id-Ed25519, and 32 bytes (RFC 8410 §4).
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

fn prefix(algorithm: Algorithm) -> &'static [u8] {
    if algorithm == Algorithm::Ed25519 { ED25519 } else { P256 }
}

fn not_a_key(algorithm: Algorithm, length: usize) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("KMS returned {length} bytes that are no public key of type {algorithm}"),
    )
}

/// The point inside a SubjectPublicKeyInfo.
fn point(algorithm: Algorithm, spki: &[u8]) -> Result<&[u8]> {
    spki.strip_prefix(prefix(algorithm)).ok_or_else(|| not_a_key(algorithm, spki.len()))
}

/// The public half of a signing key.
///
/// # Errors
/// [`Kind::Corrupt`] when it is anything but that encoding of a point of the curve.
pub(crate) fn verifying_key(algorithm: Algorithm, spki: &[u8]) -> Result<VerifyingKey> {
    VerifyingKey::from_bytes(algorithm, point(algorithm, spki)?)
        .map_err(|e| not_a_key(algorithm, spki.len()).with_source(e))
}

/// The public half of an agreement key.
///
/// # Errors
/// As [`verifying_key`].
pub(crate) fn agreement_key(algorithm: Algorithm, spki: &[u8]) -> Result<AgreementKey> {
    AgreementKey::from_bytes(algorithm, point(algorithm, spki)?)
        .map_err(|e| not_a_key(algorithm, spki.len()).with_source(e))
}

/// A peer's key, as `DeriveSharedSecret` takes it.
pub(crate) fn spki(peer: &AgreementKey) -> Vec<u8> {
    [prefix(peer.algorithm()), peer.as_bytes()].concat()
}

/// A signature as KMS returns it.
///
/// # Errors
/// [`Kind::Backend`] when it is none.
pub(crate) fn signature(algorithm: Algorithm, bytes: &[u8]) -> Result<Signature> {
    let none = || {
        let text = format!("KMS returned {} bytes that are no {algorithm} signature", bytes.len());
        Error::new(Kind::Backend, text)
    };
    if algorithm == Algorithm::Ed25519 {
        return bytes.try_into().map(Signature::Ed25519).map_err(|_| none());
    }
    let der = p256::ecdsa::DerSignature::from_bytes(bytes).map_err(|_| none())?;
    let parsed = p256::ecdsa::Signature::try_from(der).map_err(|_| none())?;
    Signature::ecdsa_p256_normalised(&parsed.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base point, as a key.
    fn base() -> Vec<u8> {
        hex::decode(
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        )
        .unwrap()
    }

    #[test]
    fn a_public_key_has_one_encoding() {
        let good = [P256, &base()].concat();
        assert_eq!(verifying_key(Algorithm::EcdsaP256, &good).unwrap().as_bytes(), base());
        let agreement = agreement_key(Algorithm::EcdhP256, &good).unwrap();
        assert_eq!(spki(&agreement), good);
        let ed = [ED25519, &[9; 32]].concat();
        assert!(verifying_key(Algorithm::Ed25519, &ed).is_ok());
        let mut off_curve = good.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        let longer = [good.as_slice(), &[0]].concat();
        for bad in [
            &off_curve,
            &longer,
            &good[1..].to_vec(),
            &good[..90].to_vec(),
            &ed,
            &Vec::new(),
            &vec![0; 10_000],
        ] {
            assert_eq!(verifying_key(Algorithm::EcdsaP256, bad).unwrap_err().kind(), Kind::Corrupt);
            assert_eq!(agreement_key(Algorithm::EcdhP256, bad).unwrap_err().kind(), Kind::Corrupt);
        }
        assert_eq!(verifying_key(Algorithm::Ed25519, &good).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(verifying_key(Algorithm::Ed25519, &ed[..43]).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn a_signature_is_der_and_comes_out_low() {
        // r = 1, s = 2.
        let small = b"\x30\x06\x02\x01\x01\x02\x01\x02";
        let read = signature(Algorithm::EcdsaP256, small).unwrap();
        assert_eq!((read.as_bytes()[31], read.as_bytes()[63]), (1, 2));
        // s = n - 2 is brought down to 2.
        let n_less_2 =
            hex::decode("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254f").unwrap();
        let high = [b"\x30\x26\x02\x01\x01\x02\x21".as_slice(), &n_less_2].concat();
        assert_eq!(signature(Algorithm::EcdsaP256, &high).unwrap(), read);
        for bad in [
            b"".as_slice(),
            &small[..7],
            &[small.as_slice(), &[0]].concat(),
            b"\x30\x06\x02\x01\x00\x02\x01\x02",
            b"\x30\x07\x02\x02\x00\x01\x02\x01\x02",
            b"\x30\x81\x06\x02\x01\x01\x02\x01\x02",
            &[0; 64],
            &[0xff; 10_000],
        ] {
            assert_eq!(signature(Algorithm::EcdsaP256, bad).unwrap_err().kind(), Kind::Backend, "{bad:?}");
        }
        assert!(signature(Algorithm::Ed25519, &[1; 64]).is_ok());
        for length in [0, 63, 65, 10_000] {
            let error = signature(Algorithm::Ed25519, &vec![1; length]).unwrap_err();
            assert_eq!(error.kind(), Kind::Backend);
        }
    }
}
