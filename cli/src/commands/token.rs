use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use switchyard_proto::v1::{self as wire, CreateTokenRequest, DeleteTokenRequest, ListTokensResponse, Token};

use super::Session;
use crate::{
    args::duration,
    failure::Failure,
    fields::Sets,
    headings::CHANGE,
    names,
    output::{Show, age, moment, note, timestamp, word},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all tokens
    #[command(after_help = "Example:\n  switchyard token list --filter role=admin")]
    List(ListArgs),
    /// Create a token and print its secret, which is not shown again
    #[command(
        after_help = "Example:\n  switchyard token create ci --role operator --domain '*.shop.example' --expires 90d"
    )]
    Create(CreateArgs),
    /// Revoke a token
    #[command(after_help = "Example:\n  switchyard token revoke ci")]
    Revoke {
        /// The name of the token
        #[arg(value_name = "TOKEN")]
        name: String,
        /// Check everything, change nothing
        #[arg(long, help_heading = CHANGE)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name of the token; whoever shows it is known by that
    #[arg(value_name = "TOKEN")]
    name: String,
    /// What it allows
    #[arg(long, value_enum, add = Sets(&["role"]))]
    role: Role,
    /// Only for domains that this pattern matches (*.shop.example); may be given again
    #[arg(long = "domain", value_name = "PATTERN", add = Sets(&["domains"]))]
    domains: Vec<String>,
    /// Only for services, and their backends, that this pattern matches (shop-*); may be given again
    #[arg(long = "service", value_name = "PATTERN", add = Sets(&["services"]))]
    services: Vec<String>,
    /// How long it lives [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration, add = Sets(&["expire_time"]))]
    expires: Option<Duration>,
    /// Check everything, change nothing
    #[arg(long, help_heading = CHANGE)]
    dry_run: bool,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Read everything
    Viewer,
    /// Change domains, services, backends and certificates
    Operator,
    /// Decide who belongs: edges and tokens
    Admin,
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => {
            let tokens = args.select(session.client.all_tokens().await?)?;
            let response = ListTokensResponse { tokens, next_page_token: String::new() };
            session.output.list(&response, &response.tokens)?;
        }
        Command::Create(args) => create(session, args).await?,
        Command::Revoke { name, dry_run } => {
            let request = DeleteTokenRequest { name: names::token(&name), etag: String::new(), validate_only: dry_run };
            let revoked = session.client.tokens().delete_token(request).await;
            let response = revoked.map_err(|status| Failure::of_write(status, "switchyard token list"))?.into_inner();
            if !session.output.is_for_people() {
                session.output.document(&response)?;
            } else if dry_run {
                session.output.text(&format!("token {name} would be revoked (dry run: nothing was changed)"))?;
            } else {
                session.output.text(&format!("token {name} revoked (revision {})", response.revision))?;
            }
        }
    }
    Ok(Outcome::Done)
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { name, role, domains, services, expires, dry_run } = args;
    let role = match role {
        Role::Viewer => wire::Role::Viewer,
        Role::Operator => wire::Role::Operator,
        Role::Admin => wire::Role::Admin,
    };
    let end = |lifetime| {
        let end = SystemTime::now().checked_add(lifetime);
        end.ok_or_else(|| Failure::Usage("--expires: longer than the calendar".to_owned()))
    };
    let token = Token {
        name: names::token(&name),
        role: role.into(),
        domains,
        services,
        expire_time: expires.map(end).transpose()?.map(timestamp),
        ..Token::default()
    };
    let request = CreateTokenRequest { token: Some(token), validate_only: dry_run };
    let created = session.client.tokens().create_token(request).await;
    let response = created.map_err(|status| Failure::of_write(status, "switchyard token list"))?.into_inner();
    if !session.output.is_for_people() {
        return session.output.document(&response);
    }
    if dry_run {
        return session.output.text(&format!("token {name} would be made (dry run: nothing was changed)"));
    }
    // The secret alone is the result, so that it can be piped.
    note(&format!("token {name} made; this is its secret, which is not shown again:"));
    session.output.text(&response.secret)
}

impl Show for Token {
    const PLURAL: &'static str = "tokens";
    const COLUMNS: &'static [&'static str] = &["NAME", "ROLE", "SCOPE", "EXPIRES", "LAST USE", "AGE"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            word(self.role().as_str_name(), "ROLE_"),
            scope(self),
            end(self, now),
            age(self.last_use_time.as_ref(), now),
            age(self.create_time.as_ref(), now),
        ]
    }
}

fn scope(token: &Token) -> String {
    if token.domains.is_empty() && token.services.is_empty() {
        return "everything".to_owned();
    }
    let domains = token.domains.iter().map(|pattern| format!("domains/{pattern}"));
    let services = token.services.iter().map(|pattern| format!("services/{pattern}"));
    domains.chain(services).collect::<Vec<_>>().join(" ")
}

fn end(token: &Token, now: SystemTime) -> String {
    match &token.expire_time {
        None => "never".to_owned(),
        time => moment(time.as_ref(), now),
    }
}
