//! Asking an authority for everything, from one thread, until it is gone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that fails fails its test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use authority::client::{Client, Enrolled, Error, Kind};
use authority::member::MemberAttributes;
use authority::ticket::{Code, Reference};
use home::control::{Ask, ask};
use home::rotation::Plan;
use serde_json::{Value, json};

use super::facts::TicketFacts;
use super::world::{NAME, World};
use super::{Dice, Facts};

/// Whether the authority is still there.
type Alive = bool;

impl World {
    /// Asks until nobody answers.
    pub(super) fn drive(&self, mut dice: Dice, rotates: bool) {
        let enroller = self.enroller();
        // A rotation takes longer than most lives last from the middle on.
        if rotates && dice.below(3) == 0 && !self.rotate() {
            return;
        }
        loop {
            let alive = match dice.below(11) {
                0..=2 => self.make_ticket(&enroller, &mut dice),
                3 => self.revoke_ticket(&enroller, &mut dice),
                4..=6 => self.enrol(&mut dice),
                7 if rotates => self.rotate(),
                _ => self.credential(&mut dice),
            };
            if !alive {
                return;
            }
        }
    }

    fn asked(&self, what: &str) -> u64 {
        self.journal.lock().unwrap().asked(what)
    }

    /// What was answered counts from here on.
    fn answered(&self, request: u64, kind: &'static str, reply: &Value, learn: impl FnOnce(&mut Facts)) {
        self.journal.lock().unwrap().answered(request, reply);
        let mut facts = self.facts.lock().unwrap();
        *facts.answers.entry(kind).or_default() += 1;
        learn(&mut facts);
    }

    /// A refusal that may come, or the end.
    fn refused(&self, request: u64, error: &Error, may_come: &[Kind]) -> Alive {
        if error.kind() == Kind::Unavailable {
            return false;
        }
        let comes_as_a_surprise = !may_come.contains(&error.kind());
        self.answered(request, "refused", &json!(error.to_string()), |facts| {
            if comes_as_a_surprise {
                facts.surprises.push(format!("request {request} was refused: {error}"));
            }
        });
        true
    }

    fn make_ticket(&self, enroller: &Client, dice: &mut Dice) -> Alive {
        let uses = u32::try_from(dice.below(3) + 1).unwrap();
        let request = self.asked("make a ticket");
        let attributes = MemberAttributes::of([("role", "member")]).unwrap();
        match enroller.make_ticket(&attributes, Some(3600), Some(uses)) {
            Ok(made) => {
                let reference = made.ticket.reference;
                let known = TicketFacts {
                    code: made.code,
                    uses,
                    redeemed: BTreeSet::new(),
                    revocation_asked: false,
                    revoked: false,
                };
                self.answered(request, "tickets", &json!(reference.to_string()), |facts| {
                    facts.tickets.insert(reference, known);
                });
                true
            }
            Err(error) => {
                self.facts.lock().unwrap().tickets_unanswered += 1;
                self.refused(request, &error, &[])
            }
        }
    }

    /// One of the tickets that nobody asked to revoke, preferably a late one.
    fn some_ticket(facts: &Facts, dice: &mut Dice) -> Option<Reference> {
        let alive: Vec<_> = facts
            .tickets
            .iter()
            .filter(|(_, ticket)| !ticket.revocation_asked && ticket.redeemed.len() <= ticket.uses as usize)
            .map(|(reference, _)| reference)
            .collect();
        alive.get(dice.below(alive.len())).map(|reference| (*reference).clone())
    }

    fn revoke_ticket(&self, enroller: &Client, dice: &mut Dice) -> Alive {
        let reference = {
            let mut facts = self.facts.lock().unwrap();
            let Some(reference) = Self::some_ticket(&facts, dice) else { return true };
            facts.tickets.get_mut(&reference).unwrap().revocation_asked = true;
            reference
        };
        let request = self.asked(&format!("revoke {reference}"));
        match enroller.revoke_ticket(&reference) {
            Ok(()) => {
                self.answered(request, "revocations", &json!("done"), |facts| {
                    facts.tickets.get_mut(&reference).unwrap().revoked = true;
                });
                true
            }
            Err(error) => self.refused(request, &error, &[Kind::NotFound]),
        }
    }

    fn enrol(&self, dice: &mut Dice) -> Alive {
        let (reference, code) = {
            let facts = self.facts.lock().unwrap();
            let Some(reference) = Self::some_ticket(&facts, dice) else { return true };
            let code = Code::from_hex(&facts.tickets.get(&reference).unwrap().code.expose_hex()).unwrap();
            (reference, code)
        };
        let person = self.person();
        let identifier = person.identity.identifier();
        let request = self.asked(&format!("enrol {identifier} by {reference}"));
        match self.client(&person).enrol(&code) {
            Ok(enrolled) => {
                assert_eq!(enrolled, Enrolled::Now);
                self.answered(request, "enrolments", &json!("enrolled"), |facts| {
                    facts.tickets.get_mut(&reference).unwrap().redeemed.insert(identifier);
                    facts.members.insert(identifier);
                });
                self.members.lock().unwrap().push(person);
                true
            }
            Err(error) => self.refused(request, &error, &[Kind::Forbidden]),
        }
    }

    fn credential(&self, dice: &mut Dice) -> Alive {
        let person = {
            let members = self.members.lock().unwrap();
            match members.get(dice.below(members.len())) {
                Some(person) => Arc::clone(person),
                None => return true,
            }
        };
        let identifier = person.identity.identifier();
        let request = self.asked(&format!("a credential about {identifier}"));
        match self.client(&person).credential() {
            Ok(granted) => {
                let hash = granted.credential.hash();
                self.answered(request, "credentials", &json!(hex::encode(hash)), |facts| {
                    facts.credentials.insert(hash, identifier);
                });
                true
            }
            Err(error) => self.refused(request, &error, &[]),
        }
    }

    /// Rotates the authority's identity; whether the authority was there to answer.
    ///
    /// # Panics
    /// When the answer is not what it has to be.
    pub fn rotate(&self) -> bool {
        let request = self.asked("rotate");
        let Ok(outcome) = ask(&self.socket(), &Ask::Rotate(Plan::within(NAME))) else { return false };
        let latest = outcome.get("latest_change_hash").and_then(Value::as_str).unwrap().to_owned();
        let changes = outcome.get("changes").and_then(Value::as_u64).unwrap();
        self.answered(request, "rotations", &outcome, |facts| {
            facts.rotations.insert(latest);
            facts.changes = facts.changes.max(changes);
        });
        true
    }
}
