//! The control: a decoder that is wrong, so that a run which finds nothing elsewhere is known to be able to find something.

/// A record `OKMS`, a count, and that many bytes, whose decoder believes the count.
pub fn control(data: &[u8]) {
    let Some((magic, rest)) = data.split_first_chunk() else { return };
    // As a number: what compares numbers is traced, so that the fuzzer learns what it is compared with.
    if u32::from_be_bytes(*magic) != u32::from_be_bytes(*b"OKMS") {
        return;
    }
    let Some((count, bytes)) = rest.split_first() else { return };
    // The planted fault: a count of more bytes than there are.
    let body = &bytes[..usize::from(*count)];
    assert_eq!(body.len(), usize::from(*count));
}
