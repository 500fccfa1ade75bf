//! The variables of the environment that count, and `--env KEY=VALUE`, which sets one for this command alone: for whoever starts
//! programs and cannot set variables.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::output::{Report, table};

/// What sets a variable, anywhere in a command line.
pub(crate) const OPTION: &str = "--env";

/// A variable that this program, or a library that it uses, looks at.
struct Variable {
    name: &'static str,
    about: &'static str,
    /// It holds a secret, which is never shown, and never taken from a command line: those are for all to read.
    secret: bool,
}

const VARIABLES: [Variable; 14] = [
    plain("OCKAM_KMS_HOME", "the directory in which everything is kept"),
    plain(
        "OCKAM_HOME",
        "without OCKAM_KMS_HOME: everything is in `ockam-kms` in this directory, else in ~/.ockam-kms",
    ),
    plain(
        "OCKAM_KMS_LOG",
        "what servers and nodes log, as in `warn` or `info,authority=debug`; without it `info`",
    ),
    plain("QUIET", "as --quiet: say nothing on standard error but errors"),
    plain("NO_COLOR", "as --no-color: write no colours"),
    plain("NO_INPUT", "as --no-input: ask nobody anything"),
    secret("ENROLLMENT_TICKET", "as --enrollment-ticket of `node create`"),
    plain("AWS_REGION", "the region of `vault create --aws-kms`, before AWS_DEFAULT_REGION"),
    plain("AWS_DEFAULT_REGION", "see AWS_REGION"),
    plain("AWS_ACCESS_KEY_ID", "who one is at AWS; its other ways to say that are looked at, too"),
    secret("AWS_SECRET_ACCESS_KEY", "the secret of AWS_ACCESS_KEY_ID"),
    secret("AWS_SESSION_TOKEN", "the token of a session at AWS"),
    plain("AWS_CA_BUNDLE", "whom alone to believe about AWS's certificates: a file"),
    plain(
        "SSL_CERT_FILE",
        "whom to believe about an authority's certificate, in place of whom the system trusts: a file",
    ),
];

const fn plain(name: &'static str, about: &'static str) -> Variable {
    Variable { name, about, secret: false }
}

const fn secret(name: &'static str, about: &'static str) -> Variable {
    Variable { name, about, secret: true }
}

/// `environment`: what counts, and what is set.
pub(crate) fn report(look_up: impl Fn(&str) -> Option<OsString>) -> Report {
    let (mut rows, mut items) = (Vec::new(), Vec::new());
    for Variable { name, about, secret } in VARIABLES {
        let value = look_up(name).map(|value| value.to_string_lossy().into_owned());
        let told = match &value {
            Some(_) if secret => format!("{about} (set, and not shown)"),
            Some(value) => format!("{about} (`{}`)", shown(value)),
            None => about.to_owned(),
        };
        rows.push((name, told));
        let is_set = value.is_some();
        let value = value.filter(|_| !secret).map_or(Value::Null, Value::String);
        items.push(json!({ "name": name, "about": about, "is_set": is_set, "value": value }));
    }
    let plain = table(&rows);
    Report::new(plain.clone(), Value::Array(items)).machine(plain)
}

/// The arguments, when none of them is `--env`. Else the program starts itself again without those and with the variables: a
/// process can change its own environment only by unsafe code.
pub(crate) fn applied(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let (variables, arguments) = taken(arguments)?;
    if variables.is_empty() {
        return Ok(arguments);
    }
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let failed =
        |e| Error::new(Kind::Internal, "the program cannot start itself again, for `--env`").with_source(e);
    let program = std::env::current_exe().map_err(failed)?;
    // Comes back only when it fails.
    Err(failed(Command::new(program).arg0(name).args(arguments).envs(variables).exec()))
}

type Variables = Vec<(String, String)>;

/// Takes variables out of a command line, up to `--`.
pub(crate) fn taken(arguments: Vec<OsString>) -> Result<(Variables, Vec<OsString>)> {
    let (mut variables, mut rest) = (Vec::new(), Vec::with_capacity(arguments.len()));
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().unwrap_or_default();
        let pair = match text.strip_prefix(OPTION) {
            Some("") => arguments.next().unwrap_or_default(),
            Some(rest) if rest.starts_with('=') => rest.get(1..).unwrap_or_default().into(),
            _ => {
                let ends = argument == "--";
                rest.push(argument);
                if ends {
                    rest.extend(arguments);
                    break;
                }
                continue;
            }
        };
        variables.push(variable(pair.to_str().unwrap_or_default())?);
    }
    Ok((variables, rest))
}

fn variable(pair: &str) -> Result<(String, String)> {
    let (name, value) = pair
        .split_once('=')
        .filter(|(name, _)| !name.is_empty() && !pair.contains('\0'))
        .ok_or_else(|| {
            Error::usage("`--env` is not followed by a variable and its value")
                .with_hint("as in --env NO_COLOR=true")
        })?;
    if VARIABLES.iter().any(|known| known.secret && known.name == name) {
        return Err(Error::usage(format!(
            "`--env {name}=…` would show a secret to every process of this machine"
        ))
        .with_hint(format!("set `{name}` in the environment itself")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn variables_are_taken_from_anywhere_before_the_end_of_options() {
        for (line, variables, rest) in [
            ("k node list", "", "k node list"),
            ("k --env A=b node list", "A=b", "k node list"),
            ("k node --env=A=b list --env C=d=e", "A=b C=d=e", "k node list"),
            ("k --env A= x", "A=", "k x"),
            ("k --environment x", "", "k --environment x"),
            ("k a -- --env A=b", "", "k a -- --env A=b"),
        ] {
            let (found, left) = taken(words(line)).unwrap();
            let found: Vec<_> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!((found.join(" "), left), (variables.to_owned(), words(rest)), "{line}");
        }
    }

    #[test]
    fn what_is_none_and_what_is_secret_is_refused() {
        for line in ["k --env", "k --env A", "k --env =b", "k node --env="] {
            let error = taken(words(line)).unwrap_err();
            assert!(error.kind() == Kind::Usage && error.to_string().contains("variable"), "{line}: {error}");
        }
        for secret in VARIABLES.iter().filter(|known| known.secret) {
            let error = taken(words(&format!("k --env {}=hunter2", secret.name))).unwrap_err();
            assert!(error.kind() == Kind::Usage && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_variable_of_ours_is_told() {
        let mut found = std::collections::BTreeSet::new();
        let mut ahead = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(path) = ahead.pop() {
            if path.is_dir() {
                ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
            // `OCKAM_` alone is what this test looks for.
            let ours = words.filter(|word| word.starts_with("OCKAM_") && *word != "OCKAM_");
            found.extend(ours.map(str::to_owned));
        }
        let untold: Vec<_> =
            found.iter().filter(|name| VARIABLES.iter().all(|known| known.name != **name)).collect();
        assert!(found.contains("OCKAM_KMS_HOME") && untold.is_empty(), "{untold:?}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let report = report(|name| Some(format!("value-of-{name}").into()));
        let text = format!("{report:?}");
        assert!(text.contains("value-of-NO_COLOR"), "{text}");
        assert!(!text.contains("value-of-ENROLLMENT_TICKET") && !text.contains("value-of-AWS_SE"), "{text}");
    }
}
