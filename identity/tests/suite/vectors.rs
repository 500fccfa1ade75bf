//! The verdicts of the published crates over tests/vectors/ockam-0.150.json, and ours beside them: the same, but where
//! docs/formats.md says that ours is stricter. With our reason for each refusal in tests/golden/identity-vectors.txt.

use std::fmt::Write as _;

use identity::{Credential, Identity, IssuerBundle, Rule, Timestamp, verify};
use serde_json::Value as Json;

use crate::golden;
use crate::world::verdict;

const VECTORS: &str = include_str!("../../../tests/vectors/ockam-0.150.json");
/// Inside the validity of everything that was made to be valid.
const NOW: Timestamp = Timestamp(1_795_400_000);
/// The one place where we are stricter, by the end of the vector's name.
const STRICTER: &str = ": one trailing byte";

fn text<'a>(vector: &'a Json, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

/// One line of the table, when the verdicts agree or the difference is the one we know.
fn line(vector: &Json, ours: &str) -> String {
    let name = text(vector, "name");
    let theirs = if vector["verdict"]["ok"].as_bool().unwrap() { "ok" } else { "refused" };
    let (verdict, reason) = if ours == "ok" { ("ok", "-") } else { ("refused", ours) };
    if name.ends_with(STRICTER) {
        assert_eq!((theirs, ours), ("ok", "trailing-bytes"), "{name}");
    } else {
        assert_eq!(theirs, verdict, "{name}: {ours}");
    }
    format!("{name} | {theirs} | {verdict} | {reason}")
}

#[test]
fn every_vector_gets_its_verdict() {
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let (histories, credentials) =
        (vectors["identities"].as_array().unwrap(), vectors["credentials"].as_array().unwrap());
    assert_eq!((histories.len(), credentials.len()), (118, 48));
    let mut table = "# vector | the published crates | ours | our reason\n".to_owned();
    for vector in histories {
        let ours = Identity::import_hex(text(vector, "change_history"));
        if let Ok(identity) = &ours {
            let theirs = &vector["verdict"];
            assert_eq!(identity.identifier().to_string(), text(theirs, "identifier"));
            assert_eq!(identity.len() as u64, theirs["changes"].as_u64().unwrap());
            assert_eq!(identity.latest().hash().to_string(), text(theirs, "latest_change_hash"));
            assert_eq!(identity.to_hex(), text(vector, "change_history"));
        }
        writeln!(table, "{}", line(vector, verdict(&ours))).unwrap();
    }
    for vector in credentials {
        let issuer = IssuerBundle::from_hex(text(vector, "issuer_change_history")).unwrap();
        let subject = text(vector, "subject").parse().unwrap();
        let ours = Credential::from_hex(text(vector, "credential"))
            .and_then(|credential| verify(&credential, &issuer, Some(&subject), NOW, Rule::Reference));
        if let Ok(proof) = &ours {
            let theirs = &vector["verdict"];
            assert_eq!(proof.subject().to_string(), text(theirs, "subject"));
            assert_eq!(proof.attributes().schema(), theirs["schema"].as_u64().unwrap());
            assert_eq!(proof.created_at().0, theirs["created_at"].as_u64().unwrap());
            assert_eq!(proof.expires_at().0, theirs["expires_at"].as_u64().unwrap());
            let hex = |(name, value): (&[u8], &[u8])| (hex::encode(name), Json::from(hex::encode(value)));
            let attributes: serde_json::Map<_, _> = proof.attributes().iter().map(hex).collect();
            assert_eq!(Json::from(attributes), theirs["attributes_hex"]);
        }
        writeln!(table, "{}", line(vector, verdict(&ours))).unwrap();
    }
    golden::check("identity-vectors.txt", &table);
}

/// By the continuous rule, a credential from before a rotation is good for the overlap when only the history is known.
/// The vectors' issuers rotated in the second that they issued in.
#[test]
fn what_the_reference_refuses_after_a_rotation_is_good_for_the_overlap() {
    let vectors: Json = serde_json::from_str(VECTORS).unwrap();
    let mut seen = 0;
    for vector in vectors["credentials"].as_array().unwrap() {
        if !text(vector, "name").ends_with("issued before its issuer rotated") {
            continue;
        }
        let issuer = IssuerBundle::from_hex(text(vector, "issuer_change_history")).unwrap();
        let rotated = issuer.identity().latest().valid_from();
        let credential = Credential::from_hex(text(vector, "credential")).unwrap();
        let check = |now, rule| verdict(&verify(&credential, &issuer, None, now, rule));
        let in_time = credential.attestation().created_at() < rotated;
        assert_eq!(check(rotated, Rule::default()), if in_time { "ok" } else { "not-latest-change" });
        assert_eq!(check(rotated.after(3600), Rule::default()), "not-latest-change");
        assert_eq!(check(rotated, Rule::Reference), "not-latest-change");
        seen += 1;
    }
    assert_eq!(seen, 8);
}
