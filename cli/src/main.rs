//! `switchyard`, the command line of Switchyard: every operation of the control plane's API, and a demo of the whole.
//!
//! Exit codes: 0 done (and, with `--wait`, live on every connected edge), 1 failed, 2 wrong usage, 3 committed but
//! not live everywhere.

mod address;
mod args;
mod assignments;
mod client;
mod commands;
mod contexts;
mod diagnosis;
mod failure;
mod files;
mod force;
mod listing;
mod login;
mod names;
mod output;
mod selection;
mod table;
mod text;
mod wait;
mod warnings;

use std::{env, process::ExitCode};

use clap::FromArgMatches;
use switchyard_process::{Origins, settings};

use crate::{
    commands::{Cli, demo::Bound},
    failure::Failure,
    wait::Outcome,
};

fn main() -> ExitCode {
    let result = match Bound::parse(env::args_os().skip(1)) {
        Some(bound) => Err(bound.become_it()),
        None => parse().and_then(|(cli, origins)| run(cli, &origins)),
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

/// Reads the arguments. Ends the program where it is clap that says what is wrong, or shows help.
fn parse() -> Result<(Cli, Origins), Failure> {
    let arguments: Vec<_> = env::args_os().collect();
    let command = commands::command();
    let parsed = command.clone().try_get_matches_from(&arguments).and_then(|matches| {
        let origins = Origins::of_command(&command, &matches);
        Ok((Cli::from_arg_matches(&matches)?, origins))
    });
    // A value that is on no command line must be named by its variable.
    parsed.map_err(|error| {
        let text = settings::in_variable(&command, &error, &arguments);
        match text.or_else(|| commands::noun_first(&command, &error, &arguments)) {
            Some(text) => Failure::Usage(text),
            None => error.exit(),
        }
    })
}

fn run(cli: Cli, origins: &Origins) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(commands::run(cli, origins))
}
