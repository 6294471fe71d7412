//! See `switchyard_fuzz::pem`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(("pem", switchyard_fuzz::pem), bytes));
