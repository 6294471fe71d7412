//! Logs: text for people or JSON for programs, on standard error or in a file.

mod filter;
mod json;
mod output;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

use tracing::error;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
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
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log_format {
        LogFormat::Json => JsonLayer::new(log.0.clone()).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(log_file.is_none() && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_writer(log.0.clone())
            .boxed(),
    };
    let filter = EnvFilter::new(log_level.directives(quiet));
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("a value that is no text");
        error!(target: "panic", location, error = text, "a thread panicked");
    }));
    Ok(log)
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
