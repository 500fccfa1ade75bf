//! Type confusion: nothing signed as one thing stands for another. The matrix is tests/golden/identity-types.txt.

use std::fmt::Write as _;

use identity::{
    Credential, Identity, IssuerBundle, PurposeKeyAttestation, RequestKeyAttestation, Result, Rule, verify,
};
use vault::Signer;

use crate::golden;
use crate::raw::{self, ATTESTATION, CHANGE, CREDENTIAL, Item, REQUEST_KEY, body};
use crate::seeds::{ed25519, p256};
use crate::world::{START, World, raw_window, verdict};

const TYPES: [u64; 4] = [CHANGE, ATTESTATION, CREDENTIAL, REQUEST_KEY];

/// One key that is primary key, credential key and request key at once, so that no signature fails for another reason.
struct Everything {
    key: Signer,
    issuer: Identity,
    attestation: Option<Item>,
}

impl Everything {
    fn new(key: Signer) -> Self {
        let issuer = crate::world::identity(&key);
        let mut new = Self { key, issuer, attestation: None };
        new.attestation = Some(raw::signed(&body_of(&new, ATTESTATION), &new.key));
        new
    }

    /// The content that is good for this type.
    fn content(&self, data_type: u64) -> Item {
        let (identifier, hash) = (self.issuer.identifier(), self.issuer.latest().hash());
        let public = self.key.public();
        match data_type {
            CHANGE => raw::change_data(None, &self.key, false, raw_window(0, 9000)),
            ATTESTATION => {
                raw::attestation_data(identifier, hash, raw::credential_key(public), raw_window(0, 9000))
            }
            CREDENTIAL => {
                raw::credential_data(Some(identifier), raw::attributes(1, &[]), raw_window(0, 9000))
            }
            REQUEST_KEY => raw::attestation_data(identifier, hash, raw::key(public), raw_window(0, 9000)),
            other => panic!("no type {other}"),
        }
    }

    /// Presents a signed body where one of this type is expected.
    fn present(&self, body: &[u8], expected: u64) -> Result<()> {
        self.present_signed(&raw::signed(body, &self.key), expected)
    }

    /// The same for what was signed before.
    fn present_signed(&self, signed: &Item, expected: u64) -> Result<()> {
        let now = START.after(10);
        match expected {
            CHANGE => Identity::import(&raw::array([signed.clone()]).encode()).map(drop),
            ATTESTATION => {
                PurposeKeyAttestation::decode(&signed.encode())?.verify(&self.issuer, now).map(drop)
            }
            REQUEST_KEY => {
                RequestKeyAttestation::decode(&signed.encode())?.verify(&self.issuer, now).map(drop)
            }
            CREDENTIAL => {
                let attestation = self.attestation.clone().unwrap();
                let credential = Credential::decode(&raw::array([signed.clone(), attestation]).encode())?;
                let issuer = IssuerBundle::history_only(self.issuer.clone());
                verify(&credential, &issuer, Some(&self.issuer.identifier()), now, Rule::Reference).map(drop)
            }
            other => panic!("no type {other}"),
        }
    }
}

fn body_of(everything: &Everything, data_type: u64) -> Vec<u8> {
    body(1, data_type, &everything.content(data_type))
}

#[test]
fn every_body_is_refused_as_every_other() {
    for key in [ed25519(1), p256(1)] {
        let everything = Everything::new(key);
        for made in TYPES {
            for expected in TYPES {
                let verdict = verdict(&everything.present(&body_of(&everything, made), expected));
                let wanted = if made == expected { "ok" } else { "wrong-type" };
                assert_eq!(verdict, wanted, "a body of type {made} presented as {expected}");
            }
        }
    }
}

const NAMES: [&str; 4] = ["change", "attestation", "credential", "request key"];

/// Three ways to have one thing taken for another: as it was signed; with the type inside altered, under the same signature;
/// and with the altered type signed by the victim's own key, which leaves the content to be told apart.
#[test]
fn the_matrix_of_types_is_the_one_in_the_table() {
    let mut table = String::from(
        "# Rows: what was made. Columns: where it is presented. As it was signed, type altered, type altered and signed anew.\n",
    );
    let columns: String = NAMES.iter().map(|name| format!("| {name:<36}")).collect();
    writeln!(table, "{:<22}{}", "", columns.trim_end()).unwrap();
    for (algorithm, key) in [("ed25519", ed25519(1)), ("p256", p256(1))] {
        let everything = Everything::new(key);
        for (made, name) in TYPES.into_iter().zip(NAMES) {
            let original = body_of(&everything, made);
            let signature = raw::sign(&original, &everything.key);
            let mut line = format!("{:<22}", format!("{algorithm} {name}"));
            for expected in TYPES {
                let altered = body(1, expected, &everything.content(made));
                let shown = [&original, &altered]
                    .map(|bytes| raw::array([raw::bytes(bytes.clone()), signature.clone()]));
                let [as_signed, altered_type] =
                    shown.map(|signed| verdict(&everything.present_signed(&signed, expected)));
                let anew = verdict(&everything.present(&altered, expected));
                assert!(
                    made == expected || (as_signed != "ok" && altered_type != "ok"),
                    "{name} as {expected}"
                );
                write!(line, "| {:<36}", format!("{as_signed}, {altered_type}, {anew}")).unwrap();
            }
            table += line.trim_end();
            table.push('\n');
        }
    }
    golden::check("identity-types.txt", &table);
}

/// Altered a little or a lot, what was signed as one thing is still nothing else.
#[test]
fn no_mutation_makes_one_thing_another() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let everything = [ed25519(1), p256(1)].map(Everything::new);
    let signed: Vec<Vec<Vec<u8>>> = everything
        .iter()
        .map(|one| TYPES.map(|made| raw::signed(&body_of(one, made), &one.key).encode()).into())
        .collect();
    let (mut refused_by_type, mut rounds) = (0, 0);
    while rounds < 100_000 {
        let (who, made, expected) = (next(2), next(4), next(4));
        if made == expected {
            continue;
        }
        rounds += 1;
        let mut bytes = signed[who][made].clone();
        for _ in 0..next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] ^= 1 << next(8),
                2 => bytes.insert(at, next(256) as u8),
                _ => drop(bytes.remove(at)),
            }
        }
        // Mostly the byte that says the type, which is what a mutation would have to hit.
        if let Some(place) = bytes.windows(2).position(|pair| pair == [1, TYPES[made] as u8])
            && next(2) == 0
        {
            bytes[place + 1] = TYPES[expected] as u8;
        }
        let verdict = verdict(&everything[who].present_signed(&Item::Raw(bytes), TYPES[expected]));
        assert_ne!(verdict, "ok", "{} as {}", NAMES[made], NAMES[expected]);
        refused_by_type += usize::from(verdict == "wrong-type");
    }
    assert!(refused_by_type > 20_000, "only {refused_by_type} got as far as the type");
}

/// The type byte alone separates them: the content of a request key is an attestation's of a channel key, to the byte.
/// With the type said wrongly the content is taken, and the signature over the type is what is left.
#[test]
fn only_the_signed_type_tells_a_channel_attestation_from_a_request_key() {
    let everything = Everything::new(ed25519(1));
    let Item::Array(fields) = everything.content(REQUEST_KEY) else { unreachable!() };
    let channel = raw::channel_key(everything.key.public().as_bytes().try_into().unwrap());
    let attestation = raw::array([&fields[..2], &[channel], &fields[3..]].concat());
    assert_eq!(attestation.encode(), everything.content(REQUEST_KEY).encode());
    for (signed_as, shown_as) in [(ATTESTATION, REQUEST_KEY), (REQUEST_KEY, ATTESTATION)] {
        let signed = body(1, signed_as, &attestation);
        assert_eq!(verdict(&everything.present(&signed, signed_as)), "ok");
        assert_eq!(verdict(&everything.present(&signed, shown_as)), "wrong-type");
        // The signature of the one over the body of the other.
        let shown =
            raw::array([raw::bytes(body(1, shown_as, &attestation)), raw::sign(&signed, &everything.key)])
                .encode();
        let now = START.after(10);
        let verdict = match shown_as {
            REQUEST_KEY => {
                verdict(&RequestKeyAttestation::decode(&shown).unwrap().verify(&everything.issuer, now))
            }
            _ => verdict(&PurposeKeyAttestation::decode(&shown).unwrap().verify(&everything.issuer, now)),
        };
        assert_eq!(verdict, "signature");
    }
}

#[test]
fn other_versions_and_unknown_types_are_refused() {
    let everything = Everything::new(ed25519(1));
    for expected in TYPES {
        let content = everything.content(expected);
        for version in [0, 2, 3, 255] {
            let verdict = verdict(&everything.present(&body(version, expected, &content), expected));
            assert_eq!(verdict, "wrong-version", "version {version} of type {expected}");
        }
        for unknown in (0..=255).filter(|unknown| *unknown != expected) {
            let verdict = verdict(&everything.present(&body(1, unknown, &content), expected));
            assert_eq!(verdict, "wrong-type", "type {unknown} presented as {expected}");
        }
        for (version, data_type) in [(256, expected), (1, 256 + expected), (1, u64::MAX)] {
            let verdict = verdict(&everything.present(&body(version, data_type, &content), expected));
            assert_eq!(verdict, "malformed", "version {version} and type {data_type} do not fit");
        }
    }
}

/// The content of each type under the type of each other, signed as such: a decoder that is lenient about content would
/// take one for the other here. (With an Ed25519 key one does, see above: that is what the type is for.)
#[test]
fn content_of_one_type_under_another_does_not_decode() {
    let everything = Everything::new(p256(1));
    for content in TYPES {
        for data_type in TYPES.into_iter().filter(|data_type| *data_type != content) {
            let verdict =
                verdict(&everything.present(&body(1, data_type, &everything.content(content)), data_type));
            assert_eq!(verdict, "malformed", "content of type {content} under {data_type}");
        }
    }
}

#[test]
fn the_two_halves_of_a_credential_are_not_interchangeable() {
    let world = World::new();
    let bytes = world.credential.encode().unwrap();
    let attestation = world.attestation.encode().unwrap();
    let credential = bytes[1..bytes.len() - attestation.len()].to_vec();
    let together = |a: &[u8], b: &[u8]| Credential::decode(&[&[0x82][..], a, b].concat());
    assert_eq!(verdict(&together(&credential, &attestation)), "ok");
    assert_eq!(verdict(&together(&attestation, &credential)), "wrong-type");
    assert_eq!(verdict(&together(&attestation, &attestation)), "wrong-type");
    assert_eq!(verdict(&together(&credential, &credential)), "wrong-type");
}
