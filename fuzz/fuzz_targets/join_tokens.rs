//! See `switchyard_fuzz::join_tokens`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(("join_tokens", switchyard_fuzz::join_tokens), bytes));
