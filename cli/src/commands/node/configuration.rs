//! The configuration of a node: what else is said with options, as YAML or JSON, with the keys of the reference.
//!
//! Everything that is not known is refused: a key that is passed over is a door that somebody believes to be closed. Variables
//! are put in place after the text was read, so that no value can add a key. A ticket is better named as a file than written
//! into the configuration: what the parser of YAML has read is not wiped.

use std::collections::BTreeMap;

use home::RelayRecord;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::{Error, Result, shown};

/// The keys that there are, for who mistypes one.
const KEYS: &str = "the keys are name, identity, project, authority-identity, credential-scope, tcp-listener-address, status-endpoint, ticket, \
                    foreground, exit-on-eof, policies, relays, variables";
/// What nodes of the reference also do and ours do not. Left out, the node would be another one than was asked for.
const UNSERVED: [&str; 18] = [
    "tcp-inlets",
    "tcp-inlet",
    "tcp-outlets",
    "tcp-outlet",
    "kafka-inlet",
    "kafka-outlet",
    "influxdb-inlets",
    "influxdb-inlet",
    "influxdb-outlets",
    "influxdb-outlet",
    "services",
    "launch-config",
    "http-server",
    "enable-http-server",
    "udp",
    "udp-listener-address",
    "opentelemetry-context",
    "in-memory",
];
/// The version of the format.
const VERSION: &str = "1";

/// What a configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) name: Option<String>,
    pub(super) identity: Option<String>,
    pub(super) project: Option<String>,
    pub(super) authority_identity: Option<String>,
    pub(super) credential_scope: Option<String>,
    pub(super) tcp_listener_address: Option<String>,
    pub(super) status_endpoint: Option<String>,
    pub(super) ticket: Option<Zeroizing<String>>,
    pub(super) foreground: bool,
    pub(super) exit_on_eof: bool,
    /// As a record keeps them: by `resource:NAME` or `resource-type:TYPE`.
    pub(super) policies: BTreeMap<String, String>,
    /// By name. Where no way is given the text is empty.
    pub(super) relays: BTreeMap<String, RelayRecord>,
}

/// Where values of variables come from: those that were given, those of the configuration, those of the environment.
pub(super) struct Variables<'a> {
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Configuration {
    /// Reads one.
    pub(super) fn parse(text: &str, variables: &Variables<'_>) -> Result<Self> {
        let value: Value = serde_saphyr::from_str(text).map_err(|e| {
            Error::invalid(format!("the configuration cannot be read: {}", one_line(&e.to_string())))
                .with_hint("it is YAML or JSON: keys with values, each key once")
        })?;
        let Value::Object(mut keys) = value else {
            return Err(Error::invalid("the configuration has no keys").with_hint(KEYS));
        };
        let own = match take(&mut keys, "variables")? {
            Some(Value::Object(own)) => own
                .into_iter()
                .map(|(name, value)| Ok((name.clone(), scalar(&format!("variables.{name}"), value)?)))
                .collect::<Result<BTreeMap<_, _>>>()?,
            Some(_) => return Err(unfit("variables", "names with values")),
            None => BTreeMap::new(),
        };
        let look_up = |name: &str| {
            let found = variables.given.get(name).cloned();
            found.or_else(|| own.get(name).cloned()).or_else(|| (variables.environment)(name))
        };
        let mut read = Self::default();
        for (key, mut value) in keys {
            expand(&mut value, &look_up)?;
            read.take(&key.replace('_', "-"), &key, value)?;
        }
        Ok(read)
    }

    fn take(&mut self, key: &str, written: &str, value: Value) -> Result<()> {
        let place = match key {
            "name" => &mut self.name,
            "identity" => &mut self.identity,
            "project" => &mut self.project,
            "authority-identity" => &mut self.authority_identity,
            "credential-scope" => &mut self.credential_scope,
            "tcp-listener-address" => &mut self.tcp_listener_address,
            "status-endpoint" => &mut self.status_endpoint,
            _ => return self.take_other(key, written, value),
        };
        once(place.is_none(), written)?;
        *place = Some(scalar(written, value)?);
        Ok(())
    }

    fn take_other(&mut self, key: &str, written: &str, value: Value) -> Result<()> {
        match key {
            "ticket" | "enrollment-ticket" => {
                once(self.ticket.is_none(), written)?;
                self.ticket = Some(Zeroizing::new(scalar(written, value)?));
            }
            "foreground" => self.foreground = flag(written, value)?,
            "exit-on-eof" => self.exit_on_eof = flag(written, value)?,
            // They change nothing here, as on the command line.
            "skip-is-running-check" | "no-status-endpoint" => {
                flag(written, value)?;
            }
            "policies" | "policy" => {
                once(self.policies.is_empty(), written)?;
                for item in items(value) {
                    let (to, policy) = policy(written, item)?;
                    once(self.policies.insert(to.clone(), policy).is_none(), &to)?;
                }
            }
            "relays" | "relay" => {
                once(self.relays.is_empty(), written)?;
                for item in items(value) {
                    for (name, relay) in relays(written, item)? {
                        once(self.relays.insert(name.clone(), relay).is_none(), &name)?;
                    }
                }
            }
            "version" => {
                let version = scalar(written, value)?;
                if version != VERSION {
                    return Err(Error::invalid(format!(
                        "the configuration is of version `{}`",
                        shown(&version)
                    ))
                    .with_hint(format!("this program reads version {VERSION}")));
                }
            }
            _ if UNSERVED.contains(&key) => {
                return Err(Error::new(
                    crate::exit::Kind::Unsupported,
                    format!("`{written}` in the configuration asks for what these nodes do not do"),
                )
                .with_hint("take it out, and have it done by a node of `ockam`"));
            }
            _ => {
                return Err(Error::invalid(format!("`{}` is no key of a configuration", shown(written)))
                    .with_hint(KEYS));
            }
        }
        Ok(())
    }
}

/// The parser shows where in several lines; the first one says it.
fn one_line(text: &str) -> String {
    shown(text.lines().next().unwrap_or_default())
}

fn once(first: bool, key: &str) -> Result<()> {
    if first {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is given twice", shown(key))).with_hint("keep one of them"))
}

fn unfit(key: &str, wanted: &str) -> Error {
    Error::invalid(format!("`{}` in the configuration is not {wanted}", shown(key)))
        .with_hint("`ockam-kms node create --help` has an example")
}

/// A key under either spelling.
fn take(keys: &mut Map<String, Value>, key: &str) -> Result<Option<Value>> {
    let (plain, other) = (keys.remove(key), keys.remove(&key.replace('-', "_")));
    once(plain.is_none() || other.is_none(), key)?;
    Ok(plain.or(other))
}

fn scalar(key: &str, value: Value) -> Result<String> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return Err(unfit(key, "one value")),
    };
    if text.is_empty() { Err(unfit(key, "a value: it is empty")) } else { Ok(text) }
}

fn flag(key: &str, value: Value) -> Result<bool> {
    match scalar(key, value)?.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(unfit(key, "true or false")),
    }
}

/// One, or a list of them.
fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        one => vec![one],
    }
}

/// What an item says under these keys, and that it says nothing else.
fn fields<const N: usize>(key: &str, item: Value, names: [&str; N]) -> Result<[Option<Value>; N]> {
    let Value::Object(mut given) = item else { return Err(unfit(key, "keys with values")) };
    let mut found = [const { None }; N];
    for (place, name) in found.iter_mut().zip(names) {
        *place = take(&mut given, name)?;
    }
    match given.keys().next() {
        None => Ok(found),
        Some(other) => Err(Error::invalid(format!("`{}` is no key of `{}`", shown(other), shown(key)))
            .with_hint(format!("the keys are {}", names.join(", ")))),
    }
}

fn policy(key: &str, item: Value) -> Result<(String, String)> {
    let names = ["resource", "resource-type", "expression", "allow"];
    let [resource, resource_type, expression, allow] = fields(key, item, names)?;
    let to = match (resource, resource_type) {
        (Some(name), None) => format!("resource:{}", scalar(key, name)?),
        (None, Some(name)) => format!("resource-type:{}", scalar(key, name)?),
        _ => return Err(unfit(key, "for one `resource`, or one `resource-type`")),
    };
    match (expression, allow) {
        (Some(text), None) | (None, Some(text)) => Ok((to, scalar(key, text)?)),
        _ => Err(unfit(key, "one `expression`")),
    }
}

/// Relays as names alone, or as names with the way to each.
fn relays(key: &str, item: Value) -> Result<Vec<(String, RelayRecord)>> {
    let Value::Object(named) = item else { return Ok(vec![(scalar(key, item)?, RelayRecord::default())]) };
    let mut all = Vec::new();
    for (name, item) in named {
        let [at, address, authorized] = fields(key, item, ["at", "relay-address", "authorized"])?;
        let address = address.map(|address| scalar(key, address)).transpose()?;
        let at = at.map(|at| scalar(key, at)).transpose()?.unwrap_or_default();
        let authorized = authorized.map_or_else(Vec::new, items);
        let authorized = authorized.into_iter().map(|one| scalar(key, one)).collect::<Result<_>>()?;
        all.push((name, RelayRecord { at, address, authorized }));
    }
    Ok(all)
}

/// Puts values in the places of variables, in texts alone.
fn expand(value: &mut Value, look_up: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    match value {
        Value::String(text) => *text = expanded(text, look_up)?,
        Value::Array(items) => {
            for item in items {
                expand(item, look_up)?;
            }
        }
        Value::Object(items) => {
            for (_, item) in items.iter_mut() {
                expand(item, look_up)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// `$NAME` and `${NAME}` stand for a value, `$$` for a dollar sign.
fn expanded(text: &str, look_up: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let (mut rest, mut done) = (text, String::new());
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, next) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| {
                Error::invalid("a `${` in the configuration has no `}`")
                    .with_hint("as in ${PORT}; $$ is a dollar sign")
            })?,
            None => after.split_at(after.find(|c| !of_name(c)).unwrap_or(after.len())),
        };
        if let (true, Some(next)) = (name.is_empty(), next.strip_prefix('$')) {
            done.push('$');
            rest = next;
            continue;
        }
        let value = look_up(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::invalid(format!("the variable `{}` has no value", shown(name)))
                .with_hint("give one with --variable NAME=VALUE, or under `variables`; $$ is a dollar sign")
        })?;
        done.push_str(&value);
        rest = next;
    }
    done.push_str(rest);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration> {
        let given = BTreeMap::from([("GIVEN".to_owned(), "given".to_owned())]);
        let environment = |name: &str| match name {
            "GIVEN" | "OWN" | "HOST" => Some("127.0.0.1".to_owned()),
            "EVIL" => Some("a\nforeground: true".to_owned()),
            _ => None,
        };
        Configuration::parse(text, &Variables { given: &given, environment: &environment })
    }

    #[test]
    fn everything_that_can_be_said() {
        let text = "
version: 1
variables:
  OWN: own
  PORT: 4000
name: $GIVEN
identity: ${OWN}
project: demo # where it enrols
tcp_listener_address: $HOST:$PORT
status-endpoint: $HOST:0
ticket: ./ticket
exit-on-eof: true
skip-is-running-check: true
policies:
  - resource: echo
    expression: '(= subject.role \"a$$b\")'
  - {resource-type: relay, allow: (= subject.has_credential true)}
relays:
  - default
  - blue: {at: /node/n2, authorized: [alice, bob]}
    red:
      at: /project/demo
      relay_address: crimson
";
        let relay = |at: &str, address: Option<&str>, authorized: &[&str]| RelayRecord {
            at: at.to_owned(),
            address: address.map(str::to_owned),
            authorized: authorized.iter().map(ToString::to_string).collect(),
        };
        let wanted = Configuration {
            name: Some("given".to_owned()),
            identity: Some("own".to_owned()),
            project: Some("demo".to_owned()),
            tcp_listener_address: Some("127.0.0.1:4000".to_owned()),
            status_endpoint: Some("127.0.0.1:0".to_owned()),
            ticket: Some("./ticket".to_owned().into()),
            exit_on_eof: true,
            policies: [
                ("resource:echo".to_owned(), "(= subject.role \"a$b\")".to_owned()),
                ("resource-type:relay".to_owned(), "(= subject.has_credential true)".to_owned()),
            ]
            .into(),
            relays: [
                ("blue".to_owned(), relay("/node/n2", None, &["alice", "bob"])),
                ("default".to_owned(), relay("", None, &[])),
                ("red".to_owned(), relay("/project/demo", Some("crimson"), &[])),
            ]
            .into(),
            ..Configuration::default()
        };
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn json_is_one_too() {
        let read =
            parse(r#"{"name": "n1", "relay": "default", "policy": {"resource": "echo", "allow": "a"}}"#)
                .unwrap();
        assert_eq!((read.name.as_deref(), read.relays.len(), read.policies.len()), (Some("n1"), 1, 1));
    }

    #[test]
    fn a_value_of_a_variable_adds_no_key() {
        let read = parse("name: $EVIL").unwrap();
        assert_eq!((read.name.as_deref(), read.foreground), (Some("a\nforeground: true"), false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("", "no keys"),
            ("- name", "no keys"),
            ("name", "no keys"),
            ("names: n1", "`names` is no key"),
            ("name: n1\nname: n2", "cannot be read"),
            ("tcp-listener-address: a\ntcp_listener_address: b", "given twice"),
            ("name: [a, b]", "`name` in the configuration is not one value"),
            ("name: ''", "empty"),
            ("name: $NOTHING", "`NOTHING` has no value"),
            ("name: ${GIVEN", "has no `}`"),
            ("name: a$", "`` has no value"),
            ("version: 2", "version `2`"),
            ("foreground: perhaps", "true or false"),
            ("tcp-outlet: {db: {to: 1}}", "`tcp-outlet` in the configuration asks"),
            ("kafka_inlet: {from: 1}", "`kafka_inlet` in the configuration asks"),
            ("policies: {resource: echo}", "one `expression`"),
            ("policies: {expression: a}", "for one `resource`"),
            ("policies: {resource: a, expression: a, at: n1}", "`at` is no key of `policies`"),
            (
                "policies: [{resource: a, expression: a}, {resource: a, expression: b}]",
                "`resource:a` is given twice",
            ),
            ("relays: {a: {to: n1}}", "`to` is no key of `relays`"),
            ("relays: [a, a]", "`a` is given twice"),
            ("a: {b: c", "cannot be read"),
            ("name: &a [*a]", "cannot be read"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
            assert!(!error.hint().is_empty(), "{text}: no hint");
        }
    }

    #[test]
    fn nesting_and_repetition_cost_nothing() {
        for text in [
            "[".repeat(100_000),
            "a: ".repeat(100_000),
            format!(
                "{}x: *a9",
                (0..10).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
                    let one = format!("*a{n},");
                    format!("{text}a{}: &a{} [{}]\n", n + 1, n + 1, one.repeat(50))
                })
            ),
        ] {
            assert!(parse(&text).is_err());
        }
    }
}
