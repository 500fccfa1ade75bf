//! A few members enrol, and both servers do what their lines say. How long it takes is nobody's business here.

use bench_server::{Cfssl, Crowd, Fleet, Site, Work};

#[test]
fn every_member_gets_a_credential_and_no_request_is_good_twice() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start(directory.path()).unwrap();
    let fleet = Fleet::new(6).unwrap();
    for once in [true, false] {
        let members = fleet.sign(&site, once).unwrap();
        let work: Vec<_> = members.iter().map(Work::enrol_and_issue).collect();
        let crowd = Crowd { to: site.address(), connections: 2 };
        if !once {
            // They are members already.
            assert!(crowd.run(&work).unwrap_err().to_string().contains("409"));
            continue;
        }
        let before = site.writes();
        let measured = crowd.run(&work).unwrap();
        assert_eq!(measured.latencies.len(), members.len());
        for (member, answer) in members.iter().zip(&measured.answers) {
            site.check(member, answer).unwrap();
        }
        site.check(&members[0], &measured.answers[1]).unwrap_err();
        let after = site.writes();
        // Spending a ticket, an intent to issue and what was issued.
        assert!(after.commands - before.commands >= 18.0, "{before:?} {after:?}");
        assert!(after.commits > before.commits);
        assert!(crowd.run(&work).is_err(), "the same requests again");
    }
}

#[test]
fn cfssl_signs() {
    let directory = tempfile::tempdir().unwrap();
    let cfssl = match Cfssl::start(directory.path()) {
        Ok(cfssl) => cfssl,
        Err(why) => panic!("{why}: `scripts/setup --bench` installs it"),
    };
    let work = [Work::certificate(&cfssl), Work::certificate(&cfssl)];
    let measured = Crowd { to: cfssl.address(), connections: 2 }.run(&work).unwrap();
    measured.answers.iter().for_each(|answer| Cfssl::check(answer).unwrap());
    Cfssl::check(b"{}").unwrap_err();
}
