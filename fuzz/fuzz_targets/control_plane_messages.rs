//! See `switchyard_fuzz::control_plane_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchyard_fuzz::run(
    ("control_plane_messages", switchyard_fuzz::control_plane_messages),
    bytes
));
