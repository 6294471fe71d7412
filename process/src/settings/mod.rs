//! Settings of a program: flags, then variables, then a TOML file, then defaults, in this order of strength.
//!
//! A setting is defined once, as an argument of the program. Its variable and its key in the file follow from the flag's name:
//! `--log-level` is `SWITCHYARD_EDGE_LOG_LEVEL` and `log_level`. Each value is known with its [`Origin`], so that what is wrong is
//! named by the flag, the variable, or the file and line that it came from.

mod error;
mod file;
mod origin;

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command, Parser};

use self::{error::usage, file::Entry};

pub use self::{
    error::SettingsError,
    origin::{Origin, Origins},
};

/// The argument that names the file.
const FILE: &str = "config";

/// The arguments of a program. One of them is `config`: the file with settings.
pub trait Arguments: Parser {
    /// What the names of its variables begin with: `SWITCHYARD_EDGE`.
    const VARIABLES: &'static str;

    /// What to do about a key of the file that is not a setting, if more is known than that.
    fn unknown_key(_key: &str) -> Option<&'static str> {
        None
    }
}

/// What a program was started with.
#[derive(Debug)]
pub struct Given<A> {
    /// The values.
    pub args: A,
    /// Where they came from.
    pub origins: Origins,
}

/// Reads the settings of a program: `arguments` are its name and its flags.
///
/// # Errors
///
/// Something in them, in the variables or in the file is wrong.
pub fn read<A: Arguments>(arguments: impl IntoIterator<Item = OsString>) -> Result<Given<A>, SettingsError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = command::<A>();
    let matches =
        command.clone().try_get_matches_from(&arguments).map_err(|error| usage(&command, error, &arguments))?;
    let file = matches.get_one::<PathBuf>(FILE).cloned();
    let entries = match &file {
        None => Vec::new(),
        Some(path) => file::read(path, &command, A::unknown_key)?,
    };
    // What flags and variables say is stronger.
    let weaker: Vec<&Entry> = entries.iter().filter(|entry| !is_given(&matches, &entry.key)).collect();
    let from_file = weaker.iter().flat_map(|entry| &entry.arguments).cloned();
    let (name, flags) = arguments.split_first().map_or((None, &[][..]), |(name, flags)| (Some(name.clone()), flags));
    let all = name.into_iter().chain(from_file).chain(flags.iter().cloned());
    let in_file = |error| file::invalid(file.as_deref(), &command, &weaker, error);
    let matches = command.clone().try_get_matches_from(all).map_err(in_file)?;
    let args = A::from_arg_matches(&matches).map_err(|error| usage(&command, error, &arguments))?;
    let origins = Origins::new(&command, &matches, |key| {
        let entry = weaker.iter().find(|entry| entry.key == key)?;
        Some(Origin::File { path: file.clone()?, line: entry.line })
    });
    Ok(Given { args, origins })
}

fn is_given(matches: &ArgMatches, key: &str) -> bool {
    use clap::parser::ValueSource::{CommandLine, EnvVariable};
    matches!(matches.value_source(key), Some(CommandLine | EnvVariable))
}

/// The program's command, with a variable for each flag.
fn command<A: Arguments>() -> Command {
    A::command().mut_args(|arg| match variable(A::VARIABLES, &arg) {
        // The names live as long as the command, which is as long as the program.
        Some(variable) => arg.env(&*variable.leak()),
        None => arg,
    })
}

fn variable(prefix: &str, arg: &Arg) -> Option<String> {
    let flag = arg.get_long()?;
    Some(format!("{prefix}_{}", flag.to_ascii_uppercase().replace('-', "_")))
}

/// The arguments that are settings.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some())
}

#[cfg(test)]
mod tests;
