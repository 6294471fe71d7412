//! Puts the program together: the one place that knows everybody.

use std::{
    fs::DirBuilder,
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use http::Uri;
use pingora_core::server::{
    RunArgs, Server as PingoraServer, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf,
};
use prometheus_client::registry::Registry;
use switchyard_proto::vocab::EdgeId;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

use crate::{
    admin,
    balance::Backends,
    config::{InvalidSettings, Settings, Upstream},
    identity::{self, Identity},
    listen::{self, BindError, Drain, EdgeService, Handshakes, Sockets, TrustedNetworks, Worker},
    on_demand::OnDemand,
    proxy,
    resolve::{ResolveError, Resolver},
    snapshot::{LiveSnapshot, Snapshot},
    sync::{Applier, Client, ClientSettings, Membership, Standing, StoreError, StoreKey},
    telemetry::SyncMetrics,
    tls::{self, TlsError},
    verify::{self, UnreadableAuthorities},
};

/// Threads for everything that is not traffic.
const CONTROL_THREADS: usize = 2;
/// How long what is not traffic may take to end.
const CONTROL_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the edge until it is told to end, and what is under way is done.
///
/// # Errors
///
/// It cannot start; what to do is part of the text.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let control = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let result = control.block_on(async {
        let signals = Signals::catch().map_err(StartError::Runtime)?;
        let drain_timeout = settings.drain_timeout;
        let edge = Edge::start(settings).await?;
        edge.wait(signals).await;
        edge.end(drain_timeout).await;
        Ok(())
    });
    shut_down(control);
    result
}

fn shut_down(control: Runtime) {
    control.shutdown_timeout(CONTROL_END_TIMEOUT);
}

/// An edge that serves.
struct Edge {
    /// Cancelled when everything but traffic is to end.
    ending: CancellationToken,
    tasks: TaskTracker,
    drain: Drain,
    /// Serves traffic.
    workers: thread::JoinHandle<()>,
    /// Cancelled when the workers are to end, whatever is under way.
    workers_ending: CancellationToken,
}

impl Edge {
    async fn start(settings: Settings) -> Result<Self, StartError> {
        // First, so that nothing is touched when another one runs here already.
        let http = listen::bind(settings.http, settings.workers)?;
        let https = listen::bind(settings.https, settings.workers)?;
        let listen_error = |error| StartError::Admin { address: settings.admin, error };
        let admin_listener = TcpListener::bind(settings.admin).await.map_err(listen_error)?;
        let admin_address = admin_listener.local_addr().map_err(listen_error)?;
        let [http_address, https_address] =
            [&http, &https].map(|listeners| listeners.first().and_then(|listener| listener.local_addr().ok()));
        let (http_address, https_address) =
            (http_address.unwrap_or(settings.http), https_address.unwrap_or(settings.https));

        let state_dir = &settings.state_dir;
        let state_error = |error| StartError::StateDir { path: state_dir.clone(), error };
        create_dir(state_dir).map_err(state_error)?;
        let (id, member) = member(state_dir, settings.name, settings.upstream)?;

        let mut registry = Registry::default();
        let backends = Backends::new();
        let live = LiveSnapshot::new(Snapshot::new(backends.clone()));
        let sync_metrics = SyncMetrics::register(&mut registry);
        let proxy_metrics = proxy::Metrics::register(&mut registry);
        let key = StoreKey::load(settings.store_key_file.as_deref(), state_dir).map_err(StartError::StoreKey)?;
        let applier = Applier::open(state_dir, key, backends.clone(), live.clone(), sync_metrics)?;
        let status = applier.status();

        let ending = CancellationToken::new();
        let tasks = TaskTracker::new();
        let resolver = Resolver::new(backends, settings.dns_server)?;
        spawn(&tasks, &ending, "resolver", resolver.run(ending.clone()));

        let proxy_settings = Arc::new(proxy::Settings {
            trusted_networks: TrustedNetworks::new(settings.trusted_networks),
            access_log: settings.access_log,
            https_port: https_address.port(),
        });
        if verify::system_authorities()? == 0 {
            info!("the system trusts no CA: backends are verified only by the CAs that their service names");
        }
        let (on_demand, questions) = OnDemand::new(live.clone());
        let handshakes = Handshakes { tls: tls::ServerConfigs::new(live.clone())?, on_demand };
        let drain = Drain::new();
        let services = http.into_iter().zip(https).enumerate().map(|(index, (http, https))| {
            EdgeService::new(
                Worker { index, count: settings.workers },
                Sockets { http, https },
                handshakes.clone(),
                live.clone(),
                proxy_settings.clone(),
                proxy_metrics.clone(),
                drain.clone(),
            )
        });
        let workers_ending = CancellationToken::new();
        let workers = serve_traffic(services.collect(), workers_ending.clone())?;

        let mut standing = watch::channel(Standing::Member).1;
        if let Some(Member { membership, control_planes }) = member {
            standing = membership.standing();
            let client = Client::new(ClientSettings { control_planes }, &membership, applier, questions);
            spawn(&tasks, &ending, "membership", membership.run(ending.clone()));
            spawn(&tasks, &ending, "sync", client.run(ending.clone()));
        } else {
            warn!("no control plane is given: this edge serves what it has on disk, and learns of no change");
        }
        let revision = status.borrow().revision;
        let admin = admin::serve(admin_listener, Arc::new(registry), status, standing, ending.clone());
        spawn(&tasks, &ending, "admin", async {
            if let Err(error) = admin.await {
                warn!(%error, "the admin listener is no longer served");
            }
        });
        info!(
            http = %http_address,
            https = %https_address,
            admin = %admin_address,
            edge = %id,
            %revision,
            "ready"
        );
        Ok(Self { ending, tasks, drain, workers, workers_ending })
    }

    /// Waits for SIGTERM, SIGINT, or the end of something that should not end.
    async fn wait(&self, mut signals: Signals) {
        tokio::select! {
            name = signals.next() => info!(signal = name, "ending"),
            () = self.ending.cancelled() => {}
        }
    }

    /// Accepts nothing more, lets requests finish for at most `drain_timeout`, and ends.
    async fn end(self, drain_timeout: Duration) {
        let Self { ending, tasks, drain, workers, workers_ending } = self;
        drain.begin();
        if tokio::time::timeout(drain_timeout, drain.finished()).await.is_err() {
            warn!(connections = drain.connections(), "some connections did not end in time; they are closed");
        }
        workers_ending.cancel();
        ending.cancel();
        tasks.close();
        // Workers have nothing left to do; a thread cannot be waited for without blocking.
        let joined = tokio::task::spawn_blocking(move || workers.join());
        if tokio::time::timeout(CONTROL_END_TIMEOUT, async { tokio::join!(joined, tasks.wait()) }).await.is_err() {
            warn!("some tasks did not end in time; they are dropped");
        }
    }
}

/// What an edge with a control plane has.
struct Member {
    membership: Membership,
    control_planes: Vec<Uri>,
}

/// Who this edge is: as it was before, or, if it is to join now, with a new key.
fn member(
    state_dir: &Path,
    name: Option<EdgeId>,
    upstream: Option<Upstream>,
) -> Result<(EdgeId, Option<Member>), StartError> {
    let state_error = |error| StartError::StateDir { path: state_dir.to_owned(), error };
    let known = Identity::load(state_dir).map_err(state_error)?;
    if let (Some(known), Some(name)) = (&known, &name)
        && known.has_joined()
        && known.id() != name
    {
        return Err(StartError::AnotherEdge { path: state_dir.to_owned(), is: known.id().clone() });
    }
    let Some(Upstream { control_planes, token }) = upstream else {
        let id = known.map(|known| known.id().clone()).or(name);
        return Ok((id.map_or_else(identity::machine_id, Ok).map_err(state_error)?, None));
    };
    let (identity, token) = match known {
        Some(known) if known.has_joined() => (known, None),
        // It has a key already: perhaps the fleet knows it, and only the answer was lost.
        known => {
            let token = token.read()?;
            let known = known.filter(|known| {
                known.expects(token.fingerprint()) && name.as_ref().is_none_or(|name| name == known.id())
            });
            let identity = match known {
                Some(known) => known,
                None => {
                    let id = name.map_or_else(identity::machine_id, Ok).map_err(state_error)?;
                    Identity::create(state_dir, id, token.fingerprint()).map_err(state_error)?
                }
            };
            (identity, Some(token))
        }
    };
    let id = identity.id().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let membership =
        Membership::new(identity, token, control_planes.clone(), provider).map_err(StartError::ClientTls)?;
    Ok((id, Some(Member { membership, control_planes })))
}

/// Runs a task that ends by itself once `ending` is cancelled. A task that ends before ends the program: what is left would
/// look alive and not be.
fn spawn(
    tasks: &TaskTracker,
    ending: &CancellationToken,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    // Also when the task panics.
    let end_with_it = ending.clone().drop_guard();
    let ending = ending.clone();
    tasks.spawn(
        async move {
            let _end_with_it = end_with_it;
            task.await;
            if !ending.is_cancelled() {
                warn!("ended before its time; the program ends");
            }
        }
        .instrument(info_span!("task", name)),
    );
}

/// Runs the workers on threads of Pingora's, away from everything else.
fn serve_traffic(services: Vec<EdgeService>, ending: CancellationToken) -> Result<thread::JoinHandle<()>, StartError> {
    let conf = ServerConf {
        threads: 1,
        // A runtime that knows it has one thread: nothing in it is there for other threads to take.
        work_stealing: false,
        // Requests are let finish before, by `Drain`.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    thread::Builder::new()
        .name("workers".into())
        .spawn(move || {
            let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
            server.bootstrap();
            for service in services {
                server.add_service(service);
            }
            server.run(RunArgs { shutdown_signal: Box::new(Ending(ending)) });
        })
        .map_err(StartError::Runtime)
}

/// Tells Pingora when to end: signals are this program's to handle.
struct Ending(CancellationToken);

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        self.0.cancelled().await;
        ShutdownSignal::GracefulTerminate
    }
}

/// SIGTERM and SIGINT, caught from the moment this exists.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Creates a directory that only its owner may enter, if it is not there.
fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address for traffic cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address for operators cannot be had.
    #[error("listen on {address}: {error}; end the program that listens there, or choose another address with --admin")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The state directory cannot be used.
    #[error("use {}: {error}; name a directory that can be written with --state-dir", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was another edge before.
    #[error("{} belongs to the edge {is}: leave --name out, or name another directory with --state-dir", path.display())]
    AnotherEdge {
        /// The directory.
        path: PathBuf,
        /// Which edge it is.
        is: EdgeId,
    },
    /// It has nothing to join with.
    #[error(transparent)]
    Token(#[from] InvalidSettings),
    /// The key that the store is sealed under cannot be had.
    #[error("the key of this edge's store: {0}; name its file with --store-key-file")]
    StoreKey(#[source] io::Error),
    /// What this edge has on disk cannot be used.
    #[error("{0}; name another directory with --state-dir, or mend this one")]
    Store(#[from] StoreError),
    /// No TLS can be offered to clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Backends cannot be verified.
    #[error(transparent)]
    Authorities(#[from] UnreadableAuthorities),
    /// No TLS can be used toward control planes.
    #[error("the TLS configuration toward control planes")]
    ClientTls(#[source] rustls::Error),
    /// Names cannot be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The system gives no threads or signals.
    #[error("the system gives no threads or signals: {0}")]
    Runtime(#[source] io::Error),
}
