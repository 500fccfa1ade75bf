//! `doctor`: looks at the home, vaults, identities, the clock and servers, changes nothing, and says what to do about each
//! thing that it finds.

mod clock;
mod files;
mod identities;
mod servers;
mod vaults;

use std::path::Path;
use std::sync::Arc;

use home::{Home, rotation};
use serde_json::json;
use vault::Vault;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::Report;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Something does not work, or is not safe.
    Fault,
    /// Something that its owner may want so.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
        }
    }
}

/// Something that was found.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    severity: Severity,
    message: String,
    hint: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
struct Chart {
    looked_at: Vec<(&'static str, String)>,
    findings: Vec<Finding>,
}

impl Chart {
    fn looked_at(&mut self, check: &'static str, what: impl Into<String>) {
        self.looked_at.push((check, what.into()));
    }

    fn fault(&mut self, check: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.find(check, Severity::Fault, message.into(), hint.into());
    }

    fn warning(&mut self, check: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.find(check, Severity::Warning, message.into(), hint.into());
    }

    fn find(&mut self, check: &'static str, severity: Severity, message: String, hint: String) {
        self.findings.push(Finding { check, severity, message, hint });
    }

    /// A failure while looking is a finding.
    fn failed(&mut self, check: &'static str, about: &str, error: impl Into<Error>) {
        let error = error.into();
        self.fault(check, format!("{about}: {error}"), error.hint().to_owned());
    }

    fn report(self) -> Report {
        let well = self.findings.iter().all(|finding| finding.severity != Severity::Fault);
        let mut plain: Vec<_> =
            self.looked_at.iter().map(|(check, what)| format!("{check:<9} {what}")).collect();
        for finding in &self.findings {
            plain.push(format!("{}: {}: {}", finding.severity.name(), finding.check, finding.message));
            plain.push(format!("  {}", finding.hint));
        }
        plain.push(match (well, self.findings.is_empty()) {
            (true, true) => "all is well".to_owned(),
            (true, false) => "all is well but for the warnings".to_owned(),
            (false, _) => "not all is well".to_owned(),
        });
        let looked_at = self.looked_at.iter().map(|(check, what)| json!({ "check": check, "what": what }));
        let findings = self.findings.iter().map(|finding| {
            json!({
                "check": finding.check,
                "severity": finding.severity.name(),
                "message": finding.message,
                "hint": finding.hint,
            })
        });
        let json = json!({
            "well": well,
            "looked_at": looked_at.collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
        });
        let report = Report::new(plain.join("\n"), json);
        if well { report } else { report.refusing(Kind::Rejected) }
    }
}

/// The vaults that could be opened, by name.
type Opened = Vec<(home::Name, Arc<dyn Vault>)>;

pub(crate) fn run(context: &Context) -> Result<Report> {
    let path = Home::locate(|name| std::env::var_os(name))?;
    let mut chart = Chart::default();
    if !path.join("home.json").exists() {
        let there = format!("there is no home in `{}`", path.display());
        chart.fault("home", there, "`ockam-kms identity create` makes one; OCKAM_KMS_HOME names another");
        return Ok(chart.report());
    }
    let clock = clock::Watch::start();
    let home = match context.home() {
        Ok(home) => home,
        Err(error) => {
            chart.failed("home", &format!("`{}` cannot be opened", path.display()), error);
            return Ok(chart.report());
        }
    };
    // What another process is writing is not left over.
    let writing = lock_is_held(&path);
    if writing {
        chart.warning(
            "home",
            "another process is writing the home: what it is making may look half-made",
            "run `ockam-kms doctor` again when it has ended; a lock that is held has a live owner",
        );
    }
    chart.looked_at("home", format!("`{}`", path.display()));
    let newest = files::look(&mut chart, home.path(), writing);
    rotations(&mut chart, home);
    let opened = vaults::look(&mut chart, context, home, writing);
    identities::look(&mut chart, context, home, &opened);
    clock.look(&mut chart, home, newest);
    servers::look(&mut chart, home);
    Ok(chart.report())
}

fn lock_is_held(path: &Path) -> bool {
    let lock = std::fs::File::open(path.join("lock"));
    lock.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

fn rotations(chart: &mut Chart, home: &Home) {
    match rotation::pending(home) {
        Ok(names) => {
            for name in names {
                let hint = match home.server_of_identity(&name) {
                    Ok(Some(server)) => format!("the server `{server}` goes on with it by itself"),
                    _ => "make its vaults reachable: the next command that writes goes on with it, as `ockam-kms identity default` with a name does".to_owned(),
                };
                chart.fault("rotation", format!("a rotation of the identity `{name}` was cut off"), hint);
            }
        }
        Err(error) => chart.failed("rotation", "the journals cannot be read", error),
    }
}
