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
pub(crate) mod man;
mod problems;
pub(crate) mod secret;
pub(crate) mod service;
mod status;
pub(crate) mod switch;
pub(crate) mod tasks;
pub(crate) mod token;
mod tree;
pub(crate) mod unreadable;

use std::time::Instant;

use serde::Serialize;
use serde_json::json;
use switchyard_process::Origins;

pub(crate) use self::tree::{Cli, Command, command, noun_first};
use crate::{
    address::Address,
    args::WriteArgs,
    client::Client,
    diagnosis,
    failure::Failure,
    login::{Login, Wish},
    output::Output,
    wait::Outcome,
};

/// Runs one command; `origins` says where its global options came from.
pub(crate) async fn run(cli: Cli, origins: &Origins) -> Result<Outcome, Failure> {
    let output = Output::new(cli.output);
    let Cli { control_plane, context, token_file, control_plane_data_dir, output: _, command } = cli;
    let wish = Wish {
        control_plane: control_plane.map(|address| (address, origins.of("control_plane"))),
        context,
        token_file: token_file.map(|path| (path, origins.of("token_file"))),
        data_dir: control_plane_data_dir.map(|path| (path, origins.of("control_plane_data_dir"))),
    };
    match command {
        Command::Login(args) => context::login(&output, args, wish.token_file).await,
        Command::Context(command) => context::run(&output, command),
        Command::Completions(args) => completions::run(&output, args),
        Command::Man(args) => man::run(&output, args),
        Command::Version => version(&output),
        Command::Demo(args) => demo::run(&output, args).await,
        command => {
            let login = Login::find(wish)?;
            let client = Client::connect(&login).await?;
            let session = Session { client, output, address: login.address.clone() };
            match call(&session, command).await {
                Err(failure) => Err(explain(failure, &login).await),
                done => done,
            }
        }
    }
}

/// Runs a command that calls the control plane.
async fn call(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Domain(command) => domain::run(session, command).await,
        Command::Service(command) => service::run(session, command).await,
        Command::Backend(command) => backend::run(session, command).await,
        Command::Certificate(command) => certificate::run(session, command).await,
        Command::Issuer(command) => issuer::run(session, command).await,
        Command::DnsProvider(command) => dns_provider::run(session, command).await,
        Command::Edge(command) => edge::run(session, command).await,
        Command::Switch(args) => switch::run(session, args).await,
        Command::Audit(args) => audit::run(session, args).await,
        Command::Secret(command) => secret::run(session, command).await,
        Command::Token(command) => token::run(session, command).await,
        Command::Unreadable(command) => unreadable::run(session, command).await,
        Command::Status(tasks::StatusArgs { tasks: true }) => tasks::run(session).await,
        Command::Status(tasks::StatusArgs { tasks: false }) => status::run(session).await,
        Command::Login(_)
        | Command::Context(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Version
        | Command::Demo(_) => {
            unreachable!("they call no control plane, or not this one")
        }
    }
}

/// Prints the version of this program.
fn version(output: &Output) -> Result<Outcome, Failure> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    if output.is_for_people() {
        output.text(&format!("switchyard {VERSION}"))?;
    } else {
        output.document(&json!({ "version": VERSION }))?;
    }
    Ok(Outcome::Done)
}

/// Adds what is known of the token and the address that a call was made with.
async fn explain(failure: Failure, login: &Login) -> Failure {
    let advice = match &failure {
        Failure::Api { status, .. } if status.code() == tonic::Code::Unauthenticated => Some(login.advice()),
        Failure::Api { status, .. } => match std::error::Error::source(&**status) {
            Some(error) => diagnosis::of(&login.address, error).await,
            None => None,
        },
        _ => None,
    };
    advice.into_iter().fold(failure, Failure::with_hint)
}

/// A connection to a control plane, and where results go.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    output: Output,
    /// Of the control plane's API.
    address: Address,
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
