//! A route that ends where another begins: `-` as a step of an argument stands for a line of standard input, so that what one
//! command prints can be the beginning of what the next one is given.
//!
//! ```text
//! … secure-channel create … | ockam-kms message send hello --to -/service/uppercase
//! ```

use std::ffi::{OsStr, OsString};
use std::io::Read;

use node::multiaddr::MAX_TEXT;

use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::secret_input::stdin;

/// The arguments with a line of standard input in place of each `-` that is a step of a route. Nothing is read when there is
/// none.
pub(crate) fn spliced(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    if !arguments.iter().any(|argument| has_gap(argument)) {
        return Ok(arguments);
    }
    let line = line()?;
    Ok(arguments.into_iter().map(|argument| filled(argument, &line)).collect())
}

fn line() -> Result<String> {
    let unreadable = |e| Error::new(Kind::Unavailable, "standard input cannot be read").with_source(e);
    let line = first_line(stdin().map_err(unreadable)?).map_err(unreadable)?;
    let text = String::from_utf8(line).map(|text| text.trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).ok_or_else(|| {
        Error::usage("a route has a step `-`, and standard input has no line for it")
            .with_hint("pipe the output of `secure-channel create` into this command")
    })
}

/// Byte by byte, so that what comes after the line is left for whoever asks next.
fn first_line(mut from: impl Read) -> std::io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() <= MAX_TEXT && from.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(line)
}

/// The option that an argument begins with, if it is one, and the rest.
fn parts(text: &str) -> (&str, &str) {
    match text.find('=') {
        Some(at) if text.starts_with("--") => text.split_at(at + 1),
        _ => ("", text),
    }
}

fn has_gap(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| {
        let (_, route) = parts(text);
        route.contains('/') && route.split('/').any(|step| step == "-")
    })
}

fn filled(argument: OsString, line: &str) -> OsString {
    if !has_gap(&argument) {
        return argument;
    }
    let Some(text) = argument.to_str() else { return argument };
    let (option, route) = parts(text);
    let steps = route.split('/').flat_map(|step| match step {
        "-" => line.split('/').collect(),
        step => vec![step],
    });
    let route: String = steps.filter(|step| !step.is_empty()).map(|step| format!("/{step}")).collect();
    format!("{option}{route}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_filled_and_slashes_are_put_right() {
        for (argument, line, result) in [
            ("-/service/uppercase", "/service/0a", "/service/0a/service/uppercase"),
            ("-/service/uppercase", "/service/0a/", "/service/0a/service/uppercase"),
            ("/node/n1/-", "/service/0a", "/node/n1/service/0a"),
            ("/node/n1/-/service/x", "service/0a", "/node/n1/service/0a/service/x"),
            ("--to=-/service/x", "/service/0a", "--to=/service/0a/service/x"),
        ] {
            assert!(has_gap(OsStr::new(argument)), "{argument}");
            assert_eq!(filled(argument.into(), line), OsString::from(result));
        }
    }

    #[test]
    fn one_line_is_read_and_no_more() {
        let mut input = &b"/service/a\nrest"[..];
        assert_eq!(first_line(&mut input).unwrap(), b"/service/a");
        assert_eq!(input, b"rest");
        assert_eq!(first_line(&b"end"[..]).unwrap(), b"end");
        assert!(first_line(&vec![b'/'; 2 * MAX_TEXT][..]).unwrap().len() <= MAX_TEXT + 1);
    }

    #[test]
    fn what_is_no_step_is_left_alone() {
        for argument in
            ["-", "--", "-3", "/tmp/a-/b", "/tmp/-x", "a -/ b", "--pin=-", "-a", "x=-/y", "http://a/b-c"]
        {
            assert!(!has_gap(OsStr::new(argument)), "{argument}");
            assert_eq!(filled(argument.into(), "/service/0a"), OsString::from(argument));
        }
        let none = vec![OsString::from("ockam-kms"), OsString::from("version")];
        assert_eq!(spliced(none.clone()).unwrap(), none);
    }
}
