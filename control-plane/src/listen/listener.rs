use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use switchyard_process::chain;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken};
use tracing::{debug, warn};

use super::{
    connection::Connection,
    quota::{Quota, QuotaExceeded, Share},
};

/// Connections at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 12_000;
/// Handshakes at a time, far more than one address may have; more wait in the kernel.
const HANDSHAKES_MAX: usize = 2_048;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last without a call that was let in.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause after the system refused a connection, for want of descriptors as a rule.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be served.
const ACCEPTED_MAX: usize = 16;

/// Accepts connections, bounded in number and time.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(address).await? })
    }

    /// The bound address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts until `ending` is cancelled; returns the connections as they come, and the task that accepts. Without TLS
    /// settings what is said on them can be read on the way.
    pub fn accept(
        self,
        tls: Option<Arc<ServerConfig>>,
        ending: CancellationToken,
    ) -> (mpsc::Receiver<Connection>, impl Future<Output = ()>) {
        let (accepted, connections) = mpsc::channel(ACCEPTED_MAX);
        let accept = async move {
            tokio::select! {
                () = ending.cancelled() => {}
                () = accept(self.tcp, tls.map(TlsAcceptor::from), accepted) => {}
            }
        };
        (connections, accept)
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, accepted: mpsc::Sender<Connection>) {
    let (connections, quota) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Quota::default());
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.len() >= HANDSHAKES_MAX {
            handshakes.join_next().await;
        }
        // Those that are done already.
        while handshakes.try_join_next().is_some() {}
        let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => match quota.take(peer.ip()) {
                Ok(share) => {
                    handshakes.spawn(handshake(stream, peer, acceptor.clone(), share, permit, accepted.clone()));
                }
                Err(QuotaExceeded { network, is_first: true }) => {
                    warn!(%network, "connections are refused: there are as many from there as may be");
                }
                Err(error) => debug!(%error, "a connection was refused"),
            },
            Err(error) => {
                warn!(error = chain(&error), "a connection was not accepted");
                sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    share: Share,
    permit: OwnedSemaphorePermit,
    accepted: mpsc::Sender<Connection>,
) {
    // A change should not wait for another one to fill its segment.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, error = chain(&error), "the connection broke");
        return;
    }
    let stream = match acceptor {
        None => Either::Left(stream),
        Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Either::Right(stream),
            Ok(Err(error)) => {
                // A certificate that is shown and refused is somebody who wants in; the rest is noise of the network.
                if matches!(cause(&error), Some(rustls::Error::InvalidCertificate(_))) {
                    warn!(%peer, error = chain(&error), "a client certificate was refused");
                } else {
                    debug!(%peer, error = chain(&error), "a TLS handshake failed");
                }
                return;
            }
            Err(_) => {
                debug!(%peer, "a TLS handshake took too long");
                return;
            }
        },
    };
    let certificate = match &stream {
        Either::Left(_) => None,
        Either::Right(stream) => stream.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned()),
    };
    let connection = Connection::new(stream, peer, share, permit, ADMISSION_TIMEOUT).with_certificate(certificate);
    // If nobody takes it, the program ends.
    let _ = accepted.send(connection).await;
}

/// What TLS says of a handshake that failed.
fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
