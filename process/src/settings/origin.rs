use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::{ArgMatches, Command, parser::ValueSource};

use super::settings;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(String),
    /// A variable.
    Variable(String),
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Nobody set it; the flag that would.
    Default(String),
}

/// As errors name it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => f.write_str(variable),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Default(flag) => write!(f, "the default of {flag}"),
        }
    }
}

/// Where each setting came from.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn new(command: &Command, matches: &ArgMatches, in_file: impl Fn(&str) -> Option<Origin>) -> Self {
        let origins = settings(command).map(|arg| {
            let key = arg.get_id().as_str();
            let flag = format!("--{}", arg.get_long().unwrap_or_default());
            let variable = || arg.get_env().map(|name| Origin::Variable(name.to_string_lossy().into_owned()));
            let origin = in_file(key).or_else(|| match matches.value_source(key) {
                Some(ValueSource::CommandLine) => Some(Origin::Flag(flag.clone())),
                Some(ValueSource::EnvVariable) => variable(),
                _ => None,
            });
            (key.to_owned(), origin.unwrap_or(Origin::Default(flag)))
        });
        Self(origins.collect())
    }

    /// Where the value of a setting came from; `key` is its name in the file.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or_else(|| Origin::Default(format!("--{}", key.replace('_', "-"))))
    }
}
