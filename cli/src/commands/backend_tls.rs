use std::{path::PathBuf, time::SystemTime};

use clap::Args;
use pbjson_types::FieldMask;
use switchyard_proto::v1::{BackendClientCertificate, BackendTls, Service};

use crate::{failure::Failure, files, output::moment};

/// How TLS is spoken to the backends of a service. Each of them but `no_tls` turns it on; what is not
/// given stays.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS toward the backends")]
pub(super) struct TlsArgs {
    /// Speak TLS to the backends, with its defaults for what else is not given: certificates must be from a CA that the
    /// edge's system trusts, for the host of the backend's address
    #[arg(long)]
    tls: bool,
    /// Speak to the backends in the clear
    #[arg(long, conflicts_with_all = ["tls", "tls_ca_file", "tls_system_ca", "tls_insecure_skip_verify", "tls_server_name",
        "tls_alternative_name", "tls_client_chain", "no_tls_client"])]
    no_tls: bool,
    /// A PEM file: the CAs that the backends' certificates come from
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_system_ca", "tls_insecure_skip_verify"])]
    tls_ca_file: Option<PathBuf>,
    /// Trust the CAs that the edge's system trusts, and no others
    #[arg(long, conflicts_with = "tls_insecure_skip_verify")]
    tls_system_ca: bool,
    /// Take any certificate from anybody: whoever can come between can read and change everything
    #[arg(long)]
    tls_insecure_skip_verify: bool,
    /// The name that backends are asked for and their certificates must be for: a host name or an IP address; `default`: the
    /// host of each backend's address
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// A name that is accepted as well: backends without a certificate for the first one are asked for it; `none`: none is
    #[arg(long, value_name = "NAME", conflicts_with = "tls_insecure_skip_verify")]
    tls_alternative_name: Option<String>,
    /// A PEM file: the client certificate that is shown to backends, then its intermediates
    #[arg(long, value_name = "FILE", requires = "tls_client_key", conflicts_with = "no_tls_client")]
    tls_client_chain: Option<PathBuf>,
    /// A PEM file: the key of the client certificate, not encrypted
    #[arg(long, value_name = "FILE", requires = "tls_client_chain")]
    tls_client_key: Option<PathBuf>,
    /// Show backends no client certificate
    #[arg(long)]
    no_tls_client: bool,
}

impl TlsArgs {
    /// Writes what is given into `service`, and its paths into the mask.
    pub(super) fn apply(self, service: &mut Service, mask: &mut FieldMask) -> Result<(), Failure> {
        let Self {
            tls,
            no_tls,
            tls_ca_file,
            tls_system_ca,
            tls_insecure_skip_verify,
            tls_server_name,
            tls_alternative_name,
            tls_client_chain,
            tls_client_key,
            no_tls_client,
        } = self;
        if no_tls {
            mask.paths.push("tls".to_owned());
            return Ok(());
        }
        let mut message = BackendTls::default();
        let mut paths = Vec::new();
        if tls_ca_file.is_some() || tls_system_ca || tls_insecure_skip_verify {
            paths.extend(["tls.ca_bundle_pem", "tls.insecure_skip_verify"]);
            message.insecure_skip_verify = tls_insecure_skip_verify;
            message.ca_bundle_pem = tls_ca_file.as_deref().map(files::read_text).transpose()?.unwrap_or_default();
        }
        if let Some(name) = tls_server_name {
            paths.push("tls.server_name");
            message.server_name = if name == "default" { String::new() } else { name };
        }
        if let Some(name) = tls_alternative_name {
            paths.push("tls.alternative_name");
            message.alternative_name = if name == "none" { String::new() } else { name };
        }
        if let (Some(chain), Some(key)) = (&tls_client_chain, &tls_client_key) {
            paths.push("tls.client_certificate");
            message.client_certificate = Some(BackendClientCertificate {
                chain_pem: files::read_text(chain)?,
                private_key_pem: files::read_text(key)?,
                ..BackendClientCertificate::default()
            });
        } else if no_tls_client {
            paths.push("tls.client_certificate");
        }
        if tls {
            paths = vec!["tls"];
        }
        if !paths.is_empty() {
            service.tls = Some(message);
            mask.paths.extend(paths.into_iter().map(str::to_owned));
        }
        Ok(())
    }
}

/// How safe it is, in a few words.
pub(super) fn short(tls: Option<&BackendTls>) -> &'static str {
    match tls {
        None => "no",
        Some(tls) if tls.insecure_skip_verify => "NOT VERIFIED",
        Some(tls) if tls.ca_bundle_pem.is_empty() => "verified, by the system's CAs",
        Some(_) => "verified, by its own CAs",
    }
}

/// The rest of it.
pub(super) fn details(tls: &BackendTls, now: SystemTime) -> Vec<(&'static str, String)> {
    let name = if tls.server_name.is_empty() { "of each backend's address" } else { &tls.server_name };
    let mut details = vec![("tls server name", name.to_owned())];
    if !tls.alternative_name.is_empty() {
        details.push(("tls alternative name", tls.alternative_name.clone()));
    }
    if let Some(certificate) = &tls.client_certificate {
        details.push(("tls client certificate", certificate.fingerprint_sha256.clone()));
        details.push(("tls client certificate ends", moment(certificate.not_after_time.as_ref(), now)));
    }
    if tls.insecure_skip_verify {
        let warning =
            "the backends' certificates are not verified: whoever can come between can read and change everything";
        details.push(("WARNING", warning.to_owned()));
    }
    details
}
