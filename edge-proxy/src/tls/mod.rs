//! How connections from clients are encrypted.
//!
//! There is one [`ServerConfig`] for all connections. Its certificates are looked up in the live snapshot by server
//! name, so that a change needs no new one, and its ticket keys are common to all workers, so that a client resumes
//! at whichever it reaches. Which connection is terminated at all is decided in `listen`.

mod backend;

use std::sync::Arc;

use rustls::{
    ServerConfig, crypto,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use switchyard_proto::vocab::normalize_host;

use crate::snapshot::LiveSnapshot;

pub use backend::{
    BackendTls, BackendTrust, ClientCertificate, InvalidBackendTls, UnreadableAuthorities, system_authorities,
};

/// One is enough to resume with, and cheaper than rustls's two.
const TICKETS_PER_CONNECTION: usize = 1;

/// The configuration for connections that are terminated here: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub fn server_config(live: LiveSnapshot) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SnapshotCertificates { live }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Tickets)?;
    config.send_tls13_tickets = TICKETS_PER_CONNECTION;
    Ok(Arc::new(config))
}

/// The certificate for a server name as clients send it; none for no name.
pub fn certificate(live: &LiveSnapshot, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
    live.load().certificate(&normalize_host(server_name?)?)
}

#[derive(Debug)]
struct SnapshotCertificates {
    live: LiveSnapshot,
}

impl ResolvesServerCert for SnapshotCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        certificate(&self.live, hello.server_name())
    }
}

/// Why no TLS can be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The protocol versions and the cryptography do not fit together.
    #[error("the TLS configuration: {0}")]
    Config(#[source] rustls::Error),
    /// There is no key for session tickets.
    #[error("a key for session tickets: {0}")]
    Tickets(#[source] rustls::Error),
}
