//! Using keys, checked with the primitive crates.

use std::collections::BTreeSet;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256};

use super::{CALLERS, Conform, Report, agreement, key, sealing, signing};
use crate::{
    Agreement, AgreementKey, Algorithm, Custody, KeyHandle, Kind, MAX_SEAL, Sealing, Signature, Signing,
    Vault, VerifyingKey, block_on,
};

/// Message lengths: none, around the block and digest sizes, and more than a device takes at once.
const LENGTHS: [usize; 12] = [0, 1, 31, 32, 33, 55, 56, 63, 64, 65, 4096, 65536];
const SIGNATURES: usize = 64;

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

/// Verifies without this crate's verifier, and more strictly: no high `s`, no small-order points.
fn verifies(public: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    match (public, signature) {
        (VerifyingKey::Ed25519(public), Signature::Ed25519(bytes)) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(public.as_bytes()).expect("a point");
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
        }
        (VerifyingKey::EcdsaP256(public), Signature::EcdsaP256(bytes)) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(public.as_bytes()).expect("a point");
            let signature = p256::ecdsa::Signature::from_slice(bytes).expect("r and s in range");
            signature.normalize_s() == signature
                && key.verify_prehash(&Sha256::digest(message), &signature).is_ok()
        }
        _ => false,
    }
}

impl Conform for Signing {
    fn custody(vault: &dyn Vault) -> Option<&dyn Custody<Self>> {
        vault.signing().map(|facet| facet as _)
    }

    fn public_of(key: &KeyHandle<Self>) -> VerifyingKey {
        key.public().clone()
    }

    async fn use_once(vault: &dyn Vault, key: &KeyHandle<Self>) -> crate::Result<()> {
        let signature = signing(vault).sign(key, b"once").await?;
        assert!(verifies(key.public(), b"once", &signature), "a signature that does not verify");
        Ok(())
    }

    async fn uses(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) {
        let made = key::<Self>(&**vault, "sign", algorithm).await;
        assert_eq!(made.public().algorithm(), algorithm);
        let limits = signing(&**vault).message_lengths(algorithm);
        // At the limit and one beyond, where there is one.
        let edge = Some(*limits.end()).filter(|end| *end < usize::MAX);
        let edges = edge.into_iter().flat_map(|end| [end, end + 1]);
        let lengths: BTreeSet<_> = LENGTHS.into_iter().chain(edges).collect();
        let (fit, unfit): (Vec<_>, Vec<_>) = lengths.into_iter().partition(|length| limits.contains(length));
        for &length in &fit {
            let message = message(length);
            let signature = signing(&**vault).sign(&made, &message).await;
            let signature = signature.unwrap_or_else(|e| panic!("{algorithm}: signing {length} bytes: {e}"));
            assert_eq!(signature.algorithm(), algorithm);
            assert!(verifies(made.public(), &message, &signature), "{algorithm}: {length} bytes");
            let _ = made.public().verify(&message, &signature).expect("our own verifier agrees");
            let mut altered = message;
            altered.push(0);
            assert!(!verifies(made.public(), &altered, &signature));
        }
        report.ran(algorithm, "sign", format!("{} lengths up to {} bytes", fit.len(), fit[fit.len() - 1]));
        if !unfit.is_empty() {
            for &length in &unfit {
                let error = signing(&**vault).sign(&made, &message(length)).await;
                let error = error.expect_err("a length that it says it does not take");
                assert_eq!(error.kind(), Kind::Invalid, "{algorithm}: {length} bytes: {error}");
            }
            report.ran(algorithm, "limits", format!("messages of {unfit:?} bytes refused, as it says"));
        }
        // Half of all ECDSA signatures have a high `s` unless somebody sees to it.
        for place in 0..SIGNATURES {
            let message = message(limits.start() + place);
            let signature = signing(&**vault).sign(&made, &message).await.expect("signing works");
            assert!(verifies(made.public(), &message, &signature), "{algorithm}: signature {place}");
        }
        if algorithm == Algorithm::EcdsaP256 {
            report.ran(algorithm, "low-s", format!("{SIGNATURES} signatures, all low"));
        } else {
            report.skipped(algorithm, "low-s", "Ed25519 has no second form");
        }
        callers(algorithm, report, |place| {
            let message = message(limits.start() + place);
            let signature = block_on(signing(&**vault).sign(&made, &message)).expect("signing works");
            assert!(verifies(made.public(), &message, &signature), "{algorithm}: caller {place}");
        });
        signing(&**vault).destroy(made).await.expect("destroying works");
    }
}

fn callers(algorithm: Algorithm, report: &mut Report, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for place in 0..CALLERS {
            let work = &work;
            scope.spawn(move || work(place));
        }
    });
    report.ran(algorithm, "concurrency", format!("{CALLERS} callers at once"));
}

/// Points of small order on Curve25519 (RFC 7748 §7, and the further ones on its twist): agreeing with them gives zero.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
];

/// A peer that lives outside the vault.
enum Peer {
    X25519(x25519_dalek::StaticSecret),
    EcdhP256(p256::SecretKey),
}

impl Peer {
    /// Made from a number.
    fn new(algorithm: Algorithm, seed: u8) -> Self {
        let bytes = [seed.wrapping_mul(7) | 1; 32];
        match algorithm {
            // The last byte of a scalar may be anything, but 0xff in front would be above the group order.
            Algorithm::EcdhP256 => {
                let mut bytes = bytes;
                bytes[0] &= 0x7f;
                Self::EcdhP256(p256::SecretKey::from_slice(&bytes).expect("a scalar"))
            }
            _ => Self::X25519(x25519_dalek::StaticSecret::from(bytes)),
        }
    }

    fn public(&self) -> AgreementKey {
        match self {
            Self::X25519(secret) => AgreementKey::X25519(x25519_dalek::PublicKey::from(secret).to_bytes()),
            Self::EcdhP256(secret) => {
                let point = p256::ecdsa::VerifyingKey::from(secret.public_key()).to_sec1_point(false);
                AgreementKey::from_bytes(Algorithm::EcdhP256, point.as_bytes()).expect("a point")
            }
        }
    }

    /// Whether a vault that has this key came to the same secret.
    fn agrees(&self, key: &KeyHandle<Agreement>, secret: &[u8]) -> bool {
        match (self, key.public()) {
            (Self::X25519(ours), AgreementKey::X25519(theirs)) => {
                ours.diffie_hellman(&x25519_dalek::PublicKey::from(*theirs)).as_bytes() == secret
            }
            (Self::EcdhP256(ours), AgreementKey::EcdhP256(theirs)) => {
                let theirs = p256::PublicKey::from_sec1_bytes(theirs.as_bytes()).expect("a point");
                let shared = p256::ecdh::diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
                shared.raw_secret_bytes().as_slice() == secret
            }
            _ => false,
        }
    }
}

impl Conform for Agreement {
    fn custody(vault: &dyn Vault) -> Option<&dyn Custody<Self>> {
        vault.agreement().map(|facet| facet as _)
    }

    fn public_of(key: &KeyHandle<Self>) -> AgreementKey {
        key.public().clone()
    }

    async fn use_once(vault: &dyn Vault, key: &KeyHandle<Self>) -> crate::Result<()> {
        let peer = Peer::new(key.algorithm(), 1);
        let secret = agreement(vault).agree(key, &peer.public()).await?;
        assert!(peer.agrees(key, secret.expose()), "the two sides do not agree");
        Ok(())
    }

    async fn uses(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) {
        let made = key::<Self>(&**vault, "agree", algorithm).await;
        assert_eq!(made.public().algorithm(), algorithm);
        for seed in 0..16 {
            let peer = Peer::new(algorithm, seed);
            let secret = agreement(&**vault).agree(&made, &peer.public()).await.expect("agreeing works");
            assert!(peer.agrees(&made, secret.expose()), "{algorithm}: peer {seed}");
        }
        report.ran(algorithm, "agree", "16 peers, both sides the same");
        if algorithm == Algorithm::X25519 {
            for point in SMALL_ORDER {
                let error = agreement(&**vault).agree(&made, &AgreementKey::X25519(point)).await;
                let error = error.expect_err("a peer key of small order is refused");
                assert_eq!(error.kind(), Kind::Rejected, "{algorithm}: {error} ({error:?})");
            }
            report.ran(algorithm, "small-order", format!("{} points rejected", SMALL_ORDER.len()));
        } else {
            report.skipped(algorithm, "small-order", "P-256 has no such points");
        }
        let other = Peer::new(
            if algorithm == Algorithm::X25519 { Algorithm::EcdhP256 } else { Algorithm::X25519 },
            1,
        );
        let error = agreement(&**vault).agree(&made, &other.public()).await.expect_err("another curve");
        assert_eq!(error.kind(), Kind::Invalid, "{algorithm}: {error} ({error:?})");
        Self::use_once(&**vault, &made).await.expect("the key works after refusals");
        report.ran(algorithm, "other-curve", "a peer key of another type is refused");
        callers(algorithm, report, |place| {
            let peer = Peer::new(algorithm, u8::try_from(place).unwrap());
            let agreed = block_on(agreement(&**vault).agree(&made, &peer.public()));
            let secret = agreed.expect("agreeing works");
            assert!(peer.agrees(&made, secret.expose()), "{algorithm}: caller {place}");
        });
        agreement(&**vault).destroy(made).await.expect("destroying works");
    }
}

impl Conform for Sealing {
    fn custody(vault: &dyn Vault) -> Option<&dyn Custody<Self>> {
        vault.sealing().map(|facet| facet as _)
    }

    fn public_of(_: &KeyHandle<Self>) {}

    async fn use_once(vault: &dyn Vault, key: &KeyHandle<Self>) -> crate::Result<()> {
        let sealed = sealing(vault).seal(key, b"once", b"more").await?;
        let plain = sealing(vault).unseal(key, &sealed, b"more").await?;
        assert_eq!(plain.expose(), b"once");
        Ok(())
    }

    async fn uses(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) {
        let facet = sealing(&**vault);
        let made = key::<Self>(&**vault, "seal", algorithm).await;
        let lengths = [0, 1, 15, 16, 17, 32, 1000, MAX_SEAL];
        for length in lengths {
            for associated in [&b""[..], b"associated"] {
                let sealed = facet.seal(&made, &message(length), associated).await;
                let sealed = sealed.unwrap_or_else(|e| panic!("{algorithm}: sealing {length} bytes: {e}"));
                assert!(sealed.len() >= length + 16, "ciphertext and tag at least");
                let plain = facet.unseal(&made, &sealed, associated).await.expect("unsealing works");
                assert_eq!(plain.expose(), message(length));
            }
        }
        let error = facet.seal(&made, &message(MAX_SEAL + 1), b"").await.expect_err("too much");
        assert_eq!(error.kind(), Kind::Invalid);
        report.ran(
            algorithm,
            "seal",
            format!("{} lengths up to {MAX_SEAL} bytes, and no more", lengths.len()),
        );
        let sealed = facet.seal(&made, b"secret", b"this").await.expect("sealing works");
        assert_ne!(
            facet.seal(&made, b"secret", b"this").await.expect("sealing works"),
            sealed,
            "nonces differ"
        );
        let mut bad: Vec<(Vec<u8>, &[u8])> = vec![
            (sealed.clone(), b"that"),
            (sealed.clone(), b""),
            (sealed[..sealed.len() - 1].to_vec(), b"this"),
            (sealed[..1].to_vec(), b"this"),
            (sealed[..27].to_vec(), b"this"),
            (Vec::new(), b"this"),
            ([sealed.as_slice(), &[0]].concat(), b"this"),
        ];
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            bad.push((altered, b"this"));
        }
        let count = bad.len();
        let other = key::<Self>(&**vault, "seal-other", algorithm).await;
        for (altered, associated) in bad {
            let error = facet.unseal(&made, &altered, associated).await.expect_err("altered");
            assert_eq!(error.kind(), Kind::Rejected, "{algorithm}: {error} ({error:?})");
        }
        assert_eq!(
            facet.unseal(&other, &sealed, b"this").await.expect_err("another key").kind(),
            Kind::Rejected
        );
        Self::use_once(&**vault, &made).await.expect("the key works after refusals");
        report.ran(algorithm, "tampering", format!("{count} altered texts and another key rejected"));
        callers(algorithm, report, |place| {
            let sealed = block_on(facet.seal(&made, &message(place), b"c")).expect("sealing works");
            let plain = block_on(facet.unseal(&made, &sealed, b"c")).expect("unsealing works");
            assert_eq!(plain.expose(), message(place), "{algorithm}: caller {place}");
        });
        for key in [made, other] {
            facet.destroy(key).await.expect("destroying works");
        }
    }
}
