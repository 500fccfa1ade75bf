//! Change histories: what a change may be, how two histories relate, and what rotating refuses.

use identity::{ChangeHash, Identity, Refusal, Relation, Rotation, Validity};
use vault::{Algorithm, Signer, block_on};

use crate::raw::{self, CHANGE, Item};
use crate::seeds::{self, ed25519, p256};
use crate::world::{START, identity, raw_window, refused, rotated, verdict, window};

/// Two changes, the second made by hand from what `change` makes of the first's hash.
fn two(change: impl Fn(ChangeHash) -> Item) -> identity::Result<Identity> {
    let primary = ed25519(1);
    let body = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, raw_window(100, 1000)));
    let first = raw::change(&body, &primary, None);
    Identity::import(&raw::array([first, change(ChangeHash::of(&body))]).encode())
}

fn second(previous: Option<ChangeHash>, from: u64) -> Vec<u8> {
    raw::body(1, CHANGE, &raw::change_data(previous, &ed25519(2), false, raw_window(from, 2000)))
}

#[test]
fn a_rotation_is_signed_by_the_new_key_and_by_the_one_before() {
    let good = two(|hash| raw::change(&second(Some(hash), 100), &ed25519(2), Some(&ed25519(1)))).unwrap();
    assert_eq!(good.len(), 2);
    let missing = two(|hash| raw::change(&second(Some(hash), 100), &ed25519(2), None));
    refused(missing, Refusal::MissingPreviousSignature);
    // By the new key twice, by the old key twice, the two swapped, and by a stranger.
    for (new, old) in [(2, 2), (1, 1), (1, 2), (3, 1), (2, 3)] {
        let change = |hash| raw::change(&second(Some(hash), 100), &ed25519(new), Some(&ed25519(old)));
        refused(two(change), Refusal::Signature);
    }
}

#[test]
fn signature_and_previous_signature_are_not_interchangeable() {
    for (a, b) in [(ed25519(1), ed25519(2)), (p256(1), p256(2)), (p256(1), ed25519(2))] {
        let first = identity(&a);
        let hash = first.latest().hash();
        let body = raw::body(1, CHANGE, &raw::change_data(Some(hash), &b, false, raw_window(5, 900)));
        let history = |signature: &Signer, previous: &Signer| {
            let changes = first.as_bytes()[1..].to_vec();
            let second = raw::change(&body, signature, Some(previous));
            Identity::import(&[&[0x82][..], &changes, &second.encode()].concat())
        };
        assert_eq!(history(&b, &a).unwrap().len(), 2);
        refused(history(&a, &b), Refusal::Signature);
        refused(history(&b, &b), Refusal::Signature);
        refused(history(&a, &a), Refusal::Signature);
    }
}

#[test]
fn each_change_names_the_one_before_and_the_first_names_none() {
    let change = |previous| raw::change(&second(previous, 100), &ed25519(2), Some(&ed25519(1)));
    refused(two(|_| change(None)), Refusal::BrokenChain);
    refused(two(|_| change(Some(ChangeHash::of(b"another")))), Refusal::BrokenChain);
    let primary = ed25519(1);
    let data = raw::change_data(Some(ChangeHash::of(b"before")), &primary, false, raw_window(1, 2));
    let body = raw::body(1, CHANGE, &data);
    let history = raw::array([raw::change(&body, &primary, None)]).encode();
    refused(Identity::import(&history), Refusal::FirstHasPrevious);
}

#[test]
fn a_change_starts_no_earlier_than_the_one_before() {
    let change = |from| move |hash| raw::change(&second(Some(hash), from), &ed25519(2), Some(&ed25519(1)));
    refused(two(change(99)), Refusal::TimeReversed);
    assert!(two(change(100)).is_ok(), "in the same second");
    assert!(two(change(1500)).is_ok(), "after a gap, which the reference allows");
}

#[test]
fn a_history_has_a_change_and_is_of_this_version() {
    refused(Identity::import(&[0x80]), Refusal::EmptyHistory);
    for version in [0, 2, 255] {
        let primary = ed25519(1);
        let body = raw::body(version, CHANGE, &raw::change_data(None, &primary, false, raw_window(1, 2)));
        let history = raw::array([raw::change(&body, &primary, None)]).encode();
        refused(Identity::import(&history), Refusal::WrongVersion);
    }
    assert_eq!(verdict(&Identity::import(&[])), "malformed");
}

/// As the reference: what it tolerates in the encoding, we take, and its hash is over the bytes as they came.
#[test]
fn encodings_that_the_reference_tolerates_are_taken() {
    let primary = ed25519(1);
    let window = raw_window(1, 2);
    let usual = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, window.clone()));
    let wide = |value: &Item| match value {
        Item::Uint(value) => Item::Raw([&[0x1b][..], &value.to_be_bytes()].concat()),
        other => other.clone(),
    };
    let Item::Array(fields) = raw::change_data(None, &primary, false, window) else { unreachable!() };
    let extra = [&fields[..], &[Item::Null, raw::array([Item::Uint(7)])]].concat();
    let indefinite: Vec<u8> =
        [vec![0x9f], fields.iter().flat_map(Item::encode).collect(), vec![0xff]].concat();
    let trailing = [Item::Array(fields.clone()).encode(), vec![0]].concat();
    let bodies = [
        raw::body(1, CHANGE, &raw::array(extra)),
        raw::body(1, CHANGE, &raw::array(fields.iter().map(wide))),
        raw::body(1, CHANGE, &Item::Raw(indefinite)),
        raw::body(1, CHANGE, &Item::Raw(trailing)),
        [usual.clone(), vec![0xff]].concat(),
        raw::array([wide(&Item::Uint(1)), wide(&Item::Uint(1)), raw::bytes(Item::Array(fields).encode())])
            .encode(),
    ];
    let usual = Identity::import(&raw::array([raw::change(&usual, &primary, None)]).encode()).unwrap();
    for body in bodies {
        let history = raw::array([raw::change(&body, &primary, None)]).encode();
        let identity = Identity::import(&history).unwrap();
        assert_eq!(identity.identifier(), ChangeHash::of(&body).into());
        assert_ne!(identity.identifier(), usual.identifier());
        assert_eq!(identity.latest().valid_until(), usual.latest().valid_until());
        assert_eq!(identity.as_bytes(), history);
        // Rotating encodes again, and must not touch the signed body.
        assert_eq!(rotated(&identity, &primary, &ed25519(2), 1, false).identifier(), identity.identifier());
    }
}

/// The reference never looks at the previous signature of a first change, and so neither do we; but what it cannot
/// decode, it refuses.
#[test]
fn a_previous_signature_of_a_first_change_is_ignored_when_it_decodes() {
    let primary = ed25519(1);
    let body = raw::body(1, CHANGE, &raw::change_data(None, &primary, false, raw_window(1, 2)));
    let with = |previous: Item| {
        let change = raw::array([raw::bytes(body.clone()), raw::sign(&body, &primary), previous]);
        Identity::import(&raw::array([change]).encode())
    };
    let zeros = || raw::bytes([0; 64]);
    let negative = Item::Raw(vec![0x20]);
    for taken in [
        Item::Null,
        raw::variant(0, zeros()),
        raw::variant(1, zeros()),
        // A kind nobody knows counts as absent.
        raw::variant(2, zeros()),
        raw::array([Item::Uint(0xffff_ffff), Item::Null]),
    ] {
        assert_eq!(with(taken.clone()).unwrap().identifier(), ChangeHash::of(&body).into(), "{taken:?}");
    }
    for malformed in [
        raw::variant(0, raw::bytes([0; 63])),
        raw::array([Item::Uint(0x1_0000_0000), Item::Null]),
        raw::array([negative, Item::Null]),
        raw::array([Item::Uint(0)]),
        raw::array([Item::Uint(2)]),
        Item::Raw([&[0x9f, 0][..], &raw::array([zeros()]).encode(), &[0xff]].concat()),
        Item::Raw(vec![0xf7]),
        Item::Uint(0),
    ] {
        assert_eq!(verdict(&with(malformed.clone())), "malformed", "{malformed:?}");
    }
    // On a later change a kind nobody knows is as good as none.
    let unknown = two(|hash| {
        let body = second(Some(hash), 100);
        let unknown = raw::variant(2, raw::bytes([0; 64]));
        raw::array([raw::bytes(body.clone()), raw::sign(&body, &ed25519(2)), unknown])
    });
    refused(unknown, Refusal::MissingPreviousSignature);
}

#[test]
fn a_key_that_is_no_point_of_its_curve_verifies_nothing() {
    let primary = p256(1);
    let off_curve = raw::variant(1, raw::bytes([&[4][..], &[1; 64]].concat()));
    let compressed = raw::variant(1, raw::bytes([&[2][..], &primary.public().as_bytes()[1..33]].concat()));
    let no_point = raw::variant(0, raw::bytes([2].repeat(32)));
    for (key, expected) in [(off_curve, "signature"), (compressed, "malformed"), (no_point, "signature")] {
        let (from, until) = raw_window(1, 2);
        let data = raw::array([Item::Null, key, Item::Bool(false), from, until]);
        let body = raw::body(1, CHANGE, &data);
        let history = raw::array([raw::change(&body, &primary, None)]).encode();
        assert_eq!(verdict(&Identity::import(&history)), expected);
    }
}

#[test]
fn the_identity_that_is_expected_is_compared() {
    let (a, b) = (identity(&ed25519(1)), identity(&ed25519(2)));
    assert!(Identity::import_expected(a.as_bytes(), &a.identifier()).is_ok());
    refused(Identity::import_expected(a.as_bytes(), &b.identifier()), Refusal::OtherIdentifier);
}

/// Who saw `n` changes and is shown fewer, others, more, or the same with another signature.
#[test]
fn histories_relate_by_their_changes() {
    let keys: Vec<_> = (1..7).map(p256).collect();
    let one = identity(&keys[0]);
    let two = rotated(&one, &keys[0], &keys[1], 10, false);
    let three = rotated(&two, &keys[1], &keys[2], 20, false);
    let other_two = rotated(&one, &keys[0], &keys[3], 10, false);
    let other_three = rotated(&two, &keys[1], &keys[4], 20, false);
    let longer_fork = rotated(&other_two, &keys[3], &keys[5], 30, false);
    let stranger = identity(&keys[5]);
    // The same head under another signature: the high half, which the reference takes as well.
    let resigned = crate::signatures::with_high_s(one.as_bytes());
    assert_ne!(resigned.as_bytes(), one.as_bytes());

    let table = [
        (&one, &one, Relation::Equal),
        (&three, &three, Relation::Equal),
        (&resigned, &one, Relation::Equal),
        (&one, &resigned, Relation::Equal),
        (&two, &one, Relation::Newer),
        (&three, &one, Relation::Newer),
        (&two, &resigned, Relation::Newer),
        (&one, &two, Relation::Older),
        (&two, &three, Relation::Older),
        (&other_two, &two, Relation::Conflict),
        (&other_three, &three, Relation::Conflict),
        (&longer_fork, &two, Relation::Conflict),
        (&two, &longer_fork, Relation::Conflict),
        (&longer_fork, &three, Relation::Conflict),
        (&stranger, &one, Relation::Conflict),
    ];
    for (row, (shown, known, expected)) in table.into_iter().enumerate() {
        assert_eq!(shown.compared_to(known), expected, "row {row}");
        let reversed = match expected {
            Relation::Newer => Relation::Older,
            Relation::Older => Relation::Newer,
            same => same,
        };
        assert_eq!(known.compared_to(shown), reversed, "row {row} reversed");
    }
}

#[test]
fn rotating_keeps_the_identifier_over_both_key_types() {
    let keys = [ed25519(1), p256(2), p256(3), ed25519(4), ed25519(5)];
    let mut current = identity(&keys[0]);
    let identifier = current.identifier();
    for (at, pair) in keys.windows(2).enumerate() {
        let next = rotated(&current, &pair[0], &pair[1], at as u64, at == 2);
        assert_eq!(next.compared_to(&current), Relation::Newer);
        assert_eq!(next.latest().primary_key(), pair[1].public());
        assert_eq!(next.latest().revokes_purpose_keys(), at == 2);
        current = next;
    }
    assert_eq!((current.identifier(), current.len(), current.is_empty()), (identifier, 5, false));
    assert_eq!(current.changes().count(), 5);
    assert_eq!(Identity::import(current.as_bytes()).unwrap().compared_to(&current), Relation::Equal);
}

#[test]
fn rotating_refuses_before_a_key_has_signed() {
    let (old, old_vault) = seeds::in_vault(Algorithm::Ed25519, 1);
    let (new, new_vault) = seeds::in_vault(Algorithm::EcdsaP256, 2);
    let first = block_on(Identity::create(&old, window(100, 1000))).unwrap();
    assert_eq!(old_vault.signed(), 1);
    let try_it = |old: &Signer, new: &Signer, from, until| {
        let rotation = Rotation { valid: window(from, until), revoke_purpose_keys: false };
        verdict(&block_on(first.rotate(old, new, rotation)))
    };
    assert_eq!(try_it(&ed25519(3), &new, 200, 900), "invalid", "the old key is another one");
    assert_eq!(try_it(&old, &old, 200, 900), "invalid", "the new key is the old one");
    assert_eq!(try_it(&old, &new, 99, 900), "time-reversed");
    assert_eq!(try_it(&old, &new, 1001, 2000), "expired", "the old key's own validity is over");
    assert_eq!(try_it(&old, &new, 200, 200), "invalid");
    assert_eq!((old_vault.signed(), new_vault.signed()), (1, 0));
    assert_eq!(try_it(&old, &new, 1000, 2000), "ok", "in its last second");
    assert_eq!((old_vault.signed(), new_vault.signed()), (2, 1));

    // The old key signs first: when its vault is away, the new one has signed nothing.
    old_vault.break_down();
    assert_eq!(try_it(&old, &new, 200, 900), "vault");
    assert_eq!((old_vault.signed(), new_vault.signed()), (2, 1));
    let error = block_on(Identity::create(&old, window(0, 1))).unwrap_err();
    assert_eq!(error.vault_error().unwrap().kind(), vault::Kind::Unavailable);
}

#[test]
fn an_identity_is_not_created_without_a_validity() {
    let (primary, vault) = seeds::in_vault(Algorithm::Ed25519, 1);
    for valid in [window(10, 10), window(10, 9), Validity { from: START, until: identity::Timestamp(0) }] {
        assert_eq!(verdict(&block_on(Identity::create(&primary, valid))), "invalid");
    }
    assert_eq!(vault.signed(), 0);
}
