use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use clap::{Args, Subcommand, ValueEnum};
use pbjson_types::FieldMask;
use switchyard_proto::v1::{
    AcmeChallenge, AcmeSettings, CertificateSource, ClientAuthentication, ClientCertificateMode, CreateDomainRequest,
    DeleteDomainRequest, Domain, DomainTls, GetDomainRequest, Issuance, IssuanceState, ListDomainsResponse, OnDemand,
    TlsVersion, UpdateDomainRequest,
};

use super::{
    Change, Session,
    edge::{label, label_text},
    issuance,
};
use crate::{
    args::{EtagArg, WriteArgs},
    failure::Failure,
    files, names,
    output::{Show, age, moment, or_dash, word},
    wait::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates a domain
    Create(CreateArgs),
    /// Lists all domains
    List,
    /// Shows one domain
    Get {
        /// The host name, exact or with a leading `*.`
        #[arg(value_name = "DOMAIN")]
        name: String,
    },
    /// Changes what is given, and nothing else
    Update(UpdateArgs),
    /// Deletes a domain; edges answer 404 for it from then on
    Delete {
        /// The host name
        #[arg(value_name = "DOMAIN")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The host name, exact or with a leading `*.`
    #[arg(value_name = "DOMAIN")]
    name: String,
    /// The service whose backends get its traffic [default: default]
    #[arg(long)]
    service: Option<String>,
    /// Traffic goes to the backends that carry this tag
    #[arg(long)]
    tag: String,
    /// Where its certificate comes from [default: uploaded]
    #[arg(long, value_enum, value_name = "SOURCE")]
    tls: Option<Tls>,
    /// Answer plain HTTP with a redirect to HTTPS
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    #[arg(action = clap::ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    http_to_https: bool,
    /// Only edges with this label serve it: region=eu; may be given again [default: all edges serve it]
    #[arg(long = "edge-label", value_name = "NAME=VALUE", value_parser = label)]
    edge_labels: Vec<(String, String)>,
    /// The oldest version of TLS that clients may use [default: 1.2]
    #[arg(long, value_enum, value_name = "VERSION")]
    minimum_tls: Option<MinimumTls>,
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The host name
    #[arg(value_name = "DOMAIN")]
    name: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["service", "tag", "tls", "http_to_https", "edge_labels", "all_edges", "client_ca_file", "no_client_ca", "minimum_tls",
        "challenge", "issuers", "any_issuer", "on_demand_hook", "no_on_demand"]))]
#[group(skip)]
struct Changes {
    /// The service whose backends get its traffic
    #[arg(long)]
    service: Option<String>,
    /// Traffic goes to the backends that carry this tag; `switchyard switch` also checks that there are any
    #[arg(long)]
    tag: Option<String>,
    /// Where its certificate comes from
    #[arg(long, value_enum, value_name = "SOURCE")]
    tls: Option<Tls>,
    /// Answer plain HTTP with a redirect to HTTPS; `--http-to-https=false` ends that
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[arg(hide_possible_values = true)]
    http_to_https: Option<bool>,
    /// Only edges with this label serve it, in place of those before; may be given again
    #[arg(long = "edge-label", value_name = "NAME=VALUE", value_parser = label, conflicts_with = "all_edges")]
    edge_labels: Vec<(String, String)>,
    /// All edges serve it
    #[arg(long)]
    all_edges: bool,
    /// The oldest version of TLS that clients may use
    #[arg(long, value_enum, value_name = "VERSION")]
    minimum_tls: Option<MinimumTls>,
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    /// Order from any issuer that has a rank
    #[arg(long, conflicts_with = "issuers")]
    any_issuer: bool,
    /// Give it a certificate itself, in place of the names below it
    #[arg(long, conflicts_with = "on_demand_hook")]
    no_on_demand: bool,
    /// Ask clients for no certificate
    #[arg(long, conflicts_with = "client_ca_file")]
    no_client_ca: bool,
}

/// The oldest version of TLS that clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MinimumTls {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V13,
}

impl MinimumTls {
    fn to_message(self) -> TlsVersion {
        match self {
            Self::V12 => TlsVersion::V12,
            Self::V13 => TlsVersion::V13,
        }
    }
}

/// How the certificate of a domain is ordered.
#[derive(Debug, Args)]
#[group(skip)]
struct AcmeArgs {
    /// How the name proves itself to the CA [default: http-01, then tls-alpn-01; dns-01 for a wildcard]
    #[arg(long, value_enum, value_name = "CHALLENGE")]
    challenge: Option<Challenge>,
    /// The issuer that is asked; may be given again, for one that is asked when the first does not issue [default: by rank]
    #[arg(long = "issuer", value_name = "ISSUER")]
    issuers: Vec<String>,
    /// Of a wildcard: order a certificate for a name below it when a client first asks for it, if this URL answers
    /// `GET URL?domain=NAME` with 200
    #[arg(long, value_name = "URL")]
    on_demand_hook: Option<String>,
}

impl AcmeArgs {
    fn is_given(&self) -> bool {
        self.challenge.is_some() || !self.issuers.is_empty() || self.on_demand_hook.is_some()
    }

    fn to_message(&self) -> AcmeSettings {
        AcmeSettings {
            challenge: self.challenge.map_or(AcmeChallenge::Unspecified, Challenge::to_message).into(),
            issuers: self.issuers.iter().map(|issuer| names::issuer(issuer)).collect(),
            on_demand: self.on_demand_hook.as_ref().map(|url| OnDemand { hook_url: url.clone() }),
        }
    }
}

/// How a name proves itself to a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Challenge {
    /// As fits the name
    Any,
    /// By an answer over plain HTTP
    #[value(name = "http-01")]
    Http01,
    /// By a certificate over TLS
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
    /// By a record of its zone
    #[value(name = "dns-01")]
    Dns01,
}

impl Challenge {
    fn to_message(self) -> AcmeChallenge {
        match self {
            Self::Any => AcmeChallenge::Unspecified,
            Self::Http01 => AcmeChallenge::Http01,
            Self::TlsAlpn01 => AcmeChallenge::TlsAlpn01,
            Self::Dns01 => AcmeChallenge::Dns01,
        }
    }
}

/// How clients prove themselves to a domain.
#[derive(Debug, Args)]
#[group(skip)]
struct ClientArgs {
    /// A PEM file: the CAs that clients must have a certificate from
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Let clients without a certificate in as well; requests of those with one say whose they are
    #[arg(long, requires = "client_ca_file")]
    client_certificate_optional: bool,
}

impl ClientArgs {
    fn to_message(&self) -> Result<Option<ClientAuthentication>, Failure> {
        let Some(path) = &self.client_ca_file else { return Ok(None) };
        let mode = if self.client_certificate_optional {
            ClientCertificateMode::Optional
        } else {
            ClientCertificateMode::Required
        };
        Ok(Some(ClientAuthentication { ca_bundle_pem: files::read_text(path)?, mode: mode.into() }))
    }
}

/// Where a domain's certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// It is ordered from a CA by ACME, and renewed; see `switchyard issuer`.
    Acme,
    /// The internal CA issues it.
    Internal,
    /// `switchyard certificate upload` brings it.
    Uploaded,
}

impl Tls {
    fn to_message(self) -> CertificateSource {
        match self {
            Self::Acme => CertificateSource::Acme,
            Self::Internal => CertificateSource::Internal,
            Self::Uploaded => CertificateSource::Uploaded,
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::Delete { name, etag, write } => return delete(session, &name, etag, write).await,
        Command::List => {
            let domains = session.client.all_domains().await?;
            let response = ListDomainsResponse { domains, next_page_token: String::new() };
            session.output.list(&response, &response.domains)?;
        }
        Command::Get { name } => {
            let request = GetDomainRequest { name: names::domain(&name) };
            let domain = session.client.domains().get_domain(request).await?.into_inner();
            let issuance = issuance_of(session, &domain).await?;
            session
                .output
                .item_with(&domain, |now| issuance.map(|it| issuance::details(&it, now)).unwrap_or_default())?;
        }
    }
    Ok(Outcome::Done)
}

async fn create(session: &Session, args: CreateArgs) -> Result<Outcome, Failure> {
    let CreateArgs { name, service, tag, tls, http_to_https, edge_labels, minimum_tls, clients, acme, write } = args;
    let clients = clients.to_message()?;
    let is_given = tls.is_some() || clients.is_some() || minimum_tls.is_some() || acme.is_given();
    let tls = is_given.then(|| DomainTls {
        certificate_source: tls.map_or(CertificateSource::Unspecified, Tls::to_message).into(),
        client_authentication: clients,
        minimum_version: minimum_tls.map_or(TlsVersion::Unspecified, MinimumTls::to_message).into(),
        acme: acme.is_given().then(|| acme.to_message()),
    });
    let domain = Domain {
        name: names::domain(&name),
        service: service.map(|service| names::service(&service)).unwrap_or_default(),
        active_tag: tag,
        tls,
        http_to_https,
        edge_selector: edge_labels.into_iter().collect(),
        ..Domain::default()
    };
    let look = look(&domain.name);
    let request = CreateDomainRequest { domain: Some(domain), validate_only: write.dry_run };
    let began = Instant::now();
    let domain = session.client.domains().create_domain(request).await;
    let domain = domain.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    let outcome = session.finish(change(&domain, "created", began), &write).await?;
    certificate_too(session, &domain, outcome, &write, began).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, changes, etag, write } = args;
    let Changes {
        service,
        tag,
        tls,
        http_to_https,
        edge_labels,
        all_edges,
        minimum_tls,
        clients,
        acme,
        any_issuer,
        no_on_demand,
        no_client_ca,
    } = changes;
    let mut domain = Domain { name: names::domain(&name), etag: etag.etag, ..Domain::default() };
    let mut mask = FieldMask::default();
    if let Some(service) = service {
        mask.paths.push("service".to_owned());
        domain.service = names::service(&service);
    }
    if let Some(tag) = tag {
        mask.paths.push("active_tag".to_owned());
        domain.active_tag = tag;
    }
    if let Some(tls) = tls {
        mask.paths.push("tls.certificate_source".to_owned());
        domain.tls.get_or_insert_default().set_certificate_source(tls.to_message());
    }
    if let Some(version) = minimum_tls {
        mask.paths.push("tls.minimum_version".to_owned());
        domain.tls.get_or_insert_default().set_minimum_version(version.to_message());
    }
    if no_client_ca || clients.client_ca_file.is_some() {
        mask.paths.push("tls.client_authentication".to_owned());
        domain.tls.get_or_insert_default().client_authentication = clients.to_message()?;
    }
    if acme.challenge.is_some() {
        mask.paths.push("tls.acme.challenge".to_owned());
    }
    if any_issuer || !acme.issuers.is_empty() {
        mask.paths.push("tls.acme.issuers".to_owned());
    }
    if no_on_demand || acme.on_demand_hook.is_some() {
        mask.paths.push("tls.acme.on_demand".to_owned());
    }
    if acme.is_given() {
        domain.tls.get_or_insert_default().acme = Some(acme.to_message());
    }
    if let Some(http_to_https) = http_to_https {
        mask.paths.push("http_to_https".to_owned());
        domain.http_to_https = http_to_https;
    }
    if all_edges || !edge_labels.is_empty() {
        mask.paths.push("edge_selector".to_owned());
        domain.edge_selector = edge_labels.into_iter().collect();
    }
    let look = look(&domain.name);
    let request = UpdateDomainRequest { domain: Some(domain), update_mask: Some(mask), validate_only: write.dry_run };
    let began = Instant::now();
    let domain = session.client.domains().update_domain(request).await;
    let domain = domain.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    let outcome = session.finish(change(&domain, "updated", began), &write).await?;
    certificate_too(session, &domain, outcome, &write, began).await
}

/// Waits for the certificate of a domain that there is none for yet, if it is ordered and waiting was asked for.
async fn certificate_too(
    session: &Session,
    domain: &Domain,
    outcome: Outcome,
    write: &WriteArgs,
    began: Instant,
) -> Result<Outcome, Failure> {
    if !write.wait || outcome != Outcome::Done {
        return Ok(outcome);
    }
    match issuance_of(session, domain).await? {
        Some(issuance) if issuance.state() != IssuanceState::Issued => {
            let none = Issuance { domain: domain.name.clone(), ..Issuance::default() };
            issuance::follow(session, &none, write.timeout.saturating_sub(began.elapsed()), began).await
        }
        Some(issuance) => {
            let left = write.timeout.saturating_sub(began.elapsed());
            wait::until_live(&session.client, &session.output, issuance.certificate_revision, left, began).await
        }
        None => Ok(outcome),
    }
}

/// How far a domain is with its certificate, if that is ordered. One that is on demand has none itself.
async fn issuance_of(session: &Session, domain: &Domain) -> Result<Option<Issuance>, Failure> {
    if domain.tls.as_ref().map(DomainTls::certificate_source) != Some(CertificateSource::Acme) || hook(domain).is_some()
    {
        return Ok(None);
    }
    Ok(Some(issuance::get(session, &domain.name).await?))
}

async fn delete(session: &Session, name: &str, etag: EtagArg, write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::domain(name);
    let request = DeleteDomainRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run };
    let began = Instant::now();
    let response = session.client.domains().delete_domain(request).await;
    let response = response.map_err(|status| Failure::of_write(status, &look(&name)))?.into_inner();
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

/// The domain as a change that has been made.
pub(super) fn change<'a>(domain: &'a Domain, done: &'a str, began: Instant) -> Change<'a, Domain> {
    Change { message: domain, subject: subject(&domain.name), done, revision: domain.revision, began }
}

/// The command that shows the domain.
pub(super) fn look(name: &str) -> String {
    format!("switchyard domain get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("domain {}", names::id(name))
}

fn tls_word(domain: &Domain) -> String {
    match &domain.tls {
        Some(tls) => word(tls.certificate_source().as_str_name(), "CERTIFICATE_SOURCE_"),
        None => "-".to_owned(),
    }
}

/// The hook that is asked for the names below it, if there is one.
fn hook(domain: &Domain) -> Option<&str> {
    Some(&domain.tls.as_ref()?.acme.as_ref()?.on_demand.as_ref()?.hook_url)
}

fn clients_word(domain: &Domain) -> String {
    let clients = domain.tls.as_ref().and_then(|tls| tls.client_authentication.as_ref());
    clients.map_or_else(
        || "not asked for".to_owned(),
        |clients| word(clients.mode().as_str_name(), "CLIENT_CERTIFICATE_MODE_"),
    )
}

fn minimum_word(domain: &Domain) -> &'static str {
    match domain.tls.as_ref().map(DomainTls::minimum_version) {
        Some(TlsVersion::V13) => "1.3",
        _ => "1.2",
    }
}

fn redirect_word(domain: &Domain) -> String {
    if domain.http_to_https { "yes" } else { "no" }.to_owned()
}

impl Show for Domain {
    const PLURAL: &'static str = "domains";
    const COLUMNS: &'static [&'static str] =
        &["DOMAIN", "SERVICE", "TAG", "PREVIOUS", "TLS", "HTTP TO HTTPS", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            names::id(&self.service).to_owned(),
            self.active_tag.clone(),
            or_dash(&self.previous_tag),
            tls_word(self),
            redirect_word(self),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }

    fn details(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let mut details = vec![
            ("domain", names::id(&self.name).to_owned()),
            ("service", names::id(&self.service).to_owned()),
            ("active tag", self.active_tag.clone()),
            ("previous tag", or_dash(&self.previous_tag)),
            ("certificate", tls_word(self)),
            ("minimum tls", minimum_word(self).to_owned()),
            ("client certificates", clients_word(self)),
            ("http to https", redirect_word(self)),
            ("edges", if self.edge_selector.is_empty() { "all".to_owned() } else { label_text(&self.edge_selector) }),
            ("revision", self.revision.to_string()),
            ("etag", self.etag.clone()),
            ("created", moment(self.create_time.as_ref(), now)),
            ("changed", moment(self.update_time.as_ref(), now)),
        ];
        if let Some(hook) = hook(self) {
            details.push(("on demand", format!("each name below it that {hook} approves")));
        }
        details
    }
}
