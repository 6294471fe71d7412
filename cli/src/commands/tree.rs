use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{
    audit, backend, certificate, completions, context, demo, dns_provider, domain, edge, issuer, secret, service,
    switch, tasks, token, unreadable,
};
use crate::{address::Address, output::Format};

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
    /// A file with the token to show [default: SWITCHYARD_TOKEN, else that of --control-plane-data-dir, else the context's, else that
    /// of a control plane on this machine]
    #[arg(long, global = true, help_heading = GLOBAL, env = "SWITCHYARD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The data directory of the control plane, if that runs on this machine: its first token is there
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "SWITCHYARD_CONTROL_PLANE_DATA_DIR",
        value_name = "DIR"
    )]
    pub(crate) control_plane_data_dir: Option<PathBuf>,
    /// How results are printed: as a table for people, or as the API's messages
    #[arg(long, short, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
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
    Status(tasks::StatusArgs),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
