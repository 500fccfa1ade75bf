//! The two rules for an attestation under an earlier change, and the attack that the stricter parts of the continuous one
//! are there for: somebody with a stolen earlier key dates an attestation back.

use identity::{
    Credential, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation, Refusal, Result, Rule, Timestamp,
    VerifiedCredential, verify,
};
use vault::{AgreementKey, Signer, block_on};

use crate::raw::{self, ATTESTATION, CREDENTIAL, Item};
use crate::seeds::{ed25519, p256};
use crate::world::{
    START, World, YEAR, attest, identity, issue, raw_window, refused, rotated, verdict, window,
};

/// The issuer rotates then, in seconds after the start.
const ROTATED: u64 = 10_000;
const OVERLAP: u64 = 3600;
const CONTINUOUS: Rule = Rule::Continuous { overlap_seconds: OVERLAP };

fn after_rotation(seconds: u64) -> Timestamp {
    START.after(ROTATED + seconds)
}

struct Rotated {
    before: World,
    new_primary: Signer,
    issuer: Identity,
}

impl Rotated {
    fn with(revoke: bool) -> Self {
        let before = World::with(ed25519(1), p256(2));
        let new_primary = p256(3);
        let issuer = rotated(&before.issuer, &before.primary, &new_primary, ROTATED, revoke);
        Self { before, new_primary, issuer }
    }

    /// The current attestation of a key.
    fn anew(&self, key: &Signer) -> PurposeKeyAttestation {
        attest(&self.issuer, &self.new_primary, key, window(ROTATED, YEAR))
    }

    fn bundle(&self, attestations: Vec<PurposeKeyAttestation>) -> IssuerBundle {
        IssuerBundle::new(self.issuer.clone(), attestations)
    }

    fn history(&self) -> IssuerBundle {
        IssuerBundle::history_only(self.issuer.clone())
    }

    fn check(&self, issuer: &IssuerBundle, now: Timestamp, rule: Rule) -> Result<VerifiedCredential> {
        verify(&self.before.credential, issuer, Some(&self.before.member.identifier()), now, rule)
    }
}

#[test]
fn by_the_reference_rule_a_rotation_ends_every_attestation_before_it() {
    let world = Rotated::with(false);
    let now = START.after(200);
    assert!(
        world.check(&IssuerBundle::history_only(world.before.issuer.clone()), now, Rule::Reference).is_ok()
    );
    for issuer in [world.history(), world.bundle(vec![world.anew(&world.before.key)])] {
        refused(world.check(&issuer, after_rotation(1), Rule::Reference), Refusal::NotLatestChange);
        refused(world.check(&issuer, now, Rule::Reference), Refusal::NotLatestChange);
    }
}

#[test]
fn with_a_bundle_the_same_key_attested_anew_is_good_for_the_credentials_life() {
    for revoke in [false, true] {
        let world = Rotated::with(revoke);
        let bundle = world.bundle(vec![world.anew(&world.before.key)]);
        let last = world.before.credential.expires_at();
        for now in [after_rotation(0), after_rotation(OVERLAP), after_rotation(2 * OVERLAP), last] {
            for overlap_seconds in [0, OVERLAP] {
                let proof = world.check(&bundle, now, Rule::Continuous { overlap_seconds }).unwrap();
                assert_eq!(proof.subject(), world.before.member.identifier());
            }
        }
        refused(world.check(&bundle, last.after(1), CONTINUOUS), Refusal::Expired);
    }
}

#[test]
fn with_a_bundle_nothing_but_the_same_key_counts() {
    let world = Rotated::with(false);
    let key = &world.before.key;
    let stranger = identity(&ed25519(7));
    let of_stranger = attest(&stranger, &ed25519(7), key, window(ROTATED, YEAR));
    let expired = attest(&world.issuer, &world.new_primary, key, window(ROTATED, ROTATED + 5));
    let not_yet = attest(&world.issuer, &world.new_primary, key, window(ROTATED + 200, YEAR));
    let same_bytes = PurposeKey::Channel(AgreementKey::X25519([5; 32]));
    let same_bytes =
        PurposeKeyAttestation::attest(&world.issuer, &world.new_primary, &same_bytes, window(ROTATED, YEAR));
    let forged = {
        let attested = raw::credential_key(key.public());
        let hash = world.issuer.latest().hash();
        let data =
            raw::attestation_data(world.issuer.identifier(), hash, attested, raw_window(ROTATED, YEAR));
        let signed = raw::signed(&raw::body(1, ATTESTATION, &data), &world.before.primary);
        PurposeKeyAttestation::decode(&signed.encode()).unwrap()
    };
    let table: [(&str, Vec<PurposeKeyAttestation>, &str); 9] = [
        ("attested anew", vec![world.anew(key)], "ok"),
        ("among others", vec![world.anew(&ed25519(9)), expired.clone(), world.anew(key)], "ok"),
        ("another key", vec![world.anew(&ed25519(9))], "not-latest-change"),
        ("no key", vec![], "not-latest-change"),
        ("the old attestation itself", vec![world.before.attestation.clone()], "not-latest-change"),
        ("by another identity", vec![of_stranger], "not-latest-change"),
        ("expired, or not valid yet", vec![expired, not_yet], "not-latest-change"),
        ("a channel key", vec![block_on(same_bytes).unwrap()], "not-latest-change"),
        ("signed by the earlier key", vec![forged], "not-latest-change"),
    ];
    // Also inside the overlap: with a bundle there is none.
    for (name, attestations, expected) in table {
        let verdict = verdict(&world.check(&world.bundle(attestations), after_rotation(100), CONTINUOUS));
        assert_eq!(verdict, expected, "{name}");
    }
}

/// An Ed25519 credential key and an X25519 channel key with the same 32 bytes are not the same key.
#[test]
fn a_channel_key_of_the_same_bytes_does_not_attest_a_credential_key() {
    let before = World::new();
    let new = ed25519(3);
    let issuer = rotated(&before.issuer, &before.primary, &new, ROTATED, false);
    let bytes = before.key.public().as_bytes().try_into().unwrap();
    let channel = PurposeKey::Channel(AgreementKey::X25519(bytes));
    let channel =
        block_on(PurposeKeyAttestation::attest(&issuer, &new, &channel, window(ROTATED, YEAR))).unwrap();
    let checked = |attestation| {
        let bundle = IssuerBundle::new(issuer.clone(), vec![attestation]);
        verdict(&verify(&before.credential, &bundle, None, after_rotation(10), CONTINUOUS))
    };
    assert_eq!(checked(channel), "not-latest-change");
    assert_eq!(checked(attest(&issuer, &new, &before.key, window(ROTATED, YEAR))), "ok");
}

#[test]
fn without_a_bundle_it_is_good_until_the_overlap_ends() {
    let world = Rotated::with(false);
    let at = |now, overlap_seconds| {
        verdict(&world.check(&world.history(), now, Rule::Continuous { overlap_seconds }))
    };
    assert_eq!(at(START.after(200), OVERLAP), "ok", "the clock of a verifier may be behind");
    assert_eq!(at(after_rotation(0), OVERLAP), "ok");
    assert_eq!(at(after_rotation(OVERLAP - 1), OVERLAP), "ok");
    assert_eq!(at(after_rotation(OVERLAP), OVERLAP), "not-latest-change", "half-open");
    assert_eq!(at(after_rotation(0), 1), "ok");
    assert_eq!(at(after_rotation(1), 1), "not-latest-change");
    for now in [after_rotation(0), after_rotation(1), after_rotation(OVERLAP)] {
        assert_eq!(at(now, 0), "not-latest-change", "without an overlap never");
    }
    assert_eq!(at(after_rotation(OVERLAP), u64::MAX), "ok", "the end does not wrap around");
    assert_eq!(Rule::default(), CONTINUOUS, "an hour unless it is said");
    assert_eq!((Rule::default().name(), Rule::Reference.name()), ("continuous", "reference"));
}

#[test]
fn without_a_bundle_a_revoking_rotation_ends_it_at_once() {
    let world = Rotated::with(true);
    for now in [START.after(200), after_rotation(0), after_rotation(OVERLAP)] {
        refused(world.check(&world.history(), now, CONTINUOUS), Refusal::Revoked);
    }
}

#[test]
fn the_overlap_counts_from_the_next_change_and_any_later_change_revokes() {
    for (second_revokes, third_revokes) in [(false, false), (true, false), (false, true)] {
        let world = Rotated::with(second_revokes);
        let third = rotated(&world.issuer, &world.new_primary, &ed25519(5), ROTATED + 3000, third_revokes);
        let history = IssuerBundle::history_only(third.clone());
        let revoked = second_revokes || third_revokes;
        let at = |seconds| verdict(&world.check(&history, after_rotation(seconds), CONTINUOUS));
        assert_eq!(at(3000), if revoked { "revoked" } else { "ok" });
        assert_eq!(at(OVERLAP - 1), if revoked { "revoked" } else { "ok" });
        // Not from the third change on: that would stretch it with every rotation.
        assert_eq!(at(OVERLAP), if revoked { "revoked" } else { "not-latest-change" });
        // Attested anew under the third, it is good again.
        let anew = attest(&third, &ed25519(5), &world.before.key, window(ROTATED + 3000, YEAR));
        let bundle = IssuerBundle::new(third, vec![anew]);
        assert!(world.check(&bundle, after_rotation(OVERLAP), CONTINUOUS).is_ok());
    }
}

/// Only what was attested before the next change began: an attestation made with the earlier key afterwards is none.
#[test]
fn without_a_bundle_it_was_attested_before_the_rotation() {
    let world = Rotated::with(false);
    let subject = world.before.member.identifier();
    let at = |created: u64| {
        let old = &world.before;
        let attestation = attest(&old.issuer, &old.primary, &old.key, window(created, YEAR));
        let credential = credential(&old.key, &attestation, &old.member, after_rotation(50));
        verdict(&verify(&credential, &world.history(), Some(&subject), after_rotation(100), CONTINUOUS))
    };
    assert_eq!(at(ROTATED - 1), "ok");
    assert_eq!(at(ROTATED), "not-latest-change");
    assert_eq!(at(ROTATED + 1), "not-latest-change");
}

/// A credential signed now, whatever the attestation allows.
fn credential(
    key: &Signer,
    attestation: &PurposeKeyAttestation,
    member: &Identity,
    at: Timestamp,
) -> Credential {
    let window = (Item::Uint(at.0), Item::Uint(at.0 + 86_400));
    let data =
        raw::credential_data(Some(member.identifier()), raw::attributes(1, &[(b"role", b"admin")]), window);
    let signed = raw::signed(&raw::body(1, CREDENTIAL, &data), key);
    let attestation = Item::Raw(attestation.encode().unwrap());
    Credential::decode(&raw::array([signed, attestation]).encode()).unwrap()
}

/// The earlier primary key is stolen. Its thief attests a key of his own, dated back to before the rotation, and issues.
struct Thief {
    key: Signer,
    attestation: PurposeKeyAttestation,
}

impl Thief {
    fn of(world: &Rotated) -> Self {
        let key = ed25519(66);
        let old = &world.before;
        let attestation = attest(&old.issuer, &old.primary, &key, window(ROTATED - 5000, YEAR));
        Self { key, attestation }
    }

    fn issues(&self, world: &Rotated, now: Timestamp) -> Credential {
        credential(&self.key, &self.attestation, &world.before.member, now)
    }
}

/// The rule without its limit in time: whatever was good under the change that it names is good for ever.
fn broken_rule(credential: &Credential, before: &Identity, now: Timestamp) -> Result<VerifiedCredential> {
    verify(credential, &IssuerBundle::history_only(before.clone()), None, now, Rule::Reference)
}

#[test]
fn a_back_dated_attestation_by_a_stolen_key_ends_with_the_overlap() {
    let world = Rotated::with(false);
    let thief = Thief::of(&world);
    let issuers = [world.history(), world.bundle(vec![world.anew(&world.before.key)])];
    let afterwards = [0, 1, 60, OVERLAP, 86_400, YEAR / 2].map(|more| after_rotation(OVERLAP + more));
    for now in afterwards {
        let credential = thief.issues(&world, now);
        for issuer in &issuers {
            let verdict = verdict(&verify(&credential, issuer, None, now, CONTINUOUS));
            assert_eq!(verdict, "not-latest-change", "at {now}");
        }
        // The control: a rule that is broken takes it, so this test can fail.
        assert!(broken_rule(&credential, &world.before.issuer, now).is_ok());
    }
    // What the overlap costs, and why it can be set to nothing: until it ends the thief is believed where only the
    // history is known, and never where the bundle is.
    let now = after_rotation(OVERLAP - 1);
    let credential = thief.issues(&world, now);
    assert!(verify(&credential, &issuers[0], None, now, CONTINUOUS).is_ok());
    refused(verify(&credential, &issuers[1], None, now, CONTINUOUS), Refusal::NotLatestChange);
    let none = Rule::Continuous { overlap_seconds: 0 };
    refused(verify(&credential, &issuers[0], None, now, none), Refusal::NotLatestChange);
    // A thief cannot wait: what he issued inside the overlap ends with it too.
    let later = after_rotation(OVERLAP);
    refused(verify(&credential, &issuers[0], None, later, CONTINUOUS), Refusal::NotLatestChange);
}

#[test]
fn a_back_dated_attestation_by_a_stolen_key_ends_at_once_with_a_revoking_rotation() {
    let world = Rotated::with(true);
    let thief = Thief::of(&world);
    let bundle = world.bundle(vec![world.anew(&world.before.key)]);
    for seconds in [0, 1, OVERLAP - 1, OVERLAP, 86_400] {
        let now = after_rotation(seconds);
        let credential = thief.issues(&world, now);
        refused(verify(&credential, &world.history(), None, now, CONTINUOUS), Refusal::Revoked);
        refused(verify(&credential, &bundle, None, now, CONTINUOUS), Refusal::NotLatestChange);
        assert!(broken_rule(&credential, &world.before.issuer, now).is_ok());
    }
}

#[test]
fn an_attestation_is_signed_by_the_key_of_the_change_that_it_names() {
    let world = Rotated::with(false);
    let (old, new) = (&world.before.primary, &world.new_primary);
    let (first, second) = (world.before.issuer.latest().hash(), world.issuer.latest().hash());
    let check = |under, signer: &Signer, window: (u64, u64), issuer: &IssuerBundle| {
        let key = raw::credential_key(world.before.key.public());
        let data =
            raw::attestation_data(world.issuer.identifier(), under, key, raw_window(window.0, window.1));
        let signed = raw::signed(&raw::body(1, ATTESTATION, &data), signer);
        let attestation = PurposeKeyAttestation::decode(&signed.encode()).unwrap();
        let now = after_rotation(100);
        let credential = credential(&world.before.key, &attestation, &world.before.member, now);
        verdict(&verify(&credential, issuer, None, now, CONTINUOUS))
    };
    for issuer in [world.history(), world.bundle(vec![world.anew(&world.before.key)])] {
        assert_eq!(check(first, old, (0, YEAR), &issuer), "ok");
        assert_eq!(check(first, new, (0, YEAR), &issuer), "signature");
        assert_eq!(check(second, new, (ROTATED, YEAR), &issuer), "ok");
        assert_eq!(check(second, old, (ROTATED, YEAR), &issuer), "signature");
        assert_eq!(
            check(identity(&ed25519(7)).latest().hash(), old, (0, YEAR), &issuer),
            "not-latest-change"
        );
        // And it lies inside the validity of that change, not of the latest.
        assert_eq!(check(first, old, (0, 12 * YEAR), &issuer), "outlives-change");
        assert_eq!(check(second, new, (ROTATED - 1, YEAR), &issuer), "before-change");
    }
}

#[test]
fn an_expired_attestation_under_an_earlier_change_is_refused() {
    let world = Rotated::with(false);
    let old = &world.before;
    let attestation = attest(&old.issuer, &old.primary, &old.key, window(0, ROTATED + 50));
    let credential =
        issue((&attestation, &old.issuer), &old.key, &old.member, START.after(100), ROTATED - 100).unwrap();
    for issuer in [world.history(), world.bundle(vec![world.anew(&old.key)])] {
        // The attestation is asked first; the credential itself has expired by then as well.
        let now = after_rotation(51);
        refused(verify(&credential, &issuer, None, now, CONTINUOUS), Refusal::Expired);
    }
}

#[test]
fn channel_keys_never_survive_a_rotation() {
    let world = Rotated::with(false);
    let old = &world.before;
    let channel = PurposeKey::Channel(AgreementKey::X25519([5; 32]));
    let attest = |issuer: &Identity, primary: &Signer, from| {
        block_on(PurposeKeyAttestation::attest(issuer, primary, &channel, window(from, YEAR)))
    };
    let before = attest(&old.issuer, &old.primary, 0).unwrap();
    let now = after_rotation(10);
    assert!(before.verify(&old.issuer, now).is_ok());
    refused(before.verify(&world.issuer, now), Refusal::NotLatestChange);
    let anew = attest(&world.issuer, &world.new_primary, ROTATED).unwrap();
    assert!(anew.verify(&world.issuer, now).is_ok());
    // Nor as the attestation of a credential, with the same channel key attested anew or without.
    let credential = credential(&old.key, &before, &old.member, now);
    for issuer in [world.history(), world.bundle(vec![anew])] {
        refused(verify(&credential, &issuer, None, now, CONTINUOUS), Refusal::OtherPurpose);
    }
}

#[test]
fn what_is_attested_under_the_latest_change_needs_no_bundle() {
    let world = Rotated::with(true);
    let attestation = world.anew(&world.before.key);
    let at = after_rotation(10);
    let credential =
        issue((&attestation, &world.issuer), &world.before.key, &world.before.member, at, 60).unwrap();
    for issuer in [world.history(), world.bundle(vec![]), world.bundle(vec![attestation])] {
        for rule in [Rule::Reference, CONTINUOUS, Rule::Continuous { overlap_seconds: 0 }] {
            assert!(verify(&credential, &issuer, None, at, rule).is_ok());
        }
    }
}
