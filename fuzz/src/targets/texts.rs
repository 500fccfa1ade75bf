//! What people type and paste: tickets, key URIs, policies.

use std::sync::LazyLock;

use authority::ticket::{MAX_TICKET_TEXT, TicketText};
use policy_lang::{Env, MAX_TEXT, Meaning, Policy, compare};
use vault::{KeyName, KeyUri, MAX_URI};

/// A ticket that is taken says the same in each of its forms.
pub fn ticket_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(ticket) = TicketText::parse(text) else { return };
    let (fields, json) = (ticket.fields(), ticket.json().unwrap().to_string());
    assert!(fields.len() <= MAX_TICKET_TEXT && fields.split(',').count() == 7 && !fields.contains('\n'));
    assert_eq!((ticket.code.len(), ticket.authority_route.is_empty()), (64, false));
    for form in [fields.as_str(), &json, &hex::encode(fields.as_bytes()), &hex::encode(&json)] {
        assert!(TicketText::parse(form).unwrap() == ticket, "another ticket as `{form}`");
    }
    let _ = ticket.authority();
}

/// A URI that is taken prints canonically and within its limit, and is the same once printed. A name is plain.
pub fn key_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = KeyName::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c)));
    }
    let Ok(uri) = text.parse::<KeyUri>() else { return };
    let printed = uri.to_string();
    assert!(printed.len() <= MAX_URI && printed.is_ascii() && !printed.contains(|c: char| c.is_control()));
    let again: KeyUri = printed.parse().unwrap();
    assert_eq!(again, uri);
    assert_eq!(again.to_string(), printed);
    assert!(again.same_key(&uri) == uri.same_key(&again));
    for attribute in ["name", "path", "token", "serial", "object", "id", "module-path", "pin-source"] {
        assert_eq!(again.bytes(attribute), uri.bytes(attribute));
        let _ = uri.text(attribute);
    }
}

static ENVIRONMENTS: LazyLock<[Env; 3]> = LazyLock::new(|| {
    let subject = "I69c228786aec9341b3c1912423ae769f63200ceb553a2eba4c5b262b6766fc7c";
    let attributes = [("a", "true"), ("role", "member"), ("site", "oslo"), ("n", "1")];
    [
        Env::new(),
        Env::for_subject(subject, attributes).unwrap(),
        Env::for_subject(subject, [("b", "x")]).unwrap(),
    ]
});

pub(super) fn prepare() {
    LazyLock::force(&ENVIRONMENTS);
}

/// A policy that parses prints as an S-expression that reads back as the same, and decides the same, by either meaning; where
/// `compare` says nothing the two meanings decide alike.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut decisions = [None; 2];
    for (meaning, kept) in [Meaning::Strict, Meaning::Exact].into_iter().zip(&mut decisions) {
        let Ok(policy) = Policy::parse_as(text, meaning) else { continue };
        let printed = policy.to_string();
        assert!(printed.len() <= MAX_TEXT);
        let again = Policy::parse_as(&printed, meaning).expect("what was printed does not parse");
        assert_eq!(again.to_string(), printed);
        let decide = |policy: &Policy| {
            std::array::from_fn::<_, 3, _>(|n| {
                let evaluation = policy.evaluate(&ENVIRONMENTS[n]);
                assert_eq!(evaluation.decision(), policy.decide(&ENVIRONMENTS[n]));
                evaluation.decision()
            })
        };
        let decided = decide(&policy);
        assert_eq!(decided, decide(&again), "`{printed}` decides otherwise than `{text}`");
        *kept = Some(decided);
    }
    if let [Some(strict), Some(exact)] = decisions {
        let comparison = compare(text);
        assert!(
            strict == exact || comparison.warnings.iter().any(|warning| warning.kind().differs()),
            "`{text}`: {strict:?} and {exact:?} without a word"
        );
    }
}
