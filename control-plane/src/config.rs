//! The settings of the program: flags, then `SWITCHYARD_CONTROL_PLANE_*` variables, then a TOML file, then defaults.

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Parser;
use switchyard_process::{Arguments, Given, Origin, Origins, files, log::LogArgs};

use crate::{app::seed, dns::AUTHORITATIVE_PORT, store::Location};

/// Calls of the API that a token may make in a second, when nothing else is said.
const TOKEN_RATE_DEFAULT: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// The shortest and the longest life of an edge's certificate.
const LIFETIME_MIN: Duration = Duration::from_secs(3);
const LIFETIME_MAX: Duration = Duration::from_hours(365 * 24);
/// The credential of the service manager that holds the master key.
const MASTER_KEY_CREDENTIAL: &str = "switchyard-master-key";
/// The environment variable that holds the master key, if no file does. Not a flag: the flags of a process are visible to all users.
pub const MASTER_KEY_VARIABLE: &str = "SWITCHYARD_CONTROL_PLANE_MASTER_KEY";

/// What the program was started with. The variable of `--token-rate` is `SWITCHYARD_CONTROL_PLANE_TOKEN_RATE`, its key in a
/// file `token_rate`.
#[derive(Debug, Parser)]
#[command(
    name = "switchyard-control-plane",
    version,
    about = "The control plane of a fleet of Switchyard edge proxies."
)]
pub struct Args {
    /// A TOML file with settings; its keys are the names of these flags with _ for -
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where the database (unless --database names another), the master key and the first token are kept
    /// [default: /var/lib/switchyard as root, else ~/.local/state/switchyard]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// postgres://USER@HOST/DATABASE or sqlite:FILE [default: switchyard.db in the data directory]
    #[arg(long, value_name = "URL", hide_env_values = true, global = true, value_parser = parse_database)]
    database: Option<Location>,
    /// Where the API listens. Other addresses than loopback need a certificate
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7080")]
    admin: SocketAddr,
    /// The certificate of the API: a PEM file with its chain. It is read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    admin_certificate_file: Option<PathBuf>,
    /// The private key of that certificate: a PEM file
    #[arg(long, value_name = "FILE")]
    admin_private_key_file: Option<PathBuf>,
    /// Serve the API without TLS on an address that others reach. Whoever listens on the way reads the tokens
    #[arg(long)]
    insecure_admin_without_tls: bool,
    /// Where edges connect to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7443")]
    fleet: SocketAddr,
    /// How long the certificates of edges live; they are renewed at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "30days")]
    edge_certificate_lifetime: CertificateLifetime,
    /// How many calls of the API a token may make in a second
    #[arg(long, value_name = "CALLS", default_value_t = TOKEN_RATE_DEFAULT)]
    token_rate: NonZeroU32,
    /// Whether certificates are ordered from CAs; off, those there are go on being served
    #[arg(long, value_name = "on|off", default_value = "on")]
    orders: Switch,
    /// How long an order that failed waits before it is tried again; each further failure doubles it, up to a day
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    order_retry_pause: RetryPause,
    /// The name server that names are looked up at, to prove them by DNS [default: those of the system]
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns_server: Option<SocketAddr>,
    /// The port at which the name servers of zones are asked whether they show a record [default: 53]
    #[arg(long, value_name = "PORT")]
    dns_port: Option<NonZeroU16>,
    /// The directory of the programs that DNS providers may name; without it they may name none
    #[arg(long, value_name = "DIR")]
    hook_dir: Option<PathBuf>,
    /// The key that seals secrets in the database; required with Postgres, unless SWITCHYARD_CONTROL_PLANE_MASTER_KEY or the
    /// systemd credential switchyard-master-key holds it
    /// [default: master-key in the data directory, made if there is none]
    #[arg(long, value_name = "FILE", global = true)]
    master_key_file: Option<PathBuf>,
    /// A key that some secrets are still sealed under: `rekey` seals them anew. May be given several times
    #[arg(long, value_name = "FILE", value_delimiter = ',', global = true)]
    previous_master_key_file: Vec<PathBuf>,
    /// Domains and backends that an empty database begins with
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// How logs are written.
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Arguments for Args {
    const VARIABLES: &'static str = "SWITCHYARD_CONTROL_PLANE";

    fn unknown_key(key: &str) -> Option<&'static str> {
        let hint = "this is a seed file, and not one of settings; give it with --seed instead of --config";
        seed::SECTIONS.contains(&key).then_some(hint)
    }
}

/// What else the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Seal everything under the master key that was sealed under a previous one, while control planes run
    Rekey,
}

/// The settings of one run.
#[derive(Debug)]
pub struct Settings {
    /// Where files are kept.
    pub data_dir: PathBuf,
    /// Where the data is.
    pub database: Location,
    /// Where the API listens, and how.
    pub admin: Admin,
    /// Where edges connect to.
    pub fleet: SocketAddr,
    /// How long the certificates of edges live.
    pub edge_certificate_lifetime: Duration,
    /// How many calls a token may make in a second.
    pub token_rate: NonZeroU32,
    /// Whether certificates are ordered, and how.
    pub orders: Orders,
    /// Where the master key comes from.
    pub master_key: MasterKeySource,
    /// Where the keys are that some secrets are still sealed under.
    pub previous_master_keys: Vec<PathBuf>,
    /// What is to be done, if not to serve.
    pub command: Option<Command>,
    /// What an empty database begins with.
    pub seed: Option<PathBuf>,
    /// Where all this came from.
    pub origins: Origins,
}

impl Settings {
    /// Puts the settings together; `environment` looks up a variable.
    ///
    /// # Errors
    ///
    /// Something is missing, or two settings contradict each other.
    pub fn load(given: Given<Args>, environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidSettings> {
        let Given { args, origins } = given;
        let Args {
            config: _,
            data_dir,
            database,
            admin,
            admin_certificate_file,
            admin_private_key_file,
            insecure_admin_without_tls,
            fleet,
            edge_certificate_lifetime: CertificateLifetime(edge_certificate_lifetime),
            token_rate,
            orders,
            order_retry_pause: RetryPause(retry_pause),
            dns_server,
            dns_port,
            hook_dir,
            master_key_file,
            previous_master_key_file,
            seed,
            log: _,
            command,
        } = args;
        let data_dir =
            data_dir.or_else(|| files::state_dir(&environment, "switchyard")).ok_or(InvalidSettings::NoDataDir)?;
        let database = database.unwrap_or_else(|| Location::Sqlite(data_dir.join("switchyard.db")));
        let master_key = MasterKeySource::choose(
            master_key_file.or_else(|| files::credential(&environment, MASTER_KEY_CREDENTIAL)),
            environment(MASTER_KEY_VARIABLE),
            &database,
            &data_dir,
            &origins,
        )?;
        let admin =
            Admin::choose(admin, admin_certificate_file, admin_private_key_file, insecure_admin_without_tls, &origins)?;
        let orders = match orders {
            Switch::On => Orders::On(OrderSettings {
                retry_pause,
                dns_server,
                dns_port: dns_port.map_or(AUTHORITATIVE_PORT, NonZeroU16::get),
                hook_dir,
            }),
            Switch::Off => Orders::Off,
        };
        Ok(Self {
            data_dir,
            database,
            admin,
            fleet,
            edge_certificate_lifetime,
            token_rate,
            orders,
            master_key,
            previous_master_keys: previous_master_key_file,
            command,
            seed,
            origins,
        })
    }
}

/// Parses `postgres://USER@HOST/DATABASE` or `sqlite:FILE`.
fn parse_database(url: &str) -> Result<Location, InvalidDatabaseUrl> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Location::Postgres(url.to_owned()));
    }
    match url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest)) {
        Some(file) if !file.is_empty() && !file.contains(['?', '#']) && file != ":memory:" => {
            Ok(Location::Sqlite(file.into()))
        }
        _ => Err(InvalidDatabaseUrl),
    }
}

/// A text that does not name a database. It is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database URL is of another form; use postgres://USER@HOST/DATABASE or sqlite:FILE")]
pub struct InvalidDatabaseUrl;

/// Where the API listens, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: SocketAddr,
    /// The certificate that it shows. Without one it is served in the clear.
    pub tls: Option<AdminTls>,
}

/// Whether certificates are ordered from CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orders {
    /// They are.
    On(OrderSettings),
    /// Not by this control plane.
    Off,
}

/// How certificates are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSettings {
    /// How long an order waits after its first failure.
    pub retry_pause: Duration,
    /// Where names are looked up; `None`: where the system does.
    pub dns_server: Option<SocketAddr>,
    /// At which port the name servers of zones are asked.
    pub dns_port: u16,
    /// Where the programs are that DNS providers may name.
    pub hook_dir: Option<PathBuf>,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// How long an order that failed waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPause(Duration);

impl RetryPause {
    /// The shortest: a CA is not to be flooded.
    const MIN: Duration = Duration::from_millis(100);
    /// The longest.
    const MAX: Duration = Duration::from_secs(60 * 60);
}

impl FromStr for RetryPause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pause = humantime::parse_duration(text).map_err(|error| format!("{error}; write 1m or 30s"))?;
        if (Self::MIN..=Self::MAX).contains(&pause) {
            Ok(Self(pause))
        } else {
            Err("100ms to 1h are allowed".to_owned())
        }
    }
}

/// The certificate of the API, in files that are replaced when it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// A PEM file with the chain.
    pub certificate_file: PathBuf,
    /// A PEM file with the private key.
    pub private_key_file: PathBuf,
}

impl Admin {
    /// Tokens are not to be read on the way: what is not loopback has TLS, or a flag that nobody sets by accident.
    fn choose(
        address: SocketAddr,
        certificate_file: Option<PathBuf>,
        private_key_file: Option<PathBuf>,
        insecure: bool,
        origins: &Origins,
    ) -> Result<Self, InvalidSettings> {
        let tls = match (certificate_file, private_key_file) {
            (Some(certificate_file), Some(private_key_file)) => Some(AdminTls { certificate_file, private_key_file }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(InvalidSettings::HalfAdminTls { origin: origins.of("admin_certificate_file") });
            }
            (None, Some(_)) => {
                return Err(InvalidSettings::HalfAdminTls { origin: origins.of("admin_private_key_file") });
            }
        };
        if tls.is_none() && !address.ip().is_loopback() && !insecure {
            return Err(InvalidSettings::AdminInTheClear { address, origin: origins.of("admin") });
        }
        Ok(Self { address, tls })
    }
}

/// How long a certificate lives.
#[derive(Clone, Copy, Debug)]
struct CertificateLifetime(Duration);

impl FromStr for CertificateLifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lifetime = humantime::parse_duration(text).map_err(|error| format!("{error}; write 30days or 12h"))?;
        if (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            Ok(Self(lifetime))
        } else {
            Err("the certificates of edges live from 3s to 365days".to_owned())
        }
    }
}

/// Where the master key comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file that must be there.
    File(PathBuf),
    /// A file that is made if it is not there.
    FileOrNew(PathBuf),
    /// The environment.
    Text(String),
}

impl MasterKeySource {
    fn choose(
        file: Option<PathBuf>,
        text: Option<OsString>,
        database: &Location,
        data_dir: &Path,
        origins: &Origins,
    ) -> Result<Self, InvalidSettings> {
        match (file, text) {
            (Some(file), Some(_)) => {
                Err(InvalidSettings::TwoMasterKeys { file, origin: origins.of("master_key_file") })
            }
            (Some(file), None) => Ok(Self::File(file)),
            (None, Some(text)) => text.into_string().map(Self::Text).map_err(|_| InvalidSettings::MasterKeyText),
            (None, None) => match database {
                Location::Sqlite(_) => Ok(Self::FileOrNew(data_dir.join("master-key"))),
                // Several control planes must have the same one.
                Location::Postgres(_) => Err(InvalidSettings::NoMasterKey),
            },
        }
    }
}

/// Without the key.
impl fmt::Debug for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::FileOrNew(path) => f.debug_tuple("FileOrNew").field(path).finish(),
            Self::Text(_) => f.debug_tuple("Text").finish_non_exhaustive(),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The API would be read on the way.
    #[error(
        "{address} ({origin}) is not a loopback address: give the API a certificate with --admin-certificate-file and \
         --admin-private-key-file, or use 127.0.0.1:{port} and reach it through an SSH tunnel",
        port = address.port()
    )]
    AdminInTheClear {
        /// Where it would listen.
        address: SocketAddr,
        /// What says so.
        origin: Origin,
    },
    /// A certificate without its key, or the other way round.
    #[error(
        "{origin}: a certificate and its key go together; give both --admin-certificate-file and --admin-private-key-file"
    )]
    HalfAdminTls {
        /// What names the one.
        origin: Origin,
    },
    /// No default can be made.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a directory with --data-dir")]
    NoDataDir,
    /// Two keys are given.
    #[error("both {MASTER_KEY_VARIABLE} and the master key file {} ({origin}) are given; give one of them", file.display())]
    TwoMasterKeys {
        /// The file.
        file: PathBuf,
        /// What names it.
        origin: Origin,
    },
    /// The variable holds no text.
    #[error("{MASTER_KEY_VARIABLE} is not text; give 64 hexadecimal digits")]
    MasterKeyText,
    /// Postgres without a key.
    #[error(
        "a Postgres database needs a master key; give one with --master-key-file or {MASTER_KEY_VARIABLE}, \
             as made by: openssl rand -hex 32"
    )]
    NoMasterKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn load(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, InvalidSettings> {
        let args = ["switchyard-control-plane"].iter().chain(args).map(OsString::from);
        Settings::load(switchyard_process::settings::read(args).unwrap(), |name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn everything_has_a_default() {
        let settings = load(&["--data-dir", "/data"], &[]).unwrap();
        assert_eq!(settings.database, Location::Sqlite("/data/switchyard.db".into()));
        assert_eq!(settings.admin.address.to_string(), "127.0.0.1:7080");
        assert_eq!(settings.admin.tls, None);
        assert_eq!(settings.fleet.to_string(), "0.0.0.0:7443");
        assert_eq!(settings.master_key, MasterKeySource::FileOrNew("/data/master-key".into()));
    }

    #[test]
    fn a_seed_given_as_a_settings_file_is_named_as_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), include_str!("../testdata/example-config.toml")).unwrap();
        let args = ["switchyard-control-plane", "--config", file.path().to_str().unwrap()].map(OsString::from);
        let error = switchyard_process::settings::read::<Args>(args).unwrap_err().to_string();
        assert!(error.contains("line ") && error.contains("give it with --seed"), "{error}");
    }

    #[test]
    fn a_bad_database_url_is_not_repeated() {
        let args = ["switchyard-control-plane", "--database", "mysql://u:secret@h/d"].map(OsString::from);
        let error = switchyard_process::settings::read::<Args>(args).unwrap_err().to_string();
        assert!(error.starts_with("--database: the database URL") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_api_is_not_served_in_the_clear_where_others_reach_it() {
        let public = ["--data-dir", "/data", "--admin", "0.0.0.0:7080"];
        let with = |more: &[&str]| load(&[&public[..], more].concat(), &[]);
        assert!(matches!(with(&[]), Err(InvalidSettings::AdminInTheClear { .. })));
        let certificate = ["--admin-certificate-file", "/c"];
        assert!(matches!(with(&certificate), Err(InvalidSettings::HalfAdminTls { .. })));
        let both = [&certificate[..], &["--admin-private-key-file", "/k"]].concat();
        assert_eq!(with(&both).unwrap().admin.tls.unwrap().certificate_file, Path::new("/c"));
        assert_eq!(with(&["--insecure-admin-without-tls"]).unwrap().admin.tls, None);
    }

    #[test]
    fn postgres_needs_a_master_key_of_its_own() {
        let postgres = ["--data-dir", "/data", "--database", "postgres://u:secret@h/d"];
        assert!(matches!(load(&postgres, &[]), Err(InvalidSettings::NoMasterKey)));
        let settings = load(&postgres, &[(MASTER_KEY_VARIABLE, "00ff")]).unwrap();
        assert!(!format!("{settings:?}").contains("00ff"), "{settings:?}");
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        let both = [&postgres[..], &["--master-key-file", "/k"]].concat();
        assert!(matches!(load(&both, &[(MASTER_KEY_VARIABLE, "00")]), Err(InvalidSettings::TwoMasterKeys { .. })));
    }

    #[test]
    fn the_service_manager_may_hand_over_the_master_key() {
        let directory = tempfile::tempdir().unwrap();
        let variables = [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())];
        let none = load(&["--data-dir", "/data"], &variables).unwrap().master_key;
        assert_eq!(none, MasterKeySource::FileOrNew("/data/master-key".into()));
        let file = directory.path().join(MASTER_KEY_CREDENTIAL);
        fs::write(&file, "key").unwrap();
        let given = load(&["--data-dir", "/data"], &variables).unwrap().master_key;
        assert_eq!(given, MasterKeySource::File(file));
        let flag = load(&["--data-dir", "/data", "--master-key-file", "/k"], &variables).unwrap().master_key;
        assert_eq!(flag, MasterKeySource::File("/k".into()));
    }

    #[test]
    fn databases_are_urls() {
        assert_eq!(parse_database("sqlite:a.db"), Ok(Location::Sqlite("a.db".into())));
        assert_eq!(parse_database("sqlite:///a/b.db"), Ok(Location::Sqlite("/a/b.db".into())));
        for bad in ["", "mysql://h/d", "sqlite:", "a.db", "sqlite::memory:"] {
            assert_eq!(parse_database(bad), Err(InvalidDatabaseUrl), "{bad:?}");
        }
    }
}
