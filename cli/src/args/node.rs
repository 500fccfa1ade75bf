//! `node …`, and what the nouns of a node have in common.

use clap::{Args, Subcommand};

use super::authority::{LogFormat, Stop};
use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a node; returns when it is ready
    #[command(after_help = "Examples:
  ockam-kms node create n1
  ockam-kms node create n1 --tcp-listener-address 127.0.0.1:4000 --identity alice
  ockam-kms node create n1 --foreground --exit-on-eof
  ockam-kms node create n1 --enrollment-ticket ticket.txt
  ockam-kms node create ./node.yaml --variable PORT=4000
where node.yaml is, for one:
  name: n1
  identity: alice
  ticket: ./ticket.txt
  tcp-listener-address: 127.0.0.1:$PORT
  policies:
    - resource: echo
      expression: (= subject.role \"member\")
  relays:
    - blue:
        at: /project/demo")]
    Create(Box<Create>),
    /// Start a node that was stopped, as it was made
    #[command(after_help = "Example:\n  ockam-kms node start n1")]
    Start(Named),
    /// Stop a node or another server, after the requests under way
    #[command(after_help = "Examples:
  ockam-kms node stop n1
  ockam-kms node stop authority-demo")]
    Stop(Stop),
    /// Show a node or another server
    #[command(after_help = "Examples:
  ockam-kms node show n1
  ockam-kms node show authority-demo --output json")]
    Show(Named),
    /// List the nodes and other servers of this home
    #[command(after_help = "Example:\n  ockam-kms node list")]
    List,
    /// Show where the log of a node or another server is
    #[command(after_help = "Example:\n  ockam-kms node logs n1")]
    Logs(Named),
    /// Show the default node, or make another one the default
    #[command(after_help = "Examples:
  ockam-kms node default
  ockam-kms node default n1")]
    Default(Named),
    /// Stop a node and forget it; or forget another server that does not run, and its data in the home
    #[command(after_help = "Examples:
  ockam-kms node delete n1 --yes
  ockam-kms node delete --all --yes
  ockam-kms node delete authority-demo --yes")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name; the default node when none is given, or the only server that there is
    pub(crate) name: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Create {
    /// The name; `default` for the first one and else a random one when none is given. Or a configuration: a file, or YAML
    #[arg(value_name = "NAME|CONFIGURATION")]
    pub(crate) name: Option<String>,
    /// The configuration, as YAML or JSON: in a file, `-` for standard input, or as it is. What is said by options goes first
    #[arg(long, visible_alias = "node-config", value_name = "YAML|PATH|-", allow_hyphen_values = true)]
    pub(crate) configuration: Option<String>,
    /// The value of a variable of the configuration; before those in it and in the environment. May be repeated
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// A ticket by which the node's identity becomes a member, whose credential the node then presents: in a file, `-` for
    /// standard input, or as it is
    #[arg(
        long,
        value_name = "TICKET|PATH|-",
        allow_hyphen_values = true,
        env = "ENROLLMENT_TICKET",
        hide_env_values = true
    )]
    pub(crate) enrollment_ticket: Option<String>,
    /// Stay, and write the log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// End when standard input does
    #[arg(short, long)]
    pub(crate) exit_on_eof: bool,
    /// Where to listen for other nodes; 127.0.0.1:0, which is any port that is free, when nothing is given
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    pub(crate) tcp_listener_address: Option<String>,
    /// Who the node is; the default identity when none is given, made when there is none at all
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How the log is written: lines of text, or of JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Where to say over HTTP how the node is, to whoever gets there: `HEAD /` that it lives, `GET /show` what `node show` says;
    /// nowhere when nothing is given
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_status_endpoint")]
    pub(crate) status_endpoint: Option<String>,
    /// As when nothing is given
    #[arg(long, hide = true)]
    pub(crate) no_status_endpoint: bool,
    /// A name that runs is refused in any case
    #[arg(short, long, hide = true)]
    pub(crate) skip_is_running_check: bool,
    /// Started by another `node create`, which waits for it
    #[arg(long, hide = true, requires = "foreground", conflicts_with = "exit_on_eof")]
    pub(crate) detached: bool,
    /// What a configuration says that no option does, as JSON, from who started it
    #[arg(long, hide = true, requires = "detached")]
    pub(crate) said: Option<String>,
}

/// Whose credentials count, and are presented.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Trust {
    /// The project whose authority's credentials count; the default one, if there is one, when nothing is given
    #[arg(long, value_name = "PROJECT", conflicts_with = "authority_identity")]
    pub(crate) project: Option<String>,
    /// The change history, as hex, of the authority whose credentials count
    #[arg(long, value_name = "HEX|PATH")]
    pub(crate) authority_identity: Option<String>,
    /// Where that authority is: what it issues is stored with `project enroll` or `credential store`
    #[arg(long, value_name = "ROUTE|URL", hide = true, requires = "authority_identity")]
    pub(crate) authority_route: Option<String>,
    /// The scope of the stored credentials that are presented; any when none is given
    #[arg(long, value_name = "SCOPE")]
    pub(crate) credential_scope: Option<String>,
}

/// The node that is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct At {
    /// The node; the default one when none is given, made when there is none
    #[arg(long, value_name = "NODE")]
    pub(crate) at: Option<String>,
}

/// Whether something of a node is to end, and who is asked first.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Who a node is in a channel, and who may be at the other end.
#[derive(Clone, Debug, Args)]
pub(crate) struct Party {
    /// An identifier that may be at the other end; anybody's when none is given. May be repeated, or a list with commas
    #[arg(short, long, value_name = "IDENTIFIER", value_delimiter = ',')]
    pub(crate) authorized: Vec<String>,
    /// The identity that is used; the node's own when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
}

/// How long to wait.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wait {
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) timeout: std::time::Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The name; the default node when none is given
    #[arg(conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every node of this home; other servers stay
    #[arg(long)]
    pub(crate) all: bool,
    /// Stop it first when it runs, and kill it when it does not end
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Wait {
    /// The same in milliseconds, as a node is told.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}
