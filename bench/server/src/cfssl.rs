//! Debian's `cfssl serve` with an ECDSA key on P-256, which signs certificates over HTTP and keeps no record of them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A running `cfssl serve`. Ends with this value.
#[derive(Debug)]
pub struct Cfssl {
    process: Child,
    address: SocketAddr,
    request: Vec<u8>,
    version: String,
}

impl Cfssl {
    /// Makes a CA in this directory and starts a server of it.
    ///
    /// # Errors
    /// When the program is missing or does not start.
    pub fn start(directory: &Path) -> Result<Self> {
        let version = String::from_utf8(cfssl(&["version"])?)?;
        let ca = make(directory, "ca", &["genkey", "-initca"])?;
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
        std::fs::write(&certificate, field(&ca, "cert")?)?;
        std::fs::write(&key, field(&ca, "key")?)?;
        let csr = make(directory, "member", &["genkey"])?;
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new("cfssl")
            .args(["serve", "-loglevel", "5", "-address", "127.0.0.1", "-port", &address.port().to_string()])
            .arg("-ca")
            .arg(&certificate)
            .arg("-ca-key")
            .arg(&key)
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let body = serde_json::to_vec(&json!({ "certificate_request": field(&csr, "csr")? }))?;
        let mut request = format!(
            "POST /api/v1/cfssl/sign HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend(body);
        let version =
            version.lines().next().unwrap_or_default().trim_start_matches("Version:").trim().to_owned();
        let started = Self { process, address, request, version };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begin.elapsed() > START {
                return Err("cfssl does not listen".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(started)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether an answer holds a certificate.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(answer: &[u8]) -> Result<()> {
        let answer: Value = serde_json::from_slice(answer)?;
        let certificate = answer.pointer("/result/certificate").and_then(Value::as_str).unwrap_or_default();
        if certificate.starts_with("-----BEGIN CERTIFICATE-----") {
            Ok(())
        } else {
            Err("no certificate".into())
        }
    }

    /// Processor time that it has used.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // proc(5): utime and stime are fields 14 and 15; the second is a name in parentheses, which may hold anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        let rate = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / rate as f64))
    }
}

impl Drop for Cfssl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn make(directory: &Path, name: &str, arguments: &[&str]) -> Result<Value> {
    let request = directory.join(format!("{name}.json"));
    let wanted =
        json!({ "CN": name, "hosts": [format!("{name}.example")], "key": { "algo": "ecdsa", "size": 256 } });
    std::fs::write(&request, wanted.to_string())?;
    let request = request.to_str().ok_or("the directory's name is not text")?;
    Ok(serde_json::from_slice(&cfssl(&[arguments, &[request]].concat())?)?)
}

fn cfssl(arguments: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new("cfssl")
        .args(arguments)
        .output()
        .map_err(|e| format!("cfssl does not start: {e}; install Debian's golang-cfssl"))?;
    if done.status.success() {
        Ok(done.stdout)
    } else {
        Err(format!("cfssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()).into())
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("cfssl gave no `{name}`").into())
}
