//! `vault …`

#[cfg(feature = "yubikey")]
mod card;
mod check;
mod lock;
mod rekey;

pub(crate) use check::{exposed, exposed_key_file, key_file_beside};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use home::{Home, Kek, Name};
use serde_json::{Value, json};
use vault::soft::{Lock, LockedBy};
use vault::{Interact as _, KeyUri, Scheme};

use crate::args::vault::{Create, Delete, Move, Verb};
use crate::context::{Context, name, optional_name, random_name};
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, blocks, table};
use crate::secret_input::Source;
use crate::terminal;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Create(create) => self::create(context, &create),
        Verb::List => list(context),
        Verb::Show(show) => {
            let home = context.read()?;
            let vault = home.vault_or_default(optional_name("a vault", show.name.as_deref())?.as_ref())?;
            let described = Described::of(home, &vault)?;
            Ok(Report::new(described.plain(), described.json()).machine(vault.as_str()))
        }
        Verb::Default(default) => self::default(context, default.name.as_deref()),
        Verb::Check(named) => check::run(context, named.name.as_deref()),
        Verb::Rekey(rekey) => rekey::run(context, &rekey),
        Verb::Move(moved) => self::move_vault(context, &moved),
        #[cfg(feature = "yubikey")]
        Verb::ChangePin(change) => card::change_pin(context, &change),
        #[cfg(feature = "yubikey")]
        Verb::ChangePuk(change) => card::change_puk(context, &change),
        #[cfg(feature = "yubikey")]
        Verb::ChangeManagementKey(change) => card::change_management_key(context, &change),
        #[cfg(feature = "yubikey")]
        Verb::UnblockPin(unblock) => card::unblock_pin(context, &unblock),
        #[cfg(not(feature = "yubikey"))]
        Verb::ChangePin(_) | Verb::ChangePuk(_) | Verb::ChangeManagementKey(_) | Verb::UnblockPin(_) => {
            Err(crate::backends::registry().lacks(Scheme::YubiKey).into())
        }
        Verb::Delete(delete) => self::delete(context, &delete),
    }
}

fn create(context: &Context, create: &Create) -> Result<Report> {
    let given = optional_name("a vault", create.name.as_deref())?;
    let uri = vault_uri(context, create)?;
    if uri.is_none() && context.pin.is_some() {
        return Err(
            Error::usage("a software vault has no PIN").with_hint("lock it with a passphrase or a key file")
        );
    }
    if create.key_file.is_some() && context.passphrase.is_some() {
        return Err(Error::usage("both a key file and a passphrase are given")
            .with_hint("a vault has one lock: choose one"));
    }
    if create.kek.is_some() && context.passphrase.is_some() {
        return Err(Error::usage("both a key of another vault and a passphrase are given")
            .with_hint("a vault has one lock: choose one"));
    }
    // A vault whose keys are files of ours lies in the home unless it is told where, so its name comes first.
    let (given, uri) = match uri {
        Some(uri) if uri.scheme() == Scheme::Tpm && uri.bytes("path").is_none() => {
            let home = context.home()?;
            let name = new_name(home, given)?;
            if home.vault(&name).is_ok() {
                return Err(Error::new(Kind::AlreadyExists, format!("there already is a vault `{name}`"))
                    .with_hint("choose another name"));
            }
            let path = absolute(&home.soft_vault_dir(&name))?;
            home.refuse_occupied(&path)?;
            (Some(name), Some(uri.with("path", path.as_os_str().as_encoded_bytes())?))
        }
        uri => (given, uri),
    };
    // Outside the lock for writers: a person, or a device, may take their time.
    let opened = match &uri {
        Some(uri) => Some(vault::block_on(context.vaults()?.create_uri(uri))?),
        None => None,
    };
    let new = match (&uri, &create.kek) {
        (Some(uri), _) => New::Registered(uri.clone()),
        (None, Some(text)) => New::Sealed(lock::opened_kek(context, text)?),
        (None, None) => New::Locked(lock(context, create)?),
    };
    let writer = context.writer()?;
    let home = context.home()?;
    let name = new_name(home, given)?;
    let path = create.path.as_deref();
    match &new {
        New::Registered(uri) => home.register_vault(&writer, &name, uri)?,
        New::Locked(lock) => home.create_soft_vault(&writer, &name, path, lock)?,
        New::Sealed(kek) => {
            vault::block_on(home.create_sealed_vault(&writer, context.vaults()?, &name, path, kek))?;
        }
    }
    drop(opened);
    let described = Described::of(home, &name)?;
    let plain = format!("vault `{name}` created\n{}", described.plain());
    Ok(Report::new(plain, json!({ "name": name.as_str(), "backend": described.uri.scheme().name() }))
        .machine(name.as_str()))
}

/// The name of a new vault: the one that was given, `default` for the first, else a random one.
fn new_name(home: &Home, given: Option<Name>) -> Result<Name> {
    match given {
        Some(name) => Ok(name),
        None if home.vaults()?.is_empty() => Ok(Name::new("default")?),
        None => random_name("vault"),
    }
}

/// What a vault is made of.
enum New {
    Registered(KeyUri),
    Locked(Lock),
    Sealed(Kek),
}

/// The URI to register, unless a software vault is to be made.
fn vault_uri(context: &Context, create: &Create) -> Result<Option<KeyUri>> {
    let mut uri: KeyUri = match (&create.uri, &create.token, &create.module_path) {
        _ if create.aws_kms => KeyUri::new(Scheme::AwsKms).with("region", region()?)?,
        (Some(uri), ..) => uri.parse()?,
        (None, Some(token), Some(module)) => KeyUri::new(Scheme::Pkcs11)
            .with("token", token)?
            .with("module-path", absolute(module)?.as_os_str().as_encoded_bytes())?,
        _ => return Ok(None),
    };
    // It is opened from wherever somebody stands.
    if let (Scheme::Soft | Scheme::Tpm, Some(path)) = (uri.scheme(), uri.bytes("path")) {
        let path = absolute(Path::new(OsStr::from_bytes(path)))?;
        uri = uri.with("path", path.as_os_str().as_bytes())?;
    }
    let source_attribute = match uri.scheme() {
        Scheme::Pkcs11 | Scheme::YubiKey => Some("pin-source"),
        Scheme::Tpm => Some("auth-source"),
        _ => None,
    };
    match (&context.pin, source_attribute) {
        (Some(Source::File(path)), Some(attribute)) => {
            if uri.bytes(attribute).is_some() {
                return Err(Error::usage("the URI names a file for the PIN, and so does --pin-file")
                    .with_hint("name it once"));
            }
            let mut source = b"file:".to_vec();
            source.extend_from_slice(absolute(path)?.as_os_str().as_encoded_bytes());
            uri = uri.with(attribute, source)?;
        }
        (Some(_), None) => {
            return Err(Error::usage(format!("a vault of the backend `{}` has no PIN", uri.scheme())));
        }
        _ => {}
    }
    Ok(Some(uri))
}

/// The region as AWS's own tools find it in the environment.
fn region() -> Result<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).ok_or_else(|| {
        Error::usage("nothing says which region of AWS")
            .with_hint("set `AWS_REGION`, or name it: --uri awskms:region=…")
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|e| Error::invalid(format!("`{}` has no absolute path", path.display())).with_source(e))
}

/// The lock of a new software vault.
fn lock(context: &Context, create: &Create) -> Result<Lock> {
    if create.ask_passphrase {
        if context.no_input {
            return Err(Error::new(Kind::Presence, "a passphrase is asked for, and nobody can be asked")
                .with_hint("pass it with --passphrase-file PATH, or `-` for standard input"));
        }
        return Ok(Lock::Passphrase(terminal::new_passphrase()?));
    }
    if context.passphrase.is_some() {
        let ask = vault::Ask::Passphrase { of: "the new vault".to_owned() };
        return Ok(Lock::Passphrase(context.interact().secret(&ask)?));
    }
    Ok(Lock::KeyFile(create.key_file.as_deref().map(absolute).transpose()?))
}

fn list(context: &Context) -> Result<Report> {
    let home = context.read()?;
    let described: Vec<_> =
        home.vaults()?.iter().map(|(name, _)| Described::of(home, name)).collect::<Result<_>>()?;
    let plain: Vec<_> = described.iter().map(Described::plain).collect();
    let json: Vec<_> = described.iter().map(Described::json).collect();
    Ok(Report::new(
        blocks(&plain, "there are no vaults yet: `ockam-kms vault create` makes one"),
        Value::Array(json),
    ))
}

fn default(context: &Context, wanted: Option<&str>) -> Result<Report> {
    let vault = match optional_name("a vault", wanted)? {
        Some(name) => {
            context.home()?.vault(&name)?;
            let writer = context.writer()?;
            context.home()?.set_default_vault(&writer, &name)?;
            name
        }
        None => context.read()?.vault_or_default(None)?,
    };
    Ok(Report::new(format!("the default vault is `{vault}`"), json!({ "name": vault.as_str() }))
        .machine(vault.as_str()))
}

fn move_vault(context: &Context, moved: &Move) -> Result<Report> {
    let vault = name("a vault", &moved.name)?;
    context.home()?.vault(&vault)?;
    if moved.dry_run {
        return preview_of_move(context.read()?, &vault, &moved.path).map(Preview::report);
    }
    let writer = context.writer()?;
    context.refuse_while_rotating(None)?;
    let home = context.home()?;
    home.move_vault(&writer, &vault, &moved.path)?;
    let described = Described::of(home, &vault)?;
    Ok(Report::new(format!("vault `{vault}` moved\n{}", described.plain()), described.json())
        .machine(vault.as_str()))
}

fn delete(context: &Context, delete: &Delete) -> Result<Report> {
    let home = context.home()?;
    // Those that a key of another vault locks come before the vault of that key.
    let mut names = match optional_name("a vault", delete.name.as_deref())? {
        Some(name) => {
            home.vault(&name)?;
            vec![name]
        }
        None => home.vaults()?.into_iter().map(|(name, _)| name).collect(),
    };
    if delete.dry_run {
        return preview_of_delete(context.read()?, &names).map(Preview::report);
    }
    let shown = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    context.confirm(
        delete.yes,
        &format!("Delete {shown}? The keys of software vaults in the home are gone for good."),
    )?;
    let writer = context.writer()?;
    context.refuse_while_rotating(None)?;
    // And the other names of a vault before the one with whose record its files go.
    names.sort_by_key(|name| (std::cmp::Reverse(lock::depth(home, name)), is_removed(home, name)));
    let removed: Vec<_> = names.iter().filter(|name| is_removed(home, name)).cloned().collect();
    let mut locks = Vec::new();
    for name in &names {
        let lock = home.vault_lock(name).ok().flatten().filter(|lock| ends(&removed, name, lock));
        home.delete_vault(&writer, name)?;
        locks.extend(lock.map(|lock| (name, lock)));
    }
    for (name, lock) in locks {
        if let Some(text) = rekey::left_over(home, name, &lock)? {
            context.output.note(&text);
        }
    }
    let json = match names.as_slice() {
        [one] if !delete.all => json!({ "name": one.as_str() }),
        all => all.iter().map(|name| json!({ "name": name.as_str() })).collect(),
    };
    Ok(Report::new(format!("deleted: {shown}"), json).machine(shown))
}

/// Whether the files of a vault go with its record.
fn is_removed(home: &Home, name: &Name) -> bool {
    home.own_directory(name).is_ok_and(|own| own.is_some())
}

/// Whether a lock has nothing to lock any more when the files of these vaults are removed, and is not itself among them.
fn ends(removed: &[Name], name: &Name, lock: &LockedBy) -> bool {
    let beside = matches!(lock, LockedBy::Vault(by) if removed.contains(&by.vault));
    removed.contains(name) && !beside
}

fn preview_of_delete(home: &Home, names: &[Name]) -> Result<Preview> {
    let mut preview = Preview::default();
    let removed: Vec<_> = names.iter().filter(|name| is_removed(home, name)).cloned().collect();
    for name in names {
        preview.destroys(format!("the record of the vault `{name}`"));
        let uri = home.vault(name)?.uri()?;
        match home.own_directory(name)? {
            Some(own) => {
                preview.destroys(format!("`{}` with every key in it, for good", own.display()));
                let others = home.vaults_at(&own)?.into_iter().filter(|other| !names.contains(other));
                for other in others {
                    preview.needed_by(format!(
                        "the vault `{other}`, whose files are in `{}` too",
                        own.display()
                    ));
                }
            }
            None => preview.keeps(format!("the keys of `{name}`, in {uri}")),
        }
        let lock = home.vault_lock(name).ok().flatten().filter(|lock| ends(&removed, name, lock));
        if let Some(left) =
            lock.filter(|lock| key_file_beside(&uri, lock).is_none()).and_then(|lock| what_stays(&lock))
        {
            preview.keeps(left);
        }
        for (user, record) in home.identities()? {
            if record.uses_vault(name) {
                preview.needed_by(format!("the identity `{user}`, which has a key in `{name}`"));
            }
        }
        for locked in home.locked_with(name)?.into_iter().filter(|locked| !names.contains(locked)) {
            preview.needed_by(format!("the vault `{locked}`, which a key in `{name}` locks"));
        }
    }
    Ok(preview)
}

/// What stays of a lock.
fn what_stays(lock: &LockedBy) -> Option<String> {
    match lock {
        LockedBy::KeyFile(path) => Some(format!("the key file `{}`, which locks it", path.display())),
        LockedBy::Vault(by) => {
            Some(format!("the key `{}` of the vault `{}`, which locks it", by.key, by.vault))
        }
        LockedBy::Passphrase => None,
    }
}

fn preview_of_move(home: &Home, name: &Name, to: &Path) -> Result<Preview> {
    let mut preview = Preview::default();
    let uri = home.vault(name)?.uri()?;
    match (uri.scheme(), uri.text("path")?) {
        (Scheme::Soft, Some(from)) => {
            preview.destroys(format!("`{from}`, after it is copied"));
            preview.keeps(format!("its keys, in `{}`", to.display()));
            for other in home.vaults_at(Path::new(from))?.into_iter().filter(|other| other != name) {
                preview.needed_by(format!("the vault `{other}`, whose files are in `{from}` too"));
            }
            for other in home.vaults_at(to)? {
                preview
                    .needed_by(format!("the vault `{other}`, whose files are where `{}` is", to.display()));
            }
            for locked in home.locked_with(name)? {
                preview.needed_by(format!("the vault `{locked}`, which a key in `{name}` locks"));
            }
            for (server, record) in home.servers_with_vault(name)? {
                let kind = if record.node.is_some() { "node" } else { "server" };
                preview.needed_by(format!("the {kind} `{server}`, which runs with a key in `{name}`"));
            }
        }
        _ => preview.needed_by(format!("{uri}: only software vaults can be moved")),
    }
    if to.exists() {
        preview.needed_by(format!("`{}`, which already exists", to.display()));
    }
    Ok(preview)
}

/// A vault as it is shown.
struct Described {
    name: Name,
    uri: KeyUri,
    is_default: bool,
    identities: Vec<String>,
    lock: lock::Shown,
}

impl Described {
    fn of(home: &Home, name: &Name) -> Result<Self> {
        let mut identities = Vec::new();
        for (user, record) in home.identities()? {
            if record.key().map(home::KeyRef::vault).transpose()?.as_ref() == Some(name) {
                identities.push(user.to_string());
            }
        }
        Ok(Self {
            name: name.clone(),
            uri: home.vault(name)?.uri()?,
            is_default: home.default_vault()?.as_ref() == Some(name),
            identities,
            lock: lock::Shown::of(home, name),
        })
    }

    fn plain(&self) -> String {
        let default = if self.is_default { " (default)" } else { "" };
        table(&[
            ("name", format!("{}{default}", self.name)),
            ("backend", self.uri.scheme().to_string()),
            ("uri", self.uri.to_string()),
            ("lock", self.lock.plain()),
            (
                "identities",
                if self.identities.is_empty() { "none".to_owned() } else { self.identities.join(", ") },
            ),
        ])
    }

    fn json(&self) -> Value {
        json!({
            "vault": {
                "name": self.name.as_str(),
                "is_default": self.is_default,
                "backend": self.uri.scheme().name(),
                "uri": self.uri.to_string(),
            },
            "lock": self.lock.json(),
            "is_default": self.is_default,
            "identities": self.identities,
        })
    }
}
