//! What the command does: a file for each noun and verb, each turning its arguments into calls of the API.
//!
//! What always holds: nothing here decides whether a change is allowed; the control plane does. Printing is left to
//! `output`, following a change to `wait`.

pub(crate) mod audit;
pub(crate) mod backend;
mod backend_tls;
pub(crate) mod certificate;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod dns_provider;
pub(crate) mod domain;
mod domain_tls;
pub(crate) mod edge;
mod issuance;
pub(crate) mod issuer;
pub(crate) mod secret;
pub(crate) mod service;
mod status;
pub(crate) mod switch;
pub(crate) mod token;
pub(crate) mod unreadable;

use std::time::Instant;

use serde::Serialize;

use crate::{
    args::{Cli, Command, WriteArgs},
    client::Client,
    failure::Failure,
    login::{Login, Wish},
    output::Output,
    wait::Outcome,
};

/// Runs one command.
pub(crate) async fn run(cli: Cli) -> Result<Outcome, Failure> {
    let output = Output::new(cli.output);
    let Cli { control_plane, context, token_file, output: _, command } = cli;
    let wish = Wish { control_plane, context, token_file };
    let session =
        async |wish| Ok::<_, Failure>(Session { client: Client::connect(&Login::find(wish)?).await?, output });
    match command {
        Command::Domain(command) => domain::run(&session(wish).await?, command).await,
        Command::Service(command) => service::run(&session(wish).await?, command).await,
        Command::Backend(command) => backend::run(&session(wish).await?, command).await,
        Command::Certificate(command) => certificate::run(&session(wish).await?, command).await,
        Command::Issuer(command) => issuer::run(&session(wish).await?, command).await,
        Command::DnsProvider(command) => dns_provider::run(&session(wish).await?, command).await,
        Command::Edge(command) => edge::run(&session(wish).await?, command).await,
        Command::Switch(args) => switch::run(&session(wish).await?, args).await,
        Command::Audit(args) => audit::run(&session(wish).await?, args).await,
        Command::Secret(command) => secret::run(&session(wish).await?, command).await,
        Command::Token(command) => token::run(&session(wish).await?, command).await,
        Command::Unreadable(command) => unreadable::run(&session(wish).await?, command).await,
        Command::Login(args) => context::login(&output, args, wish.token_file).await,
        Command::Context(command) => context::run(&output, command),
        Command::Status => status::run(&session(wish).await?).await,
        Command::Completions(args) => completions::run(&output, args),
        Command::Demo(args) => demo::run(&output, args).await,
    }
}

/// A connection to a control plane, and where results go.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    output: Output,
}

/// A change that the control plane has made, or with `--dry-run` has checked.
#[derive(Debug)]
struct Change<'a, M> {
    /// What the control plane answered.
    message: &'a M,
    /// `domain shop.example`
    subject: String,
    /// What was done to it: `created`, `switched from a to b`.
    done: &'a str,
    revision: u64,
    /// When it was sent.
    began: Instant,
}

impl Session {
    /// Prints a change, and follows it to the edges if that was asked for.
    async fn finish<M: Serialize>(&self, change: Change<'_, M>, args: &WriteArgs) -> Result<Outcome, Failure> {
        let Change { message, subject, done, revision, began } = change;
        if !self.output.is_for_people() {
            self.output.document(message)?;
        } else if args.dry_run {
            self.output.text(&format!("{subject} would be {done} (dry run: nothing was changed)"))?;
        } else {
            self.output.text(&format!("{subject} {done} (revision {revision})"))?;
        }
        if !args.wait {
            return Ok(Outcome::Done);
        }
        args.wait(began).until_live(&self.client, &self.output, revision).await
    }
}
