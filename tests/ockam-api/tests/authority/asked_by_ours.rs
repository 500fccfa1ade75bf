//! Our program asks the published authority and ours the same things.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ockam_identity::models::Identifier;
use serde_json::Value;

use crate::program::{Program, Ran};
use crate::world::{PROJECT, Place, in_node, ours, theirs};

/// Who asks which authority. Everybody has a home for each of the two.
struct Asking<'a> {
    program: &'a Program,
    place: &'a Place,
    side: &'a str,
    /// What came of each step, in words that are the same whoever was asked.
    told: Vec<String>,
}

impl Asking<'_> {
    fn home(&self, who: &str) -> String {
        format!("{}-{who}", self.side)
    }

    fn run(&self, who: &str, arguments: &[&str], input: &str) -> Ran {
        self.program.run(&self.home(who), arguments, input)
    }

    /// One step: what `show` takes of what it printed, or the kind of error.
    fn step(&mut self, who: &str, arguments: &[&str], input: &str, show: impl FnOnce(&Ran) -> String) -> Ran {
        let ran = self.run(who, &[arguments, &["--output", "json"]].concat(), input);
        let shown = if ran.code == 0 { show(&ran) } else { ran.json()["error"]["kind"].to_string() };
        self.told.push(format!("{who} {}: {} {shown}", arguments.join(" "), ran.code));
        ran
    }

    fn quiet(&mut self, who: &str, arguments: &[&str]) {
        self.step(who, arguments, "", |_| String::new());
    }

    fn counts(&mut self, who: &str, arguments: &[&str]) {
        self.step(who, arguments, "", |ran| ran.json().as_array().unwrap().len().to_string());
    }

    fn enrols(&mut self, who: &str, ticket: &str) -> Ran {
        self.step(who, &["project", "enroll", "-"], ticket, |ran| {
            let told = ran.json();
            format!("{} {}", told["project_name"], told["credential"].is_string())
        })
    }

    fn expires(&self, who: &str, ticket: &str) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let made = now();
        while now() < made + Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let refused = self.run(who, &["project", "enroll", "-"], ticket).code(77);
        assert!(refused.stderr.to_lowercase().contains("unknown enrollment token"), "{}", refused.stderr);
    }
}

fn attributes(ran: &Ran) -> String {
    let member = ran.json();
    member["attributes"]["attributes"].to_string()
}

/// Somebody whom no authority has seen.
const NOBODY: &str = "I2222222222222222222222222222222222222222222222222222222222222222";

/// A credential that was got is one by the reference's rule, and says this.
fn verified(asking: &Asking<'_>, enrolled: &Ran, wanted: &[(&str, &str)]) {
    let enrolled = enrolled.json();
    let (hex, subject) = (enrolled["credential"].as_str().unwrap(), enrolled["identity"].as_str().unwrap());
    let verify = |subject: &str| {
        let by = ["--issuer", &asking.place.history, "--rule", "reference", "--subject", subject];
        let verify = ["credential", "verify", "--credential", hex, "--exit-code"];
        asking.run("other", &[&verify[..], &by].concat(), "").code
    };
    let another = asking.place.identifier.to_string();
    assert_eq!((verify(subject), verify(&another)), (0, 65), "good, and good for nobody else");
    let show = ["credential", "show", "--credential", hex, "--output", "json"];
    let shown = asking.run("other", &show, "").code(0).stdout;
    for (name, value) in wanted.iter().chain(&[("trust_context_id", PROJECT)]) {
        assert!(shown.contains(&format!("\"{name}\"")) && shown.contains(&format!("\"{value}\"")), "{shown}");
    }
}

fn everything(asking: &mut Asking<'_>) {
    let place = asking.place.clone();
    let to = ["--authority-route", &place.route, "--authority-identity", &place.history];
    let forms = ["-a", "role=member", "-a", "flag", "-a", "pair=a=b, c", "--relay", "web", "--tls"];
    let make = ["project", "ticket", "--usage-count", "2", "--expires-in", "5m", "--output", "json"];
    let made = asking.run("alice", &[&make[..], &forms, &to].concat(), "").code(0).json();
    let ticket = made["ticket"].as_str().unwrap().to_owned();
    assert_eq!(made["authority_route"], place.route.as_str());

    let wanted = [
        ("role", "member"),
        ("flag", "true"),
        ("pair", "a=b, c"),
        ("ockam-relay", "web"),
        ("ockam-tls-certificate", "true"),
    ];
    let enrolled = asking.enrols("bob", &ticket);
    verified(asking, &enrolled, &wanted);
    let again = asking.enrols("bob", &ticket);
    assert!(again.stderr.contains("already a member"), "{}", again.stderr);
    verified(asking, &again, &wanted);
    let carol = asking.enrols("carol", &ticket);
    let carol = carol.json()["identity"].as_str().unwrap().to_owned();
    let used = asking.enrols("dave", &ticket).code(77).json();
    let told = |part: &str| used["error"][part].as_str().unwrap_or_default().to_lowercase();
    assert!(
        told("message").contains("unknown enrollment token") && told("hint").contains("ticket"),
        "{used}"
    );
    let short = ["project", "ticket", "--expires-in", "1s"];
    let short = asking.run("alice", &short, "").code(0).stdout;
    asking.expires("dave", &short);

    // A member may do none of it, an enroller all of it.
    for who in ["bob", "alice"] {
        let id = NOBODY;
        let add = ["project-member", "add", id, "-a", "team=a,b", "-a", "ü", "--enroller", "--relay", "r"];
        asking.quiet(who, &add);
        asking.step(who, &["project-member", "show", id], "", attributes);
        asking.counts(who, &["project-member", "list-ids"]);
        asking.step(who, &["project-member", "list"], "", |ran| {
            let list = ran.json();
            let mut all: Vec<_> =
                list.as_array().unwrap().iter().map(|m| m["attributes"]["attributes"].to_string()).collect();
            all.sort();
            all.join(" ")
        });
        asking.counts(who, &["project-member", "list", "--enroller"]);
        asking.quiet(who, &["project-member", "delete", id]);
        asking.quiet(who, &["project-member", "show", id]);
    }
    let shown =
        asking.run("alice", &["project-member", "show", &carol, "--output", "json"], "").code(0).json();
    let alice = asking.run("alice", &["identity", "show", "alice"], "").code(0).stdout;
    assert_eq!(shown["attributes"]["attested_by"].as_str(), Some(alice.as_str()), "{shown}");
    asking.run("alice", &["project-member", "delete", &alice], "").code(77);
    asking.quiet("bob", &["project-member", "delete", "--all"]);
    asking.quiet("alice", &["project-member", "delete", "--all"]);
    asking.counts("alice", &["project-member", "list-ids"]);
    asking.quiet("bob", &["project", "enroll"]);
}

#[test]
fn our_program_gets_from_theirs_what_it_gets_from_ours() {
    in_node(|context| async move {
        let program = Program::new();
        let enroller = |side: &str| {
            let create = ["identity", "create", "alice"];
            let created = program.run(&format!("{side}-alice"), &create, "").code(0).stdout;
            Identifier::try_from(created.as_str()).unwrap()
        };
        let by_theirs = theirs(&context, &[enroller("theirs")]).await;
        let by_ours = ours(&program, &[enroller("ours")]).await;
        let told = [("theirs", &by_theirs), ("ours", &by_ours)].map(|(side, place)| {
            let mut asking = Asking { program: &program, place, side, told: Vec::new() };
            everything(&mut asking);
            asking.told
        });
        assert_eq!(told[0], told[1], "theirs, and ours");
        assert!(told[0].len() > 20, "{told:?}");

        // Ours tells who asks for it that there was nothing to delete, as docs/formats.md says.
        for (home, code) in [("theirs-alice", 0), ("ours-alice", 66)] {
            program.run(home, &["project-member", "delete", NOBODY], "").code(code);
        }
        // Nobody is taken for another authority than the one that is pinned.
        let to = ["--authority-route", &by_theirs.route, "--authority-identity", &by_ours.history];
        let list = [&["project-member", "list"], &to[..]].concat();
        let refused = program.run("ours-alice", &list, "").code(65);
        assert!(refused.stderr.contains("somebody else answers"), "{}", refused.stderr);
        // What their authority cannot do is said so.
        for more in [&["--list"][..], &["--revoke", "0123456789abcdef"]] {
            let refused = program.run("theirs-alice", &[&["project", "ticket"], more].concat(), "");
            assert!(refused.code != 0 && refused.stderr.contains("neither lists nor revokes"), "{refused:?}");
        }
        let known = program.run("theirs-bob", &["project", "show", "--output", "json"], "").code(0).json();
        assert_eq!(known["id"], Value::from(PROJECT));
    });
}
