//! Using keys, and listing them.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyAgreementAlgorithmSpec, MessageType, SigningAlgorithmSpec};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use vault::{Algorithm, Error, KeyInfo, Kind, Result, SecretBytes, Signature};
use zeroize::Zeroize as _;

use crate::client::Kms;
use crate::encoding;
use crate::envelope::{self, Envelope};
use crate::errors::{Fault, Meaning};
use crate::keys::{self, is_of, other_key};

/// How many keys of a listing are looked at together.
const LOOKS: usize = 8;
/// What is shared on P-256: an x-coordinate.
const SECRET: usize = 32;
const DATA_KEY: usize = 32;

/// A key of a handle: its id, and how it is called in messages.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) shown: String,
}

/// What is to be signed.
#[derive(Clone, Debug)]
pub(crate) enum ToSign {
    /// SHA-256 of the message, for ECDSA.
    Digest([u8; 32]),
    /// The message itself, for Ed25519.
    Message(Vec<u8>),
}

impl Kms {
    pub(crate) async fn sign(&self, key: &Named, what: ToSign) -> Result<Signature> {
        let (algorithm, spec, kind, bytes) = match what {
            ToSign::Digest(digest) => (
                Algorithm::EcdsaP256,
                SigningAlgorithmSpec::EcdsaSha256,
                MessageType::Digest,
                digest.to_vec(),
            ),
            ToSign::Message(message) => {
                (Algorithm::Ed25519, SigningAlgorithmSpec::Ed25519Sha512, MessageType::Raw, message)
            }
        };
        let ask = self.kms.sign().key_id(&key.id).signing_algorithm(spec.clone()).message_type(kind);
        let answer = match ask.message(Blob::new(bytes)).send().await {
            Ok(answer) => answer,
            Err(error) => return Err(self.state_of(&key.id, &key.shown, Fault::of("Sign", error)).await),
        };
        if !is_of(answer.key_id.as_deref(), &key.id) || answer.signing_algorithm != Some(spec) {
            return Err(other_key(&key.shown));
        }
        let signature = answer.signature.map(Blob::into_inner).unwrap_or_default();
        encoding::signature(algorithm, &signature)
    }

    pub(crate) async fn agree(&self, key: &Named, peer: Vec<u8>) -> Result<SecretBytes> {
        let ask = self.kms.derive_shared_secret().key_id(&key.id);
        let ask = ask.key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh).public_key(Blob::new(peer));
        let answer = match ask.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let fault = Fault::of("DeriveSharedSecret", error);
                return Err(self.state_of(&key.id, &key.shown, fault).await);
            }
        };
        let secret = SecretBytes::new(answer.shared_secret.map(Blob::into_inner).unwrap_or_default());
        if !is_of(answer.key_id.as_deref(), &key.id) {
            return Err(other_key(&key.shown));
        }
        if secret.len() != SECRET {
            let text = format!("KMS returned a shared secret of {} bytes instead of {SECRET}", secret.len());
            return Err(Error::new(Kind::Backend, text));
        }
        Ok(secret)
    }

    pub(crate) async fn seal(&self, key: &Named, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
        let ask = self.kms.generate_data_key().key_id(&key.id).key_spec(DataKeySpec::Aes256);
        let answer = match ask.set_encryption_context(Some(context(&key.id, associated))).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let fault = Fault::of("GenerateDataKey", error);
                return Err(self.state_of(&key.id, &key.shown, fault).await);
            }
        };
        let data_key = data_key(answer.plaintext)?;
        if !is_of(answer.key_id.as_deref(), &key.id) {
            return Err(other_key(&key.shown));
        }
        let encrypted = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        envelope::seal(&data_key, &encrypted, &key.id, plain, associated)
    }

    pub(crate) async fn unseal(&self, key: &Named, sealed: &[u8], associated: &[u8]) -> Result<SecretBytes> {
        let envelope = Envelope::parse(sealed)?;
        let ask = self.kms.decrypt().key_id(&key.id).ciphertext_blob(Blob::new(envelope.encrypted_key));
        let answer = match ask.set_encryption_context(Some(context(&key.id, associated))).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let fault = Fault::of("Decrypt", error);
                // What KMS cannot even take apart is altered like everything else that does not decrypt.
                if fault.meaning() == Some(Meaning::Bad) {
                    return Err(Error::rejected());
                }
                return Err(self.state_of(&key.id, &key.shown, fault).await);
            }
        };
        let data_key = data_key(answer.plaintext)?;
        if !is_of(answer.key_id.as_deref(), &key.id) {
            return Err(other_key(&key.shown));
        }
        envelope.open(&data_key, &key.id, associated)
    }

    /// The keys of this vault that can be used now, sorted by name.
    pub(crate) async fn list(self: Arc<Self>) -> Result<Vec<KeyInfo>> {
        let aliases = self.aliases(None).await.map_err(|fault| self.told(fault))?;
        let places = Arc::new(Semaphore::new(LOOKS));
        let mut looks = JoinSet::new();
        for (name, id) in aliases {
            let (kms, places) = (Arc::clone(&self), Arc::clone(&places));
            looks.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                kms.line(name, &id).await
            });
        }
        let mut lines = Vec::new();
        while let Some(look) = looks.join_next().await {
            let line =
                look.map_err(|e| Error::new(Kind::Backend, "a look at a key was given up").with_source(e))?;
            lines.extend(line?);
        }
        lines.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(lines)
    }

    /// A line of a listing; none for what cannot be used, or is gone by now.
    async fn line(&self, name: String, id: &str) -> Result<Option<KeyInfo>> {
        let key = match self.describe(id).await {
            Err(fault) if fault.meaning() == Some(Meaning::Gone) => return Ok(None),
            other => other.map_err(|fault| self.told(fault))?,
        };
        let Ok(algorithm) = self.check(&name, &key) else { return Ok(None) };
        if keys::usable(&name, &key).is_err() {
            return Ok(None);
        }
        match self.adopt(algorithm.purpose(), &name, key, Some(&name)).await {
            // It was disabled or destroyed since.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Denied) => Ok(None),
            other => Ok(Some(other?.into_info(name))),
        }
    }
}

/// What an encrypted data key is bound to. It goes to the log of the account, so of the associated data only a hash.
fn context(key_id: &str, associated: &[u8]) -> HashMap<String, String> {
    let pairs = [
        ("ockam-kms:key-id", key_id.to_owned()),
        ("ockam-kms:purpose", "sealing".to_owned()),
        ("ockam-kms:associated-sha256", hex::encode(Sha256::digest(associated))),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn data_key(plaintext: Option<Blob>) -> Result<SecretBytes> {
    let mut bytes = plaintext.map(Blob::into_inner).unwrap_or_default();
    if bytes.len() == DATA_KEY {
        return Ok(SecretBytes::new(bytes));
    }
    let length = bytes.len();
    bytes.zeroize();
    Err(Error::new(Kind::Backend, format!("KMS returned a data key of {length} bytes instead of {DATA_KEY}")))
}
