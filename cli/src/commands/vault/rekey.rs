//! `vault rekey`: another lock for the same keys.

use home::{Home, Kek, Name, NewLock};
use serde_json::json;
use vault::SecretBytes;
use vault::soft::{Lock, LockedBy};

use super::lock::{self, Shown};
use crate::args::vault::Rekey;
use crate::context::{Context, name};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::Report;
use crate::secret_input::Source;
use crate::terminal;

/// The lock that was asked for, before anybody is asked for secrets.
enum Wanted {
    KeyFile(Option<std::path::PathBuf>),
    Ask,
    Passphrase(Source),
    Kek(Kek),
}

pub(super) fn run(context: &Context, rekey: &Rekey) -> Result<Report> {
    let home = context.home()?;
    let name = name("a vault", &rekey.name)?;
    let before = home.vault_lock(&name)?.ok_or_else(|| {
        Error::invalid(format!(
            "the vault `{name}` is not made of files of ours: its device has its own lock"
        ))
        .with_hint("only software vaults have a lock that can be changed here")
    })?;
    let wanted = wanted(context, home, rekey)?;
    if let Wanted::Kek(kek) = &wanted {
        home.refuse_circle(&name, &kek.vault)?;
    }
    if rekey.dry_run {
        let (from, to) = (Shown::Known(before), wanted.shown(home, &name));
        let plain = format!(
            "the vault `{name}` is locked by {}; it would be locked by {to}. One file would be replaced, and no key touched",
            from.plain()
        );
        let json = json!({ "name": name.as_str(), "dry_run": true, "from": from.json(), "to": to });
        return Ok(Report::new(plain, json).machine(name.as_str()));
    }
    // Outside the lock for writers: people and devices may take their time. The present passphrase comes first.
    let relock = vault::block_on(context.vaults()?.relock(&name))?;
    let new = wanted.secrets(context)?;
    let writer = context.writer()?;
    vault::block_on(home.relock_vault(&writer, context.vaults()?, &name, relock, &new))?;
    let after = Shown::of(home, &name);
    if let Some(text) = left_over(home, &name, &before)? {
        context.output.note(&text);
    }
    let json = json!({ "name": name.as_str(), "lock": after.json() });
    Ok(Report::new(format!("the vault `{name}` is now locked by {}", after.plain()), json)
        .machine(name.as_str()))
}

fn wanted(context: &Context, home: &Home, rekey: &Rekey) -> Result<Wanted> {
    if let Some(text) = &rekey.kek {
        return Ok(Wanted::Kek(lock::kek(home, text)?));
    }
    if rekey.ask_passphrase {
        if context.no_input {
            return Err(Error::new(Kind::Presence, "a passphrase is asked for, and nobody can be asked")
                .with_hint("pass it with --new-passphrase-file PATH, or `-` for standard input"));
        }
        return Ok(Wanted::Ask);
    }
    let (inline, file) = (rekey.new_passphrase.as_deref(), rekey.new_passphrase_file.as_deref());
    match (Source::of("new-passphrase", inline, file)?, &rekey.key_file) {
        (Some(source), _) => Ok(Wanted::Passphrase(source)),
        (None, Some(path)) => Ok(Wanted::KeyFile(Some(super::absolute(path)?))),
        (None, None) if rekey.own_key_file => Ok(Wanted::KeyFile(None)),
        (None, None) => Err(Error::usage("what is to lock the vault is not said").with_hint(
            "add --kek vault=NAME, --key-file PATH, --own-key-file, --new-passphrase-file PATH or --ask-passphrase",
        )),
    }
}

impl Wanted {
    /// As it will be stored, as far as that is known: the name of a new key is random.
    fn shown(&self, home: &Home, name: &Name) -> String {
        match self {
            Self::KeyFile(Some(path)) => format!("the key file `{}`", path.display()),
            Self::KeyFile(None) => "a new key file beside its keys".to_owned(),
            Self::Ask | Self::Passphrase(_) => "a passphrase".to_owned(),
            Self::Kek(Kek { vault, key: Some(key) }) => format!("the key `{key}` of the vault `{vault}`"),
            Self::Kek(Kek { vault, key: None }) => {
                let backend = home.vault(vault).and_then(|record| record.uri());
                let backend = backend.map(|uri| format!(" ({})", uri.scheme())).unwrap_or_default();
                format!("a new key `{name}-kek-…` of the vault `{vault}`{backend}")
            }
        }
    }

    fn secrets(self, context: &Context) -> Result<NewLock> {
        let passphrase = |secret: SecretBytes| NewLock::Own(Lock::Passphrase(secret));
        Ok(match self {
            Self::KeyFile(path) => NewLock::Own(Lock::KeyFile(path)),
            Self::Ask => passphrase(terminal::new_passphrase()?),
            Self::Passphrase(source) => passphrase(source.read()?),
            Self::Kek(kek) => {
                vault::block_on(context.vaults()?.open(&kek.vault))?;
                NewLock::Kek(kek)
            }
        })
    }
}

/// What the lock that a vault had left behind, and is not ours to remove.
pub(super) fn left_over(home: &Home, name: &Name, before: &LockedBy) -> Result<Option<String>> {
    Ok(match before {
        LockedBy::KeyFile(path) if path.exists() => {
            Some(format!("the key file `{}` does not lock the vault `{name}` any more", path.display()))
        }
        LockedBy::Vault(by) => {
            let text = format!(
                "the key `{}` of the vault `{}` does not lock the vault `{name}` any more",
                by.key, by.vault
            );
            let used = home.locked_with(&by.vault)?.iter().any(|other| {
                matches!(home.vault_lock(other), Ok(Some(LockedBy::Vault(its))) if its.key.same_key(&by.key))
            });
            Some(if used { text } else { format!("{text}; `ockam-kms key destroy` ends it") })
        }
        _ => None,
    })
}
