//! Signatures of a vault before a library that neither we nor our dependencies use: OpenSSL, through Python's `cryptography`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails fails its test"
)]

use std::process::{Command, Stdio};
use std::time::Instant;

use vault::{Signer, block_on};

use crate::awskms::python;

const CALLERS: usize = 16;

/// A line for each signature: public key, message, signature. No `r` comes twice, and every `s` of ECDSA is in the lower half.
const JUDGE: &str = r#"
import sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
seen = set()
for line in sys.stdin:
    public, message, signature = (bytes.fromhex(part) for part in line.split())
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(public) == 65:
        assert s <= order // 2
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    else:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    assert r not in seen
    seen.add(r)
print(len(seen))
"#;

/// How many a backend has to make: ten thousand, unless `OCKAM_KMS_SIGNATURES` says otherwise.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn count() -> usize {
    std::env::var("OCKAM_KMS_SIGNATURES").map_or(10_000, |text| text.parse().unwrap())
}

/// Has several callers make so many signatures by these keys in turns, and has every one of them judged.
///
/// # Panics
/// When one does not hold, or when the judge accepts what was altered.
pub fn hold(signers: &[Signer], count: usize) {
    let start = Instant::now();
    let mut lines: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let sign = move |number: usize| {
                    let signer = &signers[number % signers.len()];
                    let message = format!("message {number}");
                    let signature = block_on(signer.sign(message.as_bytes())).unwrap();
                    let parts = [signer.public().as_bytes(), message.as_bytes(), signature.as_bytes()];
                    parts.map(hex::encode).join(" ")
                };
                scope.spawn(move || (caller..count).step_by(CALLERS).map(sign).collect::<Vec<_>>())
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let made = start.elapsed();
    assert_eq!(judge(&lines), Some(count));
    println!("{count} signatures made in {made:?} and verified in {:?}", start.elapsed() - made);
    // The judge refuses what is wrong.
    let last = lines[0].pop().unwrap();
    lines[0].push(if last == '0' { '1' } else { '0' });
    assert_eq!(judge(&lines), None);
}

/// How many different ones it accepted, or that it refused one.
fn judge(lines: &[String]) -> Option<usize> {
    let mut judge = Command::new(python());
    let judge = judge.args(["-c", JUDGE]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut judge = judge.stderr(Stdio::null()).spawn().unwrap();
    let mut input = judge.stdin.take().unwrap();
    let text = lines.join("\n");
    // It stops reading at the first that it refuses.
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
    let output = judge.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}
