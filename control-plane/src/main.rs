//! The program `switchyard-control-plane`.

use std::process::ExitCode;

use clap::Parser;
use switchyard_control_plane::{
    config::{Args, Command, Settings, process_environment},
    server, telemetry,
};

/// A start makes and drops some thirty values for each resource that stays; glibc takes longer over it, and keeps more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has run yet that could have installed another provider");
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => return fail(&usage(&error)),
        // --help or --version; if nobody reads it, it does not matter.
        Err(error) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&telemetry::chain(error.as_ref())),
    }
}

#[tokio::main]
async fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::load(args, process_environment)?;
    telemetry::init(settings.log_format, &settings.log_filter)?;
    match settings.command {
        None => Ok(server::run(settings).await?),
        Some(Command::Rekey) => Ok(server::rekey(settings).await?),
    }
}

/// The first line of a usage error says it; the rest is what --help says.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    format!("{}; see --help", line.strip_prefix("error: ").unwrap_or(line))
}

#[expect(clippy::print_stderr, reason = "there may be no log yet, and whoever started the program reads this")]
fn fail(what: &str) -> ExitCode {
    eprintln!("switchyard-control-plane: {what}");
    ExitCode::FAILURE
}
