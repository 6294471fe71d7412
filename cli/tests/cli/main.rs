//! The program as it is run, against a control plane that runs in this process and answers what a test tells it to.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod assigning;
mod commands;
mod demo;
mod editing;
mod errors;
mod fake;
mod forcing;
mod output;
mod shell;
mod switching;
mod waiting;
