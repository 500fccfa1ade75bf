//! `cargo run --release -p ockam-kms-bench-server`: see the crate's documentation.

use std::process::ExitCode;
use std::time::Duration;

use bench_server::{Cfssl, Crowd, Fleet, Measured, Options, Result, Site, Work};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{} members in each round, load {} at the start",
        options.members,
        load.split_whitespace().next().unwrap_or("unknown"),
    );
    let certificates = tempfile::tempdir()?;
    let cfssl = Cfssl::start(certificates.path());
    for connections in &options.connections {
        let title = format!("{connections} connections");
        println!("\n{title:46} {:>8} {:>9} {:>9} {:>9}", "per s", "p50 ms", "p99 ms", "cpu µs");
        for _ in 0..options.rounds {
            if !options.plain {
                enrol_and_issue(&options, *connections, true)?;
            }
            enrol_and_issue(&options, *connections, false)?;
            if let Ok(cfssl) = &cfssl {
                sign_certificates(&options, *connections, cfssl)?;
            }
        }
    }
    if let Err(why) = &cfssl {
        println!("\nnot run: {why}");
    }
    Ok(())
}

fn enrol_and_issue(options: &Options, connections: usize, once: bool) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("bench-server").tempdir_in(&options.directory)?;
    let site = Site::start(directory.path())?;
    let members = Fleet::new(options.members)?.sign(&site, once)?;
    let work: Vec<_> = members.iter().map(Work::enrol_and_issue).collect();
    let before = site.writes();
    let measured = Crowd { to: site.address(), connections }.run(&work)?;
    let after = site.writes();
    for (member, answer) in members.iter().zip(&measured.answers) {
        site.check(member, answer)?;
    }
    let name = if once { "enrol + issue, under idempotency keys" } else { "enrol + issue" };
    print(name, &measured, measured.processor_each());
    let commits = after.commits - before.commits;
    println!(
        "  {:.1} commands by a sync, {:.0} syncs a second",
        (after.commands - before.commands) / commits,
        commits / measured.elapsed.as_secs_f64(),
    );
    Ok(())
}

fn sign_certificates(options: &Options, connections: usize, cfssl: &Cfssl) -> Result<()> {
    let work: Vec<_> = (0..options.members).map(|_| Work::certificate(cfssl)).collect();
    let before = cfssl.processor_time()?;
    let measured = Crowd { to: cfssl.address(), connections }.run(&work)?;
    let theirs = cfssl.processor_time()?.saturating_sub(before);
    measured.answers.iter().try_for_each(|answer| Cfssl::check(answer))?;
    let each = theirs / u32::try_from(options.members).unwrap_or(u32::MAX).max(1);
    print(&format!("cfssl {}, nothing kept", cfssl.version()), &measured, measured.processor_each() + each);
    Ok(())
}

/// Processor time is that of server and clients together.
fn print(name: &str, measured: &Measured, processor: Duration) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:46} {:>8.0} {:>9.1} {:>9.1} {:>9.0}",
        measured.rate(),
        millis(measured.percentile(50)),
        millis(measured.percentile(99)),
        processor.as_secs_f64() * 1e6,
    );
}
