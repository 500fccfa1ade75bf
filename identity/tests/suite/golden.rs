//! Golden files.

use std::path::PathBuf;

/// Compares a table with its golden file, line by line.
pub(crate) fn check(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let mut lines = expected.lines();
    for (number, line) in actual.lines().enumerate() {
        assert_eq!(
            lines.next(),
            Some(line),
            "{name}, line {}: read the difference, then record it with UPDATE_GOLDEN=1",
            number + 1
        );
    }
    assert_eq!(lines.next(), None, "{name} has more lines");
}
