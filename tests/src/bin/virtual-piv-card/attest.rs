//! Certificates in DER (RFC 5280 §4.1): the card's own, signed by its maker, and one for each key generated on it.

use crate::keys;
use crate::state::{Slot, State};
use crate::tlv::tlv;

const ECDSA_WITH_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];
/// 1.3.6.1.4.1.41482.3, under which the maker of YubiKeys has its extensions.
const EXTENSIONS: [u8; 9] = [0x2b, 6, 1, 4, 1, 0x82, 0xc4, 0x0a, 3];

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(&[0x30], &parts.concat())
}

fn name(common: &str) -> Vec<u8> {
    sequence(&[&tlv(&[0x31], &sequence(&[COMMON_NAME, &tlv(&[0x0c], common.as_bytes())]))])
}

fn spki(algorithm: u8, public: &[u8]) -> Vec<u8> {
    let identifier: &[u8] = match algorithm {
        keys::P256 => {
            &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]
        }
        keys::ED25519 => &[0x06, 3, 0x2b, 0x65, 0x70],
        _ => &[0x06, 3, 0x2b, 0x65, 0x6e],
    };
    sequence(&[&tlv(&[0x30], identifier), &tlv(&[0x03], &[&[0], public].concat())])
}

fn extension(last: u8, value: &[u8]) -> Vec<u8> {
    let oid = [&EXTENSIONS[..], &[last]].concat();
    sequence(&[&tlv(&[0x06], &oid), &tlv(&[0x04], value)])
}

fn certificate(subject: &str, key: &[u8], issuer: (&str, &[u8; 32]), extensions: &[u8]) -> Vec<u8> {
    let algorithm = tlv(&[0x30], ECDSA_WITH_SHA256);
    let mut serial = [0; 8];
    getrandom::fill(&mut serial).unwrap();
    serial[0] = serial[0] & 0x7f | 1;
    let validity = sequence(&[&tlv(&[0x17], b"160314000000Z"), &tlv(&[0x18], b"20520417000000Z")]);
    let mut body = vec![
        tlv(&[0xa0], &[2, 1, 2]),
        tlv(&[2], &serial),
        algorithm.clone(),
        name(issuer.0),
        validity,
        name(subject),
        key.to_vec(),
    ];
    if !extensions.is_empty() {
        body.push(tlv(&[0xa3], &tlv(&[0x30], extensions)));
    }
    let body = tlv(&[0x30], &body.concat());
    let signature = keys::ecdsa_sha256(issuer.1, &body);
    sequence(&[&body, &algorithm, &tlv(&[0x03], &[&[0], signature.as_slice()].concat())])
}

const MAKER: &str = "Virtual PIV Root CA";
const CARD: &str = "Virtual PIV Attestation";

/// The maker's own certificate, which a verifier has to know.
pub(crate) fn maker(state: &State) -> Vec<u8> {
    let basic =
        sequence(&[&[0x06, 3, 0x55, 0x1d, 0x13], &[1, 1, 0xff], &tlv(&[4], &sequence(&[&[1, 1, 0xff]]))]);
    certificate(MAKER, &spki(keys::P256, &keys::point(&state.maker)), (MAKER, &state.maker), &basic)
}

/// The card's certificate in slot F9.
pub(crate) fn card(state: &State) -> Vec<u8> {
    let basic =
        sequence(&[&[0x06, 3, 0x55, 0x1d, 0x13], &[1, 1, 0xff], &tlv(&[4], &sequence(&[&[1, 1, 0xff]]))]);
    let key = spki(keys::P256, &keys::point(&state.attestation));
    certificate(CARD, &key, (MAKER, &state.maker), &basic)
}

/// What the card says of a key generated on it: firmware, serial number, policies.
pub(crate) fn slot(state: &State, number: u8, slot: &Slot) -> Vec<u8> {
    let serial = [&[0], state.serial.to_be_bytes().as_slice()].concat();
    let extensions = [
        extension(3, &state.version),
        extension(7, &tlv(&[2], serial.strip_prefix(&[0]).filter(|s| s[0] < 0x80).unwrap_or(&serial))),
        extension(8, &[slot.pin_policy, slot.touch_policy]),
    ]
    .concat();
    let key = spki(slot.algorithm, &keys::public(slot));
    certificate(&format!("YubiKey PIV Attestation {number:x}"), &key, (CARD, &state.attestation), &extensions)
}
