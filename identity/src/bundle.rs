//! The issuer bundle: an issuer's change history together with the current attestations of its purpose keys. An
//! authority publishes it, so that credentials from before a rotation stay good after it.

use minicbor::{Decode, Encode};

use crate::error::{Refusal, Result};
use crate::history::Identity;
use crate::identifier::Identifier;
use crate::purpose_key::PurposeKeyAttestation;
use crate::wire::{self, ChangesWire, SignedWire};

/// The most attestations in a bundle.
pub const MAX_ATTESTATIONS: usize = 16;

#[derive(Debug, Encode, Decode)]
struct BundleWire {
    #[n(0)]
    history: ChangesWire,
    // Absent when they are not known, which is not the same as there being none.
    #[n(1)]
    attestations: Option<AttestationsWire>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(transparent)]
struct AttestationsWire(#[cbor(n(0), decode_with = "decode_attestations")] Vec<SignedWire>);

fn decode_attestations<'b, C>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
) -> std::result::Result<Vec<SignedWire>, minicbor::decode::Error> {
    wire::decode_list(d, ctx, MAX_ATTESTATIONS)
}

/// An issuer, as far as a verifier knows it.
#[derive(Clone, Debug)]
pub struct IssuerBundle {
    identity: Identity,
    attestations: Option<Vec<PurposeKeyAttestation>>,
}

impl IssuerBundle {
    /// An issuer of whom only the history is known.
    #[must_use]
    pub fn history_only(identity: Identity) -> Self {
        Self { identity, attestations: None }
    }

    /// An issuer with its current attestations.
    #[must_use]
    pub fn new(identity: Identity, attestations: Vec<PurposeKeyAttestation>) -> Self {
        Self { identity, attestations: Some(attestations) }
    }

    /// Decodes a bundle (CBOR: array of change history and array of attestations; without the second, only the history is
    /// known), verifying the history. Each attestation is checked when it is needed.
    ///
    /// # Errors
    /// As [`Identity::import`] and [`PurposeKeyAttestation::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bundle: BundleWire = wire::decode(bytes, "issuer bundle")?;
        if bundle.attestations.as_ref().is_some_and(|attestations| attestations.0.len() > MAX_ATTESTATIONS) {
            return Err(Refusal::TooLarge.into());
        }
        let history = wire::encode(&bundle.history)?;
        drop(bundle.history);
        let identity = Identity::import(&history)?;
        let decoded =
            |signed: AttestationsWire| signed.0.into_iter().map(PurposeKeyAttestation::from_wire).collect();
        let attestations = bundle.attestations.map(decoded).transpose()?;
        Ok(Self { identity, attestations })
    }

    /// Reads hex of a bundle, or of a bare change history.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn from_hex(text: &str) -> Result<Self> {
        let bytes = wire::from_hex(text, "issuer bundle or change history")?;
        // A history is an array of changes, whose first item is a byte string; a bundle's first item is the history.
        match Identity::import(&bytes) {
            Ok(identity) => Ok(Self::history_only(identity)),
            Err(error) => Self::decode(&bytes).map_err(|other| match other.kind() {
                crate::Kind::Malformed => error,
                _ => other,
            }),
        }
    }

    /// The CBOR encoding.
    ///
    /// # Errors
    /// Never for what was decoded or made here.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(&BundleWire {
            history: wire::decode(self.identity.as_bytes(), "change history")?,
            attestations: self
                .attestations
                .as_ref()
                .map(|list| AttestationsWire(list.iter().map(|one| one.wire().clone()).collect())),
        })
    }

    /// The same as hex.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn to_hex(&self) -> Result<String> {
        Ok(hex::encode(self.encode()?))
    }

    /// The issuer.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its identifier.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.identity.identifier()
    }

    /// Its current attestations, when they are known.
    #[must_use]
    pub fn attestations(&self) -> Option<&[PurposeKeyAttestation]> {
        self.attestations.as_deref()
    }
}
