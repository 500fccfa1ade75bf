//! Who may be at the ends: identities of both kinds and of any age, what they present, and who is refused for what.

use std::sync::Arc;

use identity::{
    Credential, Identifier, Identity, IssuerBundle, Kind, PurposeKey, PurposeKeyAttestation, Refusal,
    Rotation, Timestamp, Validity,
};
use vault::{Algorithm, block_on};

use crate::tests::{HOUR, Issuer, Party, START, drivers, opened, seed, sent, shake};
use crate::{
    AnyPeer, Channel, Driver, HandshakeError, Message, Misuse, Only, Payload, Peer, PeerFault, Presentation,
    RecordError, RecordFault, Renewed, Route, SetAside, Trust,
};

use Algorithm::{EcdsaP256, Ed25519};

/// Many records in both directions, across changes of keys.
fn talk(one: &mut Channel, two: &mut Channel) {
    let say = |from: &mut Channel, to: &mut Channel, what: &[u8]| {
        let (onward_route, return_route) = (Route::default(), Route::default());
        let payload = Payload { onward_route, return_route, payload: what };
        let mut record = from.seal(Message::Payload(payload.clone())).unwrap();
        assert_eq!(to.open(&mut record).unwrap(), Message::Payload(payload));
    };
    for at in 0..100 {
        say(one, two, &[at]);
        say(two, one, &[at, at]);
    }
}

#[test]
fn identities_of_both_kinds_rotated_or_not_open_channels() {
    let keys: [&[Algorithm]; 4] =
        [&[Ed25519], &[EcdsaP256], &[Ed25519, EcdsaP256], &[EcdsaP256, Ed25519, Ed25519]];
    let party = |keys: &[Algorithm]| {
        let mut party = Party::new(keys[0]);
        keys[1..].iter().for_each(|key| party.rotate(*key));
        party
    };
    for one in keys {
        for two in keys {
            let (one, two) = (party(one), party(two));
            let only_two = Only(vec![two.identity.identifier()]);
            let only_one = Only(vec![one.identity.identifier()]);
            let (mut to_two, mut to_one) = shake((&one, &only_two), (&two, &only_one), START).unwrap();
            assert_eq!(to_two.peer().identity().as_bytes(), two.identity.as_bytes());
            assert_eq!(to_one.peer().identity().as_bytes(), one.identity.as_bytes());
            assert_eq!(*to_one.peer().attestation().key(), PurposeKey::Channel(one.key.public().clone()));
            talk(&mut to_two, &mut to_one);
        }
    }
}

#[test]
fn records_of_one_channel_are_nothing_in_another() {
    let (one, two) = (Party::new(Ed25519), Party::new(Ed25519));
    let (mut first, _) = shake((&one, &AnyPeer), (&two, &AnyPeer), START).unwrap();
    // Other randomness alone makes other keys.
    let (mut initiator, message) = Driver::initiate(one.shown(), one.key.clone(), &seed(3)).unwrap();
    let (_, mut responder, _) = drivers(&one, &two);
    let second = sent(block_on(responder.receive(&message, START, &AnyPeer)).unwrap());
    let (third, mut initiated) = opened(block_on(initiator.receive(&second, START, &AnyPeer)).unwrap());
    let (_, mut responded) = opened(block_on(responder.receive(&third.unwrap(), START, &AnyPeer)).unwrap());
    let rejected = |result: Result<Message<'_>, RecordError>| {
        matches!(result, Err(RecordError::Peer(RecordFault::Rejected)))
    };
    let record = first.seal(Message::Close).unwrap();
    assert!(rejected(responded.open(&mut record.clone())));
    // Nor does a side take its own records back.
    let record = initiated.seal(Message::Close).unwrap();
    assert!(rejected(initiated.open(&mut record.clone())));
    assert_eq!(responded.open(&mut record.clone()).unwrap(), Message::Close);
}

/// How the initiator, and how the responder, take the other side as it is at that second.
fn verdicts(one: &Party, two: &Party, trust: &dyn Trust, now: Timestamp) -> [Option<HandshakeError>; 2] {
    [shake((one, trust), (two, &AnyPeer), now).err(), shake((two, &AnyPeer), (one, trust), now).err()]
}

#[track_caller]
fn refused(verdicts: [Option<HandshakeError>; 2], by: Refusal) {
    for verdict in verdicts {
        assert_eq!(verdict.expect("it is refused").refusal(), Some(by));
    }
}

#[test]
fn attestations_are_good_for_their_time() {
    let (mut one, mut two) = (Party::new(Ed25519), Party::new(EcdsaP256));
    // The one outlives what is looked at, so that only the other's is refused.
    one.attest(START.after(HOUR));
    for (now, refusal) in [(START.after(HOUR), None), (START.after(HOUR + 1), Some(Refusal::Expired))] {
        let found =
            shake((&one, &AnyPeer), (&two, &AnyPeer), now).err().map(|error| error.refusal().unwrap());
        assert_eq!(found, refusal);
        let found =
            shake((&two, &AnyPeer), (&one, &AnyPeer), now).err().map(|error| error.refusal().unwrap());
        assert_eq!(found, refusal);
    }
    two.attest(START.after(HOUR + 61));
    one.attest(START.after(HOUR));
    refused(verdicts(&one, &two, &AnyPeer, START.after(HOUR)), Refusal::Future);
    assert!(shake((&one, &AnyPeer), (&two, &AnyPeer), START.after(HOUR + 1)).is_ok());
}

/// Knows the histories of some.
struct Knows(Vec<Identity>);

impl Trust for Knows {
    fn admits(&self, _: &Peer) -> bool {
        true
    }

    fn known(&self, identifier: &Identifier) -> Option<Arc<Identity>> {
        self.0.iter().find(|known| known.identifier() == *identifier).cloned().map(Arc::new)
    }
}

#[test]
fn histories_that_are_older_or_contradict_are_refused() {
    let (one, first) = (Party::new(Ed25519), Party::new(Ed25519));
    let (mut rotated, mut forked) = (first.clone(), first.clone());
    rotated.rotate(EcdsaP256);
    let knows = |known: &Party| Knows(vec![known.identity.clone()]);
    for known in [&first, &rotated] {
        assert!(verdicts(&one, &rotated, &knows(known), START).iter().all(Option::is_none));
    }
    refused(verdicts(&one, &first, &knows(&rotated), START), Refusal::Older);
    // Another rotation of the same first change, to a key of another vault.
    let other = Party::new(Ed25519).primary;
    let rotation = Rotation { valid: Validity::of_primary_key(START), revoke_purpose_keys: false };
    forked.identity = block_on(forked.identity.rotate(&forked.primary, &other, rotation)).unwrap();
    forked.primary = other;
    forked.attest(START);
    assert!(verdicts(&one, &forked, &knows(&first), START).iter().all(Option::is_none));
    refused(verdicts(&one, &forked, &knows(&rotated), START), Refusal::Conflict);
}

#[test]
fn those_who_are_not_admitted_are_refused_by_name() {
    let (one, two) = (Party::new(Ed25519), Party::new(Ed25519));
    for verdict in verdicts(&one, &two, &Only(vec![one.identity.identifier()]), START) {
        let Some(HandshakeError::Peer(PeerFault::NotAdmitted(who))) = verdict else { panic!("{verdict:?}") };
        assert_eq!(who, two.identity.identifier());
    }
    assert!(verdicts(&one, &two, &Only(vec![]), START).iter().all(Option::is_some));
}

#[test]
fn an_attested_key_that_is_not_used_gains_nothing() {
    let (one, two, thief) = (Party::new(Ed25519), Party::new(Ed25519), Party::new(Ed25519));
    let random = || seed(1);
    let other = |result: Result<(), HandshakeError>| {
        matches!(result, Err(HandshakeError::Caller(Misuse::OtherStaticKey)))
    };
    assert!(other(Driver::initiate(two.shown(), thief.key.clone(), &random()).map(drop)));
    assert!(other(Driver::respond(two.shown(), thief.key.clone(), &random()).map(drop)));
    // Put together by hand: the thief's key under what another one presented.
    let forged = Presentation::forged(two.shown().payload(), thief.key.public());
    let (mut initiator, first) = Driver::initiate(forged.clone(), thief.key.clone(), &random()).unwrap();
    let (_, mut responder, _) = drivers(&two, &one);
    let second = sent(block_on(responder.receive(&first, START, &AnyPeer)).unwrap());
    let third = opened(block_on(initiator.receive(&second, START, &AnyPeer)).unwrap()).0.unwrap();
    let refused = block_on(responder.receive(&third, START, &AnyPeer));
    assert!(matches!(refused, Err(HandshakeError::Peer(PeerFault::OtherKey))));
    let (mut initiator, _, first) = drivers(&one, &two);
    let mut responder = Driver::respond(forged, thief.key.clone(), &random()).unwrap();
    let second = sent(block_on(responder.receive(&first, START, &AnyPeer)).unwrap());
    let refused = block_on(initiator.receive(&second, START, &AnyPeer));
    assert!(matches!(refused, Err(HandshakeError::Peer(PeerFault::OtherKey))));
}

/// Takes credentials of these issuers, and peers who have one.
struct Members {
    issuers: Vec<Arc<IssuerBundle>>,
    role: Option<&'static str>,
}

impl Trust for Members {
    fn admits(&self, peer: &Peer) -> bool {
        let mut credentials = peer.credentials(START);
        self.role.is_none_or(|role| credentials.any(|one| one.attributes().get("role") == Some(role)))
    }

    fn issuer(&self, identifier: &Identifier) -> Option<Arc<IssuerBundle>> {
        self.issuers.iter().find(|issuer| issuer.identifier() == *identifier).cloned()
    }
}

#[test]
fn credentials_count_when_their_issuer_does() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let (one, mut two) = (Party::new(Ed25519), Party::new(EcdsaP256));
    let members = |role| Members { issuers: vec![issuer.bundle()], role };
    two.credentials = vec![
        stranger.issue(&two.identity, "admin", HOUR),
        issuer.issue(&one.identity, "admin", HOUR),
        issuer.issue(&two.identity, "member", HOUR),
    ];
    let other =
        SetAside::Refused(issuer.identity().identifier(), Kind::Refused(Refusal::OtherCredentialSubject));
    let (to_two, _) = shake((&one, &members(Some("member"))), (&two, &AnyPeer), START).unwrap();
    let unknown = SetAside::UnknownIssuer(stranger.identity().identifier());
    assert_eq!(to_two.peer().set_aside(), [unknown, other]);
    // The channel may outlive the credential.
    assert_eq!(to_two.peer().credentials(START).count(), 1);
    assert_eq!(to_two.peer().credentials(START.after(HOUR - 1)).count(), 1);
    assert_eq!(to_two.peer().credentials(START.after(HOUR)).count(), 0);
    for verdict in verdicts(&one, &two, &members(Some("admin")), START) {
        assert!(matches!(verdict, Some(HandshakeError::Peer(PeerFault::NotAdmitted(_)))));
    }
    // One that has expired is set aside like any other that is refused: the channel opens without.
    two.credentials = vec![issuer.issue(&two.identity, "member", 10)];
    let now = START.after(10);
    let (to_two, _) = shake((&one, &members(None)), (&two, &AnyPeer), now).unwrap();
    assert_eq!(to_two.peer().credentials(now).count(), 0);
    let expired = Kind::Refused(Refusal::Expired);
    assert_eq!(to_two.peer().set_aside(), [SetAside::Refused(issuer.identity().identifier(), expired)]);
}

#[test]
fn new_credentials_take_the_place_of_old_ones() {
    let issuer = Issuer::new();
    let trust = Members { issuers: vec![issuer.bundle()], role: None };
    let (one, mut two) = (Party::new(Ed25519), Party::new(Ed25519));
    two.credentials = vec![issuer.issue(&two.identity, "member", HOUR)];
    let (mut to_two, mut to_one) = shake((&one, &trust), (&two, &AnyPeer), START).unwrap();
    let roles = |channel: &Channel| -> Vec<String> {
        let credentials = channel.peer().credentials(START);
        credentials.map(|one| one.attributes().get("role").unwrap().to_owned()).collect()
    };
    let mut refresh = |to_two: &mut Channel, identity: &Identity, credentials: &[Credential]| {
        let renewed = Renewed::new(identity, credentials).unwrap();
        let mut record = to_one.seal(renewed.message()).unwrap();
        let Message::Refresh(refresh) = to_two.open(&mut record).unwrap() else { panic!("it is no refresh") };
        to_two.refresh(&refresh, START, &trust)
    };
    let admin = issuer.issue(&two.identity, "admin", HOUR);
    refresh(&mut to_two, &two.identity, &[admin]).unwrap();
    assert_eq!(roles(&to_two), ["admin"]);

    // What is not the peer's own, or of no issuer that counts, changes nothing.
    let of_one = issuer.issue(&one.identity, "member", HOUR);
    for (identity, credential) in [
        (&two.identity, of_one.clone()),
        (&one.identity, of_one),
        (&two.identity, Issuer::new().issue(&two.identity, "member", HOUR)),
    ] {
        let refused = refresh(&mut to_two, identity, &[credential]);
        assert!(matches!(refused, Err(RecordError::Peer(RecordFault::Identity(_)))));
        assert_eq!(roles(&to_two), ["admin"]);
    }

    // A history that has grown is the peer's from then on, and the older one is refused.
    let before = two.identity.clone();
    two.rotate(EcdsaP256);
    refresh(&mut to_two, &two.identity, &[issuer.issue(&two.identity, "member", HOUR)]).unwrap();
    assert_eq!(to_two.peer().identity().len(), 2);
    assert!(refresh(&mut to_two, &before, &[]).is_err());
    assert_eq!(roles(&to_two), ["member"]);
    // No credentials is what a peer may present as well.
    refresh(&mut to_two, &two.identity, &[]).unwrap();
    assert!(roles(&to_two).is_empty());
}

#[test]
fn what_would_be_refused_is_not_shown() {
    let mut party = Party::new(Ed25519);
    let shown = |party: &Party, now| {
        Presentation::new(&party.identity, &party.attestation, &party.credentials, now)
            .map_err(|e| e.refusal())
    };
    assert!(shown(&party, START).is_ok());
    assert_eq!(shown(&party, START.after(HOUR + 1)).err(), Some(Some(Refusal::Expired)));
    let credential_key = PurposeKey::Credential(party.primary.public().clone());
    let valid = Validity::starting(START, HOUR);
    let attestation = PurposeKeyAttestation::attest(&party.identity, &party.primary, &credential_key, valid);
    party.attestation = block_on(attestation).unwrap();
    assert_eq!(shown(&party, START).err(), Some(Some(Refusal::OtherPurpose)));
    // More than a message holds.
    let mut party = Party::new(Ed25519);
    let issuer = Issuer::new();
    party.credentials = (0..17).map(|_| issuer.issue(&party.identity, "member", HOUR)).collect();
    assert_eq!(shown(&party, START).err(), Some(Some(Refusal::TooLarge)));
    let long = "x".repeat(4096);
    party.credentials = (0..16).map(|_| issuer.issue(&party.identity, &long, HOUR)).collect();
    assert_eq!(shown(&party, START).err(), Some(Some(Refusal::TooLarge)));
    party.credentials.truncate(10);
    let (to_party, _) = shake((&Party::new(Ed25519), &AnyPeer), (&party, &AnyPeer), START).unwrap();
    assert_eq!(to_party.peer().set_aside().len(), 10);
}
