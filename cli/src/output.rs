//! What comes out (contract §3): human text on stderr, the result on stdout. A terminal gets plain text, a pipe the
//! machine form without an end of line, `--output json` gets JSON for every outcome.

use std::io::{self, IsTerminal, Write};

use identity::Timestamp;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::filter::Filter;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Report {
    plain: String,
    machine: Option<String>,
    json: Value,
    code: u8,
}

impl Report {
    /// A result that is done: plain text for a terminal, JSON for `--output json`, and for a pipe unless there is a
    /// machine form.
    pub(crate) fn new(plain: impl Into<String>, json: Value) -> Self {
        Self { plain: plain.into(), machine: None, json, code: 0 }
    }

    /// What a pipe gets: the bare identifier, name, hex.
    pub(crate) fn machine(mut self, machine: impl Into<String>) -> Self {
        self.machine = Some(machine.into());
        self
    }

    /// Has the items of a list told otherwise in JSON than in the plain text.
    pub(crate) fn items_as(mut self, told: impl Fn(Value) -> Value) -> Self {
        for item in self.json.as_array_mut().into_iter().flatten() {
            *item = told(item.take());
        }
        self
    }

    /// What it says to people and in JSON, as a part of another one.
    pub(crate) fn into_parts(self) -> (String, Value) {
        (self.plain, self.json)
    }

    /// Nothing to write: it is written already.
    pub(crate) fn written() -> Self {
        Self { plain: String::new(), machine: None, json: Value::Null, code: 0 }
    }

    /// Ends with the code of this kind: the result is a refusal.
    pub(crate) fn refusing(mut self, kind: Kind) -> Self {
        self.code = kind.code();
        self
    }
}

/// Where output goes, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON for every outcome.
    pub(crate) json: bool,
    /// JSON for results, and of it what this leaves.
    pub(crate) filter: Option<Filter>,
    pub(crate) quiet: bool,
    pub(crate) color: bool,
}

impl Output {
    /// Whether a result is written as JSON.
    pub(crate) fn wants_json(self) -> bool {
        self.json || self.filter.is_some()
    }

    /// Writes a result and returns the exit code.
    pub(crate) fn finish(self, result: Result<Report>) -> u8 {
        match result.and_then(|report| self.write(&report).map(|()| report.code)) {
            Ok(code) => code,
            Err(error) => self.failed(&error),
        }
    }

    /// Writes a result. Whoever read our output and has gone away is nobody who is left to be told.
    pub(crate) fn write(self, report: &Report) -> Result<()> {
        if report.json.is_null() && report.plain.is_empty() {
            return Ok(());
        }
        match self.filter {
            Some(filter) => filter.run(&report.json, |line| {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{line}")?;
                stdout.flush()
            }),
            None => told(self.result(report)),
        }
    }

    fn result(self, report: &Report) -> io::Result<()> {
        if self.json {
            return line(&report.json);
        }
        let mut stdout = io::stdout().lock();
        if stdout.is_terminal() {
            writeln!(stdout, "{}", report.plain)?;
        } else if let Some(machine) = &report.machine {
            stdout.write_all(machine.as_bytes())?;
        } else {
            stdout.write_all(report.json.to_string().as_bytes())?;
        }
        stdout.flush()
    }

    /// Tells a failure in the form that was asked for, never filtered, and returns its exit code.
    fn failed(self, error: &Error) -> u8 {
        if self.json
            && let Err(unwritten) = told(line(&error.json()))
        {
            self.failure(&unwritten);
            return unwritten.kind().code();
        }
        if !self.json {
            self.failure(error);
        }
        error.kind().code()
    }

    fn failure(self, error: &Error) {
        self.say("error", "31", &error.to_string());
        self.say("hint", "36", error.hint());
    }

    /// Says something to people, on stderr; not with `--quiet`.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            self.say("note", "33", text);
        }
    }

    fn say(self, word: &str, color: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        // There is nobody to tell when stderr itself fails.
        let _ = if self.color && stderr.is_terminal() {
            writeln!(stderr, "\u{1b}[1;{color}m{word}:\u{1b}[0m {text}")
        } else {
            writeln!(stderr, "{word}: {text}")
        };
    }
}

/// A result that could not be written.
pub(crate) fn unwritten(error: io::Error) -> Error {
    Error::new(Kind::Internal, format!("writing the result failed: {error}"))
        .with_hint("what the command did is done; only telling it failed")
}

fn told(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(e)),
        _ => Ok(()),
    }
}

/// One line of JSON on stdout.
fn line(value: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value}")?;
    stdout.flush()
}

/// Lines of `name: value`, the values below each other.
pub(crate) fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    lines.join("\n")
}

/// A time as people read it (RFC 3339, UTC), and as the wire has it.
pub(crate) fn time(at: Timestamp) -> String {
    const DAY: u64 = 86_400;
    // Beyond the year 9999 there is no such form; nothing of ours gets there.
    if at.0 >= 253_402_300_800 {
        return at.to_string();
    }
    let (days, second) = (at.0 / DAY, at.0 % DAY);
    // Years from the first of March, so that the leap day comes last: days of 400 years repeat exactly.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z ({at})")
}

/// Blocks of lines with an empty line between them, or what to say when there are none.
pub(crate) fn blocks(blocks: &[String], none: &str) -> String {
    if blocks.is_empty() { none.to_owned() } else { blocks.join("\n\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_by_people() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z (0)"),
            (951_782_399, "2000-02-28T23:59:59Z (951782399)"),
            (951_782_400, "2000-02-29T00:00:00Z (951782400)"),
            (1_709_251_199, "2024-02-29T23:59:59Z (1709251199)"),
            (1_790_000_000, "2026-09-21T14:13:20Z (1790000000)"),
            (4_107_542_400, "2100-03-01T00:00:00Z (4107542400)"),
            (253_402_300_799, "9999-12-31T23:59:59Z (253402300799)"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(time(Timestamp(at)), text);
        }
    }

    #[test]
    fn tables_line_up() {
        assert_eq!(table(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2");
        assert_eq!(table(&[]), "");
        assert_eq!(blocks(&[], "nothing"), "nothing");
        assert_eq!(blocks(&["a".into(), "b".into()], ""), "a\n\nb");
    }
}
