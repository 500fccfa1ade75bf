//! The edges between our crates are those that docs/architecture.md draws, and no other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its world should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Who may depend on whom. An edge that is not here fails the test; so does one that is here and not used.
const EDGES: &[(&str, &[&str])] = &[
    ("ockam-kms-policy-lang", &[]),
    ("ockam-kms-vault", &[]),
    ("ockam-kms-identity", &["ockam-kms-vault"]),
    ("ockam-kms-evidence", &["ockam-kms-vault"]),
    ("ockam-kms-channel", &["ockam-kms-identity", "ockam-kms-vault"]),
    (
        "ockam-kms-node",
        &["ockam-kms-channel", "ockam-kms-identity", "ockam-kms-policy-lang", "ockam-kms-vault"],
    ),
    ("ockam-kms-pkcs11", &["ockam-kms-vault"]),
    ("ockam-kms-aws-kms", &["ockam-kms-vault"]),
    ("ockam-kms-tpm", &["ockam-kms-vault"]),
    ("ockam-kms-yubikey", &["ockam-kms-vault"]),
    ("ockam-kms-home", &["ockam-kms-identity", "ockam-kms-vault"]),
    (
        "ockam-kms-authority",
        &["ockam-kms-evidence", "ockam-kms-identity", "ockam-kms-policy-lang", "ockam-kms-vault"],
    ),
    (
        "ockam-kms",
        &[
            "ockam-kms-authority",
            "ockam-kms-evidence",
            "ockam-kms-aws-kms",
            "ockam-kms-channel",
            "ockam-kms-home",
            "ockam-kms-identity",
            "ockam-kms-node",
            "ockam-kms-pkcs11",
            "ockam-kms-policy-lang",
            "ockam-kms-tpm",
            "ockam-kms-vault",
            "ockam-kms-yubikey",
        ],
    ),
];

/// May depend on everything, and nothing may depend on it.
const TESTS: &str = "ockam-kms-tests";

/// What no crate of ours may ever pull in outside the workspaces that judge and measure.
const NEVER: &[&str] = &["ockam", "ockam_core", "ockam_identity", "ockam_vault", "ockam_api", "openssl-sys"];

fn metadata() -> serde_json::Value {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Our crates and those of ours that each depends on to be built (not to be tested).
fn ours(metadata: &serde_json::Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap();
    let local: Vec<_> = packages.iter().filter(|package| package["source"].is_null()).collect();
    let names: BTreeSet<_> =
        local.iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    local
        .iter()
        .map(|package| {
            let edges = package["dependencies"].as_array().unwrap().iter();
            let edges = edges
                .filter(|edge| edge["kind"].as_str() != Some("dev"))
                .map(|edge| edge["name"].as_str().unwrap().to_owned())
                .filter(|name| names.contains(name));
            (package["name"].as_str().unwrap().to_owned(), edges.collect())
        })
        .collect()
}

#[test]
fn only_the_drawn_edges_exist() {
    let found = ours(&metadata());
    let mut drawn: BTreeMap<String, BTreeSet<String>> = EDGES
        .iter()
        .map(|(name, edges)| ((*name).to_owned(), edges.iter().map(|edge| (*edge).to_owned()).collect()))
        .collect();
    let mut found_without_tests = found.clone();
    assert!(found_without_tests.remove(TESTS).is_some());
    for (name, edges) in &found_without_tests {
        let allowed = drawn.remove(name).unwrap_or_else(|| panic!("{name} is not in the picture"));
        assert_eq!(*edges, allowed, "the edges of {name}");
    }
    assert!(drawn.is_empty(), "drawn and not there: {drawn:?}");
}

#[test]
fn nothing_depends_on_the_command_line_or_the_tests() {
    for (name, edges) in ours(&metadata()) {
        if name != TESTS {
            assert!(!edges.contains("ockam-kms"), "{name} depends on the command line");
        }
        assert!(!edges.contains(TESTS), "{name} depends on the tests");
    }
}

#[test]
fn the_judges_stay_outside() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!NEVER.contains(&name), "{name} is in the dependency graph");
    }
}

/// The features that a crate of ours has in the product as it is built, whatever the tests turn on beside it.
fn features_in_the_product(package: &str) -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "ockam-kms", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} [{f}]", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = tree.lines().filter(|line| line.split(' ').next() == Some(package)).collect();
    assert!(!lines.is_empty(), "{package} is part of the product");
    lines
        .iter()
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .flat_map(|(features, _)| features.split(','))
        .filter(|feature| !feature.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_door_of_the_tests_is_in_the_product() {
    for package in ["ockam-kms-vault", "ockam-kms-pkcs11", "ockam-kms-home", "ockam-kms-authority"] {
        let features = features_in_the_product(package);
        for door in ["danger", "conformance", "controls", "fuzzing"] {
            assert!(!features.contains(door), "{package} is built with the feature `{door}`");
        }
    }
    // A crate whose features are known, to see that they are read.
    assert!(features_in_the_product("p256").contains("ecdsa"));
    // What only fuzz/ does without is in the product.
    assert!(features_in_the_product("ockam-kms-authority").contains("rocks"));
}

/// What a manifest says about `unsafe`: nothing can allow again what is forbidden.
fn forbids_unsafe(manifest: &str) -> bool {
    let section = |name: &str| {
        let after = manifest.split_once(&format!("\n[{name}]\n"))?.1;
        Some(after.split("\n[").next().unwrap_or(after).to_owned())
    };
    let says =
        |name: &str, line: &str| section(name).is_some_and(|text| text.lines().any(|each| each == line));
    let member = manifest.contains("\n[package]\n") || manifest.starts_with("[package]\n");
    let itself = says("lints.rust", "unsafe_code = \"forbid\"");
    let members = says("workspace.lints.rust", "unsafe_code = \"forbid\"");
    if member { itself || says("lints", "workspace = true") } else { members }
}

#[test]
fn no_crate_of_ours_may_be_unsafe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = Command::new("git").args(["ls-files", "*Cargo.toml"]).current_dir(&root).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let wrong: Vec<_> = listed
        .lines()
        .filter(|path| !forbids_unsafe(&std::fs::read_to_string(root.join(path)).unwrap()))
        .collect();
    assert!(listed.lines().count() >= 12, "{listed}");
    assert!(wrong.is_empty(), "`unsafe_code = \"forbid\"` is not in force in {wrong:?}");
    // The control: a manifest that only denies, one that says nothing, one that says it of others.
    for manifest in [
        "[package]\nname = \"x\"\n\n[lints.rust]\nunsafe_code = \"deny\"\n",
        "[package]\nname = \"x\"\n",
        "[package]\nname = \"x\"\n\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n",
        "[workspace]\nmembers = []\n\n[lints]\nworkspace = true\n",
    ] {
        assert!(!forbids_unsafe(manifest), "{manifest}");
    }
}
