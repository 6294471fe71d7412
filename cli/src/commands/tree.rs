use std::{ffi::OsString, path::PathBuf};

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use super::{
    audit, backend, certificate, completions, context, demo, dns_provider, domain, edge, issuer, man, secret, service,
    switch, tasks, token, unreadable,
};
use crate::{address::Address, completion, output::Format};

/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";

/// Automatic HTTPS for a fleet of edge proxies, with one-command blue/green switching.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version)]
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
    /// Manage domains: host names, and where their traffic goes
    #[command(subcommand)]
    Domain(domain::Command),
    /// Manage services: groups of backends, and how they are reached
    #[command(subcommand)]
    Service(service::Command),
    /// Manage backends: the addresses that requests are sent to
    #[command(subcommand)]
    Backend(backend::Command),
    /// Manage certificates that the edges serve
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Manage the CAs that certificates are ordered from
    #[command(subcommand)]
    Issuer(issuer::Command),
    /// Manage DNS providers for ACME DNS-01
    #[command(subcommand)]
    DnsProvider(dns_provider::Command),
    /// Manage edges and show their sync state
    #[command(subcommand)]
    Edge(edge::Command),
    /// Switch a domain to another tag
    #[command(
        after_help = "Examples:\n  switchyard switch shop.example --to b --wait\n  switchyard switch shop.example --back --wait"
    )]
    Switch(switch::SwitchArgs),
    /// Show problems of the fleet, its edges, and the domains that changed last
    #[command(after_help = "Examples:\n  switchyard status\n  switchyard status --tasks")]
    Status(tasks::StatusArgs),
    /// Show the audit log: who changed what, and when
    #[command(after_help = "Example:\n  switchyard audit domains/shop.example --since 2days")]
    Audit(audit::AuditArgs),
    /// Purge previous values of secrets from the history
    #[command(subcommand)]
    Secret(secret::Command),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Manage database rows that the control plane cannot read
    #[command(subcommand)]
    Unreadable(unreadable::Command),
    /// Log in to a control plane: save its address and a token
    #[command(after_help = "Example:\n  switchyard login https://control-plane.example:7080")]
    Login(context::LoginArgs),
    /// Manage the contexts of the control planes that were logged in to
    #[command(subcommand)]
    Context(context::Command),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  switchyard completions bash >~/.local/share/bash-completion/completions/switchyard"
    )]
    Completions(completions::CompletionsArgs),
    /// Write the man pages of all commands
    #[command(after_help = "Examples:\n  switchyard man ~/.local/share/man/man1\n  switchyard man")]
    Man(man::ManArgs),
    /// Print the version of this program
    #[command(after_help = "Example:\n  switchyard version --output json")]
    Version,
    /// Run a control plane, an edge and two backends on this machine
    #[command(after_help = "Example:\n  switchyard demo --http 8000 --https 8001")]
    Demo(demo::DemoArgs),
}

/// What other programs call a verb: understood, and not advertised.
const ALIASES: &[(&str, &[&str])] = &[
    ("list", &["ls"]),
    ("get", &["show", "describe"]),
    ("show", &["get", "describe"]),
    ("create", &["add", "new"]),
    ("delete", &["rm", "remove"]),
    ("remove", &["rm", "delete"]),
    ("revoke", &["rm", "delete", "remove"]),
];

/// The whole command.
pub(crate) fn command() -> clap::Command {
    completion::with_names(Cli::command().mut_subcommands(with_aliases), command)
}

fn with_aliases(mut noun: clap::Command) -> clap::Command {
    for (verb, aliases) in ALIASES {
        if noun.find_subcommand(verb).is_some_and(|it| it.get_name() == *verb) {
            let free: Vec<_> = aliases.iter().filter(|alias| noun.find_subcommand(alias).is_none()).collect();
            noun = noun.mut_subcommand(verb, |it| it.aliases(free));
        }
    }
    noun
}

/// What to say of a verb that came before its noun, as in `switchyard list domains`.
pub(crate) fn noun_first(command: &clap::Command, error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let mut before = arguments.iter().take_while(|argument| *argument != word.as_str());
    if before.any(|argument| command.get_subcommands().any(|noun| argument == noun.get_name())) {
        return None;
    }
    let with = |noun: &clap::Command| {
        let verb = noun.find_subcommand(word)?;
        Some(format!("switchyard {} {}", noun.get_name(), verb.get_name()))
    };
    let known: Vec<String> = command.get_subcommands().filter_map(with).collect();
    (!known.is_empty()).then(|| format!("{word}: the noun comes first: {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
