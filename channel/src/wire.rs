//! The CBOR shapes inside a channel (docs/formats.md, "secure channels"). What a peer signed is taken and passed on as the
//! bytes that came, never encoded again: [`Raw`].

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The most credentials that are looked at. Peers present one.
pub(crate) const MAX_CREDENTIALS: usize = 16;

/// One CBOR item, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'b>(pub(crate) &'b [u8]);

impl<'b, C> Decode<'b, C> for Raw<'b> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let start = d.position();
        d.skip()?;
        let item = d.input().get(start..d.position());
        item.map(Raw).ok_or_else(minicbor::decode::Error::end_of_input)
    }
}

impl<C> Encode<C> for Raw<'_> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.writer_mut().write_all(self.0).map_err(minicbor::encode::Error::write)
    }
}

/// What both sides show of themselves in a handshake.
#[derive(Debug, Encode, Decode)]
pub(crate) struct IdentityAndCredentials<'b> {
    #[b(0)]
    pub(crate) history: Raw<'b>,
    #[b(1)]
    pub(crate) attestation: Raw<'b>,
    #[cbor(b(2), decode_with = "decode_credentials")]
    pub(crate) credentials: Vec<Raw<'b>>,
}

/// New credentials, by which those from before are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RefreshWire<'b> {
    #[b(0)]
    pub(crate) history: Raw<'b>,
    #[cbor(b(1), decode_with = "decode_credentials")]
    pub(crate) credentials: Vec<Raw<'b>>,
}

fn decode_credentials<'b, C>(
    d: &mut Decoder<'b>,
    ctx: &mut C,
) -> Result<Vec<Raw<'b>>, minicbor::decode::Error> {
    decode_list(d, ctx, MAX_CREDENTIALS)
}

/// A list that ends the decoding when it is too long: what is small on the wire may be large in memory.
pub(crate) fn decode_list<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    ctx: &mut C,
    limit: usize,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let mut list = Vec::new();
    for item in d.array_iter_with(ctx)? {
        if list.len() == limit {
            return Err(minicbor::decode::Error::message("the list is too long"));
        }
        list.push(item?);
    }
    Ok(list)
}

/// Decodes a whole input, with nothing after its end.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().ok()?;
    (decoder.position() == bytes.len()).then_some(value)
}
