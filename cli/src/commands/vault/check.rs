//! `vault check`: tries out what a vault says it can do, with keys that are thrown away, tells what its device says that it
//! is, and warns of what its guard is worth less for.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use vault::soft::LockedBy;
use vault::{
    Agreement, Agreer, Algorithm, Custody, Inventory, KeyName, KeySpec, KeyUri, Left, Operation, PurposeKind,
    Result as VaultResult, Scheme, Sealer, Sealing, Signer, Signing, Vault,
};

use super::lock::Shown;
use crate::context::{Context, optional_name, random_name};
use crate::error::Result;
use crate::exit::Kind;
use crate::interrupt;
use crate::output::Report;

/// How far a key came: else the operation that failed, and why.
type Step<T> = std::result::Result<T, (Operation, vault::Error)>;

struct Line {
    algorithm: Algorithm,
    operation: Operation,
    ok: bool,
    note: String,
}

pub(super) fn run(context: &Context, named: Option<&str>) -> Result<Report> {
    let home = context.read()?;
    let name = home.vault_or_default(optional_name("a vault", named)?.as_ref())?;
    let uri = home.vault(&name)?.uri()?;
    let vault = vault::block_on(context.vaults()?.open(&name))?;
    let mut lines = Vec::new();
    for capability in vault.capabilities().iter() {
        let (mut note, key) = (capability.note.to_owned(), random_name("check")?);
        let whole = interrupt::hold();
        let tried = vault::block_on(try_out(&vault, capability.algorithm, &key));
        drop(whole);
        for operation in capability.operations() {
            let failed = tried.as_ref().err().filter(|(at, _)| *at == operation);
            lines.push(Line {
                algorithm: capability.algorithm,
                operation,
                ok: failed.is_none() && tried.as_ref().err().is_none_or(|(at, _)| *at >= operation),
                note: failed.map_or_else(|| std::mem::take(&mut note), |(_, error)| error.to_string()),
            });
        }
    }
    let lock = Shown::of(home, &name);
    let mut warnings = warnings(&uri, &lock);
    let inventory = match vault::block_on(vault.inventory()) {
        Ok(inventory) => {
            warnings.extend(inventory.warnings());
            Some(inventory)
        }
        Err(error) => {
            warnings.push(format!("the device does not say what it is: {error}"));
            None
        }
    };
    Ok(report(name.as_str(), uri.scheme(), &lock, inventory.as_ref(), &lines, &warnings))
}

fn report(
    name: &str,
    scheme: Scheme,
    lock: &Shown,
    inventory: Option<&Inventory>,
    lines: &[Line],
    warnings: &[String],
) -> Report {
    let mut plain = vec![format!("vault `{name}` ({scheme}), locked by {}", lock.plain())];
    for (what, text) in inventory.map(Inventory::lines).unwrap_or_default() {
        plain.push(format!("  {what:<11} {text}"));
    }
    for line in lines {
        let (sign, note) = (if line.ok { "ok" } else { "FAILED" }, &line.note);
        let text = format!("  {:<11} {:<9} {sign:<7} {note}", line.algorithm.name(), line.operation.name());
        plain.push(text.trim_end().to_owned());
    }
    plain.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    let all = lines.iter().all(|line| line.ok);
    let json = json!({
        "vault": name,
        "backend": scheme.name(),
        "lock": lock.json(),
        "inventory": inventory.map(told),
        "lines": lines.iter().map(|line| json!({
            "algorithm": line.algorithm.name(), "operation": line.operation.name(), "ok": line.ok, "note": line.note,
        })).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    let report = Report::new(plain.join("\n"), json);
    if all { report } else { report.refusing(Kind::Rejected) }
}

/// An inventory in JSON (docs/formats.md).
fn told(inventory: &Inventory) -> Value {
    let versions = inventory.versions().iter();
    let tries = inventory.tries().iter().map(|tries| {
        let left = match tries.left {
            Left::Exactly(number) => Some(number),
            Left::Fewer => None,
        };
        json!({ "secret": tries.secret, "left": left })
    });
    let capacity = inventory.capacity().iter();
    json!({
        "product": inventory.product(),
        "versions": versions.map(|version| json!({
            "what": version.what, "of": version.of, "value": version.value,
        })).collect::<Vec<_>>(),
        "tries": tries.collect::<Vec<_>>(),
        "capacity": capacity.map(|room| json!({
            "what": room.what, "free": room.free, "total": room.total,
        })).collect::<Vec<_>>(),
        "default_secrets": inventory.default_secrets(),
        "weaknesses": inventory.weaknesses().map(|(weakness, version)| json!({
            "id": weakness.id, "part": version.what, "text": weakness.text, "fix": weakness.fix,
        })).collect::<Vec<_>>(),
    })
}

/// A whole life of a key; fails with the operation that failed. Nothing is left behind.
async fn try_out(vault: &Arc<dyn Vault>, algorithm: Algorithm, name: &KeyName) -> Step<()> {
    let lived = match algorithm.purpose() {
        PurposeKind::Signing => sign(vault, algorithm, name).await,
        PurposeKind::Agreement => agree(vault, algorithm, name).await,
        PurposeKind::Sealing => seal(vault, algorithm, name).await,
    };
    if lived.is_err() {
        let left = match algorithm.purpose() {
            PurposeKind::Signing => vault.signing().map(|facet| Custody::<Signing>::discard(facet, name)),
            PurposeKind::Agreement => {
                vault.agreement().map(|facet| Custody::<Agreement>::discard(facet, name))
            }
            PurposeKind::Sealing => vault.sealing().map(|facet| Custody::<Sealing>::discard(facet, name)),
        };
        if let Some(discarded) = left {
            // The failure that is told is the first one.
            let _ = discarded.await;
        }
    }
    lived
}

fn at<T>(operation: Operation, result: VaultResult<T>) -> Step<T> {
    result.map_err(|error| (operation, error))
}

fn absent() -> vault::Error {
    vault::Error::new(vault::Kind::Unsupported, "the vault says it can and has no facet for it")
}

async fn sign(vault: &Arc<dyn Vault>, algorithm: Algorithm, name: &KeyName) -> Step<()> {
    let facet = at(Operation::Generate, vault.signing().ok_or_else(absent))?;
    let spec = at(Operation::Generate, KeySpec::<Signing>::new(name.clone(), algorithm))?;
    let key = at(Operation::Generate, facet.generate(&spec).await)?;
    let signer = at(Operation::Generate, Signer::bind(Arc::clone(vault), key))?;
    let signature = at(Operation::Sign, signer.sign(b"ockam-kms vault check").await)?;
    at(Operation::Sign, signer.public().verify(b"ockam-kms vault check", &signature).map(drop))?;
    at(Operation::Destroy, signer.destroy().await)
}

async fn agree(vault: &Arc<dyn Vault>, algorithm: Algorithm, name: &KeyName) -> Step<()> {
    let facet = at(Operation::Generate, vault.agreement().ok_or_else(absent))?;
    let spec = at(Operation::Generate, KeySpec::<Agreement>::new(name.clone(), algorithm))?;
    let key = at(Operation::Generate, facet.generate(&spec).await)?;
    let agreer = at(Operation::Generate, Agreer::bind(Arc::clone(vault), key))?;
    // With a key of another vault: what the device computes is compared with what software computes.
    let other = async {
        let soft: Arc<dyn Vault> = Arc::new(vault::soft::SoftVault::in_memory()?);
        let facet = soft.agreement().ok_or_else(absent)?;
        let key = facet.generate(&spec).await?;
        let peer = Agreer::bind(Arc::clone(&soft), key)?;
        let (ours, theirs) = (agreer.agree(peer.public()).await?, peer.agree(agreer.public()).await?);
        if ours.same_as(&theirs) { Ok(()) } else { Err(vault::Error::rejected()) }
    };
    at(Operation::Agree, other.await)?;
    at(Operation::Destroy, agreer.destroy().await)
}

async fn seal(vault: &Arc<dyn Vault>, algorithm: Algorithm, name: &KeyName) -> Step<()> {
    let facet = at(Operation::Generate, vault.sealing().ok_or_else(absent))?;
    let spec = at(Operation::Generate, KeySpec::<Sealing>::new(name.clone(), algorithm))?;
    let key = at(Operation::Generate, facet.generate(&spec).await)?;
    let sealer = at(Operation::Generate, Sealer::bind(Arc::clone(vault), key))?;
    let round = async {
        let sealed = sealer.seal(b"plain", b"check").await?;
        let opened = sealer.unseal(&sealed, b"check").await?;
        if opened.expose() == b"plain" { Ok(()) } else { Err(vault::Error::rejected()) }
    };
    at(Operation::Seal, round.await)?;
    at(Operation::Destroy, sealer.destroy().await)
}

/// What makes the guard of a vault worth less than it looks.
fn warnings(uri: &KeyUri, lock: &Shown) -> Vec<String> {
    let by = match lock {
        Shown::Known(by) => Some(by),
        Shown::Device | Shown::Unknown(_) => None,
    };
    let beside = by.and_then(|by| key_file_beside(uri, by));
    beside.into_iter().chain(exposed(uri)).chain(by.and_then(exposed_key_file)).collect()
}

/// That the key file that locks a software vault lies in its own directory.
pub(crate) fn key_file_beside(uri: &KeyUri, lock: &LockedBy) -> Option<String> {
    let LockedBy::KeyFile(file) = lock else { return None };
    let path = uri.text("path").ok().flatten().filter(|_| uri.scheme() == Scheme::Soft)?;
    file.starts_with(path).then(|| {
        "the key file lies beside the keys: it protects copies that leave it out, not this directory"
            .to_owned()
    })
}

/// That the key file that locks a software vault can be read by others.
pub(crate) fn exposed_key_file(lock: &LockedBy) -> Option<String> {
    let LockedBy::KeyFile(file) = lock else { return None };
    open_to_others(file, "the key file that locks it")
}

/// What guards a vault and can be read by others.
pub(crate) fn exposed(uri: &KeyUri) -> Option<String> {
    let text = |attribute| uri.text(attribute).ok().flatten();
    match uri.scheme() {
        Scheme::Soft => {
            text("path").and_then(|path| open_to_others(Path::new(path), "the directory of the vault"))
        }
        Scheme::Pkcs11 => {
            let pin = text("pin-source").and_then(|source| source.strip_prefix("file:"));
            pin.and_then(|path| open_to_others(Path::new(path), "the file with the PIN"))
        }
        Scheme::YubiKey => [("pin-source", "PIN"), ("management-key-source", "management key")]
            .into_iter()
            .filter_map(|(attribute, what)| Some((text(attribute)?.strip_prefix("file:")?, what)))
            .find_map(|(path, what)| open_to_others(Path::new(path), &format!("the file with the {what}"))),
        Scheme::Tpm => {
            let auth = text("auth-source").and_then(|source| source.strip_prefix("file:"));
            auth.and_then(|path| open_to_others(Path::new(path), "the file with the authorization value"))
        }
        _ => None,
    }
}

fn open_to_others(path: &Path, what: &str) -> Option<String> {
    let mode = path.metadata().ok()?.mode();
    (mode & 0o077 != 0).then(|| {
        format!("{what}, `{0}`, is open to others (mode {1:o}): chmod go= {0}", path.display(), mode & 0o777)
    })
}
