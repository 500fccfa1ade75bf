//! docs/formats.md says what the code does: its tables of reasons and limits are the code's own.

use identity::{
    ATTESTATION_SECONDS, DEFAULT_OVERLAP_SECONDS, MAX_ATTESTATIONS, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES,
    MAX_BYTES, MAX_CHANGES, REQUEST_KEY_SECONDS, RESERVED_NAMES, Refusal, SKEW_SECONDS, Validity,
};

const FORMATS: &str = include_str!("../../../docs/formats.md");

/// The rows of the table that follows a heading, as their cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = FORMATS.split_once(&format!("## {heading}\n")).unwrap();
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_reason_is_in_the_table_in_these_words() {
    let rows: Vec<_> = table("What verifying checks");
    let expected: Vec<_> = Refusal::ALL
        .iter()
        .map(|refusal| vec![format!("`{}`", refusal.code()), refusal.words().to_owned()])
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_limit_is_in_the_table() {
    let values: Vec<u64> = table("Limits").iter().map(|row| row[1].parse().unwrap()).collect();
    let sizes = [MAX_BYTES, MAX_CHANGES, MAX_ATTRIBUTES, MAX_ATTRIBUTE_BYTES, MAX_ATTESTATIONS];
    let seconds = [REQUEST_KEY_SECONDS, SKEW_SECONDS];
    let expected: Vec<_> = sizes.into_iter().map(|size| size as u64).chain(seconds).collect();
    assert_eq!(values, expected);
}

#[test]
fn what_is_stricter_is_in_the_table() {
    let rows = table("Where ours is stricter than the reference");
    let ours: Vec<_> = rows.iter().map(|row| row[1]).collect();
    assert_eq!(ours, ["`trailing-bytes`", "`too-large`", "`signature`"]);
    for limit in [MAX_BYTES, MAX_CHANGES, MAX_ATTRIBUTES] {
        assert!(rows[1][0].contains(&limit.to_string()), "{limit}");
    }
}

#[test]
fn numbers_in_the_prose_are_the_codes() {
    let year = 365 * 86_400;
    assert_eq!((ATTESTATION_SECONDS, Validity::PRIMARY_KEY_SECONDS), (5 * year, 10 * year));
    for said in [
        format!("overlap ({DEFAULT_OVERLAP_SECONDS} seconds unless it is set"),
        format!("(created more than {SKEW_SECONDS} seconds after now)"),
        format!("named `{}` or `{}`", RESERVED_NAMES[0], RESERVED_NAMES[1]),
        "Attestations run for five years and changes for ten".to_owned(),
    ] {
        assert!(FORMATS.contains(&said), "{said}");
    }
}
