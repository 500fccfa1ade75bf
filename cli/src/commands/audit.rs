//! `audit …`

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use authority::audit::{AuditHead, AuditRow};
use authority::store::Store;
use home::control::{Ask, ask};
use home::{Home, Name, ServerRecord};
use identity::Timestamp;
use serde_json::{Value, json};

use super::authority::{orphans_of, write_log};
use super::server;
use crate::args::authority::{AuditVerb, Export, Orphans, VerifyLog};
use crate::context::Context;
use crate::error::{Error, Result, io, shown};
use crate::exit::Kind;
use crate::interrupt;
use crate::output::{Report, blocks, table, time};

/// The longest line that is read: longer ones are no rows.
const MAX_LINE: u64 = 64 * 1024;

pub(crate) fn run(context: &Context, verb: AuditVerb) -> Result<Report> {
    match verb {
        AuditVerb::Export(export) => self::export(context, &export),
        AuditVerb::Verify(verify) => self::verify(context, &verify),
        AuditVerb::Orphans(orphans) => self::orphans(context, &orphans),
    }
}

fn export(context: &Context, export: &Export) -> Result<Report> {
    let home = context.read()?;
    let name = server::authority(home, export.at.as_deref())?;
    if let Some(to) = &export.to {
        let to = std::path::absolute(to)
            .map_err(|e| Error::invalid(format!("`{}` has no absolute path", to.display())).with_source(e))?;
        let written = write(context, home, &name, &to)?;
        let rows = written.get("rows").cloned().unwrap_or_default();
        return Ok(Report::new(format!("{rows} rows are written to `{}`", to.display()), written)
            .machine(to.display().to_string()));
    }
    // The server writes files; we pass one on and take it away again.
    let whole = interrupt::hold();
    let random = vault::SecretBytes::random(8)?;
    let passing =
        Passing(home.path().join("servers").join(format!("audit-{}.jsonl", hex::encode(random.expose()))));
    let mut written = write(context, home, &name, &passing.0)?;
    let mut file = File::open(&passing.0).map_err(|e| io("read", &passing.0, e))?;
    let name = passing.0.clone();
    drop(passing);
    drop(whole);
    if context.output.wants_json() {
        let lines = BufReader::new(file).lines();
        let rows: Vec<Value> = lines
            .map(|line| {
                let line = line.map_err(|e| io("read", &name, e))?;
                Ok(serde_json::from_str(&line)?)
            })
            .collect::<Result<_>>()?;
        if let Value::Object(map) = &mut written {
            map.remove("to");
            map.insert("rows".to_owned(), Value::Array(rows));
        }
        return Ok(Report::new("", written));
    }
    let mut stdout = std::io::stdout().lock();
    match std::io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Internal, format!("writing the log failed: {e}")).with_source(e))
        }
        _ => Ok(Report::written()),
    }
}

struct Passing(std::path::PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Has the server write its log; one that does not run is read here.
fn write(context: &Context, home: &Home, name: &Name, to: &Path) -> Result<Value> {
    let (record, running) = home.server(name)?;
    if running {
        return Ok(ask(&home.control_socket(name), &Ask::Audit { to: to.to_owned() })?);
    }
    write_log(authority::audit::export(open_store(context, home, name, &record)?), to)
}

/// The store of an authority that does not run.
fn open_store(context: &Context, home: &Home, name: &Name, record: &ServerRecord) -> Result<Arc<dyn Store>> {
    if record.store == "memory:" {
        return Err(Error::new(
            Kind::NotFound,
            format!("the log of `{name}` was in memory and ended with it"),
        )
        .with_hint("keep it in RocksDB: leave out --store"));
    }
    let identifier = home.identity(&Name::new(&record.identity)?)?.identifier();
    Ok(authority::store::open(&record.store, identifier, context.now())?)
}

/// Lists the intents for which no signature was recorded. Those of a running authority may be on their way.
fn orphans(context: &Context, orphans: &Orphans) -> Result<Report> {
    let home = context.read()?;
    let name = server::authority(home, orphans.at.as_deref())?;
    let (record, running) = home.server(&name)?;
    let store = if running { None } else { Some(open_store(context, home, &name, &record)?) };
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = match &store {
            Some(store) => orphans_of(&**store, after.as_deref())?,
            None => ask(&home.control_socket(&name), &Ask::Orphans { after })?,
        };
        items.extend(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let text = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).unwrap_or("?").to_owned();
    let at = |item: &Value, field: &str| {
        item.get(field).and_then(Value::as_u64).map_or_else(|| "?".to_owned(), |at| time(Timestamp(at)))
    };
    let plain: Vec<_> = items
        .iter()
        .map(|item| {
            table(&[
                ("credential", text(item, "hash")),
                ("about", text(item, "subject")),
                ("intended at", at(item, "created_at")),
                ("good until", at(item, "expires_at")),
            ])
        })
        .collect();
    let machine: Vec<_> = items.iter().map(|item| text(item, "hash")).collect();
    let none = "every signature that was intended is recorded";
    Ok(Report::new(blocks(&plain, none), json!({ "items": items })).machine(machine.join("\n")))
}

fn verify(context: &Context, verify: &VerifyLog) -> Result<Report> {
    let expected = verify.head.as_deref().map(Expected::parse).transpose()?;
    let path = verify.file.as_path();
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|e| io("read", path, e))?)
    };
    let mut lines =
        Lines { from: BufReader::new(from), failed: None, wanted: expected.as_ref(), found: false };
    let whole = expected.as_ref().and_then(Expected::head);
    let verdict = authority::audit::verify(&mut lines, whole.as_ref());
    let (failed, found) = (lines.failed.take(), lines.found);
    if let Some(e) = failed {
        return Err(io("read", path, e));
    }
    let reason = match &verdict {
        Err(error) => Some(error.to_string()),
        Ok(_) if expected.is_some() && !found => {
            Some("the log does not have the row of the given hash".to_owned())
        }
        Ok(_) => None,
    };
    let proof = verdict.ok().filter(|_| reason.is_none());
    let json = json!({
        "valid": proof.is_some(),
        "rows": proof.as_ref().map(authority::audit::AuditProof::rows),
        "head": proof.as_ref().map(|proof| json!(proof.head())),
        "reason": reason,
    });
    if let Some(proof) = proof {
        let head = format!("{}:{}", proof.head().sequence, proof.head().hash);
        let plain = table(&[
            ("valid", "the chain holds".to_owned()),
            ("rows", proof.rows().to_string()),
            ("head", head.clone()),
        ]);
        return Ok(Report::new(plain, json).machine(head));
    }
    context.output.note(&format!("the audit log is refused: {}", reason.unwrap_or_default()));
    Ok(Report::new("not valid", json).machine("").refusing(Kind::Rejected))
}

/// What is known of the log from an earlier moment.
struct Expected {
    sequence: Option<u64>,
    hash: String,
}

impl Expected {
    fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("`{}` is not where a log stood", shown(text)))
                .with_hint("it is what `audit verify` printed: the number of a row, a colon, 64 hex digits; or the digits alone")
        };
        let (sequence, hash) = match text.split_once(':') {
            Some((sequence, hash)) => (Some(sequence.parse().map_err(|_| bad())?), hash),
            None => (None, text),
        };
        if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(bad());
        }
        Ok(Self { sequence, hash: hash.to_ascii_lowercase() })
    }

    fn head(&self) -> Option<AuditHead> {
        Some(AuditHead { sequence: self.sequence?, hash: self.hash.clone() })
    }
}

/// The lines of a log, looking out for the row that is wanted.
struct Lines<'a, R> {
    from: BufReader<R>,
    failed: Option<std::io::Error>,
    wanted: Option<&'a Expected>,
    found: bool,
}

impl<R: Read> Iterator for &mut Lines<'_, R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        // One byte more than a row can have: then it is refused, and not cut.
        let read = (&mut self.from).take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
        match read {
            Ok(0) => None,
            Ok(_) => {
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                let line = String::from_utf8_lossy(&bytes).into_owned();
                if let Some(wanted) = self.wanted {
                    let row = serde_json::from_str::<AuditRow>(&line).ok();
                    self.found |= row.is_some_and(|row| row.hash == wanted.hash);
                }
                Some(line)
            }
            Err(e) => {
                self.failed = Some(e);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_printed() {
        let hash = "Ab".repeat(32);
        let both = Expected::parse(&format!("12:{hash}")).unwrap();
        assert_eq!(both.head().unwrap(), AuditHead { sequence: 12, hash: "ab".repeat(32) });
        assert!(Expected::parse(&hash).unwrap().head().is_none());
        for bad in ["", "12:", "x:00", &hash[1..], &format!("-1:{hash}")] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
    }
}
