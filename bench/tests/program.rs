//! The program as somebody runs it.

use std::process::Command;

#[test]
fn the_program_prints_and_writes_the_rows_that_are_asked_for() {
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

#[test]
fn what_is_not_understood_measures_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("--fast").output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("--only PATTERN"));
}
