//! Vaults: each is registered by a URI that is one, can be opened, and holds keys that somebody names.

use std::collections::BTreeSet;

use home::{Home, Name, UNFINISHED, VaultRecord};
use vault::soft::LockedBy;
use vault::{KeyInfo, KeyUri, Kind, PurposeKind, Scheme, Vault};

use super::{Chart, Opened, files};
use crate::commands::vault::{exposed, exposed_key_file, key_file_beside};
use crate::context::Context;

const CHECK: &str = "vault";

pub(super) fn look(chart: &mut Chart, context: &Context, home: &Home, writing: bool) -> Opened {
    let mut opened = Opened::new();
    let records = match home.vaults() {
        Ok(records) => records,
        Err(error) => {
            chart.failed(CHECK, "the vaults cannot be read", error);
            return opened;
        }
    };
    for (name, record) in &records {
        let uri = match record.uri() {
            Ok(uri) => uri,
            Err(error) => {
                chart.failed(CHECK, &format!("the vault `{name}`"), error);
                continue;
            }
        };
        if let Some(path) = outside(home, &uri).filter(|path| path.exists()) {
            let _ = files::look(chart, &path, writing);
        }
        // A lock that cannot be read is told where the vault is opened.
        let lock = home.vault_lock(name).ok().flatten();
        if let Some(weak) = lock.as_ref().and_then(|lock| key_file_beside(&uri, lock)) {
            let hint = "to protect more, change the lock: `ockam-kms vault rekey`";
            chart.warning(CHECK, format!("the vault `{name}`: {weak}"), hint);
        }
        if let Some(exposed) =
            lock.as_ref().filter(|lock| !looked_at(home, &uri, lock)).and_then(exposed_key_file)
        {
            let hint = "when others may have read it, change the lock too: `ockam-kms vault rekey`";
            chart.fault(CHECK, format!("the vault `{name}`: {exposed}"), hint);
        }
        // The files of software vaults are looked at one by one.
        if let Some(exposed) = exposed(&uri).filter(|_| uri.scheme() != Scheme::Soft) {
            chart.fault(
                CHECK,
                format!("the vault `{name}`: {exposed}"),
                "change the PIN when others may have read it",
            );
        }
        let vaults = match context.vaults() {
            Ok(vaults) => vaults,
            Err(error) => {
                chart.failed(CHECK, "the vaults cannot be opened", error);
                return opened;
            }
        };
        // Listing is what makes a token ask for its PIN.
        let listed = vault::block_on(async {
            let vault = vaults.open(name).await?;
            let keys = match vault.listing() {
                Some(listing) => listing.list().await?,
                None => Vec::new(),
            };
            Ok::<_, home::Error>((vault, keys))
        });
        match listed {
            Ok((vault, keys)) => {
                chart.looked_at(CHECK, format!("`{name}` ({}): opens, {} keys", uri.scheme(), keys.len()));
                strangers(chart, home, name, &keys);
                idle_locks(chart, home, name, &*vault, &keys);
                opened.push((name.clone(), vault));
            }
            Err(error) if error.kind() == Kind::Presence => {
                let hint = error.hint().unwrap_or("give its PIN or passphrase").to_owned();
                chart.warning(CHECK, format!("the vault `{name}` is locked and was not looked into"), hint);
            }
            Err(error) => chart.failed(CHECK, &format!("the vault `{name}` cannot be opened"), error),
        }
    }
    if !writing {
        without_record(chart, home, &records);
    }
    opened
}

/// Whether the file that locks a vault is in its directory or in the home: then it is looked at with the others there.
fn looked_at(home: &Home, uri: &KeyUri, lock: &LockedBy) -> bool {
    matches!(lock, LockedBy::KeyFile(file) if file.starts_with(home.path()))
        || key_file_beside(uri, lock).is_some()
}

/// Where a software vault is, when it is not in the home.
fn outside(home: &Home, uri: &KeyUri) -> Option<std::path::PathBuf> {
    if uri.scheme() != Scheme::Soft {
        return None;
    }
    let path = std::path::PathBuf::from(uri.text("path").ok()??);
    (!path.starts_with(home.path())).then_some(path)
}

/// Keys whose names we made, and that no identity names: what was cut off before there was Ctrl-C to wait for.
fn strangers(chart: &mut Chart, home: &Home, vault: &Name, keys: &[KeyInfo]) {
    let mut named = BTreeSet::new();
    for (_, record) in home.identities().unwrap_or_default() {
        named.extend(record.keys().filter_map(|(_, key)| Some(key.uri().ok()?.to_string())));
    }
    let rotating = home::rotation::pending(home).is_ok_and(|names| !names.is_empty());
    for KeyInfo { name, uri, .. } in keys {
        let made_by_us = name.rsplit_once('-').is_some_and(|(_, digits)| is_random(digits, 16));
        if made_by_us && !named.contains(&uri.to_string()) && !rotating {
            chart.warning(
                CHECK,
                format!("no identity here names the key `{name}` in the vault `{vault}`"),
                format!("when no other home uses it: ockam-kms key destroy {name} --vault {vault} --yes"),
            );
        }
    }
}

/// Keys that were made to lock a vault, and lock none: it has another lock, or is gone.
fn idle_locks(chart: &mut Chart, home: &Home, name: &Name, vault: &dyn Vault, keys: &[KeyInfo]) {
    // What locks a vault that is away is not known.
    let known = |name: &Name| home.vault_lock(name).is_ok();
    if !home.vaults().is_ok_and(|all| all.iter().all(|(name, _)| known(name))) {
        return;
    }
    for key in keys.iter().filter(|key| key.purpose == PurposeKind::Sealing) {
        let made_by_us = key.name.rsplit_once("-kek-").is_some_and(|(_, digits)| is_random(digits, 8));
        let making = Name::new(&key.name).is_ok_and(|key| !matches!(home.makes_lock(&key), Ok(false)));
        let idle = home.locked_with_key(name, vault, &key.uri).is_ok_and(|locked| locked.is_empty());
        if made_by_us && !making && idle {
            chart.warning(
                CHECK,
                format!("the key `{}` in the vault `{name}` locks no vault here", key.name),
                format!(
                    "when no other home or copy needs it: ockam-kms key destroy {} --vault {name} --yes",
                    key.name
                ),
            );
        }
    }
}

fn is_random(digits: &str, length: usize) -> bool {
    digits.len() == length && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Directories of vaults that no record names: whoever made or moved them died, and nothing uses them.
fn without_record(chart: &mut Chart, home: &Home, records: &[(Name, VaultRecord)]) {
    for entry in std::fs::read_dir(home.path().join("vaults")).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(real) = path.canonicalize() else { continue };
        let named = records
            .iter()
            .any(|(_, record)| record.directory().is_some_and(|found| found.starts_with(&real)));
        if !real.is_dir() || named {
            continue;
        }
        let shown = path.display();
        let name = entry.file_name().to_string_lossy().into_owned();
        let elsewhere = records.iter().find(|(known, _)| known.as_str() == name);
        if name.starts_with(UNFINISHED) {
            chart.fault(
                CHECK,
                format!("`{shown}` was never finished: whoever moved a vault there died"),
                format!("the vault is where it was: rm -r {shown}"),
            );
        } else if let Some(directory) = elsewhere.and_then(|(_, record)| record.directory()) {
            chart.fault(
                CHECK,
                format!("`{shown}` is not where the vault `{name}` is, which is in `{}`", directory.display()),
                "a move that was cut off leaves it, with keys: look whether they are in the other one before you remove it",
            );
        } else {
            chart.fault(
                CHECK,
                format!("`{shown}` is a vault that nothing names"),
                "look for keys of yours in it before you remove it; making a vault of that name replaces it",
            );
        }
    }
}
