//! Whatever is done to an exported log is noticed, when its head is known.

use std::sync::Arc;

use crate::common::{World, attributes, memory};
use authority::audit::{AuditHead, AuditRow, verify};
use proptest::prelude::*;

/// A real log of 24 rows, made once.
fn log() -> &'static (Vec<String>, AuditHead) {
    static LOG: std::sync::OnceLock<(Vec<String>, AuditHead)> = std::sync::OnceLock::new();
    LOG.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new(memory).await;
            let enroller = world.enroller().await;
            for n in 0..21_u8 {
                let id = identity::Identifier::from_bytes([n; 32]);
                world.authority.add_member(&enroller, id, attributes(&[("colour", "red")])).await.unwrap();
            }
            let head = authority::audit::head(&*world.held.store).unwrap();
            let lines: Vec<_> =
                authority::audit::export(Arc::clone(&world.held.store)).map(Result::unwrap).collect();
            assert_eq!(lines.len(), 24);
            (lines, head)
        })
    })
}

/// A row whose hash fits what it says: what somebody makes who knows how.
fn resealed(mut row: AuditRow) -> String {
    row.hash = row.computed_hash();
    serde_json::to_string(&row).unwrap()
}

#[test]
fn the_log_itself_is_good() {
    let (lines, head) = log();
    let proof = verify(lines, Some(head)).unwrap();
    assert_eq!((proof.rows(), proof.head()), (24, head));
    // A head of an earlier moment fits too: the log has only grown.
    for (number, line) in lines.iter().enumerate() {
        let row: AuditRow = serde_json::from_str(line).unwrap();
        verify(lines, Some(&row.head())).unwrap();
        let shorter = verify(&lines[..number], Some(&row.head())).unwrap_err();
        assert_eq!(shorter.line, u64::try_from(number).unwrap() + 1);
    }
    assert!(verify(Vec::<String>::new(), None).unwrap().rows() == 0);
}

#[test]
fn a_log_that_is_forged_as_a_whole_does_not_have_the_head() {
    let (lines, head) = log();
    let (mut forged, mut previous) = (Vec::new(), AuditHead::start());
    for line in lines {
        let mut row: AuditRow = serde_json::from_str(line).unwrap();
        row.actor = row.actor.replace("operator", "somebody");
        row.previous = previous.hash;
        let line = resealed(row);
        previous = serde_json::from_str::<AuditRow>(&line).unwrap().head();
        forged.push(line);
    }
    verify(&forged, None).unwrap();
    assert_eq!(verify(&forged, Some(head)).unwrap_err().line, 24);
}

#[test]
fn there_is_one_way_to_write_a_row() {
    let (lines, _) = log();
    let line = &lines[0];
    let spaced = line.replacen("\":", "\": ", 1);
    let twice = line.replacen('{', r#"{"sequence":1,"#, 1);
    let more = line.replacen('{', r#"{"note":"x","#, 1);
    let escaped = line.replacen("operator", "\\u006fperator", 1);
    let upper = line.replace("\"hash\":\"", "\"hash\":\"A");
    for bad in [spaced, twice, more, escaped, upper, format!("{line} "), String::new(), "x".repeat(100_000)] {
        assert_eq!(verify([&bad], None).unwrap_err().line, 1, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn one_byte_changed(line in 0..24_usize, at in any::<prop::sample::Index>(), to in 32..127_u8) {
        let (mut lines, head) = log().clone();
        let mut bytes = lines[line].clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        lines[line] = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&lines, Some(&head)).is_err());
        prop_assert_eq!(verify(&lines, None).unwrap_err().line, u64::try_from(line).unwrap() + 1);
    }

    #[test]
    fn rows_edited_with_their_hash(line in 0..24_usize, field in 0..5_u8, text in "[a-z]{1,8}", at in any::<u64>()) {
        let (mut lines, head) = log().clone();
        let mut row: AuditRow = serde_json::from_str(&lines[line]).unwrap();
        let before = row.clone();
        match field {
            0 => row.at = identity::Timestamp(at),
            1 => row.actor = text,
            2 => row.object = text,
            3 => row.details = text,
            _ => row.outcome = text,
        }
        prop_assume!(row != before);
        lines[line] = resealed(row);
        prop_assert!(verify(&lines, Some(&head)).is_err());
    }

    #[test]
    fn rows_removed(from in 0..24_usize, count in 1..24_usize) {
        let (mut lines, head) = log().clone();
        let to = (from + count).min(24);
        lines.drain(from..to);
        prop_assert!(verify(&lines, Some(&head)).is_err());
    }

    #[test]
    fn rows_exchanged(a in 0..24_usize, b in 0..24_usize) {
        prop_assume!(a != b);
        let (mut lines, head) = log().clone();
        lines.swap(a, b);
        prop_assert!(verify(&lines, Some(&head)).is_err());
    }

    #[test]
    fn rows_inserted(at in 0..=24_usize, of in 0..24_usize, text in "[a-z]{1,8}", fits in any::<bool>()) {
        let (mut lines, head) = log().clone();
        let mut row: AuditRow = serde_json::from_str(&lines[of]).unwrap();
        row.details = text;
        if fits {
            // As well as it can be made to fit: its number and what it says of the row before.
            row.sequence = u64::try_from(at).unwrap() + 1;
            let before = at.checked_sub(1).map(|before| serde_json::from_str::<AuditRow>(&lines[before]).unwrap());
            row.previous = before.map_or_else(|| AuditHead::start().hash, |before| before.hash);
        }
        lines.insert(at, resealed(row));
        let verified = verify(&lines, Some(&head));
        // At the very end it is a row that was appended after the head was taken: nobody can tell by an old head.
        prop_assert_eq!(verified.is_ok(), fits && at == 24);
    }

    #[test]
    fn anything_else(lines in proptest::collection::vec(".{0,200}", 1..4)) {
        prop_assert!(verify(&lines, None).is_err());
        let head = AuditHead { sequence: 3, hash: "0".repeat(64) };
        prop_assert!(verify(&lines, Some(&head)).is_err());
    }
}
