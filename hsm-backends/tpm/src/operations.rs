//! Using keys.

use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, HashScheme, HashcheckTicket, SensitiveData, Signature as TpmSignature,
    SignatureScheme,
};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;
use vault::{P256Point, SecretBytes, Signature};
use zeroize::Zeroizing;

use crate::aead;
use crate::errors::{At as _, Done, Trouble};
use crate::keys;
use crate::link::{Link, Secrecy, Source, Ward};
use crate::pcrs::Pcrs;
use crate::template::padded;

/// Signs a digest that we made: the TPM would take at most some kilobytes of a message.
pub(crate) fn sign(link: &mut Link, ward: &Ward, key: &Source, digest: &[u8; 32]) -> Done<Signature> {
    const COMMAND: &str = "TPM2_Sign";
    let digest = Digest::try_from(digest.as_slice()).at(COMMAND)?;
    // No ticket: the key is not restricted, so the TPM need not have made the digest (TPM 2.0 Part 3, 20.2).
    let none =
        TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    let ticket = HashcheckTicket::try_from(none).at(COMMAND)?;
    let scheme = SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) };
    let signature = link.with_key(ward, key, |link, handle| {
        link.run(Secrecy::NONE, COMMAND, |context| context.sign(handle, digest, scheme, ticket))
    })?;
    let TpmSignature::EcDsa(signature) = signature else {
        return Err(Trouble::Nonsense(format!("{COMMAND}: a signature of another kind")));
    };
    let (r, s) = (padded(signature.signature_r().value()), padded(signature.signature_s().value()));
    match (r, s) {
        (Some(r), Some(s)) => Ok(Signature::ecdsa_p256_normalised(&[r, s].concat())?),
        _ => Err(Trouble::Nonsense(format!("{COMMAND}: numbers of more than 32 bytes"))),
    }
}

/// Agrees with a peer: the x-coordinate of the shared point.
pub(crate) fn agree(link: &mut Link, ward: &Ward, key: &Source, peer: &P256Point) -> Done<SecretBytes> {
    const COMMAND: &str = "TPM2_ECDH_ZGen";
    let [_, coordinates @ ..] = peer.as_bytes();
    let (x, y) = coordinates.split_at(32);
    let point = EccPoint::new(EccParameter::try_from(x).at(COMMAND)?, EccParameter::try_from(y).at(COMMAND)?);
    let shared = link.with_key(ward, key, |link, handle| {
        link.run(Secrecy::RESPONSE, COMMAND, |context| context.ecdh_z_gen(handle, point))
    })?;
    let x = padded(shared.x().value()).map(Zeroizing::new);
    let x = x.ok_or_else(|| Trouble::Nonsense(format!("{COMMAND}: a number of more than 32 bytes")))?;
    Ok(SecretBytes::new(x.to_vec()))
}

/// Has the TPM unseal the key that seals, for one operation.
pub(crate) fn unsealed(link: &mut Link, ward: &Ward, key: &Source, pcrs: Option<&Pcrs>) -> Done<SecretBytes> {
    const COMMAND: &str = "TPM2_Unseal";
    let secret: SensitiveData = link.with_key(ward, key, |link, handle| match pcrs {
        None => link.run(Secrecy::RESPONSE, COMMAND, |context| context.unseal(handle.into())),
        Some(pcrs) => link.with_policy_session(SessionType::Policy, |link, session| {
            keys::assert_policy(link, session, pcrs)?;
            link.run_in(session, Secrecy::RESPONSE, COMMAND, |context| context.unseal(handle.into()))
        }),
    })?;
    let length = secret.len();
    if length != aead::KEY {
        return Err(Trouble::Nonsense(format!("{COMMAND}: {length} bytes")));
    }
    Ok(SecretBytes::new(secret.to_vec()))
}
