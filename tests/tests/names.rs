//! Hostile names on every surface where a name comes in: nothing outside the home, no two names for one thing, no line and no
//! option of somebody else's making.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::enrolment::EnrolmentPolicy;
use authority::issuer::IssuerKeys;
use authority::member::MemberAttributes;
use authority::service::{Authority, Settings};
use authority::store::MemoryStore;
use authority::{audit, ticket};
use evidence::Anchors;
use home::{Home, IdentityRecord, Name, ProjectRecord};
use identity::{
    Identifier, Identity, ManualClock, PurposeKey, PurposeKeyAttestation, Timestamp, Validity,
    check_attribute,
};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::names::{hostile, hostile_arguments};
use policy_lang::{Decision, Env, Policy};
use vault::soft::{Lock, SoftVault};
use vault::{KeyName, KeySpec, KeyUri, Scheme, Signer, Vault, block_on};

const NOW: Timestamp = Timestamp(1_790_000_000);

/// Every path below a directory, but for what is below `without`.
fn paths(directory: &Path, without: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(path) = ahead.pop() {
        found.insert(path.display().to_string());
        if path != without && path.symlink_metadata().unwrap().is_dir() {
            ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

/// A directory with canaries around a home that a name could reach.
struct Around {
    dir: tempfile::TempDir,
    before: BTreeSet<String>,
}

impl Around {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for canary in ["canary", "a/canary", "a/b/canary"] {
            let path = dir.path().join(canary);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "alive").unwrap();
        }
        std::fs::create_dir(dir.path().join("a/b/home")).unwrap();
        let before = paths(dir.path(), &dir.path().join("a/b/home"));
        Self { dir, before }
    }

    fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("a/b/home")
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(paths(self.dir.path(), &self.home()), self.before);
        for canary in ["canary", "a/canary", "a/b/canary"] {
            assert_eq!(std::fs::read_to_string(self.dir.path().join(canary)).unwrap(), "alive");
        }
    }
}

#[test]
fn names_of_keys_are_files_of_their_own_in_the_vault() {
    let around = Around::new();
    let vault = SoftVault::create(&around.home(), &Lock::KeyFile(None)).unwrap();
    let mut taken = BTreeMap::new();
    for name in hostile() {
        match KeyName::new(&name) {
            Ok(key) => {
                let made = block_on(vault.signing().unwrap().generate(&KeySpec::ed25519(key))).unwrap();
                taken.insert(name, made);
            }
            Err(error) => {
                let shown: String = name.chars().take(40).collect::<String>().escape_debug().to_string();
                let (words, hint) = (error.to_string(), error.hint().unwrap());
                assert_eq!((error.kind(), words.contains(&shown)), (vault::Kind::Invalid, true), "{words}");
                assert!(
                    words.len() < 600 && !words.contains(char::is_control) && hint.contains("letters"),
                    "{words}"
                );
            }
        }
        around.is_untouched();
    }
    assert!((20..200).contains(&taken.len()), "{}", taken.len());
    // Each is a file, a key of its own, and found under its name alone.
    let files: BTreeSet<_> = paths(&around.home().join("keys"), Path::new("")).into_iter().collect();
    assert_eq!(files.len(), taken.len() + 1, "{files:?}");
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.len(), taken.len());
    let mut publics = BTreeSet::new();
    for (name, made) in &taken {
        let uri = KeyUri::of_key(Scheme::Soft, &KeyName::new(name).unwrap());
        let opened: vault::KeyHandle<vault::Signing> = block_on(vault.signing().unwrap().open(&uri)).unwrap();
        assert_eq!(opened.public().as_bytes(), made.public().as_bytes(), "{name}");
        publics.insert(opened.public().as_bytes().to_vec());
    }
    assert_eq!(publics.len(), taken.len());
    around.is_untouched();
}

#[test]
fn a_name_in_a_uri_is_that_name_or_nothing() {
    let around = Around::new();
    let vault = SoftVault::create(&around.home(), &Lock::KeyFile(None)).unwrap();
    let mut spellings: BTreeMap<String, String> = BTreeMap::new();
    for name in hostile() {
        let Ok(uri) = KeyUri::new(Scheme::Soft).with("name", &name) else {
            assert!(name.len() > 1000, "{name:?}");
            continue;
        };
        let printed = uri.to_string();
        assert!(printed.bytes().all(|c| c.is_ascii_graphic()), "{printed}");
        let again: KeyUri = printed.parse().unwrap();
        assert_eq!(again.bytes("name"), Some(name.as_bytes()));
        assert_eq!([again.bytes("path"), again.bytes("object")], [None, None], "{printed}");
        if let Some(other) = spellings.insert(printed, name.clone()) {
            assert_eq!(other, name, "two names are written alike");
        }
        // As it is, it is that name, another attribute's error, or no name at all; nothing of it is ever a path.
        for uri in [Some(uri), format!("soft:name={name}").parse().ok()].into_iter().flatten() {
            assert!(block_on(vault.signing().unwrap().open(&uri)).is_err(), "{uri}");
        }
        around.is_untouched();
    }
}

#[test]
fn names_in_a_home_are_records_of_their_own() {
    let around = Around::new();
    let home = Home::open(around.home()).unwrap();
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let key = signer(&vault, "key");
    let identity = block_on(Identity::create(&key, Validity::of_primary_key(NOW))).unwrap();
    let writer = home.write().unwrap();
    let (mut identities, mut projects) = (BTreeSet::new(), BTreeSet::new());
    for text in hostile() {
        if let Ok(name) = Name::new(&text) {
            home.store_identity(&writer, &name, &IdentityRecord::new(&identity, None, None)).unwrap();
            identities.insert(text.clone());
        }
        let project = ProjectRecord {
            identifier: text.clone(),
            name: text.clone(),
            project_route: String::new(),
            project_change_history: String::new(),
            authority_route: "http://127.0.0.1:1".to_owned(),
            authority_change_history: identity.to_hex(),
            authority_ca: None,
        };
        match home.store_project(&writer, &project) {
            Ok(()) => {
                projects.insert(text);
            }
            Err(error) => assert_eq!(error.kind(), home::Kind::Invalid, "{error}"),
        }
        around.is_untouched();
    }
    let stored = |names: Vec<Name>| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(stored(home.identities().unwrap().into_iter().map(|(name, _)| name).collect()), identities);
    assert_eq!(stored(home.projects().unwrap().into_iter().map(|(name, _)| name).collect()), projects);
    assert!(identities.len() > 20 && identities == projects);
    // What was stored under a name reads back under no other.
    for (_, project) in home.projects().unwrap() {
        assert_eq!(home.project_or_default(Some(&project.identifier)).unwrap(), project);
    }
}

/// A ticket's text holds what it was given, or it is no ticket.
#[test]
fn names_in_a_ticket_move_no_field() {
    let code = "0".repeat(64);
    for name in hostile() {
        let text = ticket::TicketText {
            project_route: "/service/p".to_owned(),
            project_identifier: "p".to_owned(),
            project_node: String::new(),
            project_name: name.clone(),
            code: code.clone(),
            project_change_history: String::new(),
            authority_change_history: "81".to_owned(),
            authority_route: "http://127.0.0.1:1".to_owned(),
        };
        let Ok(text) = text.checked() else {
            assert!(
                name.contains([',']) || name.chars().any(char::is_control) || name.trim() != name,
                "{name:?}"
            );
            continue;
        };
        for form in
            [text.fields().to_string(), text.json().unwrap().to_string(), hex::encode(&*text.fields())]
        {
            assert!(ticket::TicketText::parse(&form).unwrap() == text, "{name:?}");
        }
    }
}

/// A name in a policy is the name of that attribute, or the text is refused: none is another's, none is more than a name, and
/// what is printed is what was read.
#[test]
fn names_in_a_policy_are_the_names_of_attributes() {
    const SUBJECT: &str = "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c";
    let names = hostile();
    // A subject with every attribute there can be, but for one: each of the value `true`.
    let with_all_but = |left_out: &str| {
        let others = names.iter().filter(|name| *name != left_out && check_attribute(name, "true").is_ok());
        Env::for_subject(SUBJECT, others.map(|name| (name, "true"))).unwrap()
    };
    let (mut named, mut printed) = (0, BTreeMap::new());
    for name in &names {
        let full = |policy: &str| policy.replace('@', name);
        for text in [
            name.clone(),
            full("not @"),
            full("(= subject.@ \"true\")"),
            full("(and true (exists? subject.@))"),
        ] {
            let shown: String = text.chars().take(60).collect::<String>().escape_debug().to_string();
            let policy = match Policy::parse(&text) {
                Ok(policy) => policy,
                Err(error) => {
                    let words = error.to_string();
                    // It points at the place, in lines of its own.
                    let is_control = |c: char| c.is_control() && c != '\n';
                    assert!(words.len() < 2000 && !words.contains(is_control), "{shown}: {words:?}");
                    assert!(words.lines().count() <= 4, "{shown}: {words:?}");
                    let refused = EnrolmentPolicy::new(&text, Anchors::none()).unwrap_err();
                    assert_eq!(refused.kind(), authority::Kind::Invalid);
                    continue;
                }
            };
            EnrolmentPolicy::new(&text, Anchors::none()).unwrap();
            let print = policy.to_string();
            assert!(!print.contains(char::is_control), "{print:?}");
            assert_eq!(Policy::parse(&print).unwrap().to_string(), print, "{shown}");
        }
        // What reads as a comparison of one attribute is about this one and no other. White space ends a name here as it
        // does in a credential, where no name can have any.
        let text = full("(= subject.@ \"true\")");
        if let (Ok(policy), Ok(())) = (Policy::parse(&text), check_attribute(name, "true")) {
            let alone = Env::for_subject(SUBJECT, [(name, "true")]);
            let allows = alone.is_ok_and(|alone| policy.decide(&alone) == Decision::Allow);
            assert_eq!(policy.decide(&with_all_but(name)), Decision::Deny, "{name:?}");
            if allows {
                named += 1;
                assert_eq!(printed.insert(policy.to_string(), name), None, "two names are printed alike");
            }
        }
        // Between quotes it is a value, as long as it does not end them itself.
        if !name.contains(['"', '\\']) {
            let Ok(policy) = Policy::parse(&full("(= subject.role \"@\")")) else { continue };
            let role = |role: &str| policy.decide(&Env::for_subject(SUBJECT, [("role", role)]).unwrap());
            assert_eq!(role(name), Decision::Allow, "{name:?}");
            assert!(
                ["", "x", "true", "\0"].iter().all(|other| other == name || role(other) == Decision::Deny)
            );
        }
    }
    assert!(named > 20, "{named}");
}

fn signer(vault: &Arc<dyn Vault>, name: &str) -> Signer {
    let spec = KeySpec::ed25519(KeyName::new(name).unwrap());
    Signer::bind(Arc::clone(vault), block_on(vault.signing().unwrap().generate(&spec)).unwrap()).unwrap()
}

/// An authority that gives attributes of hostile names: each row of its log is one line that says what it says.
#[tokio::test]
async fn names_of_attributes_write_no_rows() {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let (root, credentials) = (signer(&vault, "root"), signer(&vault, "credentials"));
    let issuer = Identity::create(&root, Validity::of_primary_key(NOW)).await.unwrap();
    let purpose = PurposeKey::Credential(credentials.public().clone());
    let year = Validity::starting(NOW, 365 * 86_400);
    let attestation = PurposeKeyAttestation::attest(&issuer, &root, &purpose, year).await.unwrap();
    let keys = IssuerKeys::new(issuer.clone(), credentials, attestation, Vec::new(), NOW).unwrap();
    let enroller =
        Identity::create(&signer(&vault, "enroller"), Validity::of_primary_key(NOW)).await.unwrap();
    let mut settings = Settings::new("p");
    let role = MemberAttributes::of([("ockam-role", "enroller")]).unwrap();
    settings.pre_trusted.insert(enroller.identifier(), role);
    let store = Arc::new(MemoryStore::new(issuer.identifier(), NOW).unwrap());
    let clock = Arc::new(ManualClock::new(NOW));
    let authority = Authority::open(store.clone(), keys, settings, clock).await.unwrap();
    let enroller = authority.meet(enroller).await.unwrap();
    let rows = |store: &Arc<MemoryStore>| -> Vec<String> {
        audit::export(store.clone()).map(Result::unwrap).collect()
    };
    let before = rows(&store).len();
    let (mut given, mut members) = (Vec::new(), 0_u16);
    for name in hostile() {
        if let Err(error) = check_attribute(&name, "hidden-value") {
            let words = error.to_string();
            assert!(
                words.len() < 800 && !words.contains(char::is_control) && !words.contains("hidden-value"),
                "{words}"
            );
            continue;
        }
        members += 1;
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&members.to_be_bytes());
        let attributes = MemberAttributes::of([(name.as_str(), "hidden-value")]).unwrap();
        authority.add_member(&enroller, Identifier::from_bytes(bytes), attributes).await.unwrap();
        given.push(name);
    }
    assert!(given.len() > 200, "{}", given.len());
    let lines = rows(&store);
    assert_eq!(lines.len(), before + given.len(), "a row each");
    audit::verify(&lines, None).unwrap();
    for (line, name) in lines[before..].iter().zip(&given) {
        assert!(!line.contains(char::is_control) && line.lines().count() == 1, "{line:?}");
        assert!(!line.contains("hidden-value"));
        let row: audit::AuditRow = serde_json::from_str(line).unwrap();
        let cut: String = name.chars().take(40).collect();
        assert_eq!((row.outcome.as_str(), row.details), ("done", cut));
    }
}

/// The arguments of a verb that takes a name, and whether what the name stands for is then made.
const VERBS: &[(&[&str], bool)] = &[
    (&["vault", "create"], true),
    (&["identity", "create"], true),
    (&["key", "generate"], true),
    (&["vault", "show"], false),
    (&["identity", "default"], false),
    (&["node", "stop"], false),
];

/// Through the program itself, a sample: each sixth of the names, and each verb.
#[test]
fn names_that_are_typed_are_names_or_refused() {
    let kms = Kms::new();
    assert_eq!(kms.run_apart(&["identity", "create"], b"").code, 0);
    let parent = kms.home().parent().unwrap().to_owned();
    let before = paths(&parent, &kms.home());
    let all = hostile_arguments();
    let sample: Vec<_> = all.iter().step_by(all.len() / 40).collect();
    assert!(sample.len() >= 40);
    for (n, name) in sample.into_iter().enumerate() {
        let (verb, makes) = VERBS[n % VERBS.len()];
        let state = kms.state();
        // After `--`, as whoever calls it with a name that is not theirs has to.
        let ran = kms.run_apart(&[verb, &["--output", "json", "--", name]].concat(), b"");
        let shown = name.escape_debug().to_string();
        match ran.code {
            0 => assert!(
                makes && Name::new(name).is_ok() || ran.json()["name"] == name.as_str(),
                "{verb:?} {shown}"
            ),
            code => {
                assert!([64, 66, 73].contains(&code), "{verb:?} {shown}: {code} {}", ran.stdout);
                assert_eq!(kms.state(), state, "{verb:?} {shown}");
                let error = &ran.json()["error"];
                let message = error["message"].as_str().unwrap();
                let cut: String = name.chars().take(20).collect::<String>().escape_debug().to_string();
                assert!(message.contains(&cut), "{verb:?}: `{message}` does not name {shown}");
                assert!(!message.contains(|c: char| c.is_control()) && message.len() < 1500, "{message:?}");
                assert!(!error["hint"].as_str().unwrap().is_empty());
                // A name that is good names nothing here; one that is bad is refused as such.
                assert_eq!(code == 64, Name::new(name).is_err(), "{verb:?} {shown}: {message}");
            }
        }
        assert_eq!(paths(&parent, &kms.home()), before, "{verb:?} {shown}");
    }
}

/// A server that is asked for every one of them, as it is and percent-encoded, in the path, the query and a header: its log is
/// as many lines as it has things to say, and each is its own.
#[test]
fn names_that_are_asked_for_write_no_lines_in_the_log() {
    let mut kms = Kms::new();
    kms.set("OCKAM_KMS_LOG", "debug");
    // There is a vault, so that nothing is noted on the way.
    kms.run(&["vault", "create"]).code(0);
    let create = ["authority", "create", "--project-identifier", "p", "--trusted-identities", "{}"];
    kms.run(&[&create[..], &["--http-address", "127.0.0.1:0"]].concat()).code(0);
    let shown = kms.run_apart(&["authority", "show", "--output", "json"], b"").code(0).json();
    let address = shown["http_address"].as_str().unwrap().to_owned();
    let before = paths(kms.home().parent().unwrap(), &kms.home());
    let encoded = |name: &str| name.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let mut statuses = BTreeMap::new();
    for name in hostile() {
        // Raw bytes that end a line would end the request: as they are they go no further than the HTTP library.
        let raw: String = name.chars().filter(|c| !matches!(c, '\r' | '\n')).take(2000).collect();
        for target in
            [format!("/v1/members/{}", encoded(&raw)), format!("/{raw}"), format!("/v1/members?after={raw}")]
        {
            let request = format!(
                "GET {target} HTTP/1.1\r\nhost: x\r\nockam-identity: {raw}\r\nconnection: close\r\n\r\n"
            );
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // One that is refused before its end may be cut off.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
            assert!(status == "none" || status.starts_with('4'), "{target:?}: {answer}");
            let head = answer.split("\r\n\r\n").next().unwrap();
            assert!(!head.to_ascii_lowercase().contains("set-cookie"), "{target:?}: {head}");
            *statuses.entry(status).or_insert(0_u32) += 1;
        }
    }
    assert!(
        statuses.values().sum::<u32>() > 1500 && statuses.contains_key("401") && statuses.contains_key("404"),
        "{statuses:?}"
    );
    let log = std::fs::read(kms.home().join("servers/authority-p.log")).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.lines().count() > 1000, "{}", log.lines().count());
    // What `authority create` waits for stands there too, once.
    let (told, log): (Vec<_>, Vec<_>) = log.lines().partition(|line| line.starts_with('{'));
    assert!(matches!(told[..], [one] if one.contains("\"is_authority\":true")), "{told:?}");
    for line in &log {
        // The time, the level.
        let mut words = line.split_whitespace();
        let time = words.next().unwrap_or_default();
        assert!(time.len() > 20 && time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&words.next().unwrap_or_default()), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
    for forged in ["forged", "owned", "/etc/passwd"] {
        assert!(!log.iter().any(|line| line.contains(forged)), "what was asked for is in the log: {forged}");
    }
    assert_eq!(paths(kms.home().parent().unwrap(), &kms.home()), before);
}
