//! Hostile names, and every call to the system that names a file: none of them is about a file that the same verb does not
//! touch for a name that means no harm, but in the home.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::crash::{Program, World};
use ockam_kms_tests::names::{hostile, hostile_arguments};
use ockam_kms_tests::ockam_kms;

/// The calls that name files, but for the one that starts programs: it names arguments too. Those with a question mark are not
/// on every processor.
const CALLS: &str = "trace=openat,openat2,?open,?creat,renameat,renameat2,?rename,unlinkat,?unlink,?rmdir,mkdirat,?mkdir,\
    linkat,?link,symlinkat,?symlink,fchmodat,?chmod,fchownat,?chown,?lchown,truncate,mknodat,?mknod,utimensat,?utimes,\
    newfstatat,?stat,?lstat,statx,faccessat,faccessat2,?access,readlinkat,?readlink,chdir,chroot,name_to_handle_at";

fn strace(to: &Path) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-y", "-s", "9000", "-o", to.to_str().unwrap(), "-e", CALLS];
    words.map(str::to_owned).to_vec()
}

/// A path without `.` and `..`, as text alone: a directory that is not there leads nowhere, but somebody meant it to.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Every path in a trace, whole.
fn paths(trace: &str, directory: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let mut rest = arguments;
        while let Some(start) = rest.find('"') {
            let (before, quoted) = rest.split_at(start);
            let quoted = &quoted[1..];
            // Quotes within are escaped, and so is the backslash.
            let mut escaped = false;
            let end = quoted.find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            let (text, after) = quoted.split_at(end.unwrap_or(quoted.len()));
            rest = after.get(1..).unwrap_or_default();
            // What a link says is no path that is followed here, and what it was read into neither.
            let is_content = call.contains("symlink") && before.is_empty()
                || call.contains("readlink")
                    && !before.trim_end_matches([',', ' ']).ends_with('>')
                    && !before.is_empty();
            if is_content {
                continue;
            }
            let base = before
                .trim_end_matches([',', ' '])
                .strip_suffix('>')
                .and_then(|b| Some(b.rsplit_once('<')?.1));
            found.insert(match text {
                absolute if absolute.starts_with('/') => normal(absolute),
                relative => normal(&format!("{}/{relative}", base.unwrap_or(directory))),
            });
        }
    }
    found
}

/// Those that are not in the home, nor about the processes themselves.
fn outside(trace: &str, directory: &str, home: &str) -> BTreeSet<String> {
    let processes = trace.lines().filter_map(|line| Some(format!("/proc/{}", line.split_once(' ')?.0)));
    let places: BTreeSet<_> = processes.chain([home.to_owned(), "/proc/self".to_owned()]).collect();
    let is_in = |path: &str, place: &String| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = paths(trace, directory).into_iter();
    found.filter(|path| !places.iter().any(|place| is_in(path, place))).collect()
}

/// Runs something under the eye of strace; the paths that it named outside the home.
fn traced(kms: &Kms, program: &Path, arguments: &[&str]) -> BTreeSet<String> {
    let (trace, directory) = (kms.path("trace"), kms.path("work"));
    std::fs::create_dir_all(&directory).unwrap();
    let words = strace(&trace);
    let status = Command::new(&words[0])
        .args(&words[1..])
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("OCKAM_KMS_HOME", kms.home())
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.code().is_some(), "{arguments:?}: {status}");
    let text = std::fs::read_to_string(&trace).unwrap();
    assert!(text.lines().count() > 3, "{text}");
    outside(&text, directory.to_str().unwrap(), kms.home().to_str().unwrap())
}

/// Verbs that take a name, and what comes after it.
const VERBS: &[(&[&str], &[&str])] = &[
    (&["vault", "create"], &[]),
    (&["vault", "show"], &[]),
    (&["vault", "delete", "--yes"], &[]),
    (&["identity", "create"], &[]),
    (&["identity", "default"], &[]),
    (&["identity", "delete", "--yes"], &[]),
    (&["key", "generate"], &[]),
    (&["key", "show"], &[]),
    (&["node", "show"], &[]),
    (&["node", "delete", "--yes"], &[]),
    (&["conflict", "list", "--at"], &[]),
    (&["policy", "check"], &[]),
    (&["policy", "eval", "-a", "member"], &[]),
];

#[test]
fn no_name_that_is_typed_leads_out_of_the_home() {
    let kms = Kms::new();
    assert_eq!(kms.run_apart(&["identity", "create"], b"").code, 0);
    let program = ockam_kms();
    let all = hostile_arguments();
    let mut count = 0;
    for (place, (verb, rest)) in VERBS.iter().enumerate() {
        let with = |name: &str| {
            // An option takes its value by an equals sign, a verb its name behind two dashes.
            match verb.split_last() {
                Some((option, before)) if option.starts_with("--at") => {
                    traced(&kms, &program, &[before, &[&*format!("{option}={name}")], *rest].concat())
                }
                _ => traced(&kms, &program, &[*verb, &["--", name], *rest].concat()),
            }
        };
        let mut harmless = with("harmless");
        // The second time it is there, or is not there any more.
        harmless.extend(with("harmless"));
        for name in all.iter().skip(place).step_by(VERBS.len()) {
            let more: Vec<_> = with(name).difference(&harmless).cloned().collect();
            assert!(more.is_empty(), "{verb:?} {name:?}: {more:?}");
            count += 1;
        }
    }
    assert!(count > 400, "{count}");
}

#[test]
fn no_name_that_a_server_is_asked_for_leads_out_of_the_home() {
    let mut world = World::new(Program::Real);
    let trace = world.home().path().parent().unwrap().join("trace");
    world.set_program(Program::Under(strace(&trace)));
    world.start();
    let address = world.url().trim_start_matches("http://").to_owned();
    let ask = |target: &str, name: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\nockam-identity: {name}\r\nconnection: close\r\n\r\n"
        );
        // One that is refused before its end may be cut off.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    };
    // What it opens when it is first asked, it opens now.
    ask("/v1/members/harmless", "harmless");
    let before = std::fs::read_to_string(&trace).unwrap().len();
    let mut count = 0;
    for name in hostile() {
        let raw: String = name.chars().filter(|c| !matches!(c, '\r' | '\n')).take(2000).collect();
        let encoded: String = raw.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for target in
            [format!("/v1/members/{encoded}"), format!("/{raw}"), format!("/v1/members?after={encoded}")]
        {
            ask(&target, &raw);
            count += 1;
        }
    }
    assert!(count > 1500, "{count}");
    world.kill();
    let text = std::fs::read_to_string(&trace).unwrap();
    let home = world.home().path().to_str().unwrap().to_owned();
    let (started, asked) = text.split_at(before);
    assert!(paths(started, "/").iter().any(|path| path.starts_with(&home)), "the trace shows what it opens");
    assert_eq!(outside(asked, "/", &home), BTreeSet::new());
}

/// A program that takes a name for a path is found out.
#[test]
fn control_a_name_that_leads_out_is_noticed() {
    let kms = Kms::new();
    std::fs::create_dir_all(kms.home().join("names")).unwrap();
    let names = kms.home().join("names").display().to_string();
    let script = "cd \"$0\" && [ -e \"$1\" ]; : > \"$1\"";
    let with = |name: &str| traced(&kms, Path::new("/bin/sh"), &["-c", script, &names, name]);
    let harmless = with("harmless");
    let out = |name: &str| with(name).difference(&harmless).cloned().collect::<Vec<_>>();
    assert_eq!(out("n"), Vec::<String>::new());
    assert_eq!(out("a/../n"), Vec::<String>::new());
    let canary = kms.path("canary").display().to_string();
    assert_eq!(out("../../canary"), std::slice::from_ref(&canary));
    assert_eq!(out(&canary), [canary]);
    assert_eq!(out("/dev/null"), ["/dev/null"]);
}
