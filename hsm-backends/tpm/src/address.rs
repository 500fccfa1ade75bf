//! What the URIs of this backend say: `tpm:?tcti=TCTI&path=DIRECTORY[&auth-source=file:PATH][&pcrs=sha256:0,7]`, with
//! `&attestation-key=0x81010002` and `&attestation-certificate=file:PATH` where evidence is gathered, names a vault, `tpm:name=NAME` or `tpm:persistent=0x81000001` a key in it.

use std::path::PathBuf;

use tss_esapi::tcti_ldr::TctiNameConf;
use vault::{Error, KeyName, KeyUri, Kind, Result, Scheme};

use crate::pcrs::Pcrs;

/// A vault's URI, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) tcti: Tcti,
    pub(crate) path: PathBuf,
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) pcrs: Option<Pcrs>,
    /// The key that certifies others: one that the TPM keeps under this handle, else the one that it derives.
    pub(crate) attestation_key: Option<u32>,
    /// The certificates of that key, its own first.
    pub(crate) certificates: Option<PathBuf>,
}

impl Address {
    pub(crate) fn parse(uri: &KeyUri) -> Result<Self> {
        if uri.scheme() != Scheme::Tpm {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a vault on a TPM")));
        }
        for attribute in ["name", "persistent"] {
            if uri.bytes(attribute).is_some() {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names a key, not a vault"))
                    .with_hint(format!("leave out `{attribute}`")));
            }
        }
        Ok(Self {
            tcti: Tcti::parse(uri.require("tcti")?)?,
            path: PathBuf::from(uri.require("path")?),
            auth_file: uri.text("auth-source")?.map(auth_file).transpose()?,
            pcrs: uri.text("pcrs")?.map(str::parse).transpose()?,
            attestation_key: uri.text("attestation-key")?.map(persistent).transpose()?,
            certificates: uri.text("attestation-certificate")?.map(certificates).transpose()?,
        })
    }
}

fn auth_file(source: &str) -> Result<PathBuf> {
    file(source).ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            format!("`{source}` is no source of an authorization value that is known here"),
        )
        .with_hint("name a file by its absolute path: `auth-source=file:/etc/tpm.auth`")
    })
}

fn certificates(source: &str) -> Result<PathBuf> {
    file(source).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`{source}` is no source of certificates that is known here"))
            .with_hint("name a file by its absolute path: `attestation-certificate=file:/etc/tpm-ak.pem`")
    })
}

fn file(source: &str) -> Option<PathBuf> {
    let path = source.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path))?;
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// The way to a TPM (TSS 2.0 TCTI), as it was written and as the library takes it.
#[derive(Clone, Debug)]
pub(crate) struct Tcti {
    pub(crate) text: String,
    pub(crate) conf: TctiNameConf,
}

impl Tcti {
    fn parse(text: &str) -> Result<Self> {
        let conf = text.parse().map_err(|_| {
            Error::new(Kind::Invalid, format!("`{text}` is no way to a TPM"))
                .with_hint("write `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`")
        })?;
        Ok(Self { text: text.to_owned(), conf })
    }

    /// Whether something between us and the TPM gives each program transient slots of its own: the kernel's `tpmrm`
    /// devices and the access broker do.
    pub(crate) fn has_resource_manager(&self) -> bool {
        self.text.starts_with("device:/dev/tpmrm") || self.text.starts_with("tabrmd")
    }
}

/// What a key URI asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A blob of the vault.
    Named(KeyName),
    /// A key that the TPM keeps under this handle.
    Persistent(u32),
}

/// The handles of persistent objects in the owner's part (TPM 2.0 Part 2, 7.5).
const OWNER_PERSISTENT: std::ops::RangeInclusive<u32> = 0x8100_0000..=0x817f_ffff;

impl Wanted {
    pub(crate) fn parse(uri: &KeyUri) -> Result<Self> {
        if uri.scheme() != Scheme::Tpm {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a key of a TPM")));
        }
        match (uri.text("name")?, uri.text("persistent")?) {
            (Some(name), None) => Ok(Self::Named(KeyName::new(name)?)),
            (None, Some(handle)) => persistent(handle).map(Self::Persistent),
            (None, None) => Err(Error::new(Kind::Invalid, format!("`{uri}` names no key"))
                .with_hint("add `name=NAME`, or `persistent=` and the handle, as in `0x81000001`")),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Invalid, format!("`{uri}` names a key by its name and by its handle"))
                    .with_hint(
                        "keys of the vault have names, keys that the TPM keeps have handles: leave one out",
                    ))
            }
        }
    }

    /// The URI of a key that the TPM keeps.
    pub(crate) fn persistent_uri(handle: u32) -> Result<KeyUri> {
        KeyUri::new(Scheme::Tpm).with("persistent", format!("{handle:#010x}"))
    }
}

fn persistent(text: &str) -> Result<u32> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 8);
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .filter(|handle| OWNER_PERSISTENT.contains(handle))
        .ok_or_else(|| {
            Error::new(
                Kind::Invalid,
                format!("`{text}` is no handle of a key that a TPM keeps for its owner"),
            )
            .with_hint("such handles are 0x81000000 to 0x817fffff, with all eight digits")
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn uri(text: &str) -> KeyUri {
        text.parse().unwrap()
    }

    #[test]
    fn a_vault_is_taken_apart() {
        let text = "tpm:?tcti=swtpm:host=127.0.0.1,port=2321&path=/v&auth-source=file:/a&pcrs=sha256:0,7";
        let address = Address::parse(&uri(text)).unwrap();
        assert_eq!(address.path, Path::new("/v"));
        assert_eq!(address.auth_file.as_deref(), Some(Path::new("/a")));
        assert_eq!(address.pcrs.unwrap().to_string(), "sha256:0,7");
        assert!(!address.tcti.has_resource_manager());
        assert!(address.attestation_key.is_none() && address.certificates.is_none());
        let text = "tpm:?tcti=device&path=/v&attestation-key=0x81010002&attestation-certificate=file:/ak.pem";
        let address = Address::parse(&uri(text)).unwrap();
        assert_eq!(address.attestation_key, Some(0x8101_0002));
        assert_eq!(address.certificates.as_deref(), Some(Path::new("/ak.pem")));
        let device = Address::parse(&uri("tpm:?tcti=device:/dev/tpmrm0&path=/v")).unwrap();
        assert!(device.tcti.has_resource_manager() && device.auth_file.is_none() && device.pcrs.is_none());
        for bad in [
            "soft:?path=/x",
            "tpm:?path=/v",
            "tpm:?tcti=device:/dev/tpm0",
            "tpm:?tcti=serial:/dev/tpm0&path=/v",
            "tpm:?tcti=swtpm:port=x&path=/v",
            "tpm:name=k?tcti=device&path=/v",
            "tpm:?tcti=device&path=/v&auth-source=/a",
            "tpm:?tcti=device&path=/v&auth-source=file:a",
            "tpm:?tcti=device&path=/v&pcrs=0,7",
            "tpm:?tcti=device&path=/v&attestation-key=81010002",
            "tpm:?tcti=device&path=/v&attestation-certificate=ak.pem",
        ] {
            assert_eq!(Address::parse(&uri(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_key_has_a_name_or_a_handle() {
        let named = Wanted::parse(&uri("tpm:name=k")).unwrap();
        assert_eq!(named, Wanted::Named(KeyName::new("k").unwrap()));
        let kept = Wanted::parse(&uri("tpm:persistent=0x81000001")).unwrap();
        assert_eq!(kept, Wanted::Persistent(0x8100_0001));
        assert_eq!(Wanted::persistent_uri(0x8100_0001).unwrap(), uri("tpm:persistent=0x81000001"));
        for bad in [
            "soft:name=k",
            "tpm:",
            "tpm:name=../k",
            "tpm:name=k;persistent=0x81000001",
            "tpm:persistent=81000001",
            "tpm:persistent=0x80000001",
            "tpm:persistent=0x81800000",
            "tpm:persistent=0x+1000001",
        ] {
            assert_eq!(Wanted::parse(&uri(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
