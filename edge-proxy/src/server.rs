//! Puts the program together: the one place that knows everybody.

use std::{
    io,
    net::SocketAddr,
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
use switchyard_process::{EndsProgram, Origin, RunError, Signals, Tasks, files, log::Log, resolver::ResolverError};
use switchyard_proto::vocab::EdgeId;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin,
    balance::Backends,
    config::{InvalidSettings, Settings, Upstream},
    connection::TrustedNetworks,
    identity::{self, Identity},
    listen::{self, BindError, Drain, EdgeService, Handshakes, MissingCertificates, Sockets},
    on_demand::OnDemand,
    peer_auth::{self, UnreadableAuthorities},
    proxy::{self, Worker},
    resolve::Resolver,
    snapshot::{LiveSnapshot, Snapshot},
    sync::{Applier, Client, ClientSettings, Membership, Standing, StoreError, StoreKey, SyncMetrics},
    tls::{self, TlsError},
};

/// Threads for everything that is not traffic.
const CONTROL_THREADS: usize = 2;
/// How long what is not traffic may take to end.
const CONTROL_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the edge until it is told to end, and what is under way is done.
///
/// # Errors
///
/// It cannot start, or a part of it ended unexpectedly; what to do is part of the text.
pub fn run(settings: Settings, log: &Log) -> Result<(), RunError<StartError>> {
    let control = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
        .map_err(RunError::Start)?;
    let result = control.block_on(async {
        let signals = Signals::catch().map_err(StartError::Runtime).map_err(RunError::Start)?;
        let drain_timeout = settings.drain_timeout;
        let edge = Edge::start(settings).await.map_err(RunError::Start)?;
        let ended = edge.tasks.wait(signals, log).await;
        edge.end(drain_timeout).await;
        Ok(ended?)
    });
    shut_down(control);
    result
}

fn shut_down(control: Runtime) {
    control.shutdown_timeout(CONTROL_END_TIMEOUT);
}

/// An edge that serves.
struct Edge {
    /// Everything but traffic.
    tasks: Tasks,
    drain: Drain,
    /// Serves traffic.
    workers: thread::JoinHandle<()>,
    /// Cancelled when the workers are to end, whatever is under way.
    workers_ending: CancellationToken,
}

impl Edge {
    async fn start(settings: Settings) -> Result<Self, StartError> {
        // First, so that nothing is touched when another one runs here already.
        let origins = settings.origins;
        let bind = |key, address| {
            let origin = origins.of(key);
            listen::bind(address, settings.workers).map_err(|error| StartError::Bind { origin, error })
        };
        let http = bind("http", settings.http)?;
        let https = bind("https", settings.https)?;
        let origin = origins.of("admin");
        let listen_error = move |error| StartError::Admin { address: settings.admin, origin: origin.clone(), error };
        let admin_listener = TcpListener::bind(settings.admin).await.map_err(&listen_error)?;
        let admin_address = admin_listener.local_addr().map_err(listen_error)?;
        let [http_address, https_address] =
            [&http, &https].map(|listeners| listeners.first().and_then(|listener| listener.local_addr().ok()));
        let (http_address, https_address) =
            (http_address.unwrap_or(settings.http), https_address.unwrap_or(settings.https));

        let state_dir = &settings.state_dir;
        let state_dir_origin = origins.of("state_dir");
        files::create_private_dir(state_dir).map_err(|error| StartError::StateDir {
            path: state_dir.clone(),
            origin: state_dir_origin.clone(),
            error,
        })?;
        let (id, member) = member(state_dir, &state_dir_origin, settings.name, settings.upstream)?;

        let mut registry = Registry::default();
        let backends = Backends::new();
        let live = LiveSnapshot::new(Snapshot::new(backends.clone()));
        let sync_metrics = SyncMetrics::register(&mut registry);
        let proxy_metrics = proxy::Metrics::register(&mut registry);
        let key = StoreKey::load(settings.store_key_file.as_deref(), state_dir)
            .map_err(|error| StartError::StoreKey { origin: origins.of("store_key_file"), error })?;
        let applier = Applier::open(state_dir, key, backends.clone(), live.clone(), sync_metrics)?;
        let status = applier.status();

        let tasks = Tasks::default();
        let ending = tasks.ending();
        let resolver = Resolver::new(backends, settings.dns_server)?;
        tasks.spawn("resolver", resolver.run(ending.clone()));

        let proxy_settings = Arc::new(proxy::Settings {
            trusted_networks: TrustedNetworks::new(settings.trusted_networks),
            access_log: settings.access_log,
            https_port: https_address.port(),
        });
        if peer_auth::system_authorities()? == 0 {
            info!("the system trusts no CA: backends are verified only by the CAs that their service names");
        }
        let (on_demand, questions) = OnDemand::new(live.clone());
        let handshakes = Handshakes {
            tls: tls::ServerConfigs::new(live.clone())?,
            on_demand,
            missing: MissingCertificates::default(),
        };
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
            .ending_program(tasks.watch("worker"))
        });
        let workers_ending = CancellationToken::new();
        let workers = serve_traffic(services.collect(), tasks.watch("workers"), workers_ending.clone())?;

        let mut standing = watch::channel(Standing::Member).1;
        if let Some(Member { membership, control_planes }) = member {
            standing = membership.standing();
            let client = Client::new(ClientSettings { control_planes }, &membership, applier, questions);
            tasks.spawn("membership", membership.run(ending.clone()));
            tasks.spawn("sync", client.run(ending.clone()));
        } else {
            warn!("no control plane is given: this edge serves what it has on disk, and learns of no change");
        }
        let revision = status.borrow().revision;
        let admin = admin::serve(admin_listener, Arc::new(registry), status, standing, ending);
        tasks.spawn("admin", async {
            if let Err(error) = admin.await {
                error!(error = &error as &dyn std::error::Error, "the admin listener is no longer served");
            }
        });
        info!(
            http = %http_address,
            https = %https_address,
            admin = %admin_address,
            edge = %id,
            revision = revision.0,
            "ready"
        );
        Ok(Self { tasks, drain, workers, workers_ending })
    }

    /// Accepts nothing more, lets requests finish for at most `drain_timeout`, and ends.
    async fn end(self, drain_timeout: Duration) {
        let Self { tasks, drain, workers, workers_ending } = self;
        drain.begin();
        if tokio::time::timeout(drain_timeout, drain.finished()).await.is_err() {
            warn!(connections = drain.connections(), "some connections did not end in time and are closed");
        }
        // First, so that the end of the workers is not taken for a failure.
        tasks.ending().cancel();
        workers_ending.cancel();
        // Workers have nothing left to do; a thread cannot be awaited without blocking.
        let joined = tokio::task::spawn_blocking(move || workers.join());
        let joined = tokio::time::timeout(CONTROL_END_TIMEOUT, joined);
        if let (Err(_), ()) = tokio::join!(joined, tasks.end(CONTROL_END_TIMEOUT)) {
            warn!("the workers did not end in time and are dropped");
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
    origin: &Origin,
    name: Option<EdgeId>,
    upstream: Option<Upstream>,
) -> Result<(EdgeId, Option<Member>), StartError> {
    let state_error = |error| StartError::StateDir { path: state_dir.to_owned(), origin: origin.clone(), error };
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

/// Runs the workers on threads of Pingora's, away from everything else.
fn serve_traffic(
    services: Vec<EdgeService>,
    ends_program: EndsProgram,
    ending: CancellationToken,
) -> Result<thread::JoinHandle<()>, StartError> {
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
            let _ends_program = ends_program;
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

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address for traffic cannot be had.
    #[error("{origin}: {error}")]
    Bind {
        /// What names it.
        origin: Origin,
        /// Why.
        error: BindError,
    },
    /// The address for operators cannot be had.
    #[error(
        "listen on {address} ({origin}): {error}; end the program that listens there, or choose another address with --admin"
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What names it.
        origin: Origin,
        /// Why.
        error: io::Error,
    },
    /// The state directory cannot be used.
    #[error("use {} ({origin}): {error}; name a directory that can be written with --state-dir", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What names it.
        origin: Origin,
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
    #[error("the key of this edge's store ({origin}): {error}; name its file with --store-key-file")]
    StoreKey {
        /// What names it.
        origin: Origin,
        /// Why.
        error: io::Error,
    },
    /// What this edge has on disk cannot be used.
    #[error("{0}; name another directory with --state-dir, or fix this one")]
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
    Resolve(#[from] ResolverError),
    /// The system gives no threads or signals.
    #[error("the system gives no threads or signals: {0}")]
    Runtime(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use switchyard_process::TaskEnded;

    use super::*;
    use crate::proxy::AccessLog;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edge_of_which_a_task_exits_ends_with_a_failure() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            upstream: None,
            name: Some(EdgeId::parse("edge-1").unwrap()),
            state_dir: dir.path().to_owned(),
            store_key_file: None,
            http: any,
            https: any,
            admin: any,
            workers: 2,
            trusted_networks: Vec::new(),
            dns_server: Some("127.0.0.1:9".parse().unwrap()),
            drain_timeout: Duration::ZERO,
            access_log: AccessLog::Off,
            origins: switchyard_process::Origins::default(),
        };
        let edge = Edge::start(settings).await.unwrap();
        edge.tasks.spawn("breaks", async {});
        let ended = edge.tasks.wait(Signals::catch().unwrap(), &Log::default()).await;
        assert_eq!(ended, Err(TaskEnded { task: "breaks" }));
        edge.end(Duration::ZERO).await;
        let failure = switchyard_process::Failure::from(RunError::<StartError>::from(ended.unwrap_err()));
        assert_eq!(failure.code(), 1);
    }
}
