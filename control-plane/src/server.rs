//! Puts the program together: the one place that knows everybody.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use switchyard_process::{Origin, Origins, RunError, Signals, Tasks, chain, files, log::Log};
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
    clock::{Clock, SystemClock, SystemTimer},
    config::{Admin, AdminTls, MasterKeySource, OrderSettings, Orders, Settings},
    dns::{Dns, Outgoing},
    feed::{Feed, Follower},
    fleet::{CertificateError, FleetView, Members, Recorder, ServerCertificate, Tracker},
    grpc,
    health::HealthMonitor,
    listen::{CertificateFiles, CertificateFilesError, Listener},
    metrics::Metrics,
    model::Secret,
    on_demand::{Hooks, HooksError, OnDemand},
    random::{Random, SystemRandom},
    reconcile::{
        self, Driver, EdgeRecords, Expiry, InternalCertificates, LeaseKeeper, NoRandomness, OwnCertificate,
        acme::{self, Acme},
        tickets::{self, Tickets},
    },
    seal::{InvalidMasterKey, MasterKey, MasterKeyError, Sealer},
    store::{self, Claim, Store, StoreError},
};

/// The file in the data directory that holds the first token of the API.
const FIRST_TOKEN_FILE: &str = "admin-token";

/// How long tasks may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the control plane until it is told to end.
///
/// # Errors
///
/// It cannot start, or a part of it ended before its time; what to do is part of the text.
pub async fn run(settings: Settings, log: &Log) -> Result<(), RunError<StartError>> {
    let signals = Signals::catch().map_err(StartError::Signals).map_err(RunError::Start)?;
    let data_dir = settings.data_dir.clone();
    // Until all has ended.
    let _claim = claim(&settings).map_err(RunError::Start)?;
    let server = Server::start(settings).await.map_err(RunError::Start)?;
    let Server { admin, fleet, revision, tasks, store: _ } = &server;
    info!(%admin, %fleet, data_dir = %data_dir.display(), revision = revision.0, "ready");
    let ended = tasks.wait(signals, log).await;
    server.end().await;
    Ok(ended?)
}

/// Makes this process the control plane of its database, before anything is touched.
fn claim(settings: &Settings) -> Result<Claim, StartError> {
    create_dir(&settings.data_dir, &settings.origins)?;
    store::claim(&settings.database).map_err(|error| StartError::open(error, &settings.origins))
}

fn create_dir(path: &Path, origins: &Origins) -> Result<(), StartError> {
    let unwritable = |error| StartError::DataDir { path: path.into(), origin: origins.of("data_dir"), error };
    files::create_private_dir(path).map_err(unwritable)
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
    tasks: Tasks,
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
            origins,
        } = settings;
        // First, so that nothing is touched when another one runs here already.
        let listen = |flag, address| {
            let origin = origins.of(flag);
            move |error| StartError::Listen { flag, origin, address, error }
        };
        let Admin { address: admin, tls: admin_tls } = admin;
        let admin_listener = Listener::bind(admin).await.map_err(listen("admin", admin))?;
        let fleet_listener = Listener::bind(fleet).await.map_err(listen("fleet", fleet))?;
        let admin = admin_listener.local_address().map_err(listen("admin", admin))?;
        let fleet = fleet_listener.local_address().map_err(listen("fleet", fleet))?;

        let seed_file = |error| StartError::SeedFile { origin: origins.of("seed"), error };
        let seed = seed.map(|path| seed::read(&path).map(|seed| (path, seed))).transpose().map_err(seed_file)?;
        let certificate_files =
            |error| StartError::CertificateFiles { origin: origins.of("admin_certificate_file"), error };
        let admin_certificate = admin_tls.map(read_certificate).transpose().map_err(certificate_files)?;
        let unwritable = |path, error| StartError::DataDir { path, origin: origins.of("data_dir"), error };
        create_dir(&data_dir, &origins)?;
        let sealer = load_sealer(master_key, &previous_master_keys, &origins)?;
        let store = store::open(&database, sealer).await.map_err(|error| StartError::open(error, &origins))?;
        let Foundation { fleet_ca, internal_ca, page_tokens } =
            bootstrap::run(&store, &*clock, |secret| keep_first_token(&data_dir, secret)).await.map_err(|error| {
                match error {
                    BootstrapError::App(error) => error.into(),
                    BootstrapError::Keep(error) => unwritable(data_dir.join(FIRST_TOKEN_FILE), error),
                }
            })?;

        let tasks = Tasks::default();
        let ending = tasks.ending();
        let feed = Feed::new();
        let follower = Follower::new(feed.clone(), store.clone());
        follower.catch_up().await?;
        tasks.spawn("follower", follower.run(ending.clone()));
        let view = FleetView::new(store.edges().await?, clock.clone());
        tasks.spawn("members", Members::new(view.clone(), feed.clone()).run(ending.clone()));
        let metrics = Arc::new(Metrics::new());
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let driver = Driver::new(clock.clone(), Arc::new(SystemTimer), random.clone(), metrics.clone());
        let records = EdgeRecords::new(Recorder::new(view.clone(), store.clone()), &view);
        tasks.spawn("edges", driver.run("edges", records, ending.clone()));
        let tracker = Tracker { view: view.clone(), feed: feed.clone(), store: store.clone() };
        let token_uses = TokenUses::load(store.clone()).await?;
        let authenticator = Arc::new(Authenticator::new(feed.clone(), clock.clone(), token_uses, token_rate));
        tasks.spawn("access", authenticator.clone().run(ending.clone()));
        let monitor = HealthMonitor::new(feed.clone(), store.clone());
        let health = monitor.subscribe();
        tasks.spawn("health", monitor.run(ending.clone()));
        let fleet_ca = Arc::new(fleet_ca);
        let app = Arc::new(App {
            store: store.clone(),
            feed: feed.clone(),
            clock: clock.clone(),
            internal_ca,
            fleet_ca: fleet_ca.clone(),
            edge_certificate_lifetime,
            fleet_port: fleet.port(),
            page_tokens,
            due: Notify::new(),
        });
        if let Some((path, seed)) = seed {
            load_seed(&app, &path, &seed).await?;
        }
        let revision = feed.state().revision();
        let expiry = Expiry::new(app.clone(), metrics.clone());
        tasks.spawn("expiry", driver.run("expiry", expiry, ending.clone()));

        let certificate = Arc::new(ServerCertificate::issue(fleet_ca, clock.now())?);
        let tls = certificate.clone().server_config()?;
        let own = OwnCertificate::new(certificate, clock.clone());
        tasks.spawn("own-certificate", driver.run("own-certificate", own, ending.clone()));
        let internal = InternalCertificates::new(app.clone());
        tasks.spawn("internal-certificates", driver.run("internal-certificates", internal, ending.clone()));
        let holder = reconcile::holder().map_err(|NoRandomness| StartError::Randomness)?;
        let hooks = Hooks::new()?;
        match orders {
            Orders::Off => info!("no certificates are ordered from CAs (--orders off)"),
            Orders::On(OrderSettings { retry_pause, dns_server, dns_port, hook_dir }) => {
                let http = Outgoing::new().map_err(|error| StartError::Orders(chain(&error)))?;
                let dns = Dns::new(dns_server, dns_port, http, hook_dir);
                let dns = dns.map_err(|error| StartError::Orders(chain(&error)))?;
                let acme = Acme::new(app.clone(), view.clone(), dns, hooks.clone(), retry_pause, random);
                let keeper = LeaseKeeper::new(store.clone(), acme::LEASE, holder.clone());
                let begin = move |lease| acme.begin(lease);
                tasks.spawn("acme", driver.run_leading("acme", keeper.leadership(), begin, ending.clone()));
                tasks.spawn("acme-lease", driver.run("acme-lease", keeper, ending.clone()));
            }
        }
        let rotation = Tickets::new(app.clone(), view.clone());
        let keeper = LeaseKeeper::new(store.clone(), tickets::LEASE, holder);
        let begin = move |lease| rotation.begin(lease);
        tasks.spawn("tickets", driver.run_leading("tickets", keeper.leadership(), begin, ending.clone()));
        tasks.spawn("tickets-lease", driver.run("tickets-lease", keeper, ending.clone()));
        let (connections, accept) = fleet_listener.accept(Some(Arc::new(tls)), ending.clone());
        tasks.spawn("fleet listener", accept);
        let on_demand = OnDemand::new(app.clone(), hooks);
        tasks.spawn("fleet", served(grpc::serve_fleet(connections, app.clone(), view, on_demand, ending.clone())));
        let admin_tls = match admin_certificate {
            None => None,
            Some(files) => {
                tasks.spawn("certificate files", files.clone().follow(tasks.reloads(), ending.clone()));
                Some(Arc::new(files.server_config().map_err(CertificateError::Tls)?))
            }
        };
        let (connections, accept) = admin_listener.accept(admin_tls, ending.clone());
        tasks.spawn("admin listener", accept);
        let api = grpc::Api { app, authenticator, tracker, metrics, health, task_statuses: driver.statuses() };
        tasks.spawn("admin", served(grpc::serve_admin(connections, api, ending)));
        Ok(Self { admin, fleet, revision, tasks, store })
    }

    /// Tells everything to end, and waits for it, but not for ever.
    pub async fn end(&self) {
        self.tasks.end(END_TIMEOUT).await;
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
    let Settings { database, master_key, previous_master_keys, origins, .. } = settings;
    let sealer = load_sealer(master_key, &previous_master_keys, &origins)?;
    let store = store::open(&database, sealer).await.map_err(|error| StartError::open(error, &origins))?;
    let resealed = store.reseal().await;
    store.close().await;
    info!(secrets = resealed?, "everything is sealed under the master key; the previous ones are not needed any more");
    Ok(())
}

fn load_sealer(master_key: MasterKeySource, previous: &[PathBuf], origins: &Origins) -> Result<Sealer, StartError> {
    let named = |key: &'static str| {
        let origin = origins.of(key);
        move |error| StartError::MasterKey { origin, error }
    };
    let current = match master_key {
        MasterKeySource::File(path) => MasterKey::load(&path).map_err(named("master_key_file"))?,
        MasterKeySource::FileOrNew(path) => MasterKey::load_or_create(&path).map_err(named("master_key_file"))?,
        MasterKeySource::Text(text) => MasterKey::parse(&text).map_err(StartError::MasterKeyText)?,
    };
    let previous: Vec<MasterKey> = previous
        .iter()
        .map(|path| MasterKey::load(path).map_err(named("previous_master_key_file")))
        .collect::<Result<_, _>>()?;
    Ok(Sealer::new(&current).with_previous(&previous))
}

fn read_certificate(files: AdminTls) -> Result<Arc<CertificateFiles>, CertificateFilesError> {
    let AdminTls { certificate_file, private_key_file } = files;
    Ok(Arc::new(CertificateFiles::read(certificate_file, private_key_file)?))
}

/// Puts the first token where the people of this machine find it.
fn keep_first_token(data_dir: &Path, secret: &Secret) -> io::Result<()> {
    let path = data_dir.join(FIRST_TOKEN_FILE);
    files::write_private(&path, format!("{}\n", secret.expose()).as_bytes())?;
    info!(file = %path.display(), "the first token of the API was made");
    Ok(())
}

async fn load_seed(app: &App, path: &Path, seed: &seed::Seed) -> Result<(), StartError> {
    match seed::load(app, seed).await.map_err(StartError::Seed)? {
        Outcome::Loaded { domains, backends } => {
            info!(domains, backends, "the seed file was loaded");
            for note in &seed.notes {
                warn!(setting = note.setting, "not a setting of the fleet: {}", note.note);
            }
        }
        Outcome::NotEmpty => {
            warn!(file = %path.display(), "the seed file is ignored: the database is not empty");
        }
    }
    Ok(())
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error(
        "listen on {address} ({origin}): {error}; end the program that listens there, or choose another address with --{flag}"
    )]
    Listen {
        /// The flag that names it.
        flag: &'static str,
        /// What does.
        origin: Origin,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The data directory, or a file in it, cannot be written.
    #[error("write {} ({origin}): {error}; name a directory that can be written with --data-dir", path.display())]
    DataDir {
        /// What cannot be written.
        path: PathBuf,
        /// What names the directory.
        origin: Origin,
        /// Why.
        error: io::Error,
    },
    /// The certificate of the API cannot be used.
    #[error("{error} ({origin}); name PEM files with --admin-certificate-file and --admin-private-key-file")]
    CertificateFiles {
        /// What names the first.
        origin: Origin,
        /// Why.
        error: CertificateFilesError,
    },
    /// The master key cannot be read.
    #[error("{error} ({origin}); name the file that holds the key with --master-key-file")]
    MasterKey {
        /// What names the file.
        origin: Origin,
        /// Why.
        error: MasterKeyError,
    },
    /// What the environment holds is no master key.
    #[error("{variable}: {0}", variable = crate::config::MASTER_KEY_VARIABLE)]
    MasterKeyText(InvalidMasterKey),
    /// The database does not do what it should.
    #[error("{}; {}", chain(.0), advice(.0))]
    Store(#[from] StoreError),
    /// The database cannot be opened.
    #[error("{} ({origin}); {}", chain(.error), advice(.error))]
    Open {
        /// What names it.
        origin: Origin,
        /// Why.
        error: StoreError,
    },
    /// The database cannot be begun with.
    #[error("prepare the database: {}; its log or this program's may say more", chain(.0))]
    Bootstrap(AppError),
    /// The seed file cannot be used.
    #[error("{error} ({origin}); fix the file, or start without --seed")]
    SeedFile {
        /// What names it.
        origin: Origin,
        /// Why.
        error: InvalidSeed,
    },
    /// What the seed file says cannot be created.
    #[error("load the seed file: {}; fix the file, or start without --seed", chain(.0))]
    Seed(AppError),
    /// There is no certificate for the fleet listener.
    #[error("{}; restore the database from a backup", chain(.0))]
    Certificate(#[from] CertificateError),
    /// What certificates are ordered with cannot be made.
    #[error("prepare to order certificates: {0}; fix that, or start with --orders off")]
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

impl StartError {
    fn open(error: StoreError, origins: &Origins) -> Self {
        let key = if matches!(error, StoreError::WrongMasterKey) { "master_key_file" } else { "database" };
        Self::Open { origin: origins.of(key), error }
    }
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
            "give the key that the database was created with, by --master-key-file or SWITCHYARD_CONTROL_PLANE_MASTER_KEY"
        }
        StoreError::NoSpace(_) => "make room on its disk",
        StoreError::InUse { .. } => {
            "end that one first, or give this one a data directory of its own; several control planes run on one Postgres"
        }
        StoreError::Unavailable(_) | StoreError::Open { .. } | StoreError::LeaseLost => {
            "check that it runs and that --database names it"
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
