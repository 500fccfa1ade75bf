//! The command line.

use std::path::PathBuf;

use crate::Result;

const USAGE: &str = "\
Enrol + issue through the server, beside `cfssl serve`.

  cargo run --release -p ockam-kms-bench-server -- [--members N] [--connections N] [--dir DIRECTORY]

  --members N        how many enrol, at most 30000: their requests are signed before, and good for a minute (default 8000)
  --connections N    how many connections at a time (default 64, then 192)
  --dir DIRECTORY    where the store is to be (default: where temporary files are)
  --plain            only without idempotency keys
  --rounds N         how often (default 3)";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many enrol in a round.
    pub members: usize,
    /// How many connections, one after the other.
    pub connections: Vec<usize>,
    /// Where the store is.
    pub directory: PathBuf,
    /// Whether only requests without idempotency keys are measured.
    pub plain: bool,
    /// How many rounds.
    pub rounds: usize,
}

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// The usage, for one that is not understood or asks for it.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let directory = std::env::temp_dir();
        let mut options =
            Self { members: 8_000, connections: vec![64, 192], directory, plain: false, rounds: 3 };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut number = |most: usize| -> Result<usize> {
                let value = arguments.next().and_then(|value| value.parse().ok());
                value.filter(|value| (1..=most).contains(value)).ok_or_else(|| USAGE.into())
            };
            match argument.as_str() {
                "--members" => options.members = number(30_000)?,
                "--connections" => options.connections = vec![number(256)?],
                "--rounds" => options.rounds = number(100)?,
                "--dir" => options.directory = arguments.next().ok_or(USAGE)?.into(),
                "--plain" => options.plain = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_answered_with_the_usage() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let options = parse("--members 10 --connections 2 --dir /x --plain --rounds 1").unwrap();
        let wanted =
            Options { members: 10, connections: vec![2], directory: "/x".into(), plain: true, rounds: 1 };
        assert_eq!(options, wanted);
        for line in ["--help", "fast", "--members", "--members 0", "--members 1000000"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
