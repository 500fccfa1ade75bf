//! `identity rotate`: by the server that uses the identity when one runs, else here.

use home::control::{Ask, ask};
use home::rotation::{self, NoServer, Outcome, Plan};
use serde_json::json;

use crate::args::identity::Rotate;
use crate::context::{Context, name, optional_name};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, table};
use crate::progress;

pub(super) fn run(context: &Context, rotate: &Rotate) -> Result<Report> {
    let home = context.home()?;
    let (identity, _) =
        home.identity_or_default(optional_name("an identity", rotate.name.as_deref())?.as_ref())?;
    let plan = Plan {
        identity: identity.to_string(),
        to_vault: rotate
            .to_vault
            .as_deref()
            .map(|vault| name("a vault", vault))
            .transpose()?
            .map(|vault| vault.to_string()),
        to_key: rotate.to_key.clone(),
        key_type: rotate.key_type.clone(),
        revoke_purpose_keys: rotate.revoke_purpose_keys,
        keep_old_key: rotate.keep_old_key,
    };
    if rotate.dry_run {
        return preview(context, &plan);
    }
    // The server holds the lock while it rotates; asking it while holding the lock ourselves would be waiting for ever.
    if let Some(server) = home.server_of_identity(&identity)? {
        let waiting = progress::waiting(context.output, "the server is rotating its identity");
        let answer = ask(&home.control_socket(&server), &Ask::Rotate(plan))?;
        drop(waiting);
        let outcome: Outcome = serde_json::from_value(answer).map_err(|e| {
            Error::new(Kind::Internal, format!("the server `{server}` gave an answer that is not understood"))
                .with_source(e)
        })?;
        return Ok(report(&outcome, Some(server.as_str())));
    }
    let writer = context.writer()?;
    // It may have started while we waited for the lock; then it is its rotation, not ours.
    if let Some(server) = home.server_of_identity(&identity)? {
        return Err(Error::new(
            Kind::Unavailable,
            format!("the server `{server}` just started to use `{identity}`"),
        )
        .with_hint("try again: the server rotates it"));
    }
    let outcome =
        vault::block_on(rotation::rotate(&writer, context.vaults()?, &plan, &NoServer, &context.clock()))?;
    Ok(report(&outcome, None))
}

fn preview(context: &Context, plan: &Plan) -> Result<Report> {
    let home = context.read()?;
    let (identifier, old_key, vault) = vault::block_on(rotation::preview(context.vaults()?, plan))?;
    let (old_vault, old_uri) = (old_key.vault()?, old_key.uri()?);
    let by = home.server_of_identity(&home::Name::new(&plan.identity)?)?;
    let fate = if plan.keep_old_key { "kept" } else { "destroyed" };
    let plain = table(&[
        ("identity", plan.identity.clone()),
        ("identifier", format!("{identifier} (stays)")),
        ("old key", format!("{old_uri} in `{old_vault}`, {fate} afterwards")),
        (
            "new key",
            plan.to_key
                .as_deref()
                .map_or_else(|| format!("made in `{vault}`"), |uri| format!("{uri} in `{vault}`")),
        ),
        ("purpose keys", if plan.revoke_purpose_keys { "revoked" } else { "attested anew" }.to_owned()),
        (
            "done by",
            by.as_ref().map_or_else(|| "this command".to_owned(), |server| format!("the server `{server}`")),
        ),
    ]);
    let json = json!({
        "dry_run": true,
        "identifier": identifier.to_string(),
        "old_key": old_key,
        "to_vault": vault.as_str(),
        "to_key": plan.to_key,
        "old_key_destroyed": !plan.keep_old_key,
        "server": by.map(|server| server.to_string()),
    });
    Ok(Report::new(format!("nothing was changed; this is what would be done\n{plain}"), json)
        .machine(identifier.to_string()))
}

fn report(outcome: &Outcome, server: Option<&str>) -> Report {
    let key = |key: &home::KeyRef| match (key.vault(), key.uri()) {
        (Ok(vault), Ok(uri)) => format!("{uri} in `{vault}`"),
        _ => "?".to_owned(),
    };
    let fate = if outcome.old_key_destroyed { "destroyed" } else { "kept" };
    let plain = table(&[
        ("identifier", outcome.identifier.to_string()),
        ("changes", outcome.changes.to_string()),
        ("latest change", outcome.latest_change_hash.clone()),
        ("new key", key(&outcome.new_key)),
        ("old key", format!("{} ({fate})", key(&outcome.old_key))),
        (
            "done by",
            server.map_or_else(|| "this command".to_owned(), |server| format!("the server `{server}`")),
        ),
    ]);
    let json = json!({
        "identifier": outcome.identifier.to_string(),
        "changes": outcome.changes,
        "latest_change_hash": outcome.latest_change_hash,
        "old_key": outcome.old_key,
        "new_key": outcome.new_key,
        "old_key_destroyed": outcome.old_key_destroyed,
        "server": server,
    });
    Report::new(plain, json).machine(outcome.identifier.to_string())
}
