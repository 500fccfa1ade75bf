//! `cargo run --release`: the whole table. See the crate's documentation.

use std::process::ExitCode;

use bench::softhsm::{Process, Token};
use bench::{Facts, Options, Plan, Result, all_rows, measure, report};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    let token = match Token::enter()? {
        Process::Done(status) => {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Process::Inside(token) => token,
    };
    let mut facts = Facts::gather();
    let (rows, module) = all_rows(token.as_ref(), |name| options.wants(name))?;
    facts.module = module;
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", report::head(&facts));
    let mut figures = Vec::new();
    for mut row in rows {
        let measured =
            measure(&mut row.contenders, Plan::of(options.time)).map_err(|e| format!("{}: {e}", row.name))?;
        print!("{}", report::row(&row.name, &measured));
        figures.push((row.name, measured));
    }
    let not_run: Vec<_> = token.err().map(|why| format!("rows on a token: {why}")).into_iter().collect();
    not_run.iter().for_each(|line| println!("\nnot run: {line}"));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&facts, &figures, &not_run))?;
        std::fs::write(path, text + "\n").map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
