//! Writes the seeds of every target into directories of their names, and the words in them into dictionaries beside those:
//! `seeds DIRECTORY`. Texts are compared by calls that no coverage shows, so the fuzzer has to be told the words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

/// What a seed has of words, when it is text.
fn words(seed: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(seed).unwrap_or_default();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_@".contains(c));
    words.filter(|word| (2..40).contains(&word.len()))
}

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds DIRECTORY");
        return ExitCode::from(64);
    };
    let write = || -> io::Result<()> {
        for (target, _) in fuzz::TARGETS {
            let directory = directory.join(target);
            fs::create_dir_all(&directory)?;
            let seeds = fuzz::seeds::of(target);
            for (n, seed) in seeds.iter().enumerate() {
                fs::write(directory.join(format!("seed-{n}")), seed)?;
            }
            let words: BTreeSet<_> = seeds.iter().flat_map(|seed| words(seed)).collect();
            let lines: String = words.iter().map(|word| format!("\"{word}\"\n")).collect();
            fs::write(directory.with_extension("dict"), lines)?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the seeds: {error}");
            ExitCode::from(73)
        }
    }
}
