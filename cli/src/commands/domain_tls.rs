//! How a domain speaks TLS, as flags.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use switchyard_proto::v1::{
    AcmeChallenge, AcmeSettings, CertificateSource, ClientAuthentication, ClientCertificateMode, Domain, OnDemand,
    TlsVersion,
};

use crate::{assignments::Flags, failure::Failure, fields::Sets, files, headings::TLS, names};

/// The oldest version of TLS that clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MinimumTls {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V13,
}

impl MinimumTls {
    pub(super) fn to_message(self) -> TlsVersion {
        match self {
            Self::V12 => TlsVersion::V12,
            Self::V13 => TlsVersion::V13,
        }
    }
}

/// How the certificate of a domain is ordered.
#[derive(Debug, Default, Args)]
#[group(skip)]
#[command(next_help_heading = TLS)]
pub(super) struct AcmeArgs {
    /// How the name proves itself to the CA [default: http-01, then tls-alpn-01; dns-01 for a wildcard]
    #[arg(long, value_enum, value_name = "CHALLENGE", add = Sets(&["tls.acme.challenge"]))]
    challenge: Option<Challenge>,
    /// The issuer that is asked; may be given again, for one that is asked when the first does not issue [default: by rank]
    #[arg(long = "issuer", value_name = "ISSUER", add = Sets(&["tls.acme.issuers"]))]
    issuers: Vec<String>,
    /// Of a wildcard: order a certificate for a name below it when a client first asks for it, if this URL answers
    /// `GET URL?domain=NAME` with 200
    #[arg(long, value_name = "URL", add = Sets(&["tls.acme.on_demand", "tls.acme.on_demand.hook_url"]))]
    on_demand_hook: Option<String>,
}

impl AcmeArgs {
    /// Writes what is given into the domain.
    pub(super) fn apply(self, any_issuer: bool, no_on_demand: bool, flags: &mut Flags<Domain>) {
        let Self { challenge, issuers, on_demand_hook } = self;
        if challenge.is_some() {
            flags.name("--challenge", "tls.acme.challenge");
        }
        if any_issuer || !issuers.is_empty() {
            flags.name(if any_issuer { "--any-issuer" } else { "--issuer" }, "tls.acme.issuers");
        }
        if no_on_demand || on_demand_hook.is_some() {
            flags.name(if no_on_demand { "--no-on-demand" } else { "--on-demand-hook" }, "tls.acme.on_demand");
        }
        if challenge.is_some() || !issuers.is_empty() || on_demand_hook.is_some() {
            flags.message.tls.get_or_insert_default().acme = Some(AcmeSettings {
                challenge: challenge.map_or(AcmeChallenge::Unspecified, Challenge::to_message).into(),
                issuers: issuers.iter().map(|issuer| names::issuer(issuer)).collect(),
                on_demand: on_demand_hook.map(|hook_url| OnDemand { hook_url }),
            });
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
#[derive(Debug, Default, Args)]
#[group(skip)]
#[command(next_help_heading = TLS)]
pub(super) struct ClientArgs {
    /// A PEM file: the CAs that clients must have a certificate from
    #[arg(long, value_name = "FILE")]
    #[arg(add = Sets(&["tls.client_authentication", "tls.client_authentication.ca_bundle_pem"]))]
    client_ca_file: Option<PathBuf>,
    /// Let clients without a certificate in as well; requests of those with one say whose they are
    #[arg(long, requires = "client_ca_file", add = Sets(&["tls.client_authentication.mode"]))]
    client_certificate_optional: bool,
}

impl ClientArgs {
    /// Writes what is given into the domain.
    pub(super) fn apply(self, no_client_ca: bool, flags: &mut Flags<Domain>) -> Result<(), Failure> {
        let Self { client_ca_file, client_certificate_optional } = self;
        if no_client_ca {
            flags.name("--no-client-ca", "tls.client_authentication");
        }
        let Some(path) = client_ca_file else { return Ok(()) };
        let mode = match client_certificate_optional {
            true => ClientCertificateMode::Optional,
            false => ClientCertificateMode::Required,
        };
        let clients = ClientAuthentication { ca_bundle_pem: files::read_text(&path)?, mode: mode.into() };
        flags.name("--client-ca-file", "tls.client_authentication");
        flags.message.tls.get_or_insert_default().client_authentication = Some(clients);
        Ok(())
    }
}

/// Where a domain's certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tls {
    /// It is ordered from a CA by ACME, and renewed; see `switchyard issuer`.
    Acme,
    /// The internal CA issues it.
    Internal,
    /// `switchyard certificate upload` brings it.
    Uploaded,
}

impl Tls {
    pub(super) fn to_message(self) -> CertificateSource {
        match self {
            Self::Acme => CertificateSource::Acme,
            Self::Internal => CertificateSource::Internal,
            Self::Uploaded => CertificateSource::Uploaded,
        }
    }
}
