//! Every row runs, and what its contenders make and accept is right. How long it takes is nobody's business here.

use std::collections::BTreeSet;
use std::process::Command;

use bench::softhsm::{Process, Token};
use bench::{Plan, all_rows, measure};

#[test]
fn every_contender_of_every_row_is_right() {
    let token = match Token::enter().unwrap() {
        Process::Done(status) => return assert!(status.success(), "the second process failed: {status}"),
        Process::Inside(token) => token.expect("the rows on a token need SoftHSM: scripts/setup"),
    };
    let (rows, module) = all_rows(Ok(&token), |_| true).unwrap();
    assert!(module.unwrap().contains("SoftHSM"));
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names.len(), rows.len(), "two rows of one name");
    let count = |part: &str| names.iter().filter(|name| name.contains(part)).count();
    assert_eq!((count("in software"), count("on a token")), (4, 8));
    assert_eq!(
        (count("verify an identity"), count("issue a credential"), count("verify a credential")),
        (4, 4, 2)
    );
    assert_eq!(count("ed25519"), count("p256"));
    for mut row in rows {
        assert!(row.contenders.len() > 1, "{} compares nothing", row.name);
        let measured =
            measure(&mut row.contenders, Plan::smoke()).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        let callers = if row.name.contains("64 callers") { 64 } else { 1 };
        for one in measured {
            assert_eq!(one.operations, callers, "{}: {}", row.name, one.name);
            assert!(one.nanos.median > 0.0, "{}: {}", row.name, one.name);
        }
    }
}

#[test]
fn the_program_prints_and_writes_the_rows_that_are_asked_for() {
    if std::env::var_os("SOFTHSM2_CONF").is_some() {
        return; // The second process of the test above, which runs every test of this file.
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--seconds", "0.02", "--only", "verify an identity of 1 change, ed25519", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("\nverify an identity of 1 change, ed25519\n  identity: Identity::import "),
        "{text}"
    );
    assert!(!text.contains("p256\n"), "{text}");
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(figures["rows"].as_array().unwrap().len(), 1);
    let contenders = figures["rows"][0]["contenders"].as_array().unwrap();
    assert_eq!(contenders.len(), 3);
    assert!(contenders.iter().all(|one| one["ours_over_this"]["median"].as_f64().unwrap() > 0.0));
}
