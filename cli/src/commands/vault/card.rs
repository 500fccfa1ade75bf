//! `vault change-pin`, `change-puk`, `change-management-key`, `unblock-pin`: the secrets of a YubiKey. A card that has those
//! of the factory cannot be a vault yet, so it may be named by its URI.

use std::path::{Path, PathBuf};

use home::Name;
use serde_json::{Value, json};
use vault::{Ask, Interact as _, KeyUri, Retry, Scheme, SecretBytes, durable};
use yubikey_vault::{CardAccess, ManagementAlgorithm, ManagementKey, Secret, Standing};
use zeroize::Zeroizing;

use crate::args::vault::{Card, ChangeManagementKey, ChangePin, ChangePuk, NewPin, Puk, UnblockPin};
use crate::context::{Context, optional_name};
use crate::error::{Error, Result, io};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::Report;
use crate::secret_input::Source;
use crate::terminal;

pub(super) fn change_pin(context: &Context, change: &ChangePin) -> Result<Report> {
    let (target, new) = (Target::of(context, &change.card)?, new_pin(&change.new)?);
    if change.card.dry_run {
        return target.preview(Secret::Pin, Secret::Pin, &target.standing()?);
    }
    let file = target.file("pin-source")?;
    // The card says first that it is there and not locked, before anybody types anything.
    target.ready(Secret::Pin)?;
    let present = target.present(context, None, file.as_deref(), |of| Ask::Pin { of })?;
    let new = new_secret(context, new, Secret::Pin, "new-pin")?;
    let standing = whole(target.access.change_pin(present, copy(&new)))?;
    left_behind(context, file.as_deref(), Secret::Pin, |text| text.same_as(&new));
    Ok(target.report(Secret::Pin, "changed", &standing))
}

pub(super) fn change_puk(context: &Context, change: &ChangePuk) -> Result<Report> {
    let (target, present) = (Target::of(context, &change.card)?, puk(&change.present)?);
    let new = Source::of("new-puk", change.new_puk.as_deref(), change.new_puk_file.as_deref())?;
    if change.card.dry_run {
        return target.preview(Secret::Puk, Secret::Puk, &target.standing()?);
    }
    target.ready(Secret::Puk)?;
    let present = target.present(context, present, None, |of| Ask::Puk { of })?;
    let new = new_secret(context, new, Secret::Puk, "new-puk")?;
    let standing = whole(target.access.change_puk(present, new))?;
    Ok(target.report(Secret::Puk, "changed", &standing))
}

pub(super) fn unblock_pin(context: &Context, unblock: &UnblockPin) -> Result<Report> {
    let (target, puk) = (Target::of(context, &unblock.card)?, puk(&unblock.puk)?);
    let new = new_pin(&unblock.new)?;
    if unblock.card.dry_run {
        return target.preview(Secret::Puk, Secret::Pin, &target.standing()?);
    }
    target.ready(Secret::Puk)?;
    let puk = target.present(context, puk, None, |of| Ask::Puk { of })?;
    let new = new_secret(context, new, Secret::Pin, "new-pin")?;
    let standing = whole(target.access.unblock_pin(puk, copy(&new)))?;
    left_behind(context, target.file("pin-source")?.as_deref(), Secret::Pin, |text| text.same_as(&new));
    Ok(target.report(Secret::Pin, "unblocked", &standing))
}

pub(super) fn change_management_key(context: &Context, change: &ChangeManagementKey) -> Result<Report> {
    let target = Target::of(context, &change.card)?;
    let of = |what, inline: &Option<String>, file: &Option<PathBuf>| {
        Source::of(what, inline.as_deref(), file.as_deref())
    };
    let present = of("management-key", &change.management_key, &change.management_key_file)?;
    let new = of("new-management-key", &change.new_management_key, &change.new_management_key_file)?;
    let new = new.ok_or_else(|| {
        Error::usage("nothing says where the new management key is").with_hint(
            "add --new-management-key-file PATH: the file is made with a random key when it does not exist",
        )
    })?;
    let algorithm = change.algorithm.as_deref().map(str::parse::<ManagementAlgorithm>).transpose()?;
    let standing = target.ready(Secret::ManagementKey)?;
    if change.card.dry_run {
        return target.preview(Secret::ManagementKey, Secret::ManagementKey, &standing);
    }
    let file = target.file("management-key-source")?;
    let present = target.present(context, present, file.as_deref(), |of| Ask::ManagementKey { of })?;
    let present = hex_bytes(&present)?;
    let _whole = interrupt::hold();
    let (new, made) = new_management_key(&new, algorithm, standing.best_management_key)?;
    let kept = copy(new.bytes());
    let standing = whole(target.access.change_management_key(present, new)).inspect_err(|error| {
        // A key that no card has; one that a card may have stays.
        if let Some(made) = made.as_deref().filter(|_| error.retry() != Retry::Indeterminate) {
            let _ = durable::remove(made);
        }
    })?;
    let is_new = |text: &SecretBytes| hex_bytes(text).is_ok_and(|bytes| bytes.same_as(&kept));
    left_behind(context, file.as_deref(), Secret::ManagementKey, is_new);
    Ok(target.report(Secret::ManagementKey, "changed", &standing))
}

/// A card, by the name of its vault or by its URI.
struct Target {
    name: Option<Name>,
    uri: KeyUri,
    access: CardAccess,
}

impl Target {
    fn of(context: &Context, card: &Card) -> Result<Self> {
        let (name, uri) = match &card.uri {
            Some(uri) => (None, uri.parse::<KeyUri>()?),
            None => {
                let home = context.read()?;
                let name = home.vault_or_default(optional_name("a vault", card.name.as_deref())?.as_ref())?;
                let uri = home.vault(&name)?.uri()?;
                (Some(name), uri)
            }
        };
        if uri.scheme() != Scheme::YubiKey {
            let what = name.as_ref().map_or_else(|| format!("`{uri}`"), |name| format!("the vault `{name}`"));
            return Err(Error::invalid(format!("{what} is no YubiKey"))
                .with_hint("only the secrets of YubiKeys are changed here; `vault rekey` changes the lock of a software vault"));
        }
        Ok(Self { name, access: CardAccess::new(&uri)?, uri })
    }

    fn standing(&self) -> Result<Standing> {
        Ok(vault::block_on(self.access.standing())?)
    }

    /// Sees that the card is there, and that a try of this secret would not be the last.
    fn ready(&self, secret: Secret) -> Result<Standing> {
        let standing = self.standing()?;
        self.access.spare_the_last_try(secret, &standing)?;
        Ok(standing)
    }

    /// The file that the URI names for a secret.
    fn file(&self, attribute: &str) -> Result<Option<PathBuf>> {
        let source = self.uri.text(attribute)?;
        Ok(source.and_then(|source| source.strip_prefix("file:")).map(PathBuf::from))
    }

    /// The secret that the card has now: from the source that was named, from the vault's file, or from a person.
    fn present(
        &self,
        context: &Context,
        named: Option<Source>,
        file: Option<&Path>,
        ask: impl FnOnce(String) -> Ask,
    ) -> Result<SecretBytes> {
        let ask = ask(self.access.card());
        let named = named.or_else(|| context.pin.clone().filter(|_| matches!(ask, Ask::Pin { .. })));
        Ok(match (named, file) {
            (Some(source), _) => source.read()?,
            (None, Some(path)) => SecretBytes::read_file(path)?,
            (None, None) => context.interact().secret(&ask)?,
        })
    }

    /// What a script calls the card.
    fn id(&self) -> String {
        format!("yubikey:serial={}", self.access.serial())
    }

    fn json(&self, standing: &Standing, more: &[(&str, Value)]) -> Value {
        let all = [
            ("vault", json!(self.name.as_ref().map(Name::as_str))),
            ("card", self.id().into()),
            ("firmware", standing.firmware.as_str().into()),
            ("pin_tries", standing.pin_tries.into()),
            ("puk_tries", standing.puk_tries.into()),
            ("management_key", standing.management_key.name().into()),
        ];
        all.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn report(&self, secret: Secret, done: &str, standing: &Standing) -> Report {
        let card = self.access.card();
        let plain = match standing.tries(secret) {
            Some(tries) => format!("the {secret} of {card} is {done}; it has {tries} tries"),
            None => format!("the {secret} of {card} is {done}; it is of type {}", standing.management_key),
        };
        let json = self.json(standing, &[(done, word(secret).into())]);
        Report::new(plain, json).machine(self.id())
    }

    fn preview(&self, shown: Secret, changed: Secret, standing: &Standing) -> Result<Report> {
        let card = self.access.card();
        let refusal = self.access.spare_the_last_try(shown, standing).err();
        let plain = match (&refusal, standing.tries(shown)) {
            (Some(error), _) => format!("nothing was changed, and this would be refused: {error}"),
            (None, Some(tries)) => format!(
                "nothing was changed; the {changed} of {card} would be replaced, for who has the {shown}: it has {tries} tries. Its keys would stay"
            ),
            (None, None) => format!(
                "nothing was changed; the {changed} of {card}, of type {}, would be replaced. Its keys would stay",
                standing.management_key
            ),
        };
        let more = [
            ("dry_run", true.into()),
            ("changes", word(changed).into()),
            ("refused", refusal.is_some().into()),
        ];
        let json = self.json(standing, &more);
        let report = Report::new(plain, json).machine(self.id());
        Ok(if refusal.is_some() { report.refusing(Kind::Denied) } else { report })
    }
}

/// Waits for a change, which an interruption does not cut off.
fn whole(change: impl Future<Output = vault::Result<Standing>>) -> vault::Result<Standing> {
    let _whole = interrupt::hold();
    vault::block_on(change)
}

/// A secret, in JSON.
fn word(secret: Secret) -> &'static str {
    match secret {
        Secret::Pin => "pin",
        Secret::Puk => "puk",
        Secret::ManagementKey => "management-key",
    }
}

fn new_pin(new: &NewPin) -> Result<Option<Source>> {
    Source::of("new-pin", new.new_pin.as_deref(), new.new_pin_file.as_deref())
}

fn puk(puk: &Puk) -> Result<Option<Source>> {
    Source::of("puk", puk.puk.as_deref(), puk.puk_file.as_deref())
}

fn new_secret(
    context: &Context,
    source: Option<Source>,
    secret: Secret,
    option: &str,
) -> Result<SecretBytes> {
    Ok(match source {
        Some(source) => source.read()?,
        None => terminal::new_secret(context.no_input, &secret.to_string(), option)?,
    })
}

fn copy(secret: &SecretBytes) -> SecretBytes {
    SecretBytes::new(secret.expose().to_vec())
}

fn hex_bytes(text: &SecretBytes) -> Result<SecretBytes> {
    let bytes = hex::decode(text.expose()).map_err(|_| {
        Error::invalid("what was given is no management key").with_hint("it is written in hexadecimal digits")
    })?;
    Ok(SecretBytes::new(bytes))
}

/// The new management key, and the file that was made for it. On disk before the card has it: a key that only the card
/// knew would be lost.
fn new_management_key(
    source: &Source,
    algorithm: Option<ManagementAlgorithm>,
    best: ManagementAlgorithm,
) -> Result<(ManagementKey, Option<PathBuf>)> {
    match source {
        Source::File(path) if !path.exists() => {
            let key = ManagementKey::random(algorithm.unwrap_or(best))?;
            let mut text = Zeroizing::new(hex::encode(key.bytes().expose()));
            text.push('\n');
            durable::write_new(path, text.as_bytes()).map_err(|e| io("write", path, e))?;
            Ok((key, Some(path.clone())))
        }
        source => Ok((ManagementKey::from_hex(&source.read()?, algorithm, best)?, None)),
    }
}

/// Says that the file of a vault still holds a secret that is none any more.
fn left_behind(
    context: &Context,
    file: Option<&Path>,
    secret: Secret,
    is_new: impl Fn(&SecretBytes) -> bool,
) {
    if let Some(file) = file
        && !SecretBytes::read_file(file).is_ok_and(|text| is_new(&text))
    {
        let or = if secret == Secret::Pin {
            "the vault cannot be opened"
        } else {
            "no key can be made or destroyed"
        };
        context.output.note(&format!(
            "`{}` holds another {secret} than the card now has: put the new one there, or {or}",
            file.display()
        ));
    }
}
