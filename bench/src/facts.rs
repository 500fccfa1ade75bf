//! What the figures depend on: the machine and the versions.

use std::fs;
use std::thread::available_parallelism;

use serde_json::{Value, json};

/// The lock file that this was built from.
const LOCK: &str = include_str!("../Cargo.lock");

/// Those whose version says what was compared.
const SHOWN: [&str; 10] = [
    "ockam-kms-vault",
    "ockam-kms-identity",
    "ockam-kms-pkcs11",
    "ed25519-dalek",
    "p256",
    "sha2",
    "cryptoki",
    "ring",
    "ockam_identity",
    "ockam_vault",
];

/// The machine and the versions.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The processor's name.
    pub processor: String,
    /// How many threads run at once.
    pub cores: usize,
    /// How many wanted to run in the last minute, before this started: above the number of cores others were at work.
    pub load: f64,
    /// Each crate with its versions: a second one belongs to the published crates.
    pub versions: Vec<(String, Vec<String>)>,
    /// The token's module, when there is a token.
    pub module: Option<String>,
}

impl Facts {
    /// Of this machine, now.
    #[must_use]
    pub fn gather() -> Self {
        let versions = SHOWN.iter().map(|name| ((*name).to_owned(), versions_of(name))).collect();
        Self {
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: available_parallelism().map_or(1, usize::from),
            load: load(&fs::read_to_string("/proc/loadavg").unwrap_or_default()),
            versions,
            module: None,
        }
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(name, versions)| (name.clone(), json!(versions))).collect();
        json!({
            "processor": self.processor, "cores": self.cores, "load": self.load, "module": self.module,
            "optimised": optimised(), "versions": versions,
        })
    }
}

/// Whether this is a release build.
pub(crate) fn optimised() -> bool {
    !cfg!(debug_assertions)
}

fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "an unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn load(loadavg: &str) -> f64 {
    loadavg.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn versions_of(name: &str) -> Vec<String> {
    let mut lines = LOCK.lines();
    let mut found = Vec::new();
    let wanted = format!("name = \"{name}\"");
    while let Some(line) = lines.next() {
        if line == wanted {
            let version = lines.next().and_then(|line| line.strip_prefix("version = "));
            found.extend(version.map(|version| version.trim_matches('"').to_owned()));
        }
    }
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_is_shown_is_known() {
        for (name, versions) in Facts::gather().versions {
            assert!(!versions.is_empty(), "{name}");
        }
        assert_eq!(versions_of("ockam_identity"), ["0.134.0"]);
        assert_eq!(versions_of("ed25519-dalek").len(), 2);
    }

    #[test]
    fn the_machine_is_read() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(load("0.50 1.00 1.50 2/300 4711\n"), 0.5);
    }
}
