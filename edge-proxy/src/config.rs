//! The settings of the program: flags, then `SWITCHYARD_*` variables, then a TOML file, then defaults.

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::Duration,
};

use clap::Parser;
use http::Uri;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use switchyard_proto::vocab::EdgeId;

use crate::{
    identity::{InvalidJoinToken, JoinToken},
    proxy::AccessLog,
    telemetry::{LogFilter, LogFormat},
};

/// Bytes of a configuration file, and of a token file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The environment variable that holds the join token.
const TOKEN_VARIABLE: &str = "SWITCHYARD_TOKEN";
/// The credential of the service manager that holds the store's key.
const STORE_KEY_CREDENTIAL: &str = "switchyard-store-key";
/// Workers: more than any machine has cores.
const WORKERS_MAX: usize = 1_024;
/// The longest time to drain.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the program was started with.
#[derive(Debug, Parser)]
#[command(name = "switchyard-edge-proxy", version, about = "An edge proxy of a Switchyard fleet.")]
pub struct Args {
    /// A TOML file with settings; its keys are the names of these flags with _ for -.
    #[arg(long, env = "SWITCHYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A control plane to get the configuration from: https://HOST:7443. Several are tried in turn. Without one, the edge
    /// serves what it has on disk.
    #[arg(long, env = "SWITCHYARD_CONTROL_PLANE", value_name = "URL", value_delimiter = ',')]
    control_plane: Vec<ControlPlaneUrl>,
    /// The token to join with, as printed by `switchyard edge invite`. It is needed once: then this edge has a certificate.
    #[arg(long, env = TOKEN_VARIABLE, value_name = "TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<JoinToken>,
    /// A file that holds the token to join with. It is read only until this edge has joined.
    #[arg(long, env = "SWITCHYARD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What this edge is called. [default: what it was called before, else the machine's name]
    #[arg(long, env = "SWITCHYARD_NAME", value_name = "ID", value_parser = parse_id)]
    name: Option<EdgeId>,
    /// Where what was received is kept.
    /// [default: /var/lib/switchyard-edge as root, else ~/.local/state/switchyard-edge]
    #[arg(long, env = "SWITCHYARD_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The key that what was received is sealed under on disk. [default: the systemd credential switchyard-store-key, else
    /// store-key in the state directory, made if there is none]
    #[arg(long, env = "SWITCHYARD_STORE_KEY_FILE", value_name = "FILE")]
    store_key_file: Option<PathBuf>,
    /// Where plain HTTP is served. [default: 0.0.0.0:80]
    #[arg(long, env = "SWITCHYARD_HTTP", value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
    /// Where HTTPS is served. [default: 0.0.0.0:443]
    #[arg(long, env = "SWITCHYARD_HTTPS", value_name = "ADDRESS:PORT")]
    https: Option<SocketAddr>,
    /// Where /metrics, /healthz and /readyz are served. [default: 127.0.0.1:7090]
    #[arg(long, env = "SWITCHYARD_ADMIN", value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// How many threads serve traffic. [default: as many as there are cores]
    #[arg(long, env = "SWITCHYARD_WORKERS", value_name = "NUMBER")]
    workers: Option<NonZeroUsize>,
    /// A network whose forwarding headers are believed: other proxies. May be given several times.
    #[arg(long, env = "SWITCHYARD_TRUSTED_NETWORK", value_name = "CIDR", value_delimiter = ',')]
    trusted_network: Vec<IpNet>,
    /// A DNS server for the names of backends. [default: the system's]
    #[arg(long, env = "SWITCHYARD_DNS_SERVER", value_name = "ADDRESS:PORT")]
    dns_server: Option<SocketAddr>,
    /// How long requests may take to finish when the program is told to end. [default: 30s]
    #[arg(long, env = "SWITCHYARD_DRAIN_TIMEOUT", value_name = "DURATION")]
    drain_timeout: Option<DrainTimeout>,
    /// Whether each request is logged. [default: on]
    #[arg(long, env = "SWITCHYARD_ACCESS_LOG", value_name = "SWITCH")]
    access_log: Option<AccessLog>,
    /// How logs are written. [default: text]
    #[arg(long, env = "SWITCHYARD_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace, or directives as in info,access=off. [default: info]
    #[arg(long, env = "SWITCHYARD_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogFilter>,
}

/// The settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, deserialize_with = "all_parsed")]
    control_plane: Vec<ControlPlaneUrl>,
    token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "id")]
    name: Option<EdgeId>,
    state_dir: Option<PathBuf>,
    store_key_file: Option<PathBuf>,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    workers: Option<NonZeroUsize>,
    #[serde(default, deserialize_with = "all_parsed")]
    trusted_network: Vec<IpNet>,
    dns_server: Option<SocketAddr>,
    #[serde(default, deserialize_with = "parsed")]
    drain_timeout: Option<DrainTimeout>,
    access_log: Option<AccessLog>,
    log_format: Option<LogFormat>,
    #[serde(default, deserialize_with = "parsed")]
    log_level: Option<LogFilter>,
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<Option<T>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

fn all_parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EdgeId>, D::Error> {
    parse_id(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn parse_id(text: &str) -> Result<EdgeId, String> {
    EdgeId::parse(text).map_err(|error| error.to_string())
}

/// The settings of one run.
#[derive(Debug)]
pub struct Settings {
    /// Where to get the configuration from, and what to join with. `None`: only what is on disk is served.
    pub upstream: Option<Upstream>,
    /// What this edge is called, if that was said.
    pub name: Option<EdgeId>,
    /// Where what was received is kept.
    pub state_dir: PathBuf,
    /// Where the key is that it is sealed under, if not beside it.
    pub store_key_file: Option<PathBuf>,
    /// Where plain HTTP is served.
    pub http: SocketAddr,
    /// Where HTTPS is served.
    pub https: SocketAddr,
    /// Where metrics and readiness are served.
    pub admin: SocketAddr,
    /// How many threads serve traffic.
    pub workers: usize,
    /// Whose forwarding headers are believed.
    pub trusted_networks: Vec<IpNet>,
    /// Who resolves the names of backends, if not the system.
    pub dns_server: Option<SocketAddr>,
    /// How long requests may take to finish at the end.
    pub drain_timeout: Duration,
    /// Whether each request is logged.
    pub access_log: AccessLog,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written.
    pub log_filter: LogFilter,
}

/// Where to get the configuration from.
#[derive(Debug)]
pub struct Upstream {
    /// At least one.
    pub control_planes: Vec<Uri>,
    /// What to join with.
    pub token: TokenSource,
}

/// Where the token to join with is.
#[derive(Debug)]
pub enum TokenSource {
    /// It was given.
    Given(JoinToken),
    /// In a file.
    File(PathBuf),
    /// Nowhere: this edge has joined before.
    Nowhere,
}

impl TokenSource {
    /// The token.
    ///
    /// # Errors
    ///
    /// There is none, or its file cannot be read.
    pub fn read(self) -> Result<JoinToken, InvalidSettings> {
        match self {
            Self::Given(token) => Ok(token),
            Self::File(path) => {
                let text = read(&path)?;
                text.parse().map_err(|error| InvalidSettings::Token { path, error })
            }
            Self::Nowhere => Err(InvalidSettings::NoToken),
        }
    }
}

impl Settings {
    /// Puts the settings together; `environment` looks up a variable.
    ///
    /// # Errors
    ///
    /// A file cannot be read, something is missing, or two settings contradict each other.
    pub fn load(args: Args, environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidSettings> {
        let Args {
            config,
            control_plane,
            token,
            token_file,
            name,
            state_dir,
            store_key_file,
            http,
            https,
            admin,
            workers,
            trusted_network,
            dns_server,
            drain_timeout,
            access_log,
            log_format,
            log_level,
        } = args;
        let file = match config {
            Some(path) => File::read(&path)?,
            None => File::default(),
        };
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let control_planes = if control_plane.is_empty() { file.control_plane } else { control_plane };
        let workers =
            workers.or(file.workers).or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        if workers > WORKERS_MAX {
            return Err(InvalidSettings::Workers);
        }
        Ok(Self {
            upstream: Upstream::choose(control_planes, token, token_file.or(file.token_file)),
            name: name.or(file.name),
            state_dir: match state_dir.or(file.state_dir) {
                Some(dir) => dir,
                None => default_state_dir(&environment)?,
            },
            store_key_file: store_key_file
                .or(file.store_key_file)
                .or_else(|| credential(&environment, STORE_KEY_CREDENTIAL)),
            http: http.or(file.http).unwrap_or(any(80)),
            https: https.or(file.https).unwrap_or(any(443)),
            admin: admin.or(file.admin).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7090)),
            workers,
            trusted_networks: if trusted_network.is_empty() { file.trusted_network } else { trusted_network },
            dns_server: dns_server.or(file.dns_server),
            drain_timeout: drain_timeout.or(file.drain_timeout).unwrap_or_default().0,
            access_log: access_log.or(file.access_log).unwrap_or_default(),
            log_format: log_format.or(file.log_format).unwrap_or_default(),
            log_filter: log_level.or(file.log_level).unwrap_or_default(),
        })
    }
}

impl Upstream {
    fn choose(
        control_planes: Vec<ControlPlaneUrl>,
        token: Option<JoinToken>,
        token_file: Option<PathBuf>,
    ) -> Option<Self> {
        if control_planes.is_empty() {
            return None;
        }
        let token = match (token, token_file) {
            (Some(token), _) => TokenSource::Given(token),
            (None, Some(path)) => TokenSource::File(path),
            (None, None) => TokenSource::Nowhere,
        };
        Some(Self { control_planes: control_planes.into_iter().map(|url| url.0).collect(), token })
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, InvalidSettings> {
        let text = read(path)?;
        toml::from_str(&text).map_err(|error| {
            let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
            InvalidSettings::Syntax { path: path.to_owned(), line, column, message: error.message().to_owned() }
        })
    }
}

fn read(path: &Path) -> Result<String, InvalidSettings> {
    let unreadable = |error| InvalidSettings::Unreadable { path: path.to_owned(), error };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(InvalidSettings::TooLarge { path: path.to_owned() });
    }
    fs::read_to_string(path).map_err(unreadable)
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

fn default_state_dir(environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, InvalidSettings> {
    // The files of a process below /proc belong to its effective user.
    if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
        return Ok("/var/lib/switchyard-edge".into());
    }
    let absolute = |variable| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // https://specifications.freedesktop.org/basedir-spec/latest/
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("switchyard-edge"))
        .ok_or(InvalidSettings::NoStateDir)
}

/// Where a control plane is: `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ControlPlaneUrl(Uri);

impl FromStr for ControlPlaneUrl {
    type Err = InvalidControlPlaneUrl;

    fn from_str(text: &str) -> Result<Self, InvalidControlPlaneUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidControlPlaneUrl)?;
        let is_bare = uri.path() == "/" && uri.query().is_none();
        if uri.scheme_str() == Some("https") && uri.host().is_some() && is_bare {
            Ok(Self(uri))
        } else {
            Err(InvalidControlPlaneUrl)
        }
    }
}

/// A text that does not say where a control plane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control plane is https://HOST:PORT, as in https://10.0.0.2:7443")]
struct InvalidControlPlaneUrl;

/// How long requests may take to finish at the end: seconds, or a number with `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DrainTimeout(Duration);

impl Default for DrainTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl FromStr for DrainTimeout {
    type Err = InvalidDrainTimeout;

    fn from_str(text: &str) -> Result<Self, InvalidDrainTimeout> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            _ => return Err(InvalidDrainTimeout),
        };
        let number: u64 = digits.parse().map_err(|_| InvalidDrainTimeout)?;
        let duration = Duration::from_secs(number.checked_mul(unit).ok_or(InvalidDrainTimeout)?);
        if duration > DRAIN_TIMEOUT_MAX { Err(InvalidDrainTimeout) } else { Ok(Self(duration)) }
    }
}

/// A text that is not a time to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a drain timeout is from 0s to 24h, as in 30s or 5m")]
struct InvalidDrainTimeout;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// A file cannot be read.
    #[error("read {}: {error}; name a readable file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is larger than one can be.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes; name another file", path.display())]
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
    /// A token file holds something else.
    #[error("{}: {error}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: InvalidJoinToken,
    },
    /// A control plane, and nothing to join with.
    #[error("this edge has not joined the fleet: give it a token with --token-file, made by `switchyard edge invite`")]
    NoToken,
    /// Workers: more than any machine has cores.
    #[error("there are at most {WORKERS_MAX} workers; give fewer with --workers")]
    Workers,
    /// No default can be made.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a directory with --state-dir")]
    NoStateDir,
}

/// Looks up a variable of the process.
pub fn process_environment(variable: &str) -> Option<OsString> {
    env::var_os(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str]) -> Result<Settings, InvalidSettings> {
        let args = Args::try_parse_from([&["switchyard-edge-proxy", "--state-dir", "/state"], args].concat()).unwrap();
        Settings::load(args, |_| None)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn everything_has_a_default() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.http.to_string(), "0.0.0.0:80");
        assert_eq!(settings.https.to_string(), "0.0.0.0:443");
        assert_eq!(settings.admin.to_string(), "127.0.0.1:7090");
        assert_eq!(settings.drain_timeout, Duration::from_secs(30));
        assert!(settings.upstream.is_none() && settings.workers > 0);
    }

    #[test]
    fn flags_are_stronger_than_the_file() {
        let file = file(
            "http = '127.0.0.1:1'\nhttps = '127.0.0.1:2'\ntrusted_network = ['10.0.0.0/8']\ndrain_timeout = '1m'\n",
        );
        let settings = load(&["--config", file.path().to_str().unwrap(), "--http", "127.0.0.1:3"]).unwrap();
        assert_eq!((settings.http.port(), settings.https.port()), (3, 2));
        assert_eq!(settings.trusted_networks, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(settings.drain_timeout, Duration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named_with_line_and_column() {
        for (text, position, what) in [
            ("http = '127.0.0.1:1'\nhtttp = '127.0.0.1:1'\n", "line 2, column 1:", "unknown field `htttp`"),
            ("control_plane = ['http://10.0.0.2:7443']\n", "line 1, column ", "https://HOST:PORT"),
            ("trusted_network = ['10.0.0.0/33']\n", "line 1, column ", ""),
            ("name = 'Edge 1'\n", "line 1, column 8:", "an id consists of"),
        ] {
            let file = file(text);
            let error = load(&["--config", file.path().to_str().unwrap()]).unwrap_err().to_string();
            assert!(error.contains(position) && error.contains(what), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_token_is_read_when_it_is_needed() {
        let control_plane = ["--control-plane", "https://10.0.0.2:7443"];
        let source = |more: &[&str]| load(&[&control_plane[..], more].concat()).unwrap().upstream.unwrap().token;
        assert!(matches!(source(&[]).read(), Err(InvalidSettings::NoToken)));
        let token = file(&format!("k7.secret.{}\n", "ab".repeat(32)));
        let given = source(&["--token-file", token.path().to_str().unwrap()]).read().unwrap();
        assert!(!format!("{given:?}").contains("secret"), "{given:?}");
        let wrong = file("secret\n");
        let error = source(&["--token-file", wrong.path().to_str().unwrap()]).read().unwrap_err();
        assert!(!error.to_string().contains("secret."), "{error}");
    }
}
