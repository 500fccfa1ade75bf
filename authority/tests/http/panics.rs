//! A panic in the middle of a request: what it tells, with every trace switched on, holds no secret that was in scope; the
//! request fails, and the next one is served.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use authority::store::{Applied, Counted, MemoryStore, Operation, Pending, Store, View};
use authority::ticket::{Code, NewTicket};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use identity::Identifier;
use vault::SecretBytes;

use crate::common::{Held, NOW, World, attributes};
use crate::net::{Site, ask};

const CHILD: &str = "OCKAM_KMS_TEST_PANICS";
/// Set in the child, to have the control write what it must not, in this form.
const BLAB: &str = "OCKAM_KMS_TEST_PANICS_BLAB";

/// A store that panics at the first ticket that is redeemed.
#[derive(Debug)]
struct Panicking {
    below: MemoryStore,
    done: AtomicBool,
}

fn panicking(authority: Identifier) -> Held {
    let below = MemoryStore::new(authority, NOW).unwrap();
    Held { store: Arc::new(Panicking { below, done: AtomicBool::new(false) }), dir: None }
}

fn redeems(operation: &Operation) -> bool {
    match operation {
        Operation::Redeem { .. } => true,
        Operation::Once(under) => redeems(&under.operation),
        _ => false,
    }
}

impl Store for Panicking {
    fn authority(&self) -> Identifier {
        self.below.authority()
    }

    fn kind(&self) -> &'static str {
        "control"
    }

    fn execute(&self, command: authority::store::Command) -> Pending<'_, Applied> {
        let first = redeems(&command.operation) && !self.done.swap(true, Ordering::SeqCst);
        assert!(!first, "a panic of the store's, at {command:?}");
        self.below.execute(command)
    }

    fn metrics(&self) -> Counted<'_> {
        self.below.metrics()
    }

    fn view(&self) -> authority::Result<&dyn View> {
        self.below.view()
    }
}

/// The life that is looked at. The secrets go to standard output, everything that is said to standard error.
async fn life() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let site = Site::of(World::new(panicking).await, authority::http::Options::default()).await;
    let new = NewTicket::new(attributes(&[("role", "sensor")]), None, Some(2)).unwrap();
    let enroller = site.world.enroller().await;
    let code = site.world.authority.make_ticket(&enroller, new).await.unwrap().code;
    println!("secret {}", code.expose_hex().as_str());
    let passphrase = SecretBytes::random(32).unwrap();
    println!("secret {}", hex::encode(passphrase.expose()));
    let (person, client) = site.stranger().await;
    let client = Arc::new(client);
    let again = Code::from_hex(&code.expose_hex()).unwrap();
    let failed = ask(&client, move |client| client.enrol(&code)).await;
    eprintln!("the request failed: {failed:?}");
    ask(&client, move |client| client.enrol(&again)).await.expect("the next request is served");
    eprintln!("the next one was served");
    if let Ok(form) = std::env::var(BLAB) {
        let mut written = b"before ".to_vec();
        written.extend(forms(passphrase.expose()).into_iter().find(|(name, _)| *name == form).unwrap().1);
        written.extend(b" after\n");
        std::io::stderr().write_all(&written).unwrap();
    }
    let (primary, vault) = (person.primary, site.world.vault.clone());
    let thread = std::thread::spawn(move || {
        panic!("with secrets in scope: {passphrase:?} {primary:?} {vault:?} {client:?}")
    });
    let panicked = thread.join();
    assert!(panicked.is_err());
}

/// The forms in which a secret could be told.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex::encode(secret).into_bytes()),
        ("upper-case hex", hex::encode_upper(secret).into_bytes()),
        ("a list of numbers", format!("{secret:?}").trim_matches(['[', ']']).as_bytes().to_vec()),
        ("escaped", secret.escape_ascii().to_string().into_bytes()),
    ];
    // Of something longer that begins 0, 1 or 2 bytes before it, too: but for the digits that the rest has a part in.
    let names = [
        ["base64", "base64, one byte in", "base64, two bytes in"],
        ["base64 for URLs", "base64 for URLs, one byte in", "base64 for URLs, two bytes in"],
    ];
    for (engine, names) in [STANDARD, URL_SAFE].iter().zip(names) {
        for (before, name) in names.into_iter().enumerate() {
            let whole = engine.encode([&vec![0; before], secret].concat());
            let (start, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            forms.push((name, whole.as_bytes()[start..end].to_vec()));
        }
    }
    forms
}

/// Runs the life in a process of its own; says which secrets were told, and what was said.
fn told(test: &str, blab: Option<&str>) -> (Vec<&'static str>, String) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", "full");
    if let Some(form) = blab {
        child.env(BLAB, form);
    }
    let output = child.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{stderr}");
    let secrets: Vec<_> = stdout.lines().filter_map(|line| line.split_once("secret ")).collect();
    assert_eq!(secrets.len(), 2, "{stdout}");
    let mut found = Vec::new();
    for (_, hex) in secrets {
        let bytes = hex::decode(hex.trim()).unwrap();
        for (form, text) in forms(&bytes) {
            if output.stderr.windows(text.len()).any(|window| window == text) {
                found.push(form);
            }
        }
    }
    (found, stderr)
}

fn in_child() -> bool {
    if std::env::var_os(CHILD).is_none() {
        return false;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(life());
    true
}

#[test]
fn a_panic_tells_no_secret_and_ends_one_request() {
    if in_child() {
        return;
    }
    let (found, said) = told("panics::a_panic_tells_no_secret_and_ends_one_request", None);
    assert!(found.is_empty(), "{found:?} in what was said");
    for line in
        ["a panic of the store's", "with secrets in scope", "the request failed", "the next one was served"]
    {
        assert!(said.contains(line), "`{line}` is not among what was said");
    }
}

#[test]
fn control_a_secret_that_is_written_is_found() {
    if in_child() {
        return;
    }
    for (form, _) in forms(&[0xfb; 32]) {
        let (found, _) = told("panics::control_a_secret_that_is_written_is_found", Some(form));
        // A random secret may have no digit in which the two alphabets differ.
        assert!(found.contains(&form), "{form}: {found:?}");
    }
}
