//! Texts in payloads: BARE, the length as ULEB128 and then UTF-8.

/// The most bytes of a length: seven bits each make 64.
const MAX_LENGTH: usize = 10;
/// The bits of a length that one byte has.
const BITS: u32 = 7;
const MORE: u8 = 0x80;

/// A text as a payload.
#[must_use]
pub fn encode_text(text: &str) -> Vec<u8> {
    encode_data(text.as_bytes())
}

/// The text of a payload, when it is one and nothing else.
#[must_use]
pub fn decode_text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(decode_data(payload)?).ok()
}

/// Bytes with their length before them.
#[must_use]
pub(crate) fn encode_data(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + MAX_LENGTH);
    let mut left = data.len();
    loop {
        let low = u8::try_from(left & usize::from(!MORE)).unwrap_or_default();
        left >>= BITS;
        if left == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | MORE);
    }
    bytes.extend_from_slice(data);
    bytes
}

/// The bytes behind their length, when there are as many as it says.
pub(crate) fn decode_data(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(MAX_LENGTH) {
        let shift = u32::try_from(at).ok()?.checked_mul(BITS)?;
        let low = u64::from(byte & !MORE);
        let part = low.checked_shl(shift)?;
        // What does not fit is cut off by the shift.
        if part.checked_shr(shift)? != low {
            return None;
        }
        length |= part;
        if byte & MORE == 0 {
            let data = bytes.get(at.checked_add(1)?..)?;
            return (u64::try_from(data.len()).ok()? == length).then_some(data);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_the_bytes_that_are_known() {
        let known = hex::decode("0c48656c6c6f204f636b616d21").unwrap();
        assert_eq!(encode_text("Hello Ockam!"), known);
        assert_eq!(decode_text(&known), Some("Hello Ockam!"));
        assert_eq!(encode_text(&"a".repeat(300))[..2], [0xac, 0x02]);
    }

    #[test]
    fn what_is_no_text_is_none() {
        for hex in
            ["", "01", "0261", "016161", "01ff", "80", "ffffffffffffffffffff01", "ffffffffffffffffff7f61"]
        {
            assert_eq!(decode_text(&hex::decode(hex).unwrap()), None, "{hex}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in any::<String>()) {
            let payload = encode_text(&text);
            prop_assert_eq!(decode_text(&payload), Some(&*text));
        }
    }
}
