//! `switchyard`, the command line of Switchyard: every operation of the control plane's API, and a demo of the whole.
//!
//! Exit codes: 0 done (and, with `--wait`, live on every connected edge), 1 failed, 2 wrong usage, 3 committed but
//! not live everywhere.

mod address;
mod args;
mod assignments;
mod client;
mod commands;
mod completion;
mod contexts;
mod diagnosis;
mod editor;
mod failure;
mod fields;
mod files;
mod force;
mod headings;
mod listing;
mod login;
mod names;
mod output;
mod report;
mod selection;
mod table;
mod text;
mod wait;
mod warnings;

use std::{env, process::ExitCode};

use clap::{ArgMatches, FromArgMatches};
use switchyard_process::{Origins, settings};

use crate::{
    commands::{Cli, demo::Bound},
    failure::Failure,
    fields::Fields,
    output::Format,
    report::Report,
    wait::Outcome,
};

fn main() -> ExitCode {
    match completion::answer(commands::command) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => error.exit(),
    }
    let mut writing = Writing::default();
    let result = match Bound::parse(env::args_os().skip(1)) {
        Some(bound) => Err(bound.become_it()),
        None => parse(&mut writing).and_then(|(cli, origins)| run(cli, &origins)),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotLive) => ExitCode::from(3),
        Err(failure) => {
            output::failure(&Report::new(&failure, &writing.fields), writing.format);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// How failures are written.
#[derive(Debug)]
struct Writing {
    format: Format,
    fields: Fields,
}

impl Default for Writing {
    fn default() -> Self {
        Self { format: Format::Table, fields: Fields::default() }
    }
}

impl Writing {
    /// As the arguments say.
    fn of(command: &clap::Command, matches: &ArgMatches) -> Self {
        let format = matches.try_get_one("output").ok().flatten().copied().unwrap_or(Format::Table);
        Self { format, fields: Fields::of(command, matches) }
    }
}

/// Reads the arguments. Ends the program where help is shown, or where it is clap that tells people what is wrong.
fn parse(writing: &mut Writing) -> Result<(Cli, Origins), Failure> {
    let arguments: Vec<_> = env::args_os().collect();
    let command = commands::command();
    let parsed = command.clone().try_get_matches_from(&arguments).and_then(|matches| {
        *writing = Writing::of(&command, &matches);
        let origins = Origins::of_command(&command, &matches);
        Ok((Cli::from_arg_matches(&matches)?, origins))
    });
    parsed.map_err(|error| {
        if let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(&arguments) {
            *writing = Writing::of(&command, &matches);
        }
        // A value that is on no command line must be named by its variable.
        let text = settings::in_variable(&command, &error, &arguments);
        match text.or_else(|| commands::noun_first(&command, &error, &arguments)) {
            Some(text) => Failure::Usage(text),
            None if error.use_stderr() && writing.format != Format::Table => Failure::Usage(first_paragraph(&error)),
            None => error.exit(),
        }
    })
}

/// What clap says is wrong, without the usage that follows.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    first.trim_start_matches("error: ").trim().to_owned()
}

fn run(cli: Cli, origins: &Origins) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(commands::run(cli, origins))
}
