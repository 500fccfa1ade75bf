//! What to do next, where the failure itself does not say it better: one table for kinds, one for rules of verification.
//! Both are under a golden test, so no failure is told without.

use identity::Refusal;

use crate::exit::Kind;

/// What to do about a failure of this kind.
pub(crate) fn of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "try --help",
        Kind::Invalid => "check what was typed; --help says what is expected",
        Kind::Malformed => "check that this program and the authority are of the same version",
        Kind::Rejected => "do not use it: get it again from whoever made it",
        Kind::NotFound => "check the name; `list` of the same command shows what there is",
        Kind::Unavailable => "see that it is there and running, then try again",
        Kind::Backend => "try again; when it stays, the device's or the system's own log says more",
        Kind::Internal => "please report it, with these lines and `ockam-kms version`",
        Kind::AlreadyExists => "choose another name",
        Kind::Conflict => "look at what is there already, then decide which of the two is right",
        Kind::Corrupt => "restore it from a backup; `ockam-kms doctor` says what else is wrong",
        Kind::Exhausted => "wait until others are done, then try again",
        Kind::Presence => "act at the device or the terminal, then try again",
        Kind::Denied => "check the PIN or passphrase, and who owns what it is about",
        Kind::Unauthenticated => {
            "see that the clock is right, and by --identity that the right identity asks"
        }
        Kind::Forbidden => "ask an enroller or an admin of the project",
        Kind::RateLimited => "wait a minute, then try again",
        Kind::Unsupported => {
            "`ockam-kms version` and `ockam-kms vault check` say what this build and a vault can do"
        }
        Kind::Interrupted => "nothing is half-made: run it again when you like",
    }
}

/// What to do about something that a rule of verification refused.
pub(crate) fn of_refusal(refusal: Refusal) -> &'static str {
    use Refusal as R;
    match refusal {
        R::EmptyHistory | R::WrongVersion | R::WrongType | R::TooLarge | R::TrailingBytes => {
            "it is damaged, or something else than it is given for: get it again from whoever made it"
        }
        R::FirstHasPrevious
        | R::BrokenChain
        | R::TimeReversed
        | R::Signature
        | R::MissingPreviousSignature => {
            "do not use it: it is damaged or forged; get it again from whoever made it"
        }
        R::OtherIdentifier => "get the history of the identity that you expect",
        R::Older => {
            "get the present history, which `ockam-kms identity show --full --encoding hex` prints at its owner"
        }
        R::Conflict => "one of its keys may be stolen: ask its owner, by another way, which history is right",
        R::OtherSubject | R::OtherIssuer => {
            "name the issuer that made it, or get one from the issuer that you name"
        }
        R::NotLatestChange => {
            "get one from after the rotation, or check with what `ockam-kms authority show --issuer-bundle` prints"
        }
        R::Revoked => "get a new one: its issuer revoked everything from before",
        R::OutlivesChange | R::BeforeChange | R::BeforePurposeKey | R::OutlivesPurposeKey | R::TooLong => {
            "tell its issuer, who broke a rule of validity, and get a new one"
        }
        R::Future => "set this clock right, and that of whoever made it",
        R::Expired => "get a new one",
        R::OtherPurpose => "do not use it: get one that is signed by a credential key",
        R::NoSubject | R::OtherCredentialSubject => "get one about the subject that you name",
        _ => of_kind(Kind::Rejected),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use authority::{Needs, Problem};

    use super::*;
    use crate::error::Error;

    /// Kinds of failure by where they come from, each with its exit code and what is said to do.
    fn table() -> String {
        let mut rows: Vec<(String, Error)> = Vec::new();
        for kind in Kind::all() {
            rows.push((format!("here: {}", kind.name()), Error::new(kind, "x")));
        }
        for kind in vault::Kind::ALL {
            rows.push((format!("vault: {}", kind.name()), vault::Error::new(kind, "x").into()));
            rows.push((format!("home: {}", kind.name()), home::Error::new(kind, "x").into()));
        }
        rows.push(("identity: malformed".to_owned(), identity::Error::malformed("x").into()));
        rows.push(("identity: invalid".to_owned(), identity::Error::invalid("x").into()));
        for refusal in Refusal::ALL {
            rows.push((format!("identity: {}", refusal.code()), identity::Error::from(*refusal).into()));
        }
        for problem in [
            Problem::Malformed("x".into()),
            Problem::Unauthenticated { needs: Needs::Signature },
            Problem::Forbidden("x".into()),
            Problem::NotFound("x".into()),
            Problem::Conflict("x".into()),
            Problem::RateLimited { retry_after: Duration::from_secs(1) },
            Problem::Unavailable { retry_after: Duration::from_secs(1) },
            Problem::Internal,
        ] {
            rows.push((format!("authority: {}", problem.code()), problem.into()));
        }
        for kind in [
            std::io::ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists,
            std::io::ErrorKind::PermissionDenied,
            std::io::ErrorKind::IsADirectory,
            std::io::ErrorKind::NotADirectory,
            std::io::ErrorKind::StorageFull,
            std::io::ErrorKind::Other,
        ] {
            let error = crate::error::io("read", std::path::Path::new("x"), kind.into());
            rows.push((format!("file: {kind}"), error));
        }
        let line = |(name, error): &(String, Error)| {
            format!("{name}\n    {} {}\n    {}\n", error.kind().code(), error.kind().name(), error.hint())
        };
        rows.iter().map(line).collect()
    }

    #[test]
    fn every_kind_of_failure_says_what_to_do() {
        let (found, path) = (table(), concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cli-hints.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(path).unwrap());
        assert!(found.lines().all(|line| !line.trim().is_empty()));
    }

    #[test]
    fn a_failure_that_says_nothing_gets_what_its_kind_says() {
        let error = Error::new(Kind::NotFound, "x").with_hint("");
        assert_eq!(error.hint(), of_kind(Kind::NotFound));
        assert_eq!(error.with_hint("look there").hint(), "look there");
    }
}
