//! What the clients know: what they asked for, and what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use authority::ticket::{Code, Reference};
use identity::Identifier;
use serde_json::{Value, json};

/// What is known of a ticket.
#[derive(Debug)]
pub struct TicketFacts {
    /// What it is redeemed with.
    pub code: Code,
    /// How often it may be redeemed.
    pub uses: u32,
    /// Whose redemption was acknowledged.
    pub redeemed: BTreeSet<Identifier>,
    /// Whether somebody asked for its revocation, and whether that was acknowledged.
    pub revocation_asked: bool,
    /// See above.
    pub revoked: bool,
}

/// What the clients know.
#[derive(Debug, Default)]
pub struct Facts {
    /// The tickets whose making was acknowledged.
    pub tickets: BTreeMap<Reference, TicketFacts>,
    /// How many were asked for without an answer.
    pub tickets_unanswered: usize,
    /// Who was told to be a member.
    pub members: BTreeSet<Identifier>,
    /// The credentials that somebody holds, by hash, with whom they are about.
    pub credentials: BTreeMap<[u8; 32], Identifier>,
    /// The latest changes of the rotations that were acknowledged.
    pub rotations: BTreeSet<String>,
    /// The changes of the longest history that was acknowledged.
    pub changes: u64,
    /// Refusals that there is no reason for.
    pub surprises: Vec<String>,
    /// How many answers there were, of every kind.
    pub answers: BTreeMap<&'static str, u64>,
}

/// Where every question and every answer is written down, and synced before it counts.
#[derive(Debug)]
pub struct Journal {
    file: File,
    number: u64,
}

impl Journal {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fixture that fails fails its test")]
    pub fn new(path: &Path) -> Self {
        Self { file: File::create_new(path).expect("a journal"), number: 0 }
    }

    /// Writes down what is going to be asked for, and says under which number.
    pub fn asked(&mut self, what: &str) -> u64 {
        self.number += 1;
        self.write(&json!({ "request": self.number, "asked": what }));
        self.number
    }

    /// Writes down an answer, and syncs it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[expect(clippy::expect_used, reason = "a fixture that fails fails its test")]
    pub fn answered(&mut self, request: u64, reply: &Value) {
        self.write(&json!({ "request": request, "reply": reply }));
        self.file.sync_data().expect("a synced journal");
    }

    #[expect(clippy::expect_used, reason = "a fixture that fails fails its test")]
    fn write(&mut self, line: &Value) {
        writeln!(self.file, "{line}").expect("a line in the journal");
    }
}
