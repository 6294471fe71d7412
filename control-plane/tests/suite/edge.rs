//! An edge that only receives: what it has is what it was sent.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use prost::Message;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use switchyard_control_plane::pki;
use switchyard_proto::{
    fleet::v1::{
        Ack, AckOutcome, Batch, BatchKind, Hello, Rejection, Resource, ResourceKind, SyncRequest, SyncResponse,
        fleet_service_client::FleetServiceClient, sync_request, sync_response,
    },
    vocab::{CONTROL_PLANE_NAME, Digest, EDGE_ID_METADATA},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::support::{ControlPlane, within};

/// What an edge has received.
#[derive(Default)]
pub(crate) struct FakeEdge {
    pub(crate) resources: BTreeMap<(i32, String), Bytes>,
    pub(crate) revision: u64,
    pub(crate) rejections: Vec<Rejection>,
    /// What it will have after the last part of the batch that is coming.
    pub(crate) coming: Option<BTreeMap<(i32, String), Bytes>>,
}

/// An open stream of an edge.
pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<SyncRequest>,
    responses: Streaming<SyncResponse>,
}

impl FakeEdge {
    pub(crate) fn received_digest(&self) -> Vec<u8> {
        let sum = self.resources.values().fold(Digest::default(), |sum, encoded| sum.plus(Digest::of(encoded)));
        sum.to_bytes().to_vec()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            version: "test".to_owned(),
            capabilities: vec![],
            revision: self.revision,
            digest: self.received_digest().into(),
            rejections: self.rejections.clone(),
        }
    }

    /// Opens a stream and says what it has.
    pub(crate) async fn join(&self, control_plane: &ControlPlane, id: &str) -> Stream {
        let stream = open(control_plane, id).await.unwrap();
        stream.say(sync_request::Message::Hello(self.hello())).await;
        stream
    }

    /// Takes all parts of the next batch; what kind it was.
    pub(crate) async fn receive(&mut self, stream: &mut Stream) -> BatchKind {
        loop {
            let batch = stream.batch().await.unwrap();
            if let Some(kind) = self.take(batch) {
                return kind;
            }
        }
    }

    /// Takes one part; the kind of the batch if that was its last.
    pub(crate) fn take(&mut self, batch: Batch) -> Option<BatchKind> {
        let kind = batch.kind();
        let Batch { revision, last, resources, removed, digest, .. } = batch;
        let coming = self.coming.get_or_insert_with(|| match kind {
            BatchKind::Snapshot => BTreeMap::new(),
            _ => self.resources.clone(),
        });
        for encoded in resources {
            let Resource { key, .. } = Resource::decode(encoded.clone()).unwrap();
            let key = key.unwrap();
            coming.insert((key.kind, key.id), encoded);
        }
        for key in removed {
            coming.remove(&(key.kind, key.id));
        }
        if last {
            self.resources = self.coming.take().unwrap();
            self.revision = revision;
            assert_eq!(self.received_digest(), digest, "the digest is that of what was received");
        }
        last.then_some(kind)
    }

    pub(crate) async fn acknowledge(&self, stream: &Stream) {
        let ack = Ack {
            revision: self.revision,
            outcome: AckOutcome::Applied.into(),
            rejections: self.rejections.clone(),
            not_persisted: false,
        };
        stream.say(sync_request::Message::Ack(ack)).await;
    }

    /// Takes batches until it has a revision.
    pub(crate) async fn reach(&mut self, stream: &mut Stream, revision: u64) {
        while self.revision < revision {
            self.receive(stream).await;
            self.acknowledge(stream).await;
        }
    }

    pub(crate) fn has(&self, kind: ResourceKind, id: &str) -> bool {
        self.resources.contains_key(&(kind.into(), id.to_owned()))
    }
}

impl Stream {
    pub(crate) async fn say(&self, message: sync_request::Message) {
        self.requests.send(SyncRequest { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn batch(&mut self) -> Result<Batch, Status> {
        let response = within("the next batch", self.responses.message()).await?;
        let SyncResponse { message } = response.expect("the stream goes on");
        let sync_response::Message::Batch(batch) = message.unwrap();
        Ok(batch)
    }

    /// Awaits the end of the stream; why.
    pub(crate) async fn ended(&mut self) -> Status {
        loop {
            match within("the end of the stream", self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream ends with a status that says why"),
                Err(status) => return status,
            }
        }
    }
}

async fn connect(control_plane: &ControlPlane) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pki::certificate_pem(&fleet_ca(control_plane).await)))
        .domain_name(CONTROL_PLANE_NAME);
    let endpoint = Endpoint::from_shared(format!("https://{}", control_plane.server.fleet)).unwrap();
    within("a connection", endpoint.tls_config(tls).unwrap().connect()).await.unwrap()
}

/// The authority's certificate, as edges find it: in the chain that the listener shows, by the token's fingerprint.
async fn fleet_ca(control_plane: &ControlPlane) -> CertificateDer<'static> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(control_plane.server.fleet).await.unwrap();
    let name = ServerName::try_from(CONTROL_PLANE_NAME).unwrap();
    let stream = within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    let token = control_plane.join_token();
    let (_, fingerprint) = token.split_once('.').unwrap();
    let pinned = |certificate: &&CertificateDer<'_>| hex(digest(&SHA256, certificate).as_ref()) == fingerprint;
    chain.iter().find(pinned).expect("the pinned certificate is in the chain").clone().into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Trusts any certificate: only to look at the chain.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Opens a stream, with the secret.
pub(crate) async fn open(control_plane: &ControlPlane, id: &str) -> Result<Stream, Status> {
    let token = control_plane.join_token();
    let (secret, _) = token.split_once('.').unwrap();
    open_with(control_plane, &[("authorization", &format!("Bearer {secret}")), (EDGE_ID_METADATA, id)]).await
}

/// Opens a stream with this metadata.
pub(crate) async fn open_with(
    control_plane: &ControlPlane,
    metadata: &[(&'static str, &str)],
) -> Result<Stream, Status> {
    let mut client = FleetServiceClient::new(connect(control_plane).await);
    let (requests, incoming) = mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(incoming));
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    let responses = within("an answer", client.sync(request)).await?.into_inner();
    Ok(Stream { requests, responses })
}
