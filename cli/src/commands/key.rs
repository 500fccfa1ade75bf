//! `key …`

mod attest;

pub(crate) use attest::{anchors, gather};

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use home::{Name, Vaults};
use serde_json::{Value, json};
use vault::soft::SoftVault;
use vault::{
    Agreement, Algorithm, Custody, KeyInfo, KeyName, KeySpec, KeyUri, PurposeKind, Scheme, Sealing,
    Signature, Signer, Signing, Vault, VerifyingKey,
};

use crate::args::key::{AttestVerb, Destroy, Generate, Message, Sign, Verb, Verify, Which};
use crate::backends;
use crate::context::{Context, Writing, optional_name, random_name};
use crate::dry_run::Preview;
use crate::error::{Error, Result, io, shown};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::{Report, blocks, table};

/// The largest message that is signed: it is held in memory, since Ed25519 needs it twice.
const MAX_MESSAGE: u64 = 256 * 1024 * 1024;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Generate(generate) => self::generate(context, &generate),
        Verb::List(list) => {
            let open = Open::vault(context, list.vault.as_deref())?;
            let keys = open.list()?;
            let plain: Vec<_> = keys.iter().map(|key| open.plain(key)).collect();
            let json: Vec<_> = keys.iter().map(|key| open.json(key)).collect();
            Ok(Report::new(blocks(&plain, "there are no keys in this vault"), Value::Array(json)))
        }
        Verb::Show(which) => {
            let open = Open::vault(context, which.vault.as_deref())?;
            let key = open.find(&which.key)?;
            Ok(Report::new(open.plain(&key), open.json(&key)).machine(key.uri.to_string()))
        }
        Verb::Sign(sign) => self::sign(context, &sign),
        Verb::Verify(verify) => self::verify(context, &verify),
        Verb::Attest(attest) => match &attest.verb {
            Some(AttestVerb::Verify(verify)) => attest::verify(context, verify),
            None => attest::run(context, &attest),
        },
        Verb::Destroy(destroy) => self::destroy(context, &destroy),
        Verb::Restore(which) => self::restore(context, &which),
    }
}

/// A vault of the home, opened.
struct Open {
    name: Name,
    vault: Arc<dyn Vault>,
}

impl Open {
    fn vault(context: &Context, named: Option<&str>) -> Result<Self> {
        let name = context.read()?.vault_or_default(optional_name("a vault", named)?.as_ref())?;
        let vault = vault::block_on(context.vaults()?.open(&name))?;
        Ok(Self { name, vault })
    }

    /// A vault to make a key in; of one that is files of ours with the lock for writers: a key that is made while its vault
    /// is moved stays behind. Opened before that lock is taken: people and devices may take their time.
    fn to_write(context: &Context, named: Option<&str>) -> Result<(Self, Option<Writing>)> {
        let home = context.home()?;
        let name = home.vault_or_default(optional_name("a vault", named)?.as_ref())?;
        let mut vaults = Arc::clone(context.vaults()?);
        loop {
            let uri = home.vault(&name)?.uri()?;
            match vault::block_on(vaults.open(&name)) {
                Ok(vault) if uri.scheme() != Scheme::Soft => return Ok((Self { name, vault }, None)),
                Ok(vault) => {
                    let writer = context.writer()?;
                    let path = Path::new(uri.require("path")?);
                    if home.vault(&name)?.uri()? == uri && SoftVault::locked_by(path)?.0 == *vault.id() {
                        return Ok((Self { name, vault }, Some(writer)));
                    }
                }
                Err(error) if home.vault(&name)?.uri()? == uri => return Err(error.into()),
                Err(_) => {}
            }
            // It is elsewhere now, or another one has its name.
            vaults = Arc::new(Vaults::new(home.clone(), backends::registry(), context.interact()));
        }
    }

    fn list(&self) -> Result<Vec<KeyInfo>> {
        let listing = self.vault.listing().ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("the vault `{}` cannot list its keys", self.name))
        })?;
        Ok(vault::block_on(listing.list())?)
    }

    /// The key of this name or URI. Which purpose it is for is only known from the listing.
    fn find(&self, key: &str) -> Result<KeyInfo> {
        let uri = if key.contains(':') { Some(key.parse::<KeyUri>()?) } else { None };
        if let Some(uri) = uri.as_ref().filter(|uri| uri.scheme() != self.vault.scheme()) {
            return Err(Error::invalid(format!("`{uri}` is not a key of the vault `{}`", self.name))
                .with_hint("name the vault of the key with --vault"));
        }
        let wanted = |info: &KeyInfo| uri.as_ref().map_or(info.name == key, |uri| uri.same_key(&info.uri));
        let mut found = self.list()?.into_iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "several keys in the vault `{}` are called `{}`",
                self.name,
                shown(key)
            ))
            .with_hint("name yours by its URI, which `ockam-kms key list` shows")),
            (None, _) => Err(Error::new(
                Kind::NotFound,
                format!("there is no key `{}` in the vault `{}`", shown(key), self.name),
            )
            .with_hint("`ockam-kms key list` shows those that there are")),
        }
    }

    /// Opens a signing key by its name or URI.
    fn signer(&self, key: &str) -> Result<Signer> {
        let facet = self.vault.signing().ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("the vault `{}` has no signing keys", self.name))
        })?;
        let uri = match key.contains(':') {
            true => key.parse()?,
            false => self.find(key)?.uri,
        };
        let handle = vault::block_on(Custody::<Signing>::open(facet, &uri))?;
        Ok(Signer::bind(Arc::clone(&self.vault), handle)?)
    }

    fn rows(&self, key: &KeyInfo) -> Vec<(&'static str, String)> {
        vec![
            ("name", key.name.clone()),
            ("uri", key.uri.to_string()),
            ("vault", self.name.to_string()),
            ("algorithm", key.algorithm.name().to_owned()),
            ("purpose", key.purpose.name().to_owned()),
            ("public_key", key.public.as_ref().map(hex::encode).unwrap_or_default()),
        ]
    }

    fn plain(&self, key: &KeyInfo) -> String {
        let rows: Vec<_> = self.rows(key).into_iter().filter(|(_, value)| !value.is_empty()).collect();
        table(&rows)
    }

    fn json(&self, key: &KeyInfo) -> Value {
        let value = |(name, value): (&str, String)| {
            (
                name.to_owned(),
                if value.is_empty() && name == "public_key" { Value::Null } else { Value::String(value) },
            )
        };
        Value::Object(self.rows(key).into_iter().map(value).collect())
    }
}

fn generate(context: &Context, generate: &Generate) -> Result<Report> {
    let key_name = match optional_name("a key", generate.name.as_deref())? {
        Some(name) => name,
        None => random_name("key")?,
    };
    let (open, _writer) = Open::to_write(context, generate.vault.as_deref())?;
    let algorithm = match &generate.key_type {
        Some(wanted) => wanted.parse::<Algorithm>()?,
        None => open.vault.capabilities().choose(&[Algorithm::Ed25519, Algorithm::EcdsaP256]).ok_or_else(
            || Error::new(Kind::Unsupported, format!("the vault `{}` has no signing keys", open.name)),
        )?,
    };
    if open.vault.capabilities().get(algorithm).is_none() {
        return Err(Error::new(
            Kind::Unsupported,
            format!("the vault `{}` has no keys of type {algorithm}", open.name),
        )
        .with_hint(format!("`ockam-kms vault check {}` lists what it can do", open.name)));
    }
    let lacks = || {
        Error::new(
            Kind::Unsupported,
            format!("the vault `{}` has no keys for {}", open.name, algorithm.purpose()),
        )
    };
    let _whole = interrupt::hold();
    let uri = match algorithm.purpose() {
        PurposeKind::Signing => {
            let facet = open.vault.signing().ok_or_else(lacks)?;
            vault::block_on(facet.generate(&KeySpec::<Signing>::new(key_name, algorithm)?))?.uri().clone()
        }
        PurposeKind::Agreement => {
            let facet = open.vault.agreement().ok_or_else(lacks)?;
            vault::block_on(facet.generate(&KeySpec::<Agreement>::new(key_name, algorithm)?))?.uri().clone()
        }
        PurposeKind::Sealing => {
            let facet = open.vault.sealing().ok_or_else(lacks)?;
            vault::block_on(facet.generate(&KeySpec::<Sealing>::new(key_name, algorithm)?))?.uri().clone()
        }
    };
    let key = open.find(&uri.to_string())?;
    Ok(Report::new(open.plain(&key), open.json(&key)).machine(uri.to_string()))
}

fn sign(context: &Context, sign: &Sign) -> Result<Report> {
    let open = Open::vault(context, sign.which.vault.as_deref())?;
    let signer = open.signer(&sign.which.key)?;
    let message = message(sign.message.as_deref(), &sign.from)?;
    let signature = hex::encode(vault::block_on(signer.sign(&message))?.as_bytes());
    let json = json!({
        "signature": signature,
        "algorithm": signer.algorithm().name(),
        "public_key": hex::encode(signer.public().as_bytes()),
        "uri": signer.handle().uri().to_string(),
    });
    Ok(Report::new(signature.clone(), json).machine(signature))
}

fn verify(context: &Context, verify: &Verify) -> Result<Report> {
    let elsewhere = verify.from.message_hex.is_some() || verify.from.file.is_some();
    let (key, text) = match (&verify.key, &verify.message, verify.public_key.is_some(), elsewhere) {
        (None, None, true, true) => (None, None),
        (Some(text), None, true, false) => (None, Some(text)),
        (Some(key), None, false, true) => (Some(key), None),
        (Some(key), Some(text), false, false) => (Some(key), Some(text)),
        _ => {
            return Err(Error::usage("a key and a message are needed, once each")
                .with_hint("usage: ockam-kms key verify KEY MESSAGE --signature HEX; see --help for public keys and files"));
        }
    };
    let public = match (key, &verify.public_key, &verify.key_type) {
        (Some(key), ..) => Open::vault(context, verify.vault.as_deref())?.signer(key)?.public().clone(),
        (None, Some(public), Some(key_type)) => {
            VerifyingKey::from_bytes(key_type.parse()?, &from_hex("public key", public)?)?
        }
        _ => return Err(Error::usage("a public key and its type are needed")),
    };
    let bytes = from_hex("signature", &verify.signature)?;
    let bytes: [u8; 64] = bytes.try_into().map_err(|_| Error::invalid("a signature has 64 bytes"))?;
    let signature = match public.algorithm() {
        Algorithm::Ed25519 => Signature::Ed25519(bytes),
        _ => Signature::EcdsaP256(bytes),
    };
    let valid = public.verify(&message(text.map(String::as_str), &verify.from)?, &signature).is_ok();
    let json = json!({
        "valid": valid, "algorithm": public.algorithm().name(), "public_key": hex::encode(public.as_bytes()),
    });
    let plain = if valid { "the signature holds" } else { "the signature does not hold" };
    let report = Report::new(plain, json).machine(valid.to_string());
    Ok(if valid { report } else { report.refusing(Kind::Rejected) })
}

fn message(text: Option<&str>, from: &Message) -> Result<Vec<u8>> {
    match (text, &from.message_hex, &from.file) {
        (Some(text), ..) => Ok(text.as_bytes().to_vec()),
        (None, Some(hex), _) => from_hex("message", hex),
        (None, None, Some(path)) => {
            let mut bytes = Vec::new();
            let read = if path == Path::new("-") {
                std::io::stdin().lock().take(MAX_MESSAGE + 1).read_to_end(&mut bytes)
            } else {
                std::fs::File::open(path).and_then(|file| file.take(MAX_MESSAGE + 1).read_to_end(&mut bytes))
            };
            let read = read.map_err(|e| io("read", path, e))?;
            if u64::try_from(read).unwrap_or(u64::MAX) > MAX_MESSAGE {
                return Err(Error::invalid(format!("the message has more than {MAX_MESSAGE} bytes"))
                    .with_hint("sign a hash of it"));
            }
            Ok(bytes)
        }
        (None, None, None) => Err(Error::usage("the message is missing")),
    }
}

fn from_hex(what: &str, text: &str) -> Result<Vec<u8>> {
    hex::decode(text.trim()).map_err(|_| Error::invalid(format!("the {what} is not hex")))
}

fn destroy(context: &Context, destroy: &Destroy) -> Result<Report> {
    let open = Open::vault(context, destroy.which.vault.as_deref())?;
    let key = match open.find(&destroy.which.key) {
        Err(error) if error.kind() == Kind::NotFound => match half_made(&open, &destroy.which.key) {
            Some(half) => return discard(context, &open, &half, destroy),
            None => return Err(error),
        },
        found => found?,
    };
    if destroy.dry_run {
        let mut preview = Preview::default();
        preview.destroys(format!("the key `{}` in the vault `{}`, for good", key.uri, open.name));
        for vault in locked(context, &open, &key)? {
            preview.needed_by(format!("the vault {vault}, which it locks"));
        }
        for user in users(context, &key)? {
            preview.needed_by(format!("the identity `{user}`"));
        }
        return Ok(preview.report());
    }
    context.confirm(destroy.yes, &format!("Destroy the key `{}` for good?", key.name))?;
    let _writer = context.writer()?;
    context.refuse_while_rotating(None)?;
    refuse_while_needed(context, &open, &key)?;
    let lacks = || {
        Error::new(Kind::Unsupported, format!("the vault `{}` has no keys for {}", open.name, key.purpose))
    };
    match key.purpose {
        PurposeKind::Signing => {
            vault::block_on(end::<Signing>(open.vault.signing().ok_or_else(lacks)?, &key.uri))
        }
        PurposeKind::Agreement => {
            vault::block_on(end::<Agreement>(open.vault.agreement().ok_or_else(lacks)?, &key.uri))
        }
        PurposeKind::Sealing => {
            vault::block_on(end::<Sealing>(open.vault.sealing().ok_or_else(lacks)?, &key.uri))
        }
    }?;
    Ok(Report::new(
        format!("the key `{}` is destroyed", key.name),
        json!({ "name": key.name, "uri": key.uri.to_string() }),
    )
    .machine(key.name.clone()))
}

/// The name of a key whose making or destruction was cut off: the vault does not list it, and says so when it is opened.
fn half_made(open: &Open, key: &str) -> Option<KeyName> {
    let name = KeyName::new(key).ok()?;
    let uri = KeyUri::of_key(open.vault.scheme(), &name);
    let opened = vault::block_on(Custody::<Signing>::open(open.vault.signing()?, &uri));
    opened.is_err_and(|error| error.kind() == vault::Kind::Corrupt).then_some(name)
}

/// Removes what is left of one.
fn discard(context: &Context, open: &Open, name: &KeyName, destroy: &Destroy) -> Result<Report> {
    if destroy.dry_run {
        let mut preview = Preview::default();
        preview.destroys(format!("what is left of the key `{name}` in the vault `{}`, for good", open.name));
        return Ok(preview.report());
    }
    context.confirm(destroy.yes, &format!("Remove what is left of the key `{name}`?"))?;
    let _writer = context.writer()?;
    context.refuse_while_rotating(None)?;
    let uri = KeyUri::of_key(open.vault.scheme(), name);
    let home = context.home()?;
    // A key that was overwritten opens as little as one that was never finished; its user has to say goodbye first.
    let locked = home.locked_with_key(&open.name, &*open.vault, &uri)?;
    let mut users: Vec<_> = locked.into_iter().map(|vault| format!("the vault `{vault}`")).collect();
    for (user, record) in home.identities()? {
        if let Some(key) = record.key()
            && key.vault()? == open.name
            && key.uri()?.same_key(&uri)
        {
            users.push(user.to_string());
        }
    }
    if !users.is_empty() {
        let text = format!("the key `{name}` in the vault `{}` is needed by {}", open.name, users.join(", "));
        return Err(Error::new(Kind::Denied, text)
            .with_hint("rotate these identities to other keys, or change the lock of these vaults, first"));
    }
    // Which purpose it was for, only the vault knows: it refuses the others.
    let signing = open.vault.signing().map(|facet| Custody::<Signing>::discard(facet, name));
    let agreement = open.vault.agreement().map(|facet| Custody::<Agreement>::discard(facet, name));
    let sealing = open.vault.sealing().map(|facet| Custody::<Sealing>::discard(facet, name));
    for discarded in [signing, agreement, sealing].into_iter().flatten() {
        match vault::block_on(discarded) {
            Err(error) if error.kind() == vault::Kind::Invalid => {}
            done => done?,
        }
    }
    Ok(Report::new(
        format!("what was left of the key `{name}` is removed"),
        json!({ "name": name.as_str(), "uri": uri.to_string() }),
    )
    .machine(name.as_str()))
}

fn restore(context: &Context, which: &Which) -> Result<Report> {
    let open = Open::vault(context, which.vault.as_deref())?;
    let restoring = open.vault.restoring().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("the vault `{}` destroys keys for good", open.name))
            .with_hint("only AWS KMS keeps them for some days")
    })?;
    let uri = match which.key.contains(':') {
        true => which.key.parse::<KeyUri>()?,
        false => KeyUri::of_key(open.vault.scheme(), &KeyName::new(&which.key)?),
    };
    let _whole = interrupt::hold();
    let key = vault::block_on(restoring.restore(&uri))?;
    Ok(Report::new(open.plain(&key), open.json(&key)).machine(key.uri.to_string()))
}

async fn end<P: vault::Purpose>(facet: &(impl Custody<P> + ?Sized), uri: &KeyUri) -> vault::Result<()> {
    let key = facet.open(uri).await?;
    facet.destroy(key).await
}

/// The vaults that a key locks.
fn locked(context: &Context, open: &Open, key: &KeyInfo) -> Result<Vec<String>> {
    let locked = context.home()?.locked_with_key(&open.name, &*open.vault, &key.uri)?;
    Ok(locked.iter().map(|name| format!("`{name}`")).collect())
}

/// The identities that need a key. One may know its vault under another name, when one token is registered twice.
fn users(context: &Context, key: &KeyInfo) -> Result<Vec<String>> {
    let Some(public) = &key.public else { return Ok(Vec::new()) };
    let home = context.home()?;
    let mut users = Vec::new();
    for (vault, _) in home.vaults()? {
        users.extend(home.dependants(&vault, public)?.into_iter().map(|name| name.to_string()));
    }
    users.sort();
    users.dedup();
    Ok(users)
}

fn refuse_while_needed(context: &Context, open: &Open, key: &KeyInfo) -> Result<()> {
    let locked = locked(context, open, key)?;
    if !locked.is_empty() {
        return Err(Error::new(
            Kind::Denied,
            format!(
                "the key `{}` in the vault `{}` locks the vault {}",
                key.name,
                open.name,
                locked.join(", ")
            ),
        )
        .with_hint(
            "without it nothing opens that vault: change its lock first with `ockam-kms vault rekey`",
        ));
    }
    let users = users(context, key)?;
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Denied,
        format!("the key `{}` in the vault `{}` is needed by {}", key.name, open.name, users.join(", ")),
    )
    .with_hint("rotate these identities to other keys, or delete them, first"))
}
