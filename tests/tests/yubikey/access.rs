//! Changing the secrets of a card, through the program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ockam_kms_tests::cli::session::Session;
use ockam_kms_tests::cli::{Kms, Ran};
use ockam_kms_tests::piv::{MANAGEMENT_KEY, PIN, PUK, PivCard};

use super::{CARD, NEW, OLD, enter};

const CARD_URI: &str = "yubikey:serial=12345678";
const FACTORY_KEY: &str = "010203040506070801020304050607080102030405060708";
/// Every secret that is typed in these tests.
const SECRETS: [&str; 7] = [PIN, PUK, MANAGEMENT_KEY, FACTORY_KEY, "882461", "99317755", "611611"];

/// A home that can reach the card.
pub(super) fn home() -> Kms {
    let mut kms = Kms::new();
    kms.set("PCSCLITE_CSOCK_NAME", std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap());
    kms
}

/// A home in which the card is a vault.
pub(super) fn with_vault(card: &PivCard) -> Kms {
    let mut kms = home();
    kms.run(&["vault", "create", "card", "--uri", &card.uri().to_string()]).code(0);
    kms
}

/// `vault VERB …`, of which nothing may tell a secret.
fn vault(kms: &mut Kms, verb: &str, arguments: &[&str], input: &[&str]) -> Ran {
    let lines: String = input.iter().map(|line| format!("{line}\n")).collect();
    let ran = kms.run_with(&[&["vault", verb][..], arguments].concat(), lines.as_bytes());
    for secret in SECRETS {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    }
    ran
}

fn puk_tries(card: &PivCard) -> u64 {
    card.memory().pointer("/puk/left").unwrap().as_u64().unwrap()
}

#[test]
fn a_new_card_gets_secrets_of_its_own_and_becomes_a_vault() {
    let test = "access::a_new_card_gets_secrets_of_its_own_and_becomes_a_vault";
    let Some(card) = PivCard::enter_as_from_the_factory(test, Path::new(CARD), OLD) else { return };
    let mut kms = home();
    let uri = card.uri().to_string();
    std::fs::write(card.directory().join("pin"), "123456\n").unwrap();
    for (verb, arguments, input) in [
        ("change-pin", &["--pin", "-", "--new-pin", "-"][..], ["123456", "882461"]),
        ("change-puk", &["--puk", "-", "--new-puk", "-"], ["12345678", "99317755"]),
    ] {
        let refused = kms.run(&["vault", "create", "card", "--uri", &uri]).code(77);
        let command = format!("`ockam-kms vault {verb} --uri {CARD_URI}` changes it");
        assert!(refused.stderr.contains(&command), "{}", refused.stderr);
        vault(&mut kms, verb, &[&["--uri", CARD_URI][..], arguments].concat(), &input).code(0);
    }
    let refused = kms.run(&["vault", "create", "card", "--uri", &uri]).code(77);
    assert!(refused.stderr.contains("vault change-management-key"), "{}", refused.stderr);
    let new =
        ["--uri", CARD_URI, "--management-key", "-", "--new-management-key-file", "new", "--output", "json"];
    let changed = vault(&mut kms, "change-management-key", &new, &[FACTORY_KEY]).code(0).json();
    assert_eq!(changed["changed"], "management-key", "{changed}");
    assert_eq!((&changed["management_key"], &changed["vault"]), (&"aes256".into(), &serde_json::Value::Null));
    assert_eq!(card.memory().pointer("/management/algorithm").unwrap(), 0x0c);
    let made = kms.path("new");
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::copy(made, card.directory().join("management")).unwrap();
    std::fs::write(card.directory().join("pin"), "882461\n").unwrap();
    kms.run(&["vault", "create", "card", "--uri", &uri]).code(0);
    kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0);
}

#[test]
fn what_everybody_knows_is_no_new_secret() {
    let Some(card) = enter("access::what_everybody_knows_is_no_new_secret", NEW) else { return };
    let mut kms = with_vault(&card);
    let before = card.memory();
    for new in ["123456", "12345678", "12345", "123456789", "1234\t6"] {
        vault(&mut kms, "change-pin", &["card", "--new-pin", "-"], &[new]).code(64);
        vault(&mut kms, "unblock-pin", &["card", "--puk", "-", "--new-pin", "-"], &[PUK, new]).code(64);
        vault(&mut kms, "change-puk", &["card", "--puk", "-", "--new-puk", "-"], &[PUK, new]).code(64);
    }
    let same = vault(&mut kms, "change-pin", &["card", "--new-pin", "-"], &[PIN]).code(64);
    assert!(same.stderr.contains("is the present one"), "{}", same.stderr);
    for (new, algorithm) in [
        (FACTORY_KEY, "aes192"),
        (FACTORY_KEY, "3des"),
        (MANAGEMENT_KEY, "aes256"),
        ("no digits", "aes192"),
        (&MANAGEMENT_KEY[..46], "aes192"),
    ] {
        let to = ["card", "--new-management-key", "-", "--algorithm", algorithm];
        let ran = vault(&mut kms, "change-management-key", &to, &[new]);
        assert!(matches!(ran.code, 64 | 77), "{ran:?}");
    }
    // Nothing of all that reached the card.
    assert_eq!(card.memory(), before);
}

#[test]
fn secrets_come_from_nowhere_else() {
    let Some(card) = enter("access::secrets_come_from_nowhere_else", NEW) else { return };
    let mut kms = with_vault(&card);
    for (verb, arguments) in [
        ("change-pin", ["--pin", "730519"]),
        ("change-pin", ["--new-pin", "882461"]),
        ("change-puk", ["--puk", "73051942"]),
        ("change-puk", ["--new-puk", "99317755"]),
        ("unblock-pin", ["--puk", "73051942"]),
        ("change-management-key", ["--management-key", MANAGEMENT_KEY]),
        ("change-management-key", ["--new-management-key", MANAGEMENT_KEY]),
    ] {
        let refused = vault(&mut kms, verb, &[&["card"][..], &arguments].concat(), &[]).code(64);
        assert!(refused.stderr.contains("is never an argument"), "{}", refused.stderr);
    }
    // Nobody is there to be asked, and nothing is guessed.
    for (verb, hint) in
        [("change-pin", "--new-pin-file"), ("change-puk", "--puk-file"), ("unblock-pin", "--puk-file")]
    {
        let refused = vault(&mut kms, verb, &["card"], &[]).code(75);
        assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    }
    vault(&mut kms, "change-management-key", &["card"], &[]).code(64);
    kms.run(&["vault", "create", "soft"]).code(0);
    let refused = vault(&mut kms, "change-pin", &["soft"], &[]).code(64);
    assert!(refused.stderr.contains("`soft` is no YubiKey"), "{}", refused.stderr);
    vault(&mut kms, "change-pin", &["nobody"], &[]).code(66);
    vault(&mut kms, "change-pin", &["--uri", "soft:"], &[]).code(64);
    assert_eq!((card.pin_tries(), puk_tries(&card)), (3, 3));
}

#[test]
fn the_last_try_is_kept_for_the_puk_and_the_pin() {
    let Some(card) = enter("access::the_last_try_is_kept_for_the_puk_and_the_pin", NEW) else { return };
    let mut kms = with_vault(&card);
    let to = ["card", "--pin", "-", "--new-pin", "-"];
    for (left, words) in [(2, "refused the PIN, 2 tries are left"), (1, "refused the PIN, 1 try is left")] {
        let refused = vault(&mut kms, "change-pin", &to, &["611611", "882461"]).code(77);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert_eq!(card.pin_tries(), left);
    }
    // The right one, too, is not tried now: nobody can know that it is.
    let refused = vault(&mut kms, "change-pin", &to, &[PIN, "882461"]).code(77);
    assert!(refused.stderr.contains(&format!("vault unblock-pin --uri {CARD_URI}")), "{}", refused.stderr);
    let preview =
        vault(&mut kms, "change-pin", &["card", "--dry-run", "--output", "json"], &[]).code(77).json();
    assert_eq!((&preview["refused"], &preview["pin_tries"]), (&true.into(), &1.into()), "{preview}");
    assert_eq!(card.pin_tries(), 1);

    let to = ["card", "--puk", "-", "--new-pin", "-"];
    let preview =
        vault(&mut kms, "unblock-pin", &["card", "--dry-run", "--output", "json"], &[]).code(0).json();
    assert_eq!((&preview["changes"], &preview["puk_tries"]), (&"pin".into(), &3.into()), "{preview}");
    let refused = vault(&mut kms, "unblock-pin", &to, &["99317755", "882461"]).code(77);
    assert!(refused.stderr.contains("refused the PUK, 2 tries are left"), "{}", refused.stderr);
    let done = vault(&mut kms, "unblock-pin", &to, &[PUK, "882461"]).code(0);
    assert!(done.stderr.contains("holds another PIN"), "{}", done.stderr);
    assert_eq!((card.pin_tries(), puk_tries(&card)), (3, 3));
    std::fs::write(card.directory().join("pin"), "882461\n").unwrap();
    kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0);

    let to = ["card", "--puk", "-", "--new-puk", "-"];
    for _ in 0..4 {
        vault(&mut kms, "change-puk", &to, &["99317755", "12121212"]).code(77);
    }
    assert_eq!(puk_tries(&card), 1);
    let refused = vault(&mut kms, "change-puk", &to, &[PUK, "12121212"]).code(77);
    assert!(refused.stderr.contains("enter it with another tool"), "{}", refused.stderr);
    assert_eq!(puk_tries(&card), 1);
}

#[test]
fn a_blocked_pin_is_unblocked() {
    let Some(card) = enter("access::a_blocked_pin_is_unblocked", OLD) else { return };
    let mut kms = with_vault(&card);
    let identity = kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0).stdout;
    card.tamper("/pin/left", 0);
    for arguments in [&["identity", "rotate", "anna"][..], &["vault", "check", "card"]] {
        let refused = kms.run(arguments).code(77);
        assert!(refused.stderr.contains("the PIN of YubiKey `12345678` is locked"), "{}", refused.stderr);
        assert!(refused.stderr.contains("vault unblock-pin"), "{}", refused.stderr);
    }
    vault(&mut kms, "change-pin", &["card", "--new-pin", "-"], &["882461"]).code(77);
    // The file already holds the PIN that is to be: nothing has to be said then.
    std::fs::write(card.directory().join("pin"), "882461\n").unwrap();
    let file = card.directory().join("pin").display().to_string();
    let unblock = ["card", "--puk", "-", "--new-pin-file", &file];
    let done = vault(&mut kms, "unblock-pin", &unblock, &[PUK]).code(0);
    assert!(!done.stderr.contains("holds another PIN") && done.stdout == CARD_URI, "{done:?}");
    kms.run(&["identity", "rotate", "anna"]).code(0);
    assert_eq!(kms.run(&["identity", "show", "anna"]).code(0).stdout, identity);
    // A card whose PUK is locked cannot be helped, and says so.
    card.tamper("/puk/left", 0);
    let refused = vault(&mut kms, "unblock-pin", &unblock, &[PUK]).code(77);
    assert!(refused.stderr.contains("works on with its PIN"), "{}", refused.stderr);
    kms.run(&["identity", "rotate", "anna"]).code(0);
}

#[test]
fn a_management_key_passes_through_every_type() {
    let Some(card) = enter("access::a_management_key_passes_through_every_type", OLD) else { return };
    let mut kms = with_vault(&card);
    let file = card.directory().join("management");
    assert_eq!(card.memory().pointer("/management/algorithm").unwrap(), 3);
    for (round, algorithm) in ["aes128", "aes192", "aes256", "3des", "aes256"].into_iter().enumerate() {
        let new = format!("new{round}");
        let to = ["card", "--new-management-key-file", &new, "--algorithm", algorithm, "--output", "json"];
        let preview =
            vault(&mut kms, "change-management-key", &[&to[..], &["--dry-run"]].concat(), &[]).code(0);
        assert!(!kms.path(&new).exists(), "{preview:?}");
        let done = vault(&mut kms, "change-management-key", &to, &[]).code(0);
        assert_eq!(done.json()["management_key"], algorithm);
        assert!(done.stderr.contains("holds another management key"), "{}", done.stderr);
        let refused = kms.run(&["key", "generate", "none", "--vault", "card"]).code(77);
        assert!(refused.stderr.contains("refused the management key"), "{}", refused.stderr);
        std::fs::copy(kms.path(&new), &file).unwrap();
        kms.run(&["key", "generate", &new, "--vault", "card", "--key-type", "p256"]).code(0);
    }
    // One that was chosen: its length says the type.
    let chosen = "00112233445566778899aabbccddeeff";
    kms.file("chosen", format!("{chosen}\n"));
    vault(&mut kms, "change-management-key", &["card", "--new-management-key-file", "chosen"], &[]).code(0);
    assert_eq!(card.memory().pointer("/management/algorithm").unwrap(), 8);
    // A wrong present one changes nothing, and the file that was made for the new one is gone again.
    let wrong = ["card", "--management-key", "-", "--new-management-key-file", "unused"];
    vault(&mut kms, "change-management-key", &wrong, &[MANAGEMENT_KEY]).code(77);
    assert!(!kms.path("unused").exists());
    assert_eq!(card.memory().pointer("/management/algorithm").unwrap(), 8);
}

#[test]
fn firmware_without_aes_keeps_triple_des() {
    let Some(card) = enter("access::firmware_without_aes_keeps_triple_des", "5.3.0") else { return };
    let mut kms = with_vault(&card);
    let to = ["card", "--new-management-key-file", "new", "--algorithm", "aes256"];
    let refused = vault(&mut kms, "change-management-key", &to, &[]).code(78);
    assert!(refused.stderr.contains("firmware 5.4.2") && !kms.path("new").exists(), "{}", refused.stderr);
    vault(&mut kms, "change-management-key", &to[..3], &[]).code(0);
    assert_eq!(card.memory().pointer("/management/algorithm").unwrap(), 3);
    std::fs::copy(kms.path("new"), card.directory().join("management")).unwrap();
    kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0);
}

#[test]
fn a_change_that_is_cut_off_says_what_may_be() {
    let Some(card) = enter("access::a_change_that_is_cut_off_says_what_may_be", NEW) else { return };
    let mut kms = with_vault(&card);
    card.fault("pull 24");
    let lost = vault(&mut kms, "change-pin", &["card", "--new-pin", "-"], &["882461"]).code(69);
    assert!(lost.stderr.contains("the PIN may have been changed"), "{}", lost.stderr);
    card.wait_until_out();
    let away = vault(&mut kms, "change-pin", &["card", "--new-pin", "-"], &["882461"]).code(69);
    assert!(away.stderr.contains("is away"), "{}", away.stderr);
    card.insert_and_wait();
    card.fault("pull ff");
    let to = ["card", "--new-management-key-file", "new"];
    let lost = vault(&mut kms, "change-management-key", &to, &[]).code(69);
    assert!(lost.stderr.contains("the management key may have been changed"), "{}", lost.stderr);
    assert!(kms.path("new").exists(), "the card may have it");
    card.wait_until_out();
    card.insert_and_wait();
    // It was neither: the card went before it was told.
    kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0);
    vault(&mut kms, "change-management-key", &to, &[]).code(0);
    std::fs::copy(kms.path("new"), card.directory().join("management")).unwrap();
    kms.run(&["identity", "create", "bert", "--vault", "card"]).code(0);
}

#[test]
fn a_person_is_asked() {
    let Some(card) = enter("access::a_person_is_asked", NEW) else { return };
    let kms = home();
    let arguments = ["vault", "change-pin", "--uri", CARD_URI];
    let mut session = Session::start(&kms, &arguments);
    session.wait_for("PIN of YubiKey `12345678`: ");
    session.type_in(&format!("{PIN}\n"));
    session.wait_for("New PIN: ");
    session.type_in("882461\n");
    session.wait_for("The same again: ");
    session.type_in("882462\n");
    let (shown, code) = session.end();
    assert!(code == 64 && shown.contains("the two PINs differ"), "{shown}");
    let mut session = Session::start(&kms, &["vault", "unblock-pin", "--uri", CARD_URI]);
    session.wait_for("PUK of YubiKey `12345678`: ");
    session.type_in(&format!("{PUK}\n"));
    for prompt in ["New PIN: ", "The same again: "] {
        session.wait_for(prompt);
        session.type_in("882461\n");
    }
    let (shown, code) = session.end();
    assert!(
        code == 0 && shown.contains("the PIN of YubiKey `12345678` is unblocked; it has 3 tries"),
        "{shown}"
    );
    assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
    assert_eq!(card.memory().pointer("/pin/value/0").unwrap(), u64::from(b'8'));
}
