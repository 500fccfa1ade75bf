//! What the clients were told, beside what the authority shows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that fails fails its test")]

use std::collections::{BTreeMap, BTreeSet};

use authority::audit::{AuditRow, verify};
use home::control::{Ask, ask};
use serde_json::Value;

use super::Facts;
use super::world::World;

impl World {
    /// Compares members, tickets and issuer with what was acknowledged, and says what is wrong; with `log` the audit log and
    /// the intents without a signature too.
    ///
    /// # Panics
    /// When the running authority does not answer.
    pub fn reconcile(&mut self, log: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        self.reconcile_members(&mut wrong);
        self.reconcile_tickets(&mut wrong);
        self.reconcile_issuer(&mut wrong);
        if log {
            let rows = self.rows(&mut wrong);
            let facts = self.facts.lock().unwrap();
            reconcile_rows(&facts, &rows, &mut wrong);
            drop(facts);
            self.reconcile_orphans(&rows, &mut wrong);
        }
        wrong.extend(self.facts.lock().unwrap().surprises.iter().cloned());
        for line in self.log().lines().filter(|line| line.contains("panicked") || line.contains("damaged")) {
            wrong.push(format!("the log says: {line}"));
        }
        wrong
    }

    fn reconcile_members(&self, wrong: &mut Vec<String>) {
        let found: BTreeSet<_> = match self.enroller().member_ids() {
            Ok(found) => found.into_iter().collect(),
            Err(error) => return wrong.push(format!("the enroller is refused the members: {error}")),
        };
        let facts = self.facts.lock().unwrap();
        wrong.extend(facts.members.difference(&found).map(|lost| format!("the member {lost} is lost")));
    }

    fn reconcile_tickets(&self, wrong: &mut Vec<String>) {
        let found: BTreeMap<_, _> = match self.enroller().tickets() {
            Ok(found) => found.into_iter().map(|ticket| (ticket.reference, ticket.uses_left)).collect(),
            Err(error) => return wrong.push(format!("the enroller is refused the tickets: {error}")),
        };
        let facts = self.facts.lock().unwrap();
        for (reference, known) in &facts.tickets {
            let redeemed = u32::try_from(known.redeemed.len()).unwrap();
            if redeemed > known.uses {
                wrong
                    .push(format!("the ticket {reference} for {} was redeemed {redeemed} times", known.uses));
            }
            match found.get(reference) {
                Some(_) if known.revoked => wrong.push(format!("the ticket {reference} is not revoked")),
                Some(left) if left.saturating_add(redeemed) > known.uses => {
                    wrong.push(format!("the ticket {reference} can be redeemed above its uses"));
                }
                None if !known.revocation_asked => wrong.push(format!("the ticket {reference} is lost")),
                _ => {}
            }
        }
        let unknown = found.keys().filter(|reference| !facts.tickets.contains_key(*reference)).count();
        if unknown > facts.tickets_unanswered {
            wrong.push(format!("{unknown} tickets that nobody asked for"));
        }
    }

    fn reconcile_issuer(&self, wrong: &mut Vec<String>) {
        let issuer = self.enroller().issuer().unwrap();
        let changes: BTreeSet<_> =
            issuer.identity().changes().map(|change| change.hash().to_string()).collect();
        let facts = self.facts.lock().unwrap();
        wrong.extend(facts.rotations.difference(&changes).map(|lost| format!("the change {lost} is lost")));
    }

    /// The audit log, which has to continue the one that was seen before.
    fn rows(&mut self, wrong: &mut Vec<String>) -> Vec<AuditRow> {
        self.exports += 1;
        let to = self.directory.path().join(format!("audit-{}.jsonl", self.exports));
        ask(&self.socket(), &Ask::Audit { to: to.clone() }).unwrap();
        let text = std::fs::read_to_string(&to).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if let Err(error) = verify(&lines, self.head.as_ref()) {
            wrong.push(format!("the audit log: {error}"));
        }
        let rows: Vec<AuditRow> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        self.head = rows.last().map(AuditRow::head);
        rows
    }

    /// Every intent without a record of its signature is listed, and nothing else is.
    fn reconcile_orphans(&self, rows: &[AuditRow], wrong: &mut Vec<String>) {
        let mut open: BTreeMap<&str, i64> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.outcome == "done") {
            *open.entry(&row.object).or_default() += match row.action.as_str() {
                "credential-intend" => 1,
                "credential-issue" | "credential-abandon" => -1,
                _ => 0,
            };
        }
        let wanted: BTreeSet<_> =
            open.into_iter().filter(|(_, shares)| *shares > 0).map(|(hash, _)| hash.to_owned()).collect();
        let found = self.orphans();
        if wanted != found {
            let lost: Vec<_> = wanted.symmetric_difference(&found).collect();
            wrong.push(format!("intents without a signature that are not listed, or not intents: {lost:?}"));
        }
    }

    /// The hashes of the intents without a signature, as the running server lists them.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn orphans(&self) -> BTreeSet<String> {
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            let page = ask(&self.socket(), &Ask::Orphans { after }).unwrap();
            let items = page.get("items").and_then(Value::as_array).unwrap();
            let hash = |item: &Value| item.get("hash").and_then(Value::as_str).unwrap().to_owned();
            found.extend(items.iter().map(hash));
            after = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                return found;
            }
        }
    }
}

fn reconcile_rows(facts: &Facts, rows: &[AuditRow], wrong: &mut Vec<String>) {
    let (mut intended, mut issued) = (BTreeSet::new(), BTreeSet::new());
    let (mut made, mut revoked, mut replaced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut enrolled: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.outcome == "done") {
        let (actor, object) = (row.actor.as_str(), row.object.as_str());
        match row.action.as_str() {
            "credential-intend" => drop(intended.insert(object)),
            "credential-issue" => {
                if !intended.contains(object) {
                    wrong.push(format!("the credential {object} was not intended before it was signed"));
                }
                issued.insert(object);
            }
            "ticket-make" => drop(made.insert(object)),
            "ticket-revoke" => drop(revoked.insert(object)),
            "issuer-replace" => drop(replaced.insert(object)),
            "enrol" => drop(enrolled.entry(object).or_default().insert(actor)),
            _ => {}
        }
    }
    for hash in facts.credentials.keys() {
        if !issued.contains(hex::encode(hash).as_str()) {
            wrong.push(format!("the credential {} is outside the record", hex::encode(hash)));
        }
    }
    for (reference, known) in &facts.tickets {
        let reference = reference.to_string();
        let by = enrolled.get(reference.as_str());
        if by.map_or(0, BTreeSet::len) > known.uses as usize {
            wrong.push(format!("the ticket {reference} was redeemed above its uses, by the log"));
        }
        for identifier in &known.redeemed {
            if !by.is_some_and(|by| by.contains(identifier.to_string().as_str())) {
                wrong.push(format!("the enrolment of {identifier} is outside the record"));
            }
        }
        if !made.contains(reference.as_str()) || (known.revoked && !revoked.contains(reference.as_str())) {
            wrong.push(format!("what was done to the ticket {reference} is outside the record"));
        }
    }
    for latest in facts.rotations.iter().filter(|latest| !replaced.contains(latest.as_str())) {
        wrong.push(format!("the rotation to {latest} is outside the record"));
    }
}
