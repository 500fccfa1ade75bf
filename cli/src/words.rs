//! The words of `ockam` 0.150 that have no meaning here: whoever types one is told why, and what to do in place, and not that
//! there is no such word. One table; what else there is of the reference's words is taken.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

use crate::args::Cli;
use crate::error::{Error, shown};

/// Words that are refused for one reason.
struct Refused {
    /// Each as it is typed after the program: nouns, a noun and a verb, or those with one option.
    words: &'static [&'static str],
    why: &'static str,
    instead: &'static str,
}

const ORCHESTRATOR: &str = "it is for the Orchestrator, and there is none";
const OF_ITS_PROCESSES: &str = "it is what processes of `ockam` tell each other";

const TABLE: &[Refused] = &[
    Refused {
        words: &["enroll"],
        why: "there is no Orchestrator to enrol with",
        instead: "`ockam-kms authority create` starts an authority, `ockam-kms project enroll TICKET` enrols with one",
    },
    Refused {
        words: &["space", "space-admin", "subscription", "admin", "share"],
        why: ORCHESTRATOR,
        instead: "leave them out: an authority of one's own needs no space and no subscription",
    },
    Refused {
        words: &["project-admin"],
        why: ORCHESTRATOR,
        instead: "name admins to the authority with `authority create --admin IDENTIFIER`",
    },
    Refused {
        words: &["project create"],
        why: "there is no Orchestrator that makes one",
        instead: "`ockam-kms authority create --project-identifier NAME` starts the authority of a project",
    },
    Refused {
        words: &["project version"],
        why: "there is no Orchestrator that has one",
        instead: "`ockam-kms version` says this program's",
    },
    Refused {
        words: &[
            "project addon",
            "project enroll --okta",
            "authority create --tenant-base-url",
            "authority create --certificate",
            "authority create --attributes",
        ],
        why: "authorities here ask no other service who somebody is",
        instead: "have people enrol with tickets: `ockam-kms project ticket --expires-in 1h -a NAME=VALUE` makes one",
    },
    Refused {
        words: &["authority create --account-authority"],
        why: "credentials of an Orchestrator's account make nobody an admin here",
        instead: "name each admin with `--admin IDENTIFIER`",
    },
    Refused {
        words: &["tcp-inlet", "tcp-outlet", "sidecar"],
        why: "nodes here carry messages and channels, and no TCP connections of others",
        instead: "have a node of `ockam` do it: it opens channels to nodes here and takes theirs, and credentials count at both",
    },
    Refused {
        words: &["kafka-inlet", "kafka-outlet", "kafka-consumer", "kafka-producer"],
        why: "nodes here do not speak Kafka's protocol",
        instead: "have a node of `ockam` do it, with credentials of an authority here",
    },
    Refused {
        words: &["influxdb-inlet", "influxdb-outlet", "lease"],
        why: "nodes here lease no tokens of InfluxDB",
        instead: "have a node of `ockam` do it, with credentials of an authority here",
    },
    Refused {
        words: &[
            "rendezvous",
            "node create -u",
            "node create --udp",
            "node create --enable-udp",
            "node create --udp-listener-address",
        ],
        why: "nodes here speak TCP alone",
        instead: "leave it out; where a node cannot be reached by TCP, `ockam-kms relay create` registers it at one that can",
    },
    Refused {
        words: &["flow-control"],
        why: "which workers may be reached from where is fixed here: docs/nodes.md has the table",
        instead: "leave it out, and say who may get there with `ockam-kms policy create` and `--authorized`",
    },
    Refused {
        words: &["run"],
        why: "recipes of several nodes are not read",
        instead: "`ockam-kms node create ./node.yaml` takes the configuration of one node",
    },
    Refused {
        words: &["markdown"],
        why: "there is no manual in Markdown",
        instead: "`ockam-kms manpages DIRECTORY` writes it as manual pages",
    },
    Refused {
        words: &["migrate-database"],
        why: "there is no database: the home has files, and moves to a newer format by itself",
        instead: "leave it out; `ockam-kms doctor` says whether the home is well",
    },
    Refused {
        words: &["node create --http-server", "node create --enable-http-server"],
        why: "it does not say where",
        instead: "give an address: `--status-endpoint 127.0.0.1:0`",
    },
    Refused {
        words: &["node create --status-endpoint-port"],
        why: "it does not say who may get there",
        instead: "give an address with the port: `--status-endpoint 127.0.0.1:PORT`",
    },
    Refused {
        words: &[
            "node create --launch-configuration",
            "node create --launch-config",
            "node create --services",
        ],
        why: "the services of a node are not configured here",
        instead: "`ockam-kms service start hop` starts the one that is not there from the beginning",
    },
    Refused {
        words: &["node create --in-memory"],
        why: "what a node has is kept in the home",
        instead: "give it a home that is gone afterwards: OCKAM_KMS_HOME=$(mktemp -d)",
    },
    Refused {
        words: &["node create --opentelemetry-context"],
        why: "nodes here send no traces",
        instead: "leave it out; `--log-format json` writes a log for machines",
    },
    Refused {
        words: &["node create --started-from-configuration"],
        why: OF_ITS_PROCESSES,
        instead: "leave it out: `ockam-kms node create ./node.yaml` starts a node from a configuration",
    },
    Refused {
        words: &[
            "node create --child-process",
            "node create --tcp-callback-port",
            "authority create --child-process",
            "authority create --tcp-callback-port",
        ],
        why: OF_ITS_PROCESSES,
        instead: "leave it out: the command comes back when the server is ready, and `--foreground` stays",
    },
];

/// What is said of a word that the parser does not know, if it is one of these.
pub(crate) fn refused<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    error: &clap::Error,
) -> Option<Error> {
    let unknown = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(unknown)) = error.get(unknown) else { return None };
    let before = arguments.into_iter().take_while(|argument| argument != unknown);
    let mut typed = verbs(before);
    typed.push(unknown);
    let typed = typed.join(" ");
    let refused = look_up(&typed)?;
    Some(
        Error::usage(format!("`{}` of `ockam` is not here: {}", shown(&typed), refused.why))
            .with_hint(refused.instead),
    )
}

fn look_up(typed: &str) -> Option<&'static Refused> {
    TABLE.iter().find(|row| row.words.contains(&typed))
}

/// The noun and the verb of a command line, as far as there are such.
fn verbs<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let root = Cli::command();
    let (mut at, mut verbs): (&Command, _) = (&root, Vec::new());
    for argument in arguments.into_iter().skip(1) {
        if let Some(next) = at.find_subcommand(argument) {
            verbs.push(argument);
            at = next;
        }
    }
    verbs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use clap::Parser as _;

    use super::*;
    use crate::environment;

    /// Every verb of the reference with its options, one a line: `VERB: OPTIONS`.
    const THEIRS: &str = include_str!("../../tests/vectors/ockam-0.150-words.txt");

    fn ours(verb: &str) -> Option<Command> {
        let mut root = Cli::command();
        root.build();
        verb.split_whitespace().try_fold(root, |at, word| at.find_subcommand(word).cloned())
    }

    fn takes(command: &Command, option: &str) -> bool {
        option == environment::OPTION
            || command.get_arguments().any(|argument| {
                let longs = argument.get_long_and_visible_aliases().into_iter().flatten();
                let longs = longs.chain(argument.get_all_aliases().into_iter().flatten());
                let shorts = argument.get_short_and_visible_aliases().into_iter().flatten();
                longs
                    .map(|long| format!("--{long}"))
                    .chain(shorts.map(|short| format!("-{short}")))
                    .any(|one| one == option)
            })
    }

    /// What becomes of each word of the reference: nothing is told by the parser alone.
    fn fates() -> String {
        let mut fates = String::new();
        let mut refused_nouns: Vec<&str> = Vec::new();
        let mut met = BTreeSet::new();
        for line in THEIRS.lines() {
            let (verb, options) = line.split_once(':').unwrap();
            if refused_nouns.iter().any(|noun| verb.starts_with(&format!("{noun} "))) {
                continue;
            }
            let Some(command) = ours(verb) else {
                let row = look_up(verb).unwrap_or_else(|| panic!("nothing is said of `{verb}`"));
                writeln!(fates, "{verb}\n    refused: {}\n    {}", row.why, row.instead).unwrap();
                assert!(met.insert(verb.to_owned()));
                refused_nouns.push(verb);
                continue;
            };
            let mut taken = Vec::new();
            let mut refused = Vec::new();
            for option in options.split_whitespace() {
                let typed = format!("{verb} {option}");
                match (takes(&command, option), look_up(&typed)) {
                    (true, None) => taken.push(option),
                    (false, Some(row)) => {
                        assert!(met.insert(typed));
                        refused.push(format!("    {option} refused: {}\n        {}\n", row.why, row.instead));
                    }
                    _ => panic!("`{typed}` is both taken and refused, or neither"),
                }
            }
            writeln!(fates, "{verb}").unwrap();
            if !taken.is_empty() {
                writeln!(fates, "    taken: {}", taken.join(" ")).unwrap();
            }
            fates.extend(refused);
        }
        let table: BTreeSet<_> = TABLE.iter().flat_map(|row| row.words).map(ToString::to_string).collect();
        assert_eq!(met, table, "the table has words that the reference does not have");
        fates
    }

    #[test]
    fn every_word_of_the_reference_is_taken_or_refused_with_a_reason() {
        let (found, path) = (fates(), concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cli-words.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(path).unwrap());
    }

    /// Where a word stands in a line does not matter, nor what else the line has.
    #[test]
    fn what_is_refused_is_told_with_a_hint() {
        for (line, told) in [
            ("tcp-inlet create --from 1 --to 2", "`tcp-inlet` of `ockam`"),
            ("--output json tcp-outlet list", "`tcp-outlet` of `ockam`"),
            ("node create n1 --udp", "`node create --udp` of `ockam`"),
            ("node create -u n1", "`node create -u` of `ockam`"),
            ("node --quiet create --services={}", "`node create --services` of `ockam`"),
            ("project addon list", "`project addon` of `ockam`"),
            ("project enroll ticket --okta", "`project enroll --okta` of `ockam`"),
        ] {
            let line: Vec<_> = std::iter::once("ockam-kms").chain(line.split(' ')).collect();
            let error = Cli::try_parse_from(&line).unwrap_err();
            let refused = refused(line.iter().copied(), &error).unwrap();
            assert!(refused.to_string().contains(told), "{line:?}: {refused}");
            assert_eq!(refused.kind().code(), 64);
            assert!(!refused.hint().contains("--help"), "{}", refused.hint());
        }
        for line in
            ["nonsense", "node nonsense", "node create --nonsense", "node create --tcp-listener-address"]
        {
            let line: Vec<_> = std::iter::once("ockam-kms").chain(line.split(' ')).collect();
            let error = Cli::try_parse_from(&line).unwrap_err();
            assert!(refused(line.iter().copied(), &error).is_none(), "{line:?}");
        }
    }
}
