//! Credentials: what issuing refuses before a key signs, and each rule of verifying on its own.

use identity::{
    Attributes, Credential, CredentialDraft, Identifier, Identity, IssuerBundle, Kind, MEMBER_SCHEMA,
    PurposeKey, PurposeKeyAttestation, RESERVED_NAMES, Refusal, Result, Rule, Timestamp, Validity,
    VerifiedCredential, check_attribute, verify,
};
use proptest::prelude::*;
use vault::{AgreementKey, Algorithm, Signer, block_on};

use crate::raw::{self, ATTESTATION, CREDENTIAL, Item};
use crate::seeds::{self, ed25519, p256};
use crate::world::{START, World, YEAR, attest, identity, issue, raw_window, refused, verdict, window};

const RULES: [Rule; 2] = [Rule::Reference, Rule::Continuous { overlap_seconds: 3600 }];

/// A credential from parts: what is signed, by whom, beside which attestation.
fn forged(content: &Item, signer: &Signer, attestation: &PurposeKeyAttestation) -> Credential {
    let signed = raw::signed(&raw::body(1, CREDENTIAL, content), signer);
    let attestation = Item::Raw(attestation.encode().unwrap());
    Credential::decode(&raw::array([signed, attestation]).encode()).unwrap()
}

fn checked(
    world: &World,
    credential: &Credential,
    subject: Option<&Identifier>,
    rule: Rule,
) -> Result<VerifiedCredential> {
    let issuer = IssuerBundle::history_only(world.issuer.clone());
    verify(credential, &issuer, subject, START.after(200), rule)
}

fn content(subject: Option<Identifier>, from: u64, until: u64) -> Item {
    raw::credential_data(subject, raw::attributes(1, &[(b"a", b"b")]), raw_window(from, until))
}

#[test]
fn a_credential_over_all_key_types_says_what_was_issued() {
    for (primary, key) in
        [(ed25519(1), ed25519(2)), (ed25519(1), p256(2)), (p256(1), ed25519(2)), (p256(1), p256(2))]
    {
        let world = World::with(primary, key);
        let received = Credential::decode(&world.credential.encode().unwrap()).unwrap();
        for rule in RULES {
            let proof = checked(&world, &received, Some(&world.member.identifier()), rule).unwrap();
            assert_eq!(proof.attributes().get("role"), Some("member"));
            assert_eq!(proof.attributes().get("other"), None);
            assert_eq!(proof.subject(), world.member.identifier());
            assert_eq!(proof.expires_at(), START.after(100 + 86_400 - 1), "half-open");
            assert!(checked(&world, &received, None, rule).is_ok(), "whoever it is about");
        }
    }
}

#[test]
fn it_is_about_whom_one_expects_and_by_whom_one_knows() {
    let world = World::new();
    let stranger = identity(&ed25519(7));
    for rule in RULES {
        let other = checked(&world, &world.credential, Some(&stranger.identifier()), rule);
        refused(other, Refusal::OtherCredentialSubject);
        let nobody = forged(&content(None, 100, 300), &world.key, &world.attestation);
        refused(checked(&world, &nobody, None, rule), Refusal::NoSubject);
        refused(checked(&world, &nobody, Some(&world.member.identifier()), rule), Refusal::NoSubject);
        let by_stranger = IssuerBundle::history_only(stranger.clone());
        let checked = verify(&world.credential, &by_stranger, None, START.after(200), rule);
        refused(checked, Refusal::OtherIssuer);
    }
}

#[test]
fn only_the_attested_credential_key_signs() {
    let world = World::new();
    let subject = Some(world.member.identifier());
    let good = content(subject, 100, 300);
    let attest_channel = |key: &Signer| {
        let key = PurposeKey::Channel(AgreementKey::X25519(key.public().as_bytes().try_into().unwrap()));
        let valid = window(0, YEAR);
        block_on(PurposeKeyAttestation::attest(&world.issuer, &world.primary, &key, valid)).unwrap()
    };
    for rule in RULES {
        let check = |credential: &Credential| checked(&world, credential, subject.as_ref(), rule);
        assert!(check(&forged(&good, &world.key, &world.attestation)).is_ok());
        for wrong in [&world.primary, &ed25519(9), &p256(9)] {
            refused(check(&forged(&good, wrong, &world.attestation)), Refusal::Signature);
        }
        let channel = attest_channel(&world.key);
        refused(check(&forged(&good, &world.key, &channel)), Refusal::OtherPurpose);
    }
}

#[test]
fn the_attestation_is_by_the_issuers_primary_key() {
    let world = World::new();
    let subject = Some(world.member.identifier());
    let (identifier, hash) = (world.issuer.identifier(), world.issuer.latest().hash());
    let attestation = |of, under, signer: &Signer| {
        let key = raw::credential_key(world.key.public());
        let data = raw::attestation_data(of, under, key, raw_window(0, YEAR));
        let signed = raw::signed(&raw::body(1, ATTESTATION, &data), signer);
        PurposeKeyAttestation::decode(&signed.encode()).unwrap()
    };
    let good = content(subject, 100, 300);
    let other = identity(&ed25519(7));
    for rule in RULES {
        let check =
            |attestation| checked(&world, &forged(&good, &world.key, &attestation), subject.as_ref(), rule);
        assert!(check(attestation(identifier, hash, &world.primary)).is_ok());
        refused(check(attestation(identifier, hash, &ed25519(7))), Refusal::Signature);
        refused(check(attestation(identifier, hash, &world.key)), Refusal::Signature);
        refused(check(attestation(other.identifier(), hash, &world.primary)), Refusal::OtherIssuer);
        refused(
            check(attestation(identifier, other.latest().hash(), &world.primary)),
            Refusal::NotLatestChange,
        );
    }
    let of_other = attestation(other.identifier(), hash, &world.primary);
    refused(of_other.verify(&world.issuer, START.after(200)), Refusal::OtherSubject);
}

#[test]
fn it_lies_inside_its_purpose_keys_validity() {
    let world = World::new();
    let subject = Some(world.member.identifier());
    let narrow = attest(&world.issuer, &world.primary, &world.key, window(150, 400));
    for rule in RULES {
        let check = |from, until| {
            checked(&world, &forged(&content(subject, from, until), &world.key, &narrow), None, rule)
        };
        assert!(check(150, 400).is_ok());
        refused(check(149, 400), Refusal::BeforePurposeKey);
        refused(check(150, 401), Refusal::OutlivesPurposeKey);
    }
}

/// Stricter than the reference, which takes such an attestation and refuses every credential under it.
#[test]
fn an_attested_key_that_is_no_point_of_its_curve_is_refused() {
    let world = World::new();
    let attested = |key: Item| {
        let (of, under) = (world.issuer.identifier(), world.issuer.latest().hash());
        let data = raw::attestation_data(of, under, raw::variant(1, key), raw_window(0, YEAR));
        let signed = raw::signed(&raw::body(1, ATTESTATION, &data), &world.primary).encode();
        PurposeKeyAttestation::decode(&signed).unwrap().verify(&world.issuer, START)
    };
    assert!(attested(raw::key(world.key.public())).is_ok());
    refused(attested(raw::variant(0, raw::bytes([2; 32]))), Refusal::Signature);
    refused(attested(raw::variant(1, raw::bytes([&[4][..], &[1; 64]].concat()))), Refusal::Signature);
}

#[test]
fn two_credentials_do_not_mix() {
    let world = World::new();
    let other_member = identity(&ed25519(8));
    let other =
        issue((&world.attestation, &world.issuer), &world.key, &other_member, START.after(100), 86_400)
            .unwrap();
    let (a, b) = (world.credential.encode().unwrap(), other.encode().unwrap());
    // The two differ in the subject and in the signature: each place of the one in the other is refused.
    let cut = a.iter().zip(&b).position(|(a, b)| a != b).unwrap() + 32;
    let mixed = Credential::decode(&[&a[..cut], &b[cut..]].concat()).unwrap();
    refused(checked(&world, &mixed, None, Rule::Reference), Refusal::Signature);
}

#[test]
fn drafting_refuses_what_verifying_would() {
    let world = World::new();
    let attributes = Attributes::new(MEMBER_SCHEMA, []).unwrap();
    let attestation = attest(&world.issuer, &world.primary, &world.key, window(150, 400));
    let proof = attestation.verify(&world.issuer, START.after(200)).unwrap();
    let draft = |at, seconds| {
        CredentialDraft::new(&attestation, &proof, &world.member, &attributes, START.after(at), seconds)
    };
    assert_eq!(verdict(&draft(200, 0)), "invalid");
    assert_eq!(draft(200, 1).unwrap().expires_at(), START.after(200), "one second is that second");
    assert_eq!(draft(150, 251).unwrap().expires_at(), START.after(400));
    refused(draft(150, 252), Refusal::OutlivesPurposeKey);
    refused(draft(149, 10), Refusal::BeforePurposeKey);
    refused(draft(150, u64::MAX), Refusal::OutlivesPurposeKey);
    refused(draft(401, 1), Refusal::OutlivesPurposeKey);

    // The proof is the one of the attestation that travels.
    for (other, seconds) in [
        (attest(&world.issuer, &world.primary, &world.key, window(150, 401)), 10),
        (attest(&world.issuer, &world.primary, &world.key, window(149, 400)), 10),
        (attest(&world.issuer, &world.primary, &ed25519(9), window(150, 400)), 10),
        (attest(&identity(&ed25519(7)), &ed25519(7), &world.key, window(150, 400)), 10),
    ] {
        let mixed =
            CredentialDraft::new(&other, &proof, &world.member, &attributes, START.after(200), seconds);
        assert_eq!(verdict(&mixed), "invalid");
    }
    let channel = PurposeKey::Channel(AgreementKey::X25519([9; 32]));
    let channel =
        block_on(PurposeKeyAttestation::attest(&world.issuer, &world.primary, &channel, window(0, 400)))
            .unwrap();
    let of_channel = channel.verify(&world.issuer, START.after(200)).unwrap();
    let draft = CredentialDraft::new(&channel, &of_channel, &world.member, &attributes, START.after(200), 1);
    refused(draft, Refusal::OtherPurpose);
}

#[test]
fn a_draft_is_signed_by_the_attested_key_or_by_none() {
    let (key, vault) = seeds::in_vault(Algorithm::EcdsaP256, 2);
    let world = World::with(ed25519(1), key);
    let attributes = Attributes::new(MEMBER_SCHEMA, []).unwrap();
    let proof = world.attestation.verify(&world.issuer, START).unwrap();
    let draft =
        || CredentialDraft::new(&world.attestation, &proof, &world.member, &attributes, START, 1).unwrap();
    let before = vault.signed();
    assert_eq!(verdict(&block_on(draft().sign(&world.primary))), "invalid");
    assert_eq!(vault.signed(), before);
    assert_eq!(draft().hash(), block_on(draft().sign(&world.key)).unwrap().hash());
    vault.break_down();
    let error = block_on(draft().sign(&world.key)).unwrap_err();
    assert_eq!(error.kind(), Kind::Vault(vault::Kind::Unavailable));
}

#[test]
fn attesting_refuses_before_the_key_signs() {
    let (primary, vault) = seeds::in_vault(Algorithm::Ed25519, 1);
    let issuer = block_on(identity::Identity::create(&primary, window(100, 1000))).unwrap();
    let before = vault.signed();
    let key = PurposeKey::Credential(ed25519(2).public().clone());
    let attest = |signer: &Signer, valid| {
        verdict(&block_on(PurposeKeyAttestation::attest(&issuer, signer, &key, valid)))
    };
    assert_eq!(attest(&ed25519(2), window(100, 1000)), "invalid");
    assert_eq!(attest(&primary, window(100, 100)), "invalid");
    assert_eq!(attest(&primary, window(200, 100)), "invalid");
    assert_eq!(attest(&primary, window(99, 1000)), "before-change");
    assert_eq!(attest(&primary, window(100, 1001)), "outlives-change");
    assert_eq!(vault.signed(), before);
    assert_eq!(attest(&primary, window(100, 1000)), "ok");
}

#[test]
fn reserved_and_unusable_names_are_refused_at_issue() {
    for name in RESERVED_NAMES {
        let error = Attributes::new(MEMBER_SCHEMA, [("role", "member"), (name, "x")]).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(check_attribute(name, "").unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(RESERVED_NAMES, ["identifier", "has_credential"]);
    for name in ["", " ", "a b", "a\tb", "a\0", "\n", "a\u{a0}b", "\u{7f}"] {
        assert_eq!(check_attribute(name, "x").unwrap_err().kind(), Kind::Invalid, "{name:?}");
    }
    for (name, value) in [("ockam-role", "enroller"), ("Identifier", ""), ("ünïcode", "a b\n"), ("-", "-3")]
    {
        check_attribute(name, value).unwrap();
    }
}

/// What others issued is read whatever it is called: it verifies as in the reference, and the policy engine never takes
/// a reserved name from it.
#[test]
fn names_and_values_of_others_may_be_any_bytes() {
    let world = World::new();
    let subject = Some(world.member.identifier());
    // Not ordered, and one name twice: the later value counts, as in the reference.
    let pairs: [(&[u8], &[u8]); 5] =
        [(b"zz", b"1"), (b"\xff", b"2"), (b"identifier", b"x"), (b"", b""), (b"zz", b"3")];
    let data = raw::credential_data(subject, raw::attributes(u64::MAX, &pairs), raw_window(100, 300));
    let proof =
        checked(&world, &forged(&data, &world.key, &world.attestation), None, Rule::Reference).unwrap();
    let read: Vec<_> = proof.attributes().iter().collect();
    assert_eq!(read, [(&b""[..], &b""[..]), (b"identifier", b"x"), (b"zz", b"3"), (b"\xff", b"2")]);
    assert_eq!(proof.attributes().schema(), u64::MAX);
    assert_eq!(proof.attributes().text().count(), 3, "only those that are text");
    assert_eq!(proof.attributes().get("zz"), Some("3"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// However an issuer is asked: what comes out lies inside what it hangs on, to the second.
    #[test]
    fn no_child_outlives_its_parent(
        change in (0_u64..50, 0_u64..50),
        attested in (0_u64..50, 0_u64..50),
        issued in (0_u64..50, 0_u64..50),
        now in 0_u64..50,
    ) {
        let span = |(from, seconds): (u64, u64)| Validity::starting(Timestamp(from), seconds);
        let (primary, key) = (ed25519(1), ed25519(2));
        let Ok(issuer) = block_on(Identity::create(&primary, span(change))) else { return Ok(()) };
        let purpose = PurposeKey::Credential(key.public().clone());
        let attestation = block_on(PurposeKeyAttestation::attest(&issuer, &primary, &purpose, span(attested)));
        let Ok(attestation) = attestation else { return Ok(()) };
        prop_assert!(attestation.created_at() >= issuer.latest().valid_from());
        prop_assert!(attestation.expires_at() <= issuer.latest().valid_until());
        let Ok(proof) = attestation.verify(&issuer, Timestamp(now)) else { return Ok(()) };
        prop_assert!(attestation.expires_at() >= Timestamp(now));
        let attributes = Attributes::new(MEMBER_SCHEMA, []).unwrap();
        let draft = CredentialDraft::new(&attestation, &proof, &issuer, &attributes, Timestamp(issued.0), issued.1);
        let Ok(draft) = draft else { return Ok(()) };
        prop_assert!(draft.expires_at() <= attestation.expires_at());
        prop_assert!(draft.expires_at() < Timestamp(issued.0 + issued.1), "half-open");
        let credential = block_on(draft.sign(&key)).unwrap();
        prop_assert!(credential.created_at() >= attestation.created_at());
        let issuer = IssuerBundle::history_only(issuer);
        for now in [credential.created_at(), credential.expires_at()] {
            prop_assert_eq!(verdict(&verify(&credential, &issuer, None, now, Rule::Reference)), "ok");
        }
        let after = credential.expires_at().after(1);
        prop_assert_eq!(verdict(&verify(&credential, &issuer, None, after, Rule::Reference)), "expired");
    }
}
