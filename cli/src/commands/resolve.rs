//! From what was typed to what is meant: identities, subjects, issuers, credentials.

use home::{Home, Name};
use identity::{
    Clock as _, Credential, Identifier, Identity, IssuerBundle, Refusal, Relation, Rule, SystemClock,
};
use zeroize::Zeroizing;

use crate::args::credential::{Checking, Given, RuleName};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::secret_input::{file_text, text};

/// What an identity was typed as.
enum Typed {
    Name(Name),
    Identifier(Identifier),
    Hex(Zeroizing<String>),
}

/// A name of a stored identity comes first, then an identifier, then a change history (as hex, a file, or `-`).
fn typed(home: &Home, given: &str) -> Result<Typed> {
    if let Ok(name) = Name::new(given)
        && home.identities()?.iter().any(|(known, _)| *known == name)
    {
        return Ok(Typed::Name(name));
    }
    if let Ok(identifier) = given.parse() {
        return Ok(Typed::Identifier(identifier));
    }
    let history = text(given, "change history")?;
    if history.is_empty() || !history.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::new(Kind::NotFound, format!("there is no identity `{}`", shown(given)))
            .with_hint("name one that `ockam-kms identity list` shows, or give an identifier or a change history as hex"));
    }
    Ok(Typed::Hex(history))
}

/// The identifier that was typed, or that of the identity of this name.
pub(crate) fn identifier(home: &Home, given: &str) -> Result<Identifier> {
    match typed(home, given)? {
        Typed::Name(name) => Ok(home.identity(&name)?.identifier()),
        Typed::Identifier(identifier) => Ok(identifier),
        Typed::Hex(history) => Ok(Identity::import_hex(&history)?.identifier()),
    }
}

/// The identity that was typed, with its change history.
pub(crate) fn identity(home: &Home, given: &str) -> Result<Identity> {
    match typed(home, given)? {
        Typed::Name(name) => Ok(home.identity(&name)?.identity()?),
        Typed::Hex(history) => {
            let shown = Identity::import_hex(&history)?;
            match refusal(home, &shown)? {
                None => Ok(shown),
                Some(Refusal::Conflict) => Err(conflict(&shown.identifier())),
                Some(refusal) => Err(identity::Error::from(refusal).into()),
            }
        }
        Typed::Identifier(identifier) => {
            let (bundle, _) = known(home, &identifier)?.ok_or_else(|| unknown(&identifier))?;
            Ok(bundle.identity().clone())
        }
    }
}

/// What is known here about an identifier: by name with the keys here, or else the latest history that was seen of it.
/// Says whether the identity is one's own.
pub(crate) fn known(home: &Home, identifier: &Identifier) -> Result<Option<(IssuerBundle, bool)>> {
    let mut latest: Option<Identity> = home.known_identity(identifier)?;
    let mut histories = Vec::new();
    for (_, record) in home.identities()? {
        if record.identifier() == *identifier {
            if record.key().is_some() {
                return Ok(Some((record.issuer_bundle()?, true)));
            }
            histories.push(record.identity()?);
        }
    }
    for (_, project) in home.projects()? {
        // A project that pins somebody else is none of our concern here.
        histories.extend(
            Identity::import_hex(&project.authority_change_history)
                .ok()
                .filter(|i| i.identifier() == *identifier),
        );
    }
    for history in histories {
        if latest.as_ref().is_none_or(|latest| history.compared_to(latest) == identity::Relation::Newer) {
            latest = Some(history);
        }
    }
    if home.conflict(identifier)?.is_some() {
        return Err(conflict(identifier));
    }
    Ok(latest.map(|identity| (IssuerBundle::history_only(identity), false)))
}

fn unknown(identifier: &Identifier) -> Error {
    Error::new(Kind::NotFound, format!("the change history of `{identifier}` is not known here"))
        .with_hint("store it with `ockam-kms identity create NAME --identity HEX`, or give the history instead of the identifier")
}

fn conflict(identifier: &Identifier) -> Error {
    Error::new(
        Kind::Rejected,
        format!("two histories of `{identifier}` that contradict each other were shown"),
    )
    .with_hint(home::decide_hint(identifier))
}

/// Why a history that was given does not count: a newer one is known here, or one that contradicts it. Of somebody else a
/// contradiction is kept as evidence, as it is when they show it themselves.
fn refusal(home: &Home, shown: &Identity) -> Result<Option<Refusal>> {
    let identifier = shown.identifier();
    if home.conflict(&identifier)?.is_some() {
        return Ok(Some(Refusal::Conflict));
    }
    let Some((known, _)) = known(home, &identifier)? else { return Ok(None) };
    let refusal = behind(shown, known.identity());
    // Only with what is among the known ones: `remember` would take the first that it sees.
    if refusal == Some(Refusal::Conflict)
        && let Some(known) = home.known_identity(&identifier)?
        && shown.compared_to(&known) == Relation::Conflict
    {
        // Refused it is in any case, also in a home that cannot be written.
        let _ = home.write().and_then(|writer| home.remember(&writer, shown, SystemClock.now()));
    }
    Ok(refusal)
}

/// Why a history does not count beside another one of the same identity.
fn behind(shown: &Identity, known: &Identity) -> Option<Refusal> {
    match shown.compared_to(known) {
        Relation::Equal | Relation::Newer => None,
        Relation::Older => Some(Refusal::Older),
        Relation::Conflict => Some(Refusal::Conflict),
    }
}

/// An issuer that was named.
enum Issuer {
    Known(Box<IssuerBundle>),
    /// Nothing is known here of this identifier.
    Unknown(Identifier),
    /// Its history does not count: the rule, and its words.
    Refused(String),
}

/// The issuer that was named, as far as it is known: by `--issuer`, `--issuer-bundle`, or both.
fn issuer(home: &Home, named: Option<&str>, checking: &Checking) -> Result<Issuer> {
    let bundle = checking
        .issuer_bundle
        .as_deref()
        .map(|given| text(given, "issuer bundle").and_then(|hex| Ok(IssuerBundle::from_hex(&hex)?)))
        .transpose()?;
    let (wanted, history) = match named.map(|named| typed(home, named)).transpose()? {
        Some(Typed::Name(name)) => (Some(home.identity(&name)?.identifier()), None),
        Some(Typed::Identifier(identifier)) => (Some(identifier), None),
        Some(Typed::Hex(history)) => {
            let history = IssuerBundle::from_hex(&history)?;
            (Some(history.identifier()), Some(history))
        }
        None => (None, None),
    };
    if let (Some(bundle), Some(wanted)) = (&bundle, &wanted)
        && bundle.identifier() != *wanted
    {
        return Err(Error::new(
            Kind::Rejected,
            format!("the issuer bundle is that of `{}`, not of `{wanted}`", bundle.identifier()),
        )
        .with_hint("give the bundle of the issuer that you name"));
    }
    if let (Some(bundle), Some(history)) = (&bundle, &history)
        && let Some(refusal) = behind(bundle.identity(), history.identity())
    {
        return Ok(Issuer::Refused(reason(&refusal.into())));
    }
    if let Some(given) = bundle.or(history) {
        return Ok(match refusal(home, given.identity())? {
            None => Issuer::Known(Box::new(given)),
            Some(Refusal::Conflict) => blocked(&conflict(&given.identifier())),
            Some(refusal) => Issuer::Refused(reason(&refusal.into())),
        });
    }
    let wanted =
        wanted.ok_or_else(|| Error::usage("the issuer is missing").with_hint("name it with --issuer"))?;
    match known(home, &wanted) {
        Ok(Some((bundle, _))) => Ok(Issuer::Known(Box::new(bundle))),
        Ok(None) => Ok(Issuer::Unknown(wanted)),
        Err(error) if error.kind() == Kind::Rejected => Ok(blocked(&error)),
        Err(error) => Err(error),
    }
}

fn blocked(error: &Error) -> Issuer {
    Issuer::Refused(format!("{}: {error}", Refusal::Conflict.code()))
}

/// The rule that was asked for.
pub(crate) fn rule(checking: &Checking) -> Rule {
    match checking.rule {
        RuleName::Reference => Rule::Reference,
        RuleName::Continuous => Rule::Continuous { overlap_seconds: checking.overlap },
    }
}

/// The text of the credential that was given, when one was.
pub(crate) fn credential_text(given: &Given) -> Result<Option<Zeroizing<String>>> {
    match (&given.credential, &given.credential_path) {
        (Some(hex), _) if hex == "-" => text("-", "credential").map(Some),
        (Some(hex), _) => Ok(Some(Zeroizing::new(hex.trim().to_owned()))),
        (None, Some(path)) => file_text(path, "credential").map(Some),
        (None, None) => Ok(None),
    }
}

/// As [`credential_text`], where there has to be one.
pub(crate) fn required_credential_text(given: &Given) -> Result<Zeroizing<String>> {
    credential_text(given)?.ok_or_else(|| {
        Error::usage("the credential is missing").with_hint("give --credential HEX or --credential-path FILE")
    })
}

/// A refusal in one line: the rule's name for machines, and its words.
pub(crate) fn reason(error: &identity::Error) -> String {
    match error.refusal() {
        Some(refusal) => format!("{}: {}", refusal.code(), refusal.words()),
        None => format!("malformed: {error}"),
    }
}

/// A credential that was decoded and checked, with what it says even when it was refused.
pub(crate) struct Checked {
    pub(crate) credential: Option<Credential>,
    pub(crate) verdict: std::result::Result<identity::VerifiedCredential, String>,
}

/// Checks a credential. A refusal is a verdict, not a failure; so is an issuer whose history is not known here, or does not
/// count. A name that is none, or text that is no history, is a mistake of whoever typed it.
pub(crate) fn check(
    home: &Home,
    hex: &str,
    named: Option<&str>,
    checking: &Checking,
    now: identity::Timestamp,
) -> Result<Checked> {
    let credential = match Credential::from_hex(hex) {
        Ok(credential) => credential,
        Err(e) => return Ok(Checked { credential: None, verdict: Err(reason(&e)) }),
    };
    let subject = checking.subject.as_deref().map(|subject| identifier(home, subject)).transpose()?;
    let verdict = match issuer(home, named, checking)? {
        Issuer::Known(bundle) => {
            identity::verify(&credential, &bundle, subject.as_ref(), now, rule(checking))
                .map_err(|e| reason(&e))
        }
        // The reference prints `false` for an issuer that it does not know, and so do we.
        Issuer::Unknown(named) if named != credential.issuer() => Err(reason(&Refusal::OtherIssuer.into())),
        Issuer::Unknown(named) => Err(format!("unknown-issuer: {}", unknown(&named))),
        Issuer::Refused(reason) => Err(reason),
    };
    Ok(Checked { credential: Some(credential), verdict })
}
