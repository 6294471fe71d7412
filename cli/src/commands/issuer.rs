use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use clap::{Args, Subcommand};
use switchyard_proto::v1::{
    Budget, CreateIssuerRequest, DeleteIssuerRequest, ExternalAccount, GetBudgetRequest, GetIssuerRequest, Issuer,
    ListIssuersResponse, Rate, RateLimits, RotateAccountRequest, UpdateIssuerRequest,
};

use super::{Change, Session};
use crate::{
    args::{EtagArg, WriteArgs, duration},
    assignments::{Flags, SetArgs},
    failure::Failure,
    fields::Sets,
    files,
    force::ForceArgs,
    names,
    output::{Show, age, or_dash},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an issuer: letsencrypt, letsencrypt-staging, or any other name with a directory
    #[command(after_help = "Example:\n  switchyard issuer create letsencrypt --email ops@shop.example")]
    Create(CreateArgs),
    /// List all issuers, each with the fleet's account there
    #[command(after_help = "Example:\n  switchyard issuer list --sort rank")]
    List(ListArgs),
    /// Show one issuer
    #[command(after_help = "Example:\n  switchyard issuer get letsencrypt")]
    Get {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
    },
    /// Update the given fields
    Update(UpdateArgs),
    /// Create a new account at the CA, with a new key, for the next order
    #[command(after_help = "Example:\n  switchyard issuer rotate-account letsencrypt")]
    RotateAccount {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Delete an issuer that no domain names
    #[command(after_help = "Example:\n  switchyard issuer delete letsencrypt-staging")]
    Delete {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        force: ForceArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name of the issuer
    #[arg(value_name = "ISSUER")]
    name: String,
    /// The URL of its ACME directory [default: that of letsencrypt or letsencrypt-staging]
    #[arg(long, value_name = "URL", add = Sets(&["directory"]))]
    directory: Option<String>,
    /// Where the CA may write to
    #[arg(long, value_name = "ADDRESS", add = Sets(&["email"]))]
    email: Option<String>,
    /// What the CA calls the key of the account that you have with it (external account binding)
    #[arg(long, value_name = "ID", requires = "external_account_key_file", add = Sets(&["external_account.key_id"]))]
    external_account_key_id: Option<String>,
    /// A file with that key, in base64url
    #[arg(long, value_name = "FILE", requires = "external_account_key_id", add = Sets(&["external_account.key"]))]
    external_account_key_file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["root_ca_file", "profile", "preferred_chain", "rank", "only_where_named", "limit_orders", "limit_domain", "limit_names",
        "set", "unset"]))]
#[command(
    after_help = "Example:\n  switchyard issuer update letsencrypt --set profile=shortlived --set rate_limits.orders.count=200 \\\n    \
                        --unset preferred_chain"
)]
pub(crate) struct UpdateArgs {
    /// The name of the issuer
    #[arg(value_name = "ISSUER")]
    name: String,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// What can be changed later.
#[derive(Debug, Args)]
#[group(skip)]
struct SettingArgs {
    /// A PEM file: the CAs that the directory's own certificate comes from [default: those of the control plane's system]
    #[arg(long, value_name = "FILE", add = Sets(&["root_ca_pem"]))]
    root_ca_file: Option<PathBuf>,
    /// The kind of certificates that is asked for, by a name of the CA: shortlived
    #[arg(long, value_name = "NAME", add = Sets(&["profile"]))]
    profile: Option<String>,
    /// Of several chains the one that ends at an issuer of this common name
    #[arg(long, value_name = "NAME", add = Sets(&["preferred_chain"]))]
    preferred_chain: Option<String>,
    /// Its place in the order in which issuers are asked, the smallest first [default: after those there are]
    #[arg(long, value_name = "NUMBER", conflicts_with = "only_where_named", add = Sets(&["rank"]))]
    rank: Option<u32>,
    /// Ask it only for domains that name it
    #[arg(long, add = Sets(&["only_where_named"]))]
    only_where_named: bool,
    /// How many orders it allows: 300/3h
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate, add = Sets(&["rate_limits.orders"]))]
    limit_orders: Option<Rate>,
    /// How many certificates below one registered domain: 50/7days
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate)]
    #[arg(add = Sets(&["rate_limits.certificates_per_registered_domain"]))]
    limit_domain: Option<Rate>,
    /// How many certificates for exactly the same names: 5/7days
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate)]
    #[arg(add = Sets(&["rate_limits.certificates_per_exact_names"]))]
    limit_names: Option<Rate>,
}

fn rate(text: &str) -> Result<Rate, String> {
    let (count, window) = text.split_once('/').ok_or("write COUNT/DURATION: 300/3h")?;
    let count = count.parse().map_err(|_| format!("{count:?} is no number; write 300/3h"))?;
    Ok(Rate { count, window: Some(duration(window)?.into()) })
}

impl SettingArgs {
    /// Writes what is given into the issuer.
    fn apply(self, flags: &mut Flags<Issuer>) -> Result<(), Failure> {
        let Self {
            root_ca_file,
            profile,
            preferred_chain,
            rank,
            only_where_named,
            limit_orders,
            limit_domain,
            limit_names,
        } = self;
        let limits =
            [("--limit-orders", limit_orders), ("--limit-domain", limit_domain), ("--limit-names", limit_names)];
        if let Some((flag, _)) = limits.into_iter().find(|(_, limit)| limit.is_some()) {
            flags.name(flag, "rate_limits");
            flags.message.rate_limits = Some(RateLimits {
                orders: limit_orders,
                certificates_per_registered_domain: limit_domain,
                certificates_per_exact_names: limit_names,
                failures_per_name: None,
            });
        }
        if let Some(path) = &root_ca_file {
            flags.name("--root-ca-file", "root_ca_pem");
            flags.message.root_ca_pem = files::read_text(path)?;
        }
        if let Some(profile) = profile {
            flags.name("--profile", "profile");
            flags.message.profile = profile;
        }
        if let Some(chain) = preferred_chain {
            flags.name("--preferred-chain", "preferred_chain");
            flags.message.preferred_chain = chain;
        }
        if rank.is_some() || only_where_named {
            // Each excludes the other, and takes its place.
            let flag = if only_where_named { "--only-where-named" } else { "--rank" };
            flags.name(flag, "rank");
            flags.name(flag, "only_where_named");
            flags.message.rank = rank;
            flags.message.only_where_named = only_where_named;
        }
        Ok(())
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::RotateAccount { name, etag, write } => return rotate(session, &name, etag, write).await,
        Command::Delete { name, etag, force, write } => return delete(session, &name, etag, force, write).await,
        Command::List(args) => {
            let issuers = args.select(session.client.all_issuers().await?)?;
            let response = ListIssuersResponse { issuers, next_page_token: String::new() };
            session.output.list(&response, &response.issuers)?;
        }
        Command::Get { name } => {
            let request = GetIssuerRequest { name: names::issuer(&name) };
            session.output.item(&session.client.issuers().get_issuer(request).await?.into_inner())?;
        }
    }
    Ok(Outcome::Done)
}

async fn create(session: &Session, args: CreateArgs) -> Result<Outcome, Failure> {
    let CreateArgs {
        name,
        directory,
        email,
        external_account_key_id,
        external_account_key_file,
        settings,
        assignments,
        write,
    } = args;
    let mut flags = Flags::new(Issuer { name: names::issuer(&name), ..Issuer::default() });
    if let Some(directory) = directory {
        flags.name("--directory", "directory");
        flags.message.directory = directory;
    }
    if let Some(email) = email {
        flags.name("--email", "email");
        flags.message.email = email;
    }
    if let Some((key_id, path)) = external_account_key_id.zip(external_account_key_file) {
        flags.name("--external-account-key-id", "external_account");
        let key = files::read_text(&path)?.trim().to_owned();
        flags.message.external_account = Some(ExternalAccount { key_id, key });
    }
    settings.apply(&mut flags)?;
    let (issuer, _) = assignments.join(flags)?;
    let look = look(&issuer.name);
    let request = CreateIssuerRequest { issuer: Some(issuer), validate_only: write.dry_run };
    let began = Instant::now();
    let issuer = session.client.issuers().create_issuer(request).await;
    let issuer = issuer.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&issuer, "created", began), &write).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, settings, assignments, etag, force, write } = args;
    let mut flags = Flags::new(Issuer { name: names::issuer(&name), etag: etag.etag, ..Issuer::default() });
    settings.apply(&mut flags)?;
    let (issuer, mask) = assignments.join(flags)?;
    let look = look(&issuer.name);
    let request = UpdateIssuerRequest {
        issuer: Some(issuer),
        update_mask: Some(mask),
        validate_only: write.dry_run,
        force: false,
    };
    let send =
        async |force| session.client.issuers().update_issuer(UpdateIssuerRequest { force, ..request.clone() }).await;
    let (issuer, began) = force.send(|status| Failure::of_write(status, &look), send).await?;
    session.finish(change(&issuer, "updated", began), &write).await
}

async fn rotate(session: &Session, name: &str, etag: EtagArg, write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::issuer(name);
    let request = RotateAccountRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run };
    let began = Instant::now();
    let issuer = session.client.issuers().rotate_account(request).await;
    let issuer = issuer.map_err(|status| Failure::of_write(status, &look(&name)))?.into_inner();
    session.finish(change(&issuer, "given another account with its next order", began), &write).await
}

async fn delete(
    session: &Session,
    name: &str,
    etag: EtagArg,
    force: ForceArgs,
    write: WriteArgs,
) -> Result<Outcome, Failure> {
    let name = names::issuer(name);
    let request =
        DeleteIssuerRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run, force: false };
    let send =
        async |force| session.client.issuers().delete_issuer(DeleteIssuerRequest { force, ..request.clone() }).await;
    let (response, began) = force.send(|status| Failure::of_write(status, &look(&name)), send).await?;
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

/// Prints how much of the rate limits of all issuers is used.
pub(super) async fn budget(session: &Session) -> Result<(), Failure> {
    let request = GetBudgetRequest { name: String::new() };
    let response = session.client.issuers().get_budget(request).await?.into_inner();
    session.output.list(&response, &response.budgets)
}

impl Show for Budget {
    const PLURAL: &'static str = "budgets";
    const COLUMNS: &'static [&'static str] = &["ISSUER", "LIMIT", "OF", "USED", "ALLOWED", "NEXT FREE"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.issuer).to_owned(),
            self.limit.clone(),
            or_dash(&self.subject),
            self.used.to_string(),
            rate_text(self.rate.as_ref()),
            age(self.free_time.as_ref(), now),
        ]
    }
}

fn change<'a>(issuer: &'a Issuer, done: &'a str, began: Instant) -> Change<'a, Issuer> {
    Change { message: issuer, subject: subject(&issuer.name), done, revision: issuer.revision, began }
}

fn look(name: &str) -> String {
    format!("switchyard issuer get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("issuer {}", names::id(name))
}

fn rank_text(issuer: &Issuer) -> String {
    issuer.rank.map_or_else(|| "only where named".to_owned(), |rank| rank.to_string())
}

fn rate_text(rate: Option<&Rate>) -> String {
    let Some(Rate { count, window }) = rate else { return "not counted".to_owned() };
    let window = window.and_then(|window| std::time::Duration::try_from(window).ok()).unwrap_or_default();
    format!("{count} in {}", humantime::format_duration(window))
}

impl Show for Issuer {
    const PLURAL: &'static str = "issuers";
    const COLUMNS: &'static [&'static str] = &["ISSUER", "RANK", "DIRECTORY", "ACCOUNT", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            rank_text(self),
            self.directory.clone(),
            or_dash(&self.account),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// What `issuer update pebble` and these arguments say.
    fn update(arguments: &[&str]) -> (Issuer, Vec<String>) {
        let cli = crate::commands::Cli::parse_from([&["switchyard", "issuer", "update", "pebble"], arguments].concat());
        let crate::commands::Command::Issuer(Command::Update(update)) = cli.command else { panic!("{arguments:?}") };
        let mut flags = Flags::new(Issuer::default());
        update.settings.apply(&mut flags).unwrap();
        let (issuer, mask) = update.assignments.join(flags).unwrap();
        (issuer, mask.paths)
    }

    #[test]
    fn a_rank_and_only_where_named_take_each_others_place() {
        let (issuer, paths) = update(&["--only-where-named"]);
        assert_eq!((issuer.rank, issuer.only_where_named), (None, true));
        assert_eq!(paths, ["rank", "only_where_named"]);
        let (issuer, paths) = update(&["--rank", "3", "--set", "rate_limits.orders.count=2"]);
        assert_eq!((issuer.rank, issuer.only_where_named), (Some(3), false));
        assert_eq!(paths, ["rank", "only_where_named", "rate_limits.orders.count"]);
    }
}
