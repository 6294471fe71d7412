//! `switchyard`, the command line of Switchyard: every operation of the control plane's API, and a demo of the whole.
//!
//! Exit codes: 0 done (and, with `--wait`, live on every connected edge), 1 failed, 2 wrong usage, 3 committed but
//! not live everywhere.

mod args;
mod assignments;
mod client;
mod commands;
mod contexts;
mod failure;
mod files;
mod force;
mod listing;
mod login;
mod names;
mod output;
mod progress;
mod wait;
mod warnings;

use std::{env, process::ExitCode};

use clap::Parser;

use crate::{args::Cli, commands::demo::Bound, failure::Failure, wait::Outcome};

fn main() -> ExitCode {
    let result = match Bound::parse(env::args_os().skip(1)) {
        Some(bound) => Err(bound.become_it()),
        None => run(Cli::parse()),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotLive) => ExitCode::from(3),
        Err(failure) => {
            output::failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(commands::run(cli))
}
