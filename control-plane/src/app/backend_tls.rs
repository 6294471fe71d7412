//! TLS toward the backends of a service.

use switchyard_proto::vocab::BackendHost;

use super::{AppError, certificate::Upload};
use crate::{
    model::{BackendTls, BackendTrust, CaBundle, ClientCertificate, Timestamp},
    pki::{self, InvalidCertificate, UploadField},
};

/// What is to become of the TLS toward the backends of a service.
#[derive(Clone)]
pub enum TlsUpdate {
    /// They are spoken to in the clear.
    Off,
    /// They are spoken to over TLS; what is not given stays, or has its default.
    On(TlsFields),
}

/// The fields of a service's TLS that are given.
#[derive(Clone, Default)]
pub struct TlsFields {
    /// The CAs that are trusted; `None`: the system's.
    pub authorities: Option<Option<CaBundle>>,
    /// The name of all backends; `None`: each has that of its address.
    pub server_name: Option<Option<BackendHost>>,
    /// A name that is accepted as well, or none.
    pub alternative_name: Option<Option<BackendHost>>,
    /// What the edge proves itself with. Without a key, that of the certificate before.
    pub client_certificate: Option<Option<Upload>>,
    /// Whether anybody is trusted.
    pub insecure_skip_verify: Option<bool>,
}

impl TlsUpdate {
    /// What is to be in place of `old`.
    pub(super) fn apply(self, old: Option<&BackendTls>, now: Timestamp) -> Result<Option<BackendTls>, AppError> {
        match self {
            Self::Off => Ok(None),
            Self::On(fields) => fields.apply(old, now).map(Some),
        }
    }
}

impl TlsFields {
    fn apply(self, old: Option<&BackendTls>, now: Timestamp) -> Result<BackendTls, AppError> {
        let Self { authorities, server_name, alternative_name, client_certificate, insecure_skip_verify } = self;
        let old = old.cloned().unwrap_or_default();
        let (old_authorities, was_insecure) = match old.trust {
            BackendTrust::System => (None, false),
            BackendTrust::Authorities(bundle) => (Some(bundle), false),
            BackendTrust::Anybody => (None, true),
        };
        let authorities = authorities.unwrap_or(old_authorities);
        let trust = match (authorities, insecure_skip_verify.unwrap_or(was_insecure)) {
            (None, false) => BackendTrust::System,
            (Some(bundle), false) => BackendTrust::Authorities(bundle),
            (None, true) => BackendTrust::Anybody,
            (Some(_), true) => {
                return Err(AppError::invalid(
                    "service.tls.insecure_skip_verify",
                    "CAs have no effect when nothing is verified: give one of them, and unset the other",
                ));
            }
        };
        let alternative_name = alternative_name.unwrap_or(old.alternative_name);
        if trust == BackendTrust::Anybody && alternative_name.is_some() {
            return Err(AppError::invalid(
                "service.tls.alternative_name",
                "a second name has no effect when nothing is verified: unset one of them",
            ));
        }
        let client_certificate = match client_certificate {
            None => old.client_certificate,
            Some(None) => None,
            Some(Some(upload)) => Some(check(&upload, old.client_certificate.as_ref(), now).map_err(|error| {
                let field = match error.field() {
                    UploadField::Chain => "service.tls.client_certificate.chain_pem",
                    UploadField::PrivateKey => "service.tls.client_certificate.private_key_pem",
                };
                AppError::invalid(field, error)
            })?),
        };
        Ok(BackendTls {
            trust,
            server_name: server_name.unwrap_or(old.server_name),
            alternative_name,
            client_certificate,
        })
    }
}

fn check(
    upload: &Upload,
    old: Option<&ClientCertificate>,
    now: Timestamp,
) -> Result<ClientCertificate, InvalidCertificate> {
    match old {
        Some(old) if upload.private_key_pem.is_empty() => pki::client_certificate_again(&upload.chain_pem, old, now),
        _ => pki::client_certificate(&upload.chain_pem, &upload.private_key_pem, now),
    }
}
