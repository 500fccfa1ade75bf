//! A TPM through our vault, and through `tss-esapi` with a key that stays loaded.

use std::cell::RefCell;
use std::str::FromStr;
use std::sync::Arc;

use fixtures::swtpm::Swtpm;
use sha2::{Digest as _, Sha256};
use tpm::TpmBackend;
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, Digest, EccPoint, EccScheme, HashScheme, HashcheckTicket, KeyDerivationFunctionScheme, Public,
    PublicEccParameters, SignatureScheme, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;
use tss_esapi::{Context, TctiNameConf};
use vault::block_on;

use crate::{Result, signer, turns};

const SHA256: HashScheme = HashScheme::new(HashingAlgorithm::Sha256);

pub(crate) fn beside_the_raw_library(tpm: &Swtpm) -> Result<()> {
    let ours = signer(TpmBackend::new(), &tpm.uri("ours"), "ours")?;
    let vault = Arc::clone(ours.vault());
    let facet = vault.signing().ok_or("the vault does not sign")?;
    let raw = RefCell::new(Raw::new(tpm)?);
    let session = raw.borrow_mut().salted_session()?;
    turns::print(
        "sign, P-256, by a TPM",
        &mut [
            (
                "tpm: SigningFacet::sign",
                Box::new(|| Ok(block_on(facet.sign(ours.handle(), b"message")).map(drop)?)),
            ),
            (
                "vault: Signer::sign, which verifies",
                Box::new(|| Ok(block_on(ours.sign(b"message")).map(drop)?)),
            ),
            (
                "tss-esapi: sign, the key loaded, in a salted session too",
                Box::new(|| raw.borrow_mut().sign(session)),
            ),
            (
                "tss-esapi: sign, the key loaded, its value in the clear",
                Box::new(|| raw.borrow_mut().sign(AuthSession::Password)),
            ),
        ],
    )
}

struct Raw {
    context: Context,
    key: KeyHandle,
}

impl Raw {
    fn new(tpm: &Swtpm) -> Result<Self> {
        let mut context = Context::new(TctiNameConf::from_str(&tpm.tcti())?)?;
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_sign_encrypt(true)
            .build()?;
        let public = public(attributes, SymmetricDefinitionObject::Null, EccScheme::EcDsa(SHA256))?;
        let auth = Auth::try_from(&b"authorization"[..])?;
        let made = context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, public, Some(auth), None, None, None)
        })?;
        Ok(Self { context, key: made.key_handle })
    }

    /// Salted with a storage key, as ours: nobody on the way learns the key's value.
    fn salted_session(&mut self) -> Result<AuthSession> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_no_da(true)
            .with_restricted(true)
            .with_decrypt(true)
            .build()?;
        let storage = public(attributes, SymmetricDefinitionObject::AES_128_CFB, EccScheme::Null)?;
        let storage = self.context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, storage, None, None, None, None)
        })?;
        let (kind, hash) = (SessionType::Hmac, HashingAlgorithm::Sha256);
        let session = self.context.execute_without_session(|context| {
            let symmetric = SymmetricDefinition::AES_128_CFB;
            context.start_auth_session(Some(storage.key_handle), None, None, kind, symmetric, hash)
        })?;
        self.context.flush_context(storage.key_handle.into())?;
        let session = session.ok_or("no session")?;
        let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).build();
        self.context.tr_sess_set_attributes(session, attributes, mask)?;
        Ok(session)
    }

    fn sign(&mut self, session: AuthSession) -> Result<()> {
        let digest = Digest::try_from(Sha256::digest(b"message").as_slice())?;
        let none =
            TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
        let ticket = HashcheckTicket::try_from(none)?;
        let (key, scheme) = (self.key, SignatureScheme::EcDsa { hash_scheme: SHA256 });
        self.context
            .execute_with_session(Some(session), |context| context.sign(key, digest, scheme, ticket))?;
        Ok(())
    }
}

fn public(
    attributes: ObjectAttributes,
    symmetric: SymmetricDefinitionObject,
    scheme: EccScheme,
) -> Result<Public> {
    let derives = KeyDerivationFunctionScheme::Null;
    Ok(Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(symmetric, scheme, EccCurve::NistP256, derives))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()?)
}
