//! `cargo run --release [-- --all]`: runs each case under valgrind, with its secret bytes marked as undefined, and reports every jump
//! and every address that depends on them (the method known as ctgrind). A finding that is not in [`ALLOWED`] fails. Cases
//! that leak on purpose have to be found, or the whole run fails: that is how we know that it can see.
//!
//! What runs is the code of the product in its release profile. Two things differ from a production machine: valgrind has no
//! SHA and AVX-512 instructions, so that the libraries choose their other implementations, and what a token does inside is
//! out of sight. The case with Argon2id takes a minute or more and runs with `--all` only; the rest of an unlock, unsealing by
//! a secret key, always runs. Tickets are not here: a code is looked up under its SHA-256 with the authority's identifier, so nothing
//! secret is compared with what a stranger sends. A token compares its PIN itself.

mod cases;
mod findings;

use std::process::{Command, ExitCode};

use cases::{CASES, Case};
use findings::{Finding, read};

/// A finding that gives nothing away: functions of the calls that led to it, from the innermost on, and why.
struct Allowed {
    calls: &'static [&'static str],
    why: &'static str,
    /// Whether only slow cases lead to it.
    slow: bool,
}

const fn allowed(calls: &'static [&'static str], why: &'static str) -> Allowed {
    Allowed { calls, why, slow: false }
}

const RANGE: &str = "whether a scalar is in range: all but one in 2^32 are, and others are drawn again";
const PUBLIC: &str = "r and s are the signature";
const HALF: &str = "the public half is public";
const TAG: &str = "whether the tag is right: the answer";
const ALLOWED: &[Allowed] = &[
    allowed(&["from<elliptic_curve::scalar::value::ScalarValue", "ScalarValue<C>::from_slice"], RANGE),
    allowed(
        &["from<elliptic_curve::scalar::value::ScalarValue", "from_bytes<p256::NistP256> (src/secret_key.rs"],
        RANGE,
    ),
    allowed(&["from_bytes<p256::NistP256> (src/secret_key.rs"], RANGE),
    allowed(&["rfc6979::KGenerator", "sign_prehashed_rfc6979"], RANGE),
    allowed(&["from<elliptic_curve::scalar::nonzero::NonZeroScalar", "sign_prehashed_rfc6979"], RANGE),
    allowed(&["unwrap<p256::arithmetic::scalar::Scalar>", "invert<p256::NistP256>"], RANGE),
    allowed(&["unwrap<elliptic_curve::scalar::value::ScalarValue", "(src/scalar/nonzero.rs"], RANGE),
    allowed(&["ecdsa::Signature<C>::from_scalars", "sign_prehashed<p256::NistP256>"], PUBLIC),
    allowed(&["unwrap<elliptic_curve::scalar::nonzero::NonZeroScalar", "normalize_s"], PUBLIC),
    allowed(&["vault::public::P256Point::of"], HALF),
    allowed(&["", "vault::public::P256Point::of"], HALF),
    allowed(&["vault::soft::key::PublicOf>::public_of"], HALF),
    allowed(&["", "vault::soft::key::PublicOf>::public_of"], HALF),
    allowed(&["vault::soft::key::Material::agree"], "whether the shared secret is all zero: the answer"),
    allowed(&["decrypt_inout_detached", "vault::soft::aead::unseal"], TAG),
    allowed(&["map_err<(), aead::Error", "vault::soft::aead::unseal"], TAG),
    Allowed {
        calls: &["", "argon2::Argon2::fill_blocks"],
        why: "Argon2id reads where the passphrase says (RFC 9106 \u{a7}3.4.1.2), which is what makes guessing dear",
        slow: true,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (first, second) = (arguments.next(), arguments.next());
    if let (Some("--case"), Some(name)) = (first.as_deref(), second.as_deref()) {
        let case = CASES.iter().find(|case| case.name == name);
        case.map(|case| (case.run)());
        return if case.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let all = first.as_deref() == Some("--all");
    let mut good = true;
    let mut used = vec![false; ALLOWED.len()];
    for case in CASES.iter().filter(|case| all || !case.slow) {
        match watch(case) {
            Ok(findings) => good &= judge(case, &findings, &mut used),
            Err(error) => {
                eprintln!("constant-time: {}: {error}", case.name);
                good = false;
            }
        }
    }
    // Which function of a call chain a finding lies in is for the compiler to say, so it is the reasons that have to be found.
    for one in ALLOWED.iter().filter(|one| all || !one.slow) {
        let found = ALLOWED.iter().zip(&used).any(|(other, used)| *used && other.why == one.why);
        if !found {
            println!(
                "allowed and not found, so take it off the list: {} ({})",
                one.calls.join(" in "),
                one.why
            );
            good = false;
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case under valgrind.
fn watch(case: &Case) -> Result<Vec<Finding>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args([
            "--tool=memcheck",
            "--leak-check=no",
            "--error-limit=no",
            "--num-callers=30",
            "--read-inline-info=yes",
        ])
        .arg(program)
        .args(["--case", case.name])
        .output()
        .map_err(|e| format!("valgrind cannot be started ({e}): scripts/setup installs it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("it failed: {}\n{text}", output.status));
    }
    if !text.contains("ERROR SUMMARY") {
        return Err(format!("no report from valgrind:\n{text}"));
    }
    Ok(read(&text))
}

/// Prints how a case fared, and says whether that is how it should.
fn judge(case: &Case, findings: &[Finding], used: &mut [bool]) -> bool {
    let mut allowed = 0;
    let mut left = Vec::new();
    for finding in findings {
        let known = ALLOWED.iter().position(|allowed| finding.is_in(allowed.calls));
        match known.and_then(|place| used.get_mut(place)) {
            Some(used) => {
                *used = true;
                allowed += 1;
            }
            None => left.push(finding),
        }
    }
    let good = left.is_empty() != case.leaks;
    println!(
        "{:<44} {:>3} findings, {allowed:>3} allowed: {}",
        case.name,
        left.len() + allowed,
        match (good, case.leaks) {
            (true, false) => "constant",
            (true, true) => "leaks, as it is meant to",
            (false, false) => "LEAKS",
            (false, true) => "LEAKS ON PURPOSE AND WAS NOT CAUGHT",
        }
    );
    if !good {
        left.iter().for_each(|finding| println!("{finding}"));
    }
    good
}
