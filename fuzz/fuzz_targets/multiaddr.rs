//! `fuzz::targets::multiaddr`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::targets::multiaddr(data));
