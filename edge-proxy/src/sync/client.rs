use std::{sync::Arc, time::Duration};

use http::Uri;
use switchyard_process::{chain, handshake::tls_error};
use switchyard_proto::{
    fleet::v1::{self as wire, fleet_service_client::FleetServiceClient, sync_request, sync_response},
    schema::KnownSchema,
    vocab::{Digest, Revision, limits::FLEET_MESSAGE_BYTES_MAX},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status as GrpcStatus, Streaming};
use tracing::{error, info, warn};

use super::{
    advice,
    apply::{Applier, Link, Outcome},
    batch::{Assembly, InvalidBatch},
    channel::{channel, jittered},
    membership::{Membership, REJOIN, Standing},
    resources::Rejection,
    store::Persistence,
};
use crate::on_demand::{Question, Questions, Verdict};

/// Pauses between attempts: about the first, and about the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Messages to the control plane that may wait to be sent. There is one acknowledgement at a time; questions beyond this are not asked.
const OUTGOING_MAX: usize = 64;

/// What the client is told.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where control planes are, tried in turn: `https://host:port`. At least one.
    pub control_planes: Vec<Uri>,
}

/// Keeps a stream to a control plane, and hands what comes to the [`Applier`].
pub struct Client {
    settings: ClientSettings,
    /// How to connect as this edge, once it has joined.
    credential: watch::Receiver<Option<Arc<rustls::ClientConfig>>>,
    /// Told when a control plane does not accept the certificate.
    doubt: Arc<Notify>,
    standing: watch::Sender<Standing>,
    applier: Option<Applier>,
    questions: Questions,
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
    /// Makes a client, which connects as `membership` says and takes `questions` to the control plane.
    pub fn new(settings: ClientSettings, membership: &Membership, applier: Applier, questions: Questions) -> Self {
        Self {
            settings,
            credential: membership.credential(),
            doubt: membership.doubt(),
            standing: membership.noted_standing(),
            applier: Some(applier),
            questions,
        }
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
            self.questions.close();
            match ended {
                Err(error @ SessionError::Applier(_)) => {
                    // What was received is gone with the task: only a new start helps.
                    error!(error = chain(&error), "batches cannot be applied any more");
                    return;
                }
                Err(error) if is_certificate_refused(&error) => {
                    warn!(control_plane = %uri, "this edge's certificate is not accepted: another is asked for");
                    self.doubt.notify_one();
                }
                Err(SessionError::Refused(status)) if status.code() == Code::PermissionDenied => {
                    warn!(control_plane = %uri, "this edge was removed from the fleet: {REJOIN}");
                    self.standing.send_replace(Standing::Removed);
                }
                Err(error) => warn!(
                    control_plane = %uri,
                    error = chain(&error),
                    hint = advice::connection(&error),
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
        self.standing.send_replace(Standing::Member);
        if let Some(applier) = &self.applier {
            applier.link(Link::Up);
        }
        self.questions.open();
        let mut assembly = Assembly::default();
        loop {
            let message = tokio::select! {
                message = incoming.message() => message.map_err(SessionError::Refused)?.ok_or(SessionError::Ended)?,
                asked = self.questions.next() => {
                    let id = asked.id;
                    if outgoing.try_send(question(asked)).is_err() {
                        self.questions.answer(id, Verdict::NotNow);
                    }
                    continue;
                }
            };
            let part = match message.message {
                Some(sync_response::Message::Batch(part)) => part,
                Some(sync_response::Message::Answer(answer)) => {
                    let verdict = verdict(&answer)?;
                    self.questions.answer(answer.id, verdict);
                    continue;
                }
                None => return Err(SessionError::UnknownMessage),
            };
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
        &mut self,
        uri: &Uri,
    ) -> Result<(mpsc::Sender<wire::SyncRequest>, Streaming<wire::SyncResponse>), SessionError> {
        // Whoever has not joined waits here.
        let tls = match self.credential.wait_for(Option::is_some).await {
            Ok(credential) => credential.clone().ok_or(SessionError::Ended)?,
            Err(_) => return Err(SessionError::Ended),
        };
        let channel = channel(uri, tls).await.map_err(SessionError::Connect)?;
        let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
        let hello = self.hello();
        outgoing.send(hello).await.map_err(|_| SessionError::Ended)?;
        let request = Request::new(ReceiverStream::new(receiver));
        let incoming = FleetServiceClient::new(channel)
            .max_decoding_message_size(FLEET_MESSAGE_BYTES_MAX)
            .sync(request)
            .await
            .map_err(SessionError::Refused)?
            .into_inner();
        Ok((outgoing, incoming))
    }

    fn hello(&self) -> wire::SyncRequest {
        let (revision, digest) =
            self.applier.as_ref().map_or((Revision::ZERO, Digest::default()), |applier| applier.position());
        let rejections = self.applier.as_ref().map_or_else(Vec::new, Applier::rejections);
        let rejected = self.applier.as_ref().map_or(0, Applier::rejected);
        let withheld = self.applier.as_ref().map_or(0, Applier::withheld);
        let hello = wire::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Vec::new(),
            revision: revision.0,
            digest: digest.to_bytes().to_vec().into(),
            rejections: rejections.into_iter().map(rejection).collect(),
            rejections_total: rejected as u64,
            withheld_total: withheld as u64,
            schema: Some(KnownSchema::own().to_wire()),
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

fn ack(outcome: Outcome) -> wire::SyncRequest {
    let Outcome { revision, result, rejections, rejected, persistence } = outcome;
    let outcome = match result {
        Ok(()) => wire::AckOutcome::Applied,
        Err(_) => wire::AckOutcome::DigestMismatch,
    };
    let ack = wire::Ack {
        revision: revision.0,
        outcome: outcome.into(),
        rejections: rejections.into_iter().map(rejection).collect(),
        not_persisted: persistence != Persistence::Persisted,
        rejections_total: rejected as u64,
    };
    wire::SyncRequest { message: Some(sync_request::Message::Ack(ack)) }
}

fn question(question: Question) -> wire::SyncRequest {
    let Question { id, server_name } = question;
    let question = wire::Question { id, server_name: server_name.into() };
    wire::SyncRequest { message: Some(sync_request::Message::Question(question)) }
}

fn verdict(answer: &wire::Answer) -> Result<Verdict, SessionError> {
    match answer.verdict() {
        wire::Verdict::Coming => Ok(Verdict::Coming),
        wire::Verdict::Refused => Ok(Verdict::Refused),
        wire::Verdict::NotNow => Ok(Verdict::NotNow),
        wire::Verdict::Unspecified => Err(SessionError::UnknownMessage),
    }
}

fn rejection(rejection: Rejection) -> wire::Rejection {
    let Rejection { key, revision, reason } = rejection;
    wire::Rejection { key: Some(key.to_wire()), revision: revision.0, reason }
}

/// Whether the control plane ended the handshake because of this edge's certificate: by its clock it has expired, perhaps.
fn is_certificate_refused(error: &SessionError) -> bool {
    let error: &(dyn std::error::Error + 'static) = match error {
        SessionError::Refused(status) => status,
        error => error,
    };
    matches!(
        tls_error(error),
        Some(rustls::Error::AlertReceived(
            rustls::AlertDescription::CertificateExpired | rustls::AlertDescription::BadCertificate
        ))
    )
}
