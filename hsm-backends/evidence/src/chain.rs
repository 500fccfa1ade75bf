//! From a device's certificate up to one that the verifier trusts (RFC 5280 §6, as far as devices need it).

use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::error::{Error, Result};

/// The most certificates that a verifier trusts.
const MAX_ANCHORS: usize = 64;

/// The certificates that a verifier trusts: of manufacturers, and of who certifies attestation keys of TPMs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(Vec<Vec<u8>>);

impl Anchors {
    /// Nobody is trusted: what devices sign is refused.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// [`Kind::Malformed`](crate::Kind::Malformed) when there is none in it, or one is no certificate.
    pub fn from_pem(text: &[u8]) -> Result<Self> {
        let mut anchors = Vec::new();
        for block in Pem::iter_from_buffer(text) {
            let block = block.map_err(|_| Error::malformed("the file of certificates is no PEM"))?;
            if block.label != "CERTIFICATE" {
                continue;
            }
            parse(&block.contents)?;
            anchors.push(block.contents);
        }
        match anchors.len() {
            0 => Err(Error::malformed("there is no certificate in the file")),
            many if many > MAX_ANCHORS => {
                Err(Error::malformed(format!("there are more than {MAX_ANCHORS} certificates in the file")))
            }
            _ => Ok(Self(anchors)),
        }
    }
}

/// A certificate, and nothing after it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) if is_written_in_one_way(der) => Ok(certificate),
        _ => Err(Error::malformed("a certificate of the device does not parse")),
    }
}

/// That what nothing signs of a certificate could not be written in another way: a sequence of what is signed, the algorithm,
/// which is the one inside byte for byte, and a signature of whole bytes (RFC 5280 §4.1.1).
fn is_written_in_one_way(der: &[u8]) -> bool {
    let parts = || {
        let (whole, _) = element(der).filter(|(whole, _)| whole.first() == Some(&0x30))?;
        let (signed, rest) = element(inside(whole))?;
        let (algorithm, rest) = element(rest)?;
        let (signature, rest) = element(rest)?;
        rest.is_empty().then_some((signed, algorithm, signature))
    };
    let Some((signed, beside, signature)) = parts() else { return false };
    // version [0], which the first version leaves out; serial number; signature.
    let mut rest = inside(signed);
    if rest.first() == Some(&0xa0) {
        rest = element(rest).map_or(&[][..], |(_, rest)| rest);
    }
    let within = element(rest).and_then(|(_, rest)| element(rest)).map(|(within, _)| within);
    within == Some(beside) && signature.first() == Some(&0x03) && inside(signature).first() == Some(&0)
}

/// The first element of DER, whole, and what comes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, _) = Any::from_der(der).ok()?;
    der.split_at_checked(der.len().checked_sub(rest.len())?)
}

/// The content of an element.
fn inside(element: &[u8]) -> &[u8] {
    Any::from_der(element).map_or(&[], |(_, any)| any.data)
}

/// Checks that the first certificate was issued by the second, that by the third, and so on, and the last by an anchor (or is
/// one), all of them good at this time.
pub(crate) fn verify(chain: &[&X509Certificate<'_>], anchors: &Anchors, at: u64) -> Result<()> {
    let moment = i64::try_from(at).ok().and_then(|at| ASN1Time::from_timestamp(at).ok());
    let moment = moment.ok_or_else(|| Error::refused("the time is out of range"))?;
    let last = chain.last().ok_or_else(|| Error::refused("nobody has certified the device's key"))?;
    for certificate in chain {
        may_be_read(certificate, moment)?;
    }
    for (above, (certificate, issuer)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
        if !issued(certificate, issuer, above) {
            return Err(Error::refused("a certificate of the device was not issued by the one above it"));
        }
    }
    let below = chain.len().saturating_sub(1);
    for anchor in &anchors.0 {
        let anchor = parse(anchor)?;
        let same = anchor.as_raw() == last.as_raw();
        if (same && below > 0) || (may_be_read(&anchor, moment).is_ok() && issued(last, &anchor, below)) {
            return Ok(());
        }
    }
    Err(Error::refused("the device's certificate leads to none that is trusted"))
}

/// That a certificate is good at this time, and demands nothing that is not understood here.
fn may_be_read(certificate: &X509Certificate<'_>, moment: ASN1Time) -> Result<()> {
    if !certificate.validity().is_valid_at(moment) {
        return Err(Error::refused("a certificate of the device is not good at this time"));
    }
    for extension in certificate.extensions().iter().filter(|extension| extension.critical) {
        let understood = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        );
        if !understood {
            return Err(Error::refused(format!(
                "a certificate of the device demands something unknown ({})",
                extension.oid
            )));
        }
    }
    Ok(())
}

/// That `issuer` may issue certificates, with this many of other issuers below, and did issue this one.
fn issued(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>, below: usize) -> bool {
    let Ok(Some(constraints)) = issuer.basic_constraints() else { return false };
    let short = constraints
        .value
        .path_len_constraint
        .is_none_or(|most| usize::try_from(most).is_ok_and(|most| below <= most));
    let signs = match issuer.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => false,
    };
    constraints.value.ca
        && short
        && signs
        && certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// The public key of a certificate, as bytes of [`vault::VerifyingKey`]: 65 for P-256, 32 for Ed25519.
pub(crate) fn public_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    let info = certificate.public_key();
    let parameters = info.algorithm.parameters.as_ref();
    let fits = match info.algorithm.algorithm.to_id_string().as_str() {
        // id-ecPublicKey with prime256v1 (RFC 5480 §2.1.1).
        "1.2.840.10045.2.1" => parameters
            .and_then(|curve| curve.as_oid().ok())
            .is_some_and(|curve| curve.to_id_string() == "1.2.840.10045.3.1.7"),
        // id-Ed25519 (RFC 8410 §3).
        "1.3.101.112" => parameters.is_none(),
        _ => false,
    };
    fits.then(|| info.subject_public_key.data.to_vec())
}

/// What an extension says, if it is there once.
pub(crate) fn extension<'a>(certificate: &'a X509Certificate<'_>, oid: &str) -> Option<&'a [u8]> {
    let mut found = certificate.extensions().iter().filter(|extension| extension.oid.to_id_string() == oid);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only.value),
        _ => None,
    }
}
