//! The CBOR shapes of Ockam 0.150 (docs/formats.md, "identities and credentials"). Decoding is as tolerant as its peers
//! rely on: extra array items, wide integers and indefinite arrays are taken. Hashes and signatures are over received
//! bytes, so nothing here is encoded again to be checked.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use vault::{AgreementKey, Algorithm, Signature, VerifyingKey};

use crate::clock::Timestamp;
use crate::error::{Error, Refusal, Result};
use crate::identifier::{ChangeHash, Identifier};

/// The most bytes of a change history, credential or attestation that are looked at.
pub const MAX_BYTES: usize = 256 * 1024;
/// The most changes in a history.
pub const MAX_CHANGES: usize = 1024;
/// The most attributes in a credential.
pub const MAX_ATTRIBUTES: usize = 256;

/// What a signed body is, said inside the signed bytes so that none can stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyType {
    Change = 1,
    PurposeKeyAttestation = 2,
    Credential = 3,
    /// Ours: an identity vouches for the software key that signs its HTTP requests.
    RequestKey = 16,
}

const VERSION: u8 = 1;

#[derive(Debug, Encode, Decode)]
struct VersionedData {
    #[n(0)]
    version: u8,
    #[n(1)]
    data_type: u8,
    #[n(2)]
    data: ByteVec,
}

/// Decodes a whole input: at most [`MAX_BYTES`], nothing after the end.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8], what: &str) -> Result<T> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLarge.into());
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| Error::malformed(format!("this is not a {what}")))?;
    if decoder.position() != bytes.len() {
        return Err(Refusal::TrailingBytes.into());
    }
    Ok(value)
}

pub(crate) fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>> {
    minicbor::to_vec(value).map_err(|_| Error::invalid("the value cannot be encoded"))
}

/// Opens a signed body of the given type. Inside, bytes after the end are ignored, as the reference does.
pub(crate) fn open_body<T: for<'b> Decode<'b, ()>>(body: &[u8], wanted: BodyType) -> Result<T> {
    let versioned: VersionedData =
        minicbor::decode(body).map_err(|_| Error::malformed("the signed body has no version and type"))?;
    if versioned.version != VERSION {
        return Err(Refusal::WrongVersion.into());
    }
    if versioned.data_type != wanted as u8 {
        return Err(Refusal::WrongType.into());
    }
    minicbor::decode(&versioned.data).map_err(|_| Error::malformed("the signed body does not decode"))
}

/// Makes a signed body.
pub(crate) fn seal_body<T: Encode<()>>(value: &T, data_type: BodyType) -> Result<Vec<u8>> {
    let data = encode(value)?.into();
    encode(&VersionedData { version: VERSION, data_type: data_type as u8, data })
}

/// A signature with its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum SignatureWire {
    #[n(0)]
    Ed25519(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]),
    #[n(1)]
    EcdsaP256(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]),
}

impl From<Signature> for SignatureWire {
    fn from(signature: Signature) -> Self {
        match signature {
            Signature::Ed25519(bytes) => Self::Ed25519(bytes),
            Signature::EcdsaP256(bytes) => Self::EcdsaP256(bytes),
        }
    }
}

impl From<&SignatureWire> for Signature {
    fn from(signature: &SignatureWire) -> Self {
        match signature {
            SignatureWire::Ed25519(bytes) => Self::Ed25519(*bytes),
            SignatureWire::EcdsaP256(bytes) => Self::EcdsaP256(*bytes),
        }
    }
}

/// A key that verifies signatures: a primary key, or a credential key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum VerifyingKeyWire {
    #[n(0)]
    Ed25519(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    #[n(1)]
    EcdsaP256(#[cbor(n(0), with = "minicbor::bytes")] [u8; 65]),
}

impl From<&VerifyingKey> for VerifyingKeyWire {
    fn from(key: &VerifyingKey) -> Self {
        match key {
            VerifyingKey::Ed25519(point) => Self::Ed25519(*point.as_bytes()),
            VerifyingKey::EcdsaP256(point) => Self::EcdsaP256(*point.as_bytes()),
        }
    }
}

impl VerifyingKeyWire {
    /// The key, when the bytes are a point of its curve. A key that is none verifies nothing.
    pub(crate) fn key(&self) -> Result<VerifyingKey> {
        let (algorithm, bytes): (_, &[u8]) = match self {
            Self::Ed25519(bytes) => (Algorithm::Ed25519, bytes),
            Self::EcdsaP256(bytes) => (Algorithm::EcdsaP256, bytes),
        };
        VerifyingKey::from_bytes(algorithm, bytes).map_err(|_| Refusal::Signature.into())
    }
}

/// A purpose key, in the form that is attested.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum PurposeKeyWire {
    #[n(0)]
    Channel(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    #[n(1)]
    Credential(#[n(0)] VerifyingKeyWire),
}

impl TryFrom<&AgreementKey> for PurposeKeyWire {
    type Error = Error;

    fn try_from(key: &AgreementKey) -> Result<Self> {
        match key {
            AgreementKey::X25519(bytes) => Ok(Self::Channel(*bytes)),
            // The list of agreement keys is open; what Ockam attests is X25519 alone.
            other => {
                Err(Error::invalid(format!("a key of type {} cannot be a channel key", other.algorithm())))
            }
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct ChangeWire {
    #[n(0)]
    pub(crate) data: ByteVec,
    #[n(1)]
    pub(crate) signature: SignatureWire,
    #[cbor(n(2), decode_with = "decode_previous_signature")]
    pub(crate) previous_signature: Option<SignatureWire>,
}

/// A signature of a kind we do not know counts as absent, as in the reference. There the number of the kind has to fit
/// 32 bits; here the decoder would take any, and with it a first change that the reference refuses.
fn decode_previous_signature<'b, C>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
) -> std::result::Result<Option<SignatureWire>, minicbor::decode::Error> {
    let mut ahead = d.probe();
    if ahead.datatype()? == minicbor::data::Type::Array && ahead.array()? == Some(2) {
        ahead.u32()?;
    }
    Decode::decode(d, ctx)
}

/// The changes of a history, as many as are looked at: beyond [`MAX_CHANGES`] it is refused, whatever it holds.
#[derive(Debug, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct ChangesWire(#[cbor(n(0), decode_with = "decode_changes")] pub(crate) Vec<ChangeWire>);

fn decode_changes<'b, C>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
) -> std::result::Result<Vec<ChangeWire>, minicbor::decode::Error> {
    decode_list(d, ctx, MAX_CHANGES)
}

/// A list, of which one item beyond the limit is kept, so that it is known to be too long. What is small on the wire may be
/// large in memory: whoever sends it does not decide how much of that we hold.
pub(crate) fn decode_list<'b, C, T: Decode<'b, C>>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
    limit: usize,
) -> std::result::Result<Vec<T>, minicbor::decode::Error> {
    let mut list = Vec::new();
    for item in d.array_iter_with(ctx)? {
        let item = item?;
        if list.len() <= limit {
            list.push(item);
        }
    }
    Ok(list)
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct ChangeData {
    #[n(0)]
    pub(crate) previous_change: Option<ChangeHash>,
    #[n(1)]
    pub(crate) primary_public_key: VerifyingKeyWire,
    #[n(2)]
    pub(crate) revoke_all_purpose_keys: bool,
    #[n(3)]
    pub(crate) valid_from: TimestampWire,
    #[n(4)]
    pub(crate) valid_until: TimestampWire,
}

/// Seconds as an unsigned integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct TimestampWire(#[n(0)] u64);

impl From<Timestamp> for TimestampWire {
    fn from(time: Timestamp) -> Self {
        Self(time.0)
    }
}

impl From<TimestampWire> for Timestamp {
    fn from(time: TimestampWire) -> Self {
        Self(time.0)
    }
}

/// A signed body with one signature: an attestation, a credential, a request key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SignedWire {
    #[n(0)]
    pub(crate) data: ByteVec,
    #[n(1)]
    pub(crate) signature: SignatureWire,
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct AttestationData {
    #[n(0)]
    pub(crate) subject: Identifier,
    #[n(1)]
    pub(crate) subject_latest_change_hash: ChangeHash,
    #[n(2)]
    pub(crate) public_key: PurposeKeyWire,
    #[n(3)]
    pub(crate) created_at: TimestampWire,
    #[n(4)]
    pub(crate) expires_at: TimestampWire,
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct RequestKeyData {
    #[n(0)]
    pub(crate) subject: Identifier,
    #[n(1)]
    pub(crate) subject_latest_change_hash: ChangeHash,
    #[n(2)]
    pub(crate) public_key: VerifyingKeyWire,
    #[n(3)]
    pub(crate) created_at: TimestampWire,
    #[n(4)]
    pub(crate) expires_at: TimestampWire,
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct CredentialData {
    #[n(0)]
    pub(crate) subject: Option<Identifier>,
    #[n(1)]
    pub(crate) subject_latest_change_hash: Option<ChangeHash>,
    #[n(2)]
    pub(crate) attributes: AttributesWire,
    #[n(3)]
    pub(crate) created_at: TimestampWire,
    #[n(4)]
    pub(crate) expires_at: TimestampWire,
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct AttributesWire {
    #[n(0)]
    pub(crate) schema: u64,
    #[cbor(n(1), decode_with = "decode_attributes")]
    pub(crate) map: BTreeMap<ByteVec, ByteVec>,
}

/// Attributes, of which one beyond [`MAX_ATTRIBUTES`] is kept: as [`decode_list`]. Of equal names the last counts.
fn decode_attributes<'b, C>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut C,
) -> std::result::Result<BTreeMap<ByteVec, ByteVec>, minicbor::decode::Error> {
    let mut map = BTreeMap::new();
    for pair in d.map_iter_with::<C, ByteVec, ByteVec>(ctx)? {
        let (name, value) = pair?;
        if map.len() <= MAX_ATTRIBUTES || map.contains_key(&name) {
            map.insert(name, value);
        }
    }
    Ok(map)
}

#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct CredentialAndPurposeKeyWire {
    #[n(0)]
    pub(crate) credential: SignedWire,
    #[n(1)]
    pub(crate) purpose_key_attestation: SignedWire,
}

/// The hash that is signed: SHA-256 of the signed body.
pub(crate) fn signed_hash(body: &[u8]) -> [u8; 32] {
    *ChangeHash::of(body).as_bytes()
}

/// Checks a signature over a signed body.
pub(crate) fn check(key: &VerifyingKey, body: &[u8], signature: &SignatureWire) -> Result<()> {
    let _proof = key.verify(&signed_hash(body), &signature.into()).map_err(|_| Refusal::Signature)?;
    Ok(())
}

/// Reads hex text of a bounded length.
pub(crate) fn from_hex(text: &str, what: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    if text.len() > 2 * MAX_BYTES {
        return Err(Refusal::TooLarge.into());
    }
    hex::decode(text).map_err(|_| Error::malformed(format!("this is not a {what}: it is not hex")))
}
