//! Doors that only tests open, behind the feature `danger`: the product never turns it on.

use super::SoftVault;
use super::key::Material;
use crate::error::Result;
use crate::secret::SecretBytes;
use crate::spec::{Algorithm, KeyName};
use crate::uri::{KeyUri, Scheme};

/// Puts a key that is known into a vault, so that known vectors can go through it: an Ed25519 seed, a P-256 scalar
/// (big-endian), an X25519 scalar or an AES key, 32 bytes each.
///
/// # Errors
/// [`Corrupt`](crate::Kind::Corrupt) for bytes that are no such key, else as generating one.
pub fn import(
    vault: &SoftVault,
    name: &KeyName,
    algorithm: Algorithm,
    secret: SecretBytes,
) -> Result<KeyUri> {
    vault.store(name, Material::from_secret(algorithm, secret)?)?;
    Ok(KeyUri::of_key(Scheme::Soft, name))
}
