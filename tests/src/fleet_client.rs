//! A client of a control plane's fleet listener, as edges have one.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use switchyard_proto::fleet::v1::fleet_service_client::FleetServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::{
    socket::Connector,
    wire::{CONTROL_PLANE_NAME, fingerprint},
};

/// A client of the control plane whose certificate authority has this fingerprint.
pub fn connect(control_plane: SocketAddr, authority: &str) -> Result<FleetServiceClient<Channel>> {
    let verifier = Fingerprint { authority: authority.to_owned(), provider: Arc::new(aws_lc_rs::default_provider()) };
    let mut config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let endpoint = Endpoint::from_shared(format!("http://{CONTROL_PLANE_NAME}"))?;
    Ok(FleetServiceClient::new(endpoint.connect_with_connector_lazy(Connector::tls_with(control_plane, config))))
}

/// Accepts a server that presents the authority it knows by its fingerprint; whether that has signed anything is not its
/// concern.
#[derive(Debug)]
struct Fingerprint {
    authority: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Fingerprint {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if intermediates.iter().any(|certificate| fingerprint(certificate) == self.authority) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the join token names another authority".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
