//! A control plane that says what a test tells it to: the change feed as it is on the wire, to a real edge.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use prost::Message;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use switchyard_proto::{
    fleet::v1::{
        Ack, Batch, BatchKind, Certificate, EdgeCertificate, EnrolRequest, EnrolResponse, Hello, RenewRequest,
        RenewResponse, Resource, ResourceKey, SyncRequest, SyncResponse,
        fleet_service_server::{FleetService, FleetServiceServer},
        sync_request, sync_response,
    },
    v1::{Backend, Domain, Service},
    vocab::Digest,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream, transport::Server};

use crate::{
    authority::{Authority, Issued},
    eventually::within,
};

/// The name that edges expect of a control plane.
pub const CONTROL_PLANE_NAME: &str = "control-plane.switchyard.internal";

/// What edges join a control plane of the tests with: an invitation and its secret, 32 bytes as base64url.
const INVITE: &str = "test";
const SECRET: &str = "dGhlIGpvaW4gc2VjcmV0IG9mIHRoZSB0ZXN0LXJ1bnM";
/// How long its certificates live until they are renewed.
const RENEW_AFTER_MS: u64 = 60 * 60 * 1_000;

/// Streams, connections and batches that wait for the test.
const WAITING_MAX: usize = 16;

/// A listener for edges, and what they join with.
pub struct FleetListener {
    /// Where it listens.
    pub address: SocketAddr,
    /// The join token of its edges.
    pub token: String,
    // Aborts everything when it is dropped.
    _server: JoinSet<()>,
}

impl FleetListener {
    /// Serves edges, which it lets join under a certificate authority of its own.
    pub async fn start(streams: impl Streams) -> Result<Self> {
        let authority = Authority::generate()?;
        let issued = authority.issue(&[CONTROL_PLANE_NAME])?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(issued.chain.clone(), issued.key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (connections, incoming) = mpsc::channel(WAITING_MAX);
        let mut server = JoinSet::new();
        server.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A handshake that fails is the edge's business: it comes again.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                if connections.send(Ok::<_, std::io::Error>(stream)).await.is_err() {
                    return;
                }
            }
        });
        let token = format!("{INVITE}.{SECRET}.{}", fingerprint(authority.der()));
        server.spawn(async move {
            let service = FleetServiceServer::new(Gate { authority, streams });
            // It is ended by being aborted.
            let _ = Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming)).await;
        });
        Ok(Self { address, token, _server: server })
    }
}

/// The lower-case hexadecimal SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A control plane whose every batch comes from the test.
pub struct ScriptedControlPlane {
    /// Where edges reach it, and with what.
    pub listener: FleetListener,
    streams: mpsc::Receiver<Stream>,
}

impl ScriptedControlPlane {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let (sender, streams) = mpsc::channel(WAITING_MAX);
        Ok(Self { listener: FleetListener::start(Scripted { streams: sender }).await?, streams })
    }

    /// Awaits the next stream of an edge, and what it says first.
    pub async fn stream(&mut self) -> Result<(Stream, Hello)> {
        let mut stream = within("an edge opens a stream", self.streams.recv()).await?.context("the server runs")?;
        match stream.next().await? {
            Some(sync_request::Message::Hello(hello)) => Ok((stream, hello)),
            other => bail!("a stream begins with Hello, not with {other:?}"),
        }
    }
}

/// What a control plane does with the streams of its edges.
#[tonic::async_trait]
pub trait Streams: Send + Sync + 'static {
    /// What is said on a stream, given what the edge says.
    async fn open(&self, requests: Streaming<SyncRequest>) -> Result<BoxStream<SyncResponse>, Status>;
}

/// Lets edges join, and leaves their streams to others.
struct Gate<S> {
    authority: Authority,
    streams: S,
}

impl<S> Gate<S> {
    fn certificate(&self, request: &[u8]) -> Result<Option<EdgeCertificate>, Status> {
        let chain = self.authority.sign(request).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let chain = chain.iter().map(|der| Bytes::copy_from_slice(der)).collect();
        Ok(Some(EdgeCertificate { chain, renew_after_ms: RENEW_AFTER_MS }))
    }
}

#[tonic::async_trait]
impl<S: Streams> FleetService for Gate<S> {
    type SyncStream = BoxStream<SyncResponse>;

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let EnrolRequest { invite, secret, edge: _, certificate_request } = request.into_inner();
        if (invite.as_str(), secret.as_str()) != (INVITE, SECRET) {
            return Err(Status::unauthenticated("another invitation"));
        }
        Ok(Response::new(EnrolResponse { certificate: self.certificate(&certificate_request)? }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let RenewRequest { edge: _, certificate_request } = request.into_inner();
        Ok(Response::new(RenewResponse { certificate: self.certificate(&certificate_request)? }))
    }

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        Ok(Response::new(self.streams.open(request.into_inner()).await?))
    }
}

struct Scripted {
    streams: mpsc::Sender<Stream>,
}

#[tonic::async_trait]
impl Streams for Scripted {
    async fn open(&self, requests: Streaming<SyncRequest>) -> Result<BoxStream<SyncResponse>, Status> {
        let (responses, stream) = mpsc::channel(WAITING_MAX);
        let opened = Stream { requests, responses };
        self.streams.send(opened).await.map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

/// The stream of one edge, seen from the control plane. Dropped, it ends.
pub struct Stream {
    requests: Streaming<SyncRequest>,
    responses: mpsc::Sender<Result<SyncResponse, Status>>,
}

impl Stream {
    /// Sends a batch.
    pub async fn send(&mut self, batch: Batch) -> Result<()> {
        let response = SyncResponse { message: Some(sync_response::Message::Batch(batch)) };
        self.responses.send(Ok(response)).await.context("the stream is open")
    }

    /// Sends a batch and awaits its acknowledgement.
    pub async fn apply(&mut self, batch: Batch) -> Result<Ack> {
        self.send(batch).await?;
        match self.next().await? {
            Some(sync_request::Message::Ack(ack)) => Ok(ack),
            other => bail!("a batch is answered with Ack, not with {other:?}"),
        }
    }

    /// Ends the stream.
    pub fn end(&mut self) {
        // What is sent from now on goes nowhere.
        self.responses = mpsc::channel(1).0;
    }

    /// Awaits that the edge ends the stream.
    pub async fn ended(mut self) -> Result<()> {
        match self.next().await {
            Ok(None) => Ok(()),
            // It may also just drop it.
            Err(error) if error.is::<Status>() => Ok(()),
            Err(error) => Err(error),
            Ok(Some(message)) => bail!("the stream goes on with {message:?}"),
        }
    }

    async fn next(&mut self) -> Result<Option<sync_request::Message>> {
        let message = within("the edge says something", self.requests.message()).await??;
        Ok(message.and_then(|request| request.message))
    }
}

/// A fleet's configuration, and how it changes from batch to batch.
#[derive(Default)]
pub struct Feed {
    revision: u64,
    held: BTreeMap<(String, String), Bytes>,
    changed: BTreeMap<(String, String), Bytes>,
    removed: Vec<ResourceKey>,
    withheld: Vec<ResourceKey>,
}

impl Feed {
    /// Puts a service.
    pub fn service(&mut self, id: &str) -> &mut Self {
        let service = Service { name: format!("services/{id}"), ..Service::default() };
        self.put("services", id, service.encode_to_vec())
    }

    /// Puts an active backend.
    pub fn backend(&mut self, id: &str, service: &str, address: &str, tag: &str) -> &mut Self {
        let backend = Backend {
            name: format!("backends/{id}"),
            service: format!("services/{service}"),
            address: address.to_owned(),
            tags: vec![tag.to_owned()],
            ..Backend::default()
        };
        self.put("backends", id, backend.encode_to_vec())
    }

    /// Puts a certificate.
    pub fn certificate(&mut self, id: &str, name: &str, issued: &Issued) -> &mut Self {
        let certificate = Certificate {
            dns_names: vec![name.to_owned()],
            chain: issued.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            private_key: issued.key_pkcs8.clone().into(),
        };
        self.put("certificates", id, certificate.encode_to_vec())
    }

    /// Puts a domain.
    pub fn domain(&mut self, host: &str, service: &str, tag: &str) -> &mut Self {
        let domain = Domain {
            name: format!("domains/{host}"),
            service: format!("services/{service}"),
            active_tag: tag.to_owned(),
            ..Domain::default()
        };
        self.put("domains", host, domain.encode_to_vec())
    }

    /// Puts whatever bytes as the body of a resource of whatever kind (`domains`).
    pub fn put(&mut self, kind: &str, id: &str, body: impl Into<Bytes>) -> &mut Self {
        let resource = Resource { key: Some(key(kind, id)), revision: self.revision + 1, body: body.into() };
        self.put_encoded(kind, id, resource.encode_to_vec())
    }

    /// Puts a whole resource as it is on the wire.
    pub fn put_encoded(&mut self, kind: &str, id: &str, encoded: impl Into<Bytes>) -> &mut Self {
        self.changed.insert((kind.to_owned(), id.to_owned()), encoded.into());
        self
    }

    /// The body of a resource as it was put last.
    pub fn body(&self, kind: &str, id: &str) -> Option<Bytes> {
        let key = (kind.to_owned(), id.to_owned());
        let encoded = self.changed.get(&key).or_else(|| self.held.get(&key))?;
        Some(Resource::decode(encoded.clone()).ok()?.body)
    }

    /// The revision of what is put next.
    pub fn next_revision(&self) -> u64 {
        self.revision + 1
    }

    /// Removes a resource.
    pub fn remove(&mut self, kind: &str, id: &str) -> &mut Self {
        self.held.remove(&(kind.to_owned(), id.to_owned()));
        self.removed.push(key(kind, id));
        self
    }

    /// Has a resource that cannot be read.
    pub fn withhold(&mut self, kind: &str, id: &str) -> &mut Self {
        self.held.remove(&(kind.to_owned(), id.to_owned()));
        self.withheld.push(key(kind, id));
        self
    }

    /// The batch with the changes since the last one.
    pub fn delta(&mut self) -> Batch {
        let resources = self.changed.values().cloned().collect();
        let removed = std::mem::take(&mut self.removed);
        self.batch(BatchKind::Delta, resources, removed)
    }

    /// The batch with everything.
    pub fn snapshot(&mut self) -> Batch {
        self.removed.clear();
        let mut all = self.held.clone();
        all.extend(self.changed.clone());
        self.batch(BatchKind::Snapshot, all.into_values().collect(), Vec::new())
    }

    /// The revision and digest that an edge must have after the last batch.
    pub fn received(&self) -> (u64, Digest) {
        (self.revision, self.held.values().fold(Digest::default(), |sum, bytes| sum.plus(Digest::of(bytes))))
    }

    fn batch(&mut self, kind: BatchKind, resources: Vec<Bytes>, removed: Vec<ResourceKey>) -> Batch {
        self.held.append(&mut self.changed);
        self.revision += 1;
        let (revision, digest) = self.received();
        let digest = digest.to_bytes().to_vec().into();
        let withheld = std::mem::take(&mut self.withheld);
        let kind = kind.into();
        Batch { revision, kind, last: true, resources, removed, digest, withheld, withheld_complete: false }
    }
}

fn key(kind: &str, id: &str) -> ResourceKey {
    ResourceKey { kind: kind.to_owned(), id: id.to_owned() }
}
