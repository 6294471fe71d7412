//! What every program needs alike: settings from flags, variables and a file, credentials, logs, signals, owned tasks, and how it exits.
//!
//! What always holds: each value is known with where it came from ([`Origin`]), so that errors name it; every task has an owner, and one
//! that ends unexpectedly ends the program with a failure; no signal but SIGTERM and SIGINT ends it. Nothing here knows what the
//! programs do.

mod error;
pub mod exit;
pub mod files;
pub mod handshake;
pub mod key_file;
pub mod log;
pub mod resolver;
pub mod settings;
mod signals;
mod tasks;

pub use error::chain;
pub use exit::Failure;
pub use settings::{Arguments, Given, Origin, Origins, SettingsError};
pub use signals::Signals;
pub use tasks::{EndsProgram, RunError, TaskEnded, Tasks};
