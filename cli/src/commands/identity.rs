//! `identity …` but rotation.

use home::{Home, IdentityRecord, KeyRef, Name, NewKey};
use identity::{Change, Identity};
use serde_json::{Value, json};
use vault::soft::{Lock, LockedBy};
use vault::{KeyUri, Scheme};

use super::{resolve, rotate};
use crate::args::identity::{Create, Delete, Encoding, Show, Verb, Verify};
use crate::context::{Context, optional_name, random_name};
use crate::dry_run::Preview;
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::output::{Report, blocks, table, time};
use crate::secret_input::{file_text, text};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List => list(context),
        Verb::Show(show) => self::show(context, &show),
        Verb::Default(named) => default(context, named.name.as_deref()),
        Verb::Verify(verify) => self::verify(context, &verify),
        Verb::Rotate(rotate) => rotate::run(context, &rotate),
        Verb::Delete(delete) => self::delete(context, &delete),
    }
}

fn create(context: &Context, create: &Create) -> Result<Report> {
    let given = optional_name("an identity", create.name.as_deref())?;
    let vault = optional_name("a vault", create.vault.as_deref())?;
    let key = match (&create.key, &create.key_type) {
        (Some(given), _) => NewKey::Adopt(key_uri(context.home()?, vault.as_ref(), given)?),
        (None, wanted) => NewKey::Generate(wanted.as_deref().map(str::parse).transpose()?),
    };
    let import = create
        .identity
        .as_deref()
        .map(|given| text(given, "change history").and_then(|hex| Ok(Identity::import_hex(&hex)?)))
        .transpose()?;
    let writer = context.writer()?;
    let home = context.home()?;
    let name = match given {
        Some(name) => name,
        None if home.identities()?.is_empty() => Name::new("default")?,
        None => random_name("identity")?,
    };
    if let Some((_, existing)) = home.identities()?.into_iter().find(|(known, _)| *known == name) {
        if import.is_none() {
            refuse_other_key(&name, &existing, vault.as_ref(), &key)?;
        }
        return existing_identity(&name, &existing, import.as_ref());
    }
    if let Some(identity) = import {
        home.remember(&writer, &identity, context.now())?;
        home.store_identity(&writer, &name, &IdentityRecord::new(&identity, None, None))?;
        return Ok(created(&name, &identity.identifier().to_string(), "stored"));
    }
    let vault = match vault {
        Some(vault) => home.vault_or_default(Some(&vault))?,
        None if home.vaults()?.is_empty() => {
            let vault = Name::new("default")?;
            home.create_soft_vault(&writer, &vault, None, &Lock::KeyFile(None))?;
            context.output.note("there was no vault: the software vault `default` is made");
            vault
        }
        None => home.vault_or_default(None)?,
    };
    let clock = context.clock();
    let record =
        vault::block_on(home.create_identity(&writer, context.vaults()?, &name, &vault, key, &clock))?;
    Ok(created(&name, &record.identifier().to_string(), "created"))
}

/// A key that is there: by its URI, or, in a vault at AWS KMS, by its id alone, as the reference names one.
fn key_uri(home: &Home, vault: Option<&Name>, given: &str) -> Result<KeyUri> {
    given.parse().or_else(|error: vault::Error| {
        let at_aws = home
            .vault_or_default(vault)
            .and_then(|vault| home.vault(&vault)?.uri())
            .is_ok_and(|uri| uri.scheme() == Scheme::AwsKms);
        if at_aws { Ok(KeyUri::new(Scheme::AwsKms).with("key-id", given)?) } else { Err(error.into()) }
    })
}

/// Creating an identity that exists gives the existing one, as the reference does; storing another one under its name does
/// not.
fn existing_identity(name: &Name, existing: &IdentityRecord, import: Option<&Identity>) -> Result<Report> {
    if import.is_some_and(|import| import.identifier() != existing.identifier()) {
        return Err(Error::new(Kind::AlreadyExists, format!("there already is another identity `{name}`"))
            .with_hint("choose another name"));
    }
    Ok(created(name, &existing.identifier().to_string(), "already there"))
}

/// Refuses to give an identity that exists for one whose key is elsewhere, of another type, or another one.
fn refuse_other_key(
    name: &Name,
    existing: &IdentityRecord,
    vault: Option<&Name>,
    key: &NewKey,
) -> Result<()> {
    let there = existing.key();
    let refused = |option: &str, is: String| {
        let is = if there.is_some() { is } else { "no key of it is here".to_owned() };
        Error::new(Kind::AlreadyExists, format!("there already is an identity `{name}`, and {is}"))
            .with_hint(format!("choose another name, or leave {option} out: then it is that identity"))
    };
    let other_vault = |vault: &&Name| there.is_none_or(|key| key.vault().is_ok_and(|has| has != **vault));
    if let Some(vault) = vault.filter(other_vault) {
        return Err(refused("--vault", format!("its key is not in the vault `{vault}`")));
    }
    match key {
        NewKey::Generate(Some(wanted)) => match there.map(KeyRef::algorithm).transpose()? {
            Some(has) if has == *wanted => Ok(()),
            _ => Err(refused("--key-type", format!("its key is not of the type {wanted}"))),
        },
        NewKey::Adopt(wanted) => match there.map(KeyRef::uri).transpose()? {
            Some(has) if has.same_key(wanted) => Ok(()),
            _ => Err(refused("--key", format!("its key is not `{wanted}`"))),
        },
        NewKey::Generate(None) => Ok(()),
    }
}

fn created(name: &Name, identifier: &str, how: &str) -> Report {
    Report::new(
        format!("identity `{name}` {how}\n{identifier}"),
        json!({ "identifier": identifier, "name": name.as_str() }),
    )
    .machine(identifier)
}

fn list(context: &Context) -> Result<Report> {
    let home = context.read()?;
    let (mut plain, mut json) = (Vec::new(), Vec::new());
    for (name, record) in home.identities()? {
        let described = Described::of(home, &name, &record)?;
        plain.push(described.plain());
        json.push(described.json());
    }
    Ok(Report::new(
        blocks(&plain, "there are no identities yet: `ockam-kms identity create` makes one"),
        Value::Array(json),
    ))
}

fn show(context: &Context, show: &Show) -> Result<Report> {
    let home = context.read()?;
    let wanted = show.name.as_deref();
    // An identifier is no name: it may be somebody's who is known without one.
    if let Some(identifier) = wanted.filter(|wanted| wanted.parse::<identity::Identifier>().is_ok()) {
        let identity = resolve::identity(home, identifier)?;
        return shown_identity(show, &identity, None);
    }
    let (name, record) = home.identity_or_default(optional_name("an identity", wanted)?.as_ref())?;
    shown_identity(show, &record.identity()?, Some(&Described::of(home, &name, &record)?))
}

fn shown_identity(show: &Show, identity: &Identity, described: Option<&Described>) -> Result<Report> {
    let identifier = identity.identifier().to_string();
    if !show.full {
        let plain = described.map_or_else(|| identifier.clone(), Described::plain);
        let json = described
            .map_or_else(|| json!({ "identifier": identifier, "changes": identity.len() }), Described::json);
        return Ok(Report::new(plain, json).machine(identifier));
    }
    if show.encoding == Encoding::Hex {
        let hex = identity.to_hex();
        return Ok(Report::new(hex.clone(), json!({ "encoded": hex })).machine(hex));
    }
    let changes: Vec<_> = identity.changes().map(change_rows).collect();
    let plain: Vec<_> = changes.iter().map(|rows| table(rows)).collect();
    let plain = format!("{identifier}\n\n{}", plain.join("\n\n"));
    let json = json!({
        "identifier": identifier,
        "changes": identity.changes().map(change_json).collect::<Vec<_>>(),
    });
    Ok(Report::new(plain.clone(), json).machine(plain))
}

pub(super) fn change_rows(change: &Change) -> Vec<(&'static str, String)> {
    vec![
        ("change", change.hash().to_string()),
        ("key type", change.primary_key().algorithm().name().to_owned()),
        ("public key", hex::encode(change.primary_key().as_bytes())),
        ("valid from", time(change.valid_from())),
        ("valid until", time(change.valid_until())),
        ("revokes purpose keys", change.revokes_purpose_keys().to_string()),
    ]
}

pub(super) fn change_json(change: &Change) -> Value {
    json!({
        "hash": change.hash().to_string(),
        "primary_public_key": hex::encode(change.primary_key().as_bytes()),
        "key_type": change.primary_key().algorithm().name(),
        "valid_from": change.valid_from().0,
        "valid_until": change.valid_until().0,
        "revoke_all_purpose_keys": change.revokes_purpose_keys(),
    })
}

fn default(context: &Context, wanted: Option<&str>) -> Result<Report> {
    let name = match optional_name("an identity", wanted)? {
        Some(name) => {
            context.home()?.identity(&name)?;
            let writer = context.writer()?;
            context.home()?.set_default_identity(&writer, &name)?;
            name
        }
        None => context.read()?.identity_or_default(None)?.0,
    };
    Ok(Report::new(format!("the default identity is `{name}`"), json!({ "name": name.as_str() }))
        .machine(name.as_str()))
}

fn verify(context: &Context, verify: &Verify) -> Result<Report> {
    let home = context.read()?;
    let expected =
        verify.expected.as_deref().map(|expected| resolve::identifier(home, expected)).transpose()?;
    let (history, missing) = match (&verify.identity, &verify.path, &verify.input) {
        (Some(given), ..) => (text(given, "change history")?, None),
        (None, Some(path), _) => (file_text(path, "change history")?, None),
        (None, None, given) => named_history(home, given.as_deref())?,
    };
    let verified = Identity::import_hex(&history).and_then(|identity| match expected {
        Some(expected) if expected != identity.identifier() => Err(identity::Refusal::OtherIdentifier.into()),
        _ => Ok(identity),
    });
    Ok(match verified {
        Ok(identity) => {
            let (identifier, hash) =
                (identity.identifier().to_string(), identity.latest().hash().to_string());
            let json = json!({
                "valid": true, "identifier": identifier, "changes": identity.len(), "latest_change_hash": hash, "reason": null,
            });
            let plain = format!(
                "valid\n{}",
                table(&[
                    ("identifier", identifier.clone()),
                    ("changes", identity.len().to_string()),
                    ("latest change", hash),
                ])
            );
            Report::new(plain, json).machine(identifier)
        }
        Err(error) => {
            let reason = missing.unwrap_or_else(|| resolve::reason(&error));
            let json = json!({
                "valid": false, "identifier": null, "changes": 0, "latest_change_hash": null, "reason": reason,
            });
            context.output.note(&format!("the change history is refused: {reason}"));
            Report::new("not valid", json).machine("").refusing(Kind::Rejected)
        }
    })
}

/// The history of a name, or the text itself; and what to say when it is neither.
fn named_history(home: &Home, given: Option<&str>) -> Result<(zeroize::Zeroizing<String>, Option<String>)> {
    let stored = match given {
        None => Some(home.identity_or_default(None)?.1),
        Some(given) => match Name::new(given) {
            Ok(name) => {
                home.identities()?.into_iter().find(|(known, _)| *known == name).map(|(_, record)| record)
            }
            Err(_) => None,
        },
    };
    if let Some(record) = stored {
        return Ok((record.identity()?.to_hex().into(), None));
    }
    let given = given.unwrap_or_default();
    let text = text(given, "change history")?;
    let hex = !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit());
    let missing = (!hex && *text == given).then(|| {
        format!("malformed: `{}` is neither an identity here nor a change history as hex", shown(given))
    });
    Ok((text, missing))
}

fn delete(context: &Context, delete: &Delete) -> Result<Report> {
    let home = context.home()?;
    let names = match optional_name("an identity", delete.name.as_deref())? {
        Some(name) => {
            home.identity(&name)?;
            vec![name]
        }
        None => home.identities()?.into_iter().map(|(name, _)| name).collect(),
    };
    let shown = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    if delete.dry_run {
        return preview_of_delete(home, &names, delete.keep_keys).map(Preview::report);
    }
    let keys = if delete.keep_keys { "" } else { " Its keys are destroyed for good." };
    context.confirm(delete.yes, &format!("Delete {shown}?{keys}"))?;
    let writer = context.writer()?;
    for name in &names {
        context.refuse_while_rotating(Some(name))?;
        let servers = home.servers()?.into_iter();
        let mut using = servers.filter(|(_, record, running)| *running && record.identity == name.as_str());
        if let Some((server, record, _)) = using.next() {
            return Err(Error::new(
                Kind::Denied,
                format!("the identity `{name}` is used by the server `{server}`"),
            )
            .with_hint(format!("stop it first: `ockam-kms {} stop {server}`", record.kind)));
        }
    }
    for name in &names {
        vault::block_on(home.delete_identity(&writer, context.vaults()?, name, !delete.keep_keys))?;
    }
    let json = match names.as_slice() {
        [one] if !delete.all => json!({ "name": one.as_str() }),
        all => all.iter().map(|name| json!({ "name": name.as_str() })).collect(),
    };
    Ok(Report::new(format!("deleted: {shown}"), json).machine(shown))
}

fn preview_of_delete(home: &Home, names: &[Name], keep_keys: bool) -> Result<Preview> {
    let mut preview = Preview::default();
    for (before, name) in names.iter().enumerate() {
        let record = home.identity(name)?;
        preview.destroys(format!("the record of the identity `{name}`, {}", record.identifier()));
        for (_, key) in record.keys() {
            let vault = key.vault()?;
            let told = format!("the key `{}` in the vault `{vault}`", key.uri()?);
            // Those that are deleted before this one need it no more.
            let gone = |other: &Name| names.iter().take(before + 1).any(|name| name == other);
            let mut users = home.dependants(&vault, &key.public_bytes()?)?;
            users.retain(|other| !gone(other));
            if keep_keys {
                preview.keeps(told);
            } else if let Some(other) = users.first() {
                preview.keeps(format!("{told}, which the identity `{other}` uses too"));
            } else {
                preview.destroys(format!("{told}, for good"));
            }
        }
        for (server, record, running) in home.servers()? {
            if running && record.identity == name.as_str() {
                preview.needed_by(match record.node {
                    Some(_) => format!("the node `{server}`"),
                    None => format!("the server `{server}`, which issues by it"),
                });
            }
        }
        let about = record.identifier();
        let stored =
            home.credentials()?.into_iter().filter(|one| one.subject == about || one.issuer == about);
        for credential in stored {
            preview.keeps(format!("the stored credential `{}`, which names it", shown(&credential.scope)));
        }
    }
    Ok(preview)
}

/// An identity as it is shown.
struct Described {
    name: Name,
    identity: Identity,
    is_default: bool,
    key: Option<KeyPlace>,
    channel_key: Option<KeyPlace>,
    /// The vault whose key locks the vault of the channel key, when one does.
    channel_key_locked_by: Option<String>,
}

/// Where a key is: its vault, its URI, its algorithm.
struct KeyPlace {
    vault: String,
    uri: String,
    algorithm: &'static str,
}

impl KeyPlace {
    fn of(key: &KeyRef) -> Result<Self> {
        Ok(Self {
            vault: key.vault()?.to_string(),
            uri: key.uri()?.to_string(),
            algorithm: key.algorithm()?.name(),
        })
    }

    fn json(&self) -> Value {
        json!({ "vault": self.vault, "uri": self.uri, "algorithm": self.algorithm })
    }
}

impl Described {
    fn of(home: &Home, name: &Name, record: &IdentityRecord) -> Result<Self> {
        let channel_vault = record.channel_key().map(|record| record.key.vault()).transpose()?;
        let lock = channel_vault.map(|vault| home.vault_lock(&vault)).transpose()?.flatten();
        let channel_key_locked_by = match lock {
            Some(LockedBy::Vault(by)) => Some(by.vault.to_string()),
            _ => None,
        };
        Ok(Self {
            name: name.clone(),
            identity: record.identity()?,
            is_default: home.default_identity()?.as_ref() == Some(name),
            key: record.key().map(KeyPlace::of).transpose()?,
            channel_key: record.channel_key().map(|record| KeyPlace::of(&record.key)).transpose()?,
            channel_key_locked_by,
        })
    }

    fn plain(&self) -> String {
        let default = if self.is_default { " (default)" } else { "" };
        let mut rows = vec![
            ("name", format!("{}{default}", self.name)),
            ("identifier", self.identity.identifier().to_string()),
            ("changes", self.identity.len().to_string()),
        ];
        match &self.key {
            Some(key) => {
                rows.push(("vault", key.vault.clone()));
                rows.push(("key", format!("{} ({})", key.uri, key.algorithm)));
            }
            None => rows.push(("key", "not here: somebody else's identity".to_owned())),
        }
        if let Some(channel) = &self.channel_key {
            // The primary key may be in a device that does not agree by X25519: then this one is in software.
            let beside = self.key.as_ref().is_some_and(|key| key.vault == channel.vault);
            let locked =
                self.channel_key_locked_by.as_ref().map(|by| format!(", which a key of `{by}` locks"));
            let elsewhere = match (beside, channel.uri.starts_with("soft:")) {
                (true, _) => String::new(),
                (false, true) => {
                    format!(", in software, in the vault `{}`{}", channel.vault, locked.unwrap_or_default())
                }
                (false, false) => format!(", in the vault `{}`", channel.vault),
            };
            rows.push(("channel key", format!("{} ({}{elsewhere})", channel.uri, channel.algorithm)));
        }
        table(&rows)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "identifier": self.identity.identifier().to_string(),
            "is_default": self.is_default,
            "changes": self.identity.len(),
            "latest_change_hash": self.identity.latest().hash().to_string(),
            "vault_name": self.key.as_ref().map(|key| key.vault.as_str()),
            "key": self.key.as_ref().map(KeyPlace::json),
            "channel_key": self.channel_key.as_ref().map(|channel| {
                json!({
                    "vault": channel.vault,
                    "uri": channel.uri,
                    "algorithm": channel.algorithm,
                    "locked_by": self.channel_key_locked_by,
                })
            }),
        })
    }
}
