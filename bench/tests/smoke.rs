//! Every row runs, and what its contenders make and accept is right. How long it takes is nobody's business here.

use std::collections::BTreeSet;

use bench::softhsm::{Process, Token};
use bench::{Plan, all_rows, measure};

#[test]
fn every_contender_of_every_row_is_right() {
    let token = match Token::enter().unwrap() {
        Process::Done(status) => return assert!(status.success(), "the second process failed: {status}"),
        Process::Inside(token) => token.expect("the rows on a token need SoftHSM: scripts/setup"),
    };
    let (rows, module) = all_rows(Ok(&token), |_| true).unwrap();
    assert!(module.unwrap().contains("SoftHSM"));
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names.len(), rows.len(), "two rows of one name");
    let count = |part: &str| names.iter().filter(|name| name.contains(part)).count();
    assert_eq!((count("in software"), count("on a token")), (4, 8));
    assert_eq!(
        (count("verify an identity"), count("issue a credential"), count("verify a credential")),
        (4, 4, 4)
    );
    assert_eq!((count("open a channel"), count("through a channel")), (1, 3));
    // Channels are opened with Ed25519 alone: what else a handshake costs is the same.
    assert_eq!(count("ed25519"), count("p256") + 1);
    for mut row in rows {
        assert!(row.contenders.len() > 1, "{} compares nothing", row.name);
        let measured =
            measure(&mut row.contenders, Plan::smoke()).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        let callers = if row.name.contains("64 callers") { 64 } else { 1 };
        for one in measured {
            assert_eq!(one.operations, callers, "{}: {}", row.name, one.name);
            assert!(one.nanos.median > 0.0, "{}: {}", row.name, one.name);
        }
    }
}
