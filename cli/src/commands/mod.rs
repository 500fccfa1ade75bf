//! What commands do, one file a noun.

mod audit;
mod authority;
mod client;
mod conflict;
mod credential;
mod doctor;
mod identity;
mod key;
mod message;
mod node;
mod policy;
mod program;
mod project;
mod relay;
mod reset;
mod resolve;
mod rotate;
mod secure_channel;
mod server;
mod service;
mod status;
mod tcp;
mod vault;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser as _;
use clap::error::ErrorKind;
use serde_json::json;

use crate::args::{Cli, Noun};
use crate::context::{Context, output};
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::{Output, Report};
use crate::{environment, piping, words};

/// Parses the arguments, runs the command, writes what came out; returns the exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> u8 {
    let early = Output { json: wants_json(&arguments), filter: None, quiet: false, color: false };
    let arguments = match environment::applied(arguments).and_then(piping::spliced) {
        Ok(arguments) => arguments,
        Err(error) => return early.finish(Err(error)),
    };
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return early.finish(not_parsed(&arguments, &error)),
    };
    let output = match output(&cli.globals, |name| std::env::var_os(name)) {
        Ok(output) => output,
        Err(error) => return early.finish(Err(error)),
    };
    if cli.globals.test_argument_parser {
        return output.finish(Ok(Report::written()));
    }
    interrupt::tell_by(output);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        Context::new(&cli.globals, output).and_then(|context| dispatch(&context, cli.noun))
    }));
    output.finish(ran.unwrap_or_else(|_| {
        Err(Error::new(Kind::Internal, "the program met a state that it should never be in")
            .with_hint("please report it, with the lines above"))
    }))
}

fn dispatch(context: &Context, noun: Noun) -> Result<Report> {
    match noun {
        Noun::Vault(verb) => vault::run(context, verb),
        Noun::Key(verb) => key::run(context, verb),
        Noun::Identity(verb) => identity::run(context, verb),
        Noun::Conflict(verb) => conflict::run(context, verb),
        Noun::Credential(verb) => credential::run(context, verb),
        Noun::Policy(verb) => policy::run(context, verb),
        Noun::Doctor => doctor::run(context),
        Noun::Version => Ok(program::version()),
        Noun::Completion(completion) => program::completion(&completion),
        Noun::Manpages(manpages) => program::manpages(&manpages),
        Noun::Authority(verb) => authority::run(context, verb),
        Noun::Node(verb) => node::run(context, verb),
        Noun::SecureChannel(verb) => secure_channel::run(context, verb),
        Noun::SecureChannelListener(verb) => secure_channel::run_listener(context, verb),
        Noun::Message(verb) => message::run(context, verb),
        Noun::TcpConnection(verb) => tcp::run_connection(context, verb),
        Noun::TcpListener(verb) => tcp::run_listener(context, verb),
        Noun::Service(verb) => service::run(context, verb),
        Noun::Worker(verb) => service::run_worker(context, verb),
        Noun::Relay(verb) => relay::run(context, verb),
        Noun::Status(_) => status::run(context),
        Noun::Environment => Ok(environment::report(|name| std::env::var_os(name))),
        Noun::Reset(reset) => reset::run(context, &reset),
        Noun::Project(verb) => project::run(context, verb),
        Noun::ProjectMember(verb) => project::member::run(context, verb),
        Noun::Audit(verb) => audit::run(context, verb),
    }
}

/// Whether JSON was asked for, as far as that can be told before the arguments are understood: usage errors are
/// outcomes too.
fn wants_json(arguments: &[OsString]) -> bool {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--output=json"
            || argument == "--compact-output"
            || (argument == "--output" && arguments.next().is_some_and(|next| next == "json"))
        {
            return true;
        }
        if argument == "--" {
            return false;
        }
    }
    false
}

/// Help and version are results; everything else is a wrong command line, told in our shape.
fn not_parsed(arguments: &[OsString], error: &clap::Error) -> Result<Report> {
    let typed = arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
    if let Some(refused) = words::refused(typed, error) {
        return Err(refused);
    }
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(Report::new(text.trim_end(), json!({ "help": text })).machine(text)),
        ErrorKind::DisplayVersion => {
            Ok(Report::new(text.trim_end(), json!({ "version": env!("CARGO_PKG_VERSION") })).machine(text))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Error::usage(format!("the command is not complete\n\n{}", text.trim_end())))
        }
        _ => {
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let text = text.split_once("\n\nFor more information").map_or(text, |(text, _)| text);
            let (message, rest) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
            let error = Error::usage(harmless(message));
            let usage = rest.lines().next().unwrap_or_default();
            Err(if usage.is_empty() {
                error.with_hint("try --help")
            } else {
                error.with_hint(format!("usage: {}; try --help", harmless(usage)))
            })
        }
    }
}

/// The parser repeats what was typed: cut it, and keep a terminal from acting on it.
fn harmless(text: &str) -> String {
    const MOST: usize = 300;
    let cut = |line: &str| {
        let mut short: String = line.chars().take(MOST).filter(|c| !c.is_control()).collect();
        if line.chars().nth(MOST).is_some() {
            short.push('…');
        }
        short
    };
    text.trim().lines().take(12).map(cut).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(arguments: &[&str]) -> bool {
        wants_json(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn json_is_recognised_in_what_does_not_parse() {
        assert!(wants(&["ockam-kms", "bogus", "--output", "json"]));
        assert!(wants(&["ockam-kms", "--output=json", "--bogus"]));
        assert!(wants(&["ockam-kms", "bogus", "--compact-output"]));
        assert!(!wants(&["ockam-kms", "bogus", "--jq", "."]));
        assert!(!wants(&["ockam-kms", "--output", "plain", "json"]));
        assert!(!wants(&["ockam-kms", "--", "--output=json"]));
        assert!(!wants(&["ockam-kms", "--output"]));
    }

    #[test]
    fn what_was_typed_is_cut_and_tamed() {
        let text = format!("invalid \u{1b}[2J{}", "x".repeat(70_000));
        let harmless = harmless(&text);
        assert!(harmless.len() < 320 && !harmless.contains('\u{1b}'), "{harmless}");
    }
}
