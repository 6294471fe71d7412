use std::time::{Instant, SystemTime};

use clap::{Args, Subcommand};
use pbjson_types::FieldMask;
use switchyard_proto::v1::{
    CertificateSource, CreateDomainRequest, DeleteDomainRequest, Domain, DomainTls, GetDomainRequest, Issuance,
    IssuanceState, ListDomainsResponse, UpdateDomainRequest,
};

use super::{
    Change, Session,
    domain_tls::{AcmeArgs, ClientArgs, MinimumTls, Tls},
    edge::label,
    issuance,
};
use crate::{
    args::{EtagArg, WriteArgs},
    assignments::{Flags, SetArgs},
    editor,
    failure::Failure,
    fields::Sets,
    headings::TLS,
    names,
    output::{Show, age, or_dash, word},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a domain
    #[command(
        after_help = "Example:\n  switchyard domain create shop.example --service shop --tag a --http-to-https --wait"
    )]
    Create(CreateArgs),
    /// List all domains
    #[command(after_help = "Example:\n  switchyard domain list --filter service=shop --sort -revision --limit 20")]
    List(ListArgs),
    /// Show one domain
    #[command(after_help = "Example:\n  switchyard domain get shop.example")]
    Get {
        /// The host name, exact or with a leading `*.`
        #[arg(value_name = "DOMAIN")]
        name: String,
    },
    /// Update the given fields
    Update(UpdateArgs),
    /// Open a domain in $VISUAL or $EDITOR as YAML and update what was changed there
    #[command(after_help = "Example:\n  EDITOR=nano switchyard domain edit shop.example --wait")]
    Edit {
        /// The host name
        #[arg(value_name = "DOMAIN")]
        name: String,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Delete a domain; edges answer 404 for it from then on
    #[command(after_help = "Example:\n  switchyard domain delete shop.example --wait")]
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
    #[arg(long, add = Sets(&["service"]))]
    service: Option<String>,
    /// Traffic goes to the backends that carry this tag
    #[arg(long, required_unless_present = "set", add = Sets(&["active_tag"]))]
    tag: Option<String>,
    /// Where its certificate comes from [default: acme, internal for a private name, uploaded if there is one]
    #[arg(long, help_heading = TLS, value_enum, value_name = "SOURCE", add = Sets(&["tls.certificate_source"]))]
    tls: Option<Tls>,
    /// Answer plain HTTP with a redirect to HTTPS, once there is a certificate
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[arg(help_heading = TLS, hide_possible_values = true, add = Sets(&["http_to_https"]))]
    http_to_https: Option<bool>,
    /// Only edges with this label serve it: region=eu; may be given again [default: all edges serve it]
    #[arg(long = "edge-label", value_name = "NAME=VALUE", value_parser = label, add = Sets(&["edge_selector"]))]
    edge_labels: Vec<(String, String)>,
    /// The oldest version of TLS that clients may use [default: 1.2]
    #[arg(long, help_heading = TLS, value_enum, value_name = "VERSION", add = Sets(&["tls.minimum_version"]))]
    minimum_tls: Option<MinimumTls>,
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  switchyard domain update shop.example --set tls.minimum_version=1.3 --unset tls.acme.on_demand \\\n    \
                        --set tls.client_authentication.ca_bundle_pem=@ca.pem"
)]
pub(crate) struct UpdateArgs {
    /// The host name
    #[arg(value_name = "DOMAIN")]
    name: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    assignments: SetArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Default, Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true)
    .args(["service", "tag", "tls", "http_to_https", "edge_labels", "all_edges", "client_ca_file", "no_client_ca", "minimum_tls",
        "challenge", "issuers", "any_issuer", "on_demand_hook", "no_on_demand", "set", "unset"]))]
#[group(skip)]
struct Changes {
    /// The service whose backends get its traffic
    #[arg(long, add = Sets(&["service"]))]
    service: Option<String>,
    /// Traffic goes to the backends that carry this tag; `switchyard switch` also checks that there are any
    #[arg(long, add = Sets(&["active_tag"]))]
    tag: Option<String>,
    /// Where its certificate comes from
    #[arg(long, help_heading = TLS, value_enum, value_name = "SOURCE", add = Sets(&["tls.certificate_source"]))]
    tls: Option<Tls>,
    /// Answer plain HTTP with a redirect to HTTPS; `--http-to-https=false` ends that
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[arg(help_heading = TLS, hide_possible_values = true, add = Sets(&["http_to_https"]))]
    http_to_https: Option<bool>,
    /// Only edges with this label serve it, in place of those before; may be given again
    #[arg(long = "edge-label", value_name = "NAME=VALUE", value_parser = label, conflicts_with = "all_edges")]
    #[arg(add = Sets(&["edge_selector"]))]
    edge_labels: Vec<(String, String)>,
    /// All edges serve it
    #[arg(long)]
    all_edges: bool,
    /// The oldest version of TLS that clients may use
    #[arg(long, help_heading = TLS, value_enum, value_name = "VERSION", add = Sets(&["tls.minimum_version"]))]
    minimum_tls: Option<MinimumTls>,
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    /// Order from any issuer that has a rank
    #[arg(long, help_heading = TLS, conflicts_with = "issuers")]
    any_issuer: bool,
    /// Give it a certificate itself, in place of the names below it
    #[arg(long, help_heading = TLS, conflicts_with = "on_demand_hook")]
    no_on_demand: bool,
    /// Ask clients for no certificate
    #[arg(long, help_heading = TLS, conflicts_with = "client_ca_file")]
    no_client_ca: bool,
}

impl Changes {
    /// Writes what is given into the domain.
    fn apply(self, flags: &mut Flags<Domain>) -> Result<(), Failure> {
        let Self {
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
        } = self;
        if let Some(service) = service {
            flags.name("--service", "service");
            flags.message.service = names::service(&service);
        }
        if let Some(tag) = tag {
            flags.name("--tag", "active_tag");
            flags.message.active_tag = tag;
        }
        if let Some(tls) = tls {
            flags.name("--tls", "tls.certificate_source");
            flags.message.tls.get_or_insert_default().set_certificate_source(tls.to_message());
        }
        if let Some(version) = minimum_tls {
            flags.name("--minimum-tls", "tls.minimum_version");
            flags.message.tls.get_or_insert_default().set_minimum_version(version.to_message());
        }
        clients.apply(no_client_ca, flags)?;
        acme.apply(any_issuer, no_on_demand, flags);
        if let Some(http_to_https) = http_to_https {
            flags.name("--http-to-https", "http_to_https");
            flags.message.http_to_https = http_to_https;
        }
        if all_edges || !edge_labels.is_empty() {
            flags.name(if all_edges { "--all-edges" } else { "--edge-label" }, "edge_selector");
            flags.message.edge_selector = edge_labels.into_iter().collect();
        }
        Ok(())
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => return create(session, args).await,
        Command::Update(args) => return update(session, args).await,
        Command::Edit { name, write } => return edit(session, &name, write).await,
        Command::Delete { name, etag, write } => return delete(session, &name, etag, write).await,
        Command::List(args) => {
            let domains = args.select(session.client.all_domains().await?)?;
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
    let CreateArgs {
        name,
        service,
        tag,
        tls,
        http_to_https,
        edge_labels,
        minimum_tls,
        clients,
        acme,
        assignments,
        write,
    } = args;
    let changes =
        Changes { service, tag, tls, http_to_https, edge_labels, minimum_tls, clients, acme, ..Changes::default() };
    let mut flags = Flags::new(Domain { name: names::domain(&name), ..Domain::default() });
    changes.apply(&mut flags)?;
    let (domain, _) = assignments.join(flags)?;
    let look = look(&domain.name);
    let is_source_given = source(&domain) != CertificateSource::Unspecified;
    let request = CreateDomainRequest { domain: Some(domain), validate_only: write.dry_run };
    let began = Instant::now();
    let domain = session.client.domains().create_domain(request).await;
    let domain = domain.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    if let Some(chosen) = chosen(&domain).filter(|_| !is_source_given) {
        session.output.result(chosen)?;
    }
    let outcome = session.finish(change(&domain, "created", began), &write).await?;
    certificate_too(session, &domain, outcome, &write, began).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<Outcome, Failure> {
    let UpdateArgs { name, changes, assignments, etag, write } = args;
    let mut flags = Flags::new(Domain { name: names::domain(&name), etag: etag.etag, ..Domain::default() });
    changes.apply(&mut flags)?;
    let (domain, mask) = assignments.join(flags)?;
    let look = look(&domain.name);
    let request = UpdateDomainRequest { domain: Some(domain), update_mask: Some(mask), validate_only: write.dry_run };
    let began = Instant::now();
    let domain = session.client.domains().update_domain(request).await;
    let domain = domain.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    let outcome = session.finish(change(&domain, "updated", began), &write).await?;
    certificate_too(session, &domain, outcome, &write, began).await
}

/// Sends what was changed in an editor, unless somebody else has changed the domain meanwhile.
async fn edit(session: &Session, name: &str, write: WriteArgs) -> Result<Outcome, Failure> {
    let request = GetDomainRequest { name: names::domain(name) };
    let before = session.client.domains().get_domain(request).await?.into_inner();
    let title = format!("{}, revision {}", subject(&before.name), before.revision);
    let Some(mut edited) = editor::edit(&before, &title).await? else {
        session.output.result(&format!("{}: nothing changed", subject(&before.name)))?;
        return Ok(Outcome::Done);
    };
    let request = UpdateDomainRequest {
        domain: Some(Domain { etag: before.etag, ..std::mem::take(&mut edited.message) }),
        update_mask: Some(FieldMask { paths: std::mem::take(&mut edited.paths) }),
        validate_only: write.dry_run,
    };
    let began = Instant::now();
    let domain = match session.client.domains().update_domain(request).await {
        Ok(domain) => domain.into_inner(),
        Err(status) => {
            let kept = edited.keep()?;
            let failure = Failure::of_write(status, &look(&before.name));
            return Err(failure.with_hint(format!("what you wrote is kept in {}", kept.display())));
        }
    };
    let outcome = session.finish(change(&domain, "updated", began), &write).await?;
    certificate_too(session, &domain, outcome, &write, began).await
}

/// Where the certificate of a domain comes from.
fn source(domain: &Domain) -> CertificateSource {
    domain.tls.as_ref().map_or(CertificateSource::Unspecified, DomainTls::certificate_source)
}

/// Says which source the control plane has chosen.
fn chosen(domain: &Domain) -> Option<&'static str> {
    Some(match source(domain) {
        CertificateSource::Acme => "the certificate is ordered from a CA, as for every public name (--tls acme)",
        CertificateSource::Internal => {
            "the certificate is from the internal CA, since no public CA signs the name (--tls internal)"
        }
        CertificateSource::Uploaded => "the certificate is the uploaded one for the name (--tls uploaded)",
        CertificateSource::Unspecified => return None,
    })
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
            issuance::follow(session, &none, write.wait(began)).await
        }
        Some(issuance) => {
            let revision = issuance.certificate_revision;
            write.wait(began).until_live(&session.client, &session.output, revision).await
        }
        None => Ok(outcome),
    }
}

/// How far a domain is with its certificate, if that is ordered. One that is on demand has none itself.
async fn issuance_of(session: &Session, domain: &Domain) -> Result<Option<Issuance>, Failure> {
    if source(domain) != CertificateSource::Acme || hook(domain).is_some() {
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

fn redirect_word(domain: &Domain) -> String {
    if domain.http_to_https { "yes" } else { "no" }.to_owned()
}

impl Show for Domain {
    const PLURAL: &'static str = "domains";
    const COLUMNS: &'static [&'static str] =
        &["DOMAIN", "SERVICE", "TAG", "PREVIOUS", "TLS", "REDIRECT", "REVISION", "CHANGED"];

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
}
