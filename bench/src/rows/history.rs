//! Verifying a change history, beside `ockam_identity` and beside the bound its signatures set: one for the first change
//! and two for each later one, by its own key and by the key before it.

use identity::Identity;
use vault::Algorithm;

use super::ockam::Ockam;
use super::raw::{RawSigner, verifier_of};
use super::{MESSAGE, Row, issuer, must};
use crate::{Contender, Result};

pub(super) fn rows(algorithm: Algorithm) -> Result<Vec<Row>> {
    [1, 3].into_iter().map(|changes| row(algorithm, changes)).collect()
}

fn row(algorithm: Algorithm, changes: usize) -> Result<Row> {
    let (identity, _) = issuer::identity(algorithm, changes)?;
    let (expected, history) = (identity.identifier(), identity.as_bytes().to_vec());
    let mut altered = history.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    must(Identity::import(&altered).is_err(), "our import takes an altered history")?;
    let ours = {
        let history = history.clone();
        Contender::called(
            "identity: Identity::import",
            move || Ok(Identity::import(&history)?),
            move |imported| {
                must(imported.identifier() == expected && imported.len() == changes, "another identity")
            },
        )
    };
    let peer = {
        let ockam = Ockam::new()?;
        must(ockam.runner.run(ockam.verify_history(&altered)).is_err(), "Ockam takes an altered history")?;
        Contender::awaited(
            "ockam_identity: Identity::import",
            ockam.runner.clone(),
            async move || ockam.verify_history(&history).await,
            move |imported| {
                must(imported.identifier().to_string() == expected.to_string(), "another identity")
            },
        )
    };
    let bound = verifications(algorithm, 2 * changes - 1)?;
    let plural = if changes == 1 { "" } else { "s" };
    let name = format!("verify an identity of {changes} change{plural}, {algorithm}");
    Ok(Row { name, contenders: vec![ours, peer, bound] })
}

/// What so many signatures cost to verify, with keys that are parsed already.
pub(super) fn verifications(algorithm: Algorithm, count: usize) -> Result<Contender> {
    let signer = RawSigner::new(algorithm)?;
    let (key, signature) = (signer.verifier(), signer.sign(&MESSAGE));
    Ok(Contender::called(
        format!("bound: {count} × verify of {}", verifier_of(algorithm)),
        move || (0..count).try_for_each(|_| key.verify(std::hint::black_box(&MESSAGE), &signature)),
        Ok,
    ))
}
