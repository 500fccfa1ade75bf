//! What the server does is what its OpenAPI document says: schemathesis makes requests of every operation, right and wrong,
//! unsigned, by a stranger and by an enroller, and checks status, type, headers and shape of every answer.
//!
//! `scripts/setup` installs schemathesis; the key that signs is made by its side (conformance/hooks.py).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use authority::store::query;
use identity::{REQUEST_KEY_SECONDS, RequestKeyAttestation, Validity};
use serde_json::json;
use vault::{Algorithm, VerifyingKey};

use crate::common::{NOW, Person, World, memory, person};
use crate::net::{Site, THEN, plain, shown_as};

/// The directory of the virtual environment that `scripts/setup` makes.
fn tools() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("OCKAM_KMS_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|cache| cache.join("ockam-kms")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/ockam-kms")))
        .unwrap();
    let tools = cache.join("schemathesis/bin");
    assert!(tools.join("st").exists(), "there is no schemathesis in {}: run scripts/setup", tools.display());
    tools
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(file)
}

/// Runs schemathesis against the server, in a directory of its own.
fn run(url: &str, dir: &Path, phases: &str, signed_as: Option<&Path>) -> Output {
    let mut command = Command::new(tools().join("st"));
    command.arg("--config-file").arg(here("schemathesis.toml"));
    command.args(["run", "--no-color", "--phases", phases, &format!("{url}/openapi.json")]).current_dir(dir);
    command
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", here(""))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    match signed_as {
        Some(path) => command.env("SIGNED_AS", path),
        None => command.env_remove("SIGNED_AS"),
    };
    command.output().unwrap()
}

/// A file that says who signs, with a key that the other side made and this person attests.
async fn who(site: &Site, somebody: &Person, dir: &Path) -> PathBuf {
    let key = dir.join("key");
    let made = Command::new(tools().join("python")).arg(here("hooks.py")).arg(&key).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let public = hex::decode(String::from_utf8(made.stdout).unwrap().trim()).unwrap();
    let public = VerifyingKey::from_bytes(Algorithm::Ed25519, &public).unwrap();
    let valid = Validity::starting(NOW, REQUEST_KEY_SECONDS);
    let attestation =
        RequestKeyAttestation::attest(&somebody.identity, &somebody.primary, &public, valid).await.unwrap();
    let said = json!({
        "key": key,
        "url": site.url(),
        "authority": site.world.root.identity.identifier(),
        "keyid": format!("{}:{}", somebody.identity.identifier(), somebody.identity.latest().hash()),
        "identity": shown_as(&somebody.identity, &attestation),
        "created": THEN.0,
    });
    let path = dir.join("who.json");
    std::fs::write(&path, said.to_string()).unwrap();
    path
}

fn conforms(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_requests_are_answered_as_documented() {
    let (site, dir) = (Site::new().await, tempfile::tempdir().unwrap());
    conforms(&run(&site.url(), dir.path(), "coverage", None));
    let members = query::members(site.world.held.store.view().unwrap(), None, 9).unwrap().items;
    assert_eq!(members.len(), 1, "nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_an_enroller_are_answered_as_documented() {
    let (site, dir) =
        (Site::of(World::new(memory).await, Default::default()).await, tempfile::tempdir().unwrap());
    let who = who(&site, &site.world.enroller, dir.path()).await;
    conforms(&run(&site.url(), dir.path(), "coverage,fuzzing", Some(&who)));
    // They were really taken: a run in which every signature is refused would conform as well.
    let log = site.world.audit_lines();
    for action in ["member-add", "ticket-make", "credential-issue"] {
        let done = log.iter().filter(|line| {
            line.contains(&format!(r#""action":"{action}""#)) && line.contains(r#""outcome":"done""#)
        });
        assert!(done.count() >= 3, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_stranger_are_answered_as_documented() {
    let (site, dir) = (Site::new().await, tempfile::tempdir().unwrap());
    let stranger = person(&site.world.vault).await;
    let who = who(&site, &stranger, dir.path()).await;
    conforms(&run(&site.url(), dir.path(), "fuzzing", Some(&who)));
    assert!(site.world.audit_lines().iter().any(|line| line.contains(r#""outcome":"forbidden""#)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_is_served_is_the_committed_one() {
    let site = Site::new().await;
    let answer = plain(&site, "GET", "/openapi.json").await;
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(format!("{}\n", answer.body), std::fs::read_to_string(committed).unwrap());
}
