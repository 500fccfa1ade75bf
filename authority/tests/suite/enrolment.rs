//! The enrolment policy: what a ticket alone does not buy.

use authority::enrolment::EnrolmentPolicy;
use authority::ticket::{Code, NewTicket};
use authority::{Kind, Problem};
use evidence::{Anchors, KeyAttestation};
use vault::KeyEvidence;
use vault::soft::SoftVault;

use crate::common::{NOW, Person, World, attributes, memory, person, rocks};

async fn world(policy: &str) -> World {
    let policy = EnrolmentPolicy::new(policy, Anchors::none()).unwrap();
    let vault = std::sync::Arc::new(SoftVault::in_memory().unwrap());
    World::with(rocks, vault, |settings| settings.enrolment = Some(policy)).await
}

async fn ticket(world: &World, given: &[(&str, &str)]) -> Code {
    let new = NewTicket::new(attributes(given), None, None).unwrap();
    world.authority.make_ticket(&world.enroller().await, new).await.unwrap().code
}

/// What a cloud says of somebody's primary key: the evidence that needs no certificates.
fn said(person: &Person, origin: &str) -> Vec<u8> {
    let evidence = KeyEvidence::KmsOrigin {
        arn: "arn:aws:kms:eu-west-1:111122223333:key/1".to_owned(),
        origin: origin.to_owned(),
        spec: "ECC_NIST_EDWARDS25519".to_owned(),
        multi_region: false,
    };
    KeyAttestation::new(person.primary.public().clone(), evidence, NOW.0).encode().unwrap()
}

#[tokio::test]
async fn a_key_in_hardware_is_admitted_and_another_is_not() {
    let world = world("(and (= key.protection \"hardware\") (= key.exportable \"false\"))").await;
    let code = ticket(&world, &[("role", "sensor")]).await;
    let (person, caller) = world.stranger().await;
    let refused = |answer: Result<(), Problem>, words: &str| {
        let problem = answer.unwrap_err();
        assert_eq!(problem.code(), "forbidden", "{problem}");
        assert!(problem.to_string().contains(words), "{problem}");
    };
    refused(world.authority.enrol(&caller, &code).await, "showed no key attestation");
    let imported = said(&person, "EXTERNAL");
    refused(world.authority.enrol_showing(&caller, &code, Some(&imported)).await, "does not admit");
    // None of these spent the ticket.
    let born_there = said(&person, "AWS_KMS");
    world.authority.enrol_showing(&caller, &code, Some(&born_there)).await.unwrap();
    let again = world.authority.enrol_showing(&caller, &code, Some(&born_there)).await;
    assert_eq!(again.unwrap_err().to_string(), "already a member");
    let refusals = world.audit_lines().iter().filter(|line| line.contains("forbidden")).count();
    assert_eq!(refusals, 2, "each refusal is on record");
}

/// What a token says of itself and of somebody's primary key.
fn said_by_a_token(person: &Person, firmware: &str) -> Vec<u8> {
    let token = [("manufacturer", "Yubico (www.yubico.com)"), ("model", "YubiHSM"), ("firmware", firmware)];
    let evidence = KeyEvidence::Pkcs11Attributes {
        token: token.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        attributes: Vec::new(),
        hardware: true,
    };
    KeyAttestation::new(person.primary.public().clone(), evidence, NOW.0).encode().unwrap()
}

#[tokio::test]
async fn a_policy_can_keep_out_what_is_known_to_be_weak() {
    let world = world("(!= key.weakness \"known\")").await;
    let code = ticket(&world, &[]).await;
    let (person, caller) = world.stranger().await;
    let weak = said_by_a_token(&person, "2.3.1");
    let problem = world.authority.enrol_showing(&caller, &code, Some(&weak)).await.unwrap_err();
    assert_eq!(problem.code(), "forbidden", "{problem}");
    // Who shows nothing is not taken for somebody without a weakness.
    let problem = world.authority.enrol(&caller, &code).await.unwrap_err();
    assert_eq!(problem.code(), "forbidden", "{problem}");
    let mended = said_by_a_token(&person, "2.4.0");
    world.authority.enrol_showing(&caller, &code, Some(&mended)).await.unwrap();
}

#[tokio::test]
async fn evidence_about_another_key_or_none_at_all_is_malformed() {
    let world = world("(= key.protection \"hardware\")").await;
    let code = ticket(&world, &[]).await;
    let (_, caller) = world.stranger().await;
    let other = said(&person(&world.vault).await, "AWS_KMS");
    for shown in [other, b"no envelope".to_vec(), Vec::new()] {
        let problem = world.authority.enrol_showing(&caller, &code, Some(&shown)).await.unwrap_err();
        assert_eq!(problem.code(), "malformed", "{problem}");
    }
}

#[tokio::test]
async fn the_policy_sees_the_ticket_and_who_asks_and_no_attribute_speaks_for_a_device() {
    let world = world("(and (= subject.team \"payments\") (= key.protection \"attested\"))").await;
    let (person, caller) = world.stranger().await;
    // A ticket that gives what only a device can say binds `subject.key.protection`, another name.
    let code = ticket(&world, &[("team", "payments"), ("key.protection", "attested")]).await;
    let shown = said(&person, "AWS_KMS");
    let problem = world.authority.enrol_showing(&caller, &code, Some(&shown)).await.unwrap_err();
    assert_eq!(problem.code(), "forbidden", "hardware is not attested");
    let named = format!("(= subject.identifier \"{}\")", caller.identifier());
    let world = self::world(&named).await;
    let code = ticket(&world, &[]).await;
    let caller = world.meet(&person).await;
    world.authority.enrol(&caller, &code).await.unwrap();
}

#[tokio::test]
async fn a_code_that_is_no_good_answers_as_it_does_without_a_policy() {
    let strict = world("(= key.protection \"attested\")").await;
    let (_, caller) = strict.stranger().await;
    let unknown = Code::generate().unwrap();
    let problem = strict.authority.enrol(&caller, &unknown).await.unwrap_err();
    assert_eq!(problem.to_string(), "unknown enrollment token");
    let open = World::new(memory).await;
    let (_, caller) = open.stranger().await;
    assert_eq!(open.authority.enrol(&caller, &unknown).await.unwrap_err(), problem);
}

#[tokio::test]
async fn without_a_policy_nobody_looks_at_what_is_shown() {
    let world = World::new(memory).await;
    let code = ticket(&world, &[]).await;
    let (_, caller) = world.stranger().await;
    world.authority.enrol_showing(&caller, &code, Some(b"anything")).await.unwrap();
}

#[test]
fn what_is_no_policy_is_refused_in_words() {
    let error = EnrolmentPolicy::new("(= key.protection", Anchors::none()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("enrolment policy"), "{error}");
}
