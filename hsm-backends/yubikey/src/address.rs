//! What the URIs of this backend say: `yubikey:serial=N?pin-source=file:PATH[&management-key-source=file:PATH]` names a
//! vault, `yubikey:[serial=N;]slot=9c[;name=NAME]` a key in it.

use std::path::{Path, PathBuf};

use ::yubikey::TouchPolicy;
use vault::{Error, KeyName, KeyUri, Kind, Result, Scheme, VaultId};

use crate::slots::Slot;

/// A vault's URI, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) serial: u32,
    pub(crate) pin_file: Option<PathBuf>,
    pub(crate) management_file: Option<PathBuf>,
    /// What new keys ask for.
    pub(crate) touch: TouchPolicy,
    pub(crate) allow_default_secrets: bool,
}

impl Address {
    pub(crate) fn parse(uri: &KeyUri) -> Result<Self> {
        if uri.scheme() != Scheme::YubiKey {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a YubiKey")));
        }
        for key_attribute in ["slot", "name"] {
            if uri.bytes(key_attribute).is_some() {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names a key, not a vault"))
                    .with_hint(format!("leave out `{key_attribute}`")));
            }
        }
        let touch = match uri.text("touch-policy")? {
            None | Some("never") => TouchPolicy::Never,
            Some("always") => TouchPolicy::Always,
            Some("cached") => TouchPolicy::Cached,
            Some(other) => {
                return Err(Error::new(Kind::Invalid, format!("`{other}` is no touch policy"))
                    .with_hint("it is `never`, `always`, or `cached` (a touch is good for 15 seconds)"));
            }
        };
        let allow_default_secrets = match uri.text("allow-default-secrets")? {
            None | Some("no") => false,
            Some("yes") => true,
            Some(other) => {
                return Err(Error::new(Kind::Invalid, format!("`{other}` is neither `yes` nor `no`"))
                    .with_hint("write `allow-default-secrets=yes`, for a card that guards nothing"));
            }
        };
        Ok(Self {
            serial: serial(uri.require("serial")?)?,
            pin_file: uri.text("pin-source")?.map(file).transpose()?,
            management_file: uri.text("management-key-source")?.map(file).transpose()?,
            touch,
            allow_default_secrets,
        })
    }

    /// The card, as a person knows it.
    pub(crate) fn card(&self) -> String {
        format!("YubiKey `{}`", self.serial)
    }

    /// A command that changes its secrets, for hints.
    pub(crate) fn command(&self, verb: &str) -> String {
        format!("`ockam-kms vault {verb} --uri yubikey:serial={}`", self.serial)
    }

    /// The id of the vault on this card: its URI without the way to it.
    pub(crate) fn vault_id(&self) -> Result<VaultId> {
        Ok(VaultId::new(self.uri()?.to_string()))
    }

    /// The URI of a key on it.
    pub(crate) fn key_uri(&self, slot: Slot, name: Option<&KeyName>) -> Result<KeyUri> {
        let uri = self.uri()?.with("slot", slot.text())?;
        match name {
            Some(name) => uri.with("name", name.as_str()),
            None => Ok(uri),
        }
    }

    fn uri(&self) -> Result<KeyUri> {
        KeyUri::new(Scheme::YubiKey).with("serial", self.serial.to_string())
    }
}

fn serial(text: &str) -> Result<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`{}` is no serial number of a YubiKey", text.escape_debug()))
            .with_hint("it is printed on the card, in digits")
    })
}

fn file(source: &str) -> Result<PathBuf> {
    let path =
        source.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path)).map(Path::new);
    match path {
        Some(path) if path.is_absolute() => Ok(path.to_owned()),
        _ => {
            Err(Error::new(Kind::Invalid, format!("`{source}` is no source of a secret that is known here"))
                .with_hint("name a file by its absolute path: `pin-source=file:/etc/piv.pin`"))
        }
    }
}

/// What a key URI asks for: a slot, a name, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) slot: Option<Slot>,
    pub(crate) name: Option<String>,
}

impl Wanted {
    pub(crate) fn parse(uri: &KeyUri, address: &Address) -> Result<Self> {
        if uri.scheme() != Scheme::YubiKey {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a key on a YubiKey")));
        }
        if let Some(other) = uri.text("serial")?
            && serial(other)? != address.serial
        {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is a key on another YubiKey"))
                .with_hint(format!("this vault is {}", address.card())));
        }
        let wanted = Self {
            slot: uri.text("slot")?.map(Slot::parse).transpose()?,
            name: uri.text("name")?.map(str::to_owned),
        };
        if wanted.slot.is_none() && wanted.name.is_none() {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` names no key"))
                .with_hint("add `name=NAME`, or `slot=` and two digits"));
        }
        Ok(wanted)
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        match (&self.name, self.slot) {
            (Some(name), _) => name.escape_debug().to_string(),
            (None, Some(slot)) => format!("slot {}", slot.text()),
            (None, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> KeyUri {
        text.parse().unwrap()
    }

    #[test]
    fn a_vault_is_taken_apart() {
        let address = Address::parse(&uri("yubikey:serial=12345678?pin-source=file:/p")).unwrap();
        assert_eq!((address.serial, address.allow_default_secrets), (12_345_678, false));
        assert_eq!(address.pin_file.as_deref(), Some(Path::new("/p")));
        for bad in [
            "soft:?path=/x",
            "yubikey:",
            "yubikey:serial=x",
            "yubikey:serial=+1",
            "yubikey:serial=99999999999",
            "yubikey:serial=1;slot=9c",
            "yubikey:serial=1;name=k",
            "yubikey:serial=1?pin-source=/p",
            "yubikey:serial=1?touch-policy=often",
            "yubikey:serial=1?allow-default-secrets=perhaps",
        ] {
            assert_eq!(Address::parse(&uri(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_key_must_be_on_this_card() {
        let address = Address::parse(&uri("yubikey:serial=1")).unwrap();
        let good = Wanted::parse(&uri("yubikey:serial=1;slot=9c;name=k"), &address).unwrap();
        assert_eq!(good, Wanted { slot: Slot::new(0x9c), name: Some("k".into()) });
        for bad in ["yubikey:serial=2;name=k", "yubikey:serial=1", "yubikey:slot=9b", "soft:name=k"] {
            assert_eq!(Wanted::parse(&uri(bad), &address).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
