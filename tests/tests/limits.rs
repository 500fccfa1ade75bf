//! Depth and size bombs for what reads texts and files: at the limit it works, beyond it is refused in words, with less than a
//! mebibyte and on a small stack. Change histories, credentials and request bodies have such tests beside them.
//!
//! How long each took is written down, and with OCKAM_KMS_LIMITS_TIMED=1 is limited, too: on a machine that does nothing else,
//! since in an ordinary run other tests take what time they like.
//!
//! One test: the allocator counts what the whole process holds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::fmt::Debug;
use std::time::{Duration, Instant};

use authority::audit;
use authority::ticket::{MAX_TICKET_TEXT, TicketText};
use home::control::Ask;
use home::{Home, Name};
use peak_alloc::PeakAlloc;
use policy_lang::{MAX_TEXT, Meaning, Policy};
use vault::soft::SoftVault;
use vault::{KeyUri, MAX_URI, Nobody};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MEBIBYTE: usize = 1024 * 1024;

/// Has the time limited that a bomb takes.
const TIMED: &str = "OCKAM_KMS_LIMITS_TIMED";
/// A mebibyte of a bomb, begun or whole, is refused long before this. Ours is not optimised in the profile of the tests.
const LONGEST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 10 });

/// What a decoder says of a text, what it held meanwhile at the most, and how long it took.
fn tried<T, E: Debug + Send>(
    text: &str,
    decode: impl FnOnce(&str) -> Result<T, E> + Send,
) -> (Option<E>, usize, Duration) {
    // The smallest stack that a thread of ours has.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn_scoped(scope, || {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let start = Instant::now();
            let refused = decode(text).err();
            (refused, MEMORY.peak_usage().saturating_sub(before), start.elapsed())
        });
        thread.unwrap().join().unwrap()
    })
}

#[track_caller]
fn refused<T, E: Debug + Send>(text: &str, decode: impl FnOnce(&str) -> Result<T, E> + Send) {
    let (refused, held, took) = tried(text, decode);
    let begin: String = text.chars().take(20).collect();
    let refused = refused.unwrap_or_else(|| panic!("{begin}… of {} bytes is taken", text.len()));
    // Beside the bytes themselves, which may be held as they came and as they are read.
    assert!(
        held < MEBIBYTE + 2 * text.len(),
        "{held} bytes for {begin}… of {} bytes: {refused:?}",
        text.len()
    );
    let at = std::panic::Location::caller().line();
    println!("line {at}: {took:?} for {begin}… of {} bytes", text.len());
    let limited = std::env::var_os(TIMED).is_some();
    let longest = LONGEST * u32::try_from(text.len() / MEBIBYTE + 1).unwrap();
    assert!(!limited || took < longest, "{took:?} for {begin}… of {} bytes: {refused:?}", text.len());
}

#[track_caller]
fn taken<T, E: Debug + Send>(text: &str, decode: impl FnOnce(&str) -> Result<T, E> + Send) {
    let (refused, ..) = tried(text, decode);
    assert!(refused.is_none(), "{refused:?} at {} bytes", text.len());
}

/// Texts that nest, repeat or promise more than anybody needs.
fn bombs() -> Vec<String> {
    const DEEP: usize = 100_000;
    let mut bombs = vec![format!("{{\"a\":{}}}", "[".repeat(DEEP)), format!("{{{}", "\"a\":{".repeat(DEEP))];
    bombs.extend(["[", "(", "{", "not ", "(not ", "((", "a,", "%", "a=", "\\"].map(|part| part.repeat(DEEP)));
    bombs.push(format!("[{}]", "{\"a\":1},".repeat(DEEP)));
    bombs.push(format!("{{{}", (0..DEEP).map(|n| format!("\"{n}\":{n},")).collect::<String>()));
    bombs.push(format!("{{\"a\":{}}}", "9".repeat(DEEP)));
    bombs.push(format!("{{\"a\":\"{}\"}}", "\\u0000".repeat(DEEP)));
    bombs
}

#[test]
fn bombs_are_refused_and_what_is_large_is_taken() {
    let policy = |meaning| move |text: &str| Policy::parse_as(text, meaning);
    let directory = tempfile::tempdir().unwrap();
    let home = Home::open(directory.path().join("home")).unwrap();
    for place in ["identities", "projects", "known", "vault/keys"] {
        std::fs::create_dir_all(directory.path().join("home").join(place)).unwrap();
    }
    let at = |place: &str| directory.path().join("home").join(place);
    let name = Name::new("bomb").unwrap();
    for bomb in bombs() {
        refused(&bomb, |text| text.parse::<KeyUri>());
        refused(&format!("soft:name={bomb}"), |text| text.parse::<KeyUri>());
        refused(&bomb, TicketText::parse);
        refused(&hex::encode(&bomb), TicketText::parse);
        refused(&bomb, policy(Meaning::Strict));
        refused(&bomb, policy(Meaning::Exact));
        refused(&bomb, Ask::parse);
        let cut = &bomb[..bomb.len().min(64 * 1024)];
        refused(cut, Ask::parse);
        refused(cut, policy(Meaning::Strict));
        refused(cut, policy(Meaning::Exact));
        refused(&bomb, |text| audit::verify([text], None));
        // What lies in the home and in a vault, where somebody else may have written it.
        std::fs::write(at("identities/bomb.json"), format!("{{\"format\":1,\"record\":{bomb}}}")).unwrap();
        refused(&bomb, |_| home.identity(&name));
        std::fs::write(at("vault/vault.json"), &bomb).unwrap();
        refused(&bomb, |_| SoftVault::open(&at("vault"), &Nobody));
    }

    // The text of a policy: at the limit, and one beyond.
    let wide = |length: usize| format!("(= 1 1){}", " ".repeat(length - 7));
    taken(&wide(MAX_TEXT), policy(Meaning::Strict));
    refused(&wide(MAX_TEXT + 1), policy(Meaning::Strict));

    // A URI, also when it becomes that long only as it is printed.
    let uri = |length: usize| format!("soft:name={}", "n".repeat(length - 10));
    taken(&uri(MAX_URI), |text| text.parse::<KeyUri>());
    refused(&uri(MAX_URI + 1), |text| text.parse::<KeyUri>());
    let spaces = |count: usize| format!("soft:name={}", " ".repeat(count));
    taken(&spaces((MAX_URI - 10) / 3), |text| text.parse::<KeyUri>());
    refused(&spaces((MAX_URI - 10) / 3 + 1), |text| text.parse::<KeyUri>());

    // A ticket that is as long as it may be, as hex.
    let ticket = |length: usize| {
        let rest = format!("/service/p,p,,{},,81,http://x", "0".repeat(64));
        let name = "n".repeat(length - rest.len());
        hex::encode(rest.replacen(",,", &format!(",{name},"), 1))
    };
    taken(&ticket(MAX_TICKET_TEXT / 2 - 1), TicketText::parse);
    refused(&"0".repeat(MAX_TICKET_TEXT + 2), TicketText::parse);
    let (error, ..) = tried(&ticket(MAX_TICKET_TEXT / 2), TicketText::parse);
    assert!(error.is_some());
}
