//! The edges between our crates are those that docs/architecture.md draws, and no other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

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
        &[
            "ockam-kms-channel",
            "ockam-kms-evidence",
            "ockam-kms-identity",
            "ockam-kms-node",
            "ockam-kms-policy-lang",
            "ockam-kms-vault",
        ],
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

/// A PKCS#11 module for tests: it stands alone.
const CHAOS: &str = "ockam-kms-chaos-module";

/// Libraries that C programs load, for tests alone: such a door cannot be made without `unsafe`.
const DOORS: [&str; 2] = ["tests/chaos-module/Cargo.toml", "tests/kryoptic/Cargo.toml"];

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
    assert_eq!(found_without_tests.remove(CHAOS), Some(BTreeSet::new()));
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
        assert!(!edges.contains(CHAOS), "{name} depends on a module of the tests");
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

/// The features with which the product is made. Every other one that a crate of ours has is a door for tests or fuzz/.
const SHIPPED: [&str; 4] = ["default", "rocks", "tpm", "yubikey"];

/// The features of each crate of ours that the product must not be built with.
fn doors(metadata: &serde_json::Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| package["source"].is_null() && package["name"] != TESTS)
        .map(|package| {
            let features = package["features"].as_object().unwrap().keys();
            let doors = features.filter(|feature| !SHIPPED.contains(&feature.as_str())).cloned().collect();
            (package["name"].as_str().unwrap().to_owned(), doors)
        })
        .filter(|(_, doors): &(_, BTreeSet<_>)| !doors.is_empty())
        .collect()
}

/// The crates of the product as it is built, whatever the tests turn on beside it: a line for each, with its features.
fn tree_of_the_product() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "ockam-kms", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} [{f}]", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The features that a crate has there.
fn features_in(tree: &str, package: &str) -> BTreeSet<String> {
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
    let (tree, doors) = (tree_of_the_product(), doors(&metadata()));
    for (package, doors) in &doors {
        let open: Vec<_> = features_in(&tree, package).intersection(doors).cloned().collect();
        assert!(open.is_empty(), "{package} is built with the features {open:?}");
    }
    // Doors that are known, to see that they are found.
    for (package, door) in [
        ("ockam-kms-vault", "danger"),
        ("ockam-kms-vault", "conformance"),
        ("ockam-kms-pkcs11", "danger"),
        ("ockam-kms-tpm", "danger"),
        ("ockam-kms-authority", "controls"),
        ("ockam-kms-channel", "fuzzing"),
        ("ockam-kms-home", "fuzzing"),
        ("ockam-kms-node", "fuzzing"),
    ] {
        assert!(doors.get(package).is_some_and(|doors| doors.contains(door)), "{package}: {door}");
    }
    // A crate whose features are known, to see that they are read.
    assert!(features_in(&tree, "p256").contains("ecdsa"));
    // What only fuzz/ does without is in the product.
    assert!(features_in(&tree, "ockam-kms-authority").contains("rocks"));
}

/// The versions of a crate in a lock file, and the names of what they depend on.
#[derive(Default)]
struct Locked {
    versions: BTreeSet<String>,
    needs: BTreeSet<String>,
}

fn locked(lock: &str) -> BTreeMap<String, Locked> {
    let mut all = BTreeMap::<String, Locked>::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let field =
            |name: &str| package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        let one = all.entry(field("name").unwrap().trim_matches('"').to_owned()).or_default();
        one.versions.insert(field("version").unwrap().trim_matches('"').to_owned());
        // Where there are several versions of a crate, one is named behind it.
        let needs = package.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
        one.needs.extend(needs.map(str::to_owned));
    }
    all
}

/// What is said of the release profile and of crates in it, but for what concerns nobody but a debugger.
fn release_profile(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let sections = manifest.split("\n[").filter(|section| section.starts_with("profile.release"));
    sections
        .map(|section| {
            let mut lines = section.lines();
            let name = lines.next().unwrap().trim_end_matches(']').to_owned();
            let says =
                lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("debug"));
            (name, says.map(str::to_owned).collect())
        })
        .collect()
}

/// tests/constant-time is a workspace of its own: what it says holds for the product as long as both are made of the same crates
/// in the same way.
#[test]
fn constant_time_watches_what_the_product_is_made_of() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (product, watched) = (locked(&read("Cargo.lock")), locked(&read("tests/constant-time/Cargo.lock")));
    let (mut ahead, mut seen) = (vec!["ockam-kms-vault".to_owned()], BTreeSet::new());
    while let Some(name) = ahead.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let one = &watched[&name];
        let shipped = product.get(&name).unwrap_or_else(|| panic!("{name} is not in the product"));
        assert!(
            one.versions.is_subset(&shipped.versions),
            "{name} is watched as {:?} and shipped as {:?}: `cargo update --precise` in tests/constant-time",
            one.versions,
            shipped.versions
        );
        ahead.extend(one.needs.iter().cloned());
    }
    for name in ["aes-gcm", "curve25519-dalek", "ed25519-dalek", "p256", "primeorder", "subtle", "zeroize"] {
        assert!(seen.contains(name), "{name} is not looked at");
    }

    let (product, watched) =
        (release_profile(&read("Cargo.toml")), release_profile(&read("tests/constant-time/Cargo.toml")));
    assert_eq!(watched, product, "the release profile, watched and shipped");
    let checks = |of: &str| product[of].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(checks("profile.release"), ["overflow-checks = true"]);
    assert_eq!(checks("profile.release.package.p256"), ["overflow-checks = false"]);
    // Every crate that is named there is there: another spelling would say nothing.
    for of in product.keys().filter_map(|name| name.strip_prefix("profile.release.package.")) {
        assert!(seen.contains(of), "{of} is no crate of the vault");
    }
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
        .filter(|path| !DOORS.contains(path))
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
