use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::{self, aws_lc_rs::sign::any_supported_type},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::TlsError;

/// The protocol by which a CA asks (RFC 8737, section 4).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The configuration for a CA that asks for `server_name`: a certificate of its own that says what was authorized (RFC 8737, section 3).
pub(crate) fn challenge_config(server_name: &str, digest: &[u8; 32]) -> Result<ServerConfig, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Challenge)?;
    let mut params = CertificateParams::new([server_name.to_owned()]).map_err(TlsError::Challenge)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(TlsError::Challenge)?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = any_supported_type(&der).map_err(TlsError::Config)?;
    let certified = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer));
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        // rustls's own resolver refuses a certificate with a critical extension that it does not know.
        .with_cert_resolver(Arc::new(Only(certified)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
