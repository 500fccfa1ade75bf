//! Servers that are said to run: whether they do, answer, are ready, and are this program.

use home::control::{Ask, ask};
use home::{Home, Name, ServerRecord};
use serde_json::Value;

use super::Chart;

const CHECK: &str = "server";

pub(super) fn look(chart: &mut Chart, home: &Home) {
    let servers = match home.servers() {
        Ok(servers) => servers,
        Err(error) => return chart.failed(CHECK, "the servers cannot be read", error),
    };
    for (name, record, running) in servers {
        if running {
            one(chart, home, &name, &record);
        } else {
            chart.warning(
                CHECK,
                format!("the server `{name}` does not run"),
                match record.node {
                    Some(_) => format!("`ockam-kms node start {name}` starts it, `ockam-kms node delete {name}` forgets it"),
                    None => "start it as before with `ockam-kms authority create`, or forget it with `ockam-kms node delete`".to_owned(),
                },
            );
        }
        if home.identities().is_ok_and(|all| all.iter().all(|(known, _)| known.as_str() != record.identity)) {
            chart.fault(
                CHECK,
                format!("the server `{name}` is for the identity `{}`, which is not here", record.identity),
                "restore the identity from a backup before the server is started again",
            );
        }
    }
}

fn one(chart: &mut Chart, home: &Home, name: &Name, record: &ServerRecord) {
    let status = match ask(&home.control_socket(name), &Ask::Status) {
        Ok(status) => status,
        Err(error) => {
            return chart.failed(CHECK, &format!("the server `{name}` runs and does not answer"), error);
        }
    };
    let ours = env!("CARGO_PKG_VERSION");
    let version = status.get("version").and_then(Value::as_str).unwrap_or("of before versions were told");
    chart.looked_at(CHECK, format!("`{name}`: process {}, version {version}", record.pid));
    let log = home.path().join("servers").join(format!("{name}.log"));
    if status.get("ready").and_then(Value::as_bool) != Some(true) {
        chart.fault(
            CHECK,
            format!("the server `{name}` is not ready"),
            format!("its log says why: {}", log.display()),
        );
    }
    if version != ours {
        chart.warning(
            CHECK,
            format!("the server `{name}` is of version {version}, this program of {ours}"),
            match record.node {
                Some(_) => format!("ockam-kms node stop {name}, then `ockam-kms node start {name}`"),
                None => {
                    format!("ockam-kms authority stop {name}, then `ockam-kms authority create` as before")
                }
            },
        );
    }
}
