//! The change feed as an edge sees it: over the real listener, with a real client.

mod support;

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
        Ack, AckOutcome, Batch, BatchKind, Hello, Rejection, Resource, ResourceKey, ResourceKind, SyncRequest,
        SyncResponse, fleet_service_client::FleetServiceClient, sync_request, sync_response,
    },
    v1::{
        Backend, DeleteBackendRequest, Edge, EdgeState, GetEdgeRequest, ListEdgesRequest, ProgressState,
        UpdateBackendRequest, WatchRevisionRequest,
    },
    vocab::{CONTROL_PLANE_NAME, Digest, EDGE_ID_METADATA},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use support::{ControlPlane, within};

/// What an edge has received, and its connection.
#[derive(Default)]
struct FakeEdge {
    resources: BTreeMap<(i32, String), Bytes>,
    revision: u64,
    rejections: Vec<Rejection>,
    /// What it will have after the last part of the batch that is coming.
    coming: Option<BTreeMap<(i32, String), Bytes>>,
}

/// An open stream of an edge.
struct Stream {
    requests: mpsc::Sender<SyncRequest>,
    responses: Streaming<SyncResponse>,
}

impl FakeEdge {
    fn received_digest(&self) -> Vec<u8> {
        let sum = self.resources.values().fold(Digest::default(), |sum, encoded| sum.plus(Digest::of(encoded)));
        sum.to_bytes().to_vec()
    }

    fn hello(&self) -> Hello {
        Hello {
            version: "test".to_owned(),
            capabilities: vec![],
            revision: self.revision,
            digest: self.received_digest().into(),
            rejections: self.rejections.clone(),
        }
    }

    /// Opens a stream and says what it has.
    async fn join(&self, control_plane: &ControlPlane, id: &str) -> Stream {
        let stream = open(control_plane, id).await.unwrap();
        stream.say(sync_request::Message::Hello(self.hello())).await;
        stream
    }

    /// Takes all parts of the next batch; what kind it was.
    async fn receive(&mut self, stream: &mut Stream) -> BatchKind {
        loop {
            let batch = stream.batch().await.unwrap();
            if let Some(kind) = self.take(batch) {
                return kind;
            }
        }
    }

    /// Takes one part; the kind of the batch if that was its last.
    fn take(&mut self, batch: Batch) -> Option<BatchKind> {
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

    async fn acknowledge(&self, stream: &Stream) {
        let ack = Ack {
            revision: self.revision,
            outcome: AckOutcome::Applied.into(),
            rejections: self.rejections.clone(),
            not_persisted: false,
        };
        stream.say(sync_request::Message::Ack(ack)).await;
    }

    /// Takes batches until it has a revision.
    async fn reach(&mut self, stream: &mut Stream, revision: u64) {
        while self.revision < revision {
            self.receive(stream).await;
            self.acknowledge(stream).await;
        }
    }

    fn has(&self, kind: ResourceKind, id: &str) -> bool {
        self.resources.contains_key(&(kind.into(), id.to_owned()))
    }
}

impl Stream {
    async fn say(&self, message: sync_request::Message) {
        self.requests.send(SyncRequest { message: Some(message) }).await.unwrap();
    }

    async fn batch(&mut self) -> Result<Batch, Status> {
        let response = within("the next batch", self.responses.message()).await?;
        let SyncResponse { message } = response.expect("the stream goes on");
        let sync_response::Message::Batch(batch) = message.unwrap();
        Ok(batch)
    }

    /// Awaits the end of the stream; why.
    async fn ended(&mut self) -> Status {
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

async fn open(control_plane: &ControlPlane, id: &str) -> Result<Stream, Status> {
    let token = control_plane.join_token();
    let (secret, _) = token.split_once('.').unwrap();
    open_with(control_plane, &[("authorization", &format!("Bearer {secret}")), (EDGE_ID_METADATA, id)]).await
}

async fn open_with(control_plane: &ControlPlane, metadata: &[(&'static str, &str)]) -> Result<Stream, Status> {
    let mut client = FleetServiceClient::new(connect(control_plane).await);
    let (requests, incoming) = mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(incoming));
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    let responses = within("an answer", client.sync(request)).await?.into_inner();
    Ok(Stream { requests, responses })
}

/// The edge as the API shows it.
async fn shown(control_plane: &mut ControlPlane, id: &str) -> Edge {
    control_plane.edges.get_edge(GetEdgeRequest { name: format!("edges/{id}") }).await.unwrap().into_inner()
}

/// Awaits that an edge, as the API shows it, is as it should be.
async fn shows(control_plane: &mut ControlPlane, id: &str, what: &str, right: impl Fn(&Edge) -> bool) -> Edge {
    within(what, async {
        loop {
            match control_plane.edges.get_edge(GetEdgeRequest { name: format!("edges/{id}") }).await {
                Ok(edge) if right(edge.get_ref()) => return edge.into_inner(),
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn nobody_gets_in_without_the_secret_and_an_id() {
    let control_plane = ControlPlane::start().await;
    let token = control_plane.join_token();
    let bearer = format!("Bearer {}", token.split_once('.').unwrap().0);
    for (metadata, code) in [
        (vec![(EDGE_ID_METADATA, "edge-1")], Code::Unauthenticated),
        (vec![("authorization", "Bearer wrong"), (EDGE_ID_METADATA, "edge-1")], Code::Unauthenticated),
        (vec![("authorization", &bearer[7..]), (EDGE_ID_METADATA, "edge-1")], Code::Unauthenticated),
        (vec![("authorization", bearer.as_str())], Code::InvalidArgument),
        (vec![("authorization", bearer.as_str()), (EDGE_ID_METADATA, "Edge/1")], Code::InvalidArgument),
    ] {
        let status = open_with(&control_plane, &metadata).await.err().expect("it is refused");
        assert_eq!(status.code(), code, "{status:?}");
    }
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_new_edge_gets_a_snapshot_and_then_differences() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    assert!(edge.has(ResourceKind::Service, "default"));
    assert!(edge.has(ResourceKind::Backend, "shop-1"));
    edge.acknowledge(&stream).await;

    control_plane.create_domain("shop.example", "a").await.unwrap();
    let batch = stream.batch().await.unwrap();
    assert_eq!(batch.resources.len(), 1, "only what changed is sent");
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    assert!(edge.has(ResourceKind::Domain, "shop.example"));
    edge.acknowledge(&stream).await;

    let name = "backends/shop-1".to_owned();
    control_plane.backends.delete_backend(DeleteBackendRequest { name, ..Default::default() }).await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert!(!edge.has(ResourceKind::Backend, "shop-1"));
    edge.acknowledge(&stream).await;

    let revision = edge.revision;
    let shown =
        shows(&mut control_plane, "edge-1", "an acknowledgement", |edge| edge.acknowledged_revision == revision).await;
    assert_eq!((shown.snapshots_sent, shown.deltas_sent), (1, 2));
    assert_eq!((shown.state(), shown.version.as_str()), (EdgeState::Connected, "test"));
    assert!(shown.peer_address.starts_with("127.0.0.1:"));
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_resumes_with_a_difference_also_after_a_restart_of_the_control_plane() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    shows(&mut control_plane, "edge-1", "an acknowledgement", |edge| edge.acknowledged_revision > 0).await;
    drop(stream);

    // Deleted while the edge is away, and before the restart: it must still be told.
    let name = "backends/shop-1".to_owned();
    control_plane.backends.delete_backend(DeleteBackendRequest { name, ..Default::default() }).await.unwrap();
    let mut control_plane = control_plane.restart().await;
    let known = shown(&mut control_plane, "edge-1").await;
    assert_eq!((known.state(), known.acknowledged_revision), (EdgeState::Offline, edge.revision));

    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert!(!edge.has(ResourceKind::Backend, "shop-1"));
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_that_has_everything_is_sent_nothing_until_something_changes() {
    let mut control_plane = ControlPlane::start().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;

    let mut stream = edge.join(&control_plane, "edge-1").await;
    let revision = edge.revision;
    let known = shows(&mut control_plane, "edge-1", "the second stream", |edge| edge.snapshots_sent == 0).await;
    assert_eq!((known.acknowledged_revision, known.deltas_sent), (revision, 0));
    control_plane.create_backend("shop-1", "a").await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_with_another_digest_or_from_the_future_is_sent_everything() {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let right = edge.received_digest();

    edge.resources.pop_first();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    assert_eq!(edge.received_digest(), right);
    edge.acknowledge(&stream).await;

    edge.revision += 1_000;
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_digest_mismatch_brings_everything_and_a_second_one_ends_the_stream() {
    let mut control_plane = ControlPlane::start().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    let mismatch = Ack { revision, outcome: AckOutcome::DigestMismatch.into(), ..Ack::default() };
    stream.say(sync_request::Message::Ack(mismatch.clone())).await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    stream.say(sync_request::Message::Ack(mismatch)).await;
    assert_eq!(stream.ended().await.code(), Code::DataLoss);
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_slow_edge_gets_one_batch_at_a_time_and_skips_to_the_newest() {
    let mut control_plane = ControlPlane::start().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    // Not acknowledged yet: what happens now is not sent.
    let mut newest = 0;
    for number in 0..5 {
        newest = control_plane.create_backend(&format!("shop-{number}"), "a").await.unwrap();
    }
    let sent = shown(&mut control_plane, "edge-1").await;
    assert_eq!((sent.snapshots_sent, sent.deltas_sent), (1, 0));
    edge.acknowledge(&stream).await;
    let batch = stream.batch().await.unwrap();
    assert_eq!((batch.revision, batch.resources.len()), (newest, 5));
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_change_that_is_undone_moves_only_the_number() {
    let mut control_plane = ControlPlane::start().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let name = "backends/shop-1".to_owned();
    let deleted = control_plane.backends.delete_backend(DeleteBackendRequest { name, ..Default::default() });
    let revision = deleted.await.unwrap().into_inner().revision;
    edge.acknowledge(&stream).await;
    let batch = stream.batch().await.unwrap();
    assert_eq!((batch.revision, batch.resources.len(), batch.last), (revision, 0, true));
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_second_stream_of_an_edge_replaces_the_first() {
    let mut control_plane = ControlPlane::start().await;
    let mut edge = FakeEdge::default();
    let mut first = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut first).await;
    edge.acknowledge(&first).await;
    let mut second = edge.join(&control_plane, "edge-1").await;
    assert_eq!(first.ended().await.code(), Code::Aborted);
    assert_eq!(shown(&mut control_plane, "edge-1").await.state(), EdgeState::Connected);
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    edge.reach(&mut second, revision).await;
    drop(second);
    shows(&mut control_plane, "edge-1", "it is offline", |edge| edge.state() == EdgeState::Offline).await;
    control_plane.server.end().await;
}

#[tokio::test]
async fn what_does_not_belong_ends_the_stream_with_the_reason() {
    let control_plane = ControlPlane::start().await;
    let edge = FakeEdge::default();
    let ack = sync_request::Message::Ack(Ack { outcome: AckOutcome::Applied.into(), ..Ack::default() });

    let mut before_hello = open(&control_plane, "edge-1").await.unwrap();
    before_hello.say(ack.clone()).await;
    assert_eq!(before_hello.ended().await.code(), Code::InvalidArgument);

    let mut other_revision = edge.join(&control_plane, "edge-2").await;
    other_revision.batch().await.unwrap();
    other_revision.say(ack).await;
    assert_eq!(other_revision.ended().await.code(), Code::InvalidArgument);

    let mut bad_hello = open(&control_plane, "edge-3").await.unwrap();
    let hello = Hello { digest: vec![1].into(), revision: 1, ..edge.hello() };
    bad_hello.say(sync_request::Message::Hello(hello)).await;
    let status = bad_hello.ended().await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "hello.digest: 16 bytes"));

    let mut nothing = open(&control_plane, "edge-4").await.unwrap();
    nothing.requests.send(SyncRequest { message: None }).await.unwrap();
    assert_eq!(nothing.ended().await.code(), Code::InvalidArgument);
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_revision_is_followed_to_every_edge() {
    let mut control_plane = ControlPlane::start().await;
    let (mut quick, mut slow, mut away) = (FakeEdge::default(), FakeEdge::default(), FakeEdge::default());
    let mut quick_stream = quick.join(&control_plane, "quick").await;
    let mut slow_stream = slow.join(&control_plane, "slow").await;
    let mut away_stream = away.join(&control_plane, "away").await;
    quick.receive(&mut quick_stream).await;
    quick.acknowledge(&quick_stream).await;
    slow.receive(&mut slow_stream).await;
    slow.acknowledge(&slow_stream).await;
    away.receive(&mut away_stream).await;
    drop(away_stream);
    shows(&mut control_plane, "away", "it is offline", |edge| edge.state() == EdgeState::Offline).await;

    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut watch = control_plane.edges.watch_revision(WatchRevisionRequest { revision }).await.unwrap().into_inner();
    quick.reach(&mut quick_stream, revision).await;
    slow.receive(&mut slow_stream).await;
    // It holds two bad resources: one of this revision, one from before.
    let rejection = |id: &str, revision| Rejection {
        key: Some(ResourceKey { kind: ResourceKind::Backend.into(), id: id.to_owned() }),
        revision,
        reason: "not for me".to_owned(),
    };
    slow.rejections = vec![rejection("shop-1", revision), rejection("shop-0", revision - 1)];
    let states = loop {
        let report = within("a report", watch.message()).await.unwrap().expect("it ends with a complete report");
        let states: Vec<_> = report.edges.iter().map(|edge| (edge.edge.clone(), edge.state())).collect();
        if states[1].1 == ProgressState::Live {
            slow.acknowledge(&slow_stream).await;
        }
        if report.complete {
            let rejections = &report.edges[2].rejections;
            assert_eq!(rejections.len(), 1, "what was rejected before has nothing to do with it");
            assert_eq!(
                (rejections[0].resource.as_str(), rejections[0].reason.as_str()),
                ("backends/shop-1", "not for me")
            );
            break states;
        }
        assert_eq!(states[2].1, ProgressState::Pending);
    };
    let expected = [
        ("edges/away".to_owned(), ProgressState::Offline),
        ("edges/quick".to_owned(), ProgressState::Live),
        ("edges/slow".to_owned(), ProgressState::Rejected),
    ];
    assert_eq!(states, expected);
    assert!(within("the end", watch.message()).await.unwrap().is_none());

    let future = WatchRevisionRequest { revision: revision + 1 };
    assert_eq!(control_plane.edges.watch_revision(future).await.unwrap_err().code(), Code::InvalidArgument);

    let list = control_plane.edges.list_edges(ListEdgesRequest { page_size: 2, page_token: String::new() });
    let list = list.await.unwrap().into_inner();
    assert_eq!((list.edges.len(), list.revision), (2, revision));
    let next = ListEdgesRequest { page_size: 2, page_token: list.next_page_token };
    let next = control_plane.edges.list_edges(next).await.unwrap().into_inner();
    assert_eq!((next.edges[0].name.as_str(), next.next_page_token.as_str()), ("edges/slow", ""));
    control_plane.server.end().await;
}

#[tokio::test]
async fn rejections_survive_a_restart_and_are_gone_once_the_edge_says_so() {
    let mut control_plane = ControlPlane::start().await;
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    let key = Some(ResourceKey { kind: ResourceKind::Backend.into(), id: "shop-1".to_owned() });
    let rejection = Rejection { key, revision, reason: "no".to_owned() };
    let mut edge = FakeEdge { rejections: vec![rejection], ..FakeEdge::default() };
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    shows(&mut control_plane, "edge-1", "its rejection", |edge| edge.acknowledged_revision == revision).await;
    let mut control_plane = control_plane.restart().await;
    let known = shown(&mut control_plane, "edge-1").await;
    assert_eq!((known.rejections.len(), known.rejections[0].reason.as_str()), (1, "no"));

    let backend =
        Backend { name: "backends/shop-1".to_owned(), address: "127.0.0.1:2".to_owned(), ..Backend::default() };
    let update = UpdateBackendRequest { backend: Some(backend), ..UpdateBackendRequest::default() };
    let revision = control_plane.backends.update_backend(update).await.unwrap().into_inner().revision;
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.rejections.clear();
    edge.acknowledge(&stream).await;
    let known = shows(&mut control_plane, "edge-1", "the fix", |edge| edge.acknowledged_revision == revision).await;
    assert!(known.rejections.is_empty());
    control_plane.server.end().await;
}
