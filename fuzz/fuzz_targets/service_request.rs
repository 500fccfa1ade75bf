//! `fuzz::targets::service_request`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::targets::service_request(data));
