//! See `switchyard_fuzz::api_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(
    ("api_requests", switchyard_fuzz::api_requests),
    bytes
));
