//! Evidence about keys: the certificate that the card makes for a key that was generated on it, and the card's own above it
//! (slot f9), which the manufacturer issued.

use ::yubikey::ObjectId;
use ::yubikey::piv;
use vault::KeyEvidence;

use crate::card::Card;
use crate::errors::{Done, Trouble};
use crate::slots::Slot;

/// The data object that holds the certificate of slot f9.
const ATTESTATION_CERTIFICATE: ObjectId = 0x005f_ff01;
/// The longest certificate that is taken from a card.
const MAX_CERTIFICATE: usize = 4096;

/// What the card says of the key in a slot.
pub(crate) fn attest(card: &mut Card, slot: Slot) -> Done<KeyEvidence> {
    let id = slot.id()?;
    let certificate = card.call(|driver| piv::attest(driver, id))?.to_vec();
    let object = card.call(|driver| driver.fetch_object(ATTESTATION_CERTIFICATE))?;
    let intermediate = in_object(&object).ok_or(Trouble::Nonsense("no certificate of its own"))?.to_vec();
    if certificate.len().max(intermediate.len()) > MAX_CERTIFICATE {
        return Err(Trouble::Nonsense("a certificate that is too long"));
    }
    Ok(KeyEvidence::PivAttestation { certificate, intermediate })
}

/// The certificate in a data object: tag 70 with a length of BER-TLV, before what else is there (NIST SP 800-73-4 Part 1,
/// Appendix A).
fn in_object(object: &[u8]) -> Option<&[u8]> {
    let (first, rest) = object.strip_prefix(&[0x70])?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_as_long_as_its_length_says() {
        let long = [&[0x70, 0x82, 1, 0][..], &[7; 256], &[0x71, 1, 0, 0xfe, 0]].concat();
        assert_eq!(in_object(&long), Some(&[7; 256][..]));
        assert_eq!(in_object(&[0x70, 2, 1, 2, 0xfe, 0]), Some(&[1, 2][..]));
        assert_eq!(in_object(&[0x70, 0x81, 2, 1, 2]), Some(&[1, 2][..]));
        for bad in
            [&[][..], &[0x70], &[0x71, 0], &[0x70, 3, 1, 2], &[0x70, 0x82, 1], &[0x70, 0x83, 0, 0, 1, 1]]
        {
            assert_eq!(in_object(bad), None, "{bad:?}");
        }
    }
}
