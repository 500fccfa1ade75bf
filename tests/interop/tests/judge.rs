//! The judge as a program: what other workspaces drive as a subprocess.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

struct Program {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ockam-judge"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, questions, answers }
    }

    fn raw(&mut self, line: &str) -> Json {
        writeln!(self.questions.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn ask(&mut self, question: Json) -> Json {
        self.raw(&question.to_string())
    }

    fn accepted(&mut self, question: Json) -> Json {
        let answer = self.ask(question);
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }

    fn refused(&mut self, question: Json) -> String {
        let answer = self.ask(question);
        assert_eq!((&answer["ok"], &answer["kind"]), (&json!(false), &json!("refused")), "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    fn end(mut self) {
        drop(self.questions.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn what_it_makes_it_accepts() {
    let mut judge = Program::start();
    for (first, rotations) in [("ed25519", json!([])), ("p256", json!(["ed25519", "p256"]))] {
        let issuer =
            judge.accepted(json!({"op": "create_identity", "key_type": first, "rotations": rotations}));
        let subject = judge.accepted(json!({"op": "create_identity", "key_type": "p256"}));

        let verified = judge.accepted(json!({
            "op": "verify_history",
            "change_history": issuer["change_history"],
            "expected": issuer["identifier"],
        }));
        assert_eq!(verified["identifier"], issuer["identifier"]);
        assert_eq!(verified["changes"], rotations.as_array().unwrap().len() + 1);

        for purpose in ["credentials", "secure_channel"] {
            let made = judge.accepted(json!({
                "op": "attest", "identifier": issuer["identifier"], "purpose": purpose, "key_type": "p256",
            }));
            let attested = judge.accepted(json!({
                "op": "verify_attestation",
                "change_history": made["change_history"],
                "attestation": made["attestation"],
            }));
            assert_eq!(attested["purpose"], purpose);
            assert_eq!(
                attested["public_key"].as_str().unwrap().len(),
                if purpose == "credentials" { 130 } else { 64 }
            );
        }

        let issued = judge.accepted(json!({
            "op": "issue_credential", "issuer": issuer["identifier"], "subject": subject["identifier"],
            "attributes": {"role": "member"}, "attributes_hex": {"00": "ff"}, "ttl": 60,
        }));
        let verified = judge.accepted(json!({
            "op": "verify_credential",
            "issuer_change_history": issued["issuer_change_history"],
            "credential": issued["credential"],
            "subject": subject["identifier"],
            "subject_change_history": subject["change_history"],
        }));
        assert_eq!(verified["attributes_hex"], json!({"00": "ff", "726f6c65": "6d656d626572"}));
        assert_eq!(verified["issuer"], issuer["identifier"]);
        assert_eq!(verified["expires_at"].as_u64().unwrap() - verified["created_at"].as_u64().unwrap(), 60);
    }
    judge.end();
}

#[test]
fn it_refuses_with_the_published_reason() {
    let mut judge = Program::start();
    let issuer = judge.accepted(json!({"op": "create_identity", "key_type": "ed25519"}));
    let subject = judge.accepted(json!({"op": "create_identity", "key_type": "ed25519"}));
    let issued = judge.accepted(json!({
        "op": "issue_credential", "issuer": issuer["identifier"], "subject": subject["identifier"], "ttl": 60,
    }));
    let credential = |history: &Json, subject: &Json| {
        json!({
            "op": "verify_credential", "issuer_change_history": history,
            "credential": issued["credential"], "subject": subject,
        })
    };

    let wrong = judge.refused(credential(&issuer["change_history"], &issuer["identifier"]));
    assert_eq!(wrong, "CredentialVerificationFailed");
    let unknown = judge.refused(credential(&subject["change_history"], &subject["identifier"]));
    assert!(unknown.starts_with("identity not found"), "{unknown}");

    let rotated = judge
        .accepted(json!({"op": "rotate_identity", "identifier": issuer["identifier"], "key_type": "p256"}));
    let stale = judge.refused(credential(&rotated["change_history"], &subject["identifier"]));
    assert_eq!(stale, "PurposeKeyAttestationVerificationFailed");

    let known = |known: &Json, shown: &Json| json!({"op": "update_history", "known": known, "shown": shown});
    judge.accepted(known(&issuer["change_history"], &rotated["change_history"]));
    let older = judge.refused(known(&rotated["change_history"], &issuer["change_history"]));
    assert_eq!(older, "ConsistencyError");
    let expected = judge.refused(json!({
        "op": "verify_history", "change_history": rotated["change_history"], "expected": subject["identifier"],
    }));
    assert_eq!(expected, "IdentityVerificationFailed");
    judge.end();
}

#[test]
fn an_expired_credential_is_refused() {
    let mut judge = Program::start();
    let issuer = judge.accepted(json!({"op": "create_identity", "key_type": "ed25519"}));
    let issued = judge.accepted(json!({
        "op": "issue_credential", "issuer": issuer["identifier"], "subject": issuer["identifier"], "ttl": 0,
    }));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let reason = judge.refused(json!({
        "op": "verify_credential", "issuer_change_history": issuer["change_history"],
        "credential": issued["credential"], "subject": issuer["identifier"],
    }));
    assert_eq!(reason, "CredentialVerificationFailed");
    judge.end();
}

#[test]
fn policies_are_evaluated_one_by_one_and_in_batches() {
    let mut judge = Program::start();
    let env = json!({
        "subject.role": {"str": "member"}, "subject.level": {"int": 3}, "subject.share": {"float": "inf"},
        "subject.active": {"bool": true}, "subject.groups": {"seq": [{"str": "a"}, {"str": "b"}]},
    });
    let one = judge.ask(json!({"op": "eval_policy", "expression": "role=member", "env": env}));
    assert_eq!(one, json!({"ok": true, "outcome": "true"}));

    let expected = [
        ("(> subject.level 3)", "false"),
        ("(= subject.share inf)", "true"),
        (r#"(member? "b" subject.groups)"#, "true"),
        ("(and subject.active subject.level)", "other"),
        ("(= subject.level 3.0)", "error"),
        ("(= subject.level, 3)", "unparsable"),
    ];
    let cases: Vec<_> = expected.iter().map(|(text, _)| json!({"expression": text, "env": env})).collect();
    let results = judge.accepted(json!({"op": "eval_policies", "cases": cases}))["results"].clone();
    let outcomes: Vec<_> =
        results.as_array().unwrap().iter().map(|r| r["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, expected.map(|(_, outcome)| outcome));

    let deep = format!("{}a{}", "(".repeat(201), ")".repeat(201));
    let refused = judge.ask(json!({"op": "eval_policy", "expression": deep}));
    assert_eq!(refused, json!({"ok": false, "kind": "malformed", "error": "too deep for the judge"}));
    judge.end();
}

#[test]
fn malformed_questions_are_answered_and_the_next_one_is_too() {
    let mut judge = Program::start();
    let good = judge.accepted(json!({"op": "create_identity", "key_type": "ed25519"}));
    for line in [
        "no JSON",
        "{}",
        r#"{"op":"unknown"}"#,
        r#"{"op":"verify_history","change_history":"zz"}"#,
        r#"{"op":"verify_history","change_history":"80","expected":"I00"}"#,
        r#"{"op":"verify_history","change_history":"80","expcted":null}"#,
        r#"{"op":"create_identity","key_type":"rsa"}"#,
        r#"{"op":"attest","identifier":"me","purpose":"credentials"}"#,
        r#"{"op":"eval_policy","expression":"a","env":{"x":{"list":[]}}}"#,
    ] {
        let answer = judge.raw(line);
        assert_eq!(
            (&answer["ok"], &answer["kind"]),
            (&json!(false), &json!("malformed")),
            "{line}: {answer}"
        );
        judge.accepted(json!({"op": "verify_history", "change_history": good["change_history"]}));
    }
    judge.end();
}

#[test]
fn a_question_the_published_crates_cannot_compute_does_not_end_the_program() {
    let mut judge = Program::start();
    let good = judge.accepted(json!({"op": "create_identity", "key_type": "p256"}));
    // The end of this validity is past the end of time.
    judge.ask(json!({"op": "create_identity", "key_type": "p256", "ttl": u64::MAX}));
    judge.accepted(json!({"op": "verify_history", "change_history": good["change_history"]}));
    judge.end();
}
