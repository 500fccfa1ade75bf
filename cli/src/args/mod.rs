//! What can be typed. Values are checked where they are used, so that every refusal has our words, kinds and limits.

pub(crate) mod authority;
pub(crate) mod conflict;
pub(crate) mod credential;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod program;
pub(crate) mod project;
pub(crate) mod relay;
pub(crate) mod secure_channel;
pub(crate) mod service;
pub(crate) mod tcp;
pub(crate) mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keys in software and HSMs, identities that outlive their keys, credentials, and policies that decide on them
#[derive(Debug, Parser)]
#[command(
    name = "ockam-kms",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = "Example:
  ockam-kms vault create hsm --token ca \\
    --module-path /usr/lib/softhsm/libsofthsm2.so --pin-file /etc/ca.pin
  ockam-kms identity create issuer --vault hsm --key-type p256
  ockam-kms authority create --project-identifier demo --identity issuer \\
    --trusted-identities '{}' --http-address 127.0.0.1:4100")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// How the result is written
    #[arg(long, global = true, value_enum, default_value_t = Format::Plain)]
    pub(crate) output: Format,
    /// Write the result as JSON, and of it what a filter in the language of jq leaves: each value on a line, texts in quotes
    #[arg(long, global = true, value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) jq: Option<String>,
    /// JSON on one line, as it always is: the same as `--output json`
    #[arg(long, global = true, hide = true)]
    pub(crate) compact_output: bool,
    /// Accepted for scripts that pass it: it changes nothing in the reference either
    #[arg(long, global = true, hide = true)]
    pub(crate) pretty: bool,
    /// Accepted for scripts that pass it: commands have no trace to show
    #[arg(short, long, global = true, hide = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Accepted for scripts that pass it, as the next two: what is safe to ask again is asked again once, in any case
    #[arg(long, alias = "retry", global = true, hide = true, value_name = "COUNT")]
    pub(crate) retry_count: Option<u32>,
    /// See `--retry-count`
    #[arg(long, global = true, hide = true, value_name = "DURATION", value_parser = crate::duration::seconds)]
    pub(crate) retry_delay: Option<u64>,
    /// See `--retry-count`
    #[arg(long, global = true, hide = true)]
    pub(crate) no_retry: bool,
    /// Look whether the command line is right, and do nothing
    #[arg(long, global = true, hide = true)]
    pub(crate) test_argument_parser: bool,
    /// Say nothing on standard error but errors (or QUIET)
    #[arg(short, long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub(crate) quiet: Option<bool>,
    /// Write no colours (or NO_COLOR)
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub(crate) no_color: Option<bool>,
    /// Ask nobody anything (or NO_INPUT)
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub(crate) no_input: Option<bool>,
    /// Read the PIN of a token from standard input: `--pin -`
    #[arg(long, global = true, value_name = "-", allow_hyphen_values = true, conflicts_with = "pin_file")]
    pub(crate) pin: Option<String>,
    /// Read the PIN of a token from the first line of a file
    #[arg(long, global = true, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) pin_file: Option<PathBuf>,
    /// Read the passphrase of a software vault from standard input: `--passphrase -`
    #[arg(
        long,
        global = true,
        value_name = "-",
        allow_hyphen_values = true,
        conflicts_with = "passphrase_file"
    )]
    pub(crate) passphrase: Option<String>,
    /// Read the passphrase of a software vault from the first line of a file
    #[arg(long, global = true, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Plain,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Where keys live: software vaults and HSM tokens
    #[command(subcommand)]
    Vault(vault::Verb),
    /// Keys in a vault
    #[command(subcommand)]
    Key(key::Verb),
    /// Identities: change histories whose identifier outlives their keys
    #[command(subcommand)]
    Identity(identity::Verb),
    /// Histories of others that contradict each other: a key was misused, and somebody has to decide
    #[command(subcommand)]
    Conflict(conflict::Verb),
    /// Credentials: what an issuer says about a subject, for a while
    #[command(subcommand)]
    Credential(credential::Verb),
    /// Policies: expressions that decide on a verified credential
    #[command(subcommand)]
    Policy(policy::Verb),
    /// The credential authority: a server that enrols members and issues credentials
    #[command(subcommand)]
    Authority(authority::Verb),
    /// Nodes, which carry messages and secure channels, and other servers that run from this home
    #[command(subcommand)]
    Node(node::Verb),
    /// Secure channels, end to end over any number of nodes
    #[command(subcommand)]
    SecureChannel(secure_channel::Verb),
    /// Where a node takes secure channels
    #[command(subcommand)]
    SecureChannelListener(secure_channel::ListenerVerb),
    /// Messages
    #[command(subcommand)]
    Message(message::Verb),
    /// TCP connections of a node
    #[command(subcommand)]
    TcpConnection(tcp::ConnectionVerb),
    /// TCP listeners of a node
    #[command(subcommand)]
    TcpListener(tcp::ListenerVerb),
    /// Services of a node
    #[command(subcommand)]
    Service(service::Verb),
    /// Workers of a node
    #[command(subcommand)]
    Worker(service::WorkerVerb),
    /// Relays: addresses at one node that lead to another
    #[command(subcommand)]
    Relay(relay::Verb),
    /// Taking part in a project: tickets and enrolment
    #[command(subcommand)]
    Project(project::Verb),
    /// The members of a project
    #[command(subcommand)]
    ProjectMember(project::MemberVerb),
    /// The audit log of an authority
    #[command(subcommand)]
    Audit(authority::AuditVerb),
    /// What there is in the home: vaults, identities, projects, nodes and authorities
    #[command(after_help = "Examples:
  ockam-kms status
  ockam-kms status --jq '.nodes[] | select(.running) | .name'")]
    Status(program::Status),
    /// The variables of the environment that count, and which of them are set; `--env NAME=VALUE` in any command sets one for
    /// that command
    #[command(after_help = "Examples:
  ockam-kms environment
  ockam-kms node list --env OCKAM_KMS_HOME=/srv/ockam-kms")]
    Environment,
    /// Delete everything in the home, keys in software included, after stopping its servers
    #[command(after_help = "Example:\n  ockam-kms reset --yes")]
    Reset(program::Reset),
    /// Look for what is wrong with the home, its vaults, identities and servers, and say what to do; exit code 65 when
    /// something is
    #[command(after_help = "Examples:
  ockam-kms doctor
  ockam-kms doctor --pin-file /etc/ca.pin --output json")]
    Doctor,
    /// The version and the backends of this build
    #[command(after_help = "Example:\n  ockam-kms version --output json")]
    Version,
    /// Write what lets a shell complete these commands
    #[command(after_help = "Examples:
  ockam-kms completion bash > /etc/bash_completion.d/ockam-kms
  ockam-kms completion zsh > /usr/share/zsh/site-functions/_ockam-kms
  ockam-kms completion fish > ~/.config/fish/completions/ockam-kms.fish")]
    Completion(program::Completion),
    /// Write a manual page for each command
    #[command(after_help = "Example:\n  ockam-kms manpages /usr/local/share/man/man1")]
    Manpages(program::Manpages),
}

/// A switch's value, as environment variables have it too.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true, false, 1 or 0".to_owned()),
    }
}

/// An attribute as it is typed: `name=value`, where `name` alone means `name=true`. Everything after the first `=` is
/// the value, commas and further `=` included, and an empty value stays empty.
pub(crate) fn attribute(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, "true"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_every_verb_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for noun in command.get_subcommands() {
            let verbs: Vec<_> = noun.get_subcommands().collect();
            let verbs = if verbs.is_empty() { vec![noun] } else { verbs };
            for verb in verbs {
                let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                let line = if verb.get_name() == noun.get_name() {
                    format!("ockam-kms {}", noun.get_name())
                } else {
                    format!("ockam-kms {} {}", noun.get_name(), verb.get_name())
                };
                assert!(help.starts_with("Example") && help.contains(&line), "{line}: {help}");
                assert!(verb.get_about().is_some(), "{line}");
            }
        }
    }

    /// Whoever is asked for consent, or ends something, can have a look first.
    #[test]
    fn every_command_that_destroys_has_a_dry_run() {
        // What asks is found by its option. These ask nobody, or have not always done so.
        const DESTROY: [&str; 12] = [
            "change-management-key",
            "change-pin",
            "change-puk",
            "decide",
            "delete",
            "destroy",
            "move",
            "rekey",
            "reset",
            "rotate",
            "stop",
            "unblock-pin",
        ];
        let command = Cli::command();
        let (mut ahead, mut found, mut lacking) = (vec![(String::new(), &command)], 0, Vec::new());
        while let Some((path, command)) = ahead.pop() {
            let has = |long| command.get_arguments().any(|argument| argument.get_long() == Some(long));
            if has("yes") || DESTROY.contains(&command.get_name()) {
                found += 1;
                if !has("dry-run") {
                    lacking.push(path.clone());
                }
            }
            ahead.extend(command.get_subcommands().map(|next| (format!("{path} {}", next.get_name()), next)));
        }
        assert!(lacking.is_empty(), "no dry run:{}", lacking.join(","));
        assert!(found > 20, "only {found} are found");
    }

    /// Every example in the help texts is a command line that parses.
    #[test]
    fn the_examples_parse() {
        let command = Cli::command();
        let mut helps = vec![command.get_after_help().unwrap().to_string()];
        for noun in command.get_subcommands() {
            helps.extend(
                std::iter::once(noun)
                    .chain(noun.get_subcommands())
                    .filter_map(|c| Some(c.get_after_help()?.to_string())),
            );
        }
        for line in helps.iter().flat_map(|help| help.lines()) {
            assert!(line.len() < 100, "it would be wrapped: {line}");
        }
        let whole: Vec<_> = helps.iter().map(|help| help.replace("\\\n", " ")).collect();
        let lines: Vec<_> =
            whole.iter().flat_map(|help| help.lines()).filter(|line| line.contains("ockam-kms ")).collect();
        assert!(lines.len() > 30, "{}", lines.len());
        for line in lines {
            let start = line.find("ockam-kms ").unwrap();
            let words = split(&line[start..]);
            let words = crate::environment::taken(words.into_iter().map(Into::into).collect()).unwrap().1;
            Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        }
    }

    /// Splits a line as a shell does, as far as the examples need it, up to a pipe or redirection.
    fn split(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
        for c in line.chars() {
            match (quote, c) {
                (Some(q), c) if c == q => quote = None,
                (None, '\'' | '"') => (quote, any) = (Some(c), true),
                (None, '|' | '<' | '>') => break,
                (None, c) if c.is_whitespace() => {
                    if any || !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    any = false;
                }
                (_, c) => word.push(c),
            }
        }
        if any || !word.is_empty() {
            words.push(word);
        }
        words
    }

    #[test]
    fn an_attribute_is_never_split_further() {
        for (text, pair) in [
            ("a=b", ("a", "b")),
            ("a", ("a", "true")),
            ("a=", ("a", "")),
            ("a=b,c=d", ("a", "b,c=d")),
            ("a=-3", ("a", "-3")),
            ("-3", ("-3", "true")),
        ] {
            assert_eq!(attribute(text), pair);
        }
    }
}
