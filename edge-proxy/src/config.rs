//! The settings of the program: flags, then `SWITCHYARD_EDGE_*` variables, then a TOML file, then defaults.

use std::{ffi::OsString, io, net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, thread, time::Duration};

use clap::Parser;
use http::Uri;
use ipnet::IpNet;
use switchyard_process::{Arguments, Given, Origin, Origins, files, log::LogArgs};
use switchyard_proto::vocab::EdgeId;

use crate::{
    identity::{InvalidJoinToken, JoinToken},
    proxy::AccessLog,
};

/// Bytes of a token file.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;
/// The environment variable that holds the join token. Not a flag: the flags of a process are visible to all users.
pub const TOKEN_VARIABLE: &str = "SWITCHYARD_EDGE_TOKEN";
/// The credential of the service manager that holds the store's key.
const STORE_KEY_CREDENTIAL: &str = "switchyard-store-key";
/// Workers: more than any machine has cores.
const WORKERS_MAX: usize = 1_024;
/// The longest time to drain.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the program was started with. The variable of `--state-dir` is `SWITCHYARD_EDGE_STATE_DIR`, its key in a file `state_dir`.
#[derive(Debug, Parser)]
#[command(name = "switchyard-edge-proxy", version, about = "An edge proxy of a Switchyard fleet.")]
#[command(after_help = "The token to join with is in the file that --token-file names, or in SWITCHYARD_EDGE_TOKEN. \
                        `switchyard edge invite` prints the whole command.")]
pub struct Args {
    /// A TOML file with settings; its keys are the names of these flags with _ for -
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A control plane to get the configuration from: https://HOST:7443. Several are tried in turn. Without one, the edge
    /// serves what it has on disk
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    control_plane: Vec<ControlPlaneUrl>,
    /// A file that holds the token to join with. It is read only until this edge has joined
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What this edge is called [default: what it was called before, else the machine's name]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    name: Option<EdgeId>,
    /// Where what was received is kept
    /// [default: /var/lib/switchyard-edge as root, else ~/.local/state/switchyard-edge]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The key that what was received is sealed under on disk [default: the systemd credential switchyard-store-key, else
    /// store-key in the state directory, made if there is none]
    #[arg(long, value_name = "FILE")]
    store_key_file: Option<PathBuf>,
    /// Where plain HTTP is served
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:80")]
    http: SocketAddr,
    /// Where HTTPS is served
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:443")]
    https: SocketAddr,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7090")]
    admin: SocketAddr,
    /// How many threads serve traffic [default: as many as there are cores]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<NonZeroUsize>,
    /// A network whose forwarding headers are believed: other proxies. May be given several times
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    trusted_network: Vec<IpNet>,
    /// A DNS server for the names of backends [default: the system's]
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns_server: Option<SocketAddr>,
    /// How long requests may take to finish when the program is to end
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    drain_timeout: DrainTimeout,
    /// Whether each request is logged
    #[arg(long, value_name = "SWITCH", default_value = "on")]
    access_log: AccessLog,
    /// How logs are written.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Arguments for Args {
    const VARIABLES: &'static str = "SWITCHYARD_EDGE";
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
    /// Where all this came from.
    pub origins: Origins,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In the variable [`TOKEN_VARIABLE`].
    Variable(Secret),
    /// In a file.
    File(PathBuf, Origin),
    /// Nowhere: this edge has joined before.
    Nowhere,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl TokenSource {
    fn choose(variable: Option<OsString>, file: Option<PathBuf>, origins: &Origins) -> Result<Self, InvalidSettings> {
        let origin = origins.of("token_file");
        match (variable, file) {
            (Some(_), Some(_)) => Err(InvalidSettings::TwoTokens { origin }),
            (Some(text), None) => Ok(Self::Variable(Secret(text.to_string_lossy().into_owned()))),
            (None, Some(path)) => Ok(Self::File(path, origin)),
            (None, None) => Ok(Self::Nowhere),
        }
    }

    /// The token.
    ///
    /// # Errors
    ///
    /// There is none, it is none, or its file cannot be read.
    pub fn read(self) -> Result<JoinToken, InvalidSettings> {
        match self {
            Self::Variable(Secret(text)) => text.parse().map_err(InvalidSettings::Variable),
            Self::File(path, origin) => match files::read_text(&path, TOKEN_FILE_BYTES_MAX) {
                Ok(text) => text.parse().map_err(|error| InvalidSettings::Token { path, origin, error }),
                Err(error) => Err(InvalidSettings::Unreadable { path, origin, error }),
            },
            Self::Nowhere => Err(InvalidSettings::NoToken),
        }
    }
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
            control_plane,
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
            drain_timeout: DrainTimeout(drain_timeout),
            access_log,
            log: _,
        } = args;
        let workers = workers.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        if workers > WORKERS_MAX {
            return Err(InvalidSettings::Workers { origin: origins.of("workers") });
        }
        let token =
            TokenSource::choose(environment(TOKEN_VARIABLE).filter(|text| !text.is_empty()), token_file, &origins)?;
        let control_planes: Vec<Uri> = control_plane.into_iter().map(|ControlPlaneUrl(uri)| uri).collect();
        Ok(Self {
            upstream: (!control_planes.is_empty()).then_some(Upstream { control_planes, token }),
            name,
            state_dir: state_dir
                .or_else(|| files::state_dir(&environment, "switchyard-edge"))
                .ok_or(InvalidSettings::NoStateDir)?,
            store_key_file: store_key_file.or_else(|| files::credential(&environment, STORE_KEY_CREDENTIAL)),
            http,
            https,
            admin,
            workers,
            trusted_networks: trusted_network,
            dns_server,
            drain_timeout,
            access_log,
            origins,
        })
    }
}

/// Where a control plane is: `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ControlPlaneUrl(Uri);

impl FromStr for ControlPlaneUrl {
    type Err = InvalidControlPlaneUrl;

    fn from_str(text: &str) -> Result<Self, InvalidControlPlaneUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidControlPlaneUrl::Form)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.scheme_str() {
            Some("https") if uri.host().is_some() && is_bare => Ok(Self(uri)),
            Some("http") => Err(InvalidControlPlaneUrl::Http),
            _ => Err(InvalidControlPlaneUrl::Form),
        }
    }
}

/// A text that does not say where a control plane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidControlPlaneUrl {
    #[error("a control plane is https://HOST:PORT, as in https://10.0.0.2:7443")]
    Form,
    #[error(
        "edges connect by TLS: a control plane is https://HOST:PORT, where PORT is that of its fleet listener, as in \
         https://10.0.0.2:7443"
    )]
    Http,
}

/// How long requests may take to finish at the end: seconds, or a number with `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DrainTimeout(Duration);

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
    /// A token file cannot be read.
    #[error("read {} ({origin}): {error}; name a readable file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What names it.
        origin: Origin,
        /// Why.
        error: io::Error,
    },
    /// A token file holds something else.
    #[error("{} ({origin}): {error}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What names it.
        origin: Origin,
        /// What is wrong.
        error: InvalidJoinToken,
    },
    /// The variable holds something else.
    #[error("{TOKEN_VARIABLE}: {0}")]
    Variable(InvalidJoinToken),
    /// Two tokens are given.
    #[error("both {TOKEN_VARIABLE} and a token file ({origin}) are given; give one of them")]
    TwoTokens {
        /// What names the file.
        origin: Origin,
    },
    /// A control plane, and nothing to join with.
    #[error(
        "this edge has not joined the fleet: give it a token with --token-file or {TOKEN_VARIABLE}, as printed by `switchyard \
         edge invite`"
    )]
    NoToken,
    /// Workers: more than any machine has cores.
    #[error("{origin}: there are at most {WORKERS_MAX} workers; give fewer")]
    Workers {
        /// What says so.
        origin: Origin,
    },
    /// No default can be made.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a directory with --state-dir")]
    NoStateDir,
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn read(args: &[&str]) -> Result<Given<Args>, switchyard_process::SettingsError> {
        let program = ["switchyard-edge-proxy", "--state-dir", "/state"];
        switchyard_process::settings::read(program.iter().chain(args).map(OsString::from))
    }

    fn load(args: &[&str]) -> Result<Settings, InvalidSettings> {
        Settings::load(read(args).unwrap(), |_| None)
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
            ("http = '127.0.0.1:1'\nhtttp = '127.0.0.1:1'\n", "line 2, column 1:", "unknown setting `htttp`"),
            ("control_plane = ['http://10.0.0.2:7443']\n", "line 1, column ", "edges connect by TLS"),
            ("trusted_network = ['10.0.0.0/33']\n", "line 1, column ", ""),
            ("name = 'Edge 1'\n", "line 1, column 8:", "an id consists of"),
        ] {
            let file = file(text);
            let error = read(&["--config", file.path().to_str().unwrap()]).unwrap_err().to_string();
            assert!(error.contains(position) && error.contains(what), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_token_comes_from_one_place_which_errors_name() {
        let args = ["--control-plane", "https://10.0.0.2:7443", "--token-file", "/token"];
        let variable = |name: &str| (name == TOKEN_VARIABLE).then(|| "hunter2".into());
        let error = Settings::load(read(&args).unwrap(), variable).unwrap_err().to_string();
        assert!(error.contains(TOKEN_VARIABLE) && error.contains("--token-file"), "{error}");
        let settings = Settings::load(read(&args[..2]).unwrap(), variable).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = settings.upstream.unwrap().token.read().unwrap_err().to_string();
        assert!(error.starts_with(TOKEN_VARIABLE) && !error.contains("hunter2"), "{error}");
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
