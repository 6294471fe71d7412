use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::vocab::CONTROL_PLANE_NAME;

use crate::{
    model::Timestamp,
    pki::{Authority, IssueError, Issued},
};

/// How long a certificate of the control plane is valid.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The age at which it is replaced: two thirds of that.
const RENEWAL_AGE: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// The certificate that the control plane shows to edges: issued by the fleet's authority, kept in memory alone, replaced
/// long before it expires.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    issued_at: Timestamp,
}

impl ServerCertificate {
    /// Issues the first one.
    ///
    /// # Errors
    ///
    /// The authority does not issue, or its keys are not such as TLS takes.
    pub fn issue(authority: Arc<Authority>, now: Timestamp) -> Result<Self, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Current::issue(&authority, &provider, now)?;
        Ok(Self { authority, provider, current: ArcSwap::from_pointee(current) })
    }

    /// Replaces the certificate if it is old; whether it was. Connections that are there keep theirs.
    ///
    /// # Errors
    ///
    /// As for [`ServerCertificate::issue`]; the old one stays.
    pub fn renew_if_due(&self, now: Timestamp) -> Result<bool, CertificateError> {
        if now < self.current.load().issued_at.plus(RENEWAL_AGE) {
            return Ok(false);
        }
        self.current.store(Arc::new(Current::issue(&self.authority, &self.provider, now)?));
        Ok(true)
    }

    /// The TLS settings of the listener for edges. Who shows a certificate must show one that the fleet's authority issued and that
    /// has not expired; who shows none can do no more than join.
    ///
    /// # Errors
    ///
    /// The provider of cryptography lacks TLS 1.3, or the authority's certificate is none.
    pub fn server_config(self: Arc<Self>) -> Result<ServerConfig, CertificateError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.certificate().to_vec()))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Current {
    fn issue(authority: &Authority, provider: &CryptoProvider, now: Timestamp) -> Result<Self, CertificateError> {
        let Issued { certificate, private_key } = authority.issue_server(&[CONTROL_PLANE_NAME], now, LIFETIME)?;
        // With the authority's own: edges know its fingerprint, and find it here.
        let chain = [certificate, authority.certificate().to_vec()].map(CertificateDer::from).to_vec();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(private_key.expose_pkcs8()));
        let key = CertifiedKey::from_der(chain, key.clone_key(), provider)?;
        Ok(Self { key: Arc::new(key), issued_at: now })
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("issued_at", &self.current.load().issued_at).finish_non_exhaustive()
    }
}

/// Why there is no certificate for the control plane.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The authority does not issue.
    #[error("issue the control plane's certificate: {0}")]
    Issue(#[from] IssueError),
    /// Edges cannot be verified by it.
    #[error("verify edges by the fleet's authority: {0}")]
    Clients(#[from] VerifierBuilderError),
    /// What it issued is not such as TLS takes.
    #[error("use the control plane's certificate: {0}")]
    Tls(#[from] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::AuthorityKind;

    #[test]
    fn the_certificate_is_replaced_at_two_thirds_of_its_lifetime() {
        let now = Timestamp(1_800_000_000_000);
        let authority = Arc::new(Authority::generate(AuthorityKind::Fleet, now).unwrap());
        let certificate = ServerCertificate::issue(authority, now).unwrap();
        let first = certificate.current.load().key.clone();
        let days = |days: u64| now.plus(Duration::from_secs(days * 24 * 60 * 60));
        assert!(!certificate.renew_if_due(days(19)).unwrap());
        assert!(Arc::ptr_eq(&first, &certificate.current.load().key));
        assert!(certificate.renew_if_due(days(20)).unwrap());
        assert!(!certificate.renew_if_due(days(20)).unwrap());
        assert!(!Arc::ptr_eq(&first, &certificate.current.load().key));
    }
}
