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

    /// One step: its exit code, and what `show` takes of what it printed.
    fn step(&mut self, who: &str, arguments: &[&str], input: &str, show: impl FnOnce(&Ran) -> String) -> Ran {
        let ran = self.run(who, arguments, input);
        let shown = if ran.code == 0 { show(&ran) } else { String::new() };
        self.told.push(format!("{who} {}: {} {shown}", arguments.join(" "), ran.code));
        ran
    }

    fn quiet(&mut self, who: &str, arguments: &[&str]) -> Ran {
        self.step(who, arguments, "", |_| String::new())
    }

    fn enrols(&mut self, who: &str, ticket: &str) -> Ran {
        self.step(who, &["project", "enroll", "-", "--output", "json"], ticket, |ran| {
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
    let used = asking.enrols("dave", &ticket);
    assert!(used.stderr.to_lowercase().contains("unknown enrollment token"), "{}", used.stderr);
    assert!(used.stderr.contains("hint"), "{}", used.stderr);
    let short = ["project", "ticket", "--expires-in", "1s"];
    let short = asking.run("alice", &short, "").code(0).stdout;
    asking.expires("dave", &short);

    // A member may do none of it, an enroller all of it.
    let other = format!("I{}", "22".repeat(32));
    for (who, id) in [("bob", other.as_str()), ("alice", other.as_str()), ("alice", other.as_str())] {
        let add = ["project-member", "add", id, "-a", "team=a,b", "-a", "ü", "--enroller", "--relay", "r"];
        asking.quiet(who, &add);
        asking.step(who, &["project-member", "show", id, "--output", "json"], "", attributes);
        asking.step(who, &["project-member", "list-ids", "--output", "json"], "", |ran| {
            ran.json().as_array().unwrap().len().to_string()
        });
        asking.step(who, &["project-member", "list", "--output", "json"], "", |ran| {
            let mut all: Vec<_> = ran
                .json()
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["attributes"]["attributes"].to_string())
                .collect();
            all.sort();
            all.join(" ")
        });
        asking.step(who, &["project-member", "list", "--enroller", "--output", "json"], "", |ran| {
            ran.json().as_array().unwrap().len().to_string()
        });
        for _ in 0..2 {
            asking.quiet(who, &["project-member", "delete", id]);
        }
        asking.quiet(who, &["project-member", "show", id]);
    }
    let shown =
        asking.run("alice", &["project-member", "show", &carol, "--output", "json"], "").code(0).json();
    let alice = asking.run("alice", &["identity", "show", "alice"], "").code(0).stdout;
    assert_eq!(shown["attributes"]["attested_by"].as_str(), Some(alice.as_str()), "{shown}");
    asking.quiet("alice", &["project-member", "delete", &alice]);
    asking.quiet("bob", &["project-member", "delete", "--all"]);
    asking.quiet("alice", &["project-member", "delete", "--all"]);
    asking.step("alice", &["project-member", "list-ids", "--output", "json"], "", |ran| {
        ran.json().as_array().unwrap().len().to_string()
    });
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
        let told = told.map(|told| told.into_iter().map(|t| t.replace('\n', " ")).collect::<Vec<_>>());
        assert_eq!(told[0], told[1], "theirs, and ours");

        // What their authority cannot do is said so.
        for more in [&["--list"][..], &["--revoke", "0123456789abcdef"]] {
            let refused = program.run("theirs-alice", &[&["project", "ticket"], more].concat(), "");
            assert!(refused.code != 0 && refused.stderr.contains("neither lists nor revokes"), "{refused:?}");
        }
        let known = program.run("theirs-bob", &["project", "show", "--output", "json"], "").code(0).json();
        assert_eq!(known["id"], Value::from(PROJECT));
    });
}
