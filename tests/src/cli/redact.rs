//! Names for what is random in a transcript: identifiers and hashes are numbered as they appear, so that a transcript also
//! shows which of them are the same.

use std::path::Path;

/// Replaces what differs from run to run.
#[derive(Debug)]
pub(super) struct Redactor {
    directory: String,
    identifiers: Vec<String>,
    hashes: Vec<String>,
    keys: Vec<String>,
    addresses: Vec<String>,
}

impl Redactor {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.display().to_string(),
            identifiers: Vec::new(),
            hashes: Vec::new(),
            keys: Vec::new(),
            addresses: Vec::new(),
        }
    }

    pub(super) fn redact(&mut self, text: &str) -> String {
        let text = text.replace(&self.directory, "DIR");
        let mut redacted = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            if end == 0 {
                redacted.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(end);
            let (name, taken) = self.name(word, after, &redacted);
            redacted.push_str(&name);
            rest = &rest[taken..];
        }
        redacted
    }

    /// What stands for a word, and how much of the text it covers.
    fn name(&mut self, word: &str, after: &str, before: &str) -> (String, usize) {
        let hex = |text: &str| text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        let whole = |name: String| (name, word.len());
        if let Some(digits) = word.strip_prefix('I').filter(|digits| digits.len() == 64 && hex(digits)) {
            return whole(format!("I<{}>", number(&mut self.identifiers, digits)));
        }
        if word.len() == 64 && hex(word) {
            // The first change's hash is the identifier, without its letter.
            if let Some(known) = self.identifiers.iter().position(|known| known == word) {
                return whole(format!("<hash of I<{}>>", known + 1));
            }
            return whole(format!("<hash {}>", number(&mut self.hashes, word)));
        }
        if word.len() > 64 && hex(word) {
            return whole("<hex>".to_owned());
        }
        if word.len() == 32 && hex(word) && before.ends_with(['/', '#']) {
            return whole(format!("<address {}>", number(&mut self.addresses, word)));
        }
        // A UUID: what a service calls a key.
        let parts: Vec<_> = after.get(..28).unwrap_or_default().split('-').collect();
        if word.len() == 8
            && hex(word)
            && parts.iter().map(|part| part.len()).eq([0, 4, 4, 4, 12])
            && parts.iter().all(|part| hex(part))
        {
            let name = format!("<key {}>", number(&mut self.keys, &[word, &parts.join("-")].concat()));
            return (name, word.len() + 28);
        }
        let random = before.ends_with('-') && hex(word) && matches!(word.len(), 8 | 16);
        if random || (word.len() == 16 && hex(word)) {
            return whole("<random>".to_owned());
        }
        let host = before.ends_with("127.0.0.1:") || before.ends_with("127.0.0.1/tcp/");
        if host && digits(word) {
            return whole("<port>".to_owned());
        }
        if (before.ends_with("\"pid\":") || before.ends_with("process ")) && digits(word) {
            return whole("<pid>".to_owned());
        }
        // 2026-11-22T18:00:00Z (1795370400)
        if word.len() == 4
            && digits(word)
            && after.len() > 16
            && after.as_bytes()[6] == b'T'
            && after.as_bytes()[15] == b'Z'
        {
            return ("<time>".to_owned(), word.len() + 16);
        }
        if word.len() == 10 && digits(word) && word.starts_with(['1', '2']) {
            return whole("<time>".to_owned());
        }
        whole(word.to_owned())
    }
}

fn number(known: &mut Vec<String>, text: &str) -> usize {
    if let Some(place) = known.iter().position(|known| known == text) {
        return place + 1;
    }
    known.push(text.to_owned());
    known.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_gets_a_name() {
        let mut redactor = Redactor::new(Path::new("/some/dir"));
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(32));
        let text = format!(
            "I{a} I{b} I{a} {a} {b}{b} /some/dir/x default-0123456789abcdef vault-01234567 127.0.0.1:4100 \
             2026-11-22T18:00:00Z (1795370400) \"pid\":77, 8 words é \
             /ip4/127.0.0.1/tcp/4100/service/{c}/service/{c} \
             key-id=1234abcd-12ab-34cd-56ef-1234567890ab;name=x abcd1234-12ab-34cd-56ef-1234567890ab"
        );
        assert_eq!(
            redactor.redact(&text),
            "I<1> I<2> I<1> <hash of I<1>> <hex> DIR/x default-<random> vault-<random> 127.0.0.1:<port> \
             <time> (<time>) \"pid\":<pid>, 8 words é \
             /ip4/127.0.0.1/tcp/<port>/service/<address 1>/service/<address 1> key-id=<key 1>;name=x <key 2>"
        );
    }
}
