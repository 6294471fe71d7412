//! See `switchyard_fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(("names", switchyard_fuzz::names), bytes));
