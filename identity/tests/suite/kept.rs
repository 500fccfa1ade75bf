//! A kept proof of an attestation saves a check and never changes a verdict.

use identity::{
    Credential, IssuerBundle, Refusal, Rule, Timestamp, VerifiedAttestation, verify, verify_with,
};

use crate::seeds::ed25519;
use crate::world::{START, World, YEAR, attest, refused, rotated, verdict, window};

const RULES: [Rule; 3] =
    [Rule::Reference, Rule::Continuous { overlap_seconds: 0 }, Rule::Continuous { overlap_seconds: 3600 }];

/// What `verify` says, and `verify_with` has to say the same.
fn both(
    kept: &VerifiedAttestation,
    credential: &Credential,
    issuer: &IssuerBundle,
    now: Timestamp,
) -> Vec<String> {
    RULES
        .into_iter()
        .map(|rule| {
            let plain = verify(credential, issuer, None, now, rule);
            let with = verify_with(kept, credential, issuer, None, now, rule);
            assert_eq!(verdict(&with), verdict(&plain), "{rule:?} at {now}");
            verdict(&plain).to_owned()
        })
        .collect()
}

#[test]
fn the_verdict_is_that_of_verifying_at_every_time_and_after_every_rotation() {
    let world = World::new();
    let kept = world.attestation.verify(&world.issuer, START.after(200)).unwrap();
    let new = ed25519(3);
    let later = rotated(&world.issuer, &world.primary, &new, 10_000, false);
    let revoked = rotated(&world.issuer, &world.primary, &new, 10_000, true);
    let anew = attest(&later, &new, &world.key, window(10_000, YEAR));
    let issuers = [
        IssuerBundle::history_only(world.issuer.clone()),
        IssuerBundle::history_only(later.clone()),
        IssuerBundle::history_only(revoked),
        IssuerBundle::new(later.clone(), vec![anew]),
        IssuerBundle::new(later, vec![]),
    ];
    let mut seen = Vec::new();
    for issuer in &issuers {
        for at in [0, 39, 40, 200, 10_001, 13_599, 13_600, 86_499, 86_500, YEAR, YEAR + 1] {
            seen.extend(both(&kept, &world.credential, issuer, START.after(at)));
        }
    }
    for code in ["ok", "future", "expired", "not-latest-change", "revoked"] {
        assert!(seen.iter().any(|seen| seen == code), "{code} is not among what was seen");
    }
}

#[test]
fn it_never_stands_for_other_bytes() {
    let world = World::new();
    let now = START.after(200);
    let issuer = IssuerBundle::history_only(world.issuer.clone());
    let kept = world.attestation.verify(&world.issuer, now).unwrap();
    // The last byte of a credential is in the attestation's signature.
    let mut bytes = world.credential.encode().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = Credential::decode(&bytes).unwrap();
    refused(verify_with(&kept, &forged, &issuer, None, now, Rule::Reference), Refusal::Signature);
    // Any other byte that still decodes gets the verdict it gets without a proof.
    let good = world.credential.encode().unwrap();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        if let Ok(altered) = Credential::decode(&bytes) {
            assert!(!both(&kept, &altered, &issuer, now).contains(&"ok".to_owned()), "byte {place}");
        }
    }
}

#[test]
fn a_proof_of_another_attestation_saves_nothing_and_spoils_nothing() {
    let world = World::new();
    let now = START.after(200);
    let issuer = IssuerBundle::history_only(world.issuer.clone());
    let other = attest(&world.issuer, &world.primary, &ed25519(7), window(0, YEAR));
    let stranger = World::with(ed25519(21), ed25519(22));
    for kept in [
        other.verify(&world.issuer, now).unwrap(),
        stranger.attestation.verify(&stranger.issuer, now).unwrap(),
    ] {
        assert_eq!(both(&kept, &world.credential, &issuer, now), ["ok", "ok", "ok"]);
    }
    let kept = world.attestation.verify(&world.issuer, now).unwrap();
    refused(
        verify_with(&kept, &stranger.credential, &issuer, None, now, Rule::Reference),
        Refusal::OtherIssuer,
    );
    // What verifying found can be kept for the next credential of the same issuer.
    let first = verify(&world.credential, &issuer, None, now, Rule::default()).unwrap();
    assert_eq!(both(first.attestation(), &world.credential, &issuer, now), ["ok", "ok", "ok"]);
}
