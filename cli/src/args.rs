use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    client::Address,
    commands::{
        audit, backend, certificate, completions, context, demo, dns_provider, domain, edge, issuer, secret, service,
        switch, token, unreadable,
    },
    wait::Wait,
};

/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";

/// Automatic HTTPS for a fleet of edge proxies, with one-command blue/green switching.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done (with --wait: live on every connected edge that serves it), 1 failed, 2 wrong \
                        usage, 3 committed, but not live."
)]
pub(crate) struct Cli {
    /// Where the control plane's API is [default: that of the context, else http://127.0.0.1:7080]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "SWITCHYARD_CONTROL_PLANE",
        value_name = "URL",
        value_parser = Address::parse
    )]
    pub(crate) control_plane: Option<Address>,
    /// Which of the control planes that were logged in to [default: the one that was last]
    #[arg(long, global = true, help_heading = GLOBAL, env = "SWITCHYARD_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// A file with the token to show [default: SWITCHYARD_TOKEN, else the context's, else that of this machine]
    #[arg(long, global = true, help_heading = GLOBAL, env = "SWITCHYARD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How results are printed: as a table for people, or as the API's messages
    #[arg(long, short, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed on the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Host names, and where their traffic goes
    #[command(subcommand)]
    Domain(domain::Command),
    /// Groups of backends, and how they are reached
    #[command(subcommand)]
    Service(service::Command),
    /// Addresses that requests are sent to
    #[command(subcommand)]
    Backend(backend::Command),
    /// Certificates that the edges serve
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// The CAs that certificates are ordered from, and the fleet's accounts there
    #[command(subcommand)]
    Issuer(issuer::Command),
    /// Who sets the DNS records by which names prove themselves
    #[command(subcommand)]
    DnsProvider(dns_provider::Command),
    /// The proxy nodes, and how far each one is
    #[command(subcommand)]
    Edge(edge::Command),
    /// Moves a domain to another tag
    Switch(switch::SwitchArgs),
    /// Shows the fleet: its revision, its edges and its domains
    Status,
    /// Shows who changed what, and when
    Audit(audit::AuditArgs),
    /// What secrets were before they were replaced
    #[command(subcommand)]
    Secret(secret::Command),
    /// What lets people and programs in, and to do what
    #[command(subcommand)]
    Token(token::Command),
    /// Rows of the database that the control plane cannot read
    #[command(subcommand)]
    Unreadable(unreadable::Command),
    /// Remembers a control plane and a token for it
    Login(context::LoginArgs),
    /// The control planes that were logged in to
    #[command(subcommand)]
    Context(context::Command),
    /// Prints a script that teaches a shell this command's completions
    Completions(completions::CompletionsArgs),
    /// Runs a control plane, an edge and two backends on this machine
    Demo(demo::DemoArgs),
}

/// What every command that changes something takes.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Check everything, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until the change is live on every connected edge that serves it, and there is one
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) required: RequiredArgs,
    /// How long to wait
    #[arg(long, requires = "wait", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl WriteArgs {
    /// What is waited for, of a change that was sent at this time.
    pub(crate) fn wait(&self, began: Instant) -> Wait {
        Wait { began, timeout: self.timeout, required: self.required }
    }
}

/// Which edges a change is waited for on.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(skip)]
pub(crate) struct RequiredArgs {
    /// With --wait: count the edges that are offline as well
    #[arg(long, requires = "wait")]
    pub(crate) require_all: bool,
    /// With --wait: exit with 0 even if no edge that serves the change is connected
    #[arg(long, requires = "wait", conflicts_with = "require_all")]
    pub(crate) allow_offline: bool,
}

/// What guards a change against one that somebody else made meanwhile.
#[derive(Debug, Args)]
pub(crate) struct EtagArg {
    /// Only if this is still its etag (`get` shows it)
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
}

/// A duration as people write it: `500ms`, `3s`, `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms, 30s or 5m"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
