//! The transcripts in golden/cli: every verb, as a script and as a person get it, in JSON, and refused.
//!
//! A new verb needs no code here: append its commands to the transcript of its noun and record what comes out with
//! `UPDATE_GOLDEN=1 cargo nextest run -p ockam-kms-tests --test cli_transcripts --no-fail-fast`.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use std::collections::{BTreeMap, BTreeSet};

use ockam_kms_tests::awskms::Emulator;
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::cli::transcript::{Step, To, directory, steps};

/// One test for each file of golden/cli.
macro_rules! transcripts {
    ($($name:ident: $file:literal,)*) => {
        $(#[test]
        fn $name() {
            Kms::new().follow($file);
        })*

        const FILES: &[&str] = &[$($file,)* "cloud"];
    };
}

transcripts! {
    vaults: "vault",
    keys: "key",
    identities: "identity",
    conflicts: "conflict",
    credentials: "credential",
    policies: "policy",
    tokens: "token",
    authorities: "authority",
    nodes: "node",
    channels: "secure-channel",
    connections: "tcp",
    services: "service",
    projects: "project",
    members: "project-member",
    audit: "audit",
    doctor: "doctor",
    the_program: "program",
    help: "help",
}

/// With AWS KMS, and credentials for it.
#[test]
fn clouds() {
    let (mut kms, aws) = (Kms::new(), Emulator::start());
    for (name, value) in aws.variables() {
        kms.set(name, value);
    }
    // By the variable, since a port in a URI would differ each time.
    kms.set("AWS_ENDPOINT_URL", aws.endpoint());
    kms.follow("cloud");
}

fn all_steps() -> BTreeMap<String, Vec<Step>> {
    let files = std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, steps(&std::fs::read_to_string(&path).unwrap()).0)
        })
        .collect()
}

#[test]
fn every_transcript_is_followed() {
    let found: BTreeSet<_> = all_steps().into_keys().collect();
    let followed: BTreeSet<_> = FILES.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(found, followed, "name each file of golden/cli in `transcripts!`");
}

/// The verbs that `--help` lists below a command: `[["vault", "create"], …]`.
fn verbs(kms: &Kms, command: &[String]) -> Vec<Vec<String>> {
    let mut arguments: Vec<_> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = kms.run_apart(&arguments, b"").code(0).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    let below: Vec<_> = names.map(|name| [command, &[name.to_owned()]].concat()).collect();
    if below.is_empty() {
        return vec![command.to_vec()];
    }
    below.iter().flat_map(|command| verbs(kms, command)).collect()
}

/// Whether a line of shell runs this verb.
fn runs(line: &str, verb: &str) -> bool {
    line.split("ockam-kms ").skip(1).any(|rest| {
        rest.strip_prefix(verb).is_some_and(|after| after.is_empty() || after.starts_with([' ', ')', '"']))
    })
}

/// Which forms of a verb no step shows.
fn missing(verb: &str, steps: &[Step]) -> Vec<&'static str> {
    let is_json = |step: &Step| step.command.contains("--output json");
    let kept = |step: &Step| !step.command.contains(" > ");
    let seen =
        |wanted: &dyn Fn(&Step) -> bool| steps.iter().any(|step| runs(&step.command, verb) && wanted(step));
    let done = |step: &Step| step.code == 0;
    [
        ("at a terminal: `tty$ ockam-kms …`", seen(&|s| done(s) && s.to == To::Terminal && !is_json(s))),
        ("through a pipe: `$ ockam-kms …`", seen(&|s| done(s) && s.to == To::Pipe && !is_json(s) && kept(s))),
        ("in JSON: `$ ockam-kms … --output json`", seen(&|s| done(s) && is_json(s))),
        ("refused, with its exit code: `[64]`", seen(&|s| !done(s))),
    ]
    .into_iter()
    .filter_map(|(form, is_seen)| (!is_seen).then_some(form))
    .collect()
}

#[test]
fn every_verb_has_a_transcript_in_every_form() {
    let kms = Kms::new();
    let all: Vec<_> = all_steps().into_values().flatten().collect();
    let verbs: Vec<_> = verbs(&kms, &[]).iter().map(|verb| verb.join(" ")).collect();
    assert!(verbs.len() > 35 && verbs.contains(&"identity rotate".to_owned()), "{verbs:?}");
    let without: Vec<_> = verbs
        .iter()
        .filter_map(|verb| Some((verb, missing(verb, &all))).filter(|(_, missing)| !missing.is_empty()))
        .map(|(verb, missing)| format!("`{verb}` is not shown {}", missing.join(", nor ")))
        .collect();
    assert!(
        without.is_empty(),
        "{}\nAppend these commands to tests/golden/cli/NOUN.txt, without output, and record what comes out:\n\
         UPDATE_GOLDEN=1 cargo nextest run -p ockam-kms-tests --test cli_transcripts --no-fail-fast",
        without.join("\n")
    );
    // The check sees what is not there.
    assert_eq!(missing("vault conjure", &all).len(), 4);
    let without_refusals: Vec<_> = all.iter().filter(|step| step.code == 0).cloned().collect();
    assert_eq!(missing("vault create", &without_refusals), ["refused, with its exit code: `[64]`"]);
}

#[test]
fn every_refusal_says_what_to_do() {
    for path in std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(without_hint(&text), None, "{}", path.display());
    }
    // The check sees it.
    assert!(without_hint("$ x\n! error: no\n[64]\n").is_some());
    assert!(without_hint("{\"error\":{\"hint\":\"\",\"kind\":\"usage\"}}\n").is_some());
    assert_eq!(without_hint("$ x\n! error: no\n!   at all\n! hint: look\n[64]\n"), None);
}

/// The first failure after which nothing says what to do.
fn without_hint(text: &str) -> Option<&str> {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("! error: ") {
            let mut rest = lines.clone().take_while(|line| line.starts_with('!'));
            if !rest.any(|line| line.strip_prefix("! hint: ").is_some_and(|hint| !hint.is_empty())) {
                return Some(line);
            }
        }
        if line.contains(r#""error":{"#) && line.contains(r#""hint":"""#) {
            return Some(line);
        }
    }
    None
}
