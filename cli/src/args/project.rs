//! `project …`, `project-member …`

use clap::{Args, Subcommand};

use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Have an enrolment ticket made; or list tickets, or revoke one
    #[command(after_help = "Examples:
  ockam-kms project ticket -a role=member --expires-in 1h --usage-count 5
  ockam-kms project ticket --enroller \\
    --authority-route http://127.0.0.1:4100 --authority-identity 8182
  ockam-kms project ticket --list
  ockam-kms project ticket --revoke 0123456789abcdef")]
    Ticket(Ticket),
    /// Become a member by a ticket, and get a credential
    #[command(after_help = "Examples:
  ockam-kms project enroll - < ticket
  ockam-kms project enroll ticket.txt --identity member --timeout 1m
  ockam-kms project enroll ticket.txt --identity member --attest-key")]
    Enroll(Enroll),
    /// Store a project from a file, as JSON: how the reference stores one
    #[command(after_help = "Example:\n  ockam-kms project import --project-file project.json")]
    Import(Import),
    /// List the projects
    #[command(after_help = "Example:\n  ockam-kms project list")]
    List(ListProjects),
    /// Show a project
    #[command(alias = "information", after_help = "Example:\n  ockam-kms project show --output json")]
    Show(Show),
    /// Forget a project and its stored credentials; one stays a member at its authority
    #[command(after_help = "Examples:
  ockam-kms project delete demo
  ockam-kms project delete demo --dry-run")]
    Delete(DeleteProject),
}

/// Whom to talk to, and as whom.
#[derive(Debug, Default, Args)]
pub(crate) struct At {
    /// The identity that asks; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// The project, by name or identifier; the default one when none is given
    #[arg(short, long, alias = "project-name", value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// The authority's URL, or the route to its secure channels (`/dnsaddr/HOST/tcp/PORT/service/api`), where no project is
    /// stored
    #[arg(long, value_name = "URL|ROUTE", requires = "authority_identity", conflicts_with = "project")]
    pub(crate) authority_route: Option<String>,
    /// The authority's change history as hex, which pins it
    #[arg(long, value_name = "HEX|PATH", requires = "authority_route")]
    pub(crate) authority_identity: Option<String>,
    /// The certificate of the CA that issued the authority's TLS certificate, as PEM, when it is none that this system trusts;
    /// enrolling and the first ticket store it with the project
    #[arg(long, value_name = "PATH")]
    pub(crate) authority_ca: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Ticket {
    #[command(flatten)]
    pub(crate) at: At,
    /// An attribute that the ticket gives; `name` alone means `name=true`. May be repeated
    #[arg(short, long = "attribute", value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub(crate) attributes: Vec<String>,
    /// How long the ticket is good; 10 minutes when nothing is given
    #[arg(long, value_name = "DURATION", value_parser = duration::seconds)]
    pub(crate) expires_in: Option<u64>,
    /// How often the ticket can be used; once when nothing is given
    #[arg(long, value_name = "COUNT")]
    pub(crate) usage_count: Option<u32>,
    /// The same as `-a ockam-relay=NAME`
    #[arg(long, value_name = "NAME")]
    pub(crate) relay: Option<String>,
    /// The same as `-a ockam-role=enroller`
    #[arg(long)]
    pub(crate) enroller: bool,
    /// Accepted for scripts that pass it: it changes nothing in the reference either
    #[arg(long, hide = true, value_name = "SCOPE")]
    pub(crate) credential_scope: Option<String>,
    /// The same as `-a ockam-tls-certificate=true`
    #[arg(long, hide = true)]
    pub(crate) tls: bool,
    /// Write the ticket as hex
    #[arg(long)]
    pub(crate) hex: bool,
    /// Write the ticket in the reference's older form
    #[arg(long, hide = true, conflicts_with = "hex")]
    pub(crate) legacy: bool,
    /// Accepted for scripts that pass it: there is no controller to call
    #[arg(long, hide = true)]
    pub(crate) skip_controller_call: bool,
    /// The project's identifier in the ticket, where no project is stored
    #[arg(long, value_name = "IDENTIFIER", requires = "authority_route")]
    pub(crate) project_identifier: Option<String>,
    /// List the tickets, without their codes
    #[arg(long, conflicts_with_all = ["attributes", "expires_in", "usage_count", "relay", "enroller", "hex", "legacy"])]
    pub(crate) list: bool,
    /// Revoke the ticket of this reference
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["list", "attributes", "expires_in", "usage_count", "relay", "enroller", "hex", "legacy"])]
    pub(crate) revoke: Option<String>,
    /// Say with --revoke what would be revoked, and change nothing
    #[arg(long, requires = "revoke")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Enroll {
    /// The ticket, a file that holds it, or `-` for standard input; without one, the stored project's credential is fetched
    #[arg(value_name = "TICKET|PATH|-", conflicts_with = "ticket_file")]
    pub(crate) ticket: Option<String>,
    /// The file that holds the ticket
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) ticket_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) at: At,
    /// Show the authority what the vault says of the identity's primary key, which its enrolment policy may ask for
    #[arg(long)]
    pub(crate) attest_key: bool,
    /// How long to wait for each answer of the authority; 30 seconds when nothing is given
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// Accepted for scripts that pass it: it changes nothing in the reference either
    #[arg(long, hide = true, value_name = "SCOPE")]
    pub(crate) credential_scope: Option<String>,
    /// Become a member and fetch no credential
    #[arg(long, hide = true)]
    pub(crate) skip_credential_issue: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) project_file: std::path::PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The project, by name or identifier; the default one when none is given
    pub(crate) name: Option<String>,
    /// Accepted for scripts that pass it: nobody is asked
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ListProjects {
    /// Accepted for scripts that pass it: nobody is asked
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteProject {
    /// The project, by name or identifier. A word before it is taken for the project's space, of which there are none
    #[arg(required = true, num_args = 1..=2, value_name = "PROJECT")]
    pub(crate) names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Accepted for scripts that pass it: nobody is asked
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberVerb {
    /// Add a member, or replace a member's attributes
    #[command(after_help = "Example:
  ockam-kms project-member add \\
    I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c -a role=member")]
    Add(Add),
    /// List the members
    #[command(after_help = "Example:\n  ockam-kms project-member list --enroller")]
    List(List),
    /// List the members' identifiers
    #[command(after_help = "Example:\n  ockam-kms project-member list-ids")]
    ListIds(ListIds),
    /// Show a member; oneself when none is given
    #[command(after_help = "Example:\n  ockam-kms project-member show")]
    Show(ShowMember),
    /// Delete a member, or all that may be deleted
    #[command(after_help = "Example:
  ockam-kms project-member delete \\
    I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c")]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The member's identifier
    pub(crate) member: String,
    #[command(flatten)]
    pub(crate) at: At,
    /// An attribute; `name` alone means `name=true`. May be repeated
    #[arg(short, long = "attribute", value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub(crate) attributes: Vec<String>,
    /// The same as `-a ockam-relay=NAME`
    #[arg(long, value_name = "NAME")]
    pub(crate) relay: Option<String>,
    /// The same as `-a ockam-role=enroller`
    #[arg(long)]
    pub(crate) enroller: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) at: At,
    /// Only the enrollers
    #[arg(long, alias = "enrollers")]
    pub(crate) enroller: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListIds {
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct ShowMember {
    /// The member's identifier
    pub(crate) member: Option<String>,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The member's identifier
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) member: Option<String>,
    /// Every member that you may delete, but yourself
    #[arg(long)]
    pub(crate) all: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) at: At,
}
