//! The harness of the end-to-end tests: it runs the real programs as separate processes, with real databases, backends
//! and clients around them.
//!
//! What always holds: whatever a test starts ends with it; every wait has a deadline and names what it waited for; no
//! test sleeps for luck. What the tests claim is in `tests/`, one file for each capability.

pub mod any_method;
pub mod api;
pub mod ari_ca;
pub mod authority;
pub mod bind;
pub mod cable;
pub mod cli;
pub mod client;
pub mod database;
pub mod dns;
pub mod eventually;
pub mod faulty_ca;
pub mod fleet;
pub mod fleet_client;
pub mod key_file;
pub mod load;
pub mod newer;
pub mod origin;
pub mod pebble;
pub mod port;
pub mod process;
pub mod relay;
pub mod shop;
pub mod socket;
pub mod wire;

/// Chooses the cryptography of this process; the first thing that every test does which speaks TLS.
pub fn install_crypto_provider() {
    // The second test of the same process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
