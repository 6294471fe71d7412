//! What edges call.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use switchyard_proto::{
    fleet::v1::{
        EnrolRequest, EnrolResponse, RenewRequest, RenewResponse, SyncRequest, SyncResponse,
        fleet_service_server::{FleetService, FleetServiceServer},
    },
    vocab::limits::FLEET_MESSAGE_BYTES_MAX,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, server::Router},
};
use tracing::{Instrument, info_span, warn};

use super::{authentication, connection::ConnectInfo, convert::fleet as convert, questions::Questions};
use crate::{
    access::{FailedAttempt, FailedAttempts, Refusal},
    app::{App, AppError, edge},
    fleet::{Deadlines, FleetView, MessageError, Session, SessionError},
    listen::Connection,
    model::EdgeIdentity,
    on_demand::OnDemand,
    pki,
};

/// Bytes of what an edge says at a time.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the metadata of a call.
const METADATA_BYTES_MAX: u32 = 16 * 1024;
/// Calls at a time on one connection: an edge needs one.
const CALLS_PER_CONNECTION_MAX: u32 = 8;
/// How long the database may take to say whether an edge that is not known here belongs to the fleet.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Parts of a batch that wait for the connection.
const PARTS_WAITING_MAX: usize = 1;
/// How often an idle connection is tried, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves edges on the connections that come, until `ending` is cancelled and all streams have ended.
pub async fn serve(
    connections: mpsc::Receiver<Connection>,
    app: Arc<App>,
    view: FleetView,
    on_demand: OnDemand,
    ending: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let sessions = TaskTracker::new();
    let (attempts, sessions_of_all) = (FailedAttempts::default(), sessions.clone());
    let fleet = Fleet { app, view, on_demand, attempts, sessions: sessions_of_all, ending: ending.clone() };
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
    app: Arc<App>,
    view: FleetView,
    on_demand: OnDemand,
    attempts: FailedAttempts,
    sessions: TaskTracker,
    ending: CancellationToken,
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let peer = connection(&request)?.peer;
        let application = convert::application(request.into_inner(), peer.ip().to_canonical())
            .map_err(|error| super::status::status(error, None))?;
        let is_known = edge::is_invited(&self.app, &application);
        let certificate = self.attempt(peer, is_known, edge::enrol(&self.app, application)).await?;
        Ok(Response::new(EnrolResponse { certificate: Some(convert::certificate(certificate)) }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let peer = connection(&request)?.peer;
        let (id, request) =
            convert::renewal(request.into_inner()).map_err(|error| super::status::status(error, None))?;
        let is_known = self.app.feed.state().has_edge(&id, request.key());
        let certificate = self.attempt(peer, is_known, edge::renew(&self.app, &id, &request)).await?;
        Ok(Response::new(RenewResponse { certificate: Some(convert::certificate(certificate)) }))
    }

    type SyncStream = Pin<Box<dyn Stream<Item = Result<SyncResponse, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let identity = self.identify(&request).await?;
        let span = info_span!("edge", edge = %identity.id, peer = %identity.peer);
        let said = request.into_inner().map(|request| match request {
            Ok(request) => convert::said(request).map_err(|error| MessageError::Invalid(error.to_string())),
            Err(status) => Err(broken(&status)),
        });
        let (questions, answers) = Questions::new(self.on_demand.clone(), identity.id.clone(), self.sessions.clone());
        let messages = questions.apart(said);
        let (parts, sent) = mpsc::channel(PARTS_WAITING_MAX);
        let session = Session {
            identity,
            feed: self.app.feed.clone(),
            view: self.view.clone(),
            messages,
            parts,
            deadlines: Deadlines::DEFAULT,
            ending: self.ending.clone(),
        };
        self.sessions.spawn(session.run().instrument(span));
        let parts = ReceiverStream::new(sent).map(|part| part.map(convert::part).map_err(|error| status(&error)));
        // The stream ends with the session, whatever is still to be answered.
        let parts = parts.map(Some).chain(stream::iter([None]));
        let responses = stream::select(parts, ReceiverStream::new(answers).map(|answer| Some(Ok(answer))));
        let responses =
            responses.take_while(|response| std::future::ready(response.is_some())).filter_map(std::future::ready);
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Fleet {
    /// Which edge makes a call: its certificate says. What it shows is what lets its connection live on.
    async fn identify<T>(&self, request: &Request<T>) -> Result<EdgeIdentity, Status> {
        let ConnectInfo { peer, certificate, admission } = connection(request)?;
        let Some((id, key)) = certificate.as_ref().and_then(|certificate| pki::edge_of(certificate)) else {
            warn!(%peer, "a stream without a client certificate of an edge was refused");
            return Err(Status::unauthenticated("a client certificate is needed: join with an invitation"));
        };
        let feed = &self.app.feed;
        // Another control plane may just have let it join.
        if !feed.state().has_edge(&id, key)
            && !feed.read(READ_TIMEOUT).await.is_ok_and(|state| state.has_edge(&id, key))
        {
            warn!(edge = %id, %peer, "an edge that does not belong to the fleet was refused");
            return Err(Status::permission_denied(
                "the edge was removed from the fleet, or its name belongs to another",
            ));
        }
        admission.admit();
        Ok(EdgeIdentity { id, key, peer })
    }

    /// Makes a call of whoever shows what may be a credential. Failures are delayed and bounded; those who are known here are not
    /// concerned by what others do from the same address.
    async fn attempt<T>(
        &self,
        peer: SocketAddr,
        is_known: bool,
        call: impl Future<Output = Result<T, AppError>>,
    ) -> Result<T, Status> {
        // Who is not known here may be known to the database, which is not asked for all those who guess.
        let begun = if is_known { None } else { Some(self.begin_failure(peer)?) };
        let error = match call.await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if matches!(error, AppError::NotInvited | AppError::NotEnrolled(_)) {
            warn!(%peer, %error, "refused: an edge that does not belong to the fleet");
            let attempt = begun.map_or_else(|| self.begin_failure(peer), Ok)?;
            attempt.delay().await;
        }
        Err(super::status::status(error, None))
    }

    fn begin_failure(&self, peer: SocketAddr) -> Result<FailedAttempt, Status> {
        let begun = self.attempts.begin(Some(peer.ip()));
        begun.map_err(|error| authentication::status(&Refusal::TooManyFailures(error)))
    }
}

/// What a call knows of its connection.
fn connection<T>(request: &Request<T>) -> Result<ConnectInfo, Status> {
    ConnectInfo::of(request.extensions()).cloned().ok_or_else(|| Status::internal("a call without a connection"))
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
        SessionError::Removed => Code::PermissionDenied,
    };
    Status::new(code, error.to_string())
}
