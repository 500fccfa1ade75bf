//! `authority show`: of a server of this home, or of the authority of a project.

use home::control::{Ask, ask};
use home::{Home, Name};
use serde_json::{Value, json};

use crate::args::authority::ShowAuthority;
use crate::commands::client::Place;
use crate::commands::server::{self, channel_route, json_server, plain_server};
use crate::context::{Context, name};
use crate::error::Result;
use crate::output::{Report, table, time};

pub(super) fn run(context: &Context, which: &ShowAuthority) -> Result<Report> {
    let home = context.read()?;
    let elsewhere = which.project.is_some() || which.authority_route.is_some();
    let server = match &which.name {
        Some(given) => Some(server::authority(home, Some(name("a server", given)?.as_str()))?),
        None if elsewhere || !has_authority(home)? => None,
        None => Some(server::authority(home, None)?),
    };
    match (server, which.issuer_bundle) {
        (Some(server), false) => local(home, &server),
        (Some(server), true) => {
            let (record, _) = home.server(&server)?;
            let bundle = home.identity(&Name::new(&record.identity)?)?.issuer_bundle()?;
            bundle_report(&bundle)
        }
        (None, bundle) => remote(context, home, which, bundle),
    }
}

fn has_authority(home: &Home) -> Result<bool> {
    Ok(home.servers()?.iter().any(|(_, record, _)| record.kind == server::AUTHORITY))
}

/// An authority of this home, with what it says of itself when it runs.
pub(crate) fn local(home: &Home, name: &Name) -> Result<Report> {
    let (record, running) = home.server(name)?;
    let status = if running { ask(&home.control_socket(name), &Ask::Status).ok() } else { None };
    let identifier =
        home.identity(&Name::new(&record.identity)?).map(|record| record.identifier().to_string()).ok();
    let mut json = json_server(home, name, &record, running)?;
    let mut plain = plain_server(home, name, &record, running)?;
    if let Value::Object(map) = &mut json {
        map.insert("identifier".to_owned(), identifier.clone().map_or(Value::Null, Value::String));
        map.insert("status".to_owned(), status.clone().unwrap_or(Value::Null));
    }
    let mut rows = vec![("identifier", identifier.unwrap_or_else(|| "?".to_owned()))];
    if let Some(status) = status {
        let yes = |path: &str| status.pointer(path).and_then(Value::as_bool).unwrap_or_default();
        rows.push(("ready", yes("/ready").to_string()));
        let number = |path: &str| status.pointer(path).and_then(Value::as_u64);
        if let Some(changes) = number("/authority/changes") {
            rows.push(("changes", changes.to_string()));
        }
        if let Some(expires) = number("/authority/credential_key_expires_at") {
            rows.push(("credential key until", time(identity::Timestamp(expires))));
        }
        if let Some(audit_rows) = number("/authority/audit/sequence") {
            rows.push(("audit rows", audit_rows.to_string()));
        }
        if status.pointer("/authority/clock_trusted").and_then(Value::as_bool) == Some(false) {
            rows.push((
                "clock",
                "not trusted: it is behind what the store has seen, or stands still".to_owned(),
            ));
        }
        if yes("/authority/halted") {
            rows.push(("halted", "the vault no longer holds the key that was recorded".to_owned()));
        }
    }
    plain.push('\n');
    plain.push_str(&table(&rows));
    Ok(Report::new(plain, json))
}

/// What `authority create` comes back with.
pub(super) fn created(home: &Home, name: &Name) -> Result<Report> {
    let (record, running) = home.server(name)?;
    let identifier = home.identity(&Name::new(&record.identity)?)?.identifier().to_string();
    let doors: Vec<_> = channel_route(&record).into_iter().chain(record.url()).collect();
    let mut json = json_server(home, name, &record, running)?;
    if let Value::Object(map) = &mut json {
        map.insert("identifier".to_owned(), Value::String(identifier.clone()));
        // The one that everybody's clients understand, where it is open.
        map.insert("authority_route".to_owned(), doors.first().cloned().map_or(Value::Null, Value::String));
    }
    let plain = format!("authority `{name}` is ready at {}\n{identifier}", doors.join(" and "));
    Ok(Report::new(plain, json).machine(name.as_str()))
}

/// The authority of a project, asked over its own door.
fn remote(context: &Context, home: &Home, which: &ShowAuthority, bundle: bool) -> Result<Report> {
    let place = Place::find(
        home,
        which.project.as_deref(),
        which.authority_route.as_deref(),
        which.authority_identity.as_deref(),
        which.authority_ca.as_deref(),
    )?;
    let (issuer, is_ready) = if place.is_by_channel() {
        // Who comes through a secure channel shows who they are, also when that does not matter.
        let (asking, _) = home.identity_or_default(None)?;
        (place.client(context, &asking)?.issuer()?, true)
    } else {
        let endpoint = place.endpoint()?;
        let issuer = endpoint.issuer(&place.authority.identifier(), Some(&place.authority))?;
        (issuer, bundle || endpoint.missing()?.is_empty())
    };
    place.remember(context, &issuer)?;
    if bundle {
        return bundle_report(&issuer);
    }
    let identity = issuer.identity();
    let plain = table(&[
        ("identifier", identity.identifier().to_string()),
        ("changes", identity.len().to_string()),
        ("route", place.route.clone()),
        ("ready", is_ready.to_string()),
    ]);
    let json = json!({
        "identifier": identity.identifier().to_string(),
        "changes": identity.len(),
        "latest_change_hash": identity.latest().hash().to_string(),
        "authority_route": place.route,
        "project": place.project.as_ref().map(|project| &project.identifier),
        "ready": is_ready,
    });
    Ok(Report::new(plain, json))
}

fn bundle_report(bundle: &identity::IssuerBundle) -> Result<Report> {
    let hex = bundle.to_hex()?;
    let json = json!({
        "identifier": bundle.identifier().to_string(),
        "changes": bundle.identity().len(),
        "change_history": bundle.identity().to_hex(),
        "issuer_bundle": hex,
    });
    Ok(Report::new(hex.clone(), json).machine(hex))
}
