//! One verdict by every verifier: the vectors of Wycheproof and edge cases made here go through ours, through the libraries
//! that sign for us and through the one that verifies for us, and their verdicts are on record. The rule that decides is
//! written out beside them (docs/formats.md, "signatures"). No token verifies for us: `C_Verify` is never called.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod ed25519;
mod p256;

use std::fmt::Write as _;
use std::path::Path;

/// A question to all verifiers, and the answer that the rule gives.
struct Case {
    name: String,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    rule: bool,
}

/// A verifier: key, message and signature as bytes.
type Verifier = fn(&[u8], &[u8], &[u8]) -> bool;

/// The verdicts on all cases as a table, checked against the rule. The verifiers after the first `bound` are shown, not held.
fn table(cases: &[Case], verifiers: &[(&str, Verifier)], bound: usize) -> String {
    let word = |verdict| if verdict { "yes" } else { "no" };
    let mut text = format!("{:<64} | rule", "");
    for (name, _) in verifiers {
        let _ = write!(text, " | {name}");
    }
    text.push('\n');
    for case in cases {
        let _ = write!(text, "{:<64} | {:<4}", case.name, word(case.rule));
        for (place, (name, verify)) in verifiers.iter().enumerate() {
            let verdict = verify(&case.key, &case.message, &case.signature);
            assert!(place >= bound || verdict == case.rule, "{name} says {verdict}: {}", case.name);
            let _ = write!(text, " | {:<width$}", word(verdict), width = name.len());
        }
        let trimmed = text.trim_end().len();
        text.truncate(trimmed);
        text.push('\n');
    }
    text
}

/// One line about a set of Wycheproof, after checking that all verifiers agree on all of it.
fn agreed(set: &str, cases: &[Case], verifiers: &[(&str, Verifier)]) -> String {
    table(cases, verifiers, verifiers.len());
    let accepted = cases.iter().filter(|case| case.rule).count();
    format!("{set}: {} vectors, {accepted} accepted, no verifier differs\n", cases.len())
}

/// Compares with a recorded file; `UPDATE_GOLDEN=1` records instead.
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

#[test]
fn a_verifier_that_differs_is_caught() {
    let case = |rule| Case { name: "c".into(), key: vec![], message: vec![], signature: vec![], rule };
    let takes_all: Verifier = |_, _, _| true;
    table(&[case(true)], &[("all", takes_all)], 1);
    table(&[case(false)], &[("all", takes_all)], 0);
    let caught = std::panic::catch_unwind(|| table(&[case(true), case(false)], &[("all", takes_all)], 1));
    assert!(caught.is_err());
}
