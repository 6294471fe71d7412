use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use switchyard_proto::{
    fleet::v1::{self as wire, fleet_service_client::FleetServiceClient, sync_request, sync_response},
    vocab::{CONTROL_PLANE_NAME, Digest, EDGE_ID_METADATA, EdgeId, Revision, limits::FLEET_MESSAGE_BYTES_MAX},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status as GrpcStatus, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tracing::{info, warn};

use super::{
    apply::{Applier, Link, Outcome},
    batch::{Assembly, InvalidBatch},
    held::Rejection,
    store::Persistence,
};
use crate::identity::JoinToken;

/// How long it may take to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked for a sign of life, and how long that may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts: about the first, and about the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Messages to the control plane that may wait to be sent: it asks for one at a time.
const OUTGOING_MAX: usize = 4;

/// What the client is told.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where control planes are, tried in turn: `https://host:port`. At least one.
    pub control_planes: Vec<Uri>,
    /// What this edge joins with.
    pub token: JoinToken,
    /// Who it is.
    pub edge: EdgeId,
}

/// Keeps a stream to a control plane, and hands what comes to the [`Applier`].
pub struct Client {
    settings: ClientSettings,
    tls: TlsConnector,
    authorization: MetadataValue<Ascii>,
    applier: Option<Applier>,
}

/// How a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(GrpcStatus),
    #[error("the control plane ended the stream")]
    Ended,
    #[error("a batch cannot be read")]
    Batch(#[from] InvalidBatch),
    #[error("a message that this version does not know")]
    UnknownMessage,
    #[error("the disk takes what it refused before: everything is asked for")]
    EverythingNeeded,
    #[error("the task that applies batches failed")]
    Applier(#[source] tokio::task::JoinError),
}

impl Client {
    /// Makes a client. `tls` decides which control planes are trusted.
    ///
    /// # Panics
    ///
    /// Never: a join token's secret is made of characters that metadata may have.
    pub fn new(settings: ClientSettings, tls: Arc<rustls::ClientConfig>, applier: Applier) -> Self {
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", settings.token.expose_secret())
            .parse()
            .expect("base64url characters are valid in metadata");
        authorization.set_sensitive(true);
        Self { settings, tls: TlsConnector::from(tls), authorization, applier: Some(applier) }
    }

    /// Keeps a stream until `ending` is cancelled: tries one control plane after the other, with growing pauses.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut pause = RETRY_PAUSE_MIN;
        let mut turn = 0_usize;
        loop {
            let uri = self.settings.control_planes[turn % self.settings.control_planes.len()].clone();
            let mut progress = Progress::None;
            let ended = tokio::select! {
                () = ending.cancelled() => return,
                ended = self.session(&uri, &mut progress) => ended,
            };
            if let Some(applier) = &self.applier {
                applier.link(Link::Down);
            }
            match ended {
                Err(error @ SessionError::Applier(_)) => {
                    // What is held is gone with the task: only a new start helps.
                    warn!(error = &error as &dyn std::error::Error, "ending");
                    ending.cancel();
                    return;
                }
                Err(error) => warn!(
                    control_plane = %uri,
                    error = &error as &dyn std::error::Error,
                    "no stream to the control plane: this edge serves what it has, and tries again"
                ),
                Ok(never) => match never {},
            }
            // A control plane that answers well is asked again soon; one that does not gives way to the next.
            match progress {
                Progress::Applied => pause = RETRY_PAUSE_MIN,
                Progress::None => turn = turn.wrapping_add(1),
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// One stream, from hello to its end.
    async fn session(&mut self, uri: &Uri, progress: &mut Progress) -> Result<std::convert::Infallible, SessionError> {
        let (outgoing, mut incoming) = self.open(uri).await?;
        info!(control_plane = %uri, "connected to the control plane");
        if let Some(applier) = &self.applier {
            applier.link(Link::Up);
        }
        let mut assembly = Assembly::default();
        loop {
            let message = incoming.message().await.map_err(SessionError::Refused)?.ok_or(SessionError::Ended)?;
            let wire::SyncResponse { message } = message;
            let Some(sync_response::Message::Batch(part)) = message else { return Err(SessionError::UnknownMessage) };
            let Some(batch) = assembly.take(part)? else { continue };
            let outcome = self.apply(batch).await?;
            let persistence = outcome.persistence;
            if outcome.result.is_ok() {
                *progress = Progress::Applied;
            }
            // The receiver lives as long as the stream.
            outgoing.send(ack(outcome)).await.map_err(|_| SessionError::Ended)?;
            if persistence == Persistence::EverythingNeeded {
                return Err(SessionError::EverythingNeeded);
            }
        }
    }

    async fn open(
        &self,
        uri: &Uri,
    ) -> Result<(mpsc::Sender<wire::SyncRequest>, Streaming<wire::SyncResponse>), SessionError> {
        let channel = self.connect(uri).await.map_err(SessionError::Connect)?;
        let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
        let hello = self.hello();
        outgoing.send(hello).await.map_err(|_| SessionError::Ended)?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", self.authorization.clone());
        let id = self.settings.edge.as_str().parse().expect("the characters of an id are valid in metadata");
        request.metadata_mut().insert(EDGE_ID_METADATA, id);
        let incoming = FleetServiceClient::new(channel)
            .max_decoding_message_size(FLEET_MESSAGE_BYTES_MAX)
            .sync(request)
            .await
            .map_err(SessionError::Refused)?
            .into_inner();
        Ok((outgoing, incoming))
    }

    async fn connect(&self, uri: &Uri) -> Result<Channel, tonic::transport::Error> {
        // The connector brings its own TLS; tonic must not look for another.
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default().to_owned();
        let tls = self.tls.clone();
        Endpoint::from_shared(format!("http://{authority}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(tower::service_fn(move |uri: Uri| connect(tls.clone(), uri)))
            .await
    }

    fn hello(&self) -> wire::SyncRequest {
        let (revision, digest) =
            self.applier.as_ref().map_or((Revision::ZERO, Digest::default()), |applier| applier.position());
        let rejections = self.applier.as_ref().map_or_else(Vec::new, Applier::rejections);
        let hello = wire::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Vec::new(),
            revision: revision.0,
            digest: digest.to_bytes().to_vec().into(),
            rejections: rejections.into_iter().map(rejection).collect(),
        };
        wire::SyncRequest { message: Some(sync_request::Message::Hello(hello)) }
    }

    /// Applies a batch where blocking is allowed.
    async fn apply(&mut self, batch: super::batch::Batch) -> Result<Outcome, SessionError> {
        let mut applier = self.applier.take().expect("the applier is back after every batch");
        let (applier, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = applier.apply(batch);
            (applier, outcome)
        })
        .await
        .map_err(SessionError::Applier)?;
        self.applier = Some(applier);
        Ok(outcome)
    }
}

/// Whether a session was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Applied,
}

type Connecting = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

/// Connects, and lets the control plane prove itself.
fn connect(tls: TlsConnector, uri: Uri) -> Connecting {
    Box::pin(async move {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let connecting = async {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(CONTROL_PLANE_NAME).map_err(std::io::Error::other)?;
            tls.connect(name, tcp).await
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
        Ok(TokioIo::new(stream))
    })
}

fn ack(outcome: Outcome) -> wire::SyncRequest {
    let Outcome { revision, result, rejections, persistence } = outcome;
    let outcome = match result {
        Ok(()) => wire::AckOutcome::Applied,
        Err(_) => wire::AckOutcome::DigestMismatch,
    };
    let ack = wire::Ack {
        revision: revision.0,
        outcome: outcome.into(),
        rejections: rejections.into_iter().map(rejection).collect(),
        not_persisted: persistence != Persistence::Persisted,
    };
    wire::SyncRequest { message: Some(sync_request::Message::Ack(ack)) }
}

fn rejection(rejection: Rejection) -> wire::Rejection {
    let Rejection { key, revision, reason } = rejection;
    wire::Rejection { key: Some(key.to_wire()), revision: revision.0, reason }
}

/// Between half of a pause and all of it, so that edges that lost a control plane together do not return together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness all edges wait as long as they may.
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => pause / 2 + pause.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) / 2.0),
        Err(_) => pause,
    }
}
