//! Logs: text for people or JSON for programs, on standard error or in a file.

mod filter;
mod json;
mod output;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

use tracing::{Dispatch, error};
use tracing_subscriber::{
    EnvFilter,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use self::{json::JsonLayer, output::Output};

pub use self::filter::{InvalidLogFilter, LogFilter};

/// Which logs are written, how and where.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// How logs are written
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// error, warn, info, debug, trace or off, or directives for parts of the program, as in info,tonic=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", global = true)]
    pub log_level: LogFilter,
    /// The file that logs are appended to; SIGHUP opens it anew, after it was rotated [default: standard error]
    #[arg(long, value_name = "FILE", global = true)]
    pub log_file: Option<PathBuf>,
}

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where logs are written to.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Output>);

impl Log {
    /// Opens the log file anew, if logs are written to one.
    ///
    /// # Errors
    ///
    /// It cannot be opened; logs are still written to the old one.
    pub fn reopen(&self) -> io::Result<()> {
        self.0.reopen()
    }
}

/// Begins to write logs; panics are among them. `quiet` are directives for what would be noise: those of the arguments are stronger.
///
/// # Errors
///
/// The file cannot be opened, or the process has a subscriber already.
pub fn init(args: &LogArgs, quiet: &str) -> Result<Log, LogError> {
    let LogArgs { log_format, log_level, log_file } = args;
    let output = match log_file {
        None => Output::default(),
        Some(path) => Output::append(path).map_err(|error| LogError::File { path: path.clone(), error })?,
    };
    let log = Log(Arc::new(output));
    let is_terminal = log_file.is_none() && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::new(log_level.directives(quiet));
    subscriber(log.0.clone(), *log_format, filter, is_terminal).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("a value that is no text");
        error!(target: "panic", location, error = text, "a thread panicked");
    }));
    Ok(log)
}

/// The filter is for the whole subscriber. As one of the layer, it would lose the record after each question whether another one is
/// enabled, which sqlx asks for every statement (the answer stays in the state of the layer's filter).
fn subscriber(output: Arc<Output>, format: LogFormat, filter: EnvFilter, colours: bool) -> Dispatch {
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(JsonLayer::new(output)).into(),
        LogFormat::Text => {
            registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(output)).into()
        }
    }
}

/// Writes why the program exits into the log, if that is not where it is said anyway.
pub(crate) fn failure(text: &str) {
    if output::is_file() {
        error!(error = text, "the program exits with a failure");
    }
}

/// Why no logs can be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("log file {}: {error}; name a file that can be written with --log-file", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The process has a subscriber already.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing::{
        dispatcher::{get_default, with_default},
        info_span, warn,
    };

    use super::*;

    #[test]
    fn a_record_after_a_question_whether_another_is_enabled_is_not_lost() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let output = Arc::new(Output::append(file.path()).unwrap());
            with_default(&subscriber(output, format, EnvFilter::new("info,noise=off"), false), || {
                // As sqlx asks: not by a macro, which knows the answer for each place in the code.
                let span = info_span!(target: "noise", "asked");
                let metadata = span.metadata().unwrap();
                assert!(!get_default(|dispatch| dispatch.enabled(metadata)));
                warn!("kept");
            });
            assert!(fs::read_to_string(file.path()).unwrap().contains("kept"), "{format:?}");
        }
    }
}
