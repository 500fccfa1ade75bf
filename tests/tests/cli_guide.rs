//! The operator's guide and the page on nodes do what they say: their commands are run, in order, in one shell that stops at the first that fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use std::fmt::Write as _;

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::cli::transcript::To;
use ockam_kms_tests::softhsm::SoftHsm;

/// The commands in the `console` blocks of a page, as one script that tells where it is.
fn script(page: &str) -> (String, usize) {
    let (mut script, mut count, mut inside) = ("set -eu\n".to_owned(), 0, false);
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            let mut command = command.to_owned();
            while command.ends_with('\\') {
                command.push('\n');
                command.push_str(lines.next().unwrap().1);
            }
            writeln!(script, "echo 'line {}' >&2\n{command}", number + 1).unwrap();
            count += 1;
        }
    }
    (script, count)
}

fn follow(page: &str) -> (usize, ockam_kms_tests::cli::Ran) {
    let mut kms = Kms::new();
    let (_tokens, hsm) = SoftHsm::prepare();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    let (script, count) = script(page);
    (count, kms.shell(&script, To::Pipe))
}

#[test]
fn the_guide_does_what_it_says() {
    let (count, ran) = follow(include_str!("../../docs/operations.md"));
    assert!(count > 50, "{count} commands");
    let _ = ran.code(0);
}

#[test]
fn the_page_on_nodes_does_what_it_says() {
    let (count, ran) = follow(include_str!("../../docs/nodes.md"));
    assert!(count > 20, "{count} commands");
    assert!(ran.code(0).stdout.contains("n1n2n3HELLO OCKAM!"));
}

/// A command that fails, or that is refused where the guide says it is not, ends it.
#[test]
fn a_guide_that_is_wrong_is_seen() {
    for wrong in ["ockam-kms vault show", "ockam-kms vault create | false", "test -e nothing"] {
        let (_, ran) = follow(&format!("```console\n$ ockam-kms version\n$ {wrong}\n$ true\n```\n"));
        assert!(ran.code != 0 && ran.stderr.contains("line 3") && !ran.stderr.contains("line 4"));
    }
    let (count, _) = follow("```text\n$ false\n```\n");
    assert_eq!(count, 0);
}
