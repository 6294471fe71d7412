//! The program `switchyard-edge-proxy`.

use std::process::ExitCode;

use switchyard_edge_proxy::{
    config::{Args, Settings},
    server,
};
use switchyard_process::{Failure, Given, exit, files, log};

/// Half of what a request costs here is memory for its headers and Pingora's futures; glibc takes longer over it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Libraries whose records would be noise: Pingora's about each client that disconnects or speaks no TLS, and those of DNS.
const QUIET: &str = "pingora_core=off,pingora_proxy=off,hickory_proto=error,hickory_resolver=error";

fn main() -> ExitCode {
    // Before Pingora, which takes another provider when there is none.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has run yet that could have installed another provider");
    exit::run(run)
}

fn run(given: Given<Args>) -> Result<(), Failure> {
    let log = log::init(&given.args.log, QUIET)?;
    let settings = Settings::load(given, files::environment).map_err(|error| Failure::settings(&error))?;
    Ok(server::run(settings, &log)?)
}
