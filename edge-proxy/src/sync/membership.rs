//! How this edge comes to belong to the fleet, and stays there: the certificate that it is given, and those after.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Uri;
use rustls::{ClientConfig, crypto::CryptoProvider};
use switchyard_process::chain;
use switchyard_proto::fleet::v1::{self as wire, fleet_service_client::FleetServiceClient};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{info, warn};

use super::{
    advice,
    channel::{channel, jittered},
};
use crate::identity::{Identity, JoinToken};

/// How long a control plane may take to answer: it takes a second over those it does not know.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Pauses between attempts: about the first, and about the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The least time between two certificates, whatever a control plane says.
const RENEW_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest sleep: clocks may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);

/// Whether the fleet has this edge, as far as control planes said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None said that it has not.
    Member,
    /// It was removed. It serves what it has, and learns of no change.
    Removed,
}

/// What to do about that.
pub(super) const REJOIN: &str =
    "to let it join again, delete identity.json in its state directory and start it with a new invitation";

/// Obtains this edge's certificate, and renews it, while everything else goes on.
pub struct Membership {
    identity: Identity,
    /// What to join with, until that is done.
    token: Option<JoinToken>,
    control_planes: Vec<Uri>,
    provider: Arc<CryptoProvider>,
    credential: watch::Sender<Option<Arc<ClientConfig>>>,
    doubt: Arc<Notify>,
    standing: watch::Sender<Standing>,
}

impl Membership {
    /// Begins with what this edge has.
    ///
    /// # Errors
    ///
    /// Its key and certificate are not such as TLS takes.
    pub fn new(
        identity: Identity,
        token: Option<JoinToken>,
        control_planes: Vec<Uri>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let credential = identity.authenticated(provider.clone())?.map(Arc::new);
        let (credential, doubt) = (watch::Sender::new(credential), Arc::default());
        let standing = watch::Sender::new(Standing::Member);
        Ok(Self { identity, token, control_planes, provider, credential, doubt, standing })
    }

    /// How to connect as this edge, from now on; none until it has joined.
    pub(super) fn credential(&self) -> watch::Receiver<Option<Arc<ClientConfig>>> {
        self.credential.subscribe()
    }

    /// What to notify when a control plane does not accept the certificate.
    pub(super) fn doubt(&self) -> Arc<Notify> {
        self.doubt.clone()
    }

    /// Whether the fleet has this edge, from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What control planes say of that is noted here.
    pub(super) fn noted_standing(&self) -> watch::Sender<Standing> {
        self.standing.clone()
    }

    /// Runs until `ending` is cancelled.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut pause = RETRY_PAUSE_MIN;
        let mut turn = 0_usize;
        let mut is_doubted = false;
        loop {
            let due = self.identity.due_in(SystemTime::now());
            if !due.is_zero() && !is_doubted {
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(due.min(SLEEP_MAX)) => {}
                    () = self.doubt.notified() => is_doubted = true,
                }
                continue;
            }
            let uri = self.control_planes[turn % self.control_planes.len()].clone();
            let obtained = tokio::select! {
                () = ending.cancelled() => return,
                obtained = self.obtain(&uri) => obtained,
            };
            match obtained {
                Ok(()) => {
                    (pause, is_doubted) = (RETRY_PAUSE_MIN, false);
                    continue;
                }
                Err(ObtainError::Refused(status)) if status.code() == Code::PermissionDenied => {
                    warn!(control_plane = %uri, error = status.message(), "this edge was removed from the fleet: {REJOIN}");
                    self.standing.send_replace(Standing::Removed);
                }
                Err(error) => warn!(
                    control_plane = %uri,
                    error = chain(&error),
                    hint = self.advice(&error),
                    "no certificate for this edge: it serves what it has, and tries again"
                ),
            }
            turn = turn.wrapping_add(1);
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    fn advice(&self, error: &ObtainError) -> Option<String> {
        match error {
            ObtainError::Connect(error) => advice::connection(error),
            ObtainError::Refused(status) if !self.identity.has_joined() => advice::join(self.identity.id(), status),
            _ => None,
        }
    }

    /// Joins, or renews: once.
    async fn obtain(&mut self, uri: &Uri) -> Result<(), ObtainError> {
        let tls = Arc::new(self.identity.anonymous(self.provider.clone())?);
        let certificate_request = self.identity.certificate_request().map_err(ObtainError::Keep)?.into();
        let edge = self.identity.id().to_string();
        let token = self.token.as_ref().filter(|_| !self.identity.has_joined());
        let call = async {
            let mut client = FleetServiceClient::new(channel(uri, tls).await?);
            let certificate = match token {
                Some(token) => {
                    let (invite, secret) = (token.invite().to_string(), token.expose_secret().to_owned());
                    let request = wire::EnrolRequest { invite, secret, edge, certificate_request };
                    client.enrol(request).await?.into_inner().certificate
                }
                None => {
                    let request = wire::RenewRequest { edge, certificate_request };
                    client.renew(request).await?.into_inner().certificate
                }
            };
            Ok::<_, ObtainError>(certificate.unwrap_or_default())
        };
        let wire::EdgeCertificate { chain, renew_after_ms } =
            tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| ObtainError::Timeout)??;
        let chain = chain.iter().map(|der| der.to_vec()).collect();
        let renew_after = Duration::from_millis(renew_after_ms).max(RENEW_AFTER_MIN);
        let is_first = !self.identity.has_joined();
        self.identity.accept(chain, renew_after, SystemTime::now()).map_err(ObtainError::Keep)?;
        self.credential.send_replace(self.identity.authenticated(self.provider.clone())?.map(Arc::new));
        if is_first {
            info!(edge = %self.identity.id(), control_plane = %uri, "joined the fleet");
            self.token = None;
        } else {
            info!("this edge's certificate was renewed");
        }
        Ok(())
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum ObtainError {
    #[error("connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(#[from] Status),
    #[error("keep the certificate")]
    Keep(#[source] io::Error),
    #[error("use the certificate")]
    Tls(#[from] rustls::Error),
}
