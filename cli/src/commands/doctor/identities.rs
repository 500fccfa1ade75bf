//! Identities: their histories verify, their keys are where they are said to be, and what they attested still holds.

use std::sync::Arc;

use home::{Home, IdentityRecord, Name, PurposeKeyRecord};
use identity::{Clock as _, Identity, SystemClock, Timestamp};

use super::{Chart, Opened};
use crate::context::Context;
use crate::output::time;

const CHECK: &str = "identity";
/// A key that ends within this time is worth a word.
const SOON_SECONDS: u64 = 30 * 86_400;

pub(super) fn look(chart: &mut Chart, context: &Context, home: &Home, opened: &Opened) {
    let records = match home.identities() {
        Ok(records) => records,
        Err(error) => return chart.failed(CHECK, "the identities cannot be read", error),
    };
    for (name, record) in records {
        let identity = match record.identity() {
            Ok(identity) => identity,
            Err(error) => {
                chart.failed(CHECK, &format!("the identity `{name}`"), error);
                continue;
            }
        };
        chart.looked_at(CHECK, format!("`{name}`: {} changes", identity.len()));
        keys(chart, opened, &name, &record);
        if record.key().is_some() {
            validity(chart, context, home, &name, &record, &identity);
        }
        if let Ok(Some(_)) = home.conflict(&record.identifier()) {
            chart.fault(
                CHECK,
                format!("two histories of `{name}`, both signed, contradict each other"),
                "a key of it was misused: `ockam-kms conflict list` and docs/operations.md, \"A key is stolen\", say what to do",
            );
        }
    }
}

/// Each key is in its vault, and is the one that was recorded. Vaults that did not open are told of already.
fn keys(chart: &mut Chart, opened: &Opened, name: &Name, record: &IdentityRecord) {
    for (what, key) in record.keys() {
        let found = key.vault().and_then(|vault| match opened.iter().find(|(known, _)| *known == vault) {
            Some((_, vault)) => vault::block_on(key.check(Arc::clone(vault))),
            None => Ok(()),
        });
        if let Err(error) = found {
            let about = format!("the {what} key of `{name}`");
            let hint = match what {
                "credential" | "channel" => {
                    "`ockam-kms identity rotate` with --revoke-purpose-keys makes the identity another one"
                }
                _ => {
                    "restore the vault from a backup, or make the token reachable: see docs/operations.md, \"A token is lost\""
                }
            };
            chart.fault(CHECK, format!("{about}: {error}"), error.hint().unwrap_or(hint).to_owned());
        }
    }
}

fn validity(
    chart: &mut Chart,
    context: &Context,
    home: &Home,
    name: &Name,
    record: &IdentityRecord,
    identity: &Identity,
) {
    let now = SystemClock.now();
    let until = identity.latest().valid_until();
    if until.since(now) < SOON_SECONDS {
        chart.warning(
            CHECK,
            format!("the primary key of `{name}` is good until {}", time(until)),
            format!("ockam-kms identity rotate {name}"),
        );
    }
    let renews = "the next credential that it issues attests the key anew";
    attestation(
        chart,
        record.credential_key(),
        &format!("the credential key of `{name}`"),
        renews,
        identity,
        now,
    );
    let renews = "the next node that uses it attests the key anew";
    attestation(chart, record.channel_key(), &format!("the channel key of `{name}`"), renews, identity, now);
    match home.request_key_until(identity, &context.clock()) {
        Ok(Some(until)) => chart.looked_at(CHECK, format!("`{name}`: request key until {}", time(until))),
        Ok(None) => {}
        Err(error) => chart.failed(CHECK, &format!("the request key of `{name}`"), error),
    }
}

/// Whether what vouches for a purpose key holds.
fn attestation(
    chart: &mut Chart,
    record: Option<&PurposeKeyRecord>,
    what: &str,
    renews: &'static str,
    identity: &Identity,
    now: Timestamp,
) {
    match record.map(PurposeKeyRecord::attestation) {
        Some(Ok(found)) => {
            if let Err(refused) = found.verify(identity, now) {
                chart.warning(CHECK, format!("the attestation of {what} does not hold: {refused}"), renews);
            }
        }
        Some(Err(error)) => chart.failed(CHECK, what, error),
        None => {}
    }
}
