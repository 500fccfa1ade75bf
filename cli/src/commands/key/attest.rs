//! `key attest`: what a device says of a key; and `key attest verify`: judging that, without the device.

use std::path::Path;

use evidence::{Anchors, KeyAttestation, KeyFacts, Weakness};
use serde_json::{Value, json};
use vault::Signer;

use super::Open;
use crate::args::key::{Attest, VerifyAttestation};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, table, time};
use crate::secret_input::{file_text, text};

pub(super) fn run(context: &Context, attest: &Attest) -> Result<Report> {
    let key = attest.key.as_deref().ok_or_else(|| Error::usage("the key is missing"))?;
    let open = Open::vault(context, attest.vault.as_deref())?;
    let signer = open.signer(key)?;
    let made = gather(context, &signer)?;
    let bytes = made.encode()?;
    let hex = hex::encode(&bytes);
    let rows = vec![
        ("uri", signer.handle().uri().to_string()),
        ("kind", made.kind().to_owned()),
        ("public_key", hex::encode(made.public().as_bytes())),
        ("made at", time(identity::Timestamp(made.made_at()))),
        ("attestation", hex.clone()),
    ];
    let json = json!({
        "uri": signer.handle().uri().to_string(),
        "kind": made.kind(),
        "public_key": hex::encode(made.public().as_bytes()),
        "made_at": made.made_at(),
        "attestation": hex,
    });
    Ok(Report::new(table(&rows), json).machine(hex))
}

/// Asks the device, and keeps what it says.
pub(crate) fn gather(context: &Context, signer: &Signer) -> Result<KeyAttestation> {
    let vault = signer.vault();
    let facet = vault.attestation().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("{} vaults say nothing of where a key lives", vault.scheme()))
            .with_hint("move the key into a device first: `ockam-kms identity rotate NAME --to-vault VAULT`")
    })?;
    let said = vault::block_on(facet.attest(signer.handle()))?;
    let made = KeyAttestation::new(signer.public().clone(), said, context.now().0);
    let bytes = made.encode()?;
    let writer = context.writer()?;
    context.home()?.store_key_attestation(&writer, signer.public().as_bytes(), &bytes)?;
    Ok(made)
}

/// The certificates of a PEM file.
pub(crate) fn anchors(path: &Path) -> Result<Anchors> {
    let text = file_text(path, "file of certificates")?;
    Anchors::from_pem(text.as_bytes()).map_err(|error| {
        Error::invalid(format!("`{}`: {error}", crate::error::shown(&path.display().to_string())))
            .with_hint("it takes certificates of those who certify devices, as PEM")
    })
}

pub(super) fn verify(context: &Context, verify: &VerifyAttestation) -> Result<Report> {
    let given = text(&verify.attestation, "key attestation")?;
    let bytes = hex::decode(given.as_bytes()).map_err(|_| {
        Error::invalid("the key attestation is not hex").with_hint("`ockam-kms key attest` prints one")
    })?;
    let anchors = verify.ca.as_deref().map(anchors).transpose()?.unwrap_or_default();
    let judged = KeyAttestation::decode(&bytes).and_then(|attestation| {
        let facts = attestation.verify(&anchors, context.now().0)?;
        Ok((attestation, facts))
    });
    match judged {
        Ok((attestation, facts)) => Ok(good(&attestation, &facts)),
        Err(error) => {
            let reason = error.to_string();
            let json = json!({
                "valid": false, "kind": null, "public_key": null, "made_at": null,
                "attributes": {}, "device": {}, "weaknesses": [], "reason": reason,
            });
            let report = Report::new(format!("refused: {reason}"), json).machine("false");
            Ok(report.refusing(Kind::Rejected))
        }
    }
}

fn good(attestation: &KeyAttestation, facts: &KeyFacts) -> Report {
    let public = hex::encode(attestation.public().as_bytes());
    let mut rows = vec![
        ("kind", attestation.kind().to_owned()),
        ("public_key", public.clone()),
        ("made at", time(identity::Timestamp(attestation.made_at()))),
    ];
    rows.extend(facts.attributes().map(|(name, value)| (name, value.to_owned())));
    rows.extend(facts.device.iter().map(|(name, value)| ("device", format!("{name} {value}"))));
    let weaknesses = match &facts.weakness {
        Weakness::Known(known) => known.as_slice(),
        Weakness::None | Weakness::Unknown => &[],
    };
    rows.extend(weaknesses.iter().map(|id| ("weakness", (*id).to_owned())));
    let pairs = |pairs: Vec<(String, String)>| -> Value {
        pairs
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let attributes = facts.attributes().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let json = json!({
        "valid": true,
        "kind": attestation.kind(),
        "public_key": public,
        "made_at": attestation.made_at(),
        "attributes": pairs(attributes.to_vec()),
        "device": pairs(facts.device.clone()),
        "weaknesses": weaknesses,
        "reason": null,
    });
    Report::new(table(&rows), json).machine("true")
}
