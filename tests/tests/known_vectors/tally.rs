//! What ran and what did not, and why: kept on record.

use std::fmt::Write as _;
use std::path::Path;

/// How the vectors of one set fared at one door.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) refused: usize,
    skipped: Vec<(&'static str, usize)>,
    /// Refused although it is valid, and why.
    different: Option<&'static str>,
}

impl Tally {
    pub(crate) fn skip(&mut self, why: &'static str) {
        match self.skipped.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((why, 1)),
        }
    }

    /// Counts the one vector that is refused although it is valid.
    pub(crate) fn differ(&mut self, what: &'static str) {
        assert!(self.different.replace(what).is_none(), "one of them is known, and this is another");
        self.refused += 1;
    }

    /// `least`: fewer may never run, whatever is recorded.
    fn line(&self, door: &str, total: usize, least: usize) -> String {
        let ran = self.right + self.refused;
        let skipped: usize = self.skipped.iter().map(|(_, count)| count).sum();
        assert_eq!(ran + skipped, total, "{door}: every vector is counted once");
        assert!(ran >= least, "{door}: {ran} ran");
        let Self { right, refused, .. } = self;
        let mut line = format!(
            "{door:<50} | {total:>5} | {ran:>4} | {least:>7} | {right:>5} | {refused:>7} | {skipped:>7}"
        );
        for (place, (why, count)) in self.skipped.iter().enumerate() {
            let _ = write!(line, "{} {count} {why}", if place == 0 { ":" } else { "," });
        }
        if let Some(what) = self.different {
            let _ = write!(line, "; among the refused: {what}");
        }
        line + "\n"
    }
}

/// Vectors that do not go through a door.
pub(crate) fn none(total: usize, why: &'static str) -> (Tally, usize) {
    (Tally { skipped: vec![(why, total)], ..Tally::default() }, total)
}

/// Compares with a recorded file; `UPDATE_GOLDEN=1` records instead.
pub(crate) fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

pub(crate) fn report(lines: &[(&str, (Tally, usize), usize)]) -> String {
    let mut text = format!(
        "{:<50} | {:>5} | {:>4} | {:>7} | {:>5} | {:>7} | {:>7}\n",
        "door, vectors", "total", "ran", "minimum", "right", "refused", "skipped"
    );
    for (door, (tally, total), least) in lines {
        text += &tally.line(door, *total, *least);
    }
    text
}
