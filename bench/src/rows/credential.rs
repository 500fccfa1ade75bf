//! Issuing and verifying credentials, beside `ockam_identity` and beside the bound that the signatures set.
//!
//! Everybody starts from bytes and ends with bytes or with a proof. A credential has two signatures: the credential
//! key's, and in the attestation that travels with it the primary key's. Who issues can keep the proof that the
//! attestation is good; `ockam_identity` checks it for each credential, and reads issuer and subject from its store.

use identity::{Attributes, Credential, IssuerBundle, Rule, verify, verify_with};
use ockam_identity::models::CredentialAndPurposeKey;
use vault::Algorithm;

use super::history::verifications;
use super::issuer::Issuer;
use super::ockam::Ockam;
use super::raw::{RawSigner, crate_of, verifier_of};
use super::{MESSAGE, Row, must};
use crate::contender::Runner;
use crate::{Contender, Result};

pub(super) fn rows(algorithm: Algorithm) -> Result<Vec<Row>> {
    let issuer = Issuer::new(algorithm)?;
    let ockam = Ockam::new()?;
    Ok(vec![
        issue_row(&issuer, &ockam)?,
        attest_row(&issuer, &ockam)?,
        verify_row(&issuer, &ockam)?,
        kept_row(&issuer)?,
    ])
}

/// With the proof of the attestation kept: one signature, nothing to verify.
fn issue_row(issuer: &Issuer, ockam: &Ockam) -> Result<Row> {
    let algorithm = issuer.key.algorithm();
    let ours = {
        let (issuer, right) = (issuer.clone(), accepted_by_ockam(ockam, issuer)?);
        let proof = issuer.attestation.verify(&issuer.identity, issuer.now)?;
        Contender::awaited(
            "identity: CredentialDraft::new, sign, encode",
            Runner::Plain,
            async move || Ok(issuer.issue(&proof).await?.encode()?),
            right,
        )
    };
    let bound = {
        let (key, check) = (RawSigner::new(algorithm)?, RawSigner::new(algorithm)?.verifier());
        Contender::called(
            format!("bound: 1 × sign of {}", crate_of(algorithm)),
            move || Ok(key.sign(&MESSAGE)),
            move |signature| check.verify(&MESSAGE, &signature),
        )
    };
    let name = format!("issue a credential, {algorithm}, attestation checked before");
    Ok(Row { name, contenders: vec![ours, ockam_issues(ockam, algorithm)?, bound] })
}

/// With the attestation checked for each credential, as `ockam_identity` does.
fn attest_row(issuer: &Issuer, ockam: &Ockam) -> Result<Row> {
    let algorithm = issuer.key.algorithm();
    let ours = {
        let (issuer, right) = (issuer.clone(), accepted_by_ockam(ockam, issuer)?);
        Contender::awaited(
            "identity: the same, and PurposeKeyAttestation::verify",
            Runner::Plain,
            async move || {
                let proof = issuer.attestation.verify(&issuer.identity, issuer.now)?;
                Ok(issuer.issue(&proof).await?.encode()?)
            },
            right,
        )
    };
    let bound = {
        let key = RawSigner::new(algorithm)?;
        let (check, again) = (key.verifier(), key.verifier());
        let attested = key.sign(&MESSAGE);
        Contender::called(
            format!("bound: 1 × verify of {}, 1 × sign of {}", verifier_of(algorithm), crate_of(algorithm)),
            move || check.verify(&MESSAGE, &attested).map(|()| key.sign(&MESSAGE)),
            move |signature| again.verify(&MESSAGE, &signature),
        )
    };
    let name = format!("issue a credential, {algorithm}, attestation checked each time");
    Ok(Row { name, contenders: vec![ours, ockam_issues(ockam, algorithm)?, bound] })
}

fn verify_row(issuer: &Issuer, ockam: &Ockam) -> Result<Row> {
    let algorithm = issuer.key.algorithm();
    let proof = issuer.attestation.verify(&issuer.identity, issuer.now)?;
    let credential = vault::block_on(issuer.issue(&proof))?.encode()?;
    let mut altered = credential.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let ours = {
        let bundle = IssuerBundle::history_only(issuer.identity.clone());
        let (member, now, expected) = (issuer.member.identifier(), issuer.now, issuer.attributes.clone());
        let verify = move |bytes: &[u8]| {
            Ok(verify(&Credential::decode(bytes)?, &bundle, Some(&member), now, Rule::default())?)
        };
        must(verify(&altered).is_err(), "ours takes an altered credential")?;
        let credential = credential.clone();
        Contender::called(
            "identity: Credential::decode, verify",
            move || verify(&credential),
            move |verified| must(*verified.attributes() == expected, "other attributes"),
        )
    };
    let peer = {
        let right = accepted_by_ockam(ockam, issuer)?;
        must(right(altered).is_err(), "Ockam takes an altered credential")?;
        let (ockam, known) = (ockam.clone(), ockam.know(issuer.identity.as_bytes())?);
        let (verification, member) = (ockam.verification(), ockam.know(issuer.member.as_bytes())?);
        let count = issuer.attributes.iter().count();
        Contender::awaited(
            "ockam_identity: decode_from_cbor_bytes, verify_credential",
            ockam.runner.clone(),
            async move || {
                let decoded = CredentialAndPurposeKey::decode_from_cbor_bytes(&credential)?;
                let issuers = std::slice::from_ref(&known);
                Ok(verification.verify_credential(Some(&member), issuers, &decoded).await?)
            },
            move |verified| {
                must(verified.credential_data.subject_attributes.map.len() == count, "other attributes")
            },
        )
    };
    let contenders = vec![ours, peer, verifications(algorithm, 2)?, verifications(algorithm, 1)?];
    Ok(Row { name: format!("verify a credential, {algorithm}"), contenders })
}

/// With the proof of the attestation kept from an earlier credential: one signature is left.
fn kept_row(issuer: &Issuer) -> Result<Row> {
    let algorithm = issuer.key.algorithm();
    let kept = issuer.attestation.verify(&issuer.identity, issuer.now)?;
    let credential = vault::block_on(issuer.issue(&kept))?.encode()?;
    let mut altered = credential.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let bundle = IssuerBundle::history_only(issuer.identity.clone());
    let (member, now, expected) = (issuer.member.identifier(), issuer.now, issuer.attributes.clone());
    let verify = move |bytes: &[u8]| {
        let credential = Credential::decode(bytes)?;
        Ok(verify_with(&kept, &credential, &bundle, Some(&member), now, Rule::default())?)
    };
    must(verify(&altered).is_err(), "ours takes an altered credential")?;
    let ours = Contender::called(
        "identity: Credential::decode, verify_with",
        move || verify(&credential),
        move |verified| must(*verified.attributes() == expected, "other attributes"),
    );
    let name = format!("verify a credential, {algorithm}, attestation checked before");
    Ok(Row { name, contenders: vec![ours, verifications(algorithm, 1)?] })
}

fn ockam_issues(ockam: &Ockam, algorithm: Algorithm) -> Result<Contender> {
    let issuer = ockam.issuer(algorithm)?;
    let bundle = IssuerBundle::history_only(identity::Identity::import(&issuer.history)?);
    let member = issuer.member.to_string().parse()?;
    let expected = Attributes::new(identity::MEMBER_SCHEMA, super::issuer::attributes())?;
    Ok(Contender::awaited(
        "ockam_identity: issue_credential, encode_as_cbor_bytes",
        ockam.runner.clone(),
        async move || Ok(issuer.issue().await?.encode_as_cbor_bytes()?),
        move |bytes| {
            let now = identity::Clock::now(&identity::SystemClock);
            let verified =
                verify(&Credential::decode(&bytes)?, &bundle, Some(&member), now, Rule::Reference)?;
            must(*verified.attributes() == expected, "other attributes")
        },
    ))
}

/// What we issue has to be good for `ockam_identity`.
fn accepted_by_ockam(ockam: &Ockam, issuer: &Issuer) -> Result<impl Fn(Vec<u8>) -> Result<()> + 'static> {
    let (ockam, known) = (ockam.clone(), ockam.know(issuer.identity.as_bytes())?);
    let member = ockam.know(issuer.member.as_bytes())?;
    let verification = ockam.verification();
    Ok(move |bytes: Vec<u8>| {
        let decoded = CredentialAndPurposeKey::decode_from_cbor_bytes(&bytes)?;
        let verified = verification.verify_credential(Some(&member), std::slice::from_ref(&known), &decoded);
        ockam.runner.run(verified)?;
        Ok(())
    })
}
