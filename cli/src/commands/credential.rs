//! `credential …`

use home::StoredCredential;
use identity::{
    ATTESTATION_SECONDS, Attributes, Credential, CredentialDraft, MEMBER_SCHEMA, VerifiedCredential,
};
use serde_json::{Map, Value, json};

use super::resolve::{self, Checked};
use crate::args::attribute;
use crate::args::credential::{Issue, List, Show, Store, Verb, Verify};
use crate::args::identity::Encoding;
use crate::context::{Context, optional_name};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::output::{Report, blocks, table, time};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Issue(issue) => self::issue(context, &issue),
        Verb::Verify(verify) => self::verify(context, &verify),
        Verb::Store(store) => self::store(context, &store),
        Verb::List(list) => self::list(context, &list),
        Verb::Show(show) => self::show(context, &show),
    }
}

fn issue(context: &Context, issue: &Issue) -> Result<Report> {
    let pairs: Vec<_> = issue.attributes.iter().map(|text| attribute(text)).collect();
    let attributes = Attributes::new(MEMBER_SCHEMA, pairs)?;
    let home = context.home()?;
    let (name, record) =
        home.identity_or_default(optional_name("an identity", issue.issuer.as_deref())?.as_ref())?;
    let subject = resolve::identity(home, &issue.subject)?;
    if let Some(vault) = optional_name("a vault", issue.vault.as_deref())?
        && record.own_key()?.vault()? != vault
    {
        return Err(Error::invalid(format!("the key of `{name}` is not in the vault `{vault}`"))
            .with_hint("leave the vault out: the identity knows where its key is"));
    }
    let most = record.identity()?.latest().valid_until().since(context.now()).min(ATTESTATION_SECONDS);
    if issue.ttl > most {
        return Err(Error::invalid(format!(
            "no credential of `{name}` can be good for {} seconds",
            issue.ttl
        ))
        .with_hint(format!("the keys that sign it end before: ask for {most} seconds at most")));
    }
    let writer = context.writer()?;
    context.refuse_while_rotating(Some(&name))?;
    let clock = context.clock();
    let now = context.now();
    let good_until = now.after(issue.ttl);
    let (signer, attestation) =
        vault::block_on(home.ensure_credential_key(&writer, context.vaults()?, &name, good_until, &clock))?;
    drop(writer);
    let proof = attestation.verify(&home.identity(&name)?.identity()?, context.now())?;
    let draft = CredentialDraft::new(&attestation, &proof, &subject, &attributes, context.now(), issue.ttl)?;
    let credential = vault::block_on(draft.sign(&signer))?;
    let hex = credential.to_hex()?;
    let plain = if issue.encoding == Encoding::Hex { hex.clone() } else { plain(&credential, &hex)? };
    Ok(Report::new(plain, json(&credential, &hex)?).machine(hex))
}

fn verify(context: &Context, verify: &Verify) -> Result<Report> {
    let hex = resolve::required_credential_text(&verify.given)?;
    let home = context.read()?;
    let checked = resolve::check(home, &hex, verify.issuer.as_deref(), &verify.checking, context.now())?;
    let rule = resolve::rule(&verify.checking).name();
    let json = verdict_json(&checked, rule)?;
    let report = match &checked.verdict {
        Ok(verified) => Report::new(format!("the credential is valid\n{}", verified_plain(verified)), json)
            .machine("true"),
        Err(reason) => {
            context.output.note(&format!("the credential is refused: {reason}"));
            Report::new("the credential is not valid", json).machine("false")
        }
    };
    let refuse = verify.exit_code && checked.verdict.is_err();
    Ok(if refuse { report.refusing(Kind::Rejected) } else { report })
}

/// The shape that the contract fixes. What a refused credential says of itself is shown, beside the verdict.
fn verdict_json(checked: &Checked, rule: &str) -> Result<Value> {
    let mut json = match &checked.credential {
        Some(credential) => {
            let attributes = credential.attributes().ok();
            json!({
                "subject": credential.subject().map(|subject| subject.to_string()),
                "issuer": credential.issuer().to_string(),
                "schema": attributes.as_ref().map(Attributes::schema),
                "attributes": attributes.as_ref().map(text_attributes).unwrap_or_default(),
                "attributes_hex": attributes.as_ref().map(hex_attributes).unwrap_or_default(),
                "created_at": credential.created_at().0,
                "expires_at": credential.expires_at().0,
            })
        }
        None => json!({
            "subject": null, "issuer": null, "schema": null, "attributes": {}, "attributes_hex": {},
            "created_at": null, "expires_at": null,
        }),
    };
    if let Value::Object(map) = &mut json {
        map.insert("valid".to_owned(), Value::Bool(checked.verdict.is_ok()));
        map.insert("rule".to_owned(), Value::String(rule.to_owned()));
        map.insert(
            "reason".to_owned(),
            checked.verdict.as_ref().err().map_or(Value::Null, |reason| Value::String(reason.clone())),
        );
    }
    Ok(json)
}

fn text_attributes(attributes: &Attributes) -> Map<String, Value> {
    attributes.text().map(|(name, value)| (name.to_owned(), Value::String(value.to_owned()))).collect()
}

fn hex_attributes(attributes: &Attributes) -> Map<String, Value> {
    attributes.iter().map(|(name, value)| (hex::encode(name), Value::String(hex::encode(value)))).collect()
}

fn verified_plain(verified: &VerifiedCredential) -> String {
    let mut rows = vec![
        ("subject", verified.subject().to_string()),
        ("issuer", verified.issuer().to_string()),
        ("created at", time(verified.created_at())),
        ("expires at", time(verified.expires_at())),
        ("rule", verified.rule().name().to_owned()),
    ];
    rows.extend(attribute_rows(verified.attributes()));
    table(&rows)
}

fn attribute_rows(attributes: &Attributes) -> impl Iterator<Item = (&'static str, String)> {
    // Whoever chose a value must not get to act on the terminal.
    attributes.iter().map(|(name, value)| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        ("attribute", format!("{}={}", text(name), text(value)))
    })
}

fn store(context: &Context, store: &Store) -> Result<Report> {
    let hex = resolve::required_credential_text(&store.given)?;
    if store.scope.is_empty() || store.scope.len() > 1024 {
        return Err(Error::invalid("a scope has 1 to 1024 bytes"));
    }
    let checked =
        resolve::check(context.home()?, &hex, store.issuer.as_deref(), &store.checking, context.now())?;
    let verified = checked.verdict.map_err(|reason| {
        Error::new(Kind::Rejected, format!("the credential is refused: {reason}"))
            .with_hint("only a valid credential is stored")
    })?;
    let credential =
        checked.credential.ok_or_else(|| Error::new(Kind::Internal, "a verdict without a credential"))?;
    let hex = credential.to_hex()?;
    let writer = context.writer()?;
    let stored = StoredCredential {
        subject: verified.subject(),
        issuer: verified.issuer(),
        scope: store.scope.clone(),
        credential: hex.clone(),
    };
    context.home()?.store_credential(&writer, &stored)?;
    Ok(Report::new(format!("credential stored\n{}", plain(&credential, &hex)?), json(&credential, &hex)?)
        .machine(hex))
}

fn list(context: &Context, list: &List) -> Result<Report> {
    let home = context.read()?;
    let wanted =
        |given: &Option<String>| given.as_deref().map(|given| resolve::identifier(home, given)).transpose();
    let (subject, issuer) = (wanted(&list.subject)?, wanted(&list.issuer)?);
    let (mut lines, mut items) = (Vec::new(), Vec::new());
    for stored in home.credentials()? {
        let about = subject.is_none_or(|subject| subject == stored.subject);
        if !about || issuer.is_some_and(|issuer| issuer != stored.issuer) {
            continue;
        }
        let credential = stored.credential()?;
        let expired = credential.expires_at() < context.now();
        let mut json = json(&credential, &stored.credential)?;
        if let Value::Object(map) = &mut json {
            map.insert("scope".to_owned(), Value::String(stored.scope.clone()));
            map.insert("expired".to_owned(), Value::Bool(expired));
        }
        items.push(json);
        let expired = if expired { " (expired)" } else { "" };
        lines.push(format!(
            "scope       {}{expired}\n{}",
            shown(&stored.scope),
            plain(&credential, &stored.credential)?
        ));
    }
    Ok(Report::new(blocks(&lines, "there are no stored credentials"), Value::Array(items)))
}

fn show(context: &Context, show: &Show) -> Result<Report> {
    let hex = match &show.scope {
        Some(scope) => {
            let stored = context.read()?.credentials()?.into_iter().find(|stored| stored.scope == *scope);
            let stored = stored.ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("there is no stored credential of the scope `{}`", shown(scope)),
                )
                .with_hint("`ockam-kms credential list` shows those that there are")
            })?;
            stored.credential.into()
        }
        None => resolve::required_credential_text(&show.given)?,
    };
    let credential = Credential::from_hex(&hex)?;
    let hex = credential.to_hex()?;
    let plain = if show.encoding == Encoding::Hex { hex.clone() } else { plain(&credential, &hex)? };
    Ok(Report::new(plain, json(&credential, &hex)?).machine(hex))
}

/// A credential as it is shown, checked or not.
fn plain(credential: &Credential, hex: &str) -> Result<String> {
    let attributes = credential.attributes()?;
    let mut rows = vec![
        ("subject", credential.subject().map(|subject| subject.to_string()).unwrap_or_default()),
        ("issuer", credential.issuer().to_string()),
        ("created at", time(credential.created_at())),
        ("expires at", time(credential.expires_at())),
    ];
    rows.extend(attribute_rows(&attributes));
    rows.push(("credential", hex.to_owned()));
    Ok(table(&rows))
}

fn json(credential: &Credential, hex: &str) -> Result<Value> {
    let attributes = credential.attributes()?;
    Ok(json!({
        "credential": hex,
        "subject": credential.subject().map(|subject| subject.to_string()),
        "issuer": credential.issuer().to_string(),
        "created_at": credential.created_at().0,
        "expires_at": credential.expires_at().0,
        "attributes": text_attributes(&attributes),
        "attributes_hex": hex_attributes(&attributes),
    }))
}
