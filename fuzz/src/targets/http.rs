//! What an authority and its clients read of each other.

use authority::fuzzing;

use super::written_again;

/// The first byte says which header, the rest is its value; a line feed stands between two.
pub fn http_headers(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    match which % 5 {
        0 => {
            let Some((input, signature, base)) = fuzzing::signature(first, second) else { return };
            let (again, same, canonical) = fuzzing::signature(&input, &signature).expect("ours is refused");
            assert_eq!((&again, &same), (&input, &signature));
            // What is signed names everything that has to be covered, one thing a line, whatever order it came in.
            for base in [base, canonical] {
                let base = String::from_utf8(base).unwrap();
                for component in
                    ["\"@method\": ", "\"@target-uri\": ", "\"content-digest\": ", "\"ockam-authority\": "]
                {
                    assert_eq!(base.lines().filter(|line| line.starts_with(component)).count(), 1, "{base}");
                }
                assert!(base.lines().last().unwrap().starts_with("\"@signature-params\": ("), "{base}");
            }
        }
        1 => {
            if fuzzing::is_digest_of(first, second.as_bytes()) {
                // But for its last digit, whose pad bits parsers pass over (RFC 8941 §4.2.7).
                let ours = fuzzing::digest_of(second.as_bytes());
                let value = &ours["sha-256=:".len()..][..42];
                assert!(first.contains(value), "`{first}` is taken for the digest of `{second}`");
            }
            assert!(fuzzing::is_digest_of(&fuzzing::digest_of(rest), rest));
        }
        2 => {
            let Some(shown) = fuzzing::identity_header(text) else { return };
            written_again(&*shown, |shown| Some(fuzzing::identity_header(shown)?.into()));
        }
        3 => {
            let Some(query) = fuzzing::page(text) else { return };
            written_again(&*query, |query| Some(fuzzing::page(query)?.into()));
        }
        _ => {
            let Some(url) = fuzzing::url(text) else { return };
            written_again(&*url, |url| Some(fuzzing::url(url)?.into()));
        }
    }
}

/// The first byte says which body, the rest is it.
pub fn http_bodies(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    let which = usize::from(*which);
    let decode = |body: &[u8]| match which.checked_sub(fuzzing::REQUESTS) {
        None => fuzzing::request(which, body),
        Some(answer) => fuzzing::answer(answer, body),
    };
    let Some(written) = decode(body) else { return };
    written_again(&*written, |body| Some(decode(body)?.into()));
}
