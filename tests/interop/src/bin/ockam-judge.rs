//! Answers JSON lines from standard input on standard output, until the input ends.

use std::io::{self, BufRead, Write};

use interop::Judge;
use interop::protocol::answer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let judge = Judge::new()?;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        writeln!(output, "{}", answer(&judge, &line))?;
        output.flush()?;
    }
    Ok(())
}
