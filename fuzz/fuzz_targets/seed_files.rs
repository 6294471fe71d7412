//! See `switchyard_fuzz::seed_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(("seed_files", switchyard_fuzz::seed_files), bytes));
