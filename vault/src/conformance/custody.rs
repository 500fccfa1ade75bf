//! Keeping keys: made once, found again, listed, gone when destroyed.

use std::sync::Arc;

use super::{CALLERS, Conform, Report, key, name};
use crate::{
    Agreement, Algorithm, Custody, KeyHandle, KeyInfo, KeyName, KeySpec, KeyUri, Kind, MAX_KEY_NAME,
    PurposeKind, Scheme, Sealing, Signing, Vault, VaultId, block_on,
};

pub(super) async fn listed(vault: &dyn Vault) -> Option<Vec<KeyInfo>> {
    match vault.listing() {
        Some(listing) => Some(listing.list().await.expect("listing works")),
        None => None,
    }
}

pub(super) async fn generate<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let made = key::<P>(vault, "generate", algorithm).await;
    assert_eq!(made.vault(), vault.id());
    assert_eq!(made.algorithm(), algorithm);
    assert_eq!(made.uri().scheme(), vault.scheme());
    let spec = KeySpec::<P>::new(name("generate", algorithm), algorithm).unwrap();
    let error = P::facet(vault, algorithm).generate(&spec).await.expect_err("a name is taken once");
    assert_eq!(error.kind(), Kind::AlreadyExists, "{algorithm}: {error}");
    P::use_once(vault, &made).await.expect("the first key is unharmed");
    let other = key::<P>(vault, "generate-other", algorithm).await;
    assert_ne!(made, other);
    assert!(
        made.public_bytes().is_none_or(|public| Some(public) != other.public_bytes()),
        "two keys are two keys"
    );
    for key in [made, other] {
        P::facet(vault, algorithm).destroy(key).await.expect("destroying works");
    }
    report.ran(
        algorithm,
        "generate",
        "a key under its name; the name is then taken; the next key is another",
    );
}

pub(super) async fn open<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let facet = P::facet(vault, algorithm);
    let made = key::<P>(vault, "open", algorithm).await;
    let by_text: KeyUri = made.uri().to_string().parse().expect("a key's URI parses");
    let by_name = KeyUri::of_key(vault.scheme(), &name("open", algorithm));
    for uri in [made.uri(), &by_text, &by_name] {
        let found = facet.open(uri).await.unwrap_or_else(|e| panic!("{algorithm}: opening `{uri}`: {e}"));
        assert_eq!(found, made);
        assert_eq!(found.algorithm(), algorithm);
        assert_eq!(found.public_bytes(), made.public_bytes());
        P::use_once(vault, &found).await.expect("an opened key works");
    }
    let missing = KeyUri::of_key(vault.scheme(), &name("missing", algorithm));
    assert_eq!(facet.open(&missing).await.expect_err("nothing is there").kind(), Kind::NotFound);
    let elsewhere = if vault.scheme() == Scheme::Soft { Scheme::Pkcs11 } else { Scheme::Soft };
    let elsewhere = KeyUri::of_key(elsewhere, &name("open", algorithm));
    assert_eq!(facet.open(&elsewhere).await.expect_err("another scheme").kind(), Kind::Invalid);
    assert_eq!(
        facet.open(&KeyUri::new(vault.scheme())).await.expect_err("a URI that names no key").kind(),
        Kind::Invalid
    );
    wrong_purpose::<P>(vault, made.uri()).await;
    facet.destroy(made).await.expect("destroying works");
    report.ran(
        algorithm,
        "open",
        "by its URI, its text and its name; not when missing, foreign or for another purpose",
    );
}

/// A key is not opened through a facet of another purpose.
async fn wrong_purpose<P: Conform>(vault: &dyn Vault, uri: &KeyUri) {
    async fn through<Q: Conform>(vault: &dyn Vault, uri: &KeyUri) {
        if let Some(facet) = Q::custody(vault) {
            let error = facet.open(uri).await.expect_err("a key of another purpose is refused");
            assert_eq!(error.kind(), Kind::Invalid, "as a key for {}: {error}", Q::KIND);
        }
    }
    for purpose in [PurposeKind::Signing, PurposeKind::Agreement, PurposeKind::Sealing] {
        match purpose {
            own if own == P::KIND => {}
            PurposeKind::Signing => through::<Signing>(vault, uri).await,
            PurposeKind::Agreement => through::<Agreement>(vault, uri).await,
            PurposeKind::Sealing => through::<Sealing>(vault, uri).await,
        }
    }
}

pub(super) async fn names<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let facet = P::facet(vault, algorithm);
    let attribute = vault.scheme().key_attribute();
    let long = "n".repeat(1024);
    let bad = [
        "../x",
        "a/b",
        ".",
        "..",
        "-f",
        "a\0b",
        "a\nb",
        "\u{202e}x",
        "é",
        "%2e",
        "${x}",
        "a;b",
        long.as_str(),
    ];
    for text in bad {
        let uri = KeyUri::new(vault.scheme()).with(attribute, text).unwrap();
        let kind = facet.open(&uri).await.expect_err("no such key").kind();
        assert!(matches!(kind, Kind::Invalid | Kind::NotFound), "{algorithm}: {text:?} is {kind}");
    }
    // Names that differ in case, by a dot or in length only are different keys.
    let longest = "x".repeat(MAX_KEY_NAME);
    let good: Vec<_> = ["conformance-n", "conformance-N", "conformance-n.", "_conformance-n", &longest]
        .into_iter()
        .map(|text| KeyName::new(text).unwrap())
        .collect();
    let mut keys = Vec::new();
    for name in &good {
        let spec = KeySpec::<P>::new(name.clone(), algorithm).unwrap();
        keys.push(facet.generate(&spec).await.unwrap_or_else(|e| panic!("{algorithm}: `{name}`: {e}")));
    }
    for (name, made) in good.iter().zip(keys) {
        let found = facet.open(&KeyUri::of_key(vault.scheme(), name)).await.expect("found by its own name");
        assert_eq!(found, made);
        facet.destroy(made).await.expect("destroying works");
    }
    report.ran(
        algorithm,
        "names",
        format!("{} bad ones refused, {} similar ones kept apart", bad.len(), good.len()),
    );
}

pub(super) async fn list<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let Some(before) = listed(vault).await else {
        report.skipped(algorithm, "list", "the vault has no listing");
        return;
    };
    let made = key::<P>(vault, "list", algorithm).await;
    let after = listed(vault).await.expect("the facet does not vanish");
    assert!(after.is_sorted_by(|a, b| a.name <= b.name), "sorted by name");
    assert_eq!(after.len(), before.len() + 1);
    let info =
        after.iter().find(|info| info.name == name("list", algorithm).as_str()).expect("the key is listed");
    assert_eq!((info.purpose, info.algorithm), (P::KIND, algorithm));
    assert_eq!(info.public.as_deref(), made.public_bytes());
    assert_eq!(P::facet(vault, algorithm).open(&info.uri).await.expect("a listed key opens"), made);
    P::facet(vault, algorithm).destroy(made).await.expect("destroying works");
    assert_eq!(
        listed(vault).await.expect("the facet does not vanish"),
        before,
        "destroyed keys are not listed"
    );
    report.ran(algorithm, "list", "while it lives, with name, type and public half");
}

/// Handles of another vault are not looked up.
pub(super) async fn strangers<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let made = key::<P>(vault, "strangers", algorithm).await;
    let elsewhere = VaultId::new("another vault");
    let public = P::public_of(&made);
    let stranger = KeyHandle::<P>::new(elsewhere, made.id(), made.uri().clone(), algorithm, public);
    assert_eq!(P::use_once(vault, &stranger).await.expect_err("not of this vault").kind(), Kind::Invalid);
    let facet = P::facet(vault, algorithm);
    assert_eq!(facet.destroy(stranger).await.expect_err("not of this vault").kind(), Kind::Invalid);
    P::use_once(vault, &made).await.expect("the key is unharmed");
    facet.destroy(made).await.expect("destroying works");
    report.ran(algorithm, "strangers", "a handle of another vault is neither used nor destroyed");
}

/// Of many who make a key of one name, one succeeds.
pub(super) fn race<P: Conform>(vault: &Arc<dyn Vault>, algorithm: Algorithm, report: &mut Report) {
    let made: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let spec = KeySpec::<P>::new(name("race", algorithm), algorithm).unwrap();
                    block_on(P::facet(&**vault, algorithm).generate(&spec))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("no caller panics")).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    for error in bad.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), Kind::AlreadyExists, "{algorithm}: {error}");
    }
    let mut good: Vec<_> = good.into_iter().filter_map(Result::ok).collect();
    let winner = good.pop().expect("one of them succeeds");
    assert!(good.is_empty(), "{algorithm}: {} more keys of one name", good.len());
    let facet = P::facet(&**vault, algorithm);
    let found = block_on(facet.open(winner.uri())).expect("the winner's key is there, and alone");
    assert_eq!(found, winner);
    block_on(facet.destroy(winner)).expect("destroying works");
    report.ran(algorithm, "race", format!("{CALLERS} callers make one name: one key"));
}

pub(super) async fn destroy<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let facet = P::facet(vault, algorithm);
    let made = key::<P>(vault, "destroy", algorithm).await;
    P::use_once(vault, &made).await.expect("it works while it lives");
    facet.destroy(made.clone()).await.expect("destroying works");
    let gone =
        |what: &str, kind: Kind| assert_eq!(kind, Kind::NotFound, "{algorithm}: {what} a destroyed key");
    gone("destroying", facet.destroy(made.clone()).await.expect_err("it is gone").kind());
    gone("opening", facet.open(made.uri()).await.expect_err("it is gone").kind());
    gone("using", P::use_once(vault, &made).await.expect_err("it is gone").kind());
    let next = key::<P>(vault, "destroy", algorithm).await;
    assert_ne!(next, made, "the name is free for another key");
    gone("using", P::use_once(vault, &made).await.expect_err("the new key is not the old one").kind());
    gone("destroying", facet.destroy(made).await.expect_err("the new key is not the old one").kind());
    P::use_once(vault, &next).await.expect("the new key is unharmed");
    facet.destroy(next).await.expect("destroying works");
    report.ran(algorithm, "destroy", "once, for good; the name is free again");
}

pub(super) async fn discard<P: Conform>(vault: &dyn Vault, algorithm: Algorithm, report: &mut Report) {
    let facet: &dyn Custody<P> = P::facet(vault, algorithm);
    let name = name("discard", algorithm);
    facet.discard(&name).await.expect("there is nothing to discard, and that is fine");
    let made = key::<P>(vault, "discard", algorithm).await;
    facet.discard(&name).await.expect("discarding works");
    assert_eq!(facet.open(made.uri()).await.expect_err("it is gone").kind(), Kind::NotFound);
    assert_eq!(P::use_once(vault, &made).await.expect_err("it is gone").kind(), Kind::NotFound);
    facet.discard(&name).await.expect("twice is fine");
    report.ran(algorithm, "discard", "by name, whether or not there is something");
}
