//! What edges call.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use switchyard_proto::{
    fleet::v1::{
        SyncRequest, SyncResponse,
        fleet_service_server::{FleetService, FleetServiceServer},
    },
    vocab::{EDGE_ID_METADATA, EdgeId, limits::FLEET_MESSAGE_BYTES_MAX},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, server::Router},
};
use tracing::{Instrument, debug, info_span};

use super::{connection::ConnectInfo, convert::fleet as convert};
use crate::{
    feed::Feed,
    fleet::{Deadlines, FleetView, JoinSecret, MessageError, Session, SessionError},
    listen::Connection,
    model::EdgeIdentity,
};

/// Bytes of what an edge says at a time.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the metadata of a call.
const METADATA_BYTES_MAX: u32 = 16 * 1024;
/// Calls at a time on one connection: an edge needs one.
const CALLS_PER_CONNECTION_MAX: u32 = 8;
/// Parts of a batch that wait for the connection.
const PARTS_WAITING_MAX: usize = 1;
/// How often an idle connection is tried, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves edges on the connections that come, until `ending` is cancelled and all streams have ended.
pub async fn serve(
    connections: mpsc::Receiver<Connection>,
    feed: Feed,
    view: FleetView,
    secret: JoinSecret,
    ending: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let sessions = TaskTracker::new();
    let fleet = Fleet { feed, view, secret, sessions: sessions.clone(), ending: ending.clone() };
    let incoming = ReceiverStream::new(connections).map(Ok::<_, std::convert::Infallible>);
    router(fleet).serve_with_incoming_shutdown(incoming, ending.cancelled_owned()).await?;
    sessions.close();
    sessions.wait().await;
    Ok(())
}

fn router(fleet: Fleet) -> Router {
    let service = FleetServiceServer::new(fleet)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(FLEET_MESSAGE_BYTES_MAX);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .add_service(service)
}

/// The calls of edges.
#[derive(Debug)]
struct Fleet {
    feed: Feed,
    view: FleetView,
    secret: JoinSecret,
    sessions: TaskTracker,
    ending: CancellationToken,
}

#[tonic::async_trait]
impl FleetService for Fleet {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<SyncResponse, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let identity = self.identify(&request)?;
        let span = info_span!("edge", id = %identity.id, peer = %identity.peer);
        let messages = request.into_inner().map(|request| match request {
            Ok(request) => convert::message(request).map_err(|error| MessageError::Invalid(error.to_string())),
            Err(status) => Err(broken(&status)),
        });
        let (parts, sent) = mpsc::channel(PARTS_WAITING_MAX);
        let session = Session {
            identity,
            feed: self.feed.clone(),
            view: self.view.clone(),
            messages,
            parts,
            deadlines: Deadlines::DEFAULT,
            ending: self.ending.clone(),
        };
        self.sessions.spawn(session.run().instrument(span));
        let responses = ReceiverStream::new(sent).map(|part| part.map(convert::part).map_err(|error| status(&error)));
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Fleet {
    /// Which edge makes a call. What it shows is what lets its connection live on.
    fn identify<T>(&self, request: &Request<T>) -> Result<EdgeIdentity, Status> {
        let ConnectInfo { peer, admission } = ConnectInfo::of(request.extensions())
            .cloned()
            .ok_or_else(|| Status::internal("a call without a connection"))?;
        let metadata = request.metadata();
        let secret = metadata.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !secret.is_some_and(|secret| self.secret.is(secret)) {
            debug!(%peer, "a call without the join secret");
            return Err(Status::unauthenticated(
                "the join secret is missing or wrong; use the token of this control plane",
            ));
        }
        let id = metadata.get(EDGE_ID_METADATA).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = EdgeId::parse(id).map_err(|error| Status::invalid_argument(format!("{EDGE_ID_METADATA}: {error}")))?;
        admission.admit();
        Ok(EdgeIdentity { id, peer })
    }
}

/// Messages that cannot be read arrive as a status, too.
fn broken(status: &Status) -> MessageError {
    match status.code() {
        Code::Internal | Code::OutOfRange | Code::InvalidArgument | Code::ResourceExhausted => {
            MessageError::Invalid(status.message().to_owned())
        }
        _ => MessageError::Broken(status.message().to_owned()),
    }
}

fn status(error: &SessionError) -> Status {
    let code = match error {
        SessionError::Gone => Code::Cancelled,
        SessionError::NoHello | SessionError::NotTaken | SessionError::NoAck => Code::DeadlineExceeded,
        SessionError::Invalid(_) | SessionError::Unexpected(_) => Code::InvalidArgument,
        SessionError::DigestMismatch => Code::DataLoss,
        SessionError::Replaced => Code::Aborted,
        SessionError::Unread(_) | SessionError::Ending => Code::Unavailable,
        SessionError::TooMany(_) => Code::ResourceExhausted,
    };
    Status::new(code, error.to_string())
}
