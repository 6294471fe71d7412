//! A client of a control plane's fleet listener, as edges have one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use switchyard_proto::fleet::v1::{
    EnrolRequest, Hello, RenewRequest, SyncRequest, SyncResponse, fleet_service_client::FleetServiceClient,
    sync_request,
};
use tokio_stream::StreamExt;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    socket::Connector,
    wire::{CONTROL_PLANE_NAME, fingerprint},
};

/// What edges call.
pub type FleetClient = FleetServiceClient<Channel>;

/// What an edge says that has nothing.
pub fn nothing() -> Hello {
    Hello { version: "test".to_owned(), digest: vec![0; 16].into(), ..Hello::default() }
}

/// Begins a stream, which the edge leaves open.
pub async fn begin(mut client: FleetClient, hello: Hello) -> Result<Streaming<SyncResponse>, Status> {
    let hello = SyncRequest { message: Some(sync_request::Message::Hello(hello)) };
    Ok(client.sync(tokio_stream::iter([hello]).chain(tokio_stream::pending())).await?.into_inner())
}

/// What an attacker would like to be certified: a CA, under the name of an edge.
pub fn edge_params(edge: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, edge);
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://switchyard/edge/{edge}").try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(params)
}

/// The parts of a join token.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The invitation's id.
    pub invite: String,
    /// Its secret.
    pub secret: String,
    /// The fingerprint of the fleet's CA.
    pub authority: String,
}

impl Invitation {
    /// Takes a token apart.
    pub fn of(token: &str) -> Result<Self> {
        let mut parts = token.split('.').map(str::to_owned);
        let mut next = || parts.next().context("a join token has three parts");
        Ok(Self { invite: next()?, secret: next()?, authority: next()? })
    }
}

/// An edge that has joined a fleet: a key, and the certificate for it.
pub struct Member {
    name: String,
    authority: String,
    /// The key.
    pub key: KeyPair,
    /// The certificate, then the CA.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Member {
    /// Joins with a token, and a new key.
    pub async fn join(control_plane: SocketAddr, token: &str, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        Ok(Self::join_with(control_plane, &Invitation::of(token)?, name, key, request).await??)
    }

    /// Joins with a key and a request for it.
    pub async fn join_with(
        control_plane: SocketAddr,
        invitation: &Invitation,
        name: &str,
        key: KeyPair,
        certificate_request: Vec<u8>,
    ) -> Result<Result<Self, Status>> {
        let Invitation { invite, secret, authority } = invitation.clone();
        let mut client = connect(control_plane, &authority, None)?;
        let certificate_request = certificate_request.into();
        let request = EnrolRequest { invite, secret, edge: name.to_owned(), certificate_request };
        Ok(client.enrol(request).await.map(|response| {
            let chain = response.into_inner().certificate.unwrap_or_default().chain;
            let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
            Self { name: name.to_owned(), authority, key, chain }
        }))
    }

    /// Asks for another certificate; its lifetime in milliseconds until it is to be renewed.
    pub async fn renew(&self, control_plane: SocketAddr) -> Result<Result<u64, Status>> {
        let request = CertificateParams::default().serialize_request(&self.key)?.der().to_vec();
        let request = RenewRequest { edge: self.name.clone(), certificate_request: request.into() };
        let renewed = connect(control_plane, &self.authority, None)?.renew(request).await;
        Ok(renewed.map(|response| response.into_inner().certificate.unwrap_or_default().renew_after_ms))
    }

    /// A client that shows the certificate.
    pub fn connect(&self, control_plane: SocketAddr) -> Result<FleetClient> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        connect(control_plane, &self.authority, Some((self.chain.clone(), key)))
    }
}

/// A client of the control plane whose certificate authority has this fingerprint, and what it shows there.
pub fn connect(
    control_plane: SocketAddr,
    authority: &str,
    own: Option<(Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>)>,
) -> Result<FleetClient> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Fingerprint { authority: authority.to_owned(), provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key.into())?,
    };
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
