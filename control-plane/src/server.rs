//! Puts the program together: the one place that knows everybody.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use switchyard_proto::vocab::Revision;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::{
    access::{Authenticator, TokenUses},
    app::{
        App, AppError,
        bootstrap::{self, BootstrapError, Foundation},
        seed::{self, InvalidSeed, Outcome},
    },
    clock::{Clock, SystemClock},
    config::{Admin, AdminTls, MasterKeySource, OrderSettings, Orders, Settings},
    dns::{Dns, Outgoing},
    feed::{Feed, Follower},
    fleet::{CertificateError, FleetView, Members, Recorder, ServerCertificate, Tracker},
    grpc,
    health::HealthMonitor,
    lifecycle::{Lifecycle, Signals, TaskEnded},
    listen::{CertificateFiles, CertificateFilesError, Listener},
    metrics::Metrics,
    model::Secret,
    on_demand::{Hooks, HooksError, OnDemand},
    reconcile::{
        self, Expiry, Leader,
        acme::{self, Acme},
        tickets::{self, Tickets},
    },
    seal::{InvalidMasterKey, MasterKey, MasterKeyError, Sealer},
    store::{self, Store, StoreError},
    telemetry::chain,
};

/// The file in the data directory that holds the first token of the API.
const FIRST_TOKEN_FILE: &str = "admin-token";

/// How long the database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the control plane until it is told to end.
///
/// # Errors
///
/// It cannot start, or a part of it ended before its time; what to do is part of the text.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let signals = Signals::catch().map_err(StartError::Signals)?;
    let data_dir = settings.data_dir.clone();
    let server = Server::start(settings).await?;
    let Server { admin, fleet, revision, lifecycle, store: _ } = &server;
    info!(%admin, %fleet, data_dir = %data_dir.display(), %revision, "ready");
    let ended = lifecycle.wait(signals).await;
    server.end().await;
    Ok(ended?)
}

/// A control plane that serves.
#[derive(Debug)]
pub struct Server {
    /// Where the API listens.
    pub admin: SocketAddr,
    /// Where edges connect to.
    pub fleet: SocketAddr,
    /// The newest revision when it began to serve.
    pub revision: Revision,
    lifecycle: Lifecycle,
    store: Arc<dyn Store>,
}

impl Server {
    /// Starts everything.
    ///
    /// # Errors
    ///
    /// It cannot start; what to do is part of the text.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_by(settings, Arc::new(SystemClock)).await
    }

    /// Starts everything, with what this clock says as the present.
    ///
    /// # Errors
    ///
    /// As in [`Server::start`].
    pub async fn start_by(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let Settings {
            data_dir,
            database,
            admin,
            fleet,
            edge_certificate_lifetime,
            orders,
            token_rate,
            master_key,
            previous_master_keys,
            command: _,
            seed,
            log_format: _,
            log_filter: _,
        } = settings;
        // First, so that nothing is touched when another one runs here already.
        let bind = |flag, address| move |error| StartError::Listen { flag, address, error };
        let Admin { address: admin, tls: admin_tls } = admin;
        let admin_listener = Listener::bind(admin).await.map_err(bind("--admin", admin))?;
        let fleet_listener = Listener::bind(fleet).await.map_err(bind("--fleet", fleet))?;
        let admin = admin_listener.local_address().map_err(bind("--admin", admin))?;
        let fleet = fleet_listener.local_address().map_err(bind("--fleet", fleet))?;

        let seed = seed.map(|path| seed::read(&path)).transpose()?;
        let admin_certificate = admin_tls.map(read_certificate).transpose()?;
        create_dir(&data_dir).map_err(|error| StartError::DataDir { path: data_dir.clone(), error })?;
        let sealer = load_sealer(master_key, &previous_master_keys)?;
        let store = store::open(&database, sealer).await?;
        let Foundation { fleet_ca, internal_ca, page_tokens } =
            bootstrap::run(&store, &*clock, |secret| keep_first_token(&data_dir, secret)).await.map_err(|error| {
                match error {
                    BootstrapError::App(error) => error.into(),
                    BootstrapError::Keep(error) => StartError::DataDir { path: data_dir.join(FIRST_TOKEN_FILE), error },
                }
            })?;

        let lifecycle = Lifecycle::default();
        let ending = lifecycle.ending();
        let feed = Feed::new();
        let follower = Follower::new(feed.clone(), store.clone());
        follower.catch_up().await?;
        lifecycle.spawn("follower", follower.run(ending.clone()));
        let view = FleetView::new(store.edges().await?, clock.clone());
        lifecycle.spawn("members", Members::new(view.clone(), feed.clone()).run(ending.clone()));
        lifecycle.spawn("recorder", Recorder::new(view.clone(), store.clone()).run(ending.clone()));
        let tracker = Tracker { view: view.clone(), feed: feed.clone(), store: store.clone() };
        let token_uses = TokenUses::load(store.clone()).await?;
        let authenticator = Arc::new(Authenticator::new(feed.clone(), clock.clone(), token_uses, token_rate));
        lifecycle.spawn("access", authenticator.clone().run(ending.clone()));
        let monitor = HealthMonitor::new(feed.clone(), store.clone());
        let health = monitor.subscribe();
        lifecycle.spawn("health", monitor.run(ending.clone()));
        let fleet_ca = Arc::new(fleet_ca);
        let app = Arc::new(App {
            store: store.clone(),
            feed: feed.clone(),
            clock: clock.clone(),
            internal_ca,
            fleet_ca: fleet_ca.clone(),
            edge_certificate_lifetime,
            page_tokens,
            due: Notify::new(),
        });
        if let Some(seed) = seed {
            load_seed(&app, &seed).await?;
        }
        let revision = feed.state().revision();
        let metrics = Arc::new(Metrics::new());
        lifecycle.spawn("expiry", Expiry::new(app.clone(), metrics.clone()).run(ending.clone()));

        let certificate = Arc::new(ServerCertificate::issue(fleet_ca, clock.now())?);
        let tls = certificate.clone().server_config()?;
        lifecycle.spawn("certificates", reconcile::Certificates::new(app.clone(), certificate).run(ending.clone()));
        let hooks = Hooks::new()?;
        match orders {
            Orders::Off => info!("no certificates are ordered from CAs (--orders off)"),
            Orders::On(OrderSettings { retry_pause, dns_server, dns_port, hook_dir }) => {
                let http = Outgoing::new().map_err(|error| StartError::Orders(chain(&error)))?;
                let dns = Dns::new(dns_server, dns_port, http, hook_dir);
                let dns = dns.map_err(|error| StartError::Orders(chain(&error)))?;
                let acme = Acme::new(app.clone(), view.clone(), dns, hooks.clone(), retry_pause);
                let leader = Leader::new(store.clone(), acme::LEASE).ok_or(StartError::Randomness)?;
                lifecycle.spawn("acme", leader.run(async move |lease| acme.run(lease).await, ending.clone()));
            }
        }
        let rotation = Tickets::new(app.clone(), view.clone());
        let leader = Leader::new(store.clone(), tickets::LEASE).ok_or(StartError::Randomness)?;
        lifecycle.spawn("tickets", leader.run(async move |lease| rotation.run(lease).await, ending.clone()));
        let (connections, accept) = fleet_listener.accept(Some(Arc::new(tls)), ending.clone());
        lifecycle.spawn("fleet listener", accept);
        let on_demand = OnDemand::new(app.clone(), hooks);
        lifecycle.spawn("fleet", served(grpc::serve_fleet(connections, app.clone(), view, on_demand, ending.clone())));
        let admin_tls = match admin_certificate {
            None => None,
            Some(files) => {
                lifecycle.spawn("certificate files", files.clone().follow(ending.clone()));
                Some(Arc::new(files.server_config().map_err(CertificateError::Tls)?))
            }
        };
        let (connections, accept) = admin_listener.accept(admin_tls, ending.clone());
        lifecycle.spawn("admin listener", accept);
        let api = grpc::Api { app, authenticator, tracker, metrics, health };
        lifecycle.spawn("admin", served(grpc::serve_admin(connections, api, ending)));
        Ok(Self { admin, fleet, revision, lifecycle, store })
    }

    /// Tells everything to end, and waits for it, but not for ever.
    pub async fn end(&self) {
        self.lifecycle.end().await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.store.close()).await.is_err() {
            warn!("the database did not close in time");
        }
    }
}

async fn served<E: std::error::Error>(server: impl Future<Output = Result<(), E>>) {
    if let Err(error) = server.await {
        error!(error = chain(&error), "a listener is no longer served");
    }
}

/// Seals everything under the master key that was sealed under a previous one.
///
/// # Errors
///
/// The database or a key cannot be used; what to do is part of the text.
pub async fn rekey(settings: Settings) -> Result<(), StartError> {
    let Settings { database, master_key, previous_master_keys, .. } = settings;
    let store = store::open(&database, load_sealer(master_key, &previous_master_keys)?).await?;
    let resealed = store.reseal().await;
    store.close().await;
    info!(secrets = resealed?, "everything is sealed under the master key; the previous ones are not needed any more");
    Ok(())
}

fn load_sealer(master_key: MasterKeySource, previous: &[PathBuf]) -> Result<Sealer, StartError> {
    let previous: Vec<MasterKey> = previous.iter().map(|path| MasterKey::load(path)).collect::<Result<_, _>>()?;
    Ok(Sealer::new(&load_master_key(master_key)?).with_previous(&previous))
}

fn load_master_key(source: MasterKeySource) -> Result<MasterKey, StartError> {
    match source {
        MasterKeySource::File(path) => Ok(MasterKey::load(&path)?),
        MasterKeySource::FileOrNew(path) => Ok(MasterKey::load_or_create(&path)?),
        MasterKeySource::Text(text) => MasterKey::parse(&text).map_err(StartError::MasterKeyText),
    }
}

fn read_certificate(files: AdminTls) -> Result<Arc<CertificateFiles>, StartError> {
    let AdminTls { certificate_file, private_key_file } = files;
    Ok(Arc::new(CertificateFiles::read(certificate_file, private_key_file)?))
}

/// Puts the first token where the people of this machine find it.
fn keep_first_token(data_dir: &Path, secret: &Secret) -> io::Result<()> {
    let path = data_dir.join(FIRST_TOKEN_FILE);
    write_private(&path, secret.expose())?;
    info!(file = %path.display(), "the first token of the API was made");
    Ok(())
}

async fn load_seed(app: &App, seed: &seed::Seed) -> Result<(), StartError> {
    match seed::load(app, seed).await.map_err(StartError::Seed)? {
        Outcome::Loaded { domains, backends } => {
            info!(domains, backends, "the seed file was loaded");
            for note in &seed.notes {
                warn!(setting = note.setting, "not a setting of the fleet: {}", note.note);
            }
        }
        Outcome::NotEmpty => info!("the seed file is ignored: the database is not empty"),
    }
    Ok(())
}

/// Creates a directory that only its owner may enter, if it is not there.
fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner may read: whole, or not at all.
fn write_private(path: &Path, line: &str) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    // What it lets in is committed next: it must be there after a crash.
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

/// Why the control plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It did, for a while.
    #[error("{0}; its log says which, start it again")]
    Ended(#[from] TaskEnded),
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error("listen on {address}: {error}; end the program that listens there, or choose another address with {flag}")]
    Listen {
        /// The flag that names it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The data directory, or a file in it, cannot be written.
    #[error("write {}: {error}; name a directory that can be written with --data-dir", path.display())]
    DataDir {
        /// What cannot be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The certificate of the API cannot be used.
    #[error("{0}; name PEM files with --admin-certificate-file and --admin-private-key-file")]
    CertificateFiles(#[from] CertificateFilesError),
    /// The master key cannot be read.
    #[error("{0}; name the file that holds the key with --master-key-file")]
    MasterKey(#[from] MasterKeyError),
    /// What the environment holds is no master key.
    #[error("{variable}: {0}", variable = crate::config::MASTER_KEY_VARIABLE)]
    MasterKeyText(InvalidMasterKey),
    /// The database does not do what it should.
    #[error("{}; {}", chain(.0), advice(.0))]
    Store(#[from] StoreError),
    /// The database cannot be begun with.
    #[error("prepare the database: {}; its log or this program's may say more", chain(.0))]
    Bootstrap(AppError),
    /// The seed file cannot be used.
    #[error("{0}; mend the file, or start without --seed")]
    SeedFile(#[from] InvalidSeed),
    /// What the seed file says cannot be created.
    #[error("load the seed file: {}; mend the file, or start without --seed", chain(.0))]
    Seed(AppError),
    /// There is no certificate for the fleet listener.
    #[error("{}; restore the database from a backup", chain(.0))]
    Certificate(#[from] CertificateError),
    /// What certificates are ordered with cannot be made.
    #[error("prepare to order certificates: {0}; mend that, or start with --orders off")]
    Orders(String),
    /// No hook can be asked.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// There is no randomness.
    #[error("the system has no randomness to give; start it where it has")]
    Randomness,
    /// Signals cannot be caught.
    #[error("catch signals: {0}; start it where signals can be handled")]
    Signals(io::Error),
}

impl From<AppError> for StartError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Store(error) => Self::Store(error),
            error => Self::Bootstrap(error),
        }
    }
}

/// What to do about a database that cannot be used.
fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongMasterKey => {
            "give the key that the database was created with, by --master-key-file or SWITCHYARD_MASTER_KEY"
        }
        StoreError::Unavailable(_) | StoreError::Open { .. } | StoreError::LeaseLost => {
            "check that it runs and that --database (SWITCHYARD_DATABASE) names it"
        }
        StoreError::NotResealed { .. } => {
            "give the previous master keys as well that these secrets were sealed under, or replace them; the log names each"
        }
        StoreError::Migrate(_) => "use the version of this program that was used with it last, or a newer one",
        StoreError::Statement(_)
        | StoreError::Inconsistent { .. }
        | StoreError::Unreadable { .. }
        | StoreError::DanglingReference(_)
        | StoreError::HistoryGone { .. }
        | StoreError::Unseal(_)
        | StoreError::Seal(_) => "restore it from a backup",
    }
}
