//! Text forms, and the words of refusals.

use std::collections::BTreeSet;

use identity::{
    ChangeHash, Credential, Identifier, Identity, IssuerBundle, Kind, PurposeKeyAttestation, Refusal,
};

use crate::world::{World, verdict};

const DIGITS: &str = "3dd461c06600ec6bd4ac9197f9f65e0cea5b64e7a0e12275abfd4bc297aa3bbc";

#[test]
fn an_identifier_is_a_capital_i_and_64_hex_digits() {
    let identifier: Identifier = format!("I{DIGITS}").parse().unwrap();
    assert_eq!(identifier.to_string(), format!("I{DIGITS}"));
    assert_eq!(hex::encode(identifier.as_bytes()), DIGITS);
    assert_eq!(Identifier::from_bytes(*identifier.as_bytes()), identifier);
    // As the reference: white space around it and capital digits are taken.
    for text in [format!("  I{DIGITS}\n"), format!("I{}", DIGITS.to_uppercase())] {
        assert_eq!(text.parse::<Identifier>().unwrap(), identifier, "{text:?}");
    }
    for text in [
        "",
        "I",
        DIGITS,
        &format!("i{DIGITS}"),
        &format!("II{DIGITS}"),
        &format!("I{}", &DIGITS[1..]),
        &format!("I{}", &DIGITS[2..]),
        &format!("I{DIGITS}00"),
        &format!("I {}", &DIGITS[1..]),
        &format!("I{}é", &DIGITS[2..]),
        &format!("I0x{}", &DIGITS[2..]),
        &"I".repeat(65_536),
    ] {
        let error = text.parse::<Identifier>().unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{text:?}");
        assert!(error.to_string().len() < 400, "the text is cut in the message");
    }
    assert!("\u{1b}[2J".parse::<Identifier>().unwrap_err().to_string().is_ascii());
}

#[test]
fn identifiers_are_text_in_json() {
    let identifier: Identifier = format!("I{DIGITS}").parse().unwrap();
    let json = serde_json::to_string(&identifier).unwrap();
    assert_eq!(json, format!("\"I{DIGITS}\""));
    assert_eq!(serde_json::from_str::<Identifier>(&json).unwrap(), identifier);
    assert!(serde_json::from_str::<Identifier>(&format!("\"{DIGITS}\"")).is_err());
}

#[test]
fn a_change_hash_is_64_hex_digits() {
    let hash: ChangeHash = DIGITS.parse().unwrap();
    assert_eq!(hash.to_string(), DIGITS);
    assert_eq!(hash, DIGITS.to_uppercase().parse().unwrap());
    assert_eq!(Identifier::from(hash).to_string(), format!("I{DIGITS}"));
    for text in ["", &DIGITS[2..], &format!("I{DIGITS}"), &format!("{DIGITS}00"), "zz"] {
        assert_eq!(text.parse::<ChangeHash>().unwrap_err().kind(), Kind::Malformed, "{text:?}");
    }
}

#[test]
fn what_travels_as_hex_is_read_in_either_case_and_nothing_else_is() {
    let world = World::new();
    let history = world.issuer.to_hex();
    let credential = world.credential.to_hex().unwrap();
    let attestation = world.attestation.to_hex().unwrap();
    for (text, dressed) in [(&history, history.to_uppercase()), (&history, format!(" {history}\n"))] {
        assert_eq!(Identity::import_hex(&dressed).unwrap().to_hex(), *text);
    }
    assert_eq!(Credential::from_hex(&credential.to_uppercase()).unwrap().to_hex().unwrap(), credential);
    assert_eq!(PurposeKeyAttestation::from_hex(&attestation).unwrap().to_hex().unwrap(), attestation);
    for bad in ["", " ", "0", "zz", "0x8180", "81 80", "\0", "８１"] {
        for text in [bad.to_owned(), format!("{history}{bad}x"), format!("{}{bad}", &history[1..])] {
            assert_eq!(verdict(&Identity::import_hex(&text)), "malformed", "{text:?}");
            assert_eq!(verdict(&Credential::from_hex(&text)), "malformed", "{text:?}");
            assert_eq!(verdict(&PurposeKeyAttestation::from_hex(&text)), "malformed", "{text:?}");
            assert_eq!(verdict(&IssuerBundle::from_hex(&text)), "malformed", "{text:?}");
        }
    }
}

#[test]
fn debug_texts_name_what_it_is_and_are_short() {
    let world = World::new();
    for text in
        [format!("{:?}", world.issuer), format!("{:?}", world.attestation), format!("{:?}", world.credential)]
    {
        assert!(text.contains(&world.issuer.identifier().to_string()) && text.len() < 300, "{text}");
    }
}

/// The codes are read by programs: a changed one breaks them, so the list stands here once more.
#[test]
fn each_refusal_has_a_code_that_stays_and_words() {
    let codes: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
    let expected = "empty-history wrong-version wrong-type first-has-previous broken-chain time-reversed signature \
        missing-previous-signature other-identifier older conflict other-subject not-latest-change outlives-change \
        before-change future expired other-purpose revoked other-issuer no-subject other-credential-subject \
        before-purpose-key outlives-purpose-key too-large trailing-bytes too-long";
    assert_eq!(codes, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
    for refusal in Refusal::ALL {
        let error = identity::Error::from(*refusal);
        assert_eq!((error.refusal(), error.to_string().as_str()), (Some(*refusal), refusal.words()));
        assert!(refusal.words().starts_with(char::is_lowercase) && !refusal.words().ends_with('.'));
        assert_eq!(refusal.to_string(), refusal.words());
    }
}
