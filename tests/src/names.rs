//! Names that somebody would choose who wants a name to be more than a name.

use std::collections::BTreeSet;

/// More than 500 names, all different: paths, options, encodings, controls, look-alikes, words that some system reads for
/// something else, and lengths. Some are good names; most must be refused wherever a name becomes more than text.
#[must_use]
pub fn hostile() -> Vec<String> {
    let mut names: BTreeSet<String> = PLAIN.iter().map(|name| (*name).to_owned()).collect();
    // What escapes, in every place and in every spelling of it.
    for escape in ESCAPES {
        for shape in ["@", "@x", "x@", "x@y", "@@", "a/@/b"] {
            names.insert(shape.replace('@', escape));
        }
    }
    // Every character that a name of ASCII can have too many of, at the beginning, within and at the end.
    for c in (0..=0x20_u8).chain(0x21..=0x7f).map(char::from).filter(|c| !c.is_ascii_alphanumeric()) {
        names.extend([format!("{c}n"), format!("n{c}n"), format!("n{c}")]);
    }
    // Words that systems keep for themselves.
    for word in
        ["CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "con", "lock", "home", "default", "operator", "vault"]
    {
        names.extend([word.to_owned(), format!("{word}.json"), format!("{word}.")]);
    }
    // One name in many eyes: composed and decomposed, wide, of another alphabet, invisible, from right to left.
    for (one, other) in PAIRS {
        names.extend([(*one).to_owned(), (*other).to_owned()]);
    }
    // Lengths around every limit that a system may have.
    for length in [95, 96, 97, 107, 108, 255, 256, 4095, 4096, 65_535, 65_536] {
        names.extend(["n", "é", "../"].map(|text| text.repeat(length / text.len())));
    }
    names.into_iter().collect()
}

/// Those that an argument can hold: no byte zero, and no longer than a system passes on.
#[must_use]
pub fn hostile_arguments() -> Vec<String> {
    hostile().into_iter().filter(|name| !name.contains('\0') && name.len() < 100_000).collect()
}

const PLAIN: &[&str] = &[
    "",
    "n",
    "N",
    "a.b",
    "a-b",
    "a_b",
    "_",
    "_n",
    "0",
    "-",
    "--",
    "-n",
    "--yes",
    "--output=json",
    "--help",
    "-rf",
    "@file",
    "@",
    "...",
    "....",
    ".hidden",
    "..hidden",
    ".new-x",
    "n.json.json",
    ".json",
    "~",
    "~root",
    "$HOME",
    "${HOME}",
    "$(id)",
    "`id`",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "{0}",
    "%s%n%n",
    "%00",
    "n%00.json",
    "; rm -rf /",
    "| cat",
    "&& true",
    "> out",
    "'; DROP TABLE m;--",
    "\" OR \"\"=\"",
    "' or 1=1 --",
    "<script>alert(1)</script>",
    "<!--",
    "]]>",
    "]]>&x;",
    "\\\\server\\share",
    "C:\\x",
    "c:x",
    "n:stream",
    "file:///etc/passwd",
    "http://x/",
    "soft:name=n",
    "pkcs11:object=n?pin-value=1",
    "n;name=m",
    "n?path=/etc",
    "n&path=/etc",
    "subject.identifier",
    "subject.has_credential",
    "identifier",
    "has_credential",
    "ockam-role",
    "ockam-relay",
    "true",
    "false",
    "null",
    "\u{feff}n",
    "n\u{feff}",
    "\u{1b}[2J",
    "\u{1b}]0;owned\u{7}",
    "\u{9b}2J",
    "n\r\nSet-Cookie: x",
    "n\nINFO forged line",
    "n\n{\"sequence\":1}",
    "n\u{2028}m",
    "n\u{2029}m",
    "n\u{85}m",
    "\u{202e}nosj.",
    "\u{2066}n\u{2069}",
    "I",
    "I00",
    "1e400",
    "NaN",
    "0x1",
];

const ESCAPES: &[&str] = &[
    "../",
    "..\\",
    "/",
    "//",
    "./",
    "/../",
    "..",
    "....//",
    "%2e%2e%2f",
    "%2e%2e/",
    "..%2f",
    "%252e%252e%252f",
    "..%5c",
    "%c0%ae%c0%ae/",
    "..\u{ff0f}",
    "..\u{2215}",
    "\u{ff0e}\u{ff0e}/",
    "\0",
    "\0../",
    "/etc/passwd",
    "/proc/self/mem",
    "/dev/null",
    "../../../../../../tmp/owned",
    "\n",
    "\r\n",
    "\t",
    "\u{1b}[31m",
    "\u{8}",
    "\u{7f}",
    ",",
    "=",
    ":",
    ";",
    "?",
    "&",
    "#",
    "*",
    "\"",
    "'",
    "`",
    "$x",
    "${x}",
    "\u{202e}",
    "\u{200b}",
    "\u{200d}",
    "\u{ad}",
    "\u{301}",
    "\u{1f511}",
    "\u{10ffff}",
    "\u{e000}",
    "\u{fffd}",
];

/// Different names that a file system or an eye may take for one.
const PAIRS: &[(&str, &str)] = &[
    ("\u{e9}", "e\u{301}"),
    ("\u{c5}", "A\u{30a}"),
    ("\u{212b}", "\u{c5}ngstrom"),
    ("\u{1e9b}\u{323}", "\u{1e69}"),
    ("\u{fb01}n", "fin"),
    ("\u{ff4e}ame", "name"),
    ("\u{430}dmin", "admin"),
    ("Admin", "ADMIN"),
    ("\u{130}d", "\u{131}d"),
    ("stra\u{df}e", "strasse"),
    ("n\u{200b}ame", "na\u{200c}me"),
    ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}"),
    ("ca\u{a0}1", "ca 1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_of_every_kind() {
        let names = hostile();
        assert!(names.len() >= 500, "{}", names.len());
        for kind in
            ["../", "%2e", "\0", "\\", "\u{202e}", "\u{e9}", "e\u{301}", ";", "CON", "${", "\n", "\u{1b}["]
        {
            assert!(names.iter().any(|name| name.contains(kind)), "{kind:?}");
        }
        assert!(
            names.iter().any(|name| name.len() >= 65_000) && names.iter().any(|name| name.starts_with('-'))
        );
    }
}
