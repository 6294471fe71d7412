//! See `switchyard_fuzz::edge_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(
    ("edge_messages", switchyard_fuzz::edge_messages),
    bytes
));
