//! No child outlives its parent: chains of random validities, beside a model of a few lines.

use identity::{
    Credential, Identity, IssuerBundle, PurposeKeyAttestation, Rule, SKEW_SECONDS, Timestamp, verify,
};

use crate::raw::{self, ATTESTATION, CREDENTIAL, Item};
use crate::seeds::ed25519;

const NOW: u64 = 1_790_000_000;
const CHAINS: usize = 10_000;

/// A pseudo-random sequence, the same in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// A validity around now, most of whose ends are near where it matters: at now, at the skew, at its parent's.
    fn window(&mut self, parent: (u64, u64)) -> (u64, u64) {
        let mut near = |anchors: [u64; 3], far: u64| {
            let anchor = anchors[usize::try_from(self.below(3)).unwrap()];
            let off = if self.below(4) == 0 { far } else { 2 };
            anchor.saturating_add(self.below(2 * off + 1)).saturating_sub(off)
        };
        let from = near([parent.0, parent.0, NOW + SKEW_SECONDS], 200);
        (from, near([parent.1, parent.1, NOW], 200))
    }
}

fn inside(child: (u64, u64), parent: (u64, u64)) -> bool {
    parent.0 <= child.0 && child.1 <= parent.1
}

fn runs(window: (u64, u64)) -> bool {
    window.0 <= NOW + SKEW_SECONDS && NOW <= window.1
}

fn items(window: (u64, u64)) -> (Item, Item) {
    (Item::Uint(window.0), Item::Uint(window.1))
}

#[test]
fn no_child_outlives_its_parent() {
    let (primary, key, mut random) = (ed25519(1), ed25519(2), Random(0x2545_f491_4f6c_dd1d));
    let (mut good, mut outlives_change, mut outlives_key) = (0, 0, 0);
    for n in 0..CHAINS {
        let change = random.window((NOW - 1000, NOW + 1000));
        let attested = random.window(change);
        let said = random.window(attested);
        let history = raw::first_history(&primary, items(change));
        let issuer = Identity::import(&history).unwrap();
        let subject = issuer.identifier();
        let public = raw::credential_key(key.public());
        let data = raw::attestation_data(subject, issuer.latest().hash(), public, items(attested));
        let attestation = raw::signed(&raw::body(1, ATTESTATION, &data), &primary);
        let data = raw::credential_data(Some(subject), raw::attributes(1, &[]), items(said));
        let signed = raw::signed(&raw::body(1, CREDENTIAL, &data), &key);
        let now = Timestamp(NOW);

        let decoded = PurposeKeyAttestation::decode(&attestation.encode()).unwrap();
        let proof = decoded.verify(&issuer, now);
        assert_eq!(proof.is_ok(), inside(attested, change) && runs(attested), "{n}: {change:?} {attested:?}");
        let credential = Credential::decode(&raw::array([signed, attestation]).encode()).unwrap();
        let bundle = IssuerBundle::history_only(issuer);
        let wanted = proof.is_ok() && inside(said, attested) && runs(said);
        for rule in [Rule::Reference, Rule::default()] {
            let verified = verify(&credential, &bundle, Some(&subject), now, rule);
            assert_eq!(verified.is_ok(), wanted, "{n}: {change:?} {attested:?} {said:?}: {verified:?}");
            if let Ok(verified) = verified {
                assert!(inside((verified.created_at().0, verified.expires_at().0), change));
            }
        }
        good += usize::from(wanted);
        // Those that only the rule about parents refuses: without it the test would fail by so many.
        outlives_change += usize::from(runs(attested) && !inside(attested, change));
        outlives_key += usize::from(proof.is_ok() && runs(said) && !inside(said, attested));
    }
    for (count, what) in
        [(good, "good"), (outlives_change, "outlive the change"), (outlives_key, "outlive the key")]
    {
        assert!(count > CHAINS / 50, "only {count} chains are {what}");
    }
}
