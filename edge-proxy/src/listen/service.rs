use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::{
    apps::ServerApp,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use pingora_proxy::HttpProxy;
use rustls::{
    ProtocolVersion,
    server::{Accepted, Acceptor},
};
use switchyard_process::{EndsProgram, chain};
use switchyard_proto::resource::TlsVersion;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, error::Elapsed, sleep, timeout_at},
};
use tokio_rustls::{StartHandshake, server::TlsStream};
use tracing::{debug, error, info, warn};

use super::{
    decision::{Decision, UNRECOGNIZED_NAME, decide},
    drain::Drain,
    http1,
    missing::MissingCertificates,
    stream::EdgeStream,
};
use crate::{
    connection::{Connection, Transport},
    on_demand::{NoCertificate, OnDemand},
    peer_auth::Authenticated,
    proxy::{self, Metrics, Proxy, Settings, Worker},
    snapshot::LiveSnapshot,
    tls::{ServerConfigs, TlsError, challenge_config},
};

/// Connections that one worker has at a time. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16 * 1024;
/// How long a client may take for everything before HTTP. That it waits for a certificate on demand does not count.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a ClientHello: it is one or two records, and a record has 16 KiB at most.
const CLIENT_HELLO_BYTES_MAX: usize = 32 * 1024;
/// What a usual one has.
const CLIENT_HELLO_BYTES_USUAL: usize = 2 * 1024;
/// Before the next try when the system has no descriptor or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listening sockets of one worker.
#[derive(Debug)]
pub struct Sockets {
    /// For plain HTTP.
    pub http: StdTcpListener,
    /// For HTTP over TLS.
    pub https: StdTcpListener,
}

/// What handshakes are made with.
#[derive(Clone, Debug)]
pub struct Handshakes {
    /// The configurations of TLS.
    pub tls: ServerConfigs,
    /// What waits for a certificate that is not there.
    pub on_demand: OnDemand,
    /// What is said of domains without a certificate.
    pub missing: MissingCertificates,
}

/// One worker: its sockets, its connections to clients and backends, and its place in the rotation. It runs on a
/// single thread.
pub struct EdgeService {
    name: String,
    sockets: Option<Sockets>,
    ends_program: Option<EndsProgram>,
    listener: Arc<Listener>,
}

/// What its connections share.
struct Listener {
    proxy: Arc<HttpProxy<Proxy>>,
    handshakes: Handshakes,
    live: LiveSnapshot,
    settings: Arc<Settings>,
    metrics: Metrics,
    drain: Drain,
    permits: Arc<Semaphore>,
}

impl EdgeService {
    /// The worker that serves `live` on `sockets`.
    pub fn new(
        worker: Worker,
        sockets: Sockets,
        handshakes: Handshakes,
        live: LiveSnapshot,
        settings: Arc<Settings>,
        metrics: Metrics,
        drain: Drain,
    ) -> Self {
        let proxy = proxy::http_proxy(worker, live.clone(), settings.clone(), metrics.clone());
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let listener = Listener { proxy: Arc::new(proxy), handshakes, live, settings, metrics, drain, permits };
        let name = format!("worker {}", worker.index);
        Self { name, sockets: Some(sockets), ends_program: None, listener: Arc::new(listener) }
    }

    /// Ends the program when the worker fails.
    #[must_use]
    pub fn ending_program(self, ends_program: EndsProgram) -> Self {
        Self { ends_program: Some(ends_program), ..self }
    }
}

#[async_trait]
impl Service for EdgeService {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let Some(Sockets { http, https }) = self.sockets.take() else { return };
        // Dropped on the way out of a failure or a panic.
        let ends_program = self.ends_program.take();
        let (http, https) = match (TcpListener::from_std(http), TcpListener::from_std(https)) {
            (Ok(http), Ok(https)) => (http, https),
            (Err(error), _) | (_, Err(error)) => {
                error!(worker = self.name, error = chain(&error), "a worker cannot use its listening sockets");
                return;
            }
        };
        tokio::join!(
            self.listener.accept(http, Transport::Plain, shutdown.clone()),
            self.listener.accept(https, Transport::Tls, shutdown),
        );
        // Wakes connections that wait for a next request.
        self.listener.proxy.cleanup().await;
        if let Some(ends_program) = ends_program {
            ends_program.disarm();
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

impl Listener {
    /// Accepts connections until it is to end, and closes the socket.
    async fn accept(self: &Arc<Self>, socket: TcpListener, transport: Transport, mut shutdown: ShutdownWatch) {
        let mut draining = self.drain.watch();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                // An error means that nobody is left who could say so.
                _ = draining.wait_for(|begun| *begun) => break,
                _ = shutdown.wait_for(|begun| *begun) => break,
                accepted = self.accept_one(&socket) => accepted,
            };
            match accepted {
                Ok((tcp, peer, permit)) => {
                    failing = false;
                    let listener = self.clone();
                    let draining = draining.clone();
                    self.drain.tracker().spawn(async move {
                        listener.serve(tcp, peer, transport, draining).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    if !failing {
                        warn!(
                            error = chain(&error),
                            "no connection can be accepted; raise the limit of open files if this goes on"
                        );
                        failing = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept_one(&self, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = self.permits.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let (tcp, peer) = socket.accept().await?;
        Ok((tcp, peer, permit))
    }

    async fn serve(&self, tcp: TcpStream, peer: SocketAddr, transport: Transport, draining: ShutdownWatch) {
        let _open = self.metrics.connection_open();
        let mut connection = Connection::new(peer.ip(), &self.settings.trusted_networks, transport);
        let mut stream = match transport {
            Transport::Plain => Box::new(EdgeStream::plain(tcp, peer, connection)),
            // What a handshake needs is let go with it.
            Transport::Tls => match Box::pin(self.handshake(tcp)).await {
                Ok((tls, authenticated)) => {
                    connection.authenticated = authenticated.map(Box::new);
                    connection.tls_version = match tls.get_ref().1.protocol_version() {
                        Some(ProtocolVersion::TLSv1_3) => TlsVersion::V13,
                        _ => TlsVersion::V12,
                    };
                    Box::new(EdgeStream::tls(tls, peer, connection))
                }
                Err(error @ HandshakeError::Proven { .. }) => {
                    info!(%peer, "{error}");
                    return;
                }
                Err(error) => {
                    self.metrics.handshake_failed();
                    match error {
                        HandshakeError::Unauthenticated { .. } => {
                            info!(%peer, error = chain(&error), "a client was refused")
                        }
                        _ => debug!(%peer, error = chain(&error), "TLS handshake failed"),
                    }
                    return;
                }
            },
        };
        match stream.is_http2().await {
            Ok(true) => drop(self.proxy.process_new(stream, &draining).await),
            Ok(false) => http1::serve(&self.proxy, stream, &draining).await,
            Err(error) => debug!(%peer, error = chain(&error), "no request was received"),
        }
    }

    async fn handshake(
        &self,
        mut tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Authenticated>), HandshakeError> {
        let mut deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let accepted = timeout_at(deadline, read_client_hello(&mut tcp)).await??;
        let mut decision = decide(&accepted.client_hello(), &self.live);
        if let Decision::AskFor { server_name } = &decision {
            let began = Instant::now();
            if let Err(reason) = self.handshakes.on_demand.certificate(server_name).await {
                refuse_name(&mut tcp).await?;
                return Err(HandshakeError::NoCertificate { server_name: server_name.clone(), reason });
            }
            deadline += began.elapsed();
            decision = decide(&accepted.client_hello(), &self.live);
        }
        timeout_at(deadline, self.conclude(accepted, decision, tcp)).await?
    }

    /// Does what was decided.
    async fn conclude(
        &self,
        accepted: Accepted,
        decision: Decision,
        mut tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Authenticated>), HandshakeError> {
        match decision {
            Decision::Terminate { minimum } => {
                let config = self.handshakes.tls.of(None, minimum)?;
                Ok((StartHandshake::from_parts(accepted, tcp).into_stream(config).await?, None))
            }
            Decision::Authenticate { server_name, clients, minimum } => {
                let config = self.handshakes.tls.of(Some(&clients), minimum)?;
                let tls = match StartHandshake::from_parts(accepted, tcp).into_stream(config).await {
                    Ok(tls) => tls,
                    Err(error) => return Err(HandshakeError::Unauthenticated { server_name, error }),
                };
                let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let authenticated = clients.authenticated(&server_name, certificate.map(AsRef::as_ref));
                Ok((tls, Some(authenticated)))
            }
            Decision::Prove { server_name, digest } => {
                let config = challenge_config(&server_name, &digest)?;
                let mut tls = StartHandshake::from_parts(accepted, tcp).into_stream(Arc::new(config)).await?;
                // Nothing is said over it (RFC 8737, section 3).
                tls.shutdown().await?;
                Err(HandshakeError::Proven { server_name })
            }
            Decision::NoCertificate { server_name, domain } => {
                self.handshakes.missing.report(&domain, &server_name);
                refuse_name(&mut tcp).await?;
                Err(HandshakeError::UnknownName)
            }
            // What was there a moment ago is gone.
            Decision::AskFor { .. } | Decision::RefuseName => {
                refuse_name(&mut tcp).await?;
                Err(HandshakeError::UnknownName)
            }
        }
    }
}

/// Tells a client that there is no certificate for its name.
async fn refuse_name(tcp: &mut TcpStream) -> io::Result<()> {
    tcp.write_all(&UNRECOGNIZED_NAME).await
}

/// Reads the first message of a TLS client. An alert is sent when it is not one.
async fn read_client_hello(tcp: &mut TcpStream) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    let mut received = BytesMut::with_capacity(CLIENT_HELLO_BYTES_USUAL);
    let mut given = 0;
    loop {
        if received.len() >= CLIENT_HELLO_BYTES_MAX {
            return Err(HandshakeError::TooLong);
        }
        if tcp.read_buf(&mut received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        while given < received.len() {
            given += acceptor.read_tls(&mut &received[given..])?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                tcp.write_all(&bytes).await?;
                return Err(error.into());
            }
        }
    }
}

/// Why a connection did not become TLS.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("there is no certificate for the name")]
    UnknownName,
    #[error("{server_name}: {reason}")]
    NoCertificate { server_name: Box<str>, reason: NoCertificate },
    #[error("it took too long")]
    TooLate(#[from] Elapsed),
    #[error("a CA was shown what was authorized for {server_name}")]
    Proven { server_name: Box<str> },
    #[error("{server_name} asks for client certificates: {error}")]
    Unauthenticated { server_name: Box<str>, error: io::Error },
    #[error("the ClientHello has more than {CLIENT_HELLO_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Config(#[from] TlsError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}
