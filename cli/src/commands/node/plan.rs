//! What a node is made with: from the command line, and from its record when it is started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};

use home::{Home, Name, NodeRecord, RelayRecord};
use identity::{Identifier, Identity};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::authority::LogFormat;
use crate::args::node::{Create, Trust};
use crate::commands::server::{NODE, node_name};
use crate::context::{Context, name, random_name};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::secret_input::text;

/// Where a node listens that was told nothing.
const ANY_PORT: &str = "127.0.0.1:0";

/// What a configuration says of a node that no option says, as a record keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) policies: BTreeMap<String, String>,
    pub(super) relays: BTreeMap<String, RelayRecord>,
}

/// A node that is to be started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: Name,
    /// Who it is; the default identity, made when there is none, when nobody is named.
    pub(super) identity: Option<Name>,
    pub(super) record: NodeRecord,
    /// What the record has anew.
    said: Said,
    pub(super) log_format: LogFormat,
}

impl Plan {
    pub(super) fn new(context: &Context, create: &Create) -> Result<Self> {
        let home = context.home()?;
        let name = match create.name.as_deref() {
            Some(given) => node_name(given)?,
            None => free_name(home)?,
        };
        let identity =
            create.identity.as_deref().map(|given| self::name("an identity", given)).transpose()?;
        if let Some(identity) = &identity
            && let Some((_, record)) = home.identities()?.into_iter().find(|(known, _)| known == identity)
        {
            record.own_key()?;
        }
        let kept = match home.servers()?.into_iter().find(|(known, ..)| *known == name) {
            Some((_, record, _)) if record.kind != NODE => {
                return Err(Error::new(
                    Kind::AlreadyExists,
                    format!("there already is a server `{name}`, which is no node"),
                )
                .with_hint("choose another name"));
            }
            // What was decided about it by hand stays.
            Some((_, record, _)) => record.node.unwrap_or_default(),
            None => NodeRecord::default(),
        };
        let listen = create.tcp_listener_address.clone().unwrap_or_else(|| ANY_PORT.to_owned());
        address(&listen)?;
        let trust = trusted(home, &create.trust)?;
        create.status_endpoint.as_deref().map(address).transpose()?;
        let status_endpoint = create.status_endpoint.clone();
        let record =
            NodeRecord { listen, status_endpoint, policies: kept.policies, relays: kept.relays, ..trust };
        let mut plan = Self { name, identity, record, said: Said::default(), log_format: create.log_format };
        if let Some(said) = &create.said {
            plan.say(serde_json::from_str(said)?);
        }
        Ok(plan)
    }

    /// Adds what is said of a node beside its options, in place of what was said before.
    pub(super) fn say(&mut self, said: Said) {
        self.record.policies.extend(said.policies.clone());
        self.record.relays.extend(said.relays.clone());
        self.said = said;
    }

    /// A node as its record has it.
    pub(super) fn stored(home: &Home, name: &Name) -> Result<Self> {
        let (server, _) = home.server(name)?;
        let record = server.node.ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("the server `{name}` is no node"))
                .with_hint("an authority is started by `ockam-kms authority create`, as before")
        })?;
        let identity = Some(self::name("an identity", &server.identity)?);
        Ok(Self { name: name.clone(), identity, record, said: Said::default(), log_format: LogFormat::Text })
    }

    /// A node that lives in this process alone.
    pub(super) fn passing(home: &Home, identity: Option<Name>, trust: &Trust) -> Result<Self> {
        let record = trusted(home, trust)?;
        Ok(Self {
            name: random_name("node")?,
            identity,
            record,
            said: Said::default(),
            log_format: LogFormat::Text,
        })
    }

    pub(super) fn listen(&self) -> Result<SocketAddr> {
        address(&self.record.listen)
    }

    pub(super) fn status_endpoint(&self) -> Result<Option<SocketAddr>> {
        self.record.status_endpoint.as_deref().map(address).transpose()
    }

    /// The arguments that start the same plan in another process.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--output=json".into(), "--no-input".into()];
        arguments.extend(["node", "create", "--foreground", "--detached"].map(OsString::from));
        let mut pair = |option: &str, value: &str| arguments.push(format!("{option}={value}").into());
        pair("--tcp-listener-address", &self.record.listen);
        let identity = self.identity.as_ref().map(Name::to_string);
        for (option, value) in [
            ("--identity", &identity),
            ("--project", &self.record.project),
            ("--authority-identity", &self.record.authority),
            ("--credential-scope", &self.record.credential_scope),
            ("--status-endpoint", &self.record.status_endpoint),
        ] {
            if let Some(value) = value {
                pair(option, value);
            }
        }
        if self.log_format == LogFormat::Json {
            pair("--log-format", "json");
        }
        if self.said != Said::default() {
            pair("--said", &json!(self.said).to_string());
        }
        arguments.push(self.name.as_str().into());
        arguments
    }
}

/// `default` for the first node, and else a random name.
fn free_name(home: &Home) -> Result<Name> {
    let default = Name::new("default")?;
    if home.default_node()?.is_none() && home.servers()?.iter().all(|(name, ..)| *name != default) {
        return Ok(default);
    }
    random_name("node")
}

fn address(given: &str) -> Result<SocketAddr> {
    given.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        Error::invalid(format!("`{}` is not an address and a port", shown(given)))
            .with_hint("as in 127.0.0.1:4000")
    })
}

/// Whose credentials count, as it is kept.
fn trusted(home: &Home, trust: &Trust) -> Result<NodeRecord> {
    let authority = match &trust.authority_identity {
        Some(given) => {
            let history = text(given, "change history")?;
            Identity::import_hex(&history)?;
            Some(history.to_string())
        }
        None => None,
    };
    if let Some(project) = &trust.project {
        home.project_or_default(Some(project))?;
    }
    Ok(NodeRecord {
        project: trust.project.clone(),
        authority,
        credential_scope: trust.credential_scope.clone(),
        ..NodeRecord::default()
    })
}

/// The authority whose credentials count: the one that was named, else that of the project that was named, else that of the
/// default project, if there is one.
pub(super) fn issuer(home: &Home, record: &NodeRecord) -> Result<Option<Identifier>> {
    let history = match (&record.authority, &record.project) {
        (Some(history), _) => history.clone(),
        (None, Some(project)) => home.project_or_default(Some(project))?.authority_change_history,
        (None, None) if home.defaults()?.project.is_some() => {
            home.project_or_default(None)?.authority_change_history
        }
        (None, None) => return Ok(None),
    };
    let identity = Identity::import_hex(&history).map_err(|e| {
        Error::new(Kind::Corrupt, "the stored history of the authority breaks its own rules").with_source(e)
    })?;
    Ok(Some(identity.identifier()))
}
