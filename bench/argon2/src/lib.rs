//! Stands in for `argon2`, so that ours and the published Ockam crates fit into one process: `argon2` asks for `base64ct`
//! 1.7 or later, `ockam_vault` 0.132 for 1.6.0 exactly, and cargo gives one version to both. Nothing is measured behind
//! a passphrase; a software vault that has one does not open here, because this refuses to derive its key.

#![no_std]

use core::fmt;

/// That it derives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bench is built without passphrases")
    }
}

impl core::error::Error for Error {}

/// Which function.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    /// Argon2id.
    Argon2id,
}

/// Which version of it.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    /// 1.3.
    V0x13,
}

/// What it would cost.
#[derive(Clone, Copy, Debug)]
pub struct Params;

impl Params {
    /// Takes any.
    ///
    /// # Errors
    /// Never.
    pub fn new(_memory_kib: u32, _passes: u32, _lanes: u32, _length: Option<usize>) -> Result<Self, Error> {
        Ok(Self)
    }
}

/// What would derive a key.
#[derive(Clone, Copy, Debug)]
pub struct Argon2;

impl Argon2 {
    /// One that refuses.
    #[must_use]
    pub fn new(_algorithm: Algorithm, _version: Version, _params: Params) -> Self {
        Self
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn hash_password_into(&self, _password: &[u8], _salt: &[u8], _key: &mut [u8]) -> Result<(), Error> {
        Err(Error)
    }
}
