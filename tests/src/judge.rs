//! The published Ockam crates as a judge: a client of the program `ockam-judge` (tests/interop/README.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

/// Names the program.
const VARIABLE: &str = "OCKAM_JUDGE";

/// A running judge. It answers one question after the other, and ends with this value.
pub struct Judge {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    // Verdicts on bytes, by the question: asking again gives the same, some 70 ms later.
    known: HashMap<String, Result<Json, String>>,
}

/// A change history that `ockam_identity` accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedHistory {
    /// The identifier, as text.
    pub identifier: String,
    /// How many changes it has.
    pub changes: usize,
}

impl Judge {
    /// Starts the program that `OCKAM_JUDGE` names.
    ///
    /// # Panics
    /// When it names none: what the published crates say is part of the test, so there is nothing to skip.
    #[must_use]
    pub fn start() -> Self {
        let Some(program) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
            panic!(
                "{VARIABLE} does not say where the judge is: `make interop` builds `ockam-judge` from the published Ockam \
                 crates, and `make test` sets {VARIABLE} to its path"
            );
        };
        let mut child =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| {
                panic!("{VARIABLE}={}: {e}: `make interop` builds it", program.to_string_lossy())
            });
        let questions = child.stdin.take().expect("its input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, questions, answers, known: HashMap::new() }
    }

    /// Puts a question and returns the answer, whatever it says.
    ///
    /// # Panics
    /// When the judge does not answer.
    pub fn ask(&mut self, question: &Json) -> Json {
        writeln!(self.questions, "{question}").expect("the judge reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the judge writes");
        serde_json::from_str(&answer)
            .unwrap_or_else(|e| panic!("the judge ended, or does not speak JSON: {e}: {answer}"))
    }

    /// Puts a question, and returns the answer when it is a yes and the reason when it is a no.
    ///
    /// # Errors
    /// Why the published crates refuse.
    ///
    /// # Panics
    /// When the question is malformed or the judge broken: then nothing was judged.
    pub fn verdict(&mut self, question: &Json) -> Result<Json, String> {
        let answer = self.ask(question);
        match (answer.get("ok").and_then(Json::as_bool), answer.get("kind").and_then(Json::as_str)) {
            (Some(true), _) => Ok(answer),
            (Some(false), Some("refused")) => Err(text(&answer, "error")),
            _ => panic!("nothing was judged: {answer}"),
        }
    }

    /// As [`verdict`](Self::verdict), for questions whose answer stays the same while a test runs.
    fn standing_verdict(&mut self, question: &Json) -> Result<Json, String> {
        let key = question.to_string();
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let verdict = self.verdict(question);
        self.known.insert(key, verdict.clone());
        verdict
    }

    /// Whether `ockam_identity` accepts a change history (hex) as that of this identifier.
    ///
    /// # Errors
    /// Why not.
    pub fn history(&mut self, history: &str, identifier: &str) -> Result<JudgedHistory, String> {
        let question = json!({ "op": "verify_history", "change_history": history, "expected": identifier });
        let answer = self.standing_verdict(&question)?;
        let changes = answer.get("changes").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        Ok(JudgedHistory {
            identifier: text(&answer, "identifier"),
            changes: changes.expect("a number of changes"),
        })
    }

    /// Whether somebody who knows the first history takes the second (both hex).
    ///
    /// # Errors
    /// Why not.
    pub fn update(&mut self, known: &str, shown: &str) -> Result<(), String> {
        let question = json!({ "op": "update_history", "known": known, "shown": shown });
        self.standing_verdict(&question).map(drop)
    }

    /// The public half (hex) of the credential key that an attestation vouches for, both given as hex.
    ///
    /// # Errors
    /// Why `ockam_identity` does not accept the attestation, or that it is not for a credential key.
    pub fn credential_key(&mut self, history: &str, attestation: &str) -> Result<String, String> {
        let question =
            json!({ "op": "verify_attestation", "change_history": history, "attestation": attestation });
        let answer = self.standing_verdict(&question)?;
        match text(&answer, "purpose").as_str() {
            "credentials" => Ok(text(&answer, "public_key")),
            other => Err(format!("it attests a key for {other}")),
        }
    }
}

fn text(answer: &Json, field: &str) -> String {
    answer.get(field).and_then(Json::as_str).unwrap_or_else(|| panic!("no `{field}` in {answer}")).to_owned()
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("process", &self.child.id()).finish_non_exhaustive()
    }
}
