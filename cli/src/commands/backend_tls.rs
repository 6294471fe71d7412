use std::path::PathBuf;

use clap::Args;
use switchyard_proto::v1::{BackendClientCertificate, BackendTls, Service};

use crate::{assignments::Flags, failure::Failure, fields::Sets, files, headings::TLS};

/// How TLS is spoken to the backends of a service. Each of them but `no_tls` turns it on; what is not
/// given stays.
#[derive(Debug, Args)]
#[command(next_help_heading = TLS)]
pub(super) struct TlsArgs {
    /// Speak TLS to the backends, with its defaults for what else is not given: certificates must be from a CA that the
    /// edge's system trusts, for the host of the backend's address
    #[arg(long, add = Sets(&["tls"]))]
    tls: bool,
    /// Speak to the backends in the clear
    #[arg(long, conflicts_with_all = ["tls", "tls_ca_file", "tls_system_ca", "tls_insecure_skip_verify", "tls_server_name",
        "tls_alternative_name", "tls_client_chain", "no_tls_client"])]
    no_tls: bool,
    /// A PEM file: the CAs that the backends' certificates come from
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_system_ca", "tls_insecure_skip_verify"])]
    #[arg(add = Sets(&["tls.ca_bundle_pem"]))]
    tls_ca_file: Option<PathBuf>,
    /// Trust the CAs that the edge's system trusts, and no others
    #[arg(long, conflicts_with = "tls_insecure_skip_verify")]
    tls_system_ca: bool,
    /// Take any certificate from anybody: whoever can come between can read and change everything
    #[arg(long, add = Sets(&["tls.insecure_skip_verify"]))]
    tls_insecure_skip_verify: bool,
    /// The name that backends are asked for and their certificates must be for: a host name or an IP address; `default`: the
    /// host of each backend's address
    #[arg(long, value_name = "NAME", add = Sets(&["tls.server_name"]))]
    tls_server_name: Option<String>,
    /// A name that is accepted as well: backends without a certificate for the first one are asked for it; `none`: none is
    #[arg(long, value_name = "NAME", conflicts_with = "tls_insecure_skip_verify")]
    #[arg(add = Sets(&["tls.alternative_name"]))]
    tls_alternative_name: Option<String>,
    /// A PEM file: the client certificate that is shown to backends, then its intermediates
    #[arg(long, value_name = "FILE", requires = "tls_client_key", conflicts_with = "no_tls_client")]
    #[arg(add = Sets(&["tls.client_certificate", "tls.client_certificate.chain_pem"]))]
    tls_client_chain: Option<PathBuf>,
    /// A PEM file: the key of the client certificate, not encrypted
    #[arg(long, value_name = "FILE", requires = "tls_client_chain")]
    #[arg(add = Sets(&["tls.client_certificate.private_key_pem"]))]
    tls_client_key: Option<PathBuf>,
    /// Show backends no client certificate
    #[arg(long)]
    no_tls_client: bool,
}

impl TlsArgs {
    /// Writes what is given into the service.
    pub(super) fn apply(self, flags: &mut Flags<Service>) -> Result<(), Failure> {
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
            flags.name("--no-tls", "tls");
            return Ok(());
        }
        let mut message = BackendTls::default();
        let mut named = Vec::new();
        let trust = [
            ("--tls-ca-file", tls_ca_file.is_some()),
            ("--tls-system-ca", tls_system_ca),
            ("--tls-insecure-skip-verify", tls_insecure_skip_verify),
        ];
        if let Some((flag, _)) = trust.into_iter().find(|(_, is_given)| *is_given) {
            named.extend([(flag, "tls.ca_bundle_pem"), (flag, "tls.insecure_skip_verify")]);
            message.insecure_skip_verify = tls_insecure_skip_verify;
            message.ca_bundle_pem = tls_ca_file.as_deref().map(files::read_text).transpose()?.unwrap_or_default();
        }
        if let Some(name) = tls_server_name {
            named.push(("--tls-server-name", "tls.server_name"));
            message.server_name = if name == "default" { String::new() } else { name };
        }
        if let Some(name) = tls_alternative_name {
            named.push(("--tls-alternative-name", "tls.alternative_name"));
            message.alternative_name = if name == "none" { String::new() } else { name };
        }
        if let (Some(chain), Some(key)) = (&tls_client_chain, &tls_client_key) {
            named.push(("--tls-client-chain", "tls.client_certificate"));
            message.client_certificate = Some(BackendClientCertificate {
                chain_pem: files::read_text(chain)?,
                private_key_pem: files::read_text(key)?,
                ..BackendClientCertificate::default()
            });
        } else if no_tls_client {
            named.push(("--no-tls-client", "tls.client_certificate"));
        }
        if tls {
            named = vec![("--tls", "tls")];
        }
        if !named.is_empty() {
            flags.message.tls = Some(message);
        }
        named.into_iter().for_each(|(flag, path)| flags.name(flag, path));
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

/// What people have to know of it beside its fields.
pub(super) fn warning(tls: Option<&BackendTls>) -> Option<(&'static str, String)> {
    let text = "the backends' certificates are NOT VERIFIED: whoever can come between can read and change everything";
    tls.filter(|tls| tls.insecure_skip_verify).map(|_| ("WARNING", text.to_owned()))
}
