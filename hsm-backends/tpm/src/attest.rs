//! Evidence about keys: TPM2_Certify (TPM 2.0 Part 3, 18.2), by a restricted key that says nothing but what the TPM knows,
//! and the certificates of that key, which somebody issued who saw that it is a TPM's (docs/backends/tpm.md).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tss_esapi::structures::{AttestInfo, Data, Public, SignatureScheme};
use tss_esapi::traits::Marshall as _;
use vault::{Error, KeyEvidence, Kind, Result};

use crate::errors::{At as _, Done, Trouble};
use crate::link::{Link, Secrecy, Source, Ward};
use crate::template;

/// Which key certifies, and where its certificates are.
#[derive(Clone, Debug)]
pub(crate) struct Attester {
    pub(crate) key: Option<u32>,
    pub(crate) certificates: Option<PathBuf>,
}

/// What the TPM said of a key.
pub(crate) struct Said {
    attest: Vec<u8>,
    signature: Vec<u8>,
    public: Vec<u8>,
    /// The public half of the key that signed: a point, or the modulus of an RSA key.
    signer: Vec<u8>,
}

/// Has the TPM certify a key, for this.
pub(crate) fn certify(
    link: &mut Link,
    ward: &Ward,
    key: &Source,
    by: Option<u32>,
    point: &[u8],
    extra: &[u8],
) -> Done<Said> {
    const COMMAND: &str = "TPM2_Certify";
    let nonsense = |what: &str| Trouble::Nonsense(format!("{COMMAND}: {what}"));
    let data = Data::try_from(extra).at(COMMAND)?;
    let (public, (attest, signature), signer) = link.with_key(ward, key, |link, handle| {
        let (public, ..) =
            link.run(Secrecy::RESPONSE, "TPM2_ReadPublic", |context| context.read_public(handle))?;
        link.with_attestation_key(by, |link, signer, about| {
            template::check_attestation(about, &shown(by))?;
            // The key has one scheme, which is restricted to it.
            let done = link.run_for_two(COMMAND, |context| {
                context.certify(handle.into(), signer, data, SignatureScheme::Null)
            })?;
            Ok((public, done, public_half(about)))
        })
    })?;
    let bytes = public.marshall().at("its public area")?;
    let AttestInfo::Certify { info } = attest.attested() else {
        return Err(nonsense("another kind of statement"));
    };
    // SHA-256 is the name algorithm of every key that is used here (TPM 2.0 Part 1, 16).
    let name = [&[0x00, 0x0b][..], &Sha256::digest(&bytes)].concat();
    if info.name().value() != name || template::point(&public).as_deref() != Some(point) {
        return Err(nonsense("a statement about another key"));
    }
    if attest.extra_data().value() != extra {
        return Err(nonsense("a statement for something else"));
    }
    Ok(Said {
        attest: attest.marshall().at(COMMAND)?,
        signature: signature.marshall().at(COMMAND)?,
        public: bytes,
        signer: signer.ok_or_else(|| nonsense("a key that signs in a way that is not known here"))?,
    })
}

/// What messages call the attestation key.
fn shown(key: Option<u32>) -> String {
    key.map_or_else(|| "that the TPM derives".to_owned(), |handle| format!("{handle:#010x}"))
}

/// What a certificate for this key has in it.
fn public_half(public: &Public) -> Option<Vec<u8>> {
    match public {
        Public::Rsa { unique, .. } => Some(unique.value().to_vec()),
        Public::Ecc { .. } => template::point(public),
        _ => None,
    }
}

/// The evidence, with the certificates of who said it.
pub(crate) fn evidence(said: Said, chain: Vec<Vec<u8>>, by: &Attester) -> Result<KeyEvidence> {
    if let (Some(first), Some(path)) = (chain.first(), &by.certificates)
        && !first.windows(said.signer.len()).any(|part| part == said.signer)
    {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "the first certificate in `{}` is not that of the attestation key `{}`",
                path.display(),
                shown(by.key)
            ),
        )
        .with_hint("have that key certified, or name the one that was: `attestation-key=0x81010002` in the vault's URI"));
    }
    let Said { attest, signature, public, .. } = said;
    Ok(KeyEvidence::TpmCertify { attest, signature, public, chain })
}

/// The longest file of certificates.
const MAX_FILE: u64 = 64 * 1024;
/// The most certificates that an envelope takes (docs/formats.md).
const MAX_CHAIN: usize = 4;

impl Attester {
    /// The certificates, its own first. Read each time: they are renewed while a service runs.
    pub(crate) fn chain(&self) -> Result<Vec<Vec<u8>>> {
        let Some(path) = &self.certificates else { return Ok(Vec::new()) };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)).map_err(|e| {
            let kind = if e.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Denied };
            Error::new(kind, format!("cannot read the certificates in `{}`", path.display()))
                .with_hint("they are those of the attestation key: docs/backends/tpm.md says how to get them")
                .with_source(e)
        })?;
        pem(&text, path)
    }
}

/// The certificates of a PEM file (RFC 7468).
fn pem(text: &str, path: &Path) -> Result<Vec<Vec<u8>>> {
    let wrong = |what: &str| {
        Error::new(Kind::Invalid, format!("`{}` {what}", path.display()))
            .with_hint("it takes certificates as PEM: that of the attestation key, then those above it")
    };
    let mut chain = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
        let (body, after) =
            after.split_once("-----END CERTIFICATE-----").ok_or_else(|| wrong("ends in a certificate"))?;
        let body: String = body.split_ascii_whitespace().collect();
        chain.push(STANDARD.decode(body).map_err(|_| wrong("has a certificate that is no base64"))?);
        rest = after;
    }
    match chain.len() {
        0 => Err(wrong("holds no certificate")),
        1..=MAX_CHAIN if text.len() as u64 <= MAX_FILE => Ok(chain),
        _ => Err(wrong("holds more certificates than evidence takes, which is 4")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_from_pem() {
        let one = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let read = |text: &str| pem(text, Path::new("/x"));
        assert_eq!(read(&one("AQID\nBAU=")).unwrap(), [vec![1, 2, 3, 4, 5]]);
        assert_eq!(read(&format!("text\n{}more\n{}", one("AQ=="), one("Ag=="))).unwrap(), [vec![1], vec![2]]);
        assert_eq!(read(&one("AQ==").repeat(4)).unwrap().len(), 4);
        for bad in ["", "AQ==", "-----BEGIN CERTIFICATE-----\nAQ==", &one("A"), &one("AQ==").repeat(5)] {
            assert_eq!(read(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        let long = format!("{}{}", one("AQ=="), "x".repeat(65 * 1024));
        assert_eq!(read(&long).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_certificate_of_another_key_is_noticed() {
        let said = || Said { attest: vec![1], signature: vec![2], public: vec![3], signer: vec![7, 8, 9] };
        let by = Attester { key: Some(0x8101_0002), certificates: Some("/x".into()) };
        assert!(evidence(said(), vec![vec![0, 7, 8, 9, 0], vec![]], &by).is_ok());
        let error = evidence(said(), vec![vec![0, 7, 8, 0, 9]], &by).unwrap_err();
        assert!(error.to_string().contains("0x81010002"), "{error}");
        let bare = Attester { key: None, certificates: None };
        assert!(bare.chain().unwrap().is_empty() && evidence(said(), Vec::new(), &bare).is_ok());
    }
}
