//! What our keys are to a TPM, and what a key has to be for us to use it.

use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::interface_types::algorithm::{EccSchemeAlgorithm, HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, KeyedHashScheme, Public,
    PublicEccParameters, PublicKeyedHashParameters, SymmetricDefinitionObject,
};
use vault::{Algorithm, Error, Kind, PurposeKind, Result};

const SHA256: HashScheme = HashScheme::new(HashingAlgorithm::Sha256);

/// The storage key: derived from the seed of the owner's hierarchy, so the same until the TPM is cleared. Without protection
/// against dictionary attacks, since it has no authorization value to find out; as the TCG's provisioning guidance (7.5.1)
/// has it.
pub(crate) fn storage() -> tss_esapi::Result<Public> {
    let attributes = made_here().with_no_da(true).with_restricted(true).with_decrypt(true).build()?;
    let parameters = PublicEccParameters::new(
        SymmetricDefinitionObject::AES_128_CFB,
        EccScheme::Null,
        EccCurve::NistP256,
        KeyDerivationFunctionScheme::Null,
    );
    ecc(attributes, parameters)
}

/// A key that signs digests of SHA-256 by ECDSA on P-256, or that agrees on P-256.
pub(crate) fn pair(purpose: PurposeKind) -> tss_esapi::Result<Public> {
    let signs = purpose == PurposeKind::Signing;
    let scheme = if signs { EccScheme::EcDsa(SHA256) } else { EccScheme::Null };
    let parameters = PublicEccParameters::new(
        SymmetricDefinitionObject::Null,
        scheme,
        EccCurve::NistP256,
        KeyDerivationFunctionScheme::Null,
    );
    ecc(made_here().with_sign_encrypt(signs).with_decrypt(!signs).build()?, parameters)
}

/// The attestation key that a TPM derives from the seed of its endorsement hierarchy: the same for as long as the TPM has
/// that seed, which outlives a clear. Restricted, so that it signs what the TPM says and nothing that looks like it (TPM 2.0
/// Part 1, 36.3). Its authorization value is the empty one, so no guard against guessing it.
pub(crate) fn attestation() -> tss_esapi::Result<Public> {
    let attributes = made_here().with_no_da(true).with_restricted(true).with_sign_encrypt(true).build()?;
    let parameters = PublicEccParameters::new(
        SymmetricDefinitionObject::Null,
        EccScheme::EcDsa(SHA256),
        EccCurve::NistP256,
        KeyDerivationFunctionScheme::Null,
    );
    ecc(attributes, parameters)
}

/// Refuses an attestation key that would sign something that no TPM said, or that could be elsewhere.
///
/// # Errors
/// [`Kind::Denied`], with the attribute named.
pub(crate) fn check_attestation(public: &Public, named: &str) -> Result<()> {
    let attributes = public.object_attributes();
    let wanted = [
        ("fixedTPM", attributes.fixed_tpm(), true),
        ("fixedParent", attributes.fixed_parent(), true),
        ("sensitiveDataOrigin", attributes.sensitive_data_origin(), true),
        ("restricted", attributes.restricted(), true),
        ("sign", attributes.sign_encrypt(), true),
        ("decrypt", attributes.decrypt(), false),
    ];
    match wanted.into_iter().find(|(_, is, should)| is != should) {
        None => Ok(()),
        Some((attribute, is, _)) => {
            let says = if is { "has" } else { "lacks" };
            Err(Error::new(
                Kind::Denied,
                format!("the attestation key `{named}` {says} the attribute {attribute}"),
            )
            .with_hint("it has to be a restricted signing key that this TPM made: `tpm2_createak` makes one"))
        }
    }
}

/// A sealed secret: used with its authorization value, or, with a policy, by that policy alone.
pub(crate) fn sealed(policy: Option<Digest>) -> tss_esapi::Result<Public> {
    let attributes =
        made_here().with_sensitive_data_origin(false).with_user_with_auth(policy.is_none()).build()?;
    Public::builder()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy.unwrap_or_default())
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

fn made_here() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
}

fn ecc(attributes: ObjectAttributes, parameters: PublicEccParameters) -> tss_esapi::Result<Public> {
    Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// Where a key comes from: what is asked of it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// We made it.
    Ours,
    /// Somebody else put it into the TPM for us.
    Adopted,
    /// A test knows its private half, if it is a pair.
    Imported,
}

/// Refuses a key that could be used in another way, or by others, or that is not bound to this TPM.
///
/// # Errors
/// [`Kind::Denied`], with the attribute named.
pub(crate) fn check(public: &Public, algorithm: Algorithm, origin: Origin, named: &str) -> Result<()> {
    let wrong = |attribute: &str, says: &str| {
        Error::new(Kind::Denied, format!("the key `{named}` {says} {attribute}")).with_hint(
            "only keys that this TPM made, that cannot leave it, and that have one purpose are used",
        )
    };
    let attributes = public.object_attributes();
    let purpose = algorithm.purpose();
    let sealing = purpose == PurposeKind::Sealing;
    let by_policy = sealing && !public.auth_policy().is_empty();
    // What is sealed always comes from outside.
    let made_here = sealing || origin != Origin::Imported;
    let wanted = [
        ("fixedTPM", attributes.fixed_tpm(), made_here),
        ("stClear", attributes.st_clear(), false),
        ("fixedParent", attributes.fixed_parent(), made_here),
        ("sensitiveDataOrigin", attributes.sensitive_data_origin(), made_here && !sealing),
        ("userWithAuth", attributes.user_with_auth(), !by_policy),
        ("encryptedDuplication", attributes.encrypted_duplication(), false),
        ("restricted", attributes.restricted(), false),
        ("decrypt", attributes.decrypt(), purpose == PurposeKind::Agreement),
        ("sign", attributes.sign_encrypt(), purpose == PurposeKind::Signing),
        ("x509sign", attributes.x509_sign(), false),
        ("noDA", attributes.no_da(), attributes.no_da() && origin == Origin::Adopted),
    ];
    for (attribute, is, should) in wanted {
        if is != should {
            return Err(wrong(attribute, if is { "has the attribute" } else { "lacks the attribute" }));
        }
    }
    if public.name_hashing_algorithm() != HashingAlgorithm::Sha256 {
        return Err(wrong("SHA-256", "has a name that is not made by"));
    }
    match (public, purpose) {
        (Public::KeyedHash { parameters, .. }, PurposeKind::Sealing) => {
            if *parameters != PublicKeyedHashParameters::new(KeyedHashScheme::Null) {
                return Err(wrong("a scheme", "is sealed data with"));
            }
        }
        (Public::Ecc { parameters, .. }, PurposeKind::Signing | PurposeKind::Agreement) => {
            let scheme = parameters.ecc_scheme();
            let fits = match scheme.algorithm() {
                EccSchemeAlgorithm::Null => true,
                EccSchemeAlgorithm::EcDsa => scheme == EccScheme::EcDsa(SHA256),
                EccSchemeAlgorithm::EcDh => purpose == PurposeKind::Agreement,
                _ => false,
            };
            if parameters.ecc_curve() != EccCurve::NistP256 {
                return Err(wrong("P-256", "is not on the curve"));
            }
            if !fits {
                return Err(wrong("its own that we do not use", "has a scheme of"));
            }
        }
        _ => return Err(wrong(algorithm.name(), "is not of the type")),
    }
    Ok(())
}

/// What a key that somebody else made is for.
pub(crate) fn algorithm(public: &Public) -> Option<Algorithm> {
    match (public, public.object_attributes().sign_encrypt()) {
        (Public::Ecc { .. }, true) => Some(Algorithm::EcdsaP256),
        (Public::Ecc { .. }, false) => Some(Algorithm::EcdhP256),
        _ => None,
    }
}

/// The public point of a pair: `04`, X, Y (SEC 1 §2.3.3), or nothing for sealed data.
pub(crate) fn point(public: &Public) -> Option<Vec<u8>> {
    match public {
        Public::Ecc { unique, .. } => {
            let (x, y) = (padded(unique.x().value())?, padded(unique.y().value())?);
            Some([&[0x04][..], &x, &y].concat())
        }
        _ => None,
    }
}

/// A number of at most 32 bytes in all 32: TPMs leave out leading zeros.
pub(crate) fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    bytes.get_mut(32_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(public: &Public, attributes: ObjectAttributes) -> Public {
        let mut public = public.clone();
        match &mut public {
            Public::Ecc { object_attributes, .. } | Public::KeyedHash { object_attributes, .. } => {
                *object_attributes = attributes;
            }
            _ => unreachable!("none of ours"),
        }
        public
    }

    #[test]
    fn our_own_templates_pass_and_every_other_attribute_is_refused() {
        let policy = Digest::try_from(vec![7; 32]).unwrap();
        let cases = [
            (pair(PurposeKind::Signing).unwrap(), Algorithm::EcdsaP256),
            (pair(PurposeKind::Agreement).unwrap(), Algorithm::EcdhP256),
            (sealed(None).unwrap(), Algorithm::Aes256Gcm),
            (sealed(Some(policy)).unwrap(), Algorithm::Aes256Gcm),
        ];
        // TPMA_OBJECT (TPM 2.0 Part 2, 8.3): every attribute but adminWithPolicy, which without a policy means nothing.
        let bits = [
            (1, "fixedTPM"),
            (2, "stClear"),
            (4, "fixedParent"),
            (5, "sensitiveDataOrigin"),
            (6, "userWithAuth"),
            (10, "noDA"),
            (11, "encryptedDuplication"),
            (16, "restricted"),
            (17, "decrypt"),
            (18, "sign"),
            (19, "x509sign"),
        ];
        for (public, algorithm) in cases {
            check(&public, algorithm, Origin::Ours, "k").unwrap();
            let good = u32::from(public.object_attributes());
            for (bit, name) in bits {
                let mutated = with(&public, ObjectAttributes::from(good ^ (1 << bit)));
                let error = check(&mutated, algorithm, Origin::Ours, "k").unwrap_err();
                assert!(error.to_string().ends_with(name), "{algorithm}: {error}");
            }
        }
        let unguarded = u32::from(pair(PurposeKind::Signing).unwrap().object_attributes()) | (1 << 10);
        let adopted = with(&pair(PurposeKind::Signing).unwrap(), unguarded.into());
        check(&adopted, Algorithm::EcdsaP256, Origin::Adopted, "k").unwrap();
        assert!(check(&storage().unwrap(), Algorithm::EcdhP256, Origin::Adopted, "k").is_err());
        let imported = ObjectAttributesBuilder::new().with_user_with_auth(true).with_decrypt(true).build();
        let imported = with(&pair(PurposeKind::Agreement).unwrap(), imported.unwrap());
        check(&imported, Algorithm::EcdhP256, Origin::Imported, "k").unwrap();
        assert!(check(&imported, Algorithm::EcdhP256, Origin::Ours, "k").is_err());
        assert!(check(&imported, Algorithm::EcdhP256, Origin::Adopted, "k").is_err());
        assert!(check(&sealed(None).unwrap(), Algorithm::EcdsaP256, Origin::Ours, "k").is_err());
    }

    #[test]
    fn an_attestation_key_is_restricted_and_fixed() {
        let good = attestation().unwrap();
        check_attestation(&good, "k").unwrap();
        for (bit, name) in [
            (1, "fixedTPM"),
            (4, "fixedParent"),
            (5, "sensitiveDataOrigin"),
            (16, "restricted"),
            (17, "decrypt"),
            (18, "sign"),
        ] {
            let mutated = u32::from(good.object_attributes()) ^ (1 << bit);
            let error = check_attestation(&with(&good, mutated.into()), "k").unwrap_err();
            assert!(error.kind() == Kind::Denied && error.to_string().ends_with(name), "{error}");
        }
        assert!(check_attestation(&storage().unwrap(), "k").is_err());
        assert!(check_attestation(&pair(PurposeKind::Signing).unwrap(), "k").is_err());
    }

    #[test]
    fn numbers_get_their_zeros_back() {
        assert_eq!(padded(&[1, 2]).unwrap()[30..], [1, 2]);
        assert_eq!(padded(&[9; 32]).unwrap(), [9; 32]);
        assert!(padded(&[9; 33]).is_none());
    }
}
