//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;

const USAGE: &str = "\
Our crates beside their peers: one table, with ratios.

  cargo run --release -- [--seconds N] [--only PATTERN] [--json FILE]

  --seconds N      measure each contender for this long (default 1)
  --only PATTERN   only rows whose name contains this; several such options add up
  --json FILE      write the figures to this file as well
  --list           name the rows and measure nothing";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long each contender is measured.
    pub time: Duration,
    /// Parts of names; empty for every row.
    pub only: Vec<String>,
    /// Where the figures go besides the table.
    pub json: Option<PathBuf>,
    /// Whether only to name the rows.
    pub list: bool,
}

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// The usage, for one that is not understood or asks for it.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self { time: Duration::from_secs(1), only: Vec::new(), json: None, list: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| format!("`{argument}` needs a value\n\n{USAGE}"));
            match argument.as_str() {
                "--seconds" => {
                    let seconds: f64 =
                        value()?.parse().map_err(|_| format!("not a number of seconds\n\n{USAGE}"))?;
                    options.time = Duration::try_from_secs_f64(seconds)?;
                }
                "--only" => options.only.push(value()?.to_lowercase()),
                "--json" => options.json = Some(value()?.into()),
                "--list" => options.list = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    /// Whether a row of this name is asked for.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_option_is_read() {
        let options = parse("--seconds 0.5 --only Token --only issue --json out.json --list").unwrap();
        assert_eq!(options.time, Duration::from_millis(500));
        assert!(options.wants("sign, ed25519, on a token") && options.wants("Issue a credential"));
        assert!(!options.wants("import 1 change"));
        assert_eq!(options.json, Some("out.json".into()));
        assert!(options.list);
        assert!(parse("").unwrap().wants("anything"));
    }

    #[test]
    fn what_is_not_understood_is_answered_with_the_usage() {
        for line in ["--help", "fast", "--seconds", "--seconds soon", "--seconds -1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
