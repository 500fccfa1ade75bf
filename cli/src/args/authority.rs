//! `authority …`, `audit …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start an authority; returns when it is ready
    #[command(after_help = "Examples:
  ockam-kms authority create --project-identifier demo --identity issuer \\
    --trusted-identities '{}' --http-address 127.0.0.1:4100
  ockam-kms authority create --project-identifier demo --foreground \\
    --trusted-identities trusted.json --http-address 127.0.0.1:4100
  ockam-kms authority create --project-identifier demo \\
    --trusted-identities trusted.json --tcp-listener-address 0.0.0.0:4000
  ockam-kms authority create --project-identifier demo \\
    --trusted-identities trusted.json --http-address 0.0.0.0:4100 \\
    --tls-cert authority.crt --tls-key authority.key
  ockam-kms authority create --project-identifier demo \\
    --trusted-identities trusted.json --http-address 127.0.0.1:4100 \\
    --enrolment-policy '(= key.protection \"attested\")' \\
    --key-attestation-ca devices.pem")]
    Create(Box<Create>),
    /// List the authorities
    #[command(after_help = "Example:\n  ockam-kms authority list")]
    List,
    /// Show an authority
    #[command(after_help = "Example:\n  ockam-kms authority show authority-demo --output json
  ockam-kms authority show --issuer-bundle")]
    Show(ShowAuthority),
    /// Have an authority read its identity and its TLS certificate again
    #[command(after_help = "Example:\n  ockam-kms authority reload authority-demo")]
    Reload(Named),
    /// Stop an authority, after the requests under way
    #[command(after_help = "Example:\n  ockam-kms authority stop authority-demo")]
    Stop(Stop),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name; `authority-` and the project's identifier when none is given
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The identity that issues; the one of the authority's name when none is given, created when it does not exist
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// The project that it is for
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) project_identifier: String,
    /// Members from the start: a JSON object from identifier to an object of attributes, or a file that holds one
    #[arg(long, value_name = "JSON|PATH", allow_hyphen_values = true)]
    pub(crate) trusted_identities: String,
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http_address: Option<String>,
    /// Where to listen for secure channels, with Ockam's own services behind them
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    pub(crate) tcp_listener_address: Option<String>,
    /// Without the service behind secure channels that adds, lists, shows and deletes members
    #[arg(long, requires = "tcp_listener_address")]
    pub(crate) no_direct_authentication: bool,
    /// Without the services behind secure channels that make and take enrolment tickets
    #[arg(long, requires = "tcp_listener_address")]
    pub(crate) no_token_enrollment: bool,
    /// Credentials do not say which project they are for
    #[arg(long)]
    pub(crate) disable_trust_context_id: bool,
    /// Where its data is: `rocksdb:PATH` or `memory:`; a directory in the home when nothing is given
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// How long credentials are good
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::seconds)]
    pub(crate) credential_ttl: u64,
    /// An enroller is not an admin by that alone
    #[arg(long)]
    pub(crate) enforce_admin_checks: bool,
    /// An admin, member or not. May be repeated
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) admin: Vec<String>,
    /// What a member has to be beyond holding a ticket: a policy over what the ticket gives (`subject.NAME`) and what is
    /// shown of the key behind the identity (`key.protection`, `key.exportable`, `key.touch`, `key.weakness`)
    #[arg(long, value_name = "POLICY", allow_hyphen_values = true)]
    pub(crate) enrolment_policy: Option<String>,
    /// Certificates, as PEM, of those who certify devices: without them no key counts as `attested`
    #[arg(long, value_name = "PATH", requires = "enrolment_policy")]
    pub(crate) key_attestation_ca: Option<PathBuf>,
    /// Speak TLS: the server's certificate as PEM, and after it those up to its root
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key as PEM, in a file that only its owner can read
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let others than this machine come by plain HTTP
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Count failed requests of this machine too, and refuse more than ten a minute
    #[arg(long)]
    pub(crate) limit_loopback: bool,
    /// Where to serve metrics for Prometheus, at /metrics; nowhere when nothing is given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_address: Option<String>,
    /// How the log is written: lines of text, or of JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Under which URL clients know it, when something in front of it rewrites the host
    #[arg(long, value_name = "URL", requires = "http_address")]
    pub(crate) public_url: Option<String>,
    /// Take the machine's clock for right, though the store has seen a later time; what expired in between is good again
    #[arg(long)]
    pub(crate) accept_clock: bool,
    /// Stay, and write the log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Accepted for scripts that pass it, as the next: the reference does not look at them either
    #[arg(long, hide = true, value_name = "ROUTE")]
    pub(crate) project_access_route: Option<String>,
    /// See `--project-access-route`
    #[arg(long, hide = true, value_name = "PATH")]
    pub(crate) project_identity_identifier_file: Option<PathBuf>,
    /// A name that runs is refused in any case
    #[arg(short, long, hide = true)]
    pub(crate) skip_is_running_check: bool,
    /// Started by another `authority create`, which waits for it
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name; not needed while there is only one
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The name; not needed while there is only one
    pub(crate) name: Option<String>,
    /// Kill it when it does not end by itself: what it answered is kept, what it is doing is cut
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowAuthority {
    /// The name of one that runs from this home; the project's authority when there is none
    #[arg(conflicts_with_all = ["project", "authority_route"])]
    pub(crate) name: Option<String>,
    /// Write what verifiers need of it: its change history with the current attestations
    #[arg(long)]
    pub(crate) issuer_bundle: bool,
    /// The project whose authority is asked
    #[arg(short, long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// The authority's URL, or the route to its secure channels, where no project is stored
    #[arg(long, value_name = "URL|ROUTE", requires = "authority_identity", conflicts_with = "project")]
    pub(crate) authority_route: Option<String>,
    /// The authority's change history as hex, which pins it
    #[arg(long, value_name = "HEX|PATH", requires = "authority_route")]
    pub(crate) authority_identity: Option<String>,
    /// The certificate of the CA that issued the authority's TLS certificate, as PEM, when it is none that this system trusts
    #[arg(long, value_name = "PATH")]
    pub(crate) authority_ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Write the audit log, one row of JSON a line
    #[command(after_help = "Examples:
  ockam-kms audit export > audit.jsonl
  ockam-kms audit export --at authority-demo --to audit.jsonl")]
    Export(Export),
    /// Check an exported audit log; exit code 65 when it is not the log that was written
    #[command(after_help = "Examples:
  ockam-kms audit verify audit.jsonl
  ockam-kms audit export | ockam-kms audit verify -")]
    Verify(VerifyLog),
    /// List the credentials that were going to be signed and never recorded: their signatures may have been made
    #[command(after_help = "Examples:
  ockam-kms audit orphans
  ockam-kms audit orphans --at authority-demo --output json")]
    Orphans(Orphans),
}

#[derive(Debug, Args)]
pub(crate) struct Orphans {
    /// The authority; not needed while there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The authority; not needed while there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) at: Option<String>,
    /// The file to write, which must not exist yet; standard output when none is given
    #[arg(long, value_name = "PATH")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyLog {
    /// The exported log; `-` is standard input
    #[arg(value_name = "PATH|-", default_value = "-", allow_hyphen_values = true)]
    pub(crate) file: PathBuf,
    /// Where the log stood at an earlier moment, as an earlier `audit verify` told: its row number, a colon, its hash; or
    /// the hash alone
    #[arg(long, value_name = "[ROW:]HASH")]
    pub(crate) head: Option<String>,
}
