//! Identities: their histories verify, their keys are where they are said to be, and what they attested still holds.

use home::{Home, IdentityRecord, Name};
use identity::{Clock as _, Identity, SystemClock};
use vault::Signer;

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
    let credential_key = record.credential_key().map(|record| (&record.key, "credential"));
    for (key, what) in record.key().map(|key| (key, "primary")).into_iter().chain(credential_key) {
        let found = key.vault().and_then(|vault| match opened.iter().find(|(known, _)| *known == vault) {
            Some((_, vault)) => {
                Ok(Some(vault::block_on(Signer::open(vault.clone(), &key.uri()?, &key.public()?))?))
            }
            None => Ok(None),
        });
        if let Err(error) = found {
            let about = format!("the {what} key of `{name}`");
            let hint = match what {
                "credential" => {
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
    let attested = record.credential_key().map(home::PurposeKeyRecord::attestation);
    match attested.map(|attestation| attestation.map(|found| (found.verify(identity, now).err(), found))) {
        Some(Ok((Some(refused), _))) => chart.warning(
            CHECK,
            format!("the attestation of the credential key of `{name}` does not hold: {refused}"),
            "the next credential that it issues attests the key anew",
        ),
        Some(Err(error)) => chart.failed(CHECK, &format!("the credential key of `{name}`"), error),
        Some(Ok((None, _))) | None => {}
    }
    match home.request_key_until(identity, &context.clock()) {
        Ok(Some(until)) => chart.looked_at(CHECK, format!("`{name}`: request key until {}", time(until))),
        Ok(None) => {}
        Err(error) => chart.failed(CHECK, &format!("the request key of `{name}`"), error),
    }
}
