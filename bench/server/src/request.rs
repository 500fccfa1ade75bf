//! A signed request, as docs/formats.md has it, in the bytes that go over the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{Identifier, Identity, Timestamp};
use minicbor::Encode;
use sha2::{Digest as _, Sha256};
use vault::{SecretBytes, Signer, block_on};

use crate::Result;

/// How long a signature is good, in seconds: as long as it may be.
const LIFE: u64 = 60;

#[derive(Encode)]
struct Shown {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    history: Vec<u8>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    attestation: Vec<u8>,
}

/// The header that shows who asks.
pub(crate) fn shown(identity: &Identity, attestation: Vec<u8>) -> Result<String> {
    let shown = Shown { history: identity.as_bytes().to_vec(), attestation };
    let bytes = minicbor::to_vec(&shown).map_err(|e| e.to_string())?;
    Ok(format!("ockam-identity: {}\r\n", STANDARD.encode(bytes)))
}

/// What is the same for every request of somebody.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) host: &'a str,
    pub(crate) authority: Identifier,
    pub(crate) identity: &'a Identity,
    pub(crate) key: &'a Signer,
    pub(crate) now: Timestamp,
    /// Whether requests name an idempotency key, as our client's do.
    pub(crate) once: bool,
}

impl Asker<'_> {
    /// A POST with these further headers and this body.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &[u8]) -> Result<Vec<u8>> {
        let random = SecretBytes::random(32)?;
        let (nonce, key) = random.expose().split_at(16);
        let once = self.once.then(|| format!("\"{}\"", STANDARD.encode(key)));
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
        let (authority, host) = (self.authority, self.host);
        let covered = ["@method", "@target-uri", "content-digest", "ockam-authority", "idempotency-key"];
        let covered = covered.get(..if self.once { 5 } else { 4 }).unwrap_or_default();
        let input = format!(
            "({});created={};expires={};nonce=\"{}\";alg=\"ed25519\";keyid=\"{}:{}\";tag=\"ockam-kms-v1\"",
            covered.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" "),
            self.now,
            self.now.after(LIFE),
            STANDARD.encode(nonce),
            self.identity.identifier(),
            self.identity.latest().hash(),
        );
        let mut base = format!(
            "\"@method\": POST\n\"@target-uri\": http://{host}{path}\n\"content-digest\": {digest}\n\"ockam-authority\": {authority}\n"
        );
        let mut named = String::new();
        if let Some(once) = &once {
            base += &format!("\"idempotency-key\": {once}\n");
            named = format!("idempotency-key: {once}\r\n");
        }
        base += &format!("\"@signature-params\": {input}");
        let signature = block_on(self.key.sign(base.as_bytes()))?;
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\ncontent-digest: {digest}\r\nockam-authority: {authority}\r\n{named}signature-input: sig={input}\r\nsignature: sig=:{}:\r\n{headers}\r\n",
            body.len(),
            STANDARD.encode(signature.as_bytes()),
        )
        .into_bytes();
        request.extend_from_slice(body);
        Ok(request)
    }
}
