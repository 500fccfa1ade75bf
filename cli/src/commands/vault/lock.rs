//! What locks a vault: how it is typed and how it is shown.

use home::{Home, Kek, Name};
use serde_json::{Value, json};
use vault::soft::LockedBy;
use vault::{KeyName, KeyUri};

use crate::context::{Context, name};
use crate::error::{Error, Result, shown};

/// Reads `vault=NAME` or `vault=NAME,key=KEY`, where KEY is a name or a key URI.
pub(super) fn kek(home: &Home, text: &str) -> Result<Kek> {
    let wrong = || {
        Error::usage(format!("`{}` names no key of a vault", shown(text)))
            .with_hint("write --kek vault=NAME for a new key in that vault, or --kek vault=NAME,key=KEY")
    };
    let rest = text.strip_prefix("vault=").ok_or_else(wrong)?;
    let (vault, key) = match rest.split_once(",key=") {
        Some((vault, key)) => (vault, Some(key)),
        None => (rest, None),
    };
    let vault = name("a vault", vault)?;
    let scheme = home.vault(&vault)?.uri()?.scheme();
    let key = match key {
        Some(uri) if uri.contains(':') => Some(uri.parse::<KeyUri>()?),
        Some(key) => Some(KeyUri::of_key(scheme, &KeyName::new(key)?)),
        None => None,
    };
    Ok(Kek { vault, key })
}

/// As [`kek`], with its vault opened: whoever it asks is asked now.
pub(super) fn opened_kek(context: &Context, text: &str) -> Result<Kek> {
    let kek = kek(context.home()?, text)?;
    vault::block_on(context.vaults()?.open(&kek.vault))?;
    Ok(kek)
}

/// How many vaults stand behind one another's locks.
pub(super) fn depth(home: &Home, name: &Name) -> usize {
    let mut at = name.clone();
    let mut depth = 0;
    while let Ok(Some(LockedBy::Vault(by))) = home.vault_lock(&at)
        && depth < 100
    {
        at = by.vault;
        depth += 1;
    }
    depth
}

/// What locks a vault, for people and machines.
pub(super) enum Shown {
    Known(LockedBy),
    /// The device has its own.
    Device,
    /// The vault's header cannot be read.
    Unknown(String),
}

impl Shown {
    pub(super) fn of(home: &Home, name: &Name) -> Self {
        match home.vault_lock(name) {
            Ok(Some(by)) => Self::Known(by),
            Ok(None) => Self::Device,
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    pub(super) fn plain(&self) -> String {
        match self {
            Self::Known(LockedBy::KeyFile(path)) => format!("the key file `{}`", path.display()),
            Self::Known(LockedBy::Passphrase) => "a passphrase".to_owned(),
            Self::Known(LockedBy::Vault(by)) => format!("the key `{}` of the vault `{}`", by.key, by.vault),
            Self::Device => "the device's own".to_owned(),
            Self::Unknown(why) => format!("not known: {why}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Known(LockedBy::KeyFile(path)) => {
                json!({ "type": "key-file", "path": path.display().to_string() })
            }
            Self::Known(LockedBy::Passphrase) => json!({ "type": "passphrase" }),
            Self::Known(LockedBy::Vault(by)) => json!({
                "type": "vault",
                "vault": by.vault.as_str(),
                "vault_id": by.vault_id.as_str(),
                "key": by.key.to_string(),
            }),
            Self::Device => json!({ "type": "device" }),
            Self::Unknown(_) => Value::Null,
        }
    }
}
