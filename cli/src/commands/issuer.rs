use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use clap::{Args, Subcommand};
use pbjson_types::FieldMask;
use switchyard_proto::v1::{
    Budget, CreateIssuerRequest, DeleteIssuerRequest, ExternalAccount, GetBudgetRequest, GetIssuerRequest, Issuer,
    ListIssuersResponse, Rate, RateLimits, RotateAccountRequest, UpdateIssuerRequest,
};

use super::{Change, Session};
use crate::{
    args::{EtagArg, WriteArgs, duration},
    failure::Failure,
    files, names,
    output::{Show, age, moment, or_dash},
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes an issuer: letsencrypt, letsencrypt-staging, or any other name with a directory
    Create(CreateArgs),
    /// Lists all issuers, each with the fleet's account there
    List,
    /// Shows one issuer
    Get {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
    },
    /// Changes what is given, and nothing else
    Update(UpdateArgs),
    /// Has the next order made with another account, which has another key
    RotateAccount {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Deletes an issuer that no domain names
    Delete {
        /// The name of the issuer
        #[arg(value_name = "ISSUER")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
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
    #[arg(long, value_name = "URL")]
    directory: Option<String>,
    /// Where the CA may write to
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// What the CA calls the key of the account that you have with it (external account binding)
    #[arg(long, value_name = "ID", requires = "external_account_key_file")]
    external_account_key_id: Option<String>,
    /// A file with that key, in base64url
    #[arg(long, value_name = "FILE", requires = "external_account_key_id")]
    external_account_key_file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["root_ca_file", "profile", "preferred_chain", "rank", "only_where_named", "limit_orders", "limit_domain", "limit_names"]))]
pub(crate) struct UpdateArgs {
    /// The name of the issuer
    #[arg(value_name = "ISSUER")]
    name: String,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

/// What can be changed later.
#[derive(Debug, Args)]
#[group(skip)]
struct SettingArgs {
    /// A PEM file: the CAs that the directory's own certificate comes from [default: those of the control plane's system]
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    /// The kind of certificates that is asked for, by a name of the CA: shortlived
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Of several chains the one that ends at an issuer of this common name
    #[arg(long, value_name = "NAME")]
    preferred_chain: Option<String>,
    /// Its place in the order in which issuers are asked, the smallest first [default: after those there are]
    #[arg(long, value_name = "NUMBER", conflicts_with = "only_where_named")]
    rank: Option<u32>,
    /// Ask it only for domains that name it
    #[arg(long)]
    only_where_named: bool,
    /// How many orders it allows: 300/3h
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate)]
    limit_orders: Option<Rate>,
    /// How many certificates below one registered domain: 50/7days
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate)]
    limit_domain: Option<Rate>,
    /// How many certificates for exactly the same names: 5/7days
    #[arg(long, value_name = "COUNT/DURATION", value_parser = rate)]
    limit_names: Option<Rate>,
}

fn rate(text: &str) -> Result<Rate, String> {
    let (count, window) = text.split_once('/').ok_or("write COUNT/DURATION: 300/3h")?;
    let count = count.parse().map_err(|_| format!("{count:?} is no number; write 300/3h"))?;
    Ok(Rate { count, window: Some(duration(window)?.into()) })
}

impl SettingArgs {
    fn limits(&self) -> Option<RateLimits> {
        let Self { limit_orders, limit_domain, limit_names, .. } = self;
        let is_given = limit_orders.is_some() || limit_domain.is_some() || limit_names.is_some();
        is_given.then_some(RateLimits {
            orders: *limit_orders,
            certificates_per_registered_domain: *limit_domain,
            certificates_per_exact_names: *limit_names,
            failures_per_name: None,
        })
    }

    /// As fields of the issuer, and their paths.
    fn fill(self, issuer: &mut Issuer) -> Result<FieldMask, Failure> {
        let mut mask = FieldMask::default();
        let mut covers = |path: &str| mask.paths.push(path.to_owned());
        if let Some(limits) = self.limits() {
            covers("rate_limits");
            issuer.rate_limits = Some(limits);
        }
        if let Some(path) = &self.root_ca_file {
            covers("root_ca_pem");
            issuer.root_ca_pem = files::read_text(path)?;
        }
        if let Some(profile) = self.profile {
            covers("profile");
            issuer.profile = profile;
        }
        if let Some(chain) = self.preferred_chain {
            covers("preferred_chain");
            issuer.preferred_chain = chain;
        }
        if self.rank.is_some() || self.only_where_named {
            covers("rank");
            issuer.rank = self.rank;
            issuer.only_where_named = self.only_where_named;
        }
        Ok(mask)
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::RotateAccount { name, etag, write } => return rotate(session, &name, etag, write).await,
        Command::Delete { name, etag, write } => return delete(session, &name, etag, write).await,
        Command::List => {
            let issuers = session.client.all_issuers().await?;
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
    let CreateArgs { name, directory, email, external_account_key_id, external_account_key_file, settings, write } =
        args;
    let external_account = match external_account_key_id.zip(external_account_key_file) {
        Some((key_id, path)) => Some(ExternalAccount { key_id, key: files::read_text(&path)?.trim().to_owned() }),
        None => None,
    };
    let mut issuer = Issuer {
        name: names::issuer(&name),
        directory: directory.unwrap_or_default(),
        email: email.unwrap_or_default(),
        external_account,
        ..Issuer::default()
    };
    settings.fill(&mut issuer)?;
    let look = look(&issuer.name);
    let request = CreateIssuerRequest { issuer: Some(issuer), validate_only: write.dry_run };
    let began = Instant::now();
    let issuer = session.client.issuers().create_issuer(request).await;
    let issuer = issuer.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&issuer, "created", began), &write).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, settings, etag, write } = args;
    let mut issuer = Issuer { name: names::issuer(&name), etag: etag.etag, ..Issuer::default() };
    let mask = settings.fill(&mut issuer)?;
    let look = look(&issuer.name);
    let request = UpdateIssuerRequest { issuer: Some(issuer), update_mask: Some(mask), validate_only: write.dry_run };
    let began = Instant::now();
    let issuer = session.client.issuers().update_issuer(request).await;
    let issuer = issuer.map_err(|status| Failure::of_write(status, &look))?.into_inner();
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

async fn delete(session: &Session, name: &str, etag: EtagArg, write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::issuer(name);
    let request = DeleteIssuerRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run };
    let began = Instant::now();
    let response = session.client.issuers().delete_issuer(request).await;
    let response = response.map_err(|status| Failure::of_write(status, &look(&name)))?.into_inner();
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

    fn details(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let titles = ["issuer", "limit", "of", "used", "allowed", "next free"];
        titles.into_iter().zip(self.row(now)).collect()
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

    fn details(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let limits = self.rate_limits.unwrap_or_default();
        let external = self.external_account.as_ref().map(|account| account.key_id.clone()).unwrap_or_default();
        vec![
            ("issuer", names::id(&self.name).to_owned()),
            ("directory", self.directory.clone()),
            ("trusted by", if self.root_ca_pem.is_empty() { "the system's CAs" } else { "CAs of its own" }.to_owned()),
            ("rank", rank_text(self)),
            ("profile", or_dash(&self.profile)),
            ("preferred chain", or_dash(&self.preferred_chain)),
            ("email", or_dash(&self.email)),
            ("external account", or_dash(&external)),
            ("account", or_dash(&self.account)),
            ("account key", or_dash(&self.account_thumbprint)),
            ("orders", rate_text(limits.orders.as_ref())),
            ("per registered domain", rate_text(limits.certificates_per_registered_domain.as_ref())),
            ("per exact names", rate_text(limits.certificates_per_exact_names.as_ref())),
            ("failures per name", rate_text(limits.failures_per_name.as_ref())),
            ("revision", self.revision.to_string()),
            ("etag", self.etag.clone()),
            ("created", moment(self.create_time.as_ref(), now)),
            ("changed", moment(self.update_time.as_ref(), now)),
        ]
    }
}
