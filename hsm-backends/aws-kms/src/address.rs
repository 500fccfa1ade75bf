//! What the URIs of this backend say: `awskms:region=R[;namespace=N]?[endpoint=URL&profile=P&deletion-days=D]` names a vault,
//! `awskms:[region=R;][namespace=N;]…` with one of `key-id=`, `alias=` and `name=` a key in it. And the two places where the
//! name of a key is written down in KMS: its alias and its tags.

use vault::{Error, KeyName, KeyUri, Kind, Result, Scheme, VaultId};

/// What all aliases of ours start with. What follows is the namespace, so that a policy can allow one of them alone.
const ALIASES: &str = "alias/ockam-kms/";
/// The namespace of a URI that names none.
const DEFAULT_NAMESPACE: &str = "default";
/// With this, the longest name and every letter of it escaped, an alias has its 256 characters at most.
const MAX_NAMESPACE: usize = 32;
/// How many days a key waits for its end, and what KMS allows.
const DELETION_DAYS: std::ops::RangeInclusive<i32> = 7..=30;

/// A vault's URI, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) region: String,
    pub(crate) namespace: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) deletion_days: i32,
}

impl Address {
    pub(crate) fn parse(uri: &KeyUri) -> Result<Self> {
        if uri.scheme() != Scheme::AwsKms {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a vault in AWS KMS")));
        }
        for attribute in ["key-id", "alias", "name"] {
            if uri.bytes(attribute).is_some() {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names a key, not a vault"))
                    .with_hint(format!("leave out `{attribute}`")));
            }
        }
        let region = uri.require("region")?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.is_empty() || region.len() > 32 || !region.chars().all(plain) {
            return Err(Error::new(Kind::Invalid, format!("`{region}` is not a region"))
                .with_hint("regions are written like `eu-west-1`"));
        }
        let namespace = uri.text("namespace")?.unwrap_or(DEFAULT_NAMESPACE);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if namespace.is_empty() || namespace.len() > MAX_NAMESPACE || !namespace.chars().all(fits) {
            return Err(Error::new(Kind::Invalid, format!("`{namespace}` cannot be a namespace"))
                .with_hint(format!("use 1 to {MAX_NAMESPACE} letters, digits, `_` or `-`")));
        }
        let days = uri.text("deletion-days")?.map(deletion_days).transpose()?;
        Ok(Self {
            region: region.to_owned(),
            namespace: namespace.to_owned(),
            endpoint: uri.text("endpoint")?.map(endpoint).transpose()?,
            profile: uri.text("profile")?.map(str::to_owned),
            deletion_days: days.unwrap_or(*DELETION_DAYS.start()),
        })
    }

    /// The id of the vault: its URI without the way to it. Which account it is, only the credentials know; keys of another
    /// account have other ids, so that one is never taken for the other.
    pub(crate) fn vault_id(&self) -> Result<VaultId> {
        Ok(VaultId::new(self.uri()?.to_string()))
    }

    /// The URI of a key.
    pub(crate) fn key_uri(&self, key_id: &str, name: Option<&str>) -> Result<KeyUri> {
        let uri = self.uri()?.with("key-id", key_id)?;
        match name {
            Some(name) => uri.with("name", name),
            None => Ok(uri),
        }
    }

    fn uri(&self) -> Result<KeyUri> {
        let uri = KeyUri::new(Scheme::AwsKms).with("region", &self.region)?;
        if self.namespace == DEFAULT_NAMESPACE { Ok(uri) } else { uri.with("namespace", &self.namespace) }
    }

    /// The alias of the key of this name. Aliases have no dot, and names no slash, so a dot is written `/d`.
    pub(crate) fn alias(&self, name: &str) -> String {
        format!("{ALIASES}{}/{}", self.namespace, name.replace('.', "/d"))
    }

    /// The name of the key that has this alias, if it is one of this vault's.
    pub(crate) fn name_of(&self, alias: &str) -> Option<String> {
        let name = alias.strip_prefix(ALIASES)?.strip_prefix(&self.namespace)?.strip_prefix('/')?;
        let name = name.replace("/d", ".");
        KeyName::new(&name).is_ok().then_some(name)
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        format!("KMS in `{}`", self.region)
    }
}

fn deletion_days(text: &str) -> Result<i32> {
    text.parse().ok().filter(|days| DELETION_DAYS.contains(days)).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("a key cannot wait `{}` days for its end", text.escape_debug()))
            .with_hint(format!("KMS takes {} to {}", DELETION_DAYS.start(), DELETION_DAYS.end()))
    })
}

/// An address other than the region's own. In the clear only on this machine: answers hold data keys.
fn endpoint(text: &str) -> Result<String> {
    let bad = |why: &str| {
        Error::new(Kind::Invalid, format!("`{}` cannot be an endpoint: {why}", text.escape_debug()))
            .with_hint("write it as `https://HOST` or `https://HOST:PORT`")
    };
    let url: http::Uri = text.parse().map_err(|_| bad("it is not a URL"))?;
    let host = url.host().unwrap_or_default();
    if host.is_empty() || url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(bad("it names no host"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(bad("it has a path"));
    }
    let here = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match url.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if here => Ok(text.to_owned()),
        Some("http") => Err(bad("secrets would cross the network in the clear")),
        _ => Err(bad("it is neither https nor http")),
    }
}

/// What a key URI asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// How KMS is asked for it.
    pub(crate) target: Target,
    /// The name that it must have, when the URI says one beside another attribute.
    pub(crate) name: Option<String>,
}

/// How a key is found. Never by looking through those of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    KeyId(String),
    Alias(String),
    Name(String),
}

impl Target {
    /// As a person reads it.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::KeyId(text) | Self::Alias(text) | Self::Name(text) => text,
        }
    }
}

impl Wanted {
    pub(crate) fn parse(uri: &KeyUri, address: &Address) -> Result<Self> {
        if uri.scheme() != Scheme::AwsKms {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a key in AWS KMS")));
        }
        for (attribute, mine) in [("region", &address.region), ("namespace", &address.namespace)] {
            if uri.text(attribute)?.is_some_and(|other| other != mine) {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` is a key of another vault"))
                    .with_hint(format!(
                        "this vault is `{}`, namespace `{}`",
                        address.region, address.namespace
                    )));
            }
        }
        let name = match uri.text("name")? {
            Some(name) => Some(KeyName::new(name)?.as_str().to_owned()),
            None => None,
        };
        let target = match (uri.text("key-id")?, uri.text("alias")?, &name) {
            (Some(_), Some(_), _) | (None, Some(_), Some(_)) => {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names a key twice"))
                    .with_hint("keep one of `key-id`, `alias` and `name`"));
            }
            (Some(id), None, _) if is_key_id(id) => Target::KeyId(id.to_owned()),
            (Some(id), None, _) => {
                return Err(Error::new(Kind::Invalid, format!("`{}` is not a key id", id.escape_debug()))
                    .with_hint("key ids are written like `1234abcd-12ab-34cd-56ef-1234567890ab`"));
            }
            (None, Some(alias), None) => Target::Alias(plain_alias(alias)?),
            (None, None, Some(name)) => Target::Name(name.clone()),
            (None, None, None) => {
                return Err(Error::new(Kind::Invalid, format!("`{uri}` names no key"))
                    .with_hint("add `name=`, `key-id=` or `alias=`"));
            }
        };
        let name = name.filter(|_| matches!(target, Target::KeyId(_)));
        Ok(Self { target, name })
    }
}

/// An alias, with or without the `alias/` that KMS puts before it.
fn plain_alias(alias: &str) -> Result<String> {
    let rest = alias.strip_prefix("alias/").unwrap_or(alias);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    if rest.is_empty() || rest.len() > 250 || !rest.chars().all(fits) {
        return Err(Error::new(Kind::Invalid, format!("`{}` is not an alias", alias.escape_debug()))
            .with_hint("aliases have letters, digits, `/`, `_` and `-`"));
    }
    Ok(format!("alias/{rest}"))
}

/// Whether this is the id of a key: a UUID, or `mrk-` and 32 digits for a key of several regions.
pub(crate) fn is_key_id(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match text.strip_prefix("mrk-") {
        Some(digits) => digits.len() == 32 && hex(digits),
        None => {
            let parts: Vec<_> = text.split('-').collect();
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.into_iter().all(hex)
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
        let plain = Address::parse(&uri("awskms:region=eu-west-1")).unwrap();
        assert_eq!((plain.namespace.as_str(), plain.deletion_days), ("default", 7));
        assert_eq!(plain.vault_id().unwrap().as_str(), "awskms:region=eu-west-1");
        let full = "awskms:region=eu-west-1;namespace=prod?endpoint=https://kms.local:8443&profile=ca&deletion-days=30";
        let full = Address::parse(&uri(full)).unwrap();
        assert_eq!(full.endpoint.as_deref(), Some("https://kms.local:8443"));
        assert_eq!((full.profile.as_deref(), full.deletion_days), (Some("ca"), 30));
        assert_eq!(full.vault_id().unwrap().as_str(), "awskms:region=eu-west-1;namespace=prod");
        for good in [
            "http://127.0.0.1:5000",
            "http://localhost:5000/",
            "http://[::1]:1",
            "https://kms.eu-west-1.amazonaws.com",
        ] {
            let text = uri("awskms:region=eu-west-1").with("endpoint", good).unwrap();
            assert!(Address::parse(&text).is_ok(), "{good}");
        }
        for bad in [
            "soft:?path=/x",
            "awskms:?endpoint=http://127.0.0.1:1",
            "awskms:region=EU",
            "awskms:region=a/b",
            "awskms:region=eu-west-1;name=k",
            "awskms:region=eu-west-1;key-id=k",
            "awskms:region=eu-west-1;namespace=a.b",
            "awskms:region=eu-west-1;namespace=",
            "awskms:region=eu-west-1?deletion-days=6",
            "awskms:region=eu-west-1?deletion-days=x",
            "awskms:region=eu-west-1?endpoint=http://10.0.0.1",
            "awskms:region=eu-west-1?endpoint=ftp://localhost",
            "awskms:region=eu-west-1?endpoint=localhost:1",
            "awskms:region=eu-west-1?endpoint=https://me:secret%40host",
            "awskms:region=eu-west-1?endpoint=https://host/path",
        ] {
            assert_eq!(Address::parse(&uri(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn an_alias_holds_every_name_and_gives_it_back() {
        let address = Address::parse(&uri("awskms:region=eu-west-1;namespace=a")).unwrap();
        let long = "x.".repeat(48);
        let names = ["issuer", "issuer.2026", "a.", "a..b", "_", "A-b_c", long.as_str(), "d", "a.d"];
        let mut aliases: Vec<_> = names.iter().map(|name| address.alias(name)).collect();
        for (name, alias) in names.iter().zip(&aliases) {
            assert_eq!(address.name_of(alias).as_deref(), Some(*name));
            assert!(alias.len() <= 256);
            assert!(plain_alias(alias).is_ok(), "{alias}");
            assert!(!alias.ends_with('/'));
        }
        aliases.sort();
        aliases.dedup();
        assert_eq!(aliases.len(), names.len());
        for other in
            ["alias/ockam-kms/b/issuer", "alias/ockam-kms/a/", "alias/issuer", "alias/ockam-kms/a/x/y"]
        {
            assert_eq!(address.name_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_key_is_named_in_one_way() {
        let address = Address::parse(&uri("awskms:region=eu-west-1")).unwrap();
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let parse = |text: &str| Wanted::parse(&uri(text), &address);
        let by_name = parse("awskms:name=issuer").unwrap();
        assert_eq!(by_name, Wanted { target: Target::Name("issuer".into()), name: None });
        let both = parse(&format!("awskms:region=eu-west-1;key-id={id};name=issuer")).unwrap();
        assert_eq!(both, Wanted { target: Target::KeyId(id.into()), name: Some("issuer".into()) });
        assert_eq!(parse("awskms:alias=mine/x").unwrap().target, Target::Alias("alias/mine/x".into()));
        assert_eq!(parse("awskms:alias=alias/mine").unwrap().target, Target::Alias("alias/mine".into()));
        for bad in [
            "soft:name=k",
            "awskms:region=eu-west-1",
            "awskms:region=eu-west-2;name=k",
            "awskms:namespace=other;name=k",
            "awskms:key-id=alias/x",
            "awskms:key-id=arn%3Aaws%3Akms",
            "awskms:alias=a.b",
            "awskms:alias=a;name=b",
            "awskms:name=../x",
        ] {
            assert_eq!(parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
