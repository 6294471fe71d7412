//! The program `switchyard-control-plane`.

use std::process::ExitCode;

use switchyard_control_plane::{
    config::{Args, Command, Settings},
    server,
};
use switchyard_process::{Failure, Given, exit, files, log};

/// Libraries whose records would be noise: notices about tables that exist, and each broken connection of a pool that recovers.
const QUIET: &str = "sqlx=warn,sqlx_core=warn";

/// A start makes and drops some thirty values for each resource that stays; glibc takes longer over it, and keeps more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has run yet that could have installed another provider");
    exit::run(run)
}

#[tokio::main]
async fn run(given: Given<Args>) -> Result<(), Failure> {
    let log = log::init(&given.args.log, QUIET)?;
    let settings = Settings::load(given, files::environment).map_err(|error| Failure::settings(&error))?;
    match settings.command {
        None => Ok(server::run(settings, &log).await?),
        Some(Command::Rekey) => Ok(server::rekey(settings).await?),
    }
}
