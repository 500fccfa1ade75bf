//! What the URIs of this backend say: `pkcs11:token=LABEL[;serial=S]?module-path=PATH[&pin-source=file:PATH]` names a
//! vault, `pkcs11:[token=LABEL;][serial=S;]object=NAME[;id=BYTES]` a key in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vault::{Ask, Error, Interact, KeyUri, Kind, Result, Scheme, SecretBytes, VaultId};

/// A token as it was when the vault was opened. Slots come and go; label and serial number stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) label: String,
    pub(crate) serial: String,
}

impl Token {
    /// The id of the vault on this token: its URI without the way to it.
    pub(crate) fn vault_id(&self) -> Result<VaultId> {
        let uri = KeyUri::new(Scheme::Pkcs11).with("token", &self.label)?.with("serial", &self.serial)?;
        Ok(VaultId::new(uri.to_string()))
    }

    /// The URI of a key on it.
    pub(crate) fn key_uri(&self) -> Result<KeyUri> {
        KeyUri::new(Scheme::Pkcs11).with("token", &self.label)
    }
}

/// A vault's URI, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    pub(crate) module: PathBuf,
    pub(crate) pin_file: Option<PathBuf>,
}

impl Address {
    pub(crate) fn parse(uri: &KeyUri) -> Result<Self> {
        if uri.scheme() != Scheme::Pkcs11 {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a PKCS#11 vault")));
        }
        for key_attribute in ["object", "id"] {
            if uri.bytes(key_attribute).is_some() {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names a key, not a vault"))
                    .with_hint(format!("leave out `{key_attribute}`")));
            }
        }
        let pin_file = uri.text("pin-source")?.map(pin_file).transpose()?;
        Ok(Self {
            label: uri.require("token")?.to_owned(),
            serial: uri.text("serial")?.map(str::to_owned),
            module: PathBuf::from(uri.require("module-path")?),
            pin_file,
        })
    }
}

fn pin_file(source: &str) -> Result<PathBuf> {
    let path =
        source.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path)).map(Path::new);
    match path {
        Some(path) if path.is_absolute() => Ok(path.to_owned()),
        _ => Err(Error::new(Kind::Invalid, format!("`{source}` is no source of a PIN that is known here"))
            .with_hint("name a file by its absolute path: `pin-source=file:/etc/ca.pin`")),
    }
}

/// Where the PIN comes from. A file is read for every login and never kept. A PIN that a person entered is kept, wiped
/// when the vault goes, because the same person is not there when the token comes back.
pub(crate) enum PinSource {
    File(PathBuf),
    Kept(SecretBytes),
    /// For tokens that ask for no login.
    None,
}

impl PinSource {
    /// Asks for the PIN where no file holds it.
    pub(crate) fn settle(address: &Address, token: &Token, interact: &Arc<dyn Interact>) -> Result<Self> {
        match &address.pin_file {
            Some(path) => Ok(Self::File(path.clone())),
            None => interact.secret(&Ask::Pin { of: format!("token `{}`", token.label) }).map(Self::Kept),
        }
    }

    /// Hands the PIN to `login`.
    pub(crate) fn with<T>(&self, login: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        match self {
            Self::File(path) => SecretBytes::read_file(path).map(|pin| login(Some(pin.expose()))),
            Self::Kept(pin) => Ok(login(Some(pin.expose()))),
            Self::None => Ok(login(None)),
        }
    }
}

impl fmt::Debug for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Kept(_) => f.write_str("Kept(..)"),
            Self::None => f.write_str("None"),
        }
    }
}

/// What a key URI asks for: a label, an id, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) label: Option<Vec<u8>>,
    pub(crate) id: Option<Vec<u8>>,
}

impl Wanted {
    pub(crate) fn parse(uri: &KeyUri, token: &Token) -> Result<Self> {
        if uri.scheme() != Scheme::Pkcs11 {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a key on a PKCS#11 token")));
        }
        for (attribute, mine) in [("token", &token.label), ("serial", &token.serial)] {
            if uri.text(attribute)?.is_some_and(|other| other != mine) {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` is a key on another token"))
                    .with_hint(format!(
                        "this vault is the token `{}`, serial number `{}`",
                        token.label, token.serial
                    )));
            }
        }
        let of = |attribute| uri.bytes(attribute).filter(|value| !value.is_empty()).map(<[u8]>::to_vec);
        let wanted = Self { label: of("object"), id: of("id") };
        if wanted.label.is_none() && wanted.id.is_none() {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` names no key"))
                .with_hint("add `object=NAME`, or `id=` and its bytes as `%xx`"));
        }
        Ok(wanted)
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
        let address =
            Address::parse(&uri("pkcs11:token=my%20ca?module-path=/m.so&pin-source=file:/p")).unwrap();
        assert_eq!((address.label.as_str(), address.serial), ("my ca", None));
        assert_eq!(address.module, Path::new("/m.so"));
        assert_eq!(address.pin_file.as_deref(), Some(Path::new("/p")));
        let rfc =
            Address::parse(&uri("pkcs11:token=t;serial=1?module-path=/m.so&pin-source=file:///p")).unwrap();
        assert_eq!((rfc.serial.as_deref(), rfc.pin_file.as_deref()), (Some("1"), Some(Path::new("/p"))));
        for bad in [
            "soft:?path=/x",
            "pkcs11:?module-path=/m.so",
            "pkcs11:token=t",
            "pkcs11:token=t;object=k?module-path=/m.so",
            "pkcs11:token=t?module-path=/m.so&pin-source=/p",
            "pkcs11:token=t?module-path=/m.so&pin-source=file:p",
        ] {
            assert_eq!(Address::parse(&uri(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_key_must_be_on_this_token() {
        let token = Token { label: "t".into(), serial: "1".into() };
        let good = Wanted::parse(&uri("pkcs11:token=t;object=k;id=%01"), &token).unwrap();
        assert_eq!(good, Wanted { label: Some(b"k".to_vec()), id: Some(vec![1]) });
        assert!(Wanted::parse(&uri("pkcs11:serial=1;object=k"), &token).is_ok());
        for bad in [
            "pkcs11:token=u;object=k",
            "pkcs11:serial=2;object=k",
            "pkcs11:token=t",
            "pkcs11:object=",
            "soft:name=k",
        ] {
            assert_eq!(Wanted::parse(&uri(bad), &token).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_kept_pin_is_not_printed() {
        let kept = PinSource::Kept(SecretBytes::new(b"hunter2".to_vec()));
        assert_eq!(format!("{kept:?}"), "Kept(..)");
    }
}
