//! The rows of the table.

mod channel;
mod credential;
mod history;
mod issuer;
mod nodes;
mod ockam;
mod party;
mod raw;
mod software;
mod token;
mod wire;

pub(crate) use nodes::Ours;
use vault::Algorithm;

use crate::softhsm::Token;
use crate::{Contender, Result};

/// One operation, and the ways to do it that are compared.
#[derive(Debug)]
pub struct Row {
    /// What is done.
    pub name: String,
    /// Ours first.
    pub contenders: Vec<Contender>,
}

/// The algorithms of signatures.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

/// What Ockam signs: a SHA-256.
const MESSAGE: [u8; 32] = [0x5a; 32];

/// The rows whose name is wanted, and what the token's module says of itself when there is one.
///
/// # Errors
/// When something that is to be measured cannot be set up.
pub fn all(
    token: std::result::Result<&Token, &String>,
    wants: impl Fn(&str) -> bool,
) -> Result<(Vec<Row>, Option<String>)> {
    let mut rows = Vec::new();
    for algorithm in ALGORITHMS {
        rows.extend(software::rows(algorithm)?);
    }
    let module = match token {
        Ok(token) => Some(token::rows(token, &mut rows)?),
        Err(_) => None,
    };
    for algorithm in ALGORITHMS {
        rows.extend(history::rows(algorithm)?);
    }
    for algorithm in ALGORITHMS {
        rows.extend(credential::rows(algorithm)?);
    }
    rows.extend(channel::rows(&wants)?);
    rows.retain(|row| wants(&row.name));
    Ok((rows, module))
}

/// That something holds which the row is about.
fn must(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
