//! `fuzz::targets::control_socket`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::control_socket(data));
