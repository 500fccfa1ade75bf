//! BER-TLV as PIV uses it: tags of one or two bytes, lengths of one to three.

/// One data object.
pub(crate) fn tlv(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let mut out = tag.to_vec();
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend(value);
    out
}

/// The data objects in a row; nothing when they are cut off.
pub(crate) fn parse(mut data: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut objects = Vec::new();
    while let Some((first, mut rest)) = data.split_first() {
        let mut tag = u16::from(*first);
        if first & 0x1f == 0x1f {
            let (second, after) = rest.split_first()?;
            (tag, rest) = (tag << 8 | u16::from(*second), after);
        }
        let (length, rest) = match rest {
            [0x81, length, rest @ ..] => (usize::from(*length), rest),
            [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        objects.push((tag, value.to_vec()));
        data = rest;
    }
    Some(objects)
}

/// The value of the first object of this tag.
pub(crate) fn find(objects: &[(u16, Vec<u8>)], tag: u16) -> Option<&[u8]> {
    objects.iter().find(|(other, _)| *other == tag).map(|(_, value)| value.as_slice())
}
