//! `fuzz::targets::change_history`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::targets::change_history(data));
