//! What `authority create` was asked for, checked before anything is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use authority::enrolment::EnrolmentPolicy;
use authority::http::Tls;
use authority::member::MemberAttributes;
use authority::service::Settings;
use home::{Home, Name};
use identity::Identifier;

use crate::args::authority::{Create, LogFormat};
use crate::context::{Context, name};
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::secret_input::file_text;

/// An authority that is to be started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: Name,
    /// The identity, and whether it may be made.
    pub(super) identity: Name,
    pub(super) may_make_identity: bool,
    pub(super) http: Option<SocketAddr>,
    pub(super) tcp: Option<SocketAddr>,
    pub(super) direct_authentication: bool,
    pub(super) token_enrolment: bool,
    pub(super) insecure_http: bool,
    /// The files of the certificate and of its key.
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) limit_loopback: bool,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) log_format: LogFormat,
    pub(super) public_url: Option<String>,
    pub(super) store: String,
    pub(super) settings: Settings,
    /// The text of the enrolment policy, and the file of the certificates that it goes by.
    pub(super) enrolment: Option<(String, Option<PathBuf>)>,
    pub(super) accept_clock: bool,
    trusted: String,
}

impl Plan {
    pub(super) fn new(context: &Context, create: &Create) -> Result<Self> {
        let home = context.home()?;
        let project = &create.project_identifier;
        let default_name = || {
            name("an authority", &format!("authority-{project}"))
                .map_err(|e| e.with_hint("give it another name with --name"))
        };
        let server = create.name.as_deref().map_or_else(default_name, |given| name("an authority", given))?;
        if project.contains(',') || project.contains('/') {
            return Err(Error::invalid(format!(
                "`{}` cannot be the identifier of a project",
                shown(project)
            ))
            .with_hint("it stands in tickets and routes: leave out commas and slashes"));
        }
        let trusted = trusted_text(&create.trusted_identities)?;
        let mut settings = Settings::new(project.clone());
        settings.credential_seconds = create.credential_ttl;
        settings.pre_trusted = trusted_identities(&trusted)?;
        settings.say_project = !create.disable_trust_context_id;
        settings.rules.enforce_admin = create.enforce_admin_checks;
        settings.rules.admins =
            create.admin.iter().map(|admin| admin.parse()).collect::<identity::Result<_>>()?;
        let enrolment = enrolment(create)?;
        settings.enrolment = enrolment.as_ref().map(|(_, policy)| policy.clone());
        let identity = match &create.identity {
            Some(given) => name("an identity", given)?,
            None => server.clone(),
        };
        let (http, tcp) = doors(create)?;
        Ok(Self {
            store: store(home, &server, create.store.as_deref())?,
            http,
            tcp,
            direct_authentication: !create.no_direct_authentication,
            token_enrolment: !create.no_token_enrollment,
            insecure_http: create.insecure_http,
            tls: tls(create)?,
            limit_loopback: create.limit_loopback,
            metrics: metrics(create)?,
            log_format: create.log_format,
            public_url: create.public_url.clone(),
            may_make_identity: create.identity.is_none(),
            accept_clock: create.accept_clock,
            name: server,
            identity,
            settings,
            enrolment: enrolment.map(|(given, _)| given),
            trusted,
        })
    }

    /// The arguments that start the same plan in another process.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--output=json".into(), "--no-input".into()];
        arguments.extend(["authority", "create", "--foreground", "--detached"].map(OsString::from));
        let mut pair = |option: &str, value: String| arguments.push(format!("{option}={value}").into());
        pair("--name", self.name.to_string());
        if !self.may_make_identity {
            pair("--identity", self.identity.to_string());
        }
        pair("--project-identifier", self.settings.project.clone());
        pair("--trusted-identities", self.trusted.clone());
        for (option, door) in [("--http-address", self.http), ("--tcp-listener-address", self.tcp)] {
            if let Some(address) = door {
                pair(option, address.to_string());
            }
        }
        pair("--store", self.store.clone());
        pair("--credential-ttl", format!("{}s", self.settings.credential_seconds));
        for admin in &self.settings.rules.admins {
            pair("--admin", admin.to_string());
        }
        if let Some(url) = &self.public_url {
            pair("--public-url", url.clone());
        }
        if let Some(address) = &self.metrics {
            pair("--metrics-address", address.to_string());
        }
        if self.log_format == LogFormat::Json {
            pair("--log-format", "json".to_owned());
        }
        if let Some((certificate, key)) = &self.tls {
            for (option, path) in [("--tls-cert", certificate), ("--tls-key", key)] {
                arguments.extend([OsString::from(option), path.into()]);
            }
        }
        if let Some((policy, certificates)) = &self.enrolment {
            arguments.push(format!("--enrolment-policy={policy}").into());
            if let Some(path) = certificates {
                arguments.extend([OsString::from("--key-attestation-ca"), path.into()]);
            }
        }
        for (option, wanted) in [
            ("--no-direct-authentication", !self.direct_authentication),
            ("--no-token-enrollment", !self.token_enrolment),
            ("--disable-trust-context-id", !self.settings.say_project),
        ] {
            if wanted {
                arguments.push(option.into());
            }
        }
        if self.settings.rules.enforce_admin {
            arguments.push("--enforce-admin-checks".into());
        }
        if self.accept_clock {
            arguments.push("--accept-clock".into());
        }
        if self.insecure_http {
            arguments.push("--insecure-http".into());
        }
        if self.limit_loopback {
            arguments.push("--limit-loopback".into());
        }
        arguments
    }
}

type Enrolment = ((String, Option<PathBuf>), EnrolmentPolicy);

/// Read before anything is started, as the certificates of TLS are.
fn enrolment(create: &Create) -> Result<Option<Enrolment>> {
    let Some(policy) = &create.enrolment_policy else { return Ok(None) };
    let certificates = create.key_attestation_ca.as_deref().map(absolute).transpose()?;
    let anchors = certificates.as_deref().map(crate::commands::key::anchors).transpose()?;
    let read = EnrolmentPolicy::new(policy, anchors.unwrap_or_default())?;
    Ok(Some(((policy.clone(), certificates), read)))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::invalid(format!("`{}` has no absolute path", shown(&path.display().to_string())))
            .with_source(e)
    })
}

/// Read before anything is started, so that what is wrong with them is said at once. Absolute: the server lives elsewhere.
fn tls(create: &Create) -> Result<Option<(PathBuf, PathBuf)>> {
    let (Some(certificate), Some(key)) = (&create.tls_cert, &create.tls_key) else { return Ok(None) };
    Tls::load(certificate, key)?;
    Ok(Some((absolute(certificate)?, absolute(key)?)))
}

fn address(given: &str) -> Result<SocketAddr> {
    given.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        Error::invalid(format!("`{}` is not an address and a port", shown(given)))
            .with_hint("as in 127.0.0.1:4100")
    })
}

/// Metrics have a door of their own, and without TLS.
fn metrics(create: &Create) -> Result<Option<SocketAddr>> {
    let Some(address) = create.metrics_address.as_deref().map(address).transpose()? else { return Ok(None) };
    if !address.ip().to_canonical().is_loopback() && !create.insecure_http {
        return Err(Error::new(
            Kind::Denied,
            format!("metrics at `{address}` could be read by other machines, and there is no TLS on it"),
        )
        .with_hint("serve them on 127.0.0.1, or add --insecure-http when something else protects the way"));
    }
    Ok(Some(address))
}

/// The doors that are named are open, and at least one has to be: the HTTP door, and that of secure channels.
fn doors(create: &Create) -> Result<(Option<SocketAddr>, Option<SocketAddr>)> {
    let http = create.http_address.as_deref().map(address).transpose()?;
    let tcp = create.tcp_listener_address.as_deref().map(address).transpose()?;
    if http.is_none() && tcp.is_none() {
        return Err(Error::usage("the authority would have no door").with_hint(
            "open one: --http-address 127.0.0.1:4100, or --tcp-listener-address 127.0.0.1:4000 for secure channels",
        ));
    }
    let is_open = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if let Some(address) = http.filter(is_open)
        && create.tls_cert.is_none()
        && !create.insecure_http
    {
        return Err(Error::new(
            Kind::Denied,
            format!("`{address}` can be reached by other machines, and there is no TLS on it"),
        )
        .with_hint("add --tls-cert and --tls-key, or listen on 127.0.0.1, or add --insecure-http when something else protects the way"));
    }
    Ok((http, tcp))
}

fn trusted_text(given: &str) -> Result<String> {
    if given.trim_start().starts_with(['{', '[']) || given.trim().is_empty() {
        return Ok(given.trim().to_owned());
    }
    Ok(file_text(Path::new(given), "JSON object")?.to_string())
}

/// `{"I…": {"name": "value"}}`.
fn trusted_identities(text: &str) -> Result<BTreeMap<Identifier, MemberAttributes>> {
    let shape = |why: String| {
        Error::invalid(format!("--trusted-identities: {why}")).with_hint(
            "it is a JSON object, as in {\"I6992…\": {\"ockam-role\": \"enroller\"}}; {} for nobody",
        )
    };
    let map: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(text).map_err(|e| shape(format!("not what it has to be: {e}")))?;
    let mut trusted = BTreeMap::new();
    for (identifier, attributes) in map {
        let identifier: Identifier = identifier.parse().map_err(|e: identity::Error| shape(e.to_string()))?;
        let attributes = MemberAttributes::new(attributes)
            .map_err(|problem| shape(format!("about `{identifier}`: {problem}")))?;
        trusted.insert(identifier, attributes);
    }
    Ok(trusted)
}

/// The URL of the store, with an absolute path: the record of the server outlives its working directory.
fn store(home: &Home, server: &Name, given: Option<&str>) -> Result<String> {
    let Some(given) = given else { return Ok(store_url(&default_store(home, server))) };
    match given.split_once(':') {
        Some(("rocksdb", path)) if !path.is_empty() => {
            let path = std::path::absolute(path).map_err(|e| {
                Error::invalid(format!("`{}` has no absolute path", shown(path))).with_source(e)
            })?;
            Ok(store_url(&path))
        }
        Some(("memory", "")) => Ok(given.to_owned()),
        _ => Err(Error::invalid(format!("`{}` is not the URL of a store", shown(given)))
            .with_hint("use `rocksdb:DIRECTORY` or `memory:`")),
    }
}

pub(super) fn store_url(path: &Path) -> String {
    format!("rocksdb:{}", path.display())
}

/// Where a server keeps its data when nothing else is said.
pub(super) fn default_store(home: &Home, server: &Name) -> PathBuf {
    home.path().join("servers").join(format!("{server}.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_identities_are_an_object() {
        let id = format!("I{}", "6".repeat(64));
        let good = trusted_identities(&format!(r#"{{"{id}":{{"ockam-role":"enroller"}}}}"#)).unwrap();
        assert!(good.values().next().unwrap().make_an_enroller());
        assert!(trusted_identities("{}").unwrap().is_empty());
        for bad in [
            "",
            "[]",
            "{",
            r#"{"x":{}}"#,
            &format!(r#"{{"{id}":{{"a":1}}}}"#),
            &format!(r#"{{"{id}":{{"identifier":"x"}}}}"#),
            &format!(r#"{{"{id}":{{}}}} trailing"#),
        ] {
            assert_eq!(trusted_identities(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
