//! Every edge in time, for everything that has a validity: what verifying says of it, and whether we would make it.
//!
//! The table is tests/golden/identity-times.txt. Where the reference accepts something odd (a change whose validity ends
//! before it starts), verifying follows it and making refuses.

use std::fmt::Write as _;

use identity::{
    Attributes, Credential, CredentialDraft, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation,
    RequestKeyAttestation, Rule, Timestamp, Validity, verify,
};
use vault::{AgreementKey, Signer, block_on};

use crate::golden;
use crate::raw::{self, ATTESTATION, CHANGE, CREDENTIAL, Item, REQUEST_KEY};
use crate::seeds::ed25519;
use crate::world::verdict;

/// One row: a validity as CBOR, what surrounds it, and the clock.
struct Case {
    name: &'static str,
    from: Option<Item>,
    until: Option<Item>,
    /// The validity of the primary key and of the attestation around it.
    around: (u64, u64),
    now: u64,
}

/// The clock of most rows.
const NOW: u64 = 1_790_000_000;
const AROUND: (u64, u64) = (NOW - 1000, NOW + 1000);

fn at(name: &'static str, from: i64, until: i64) -> Case {
    let second = |offset: i64| Some(Item::Uint(NOW.checked_add_signed(offset).unwrap()));
    Case { name, from: second(from), until: second(until), around: AROUND, now: NOW }
}

fn around(name: &'static str, from: u64, until: u64, around: (u64, u64), now: u64) -> Case {
    Case { name, from: Some(Item::Uint(from)), until: Some(Item::Uint(until)), around, now }
}

fn odd(name: &'static str, from: Option<Item>, until: Option<Item>) -> Case {
    Case { name, from, until, around: AROUND, now: NOW }
}

fn cases() -> Vec<Case> {
    let uint = |offset: i64| Some(Item::Uint(NOW.checked_add_signed(offset).unwrap()));
    let raw = |bytes: &[u8]| Some(Item::Raw(bytes.to_vec()));
    // Floats and big numbers that stand for a good second.
    let float = [&[0xfb][..], &(NOW as f64 + 10.0).to_be_bytes()].concat();
    let big = [&[0xc2, 0x48][..], &(NOW + 10).to_be_bytes()].concat();
    let whole = (0, u64::MAX);
    vec![
        at("running", -10, 10),
        at("as long as its parent", -1000, 1000),
        at("starts now", 0, 10),
        at("starts in 60 seconds", 60, 100),
        at("starts in 61 seconds", 61, 100),
        at("ends now", -10, 0),
        at("ended a second ago", -10, -1),
        at("one second, now", 0, 0),
        at("one second, over", -1, -1),
        at("one second, in 60 seconds", 60, 60),
        at("one second, in 61 seconds", 61, 61),
        at("ends before it starts, ahead", 10, 5),
        at("ends before it starts, over", 10, -1),
        at("ends before it starts, too far ahead", 61, 60),
        at("starts a second before its parent", -1001, 10),
        at("ends a second after its parent", -10, 1001),
        at("outside its parent on both sides", -1001, 1001),
        odd("starts at zero", Some(Item::Uint(0)), uint(10)),
        odd("ends at zero", uint(-10), Some(Item::Uint(0))),
        odd("starts at the end of time", Some(Item::Uint(u64::MAX)), uint(10)),
        odd("ends at the end of time", uint(-10), Some(Item::Uint(u64::MAX))),
        around("ends at the end of time, as its parent", NOW - 10, u64::MAX, whole, NOW),
        around("the end of time, then", u64::MAX, u64::MAX, whole, u64::MAX),
        around("the end of time, 60 seconds before", u64::MAX, u64::MAX, whole, u64::MAX - 60),
        around("the end of time, 61 seconds before", u64::MAX, u64::MAX, whole, u64::MAX - 61),
        around("the beginning of time", 0, 10, whole, 0),
        around("over the leap second of 2016", 1_483_228_790, 1_483_228_800, whole, 1_483_228_800),
        around("over 2038-01-19", i32::MAX as u64 - 5, i32::MAX as u64 + 5, whole, i32::MAX as u64 + 1),
        around("over 2106-02-07", u32::MAX as u64 - 5, u32::MAX as u64 + 5, whole, u32::MAX as u64 + 1),
        around("in the year 9999", 253_402_300_700, 253_402_300_799, whole, 253_402_300_799),
        odd("its end missing", uint(-10), None),
        odd("its start missing", None, uint(10)),
        odd("its end null", uint(-10), Some(Item::Null)),
        odd("its end negative", uint(-10), raw(&[0x20])),
        odd("its end a float", uint(-10), raw(&float)),
        odd("its end a big number", uint(-10), raw(&big)),
        odd("its end as text", uint(-10), raw(&[0x61, b'9'])),
        odd("its start negative", raw(&[0x3a, 0, 0, 0, 1]), uint(10)),
    ]
}

/// A validity in a body: an item that is missing is left out, so that the end stands where the start should.
fn fields(case: &Case) -> Vec<Item> {
    [&case.from, &case.until].into_iter().flatten().cloned().collect()
}

fn with(content: &Item, case: &Case) -> Item {
    let Item::Array(items) = content else { unreachable!() };
    Item::Array([&items[..items.len() - 2], &fields(case)[..]].concat())
}

/// The validity, when both ends are numbers.
fn validity(case: &Case) -> Option<Validity> {
    match (&case.from, &case.until) {
        (Some(Item::Uint(from)), Some(Item::Uint(until))) => {
            Some(Validity { from: Timestamp(*from), until: Timestamp(*until) })
        }
        _ => None,
    }
}

struct Row {
    case: Case,
    primary: Signer,
    key: Signer,
    issuer: Identity,
}

fn any_window() -> (Item, Item) {
    (Item::Uint(0), Item::Uint(0))
}

impl Row {
    fn new(case: Case) -> Self {
        let (primary, key) = (ed25519(1), ed25519(2));
        let (from, until) = case.around;
        let history = raw::first_history(&primary, (Item::Uint(from), Item::Uint(until)));
        let issuer = Identity::import(&history).unwrap();
        Self { case, primary, key, issuer }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.case.now)
    }

    fn attestation(&self, purpose: Item, case: &Case) -> identity::Result<PurposeKeyAttestation> {
        let data = raw::attestation_data(
            self.issuer.identifier(),
            self.issuer.latest().hash(),
            purpose,
            any_window(),
        );
        let body = raw::body(1, ATTESTATION, &with(&data, case));
        PurposeKeyAttestation::decode(&raw::signed(&body, &self.primary).encode())
    }

    fn change(&self) -> (&'static str, &'static str) {
        let data = with(&raw::change_data(None, &self.primary, false, any_window()), &self.case);
        let body = raw::body(1, CHANGE, &data);
        let taken = Identity::import(&raw::array([raw::change(&body, &self.primary, None)]).encode());
        let made =
            validity(&self.case).map(|valid| verdict(&block_on(Identity::create(&self.primary, valid))));
        (verdict(&taken), made.unwrap_or("-"))
    }

    fn attested(&self, purpose: Item, key: &PurposeKey) -> (&'static str, &'static str) {
        let taken = self.attestation(purpose, &self.case);
        let taken = taken.and_then(|attestation| attestation.verify(&self.issuer, self.now()));
        let made = validity(&self.case).map(|valid| {
            verdict(&block_on(PurposeKeyAttestation::attest(&self.issuer, &self.primary, key, valid)))
        });
        (verdict(&taken), made.unwrap_or("-"))
    }

    fn request_key(&self) -> (&'static str, &'static str) {
        let public = raw::key(self.key.public());
        let data = raw::attestation_data(
            self.issuer.identifier(),
            self.issuer.latest().hash(),
            public,
            any_window(),
        );
        let body = raw::body(1, REQUEST_KEY, &with(&data, &self.case));
        let taken = RequestKeyAttestation::decode(&raw::signed(&body, &self.primary).encode());
        let taken = taken.and_then(|attestation| attestation.verify(&self.issuer, self.now()));
        let made = validity(&self.case).map(|valid| {
            let made = RequestKeyAttestation::attest(&self.issuer, &self.primary, self.key.public(), valid);
            verdict(&block_on(made))
        });
        (verdict(&taken), made.unwrap_or("-"))
    }

    fn credential(&self) -> (&'static str, &'static str) {
        let (from, until) = self.case.around;
        let parent = around("", from, until, self.case.around, self.case.now);
        let attestation = self.attestation(raw::credential_key(self.key.public()), &parent).unwrap();
        let subject = self.issuer.identifier();
        let data = raw::credential_data(Some(subject), raw::attributes(1, &[]), any_window());
        let signed = raw::signed(&raw::body(1, CREDENTIAL, &with(&data, &self.case)), &self.key);
        let both = raw::array([signed, Item::Raw(attestation.encode().unwrap())]).encode();
        let bundle = IssuerBundle::history_only(self.issuer.clone());
        let taken = Credential::decode(&both);
        let taken = taken.and_then(|one| verify(&one, &bundle, Some(&subject), self.now(), Rule::Reference));
        let attributes = Attributes::new(1, []).unwrap();
        let made = validity(&self.case).and_then(|valid| {
            let proof = attestation.verify(&self.issuer, self.now()).unwrap();
            // A draft is asked for seconds, so one that would end before it starts cannot be put.
            let seconds = valid.until.0.checked_sub(valid.from.0)?.checked_add(1)?;
            let draft =
                CredentialDraft::new(&attestation, &proof, &self.issuer, &attributes, valid.from, seconds);
            Some(verdict(&draft))
        });
        (verdict(&taken), made.unwrap_or("-"))
    }
}

#[test]
fn every_edge_in_time_is_in_the_table() {
    let mut table = String::from(
        "# For each: what verifying says of it, then whether we would make it (- when that cannot be asked for).\n\
         # The parent of all but a change runs from 1000 seconds before now to 1000 seconds after.\n",
    );
    let columns = ["", "change", "credential key", "channel key", "request key", "credential"];
    let line = |cells: [String; 6]| {
        let mut line = format!("{:<40}", cells[0]);
        cells[1..].iter().for_each(|cell| write!(line, "| {cell:<36}").unwrap());
        line.trim_end().to_owned() + "\n"
    };
    table += &line(columns.map(str::to_owned));
    for case in cases() {
        let row = Row::new(case);
        let public = row.key.public();
        let channel = [7; 32];
        let both = |(taken, made): (&str, &str)| format!("{taken}, {made}");
        table += &line([
            row.case.name.to_owned(),
            both(row.change()),
            both(row.attested(raw::credential_key(public), &PurposeKey::Credential(public.clone()))),
            both(
                row.attested(raw::channel_key(channel), &PurposeKey::Channel(AgreementKey::X25519(channel))),
            ),
            both(row.request_key()),
            both(row.credential()),
        ]);
    }
    golden::check("identity-times.txt", &table);
}

/// An identity whose primary key is past its validity still has its credentials looked at: the reference never compares
/// a change with the clock, only what hangs on it with the change.
#[test]
fn the_validity_of_a_change_bounds_what_hangs_on_it_and_is_not_compared_with_the_clock() {
    let row = Row::new(at("running", -10, 10));
    let long_after = Timestamp(NOW + 1_000_000);
    assert!(Identity::import(row.issuer.as_bytes()).is_ok());
    let key = raw::credential_key(row.key.public());
    let attestation = row.attestation(key, &row.case).unwrap();
    assert_eq!(verdict(&attestation.verify(&row.issuer, long_after)), "expired");
    assert_eq!(verdict(&attestation.verify(&row.issuer, row.now())), "ok");
}
