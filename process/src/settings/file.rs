use std::{ffi::OsString, ops::Range, path::Path};

use clap::{Arg, ArgAction, Command};
use toml::{Spanned, de::DeTable, de::DeValue};

use super::{
    FILE, SettingsError,
    error::{argument, reason},
    settings,
};
use crate::files;

/// Bytes of a settings file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A setting in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// As flags.
    pub(super) arguments: Vec<OsString>,
    /// Of its value, from 1.
    pub(super) line: usize,
    pub(super) column: usize,
}

pub(super) fn read(
    path: &Path,
    command: &Command,
    unknown_key: fn(&str) -> Option<&'static str>,
) -> Result<Vec<Entry>, SettingsError> {
    let text = files::read_text(path, FILE_BYTES_MAX)
        .map_err(|error| SettingsError::Unreadable { path: path.to_owned(), error })?;
    parse(&text, command, unknown_key).map_err(|InvalidEntry { at, message }| {
        let (line, column) = position(&text, at);
        SettingsError::File { path: path.to_owned(), line, column, message }
    })
}

/// What clap does not accept of the entries, by its place in the file.
pub(super) fn invalid(path: Option<&Path>, command: &Command, entries: &[&Entry], error: clap::Error) -> SettingsError {
    let entry =
        argument(command, &error).and_then(|arg| entries.iter().find(|entry| entry.key == arg.get_id().as_str()));
    match (path, entry) {
        (Some(path), Some(Entry { line, column, .. })) => {
            SettingsError::File { path: path.to_owned(), line: *line, column: *column, message: reason(&error) }
        }
        _ => SettingsError::Usage(reason(&error)),
    }
}

/// What is wrong, and at which byte.
struct InvalidEntry {
    at: usize,
    message: String,
}

fn parse(
    text: &str,
    command: &Command,
    unknown_key: fn(&str) -> Option<&'static str>,
) -> Result<Vec<Entry>, InvalidEntry> {
    let at = |span: Range<usize>, message: String| InvalidEntry { at: span.start, message };
    let table = DeTable::parse(text)
        .map_err(|error| at(error.span().unwrap_or(0..0), error.message().replace('\n', ", ")))?
        .into_inner();
    let mut entries = Vec::new();
    for (key, value) in &table {
        let name: &str = key.get_ref();
        let arg = settings(command)
            .find(|arg| arg.get_id().as_str() == name && name != FILE)
            .ok_or_else(|| at(key.span(), unknown_key(name).map_or_else(|| unknown(command, name), str::to_owned)))?;
        let arguments = arguments(arg, value).map_err(|message| at(value.span(), message))?;
        let (line, column) = position(text, value.span().start);
        entries.push(Entry { key: name.to_owned(), arguments, line, column });
    }
    Ok(entries)
}

fn unknown(command: &Command, key: &str) -> String {
    let keys: Vec<&str> = settings(command).map(|arg| arg.get_id().as_str()).filter(|key| *key != FILE).collect();
    format!("unknown setting `{key}`; settings are {}", keys.join(", "))
}

/// A value as flags.
fn arguments(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, String> {
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match value.get_ref().as_bool() {
            Some(true) => Ok(vec![flag.into()]),
            Some(false) => Ok(Vec::new()),
            None => Err("true or false is required".to_owned()),
        };
    }
    let with = |text: &str| OsString::from(format!("{flag}={text}"));
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(with(text)),
        DeValue::Integer(number) if number.radix() == 10 => Ok(with(number.as_str())),
        other => Err(format!("a text or a number is required, not {}", other.type_str())),
    };
    match value.get_ref() {
        DeValue::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            values.iter().map(|value| one(value.get_ref())).collect()
        }
        value => Ok(vec![one(value)?]),
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_begin..].chars().count() + 1)
}
