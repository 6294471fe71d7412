use std::{error::Error as _, ffi::OsString, io, path::PathBuf};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::settings;

/// Why a program cannot be started with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Help or the version was asked for: no failure.
    #[error("help was asked for")]
    Help(clap::Error),
    /// A flag or a variable is wrong.
    #[error("{0}; see --help")]
    Usage(String),
    /// The settings file cannot be read.
    #[error("settings file {}: {error}; name a readable file with --config, or omit it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something in the settings file is wrong.
    #[error("settings file {}, line {line}, column {column}: {message}; fix the file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

/// What clap does not accept of flags and variables, by the one that it came from.
pub(super) fn usage(command: &Command, error: clap::Error, arguments: &[OsString]) -> SettingsError {
    if !error.use_stderr() {
        return SettingsError::Help(error);
    }
    let Some(arg) = argument(command, &error) else { return SettingsError::Usage(reason(&error)) };
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let is_flag = arguments.iter().any(|argument| {
        let argument = argument.to_string_lossy();
        argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    match arg.get_env().filter(|_| !is_flag) {
        Some(variable) => SettingsError::Usage(format!("{}: {}", variable.to_string_lossy(), reason(&error))),
        None => SettingsError::Usage(format!("{flag}: {}", reason(&error))),
    }
}

/// The setting that an error is about, if it is about the value of one.
pub(super) fn argument<'a>(command: &'a Command, error: &clap::Error) -> Option<&'a Arg> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::TooManyValues) {
        return None;
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    // `--log-level <LEVEL>`
    let flag = shown.split([' ', '=', '[']).next().and_then(|word| word.strip_prefix("--"))?;
    settings(command).find(|arg| arg.get_long() == Some(flag))
}

/// What is wrong, in one line, without the argument's name where that is known.
pub(super) fn reason(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    match error.kind() {
        ErrorKind::ValueValidation => error.source().map_or_else(|| first_line(error), ToString::to_string),
        ErrorKind::InvalidValue => match (context(ContextKind::InvalidValue), context(ContextKind::ValidValue)) {
            (Some(value), Some(valid)) => format!("{value:?} is not one of {valid}"),
            _ => first_line(error),
        },
        _ => match context(ContextKind::SuggestedArg) {
            Some(suggested) => format!("{}; did you mean {suggested}?", first_line(error)),
            None => first_line(error),
        },
    }
}

/// The first line of a usage error says it; the rest is what --help says.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
