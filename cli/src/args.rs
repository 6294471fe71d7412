//! Arguments that several commands take.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    fields::Sets,
    headings::{CHANGE, WAIT},
    wait::{RequiredArgs, Wait},
};

/// What every command that changes something takes.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Check everything, change nothing
    #[arg(long, help_heading = CHANGE)]
    pub(crate) dry_run: bool,
    /// Wait until the change is live on every connected edge that serves it, and there is one
    #[arg(long, help_heading = WAIT, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) required: RequiredArgs,
    /// How long to wait
    #[arg(
        long,
        help_heading = WAIT,
        requires = "wait",
        default_value = "30s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub(crate) timeout: Duration,
}

impl WriteArgs {
    /// What is waited for, of a change that was sent at this time.
    pub(crate) fn wait(&self, began: Instant) -> Wait {
        Wait { began, timeout: self.timeout, required: self.required }
    }
}

/// What guards a change against one that somebody else made meanwhile.
#[derive(Debug, Args)]
pub(crate) struct EtagArg {
    /// Only if this is still its etag (`get` shows it)
    #[arg(long, help_heading = CHANGE, default_value = "", hide_default_value = true, add = Sets(&["etag"]))]
    pub(crate) etag: String,
}

/// A duration as people write it: `500ms`, `3s`, `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms, 30s or 5m"))
}
