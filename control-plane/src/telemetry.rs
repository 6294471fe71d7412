//! Logs: text or JSON, on standard error.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

/// What would be noise: notices about tables that are there already, and every broken connection of a pool that mends itself.
const QUIET: &str = "sqlx=warn,sqlx_core=warn";

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which records are written: a level, or directives for parts of the program, as in `info,tonic=debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Whatever is more specific counts, so that people can still ask for what is quiet.
    fn directives(&self) -> String {
        match self.0.as_str() {
            // These are quieter.
            "off" | "error" => self.0.clone(),
            directives => format!("{QUIET},{directives}"),
        }
    }
}

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(text: &str) -> Result<Self, InvalidLogFilter> {
        // A single word that is no level would be taken for the name of a part of the program.
        let words = text.split(',').map(|directive| directive.rsplit('=').next().unwrap_or(directive).trim());
        for word in words {
            if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
                return Err(InvalidLogFilter { text: text.to_owned() });
            }
        }
        EnvFilter::try_new(text).map_err(|_| InvalidLogFilter { text: text.to_owned() })?;
        Ok(Self(text.to_owned()))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that is not a [`LogFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a log level; use error, warn, info, debug, trace or off, or directives as in info,tonic=debug"
)]
pub struct InvalidLogFilter {
    text: String,
}

/// Begins to write logs.
///
/// # Errors
///
/// The process has a subscriber already.
pub fn init(format: LogFormat, filter: &LogFilter) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::new(filter.directives()));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
}

/// An error with the chain of its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for good in ["info", "off", "info,tonic=debug", "warn,switchyard_control_plane::feed=trace"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good:?}");
        }
        for bad in ["", "loud", "info,", "tonic=loud", "info,tonic"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad:?}");
        }
    }
}
