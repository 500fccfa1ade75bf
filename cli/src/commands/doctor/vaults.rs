//! Vaults: each is registered by a URI that is one, can be opened, and holds keys that somebody names.

use std::collections::BTreeSet;

use home::{Home, Name};
use vault::{KeyUri, Kind, Scheme};

use super::{Chart, Opened, files};
use crate::commands::vault::{exposed, key_file_beside};
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
        if let Some(weak) = lock.and_then(|lock| key_file_beside(&uri, &lock)) {
            let hint = "to protect more, change the lock: `ockam-kms vault rekey`";
            chart.warning(CHECK, format!("the vault `{name}`: {weak}"), hint);
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
                let names = keys.into_iter().map(|key| (key.name, key.uri.to_string()));
                strangers(chart, home, name, names);
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
        without_record(chart, home, &records.into_iter().map(|(name, _)| name).collect());
    }
    opened
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
fn strangers(chart: &mut Chart, home: &Home, vault: &Name, keys: impl Iterator<Item = (String, String)>) {
    let mut named = BTreeSet::new();
    for (_, record) in home.identities().unwrap_or_default() {
        named.extend(record.keys().filter_map(|(_, key)| Some(key.uri().ok()?.to_string())));
    }
    let rotating = home::rotation::pending(home).is_ok_and(|names| !names.is_empty());
    for (name, uri) in keys {
        let made_by_us = name.rsplit_once('-').is_some_and(|(_, digits)| {
            digits.len() == 16 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        });
        if made_by_us && !named.contains(&uri) && !rotating {
            chart.warning(
                CHECK,
                format!("no identity here names the key `{name}` in the vault `{vault}`"),
                format!("when no other home uses it: ockam-kms key destroy {name} --vault {vault} --yes"),
            );
        }
    }
}

/// Directories of vaults that no record names: whoever made them died, and nothing uses them.
fn without_record(chart: &mut Chart, home: &Home, known: &BTreeSet<Name>) {
    for entry in std::fs::read_dir(home.path().join("vaults")).into_iter().flatten().flatten() {
        let unknown = |name: &Name| !known.contains(name);
        let name = entry.file_name().to_str().and_then(|name| Name::new(name).ok()).filter(unknown);
        if entry.path().is_dir() && name.is_some() {
            chart.fault(
                CHECK,
                format!("`{}` is a vault that nothing names", entry.path().display()),
                "look for keys of yours in it before you remove it; making a vault of that name replaces it",
            );
        }
    }
}
