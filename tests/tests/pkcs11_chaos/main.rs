//! The PKCS#11 backend on a token that fails, by a module around SoftHSM that follows a script (`tests/chaos-module`): every
//! function that the backend calls, every class of answer, once and always; every function that hangs; and lies. What comes of
//! each case is on record, in tests/golden/pkcs11-chaos.txt and tests/golden/pkcs11-lies.txt.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod lies;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ockam_kms_tests::softhsm::{Part, SoftHsm};
use vault::{Error, Kind, Left, Retry};

use world::{Operation, World};

use Operation::{
    Agree, Destroy, Generate, GenerateSecret, Inventory, List, OpenKey, OpenVault, Return, Seal, Sign,
    SignAnew, Unseal,
};

/// Every function that the backend calls, and what is done to have it called.
const FUNCTIONS: &[(&str, &[Operation])] = &[
    ("C_Initialize", &[Return]),
    ("C_Finalize", &[Return]),
    ("C_GetInfo", &[Inventory]),
    ("C_GetSlotList", &[OpenVault]),
    ("C_GetTokenInfo", &[OpenVault, Generate, Inventory]),
    ("C_GetMechanismList", &[OpenVault]),
    ("C_GetMechanismInfo", &[OpenVault]),
    ("C_OpenSession", &[OpenVault, SignAnew]),
    ("C_CloseSession", &[SignAnew]),
    ("C_GetSessionInfo", &[OpenVault, Generate]),
    ("C_Login", &[OpenVault, Return]),
    ("C_FindObjectsInit", &[OpenKey]),
    ("C_FindObjects", &[OpenKey, List]),
    ("C_FindObjectsFinal", &[OpenKey]),
    ("C_GetAttributeValue", &[OpenKey, Agree, List]),
    ("C_GenerateKey", &[GenerateSecret]),
    ("C_GenerateKeyPair", &[Generate]),
    ("C_DestroyObject", &[Destroy, Agree]),
    ("C_SignInit", &[Sign]),
    ("C_Sign", &[Sign]),
    ("C_EncryptInit", &[Seal]),
    ("C_Encrypt", &[Seal]),
    ("C_DecryptInit", &[Unseal]),
    ("C_Decrypt", &[Unseal]),
    ("C_DeriveKey", &[Agree]),
];

/// One answer of each class of the error table (hsm-backends/pkcs11/src/errors.rs), and more of those that matter most.
const ANSWERS: &[(&str, u64)] = &[
    ("CKR_GENERAL_ERROR", 0x5),
    ("CKR_ARGUMENTS_BAD", 0x7),
    ("CKR_DATA_LEN_RANGE", 0x21),
    ("CKR_DEVICE_MEMORY", 0x31),
    ("CKR_DEVICE_REMOVED", 0x32),
    ("CKR_ENCRYPTED_DATA_INVALID", 0x40),
    ("CKR_FUNCTION_CANCELED", 0x50),
    ("CKR_KEY_FUNCTION_NOT_PERMITTED", 0x68),
    ("CKR_MECHANISM_INVALID", 0x70),
    ("CKR_OBJECT_HANDLE_INVALID", 0x82),
    ("CKR_OPERATION_ACTIVE", 0x90),
    ("CKR_PIN_INCORRECT", 0xa0),
    ("CKR_SESSION_HANDLE_INVALID", 0xb3),
    ("CKR_TEMPLATE_INCONSISTENT", 0xd1),
    ("CKR_TOKEN_NOT_PRESENT", 0xe0),
    ("CKR_TOKEN_WRITE_PROTECTED", 0xe2),
    ("CKR_USER_NOT_LOGGED_IN", 0x101),
    ("CKR_BUFFER_TOO_SMALL", 0x150),
    ("CKR_CRYPTOKI_NOT_INITIALIZED", 0x190),
    ("CKR_FIPS_SELF_TEST_FAILED", 0x1b6),
    ("CKR_VENDOR_DEFINED 0x80000001", 0x8000_0001),
    ("CKR_UNKNOWN 0x7f", 0x7f),
];

const DEADLINE: Duration = Duration::from_secs(5);
/// How long after the script is over everything has to work again.
const BACK: Duration = Duration::from_secs(5);
/// What a busy machine may take on top.
const GRACE: Duration = Duration::from_secs(10);

/// How a case ended.
fn told(result: &vault::Result<&'static str>) -> String {
    match result {
        Ok(word) => (*word).to_owned(),
        Err(error) => {
            let retry = match error.retry() {
                Retry::After(_) => "After".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{} {retry}", error.kind())
        }
    }
}

/// Tells which case it was when one fails.
struct Case<'a>(Operation, &'a str);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it was {:?} with {:?}", self.0, self.1);
        }
    }
}

/// Does one case and waits until all is well again.
fn case(world: &mut World, operation: Operation, rules: &str, within: Duration) -> String {
    let _told = Case(operation, rules);
    let unwell = |e: Error| panic!("it does not work again: {e} ({e:?})");
    world.prepare(operation);
    world.chaos.script(&format!("{}{rules}", operation.prelude()));
    let start = Instant::now();
    let result = world.run(operation);
    let took = start.elapsed();
    world.chaos.clear();
    assert!(took < within + GRACE, "it took {took:?}");
    let opened = world.recover(operation, BACK).unwrap_or_else(unwell);
    told(&result) + if opened { ", until the vault is opened anew" } else { "" }
}

/// Compares with a recorded file; `UPDATE_GOLDEN=1` records instead.
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, recorded, "`{file}` differs: read the difference, then record it with UPDATE_GOLDEN=1");
}

/// How an answer is given: once, for as long as it takes, or once after the call was done.
const WAYS: &[(&str, &str, &str)] =
    &[("once", "call 1", "answer"), ("always", "always", "answer"), ("lost", "call 1", "lose")];

/// What changes nothing is not done by halves.
const CHANGING: &[&str] =
    &["C_Initialize", "C_OpenSession", "C_Login", "C_GenerateKey", "C_GenerateKeyPair", "C_DestroyObject"];

/// The class of an answer, by the table of the backend: kind and retry, and whether it is tried again.
fn class(name: &str) -> (String, String, bool) {
    const TABLE: &str = include_str!("../../../hsm-backends/pkcs11/src/errors.golden.txt");
    // A value that PKCS#11 has no name for is treated as one of a vendor.
    let name = if name.starts_with("CKR_UNKNOWN") { "CKR_VENDOR_DEFINED 0x80000001" } else { name };
    let row = TABLE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    let words: Vec<_> = row.split(' ').collect();
    let retry = words[1].split('(').next().unwrap().to_owned();
    (words[0].to_owned(), retry, matches!(words[2], "Device" | "Reopen" | "Login"))
}

/// An outcome that is what the table says of the answer.
fn in_words(outcome: String, name: &str) -> String {
    let (kind, retry, again) = class(name);
    if outcome == format!("{kind} {retry}") {
        "its class".to_owned()
    } else if outcome == format!("{kind} Indeterminate") && again {
        "its class, and indeterminate".to_owned()
    } else {
        outcome
    }
}

/// Gives every answer for one function, in one operation, in one way: for each outcome, what led to it.
fn answers(world: &mut World, function: &str, operation: Operation, way: (&str, &str, &str)) -> String {
    let (how, when, what) = way;
    world.start_afresh();
    let mut outcomes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in ANSWERS {
        let outcome = case(world, operation, &format!("{function} {when} {what} {value:#x}"), DEADLINE);
        outcomes.entry(in_words(outcome, name)).or_default().push(name.trim_start_matches("CKR_"));
    }
    let mut text = String::new();
    for (outcome, names) in outcomes {
        let names = if names.len() == ANSWERS.len() { "every answer".to_owned() } else { names.join(", ") };
        let _ = writeln!(text, "{function} {operation:?} {how:<6} {outcome}: {names}");
    }
    text
}

#[test]
fn every_answer_of_every_function_ends_in_its_class() {
    let mut cases = Vec::new();
    for (function, operations) in FUNCTIONS {
        for (operation, way) in operations.iter().flat_map(|o| WAYS.iter().map(move |way| (*o, *way))) {
            if way.0 != "lost" || CHANGING.contains(function) {
                cases.push((*function, operation, way));
            }
        }
    }
    // Those that wait for a token to be looked at again take longest: one for each part.
    let waits = |(function, operation, way): &(&str, Operation, (&str, &str, &str))| {
        *operation == Return || *function == "C_GetTokenInfo" && way.0 == "always"
    };
    cases.sort_by_key(|case| !waits(case));
    let parts = 16;
    match SoftHsm::enter_part("every_answer_of_every_function_ends_in_its_class", parts) {
        Part::One(hsm, part) => {
            let mut world = World::new(&hsm, DEADLINE);
            let mut text = String::new();
            for (function, operation, way) in cases.iter().skip(part).step_by(parts) {
                text += &answers(&mut world, function, *operation, *way);
            }
            hsm.report(&text);
        }
        Part::All(reports) => golden("pkcs11-chaos.txt", &sorted(&reports)),
    }
}

/// What the parts of a test reported, as one text.
fn sorted(reports: &[String]) -> String {
    let mut lines: Vec<_> = reports.iter().flat_map(|report| report.lines()).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

/// The deadline where it is waited for.
const SHORT: Duration = Duration::from_secs(3);

#[test]
fn lies_are_noticed_where_they_can_be() {
    let parts = 8;
    let test = "lies_are_noticed_where_they_can_be";
    match SoftHsm::enter_part(test, parts) {
        Part::One(hsm, part) => {
            let mut world = World::new(&hsm, SHORT);
            let mut text = String::new();
            for (function, operation, how) in lies::lies().iter().skip(part).step_by(parts) {
                let outcome = case(&mut world, *operation, &format!("{function} {how}"), SHORT);
                let _ = writeln!(text, "{function} {operation:?} {how}: {outcome}");
            }
            hsm.report(&text);
        }
        Part::All(reports) => golden("pkcs11-lies.txt", &sorted(&reports)),
    }
}

#[test]
fn what_hangs_ends_at_its_deadline() {
    let parts = 8;
    let Part::One(hsm, part) = SoftHsm::enter_part("what_hangs_ends_at_its_deadline", parts) else { return };
    hsm.report("");
    let mut world = World::new(&hsm, SHORT);
    let mut cases: Vec<_> = FUNCTIONS
        .iter()
        .flat_map(|(function, operations)| operations.iter().map(move |o| (function, *o)))
        .collect();
    // The prelude of these is for the first calls, which a call that hung before may be, when it goes on: one for each part.
    cases.sort_by_key(|(_, operation)| *operation != Return);
    for (function, operation) in cases.into_iter().skip(part).step_by(parts) {
        let outcome = case(&mut world, operation, &format!("{function} always hang"), SHORT);
        let fine = ["unavailable After", "unavailable Indeterminate"].contains(&outcome.as_str());
        assert!(fine, "{function} {operation:?}: {outcome}");
    }
}

#[test]
fn what_is_late_is_waited_for() {
    let Some(hsm) = SoftHsm::enter("what_is_late_is_waited_for") else { return };
    let mut world = World::new(&hsm, DEADLINE * 12);
    for operation in lies::LATE {
        let rules: String =
            FUNCTIONS.iter().map(|(function, _)| format!("{function} always delay 20\n")).collect();
        assert_eq!(case(&mut world, operation, &rules, DEADLINE * 12), "ok", "{operation:?}");
    }
}

#[test]
fn a_nonce_of_the_tokens_own_is_kept() {
    let Some(hsm) = SoftHsm::enter("a_nonce_of_the_tokens_own_is_kept") else { return };
    let mut world = World::new(&hsm, DEADLINE);
    world.chaos.script("C_EncryptInit always own-nonce");
    assert_eq!(world.run(Seal).unwrap(), "ok");
    world.chaos.clear();
    assert!(world.sealed().starts_with(&[0xa5; 12]), "{}", hex::encode(world.sealed()));
    world.recover(Seal, BACK).expect("it unseals");
}

#[test]
fn no_pin_is_given_to_a_token_that_would_lock() {
    let Some(hsm) = SoftHsm::enter("no_pin_is_given_to_a_token_that_would_lock") else { return };
    let mut world = World::new(&hsm, DEADLINE);
    for (flags, logins) in [("0x40000", 0), ("0x20000", 0), ("0x10000", 1)] {
        world.prepare(OpenVault);
        world.chaos.script(&format!("C_GetTokenInfo always set {flags}"));
        let opened = world.run(OpenVault);
        assert_eq!(opened.is_ok(), logins == 1, "{flags}: {opened:?}");
        if let Err(error) = opened {
            assert_eq!((error.kind(), error.retry()), (Kind::Denied, Retry::NeedsOperator), "{error}");
        }
        assert_eq!(world.chaos.calls().get("C_Login").copied().unwrap_or_default(), logins, "{flags}");
        world.chaos.clear();
    }
    // A vault that is open says what its token says.
    for (flags, left) in
        [("0x40000", Left::Exactly(0)), ("0x20000", Left::Exactly(1)), ("0x10000", Left::Fewer)]
    {
        world.chaos.script(&format!("C_GetTokenInfo always set {flags}"));
        let inventory = world.inventory();
        assert_eq!(inventory.tries().iter().map(|tries| tries.left).collect::<Vec<_>>(), [left]);
        assert_eq!(inventory.warnings().len(), 1, "{:?}", inventory.warnings());
    }
}
