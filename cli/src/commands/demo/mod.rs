//! `switchyard demo`: a control plane, an edge and two backends on this machine, in one go.
//!
//! What always holds: the programs are the real ones, beside this one; they end when the demo ends, however it ends; a
//! data directory of the demo's own making goes with it.

mod origin;
mod program;
mod provision;

use std::{
    fs::{self, File, TryLockError},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

pub(crate) use self::program::Bound;
use self::{origin::Origin, program::Program};
use crate::{
    address::Address,
    client::Client,
    commands::context::forget,
    contexts::{Context, Contexts},
    failure::Failure,
    login::{self, Login},
    output::{Output, note},
    wait::Outcome,
};

/// How often the logs of the programs are looked at, lest they fill the disk.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long the edge lets requests in flight finish: less than it is waited for at the end.
const DRAIN_TIMEOUT: &str = "5s";
const CONTROL_PLANE: &str = "switchyard-control-plane";
const EDGE_PROXY: &str = "switchyard-edge-proxy";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where the edge takes HTTP: a port, or `address:port`; port 0 is any free one
    #[arg(long, value_name = "PORT", default_value = "8080", value_parser = local_address)]
    http: SocketAddr,
    /// Where the edge takes HTTPS
    #[arg(long, value_name = "PORT", default_value = "8443", value_parser = local_address)]
    https: SocketAddr,
    /// Where the control plane's API is
    #[arg(long, value_name = "PORT", default_value = "7080", value_parser = local_address)]
    admin: SocketAddr,
    /// Where the control plane takes edges
    #[arg(long, value_name = "PORT", default_value = "7443", value_parser = local_address)]
    fleet: SocketAddr,
    /// Where the edge tells of its health
    #[arg(long, value_name = "PORT", default_value = "7090", value_parser = local_address)]
    edge_admin: SocketAddr,
    /// Where data and logs are kept [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// A port of this machine alone, or `address:port`.
fn local_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse().map_err(|_| "a port, or an address and a port, is required".to_owned()),
    }
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoFailure {
    /// A program is not where it should be.
    #[error(
        "{name} is not beside this program (looked for {}): build all with `cargo build --bins`, or install all three \
         in one directory", path.display()
    )]
    Missing { name: &'static str, path: PathBuf },
    /// A file or directory cannot be used.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// Another demo runs in the data directory.
    #[error("{}: another demo runs there: end it, or name another directory with --data-dir", path.display())]
    InUse { path: PathBuf },
    /// The operating system refuses something else.
    #[error("{what}: {error}")]
    System { what: &'static str, error: io::Error },
    /// A program ended by itself.
    #[error("{name} ended ({how}); the last lines of its log:")]
    Ended { name: &'static str, how: String, log: Vec<String> },
    /// A program did not get ready.
    #[error("{name} was not ready within {} s; the last lines of its log:", within.as_secs())]
    NotReady { name: &'static str, within: Duration, log: Vec<String> },
    /// The edge does not serve what was set up.
    #[error("the edge did not serve the demo's domain within {} s{reason}; the last lines of its log:", within.as_secs())]
    NotLive { within: Duration, reason: String, log: Vec<String> },
}

impl DemoFailure {
    /// What to say after the headline, a line each.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Ended { log, .. } | Self::NotReady { log, .. } | Self::NotLive { log, .. } => {
                log.iter().map(|line| format!("  {line}")).collect()
            }
            Self::Missing { .. } | Self::File { .. } | Self::InUse { .. } | Self::System { .. } => Vec::new(),
        }
    }
}

impl From<DemoFailure> for Failure {
    fn from(failure: DemoFailure) -> Self {
        Self::Demo { text: failure.to_string(), log: failure.details() }
    }
}

/// Runs until a signal comes, or one of the programs ends by itself.
pub(crate) async fn run(output: &Output, args: DemoArgs) -> Result<Outcome, Failure> {
    let mut signals = Signals::new()?;
    let directory = Directory::create(args.data_dir.as_deref())?;
    let mut programs = Programs::default();
    let result = tokio::select! {
        result = serve(output, &args, directory.path(), &mut programs) => result,
        () = signals.next() => Ok(()),
    };
    // A second signal ends the patience.
    programs.stop(&mut signals).await;
    result.map(|()| Outcome::Done)
}

/// Starts everything, says what to try, and watches. Returns only failures.
async fn serve(output: &Output, args: &DemoArgs, data_dir: &Path, programs: &mut Programs) -> Result<(), Failure> {
    let origins = [Origin::start("demo-a", "a").await?, Origin::start("demo-b", "b").await?];
    let control_plane = programs.control_plane.insert(Program::start(CONTROL_PLANE, data_dir, |command| {
        command.arg("--data-dir").arg(data_dir);
        command.args(["--admin", &args.admin.to_string(), "--fleet", &args.fleet.to_string()]);
    })?);
    let ready = control_plane.ready(&["admin", "fleet"]).await?;
    let (admin, fleet) = (ready[0], ready[1]);
    let address = Address::from(reachable(admin));
    let token_file = data_dir.join("admin-token");
    let token = login::in_file(&token_file)?;
    let context = KeptContext::keep(&address, &token);
    let client = Client::connect(&Login::new(address, Some(token), None)).await?;
    let join_token = provision::join_token(&client).await?;
    let edge = programs.edge.insert(Program::start(EDGE_PROXY, data_dir, |command| {
        command.args(["--control-plane", &format!("https://{}", reachable(fleet)), "--name", "demo"]);
        // One that was kept has joined before, and makes nothing of it. Nobody can use it twice.
        command.env("SWITCHYARD_EDGE_TOKEN", &join_token);
        command.arg("--state-dir").arg(data_dir.join("edge"));
        command.args(["--http", &args.http.to_string(), "--https", &args.https.to_string()]);
        command.args(["--admin", &args.edge_admin.to_string(), "--drain-timeout", DRAIN_TIMEOUT]);
    })?);
    let ready = edge.ready(&["http", "https", "admin"]).await?;
    let (http, https, edge_admin) = (ready[0], ready[1], ready[2]);

    let domain = provision::create(&client, &origins).await?;
    provision::live(&client, &domain, edge).await?;
    let ca_file = data_dir.join("internal-ca.pem");
    provision::write_ca(&client, &ca_file).await?;

    let running = Running {
        http,
        https,
        admin,
        fleet,
        edge_admin,
        token_file,
        tag: domain.active_tag,
        ca_file,
        data_dir: data_dir.to_owned(),
    };
    if output.is_for_people() {
        output.text(&running.to_text(args.data_dir.is_some(), context.is_some()))?
    } else {
        output.document(&running)?
    }

    Err(watch(control_plane, edge).await.into())
}

/// Keeps the logs bounded until one of the programs ends by itself.
async fn watch(control_plane: &mut Program, edge: &mut Program) -> DemoFailure {
    let mut log_check = interval(LOG_CHECK_INTERVAL);
    loop {
        tokio::select! {
            failure = control_plane.ended() => return failure,
            failure = edge.ended() => return failure,
            _ = log_check.tick() => {
                control_plane.bound_log();
                edge.bound_log();
            }
        }
    }
}

/// The context by which other commands find the demo's control plane, as long as it runs.
#[derive(Debug)]
struct KeptContext(Context);

impl KeptContext {
    const NAME: &str = "demo";

    /// Keeps one; none where there is no place for it.
    fn keep(address: &Address, token: &login::Token) -> Option<Self> {
        let context = Context { control_plane: address.to_string(), token: token.secret.clone(), ca_pem: None };
        let kept = context.clone();
        Contexts::change(|contexts| {
            contexts.contexts.insert(Self::NAME.to_owned(), kept);
            Ok(())
        })
        .ok()?;
        Some(Self(context))
    }
}

impl Drop for KeptContext {
    fn drop(&mut self) {
        // Unless another demo has put its own there. What is left of one that could not be taken away lets nobody in.
        let _ = Contexts::change(|contexts| {
            if contexts.contexts.get(Self::NAME) == Some(&self.0) { forget(contexts, Self::NAME) } else { Ok(()) }
        });
    }
}

/// Where one connects to reach a listener on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What runs, and where.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
    fleet: SocketAddr,
    edge_admin: SocketAddr,
    token_file: PathBuf,
    tag: String,
    ca_file: PathBuf,
    data_dir: PathBuf,
}

impl Running {
    fn to_text(&self, kept: bool, has_context: bool) -> String {
        let Self { http, https, admin, fleet, edge_admin, token_file, tag, ca_file, data_dir } = self;
        let domain = provision::DOMAIN;
        let other = if tag == "a" { "b" } else { "a" };
        let program = shell_word(&std::env::args().next().unwrap_or_else(|| "switchyard".to_owned()));
        let api = Address::from(reachable(*admin)).to_string();
        let found_by_itself = api == Address::DEFAULT
            && std::env::var_os("SWITCHYARD_CONTROL_PLANE").is_none()
            && Contexts::load().is_ok_and(|contexts| contexts.current.is_none());
        let mut at = if found_by_itself { String::new() } else { format!(" --control-plane {api}") };
        if !has_context {
            at = format!("{at} --token-file {}", shell_word(&token_file.to_string_lossy()));
        }
        let (http_port, https_port) = (http.port(), https.port());
        let ca_file = shell_word(&ca_file.to_string_lossy());
        let data = if kept { "kept" } else { "removed at the end" };
        format!(
            "\
Switchyard runs: a control plane, an edge, and the backends demo-a (tag a) and demo-b (tag b).
The domain {domain} is on tag {tag}. Try:

    curl -i http://{domain}:{http_port}/    # x-demo-tag: {tag}
    {program} switch {domain} --to {other} --wait{at}
    curl -i http://{domain}:{http_port}/    # x-demo-tag: {other}
    {program} switch {domain} --back --wait{at}
    curl -i --cacert {ca_file} https://{domain}:{https_port}/
    {program} edge list{at}

API {admin}, fleet {fleet}, edge {http} and {https}, edge's health {edge_admin}
Data and logs in {} ({data})
Ctrl-C ends all of it.",
            data_dir.display(),
        )
    }
}

/// `text` as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The data directory: removed at the end if it was made here.
#[derive(Debug)]
enum Directory {
    Kept {
        path: PathBuf,
        /// Says, as long as it is open, that a demo runs there.
        _lock: File,
    },
    Temporary(TempDir),
}

impl Directory {
    fn create(path: Option<&Path>) -> Result<Self, DemoFailure> {
        let Some(path) = path else {
            let private = fs::Permissions::from_mode(0o700);
            let directory = tempfile::Builder::new().prefix("switchyard-demo-").permissions(private).tempdir();
            return directory
                .map(Self::Temporary)
                .map_err(|error| DemoFailure::System { what: "a temporary directory cannot be created", error });
        };
        let file = |error| DemoFailure::File { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(file)?;
        let path = path.canonicalize().map_err(file)?;
        let lock = File::create(path.join("demo.lock")).map_err(file)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self::Kept { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DemoFailure::InUse { path }),
            Err(TryLockError::Error(error)) => Err(DemoFailure::File { path, error }),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept { path, .. } => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// The programs that have been started.
#[derive(Debug, Default)]
struct Programs {
    control_plane: Option<Program>,
    edge: Option<Program>,
}

impl Programs {
    /// Ends them gently: the edge, which has traffic, before the control plane. At the next signal, at once.
    async fn stop(self, signals: &mut Signals) {
        for program in [self.edge, self.control_plane].into_iter().flatten() {
            let name = program.name();
            if let Err(error) = program.stop(signals.next()).await {
                note(&format!("switchyard: {name} cannot be ended: {error}"));
            }
        }
    }
}

/// The signals that end the demo.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, DemoFailure> {
        let listen =
            |kind| signal(kind).map_err(|error| DemoFailure::System { what: "signals cannot be received", error });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(local_address("8080"), Ok(SocketAddr::from(([127, 0, 0, 1], 8080))));
        assert_eq!(local_address("0.0.0.0:80"), Ok(SocketAddr::from(([0, 0, 0, 0], 80))));
        assert!(local_address("localhost").is_err());
        assert_eq!(reachable(SocketAddr::from(([0, 0, 0, 0], 80))), SocketAddr::from(([127, 0, 0, 1], 80)));
    }

    #[test]
    fn paths_are_quoted_for_the_shell_where_they_must_be() {
        assert_eq!(shell_word("target/debug/switchyard"), "target/debug/switchyard");
        assert_eq!(shell_word("/tmp/a b's"), r"'/tmp/a b'\''s'");
    }
}
