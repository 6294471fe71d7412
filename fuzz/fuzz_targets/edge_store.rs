//! See `switchyard_fuzz::edge_store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(("edge_store", switchyard_fuzz::edge_store), bytes));
