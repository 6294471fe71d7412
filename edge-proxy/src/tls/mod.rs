//! How connections from clients are encrypted.
//!
//! There is one [`ServerConfig`] for all connections of each oldest version of TLS, and one of its own for each domain that asks for
//! client certificates. Their certificates are looked up in the live snapshot by server name, so that a change needs no new one. So are
//! the ticket keys of the common ones, which edges with the same labels share: a client resumes at whichever edge and worker it
//! reaches. The others resume nothing, because a session that is resumed verifies no certificate. Which connection is terminated at
//! all is decided in `listen`.

mod challenge;
mod tickets;

use std::sync::Arc;

use rustls::{
    ServerConfig, crypto,
    server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use switchyard_proto::{resource::TlsVersion, vocab::normalize_host};

use self::tickets::Tickets;
use crate::{peer_auth::ClientAuthentication, snapshot::LiveSnapshot};

pub(crate) use challenge::{ACME_TLS, challenge_config};

/// One is enough to resume with, and cheaper than rustls's two.
const TICKETS_PER_CONNECTION: usize = 1;

/// The configurations for connections that are terminated here: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerConfigs {
    certificates: Arc<SnapshotCertificates>,
    common: Arc<ServerConfig>,
    common_1_3: Arc<ServerConfig>,
}

impl ServerConfigs {
    /// With the certificates and ticket keys of `live`.
    pub fn new(live: LiveSnapshot) -> Result<Self, TlsError> {
        let tickets = Arc::new(Tickets::new(live.clone())?);
        let certificates = Arc::new(SnapshotCertificates { live });
        let common = |minimum| -> Result<_, TlsError> {
            let mut common = server_config(certificates.clone(), Arc::new(NoClientAuth), minimum)?;
            common.ticketer = tickets.clone();
            common.send_tls13_tickets = TICKETS_PER_CONNECTION;
            Ok(Arc::new(common))
        };
        let (common, common_1_3) = (common(TlsVersion::V12)?, common(TlsVersion::V13)?);
        Ok(Self { certificates, common, common_1_3 })
    }

    /// The one for a domain whose clients are asked to prove themselves, or for any other, with this version of TLS or a newer one.
    pub(crate) fn of(
        &self,
        clients: Option<&ClientAuthentication>,
        minimum: TlsVersion,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let Some(clients) = clients else {
            return Ok(match minimum {
                TlsVersion::V12 => self.common.clone(),
                TlsVersion::V13 => self.common_1_3.clone(),
            });
        };
        if let Some(config) = clients.config().get() {
            return Ok(config.clone());
        }
        // A domain that changes its version has another `clients`.
        let mut config = server_config(self.certificates.clone(), clients.verifier(), minimum)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(clients.config().get_or_init(|| Arc::new(config)).clone())
    }
}

fn server_config(
    certificates: Arc<SnapshotCertificates>,
    clients: Arc<dyn ClientCertVerifier>,
    minimum: TlsVersion,
) -> Result<ServerConfig, TlsError> {
    let versions = match minimum {
        TlsVersion::V12 => rustls::ALL_VERSIONS,
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Config)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct SnapshotCertificates {
    live: LiveSnapshot,
}

impl ResolvesServerCert for SnapshotCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.live.load().certificate(&normalize_host(hello.server_name()?)?)
    }
}

/// Why no TLS can be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The protocol versions and the cryptography do not fit together.
    #[error("the TLS configuration: {0}")]
    Config(#[source] rustls::Error),
    /// There is no certificate for a CA that asks.
    #[error("a certificate for a challenge: {0}")]
    Challenge(#[source] rcgen::Error),
    /// There is no key for session tickets.
    #[error("a key for session tickets: {0}")]
    Tickets(#[source] rustls::Error),
}
