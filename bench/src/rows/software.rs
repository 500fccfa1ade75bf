//! Signing through a key handle of the software vault and verifying with a public key of ours, beside the crates that
//! both stand on.

use std::sync::Arc;

use vault::soft::SoftVault;
use vault::{Algorithm, KeyName, KeySpec, Signer, Vault, block_on};

use super::raw::{RawSigner, RawVerifier, bytes, crate_of, verifier_of};
use super::{MESSAGE, Row, must};
use crate::contender::Runner;
use crate::{Contender, Result};

pub(super) fn rows(algorithm: Algorithm) -> Result<[Row; 2]> {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
    let signer = signer(&vault, "bench", algorithm)?;
    let raw = RawSigner::new(algorithm)?;
    Ok([sign(&signer, &raw)?, verify(&signer, &raw)?])
}

/// A new key in a vault, bound.
pub(super) fn signer(vault: &Arc<dyn Vault>, name: &str, algorithm: Algorithm) -> Result<Signer> {
    let facet = vault.signing().ok_or("the vault does not sign")?;
    let key = block_on(facet.generate(&KeySpec::new(KeyName::new(name)?, algorithm)?))?;
    Ok(Signer::bind(Arc::clone(vault), key)?)
}

fn sign(signer: &Signer, raw: &RawSigner) -> Result<Row> {
    let algorithm = signer.algorithm();
    let ours = {
        let (signer, check) = (signer.clone(), RawVerifier::parse(algorithm, signer.public().as_bytes())?);
        Contender::awaited(
            "vault: Signer::sign",
            Runner::Plain,
            async move || Ok(signer.sign(&MESSAGE).await?),
            move |signature| check.verify(&MESSAGE, &bytes(&signature)),
        )
    };
    let peer = {
        let (raw, check) = (raw.clone(), raw.verifier());
        Contender::called(
            format!("{}: SigningKey::sign", crate_of(algorithm)),
            move || Ok(raw.sign(&MESSAGE)),
            move |signature| check.verify(&MESSAGE, &signature),
        )
    };
    Ok(Row { name: format!("sign, {algorithm}, in software"), contenders: vec![ours, peer] })
}

fn verify(signer: &Signer, raw: &RawSigner) -> Result<Row> {
    let algorithm = signer.algorithm();
    let key = signer.public().clone();
    let signature = block_on(signer.sign(&MESSAGE))?;
    // A signature over something else has to fail, or the row would measure nothing.
    must(key.verify(&[0; 32], &signature).is_err(), "our verifying takes everything")?;
    must(
        raw.verifier().verify(&[0; 32], &raw.sign(&MESSAGE)).is_err(),
        "the raw verifying takes everything",
    )?;
    let (parsed, raw_signature) = (RawVerifier::parse(algorithm, key.as_bytes())?, bytes(&signature));
    let key_bytes = key.as_bytes().to_vec();
    let name = verifier_of(algorithm);
    let contenders = vec![
        Contender::called(
            "vault: VerifyingKey::verify",
            move || Ok(key.verify(&MESSAGE, &signature)?),
            |_proof| Ok(()),
        ),
        Contender::called(
            format!("{name}: the key checked before"),
            move || parsed.verify(&MESSAGE, &raw_signature),
            Ok,
        ),
        Contender::called(
            format!("{name}: the same, from the key's bytes each time"),
            move || RawVerifier::parse(algorithm, &key_bytes)?.verify(&MESSAGE, &raw_signature),
            Ok,
        ),
    ];
    Ok(Row { name: format!("verify, {algorithm}, in software"), contenders })
}
