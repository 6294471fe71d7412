//! The settings of the program: flags, then `SWITCHYARD_*` variables, then a TOML file, then defaults.

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Parser;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    dns::AUTHORITATIVE_PORT,
    store::Location,
    telemetry::{LogFilter, LogFormat},
};

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Calls of the API that a token may make in a second, when nothing else is said.
const TOKEN_RATE_DEFAULT: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// The shortest and the longest life of an edge's certificate.
const LIFETIME_MIN: Duration = Duration::from_secs(3);
const LIFETIME_MAX: Duration = Duration::from_hours(365 * 24);
/// The credential of the service manager that holds the master key.
const MASTER_KEY_CREDENTIAL: &str = "switchyard-master-key";
/// The environment variable that holds the master key, if no file does. Not a flag: flags are there for everybody to see.
pub const MASTER_KEY_VARIABLE: &str = "SWITCHYARD_MASTER_KEY";

/// What the program was started with.
#[derive(Debug, Parser)]
#[command(
    name = "switchyard-control-plane",
    version,
    about = "The control plane of a fleet of Switchyard edge proxies."
)]
pub struct Args {
    /// A TOML file with settings; its keys are the names of these flags with _ for -.
    #[arg(long, env = "SWITCHYARD_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where the database (unless --database names another), the master key and the first token are kept.
    /// [default: /var/lib/switchyard as root, else ~/.local/state/switchyard]
    #[arg(long, env = "SWITCHYARD_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// postgres://USER@HOST/DATABASE or sqlite:FILE. [default: switchyard.db in the data directory]
    #[arg(long, env = "SWITCHYARD_DATABASE", value_name = "URL", hide_env_values = true, global = true)]
    database: Option<String>,
    /// Where the API listens. Other addresses than loopback need a certificate. [default: 127.0.0.1:7080]
    #[arg(long, env = "SWITCHYARD_ADMIN", value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// The certificate of the API: a PEM file with its chain. It is read again when it changes.
    #[arg(long, env = "SWITCHYARD_ADMIN_CERTIFICATE_FILE", value_name = "FILE")]
    admin_certificate_file: Option<PathBuf>,
    /// The private key of that certificate: a PEM file.
    #[arg(long, env = "SWITCHYARD_ADMIN_PRIVATE_KEY_FILE", value_name = "FILE")]
    admin_private_key_file: Option<PathBuf>,
    /// Serve the API without TLS on an address that others reach. Whoever listens on the way reads the tokens.
    #[arg(long)]
    insecure_admin_without_tls: bool,
    /// Where edges connect to. [default: 0.0.0.0:7443]
    #[arg(long, env = "SWITCHYARD_FLEET", value_name = "ADDRESS:PORT")]
    fleet: Option<SocketAddr>,
    /// How long the certificates of edges live; they are renewed at two thirds of it. [default: 30days]
    #[arg(long, env = "SWITCHYARD_EDGE_CERTIFICATE_LIFETIME", value_name = "DURATION")]
    edge_certificate_lifetime: Option<CertificateLifetime>,
    /// How many calls of the API a token may make in a second. [default: 1000]
    #[arg(long, env = "SWITCHYARD_TOKEN_RATE", value_name = "CALLS")]
    token_rate: Option<NonZeroU32>,
    /// Whether certificates are ordered from CAs; off, those there are go on being served. [default: on]
    #[arg(long, env = "SWITCHYARD_ORDERS", value_name = "on|off")]
    orders: Option<Switch>,
    /// How long an order that failed waits before it is tried again; each further failure doubles it, up to a day. [default: 1m]
    #[arg(long, env = "SWITCHYARD_ORDER_RETRY_PAUSE", value_name = "DURATION")]
    order_retry_pause: Option<RetryPause>,
    /// The name server that names are looked up at, to prove them by DNS. [default: those of the system]
    #[arg(long, env = "SWITCHYARD_DNS_SERVER", value_name = "ADDRESS:PORT")]
    dns_server: Option<SocketAddr>,
    /// The port at which the name servers of zones are asked whether they show a record. [default: 53]
    #[arg(long, env = "SWITCHYARD_DNS_PORT", value_name = "PORT")]
    dns_port: Option<NonZeroU16>,
    /// The directory of the programs that DNS providers may name; without it they may name none.
    #[arg(long, env = "SWITCHYARD_HOOK_DIR", value_name = "DIR")]
    hook_dir: Option<PathBuf>,
    /// The key that seals secrets in the database; required with Postgres, unless SWITCHYARD_MASTER_KEY or the systemd
    /// credential switchyard-master-key holds it.
    /// [default: master-key in the data directory, made if there is none]
    #[arg(long, env = "SWITCHYARD_MASTER_KEY_FILE", value_name = "FILE", global = true)]
    master_key_file: Option<PathBuf>,
    /// A key that some secrets are still sealed under: `rekey` seals them anew. May be given several times.
    #[arg(
        long,
        env = "SWITCHYARD_PREVIOUS_MASTER_KEY_FILE",
        value_name = "FILE",
        value_delimiter = ',',
        global = true
    )]
    previous_master_key_file: Vec<PathBuf>,
    /// Domains and backends that an empty database begins with.
    #[arg(long, env = "SWITCHYARD_SEED", value_name = "FILE")]
    seed: Option<PathBuf>,
    /// How logs are written. [default: text]
    #[arg(long, env = "SWITCHYARD_LOG_FORMAT", value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace, or directives as in info,tonic=debug. [default: info]
    #[arg(long, env = "SWITCHYARD_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogFilter>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What else the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Seal everything under the master key that was sealed under a previous one, while control planes run
    Rekey,
}

/// The settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    #[serde(default, deserialize_with = "database")]
    database: Option<Location>,
    admin: Option<SocketAddr>,
    admin_certificate_file: Option<PathBuf>,
    admin_private_key_file: Option<PathBuf>,
    #[serde(default)]
    insecure_admin_without_tls: bool,
    fleet: Option<SocketAddr>,
    #[serde(default, deserialize_with = "parsed")]
    edge_certificate_lifetime: Option<CertificateLifetime>,
    token_rate: Option<NonZeroU32>,
    orders: Option<Switch>,
    #[serde(default, deserialize_with = "parsed")]
    order_retry_pause: Option<RetryPause>,
    dns_server: Option<SocketAddr>,
    dns_port: Option<NonZeroU16>,
    hook_dir: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
    #[serde(default)]
    previous_master_key_file: Vec<PathBuf>,
    seed: Option<PathBuf>,
    log_format: Option<LogFormat>,
    #[serde(default, deserialize_with = "parsed")]
    log_level: Option<LogFilter>,
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<Option<T>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

fn database<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Location>, D::Error> {
    parse_database(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
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
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written.
    pub log_filter: LogFilter,
}

impl Settings {
    /// Puts the settings together; `environment` looks up a variable.
    pub fn load(args: Args, environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidSettings> {
        let Args {
            config,
            data_dir,
            database,
            admin,
            admin_certificate_file,
            admin_private_key_file,
            insecure_admin_without_tls,
            fleet,
            edge_certificate_lifetime,
            token_rate,
            orders,
            order_retry_pause,
            dns_server,
            dns_port,
            hook_dir,
            master_key_file,
            previous_master_key_file,
            seed,
            log_format,
            log_level,
            command,
        } = args;
        let file = match config {
            Some(path) => File::read(&path)?,
            None => File::default(),
        };
        let data_dir = match data_dir.or(file.data_dir) {
            Some(dir) => dir,
            None => default_data_dir(&environment)?,
        };
        let database = match database {
            Some(url) => parse_database(&url)?,
            None => file.database.unwrap_or_else(|| Location::Sqlite(data_dir.join("switchyard.db"))),
        };
        let master_key = MasterKeySource::choose(
            master_key_file.or(file.master_key_file).or_else(|| credential(&environment, MASTER_KEY_CREDENTIAL)),
            environment(MASTER_KEY_VARIABLE),
            &database,
            &data_dir,
        )?;
        let admin = Admin::choose(
            admin.or(file.admin).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7080)),
            admin_certificate_file.or(file.admin_certificate_file),
            admin_private_key_file.or(file.admin_private_key_file),
            insecure_admin_without_tls || file.insecure_admin_without_tls,
        )?;
        Ok(Self {
            data_dir,
            database,
            admin,
            fleet: fleet.or(file.fleet).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443)),
            edge_certificate_lifetime: edge_certificate_lifetime
                .or(file.edge_certificate_lifetime)
                .unwrap_or_default()
                .0,
            token_rate: token_rate.or(file.token_rate).unwrap_or(TOKEN_RATE_DEFAULT),
            orders: match orders.or(file.orders).unwrap_or(Switch::On) {
                Switch::On => {
                    let RetryPause(retry_pause) = order_retry_pause.or(file.order_retry_pause).unwrap_or_default();
                    Orders::On(OrderSettings {
                        retry_pause,
                        dns_server: dns_server.or(file.dns_server),
                        dns_port: dns_port.or(file.dns_port).map_or(AUTHORITATIVE_PORT, NonZeroU16::get),
                        hook_dir: hook_dir.or(file.hook_dir),
                    })
                }
                Switch::Off => Orders::Off,
            },
            master_key,
            previous_master_keys: if previous_master_key_file.is_empty() {
                file.previous_master_key_file
            } else {
                previous_master_key_file
            },
            command,
            seed: seed.or(file.seed),
            log_format: log_format.or(file.log_format).unwrap_or_default(),
            log_filter: log_level.or(file.log_level).unwrap_or_default(),
        })
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, InvalidSettings> {
        let unreadable = |error| InvalidSettings::Unreadable { path: path.to_owned(), error };
        if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            return Err(InvalidSettings::TooLarge { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|error| {
            let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
            InvalidSettings::Syntax { path: path.to_owned(), line, column, message: error.message().to_owned() }
        })
    }
}

/// The file of a credential that the service manager hands over, if it does (systemd.exec(5), LoadCredential=).
fn credential(environment: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(environment("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_begin..].chars().count() + 1)
}

fn default_data_dir(environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, InvalidSettings> {
    // The files of a process below /proc belong to its effective user.
    if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
        return Ok("/var/lib/switchyard".into());
    }
    let absolute = |variable| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // https://specifications.freedesktop.org/basedir-spec/latest/
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("switchyard"))
        .ok_or(InvalidSettings::NoDataDir)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
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

impl Default for RetryPause {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
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
    ) -> Result<Self, InvalidSettings> {
        let tls = match (certificate_file, private_key_file) {
            (Some(certificate_file), Some(private_key_file)) => Some(AdminTls { certificate_file, private_key_file }),
            (None, None) => None,
            _ => return Err(InvalidSettings::HalfAdminTls),
        };
        if tls.is_none() && !address.ip().is_loopback() && !insecure {
            return Err(InvalidSettings::AdminInTheClear { address });
        }
        Ok(Self { address, tls })
    }
}

/// How long a certificate lives.
#[derive(Clone, Copy, Debug)]
struct CertificateLifetime(Duration);

impl Default for CertificateLifetime {
    fn default() -> Self {
        Self(Duration::from_hours(30 * 24))
    }
}

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
    ) -> Result<Self, InvalidSettings> {
        match (file, text) {
            (Some(_), Some(_)) => Err(InvalidSettings::TwoMasterKeys),
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
    /// The configuration file cannot be read.
    #[error("configuration file {}: {error}; name a readable file with --config, or leave it out", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration file is larger than one can be.
    #[error(
        "configuration file {}: more than {FILE_BYTES_MAX} bytes; name a configuration file with --config",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something in the configuration file is not as it should be.
    #[error("configuration file {}, line {line}, column {column}: {message}; mend the file", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The database URL is not one.
    #[error(transparent)]
    Database(#[from] InvalidDatabaseUrl),
    /// The API would be read on the way.
    #[error(
        "{address} is not a loopback address: give the API a certificate with --admin-certificate-file and \
         --admin-private-key-file, or use 127.0.0.1:{port} and reach it through an SSH tunnel",
        port = address.port()
    )]
    AdminInTheClear {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// A certificate without its key, or the other way round.
    #[error("a certificate and its key go together: give both --admin-certificate-file and --admin-private-key-file")]
    HalfAdminTls,
    /// No default can be made.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a directory with --data-dir")]
    NoDataDir,
    /// Two keys are given.
    #[error("both {MASTER_KEY_VARIABLE} and a master key file are given; give one of them")]
    TwoMasterKeys,
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

/// Looks up a variable of the process.
pub fn process_environment(variable: &str) -> Option<OsString> {
    env::var_os(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, InvalidSettings> {
        let args = Args::try_parse_from([&["switchyard-control-plane"], args].concat()).unwrap();
        Settings::load(args, |name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
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
    fn flags_are_stronger_than_the_file() {
        let file = file("data_dir = '/file'\nfleet = '127.0.0.1:1'\nlog_format = 'json'\nlog_level = 'debug'\n");
        let path = file.path().to_str().unwrap();
        let settings = load(&["--config", path, "--fleet", "127.0.0.1:2"], &[]).unwrap();
        assert_eq!(settings.data_dir, Path::new("/file"));
        assert_eq!(settings.fleet.port(), 2);
        assert_eq!(settings.log_format, LogFormat::Json);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named_with_line_and_column() {
        for (text, position, what) in [
            ("data_dir = '/d'\nflet = '127.0.0.1:1'\n", "line 2, column 1", "unknown field `flet`"),
            ("fleet = 7443\n", "line 1, column 9", "invalid type"),
            ("\n  admin = '0.0.0.0'\n", "line 2, column 11", "socket address"),
            ("log_level = 'loud'\n", "line 1, column 13", "not a log level"),
            ("fleet = \n", "line 1, column 9", "string"),
        ] {
            let file = file(text);
            let error = load(&["--config", file.path().to_str().unwrap()], &[]).unwrap_err().to_string();
            assert!(error.contains(position), "{text:?}: {error}");
            assert!(error.contains(what), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_api_is_not_served_in_the_clear_where_others_reach_it() {
        let public = ["--data-dir", "/data", "--admin", "0.0.0.0:7080"];
        let with = |more: &[&str]| load(&[&public[..], more].concat(), &[]);
        assert!(matches!(with(&[]), Err(InvalidSettings::AdminInTheClear { .. })));
        let certificate = ["--admin-certificate-file", "/c"];
        assert!(matches!(with(&certificate), Err(InvalidSettings::HalfAdminTls)));
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
        assert!(matches!(load(&both, &[(MASTER_KEY_VARIABLE, "00")]), Err(InvalidSettings::TwoMasterKeys)));
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
