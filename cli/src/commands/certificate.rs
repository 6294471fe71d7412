use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use clap::{Args, Subcommand};
use switchyard_proto::v1::{
    Certificate, CreateCertificateRequest, DeleteCertificateRequest, GetCertificateRequest, GetInternalCaRequest,
    ListCertificatesResponse, ListIssuancesResponse, RenewCertificateRequest, RevokeCertificateRequest,
    UpdateCertificateRequest,
};

use super::{Change, Session, issuance, issuer};
use crate::{
    args::{EtagArg, WriteArgs, duration},
    failure::Failure,
    fields::Sets,
    files,
    force::ForceArgs,
    headings::WAIT,
    names,
    output::{Show, age, word},
    selection::ListArgs,
    wait::{Outcome, RequiredArgs, Wait},
};

/// Names of a certificate that a list shows; the rest is counted.
const NAMES_LISTED_MAX: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Upload a certificate
    #[command(after_help = "Example:\n  switchyard certificate upload shop --chain shop.pem --key shop-key.pem")]
    Upload {
        #[command(flatten)]
        material: Material,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// List all certificates
    #[command(after_help = "Example:\n  switchyard certificate list --sort not_after_time --limit 10")]
    List(ListArgs),
    /// Show the state of every certificate order, and why one fails
    #[command(after_help = "Example:\n  switchyard certificate status --filter state=failing")]
    Status(ListArgs),
    /// Replace the certificate of a domain now and revoke the present one
    #[command(after_help = "Example:\n  switchyard certificate revoke shop.example")]
    Revoke {
        /// The host name of the domain
        #[arg(value_name = "DOMAIN")]
        domain: String,
        /// How long to wait
        #[arg(long, help_heading = WAIT, default_value = "2m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
    },
    /// Show how much of the issuers' rate limits is used
    #[command(after_help = "Example:\n  switchyard certificate budget")]
    Budget,
    /// Order the certificate of a domain now and show its progress; the present one is served meanwhile
    #[command(after_help = "Example:\n  switchyard certificate renew shop.example")]
    Renew {
        /// The host name of the domain
        #[arg(value_name = "DOMAIN")]
        domain: String,
        /// How long to wait
        #[arg(long, help_heading = WAIT, default_value = "2m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
    },
    /// Show one certificate
    #[command(after_help = "Example:\n  switchyard certificate get shop")]
    Get {
        /// The id of the certificate
        #[arg(value_name = "CERTIFICATE")]
        name: String,
    },
    /// Replace the chain and the key of an uploaded certificate
    #[command(visible_alias = "update")]
    #[command(
        after_help = "Example:\n  switchyard certificate replace shop --chain shop.pem --key shop-key.pem --wait"
    )]
    Replace {
        #[command(flatten)]
        material: Material,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        force: ForceArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Delete an uploaded certificate
    #[command(after_help = "Example:\n  switchyard certificate delete shop")]
    Delete {
        /// The id of the certificate
        #[arg(value_name = "CERTIFICATE")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        force: ForceArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Print the certificate of the internal CA, to be trusted by clients of domains with `--tls internal`
    #[command(after_help = "Example:\n  switchyard certificate ca")]
    Ca,
}

/// A certificate of one's own, in files.
#[derive(Debug, Args)]
pub(crate) struct Material {
    /// The id of the certificate
    #[arg(value_name = "CERTIFICATE")]
    name: String,
    /// A PEM file: the certificate, then the intermediates in order
    #[arg(long, value_name = "FILE", add = Sets(&["chain_pem"]))]
    chain: PathBuf,
    /// A PEM file: its private key, not encrypted
    #[arg(long, value_name = "FILE", add = Sets(&["private_key_pem"]))]
    key: PathBuf,
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Upload { material, write } => return upload(session, material, write).await,
        Command::Replace { material, etag, force, write } => {
            return replace(session, material, etag, force, write).await;
        }
        Command::Delete { name, etag, force, write } => return delete(session, &name, etag, force, write).await,
        Command::Revoke { domain, timeout } => return revoke(session, &domain, timeout).await,
        Command::Status(args) => {
            let issuances = args.select(session.client.all_issuances().await?)?;
            let response = ListIssuancesResponse { issuances, next_page_token: String::new() };
            session.output.list(&response, &response.issuances)?;
        }
        Command::Budget => issuer::budget(session).await?,
        Command::Renew { domain, timeout } => return renew(session, &domain, timeout).await,
        Command::List(args) => {
            let certificates = args.select(session.client.all_certificates().await?)?;
            let response = ListCertificatesResponse { certificates, next_page_token: String::new() };
            session.output.list(&response, &response.certificates)?;
        }
        Command::Get { name } => {
            let request = GetCertificateRequest { name: names::certificate(&name) };
            session.output.item(&session.client.certificates().get_certificate(request).await?.into_inner())?;
        }
        Command::Ca => {
            let ca = session.client.certificates().get_internal_ca(GetInternalCaRequest {}).await?.into_inner();
            if session.output.is_for_people() {
                session.output.text(ca.certificate_pem.trim_end())?;
            } else {
                session.output.document(&ca)?;
            }
        }
    }
    Ok(Outcome::Done)
}

async fn renew(session: &Session, domain: &str, timeout: Duration) -> Result<Outcome, Failure> {
    let domain = names::domain(domain);
    let before = issuance::get(session, &domain).await?;
    let began = Instant::now();
    let request = RenewCertificateRequest { domain };
    let asked = session.client.certificates().renew_certificate(request).await?.into_inner();
    if !session.output.is_for_people() {
        session.output.document(&asked)?;
    }
    issuance::follow(session, &before, Wait { began, timeout, required: RequiredArgs::default() }).await
}

async fn revoke(session: &Session, domain: &str, timeout: Duration) -> Result<Outcome, Failure> {
    let domain = names::domain(domain);
    let before = issuance::get(session, &domain).await?;
    let began = Instant::now();
    let request = RevokeCertificateRequest { domain };
    let asked = session.client.certificates().revoke_certificate(request).await?.into_inner();
    if !session.output.is_for_people() {
        session.output.document(&asked)?;
    }
    issuance::follow(session, &before, Wait { began, timeout, required: RequiredArgs::default() }).await
}

async fn upload(session: &Session, material: Material, write: WriteArgs) -> Result<Outcome, Failure> {
    let (certificate, private_key_pem) = read(material)?;
    let look = look(&certificate.name);
    let request =
        CreateCertificateRequest { certificate: Some(certificate), private_key_pem, validate_only: write.dry_run };
    let began = Instant::now();
    let certificate = session.client.certificates().create_certificate(request).await;
    let certificate = certificate.map_err(|status| Failure::of_write(status, &look))?.into_inner();
    session.finish(change(&certificate, "uploaded", began), &write).await
}

async fn replace(
    session: &Session,
    material: Material,
    etag: EtagArg,
    force: ForceArgs,
    write: WriteArgs,
) -> Result<Outcome, Failure> {
    let (certificate, private_key_pem) = read(material)?;
    let certificate = Certificate { etag: etag.etag, ..certificate };
    let look = look(&certificate.name);
    let request = UpdateCertificateRequest {
        certificate: Some(certificate),
        private_key_pem,
        validate_only: write.dry_run,
        force: false,
    };
    let send = async |force| {
        session.client.certificates().update_certificate(UpdateCertificateRequest { force, ..request.clone() }).await
    };
    let (certificate, began) = force.send(|status| Failure::of_write(status, &look), send).await?;
    session.finish(change(&certificate, "replaced", began), &write).await
}

async fn delete(
    session: &Session,
    name: &str,
    etag: EtagArg,
    force: ForceArgs,
    write: WriteArgs,
) -> Result<Outcome, Failure> {
    let name = names::certificate(name);
    let request =
        DeleteCertificateRequest { name: name.clone(), etag: etag.etag, validate_only: write.dry_run, force: false };
    let send = async |force| {
        session.client.certificates().delete_certificate(DeleteCertificateRequest { force, ..request.clone() }).await
    };
    let (response, began) = force.send(|status| Failure::of_write(status, &look(&name)), send).await?;
    let (subject, revision) = (subject(&name), response.revision);
    session.finish(Change { message: &response, subject, done: "deleted", revision, began }, &write).await
}

/// Reads chain and key; returns the certificate and its private key.
fn read(material: Material) -> Result<(Certificate, String), Failure> {
    let Material { name, chain, key } = material;
    let chain_pem = files::read_text(&chain)?;
    let private_key_pem = files::read_text(&key)?;
    Ok((Certificate { name: names::certificate(&name), chain_pem, ..Certificate::default() }, private_key_pem))
}

fn change<'a>(certificate: &'a Certificate, done: &'a str, began: Instant) -> Change<'a, Certificate> {
    Change { message: certificate, subject: subject(&certificate.name), done, revision: certificate.revision, began }
}

fn look(name: &str) -> String {
    format!("switchyard certificate get {}", names::id(name))
}

fn subject(name: &str) -> String {
    format!("certificate {}", names::id(name))
}

/// The first few of a certificate's names, and how many more there are.
fn names_listed(names: &[String]) -> String {
    let listed = names.iter().take(NAMES_LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(",");
    match names.len().saturating_sub(NAMES_LISTED_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

impl Show for Certificate {
    const PLURAL: &'static str = "certificates";
    const COLUMNS: &'static [&'static str] =
        &["CERTIFICATE", "SOURCE", "NAMES", "EXPIRES", "ISSUER", "REVISION", "CHANGED"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            word(self.source().as_str_name(), "CERTIFICATE_SOURCE_"),
            names_listed(&self.dns_names),
            match self.warning.as_str() {
                "" => age(self.not_after_time.as_ref(), now),
                _ => format!("{} (!)", age(self.not_after_time.as_ref(), now)),
            },
            self.issuer.clone(),
            self.revision.to_string(),
            age(self.update_time.as_ref(), now),
        ]
    }
}
