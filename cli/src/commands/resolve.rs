//! From what was typed to what is meant: identities, subjects, issuers, credentials.

use home::{Home, Name};
use identity::{Credential, Identifier, Identity, IssuerBundle, Rule};
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
        Typed::Hex(history) => Ok(Identity::import_hex(&history)?),
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
        return Err(Error::new(
            Kind::Rejected,
            format!("two histories of `{identifier}` that contradict each other were shown"),
        )
        .with_hint(home::decide_hint(identifier)));
    }
    Ok(latest.map(|identity| (IssuerBundle::history_only(identity), false)))
}

fn unknown(identifier: &Identifier) -> Error {
    Error::new(Kind::NotFound, format!("the change history of `{identifier}` is not known here"))
        .with_hint("store it with `ockam-kms identity create NAME --identity HEX`, or give the history instead of the identifier")
}

/// The issuer that was named, as far as it is known: by `--issuer`, `--issuer-bundle`, or both.
pub(crate) fn issuer(home: &Home, named: Option<&str>, checking: &Checking) -> Result<IssuerBundle> {
    let bundle = checking
        .issuer_bundle
        .as_deref()
        .map(|given| text(given, "issuer bundle").and_then(|hex| Ok(IssuerBundle::from_hex(&hex)?)))
        .transpose()?;
    let Some(named) = named else {
        return bundle
            .ok_or_else(|| Error::usage("the issuer is missing").with_hint("name it with --issuer"));
    };
    let typed = typed(home, named)?;
    if let Some(bundle) = bundle {
        let wanted = match typed {
            Typed::Name(name) => home.identity(&name)?.identifier(),
            Typed::Identifier(identifier) => identifier,
            Typed::Hex(history) => IssuerBundle::from_hex(&history)?.identifier(),
        };
        if bundle.identifier() != wanted {
            return Err(Error::new(
                Kind::Rejected,
                format!("the issuer bundle is that of `{}`, not of `{wanted}`", bundle.identifier()),
            )
            .with_hint("give the bundle of the issuer that you name"));
        }
        return Ok(bundle);
    }
    match typed {
        Typed::Name(name) => {
            let identifier = home.identity(&name)?.identifier();
            known(home, &identifier)?.map(|(bundle, _)| bundle).ok_or_else(|| unknown(&identifier))
        }
        Typed::Identifier(identifier) => {
            known(home, &identifier)?.map(|(bundle, _)| bundle).ok_or_else(|| unknown(&identifier))
        }
        Typed::Hex(history) => Ok(IssuerBundle::from_hex(&history)?),
    }
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

/// Checks a credential. A refusal is a verdict, not a failure; so is an issuer whose history is not known here.
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
    let bundle = match issuer(home, named, checking) {
        Ok(bundle) => bundle,
        Err(e) => {
            // The reference prints `false` for an issuer that it does not know, and so do we; a name that is none, or text
            // that is no history, is a mistake of whoever typed it.
            let named = named.and_then(|named| named.parse::<Identifier>().ok());
            let reason = match (named, e.kind()) {
                (Some(named), Kind::NotFound) if named != credential.issuer() => {
                    reason(&identity::Refusal::OtherIssuer.into())
                }
                (Some(_), Kind::NotFound) => format!("unknown-issuer: {e}"),
                (Some(_), Kind::Rejected) if checking.issuer_bundle.is_none() => {
                    format!("{}: {e}", identity::Refusal::Conflict.code())
                }
                _ => return Err(e),
            };
            return Ok(Checked { credential: Some(credential), verdict: Err(reason) });
        }
    };
    let verdict =
        identity::verify(&credential, &bundle, subject.as_ref(), now, rule(checking)).map_err(|e| reason(&e));
    Ok(Checked { credential: Some(credential), verdict })
}
