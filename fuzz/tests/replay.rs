//! Every target on its seeds and on what once broke it.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// What once broke a target: `regressions/TARGET/NAME`.
fn regressions(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_target_holds_on_its_seeds_and_regressions() {
    for (name, target) in fuzz::TARGETS {
        let seeds = fuzz::seeds::of(name);
        assert!(!seeds.is_empty(), "{name} starts from nothing");
        for input in [seeds, regressions(name)].concat() {
            target(&input);
            // And on each beginning of it, and with something after it.
            (0..input.len().min(300)).for_each(|length| target(&input[..length]));
            target(&[&input[..], b"\0"].concat());
        }
        target(b"");
    }
}

/// A seed that its decoder refuses leads the fuzzer nowhere.
#[test]
fn seeds_are_taken() {
    let numbered = |target: &str, decode: &dyn Fn(usize, &[u8]) -> bool| {
        for seed in fuzz::seeds::of(target) {
            assert!(
                decode(usize::from(seed[0]), &seed[1..]),
                "{target} {}: {}",
                seed[0],
                String::from_utf8_lossy(&seed[1..])
            );
        }
    };
    numbered("home_records", &|n, bytes| home::fuzzing::record(n, bytes).is_some());
    numbered("store_records", &|n, bytes| authority::fuzzing::record(n, bytes).is_some());
    numbered("http_bodies", &|n, bytes| match n.checked_sub(authority::fuzzing::REQUESTS) {
        None => authority::fuzzing::request(n, bytes).is_some(),
        Some(answer) => authority::fuzzing::answer(answer, bytes).is_some(),
    });
    let name = vault::KeyName::new("issuer").unwrap();
    numbered("vault_files", &|n, bytes| match n % 2 {
        0 => vault::fuzzing::header(bytes).is_some(),
        _ => vault::fuzzing::key_record(&name, bytes).is_some(),
    });
    numbered("http_headers", &|n, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        let (first, second) = text.split_once('\n').unwrap_or((text, ""));
        match n {
            0 => authority::fuzzing::signature(first, second).is_some(),
            1 => authority::fuzzing::is_digest_of(first, second.as_bytes()),
            2 => authority::fuzzing::identity_header(text).is_some(),
            3 => authority::fuzzing::page(text).is_some(),
            _ => authority::fuzzing::url(text).is_some(),
        }
    });
    let counts = [home::fuzzing::RECORDS.len(), authority::fuzzing::RECORDS];
    assert_eq!(counts, ["home_records", "store_records"].map(|target| fuzz::seeds::of(target).len()));
    let bodies = authority::fuzzing::REQUESTS + authority::fuzzing::ANSWERS;
    assert_eq!(fuzz::seeds::of("http_bodies").len(), bodies);
    let asks = fuzz::seeds::of("control_socket").into_iter().map(|seed| String::from_utf8(seed).unwrap());
    for ask in asks.filter(|ask| !ask.contains("destroy")) {
        home::control::Ask::parse(&ask).unwrap();
    }
    for seed in fuzz::seeds::of("ticket_text") {
        authority::ticket::TicketText::parse(std::str::from_utf8(&seed).unwrap()).unwrap();
    }
}

/// The control fails on what it is wrong about, and on nothing else that is at hand.
#[test]
fn the_control_is_wrong() {
    fuzz::targets::control(b"");
    fuzz::targets::control(b"OKMS\x02ab");
    assert!(catch_unwind(|| fuzz::targets::control(b"OKMS\x03ab")).is_err());
}

/// Each target is a program of its own, and each program a target.
#[test]
fn programs_and_targets_are_the_same() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut programs: Vec<_> = fs::read_dir(manifest.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort();
    let mut targets: Vec<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.push("control".to_owned());
    targets.sort();
    assert_eq!(programs, targets);
}
