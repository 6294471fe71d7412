//! A control plane and its edges, as separate processes that can be killed and started again.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use switchyard_proto::v1::ProgressState;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    api::Api,
    cli::Cli,
    client::Client,
    database::Database,
    eventually::eventually,
    key_file, port,
    process::{Process, program, run},
};

/// As many as needed for state across cores to matter.
const WORKERS: usize = 3;

/// A key that seals nothing worth keeping.
const MASTER_KEY: &str = "6d617374657220206b65792020666f722020746573747320206f6e6c79202020";

/// What a fleet consists of, where it is not the usual.
#[derive(Clone)]
pub struct Plan {
    /// How many edges there are; one by default.
    pub edges: usize,
    /// More arguments of every edge.
    pub edge_arguments: Vec<String>,
    /// More arguments of the control plane.
    pub control_plane_arguments: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { edges: 1, edge_arguments: Vec::new(), control_plane_arguments: Vec::new() }
    }
}

/// A control plane and its edges.
pub struct Fleet {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// `edge-1`, `edge-2` and so on.
    pub edges: Vec<Edge>,
    // Last, so that the directory outlives the processes.
    dir: TempDir,
}

impl Fleet {
    /// Starts a control plane and one edge, and awaits that both serve.
    pub async fn start(database: Database) -> Result<Self> {
        Self::start_with(database, Plan::default()).await
    }

    /// Starts a control plane alone, for what needs no edge.
    pub async fn without_edges(database: Database) -> Result<Self> {
        Self::start_with(database, Plan { edges: 0, ..Plan::default() }).await
    }

    /// Starts a control plane and its edges, and awaits that all serve.
    pub async fn start_with(database: Database, plan: Plan) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut control_plane = ControlPlane::new(dir.path(), database, plan.control_plane_arguments)?;
        control_plane.start().await?;
        let mut fleet = Self { control_plane, edges: Vec::new(), dir };
        for number in 0..plan.edges {
            let edge = fleet.new_edge(&format!("edge-{}", number + 1), plan.edge_arguments.clone()).await?;
            fleet.edges.push(edge);
        }
        Ok(fleet)
    }

    /// Starts one more edge, and awaits that it serves; it belongs to the caller.
    pub async fn new_edge(&self, name: &str, arguments: Vec<String>) -> Result<Edge> {
        let token = self.control_plane.join_token().await?;
        let mut edge = Edge::new(self.dir.path(), name, self.control_plane.fleet, &token, arguments)?;
        edge.start().await?;
        edge.configured().await?;
        Ok(edge)
    }

    /// The first edge.
    pub fn edge(&self) -> &Edge {
        &self.edges[0]
    }

    /// The first edge.
    pub fn edge_mut(&mut self) -> &mut Edge {
        &mut self.edges[0]
    }

    /// The gRPC API.
    pub fn api(&self) -> Result<Api> {
        self.control_plane.api()
    }

    /// The command line.
    pub fn cli(&self) -> Cli {
        let token_file = self.control_plane.data_dir.join("admin-token");
        Cli::new(self.control_plane.admin, self.dir.path().to_owned()).with_token_file(token_file)
    }

    /// A directory for files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Awaits that every edge serves a revision.
    pub async fn live(&self, revision: u64) -> Result<()> {
        for progress in self.api()?.progress(revision).await? {
            ensure!(progress.state() == ProgressState::Live, "revision {revision} is not live: {progress:?}");
        }
        Ok(())
    }

    /// A client of the first edge that trusts the internal CA.
    pub async fn https(&self) -> Result<Client> {
        Client::https(self.edge().https, &self.api()?.internal_ca().await?)
    }

    /// A client of the first edge without TLS.
    pub fn http(&self) -> Client {
        Client::http(self.edge().http)
    }
}

/// A control plane that always comes back on the same ports.
pub struct ControlPlane {
    /// Where its API listens.
    pub admin: SocketAddr,
    /// Where its edges connect to.
    pub fleet: SocketAddr,
    /// Its data directory.
    pub data_dir: PathBuf,
    database: Database,
    keys: Option<Keys>,
    disk: Option<Disk>,
    arguments: Vec<String>,
    process: Option<Process>,
}

/// A disk of its own, which only its process sees: a file system in memory, in a mount namespace.
struct Disk {
    dir: PathBuf,
    bytes: usize,
}

/// The master key of a control plane, where it is not the usual.
struct Keys {
    master: PathBuf,
    previous: Option<PathBuf>,
}

impl Disk {
    /// A command that runs another one with the disk mounted, by the same process.
    fn around(&self, inner: &Command) -> Command {
        let inner = inner.as_std();
        let mut command = Command::new("unshare");
        let mount = format!(r#"mount -t tmpfs -o size={} tmpfs "$0" && exec "$@""#, self.bytes);
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]).arg(&self.dir);
        command.arg(inner.get_program()).args(inner.get_args());
        for (variable, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command
    }
}

impl ControlPlane {
    /// A control plane that is yet to be started, with its data below `dir`.
    pub fn new(dir: &Path, database: Database, arguments: Vec<String>) -> Result<Self> {
        Ok(Self {
            admin: port::free()?,
            fleet: port::free()?,
            data_dir: dir.join("control-plane"),
            database,
            keys: None,
            disk: None,
            arguments,
            process: None,
        })
    }

    /// Keeps its database, which is SQLite, on a disk of this size; it is gone with the process.
    pub fn set_disk(&mut self, dir: PathBuf, bytes: usize) {
        self.arguments.extend(["--database".to_owned(), format!("sqlite:{}", dir.join("switchyard.db").display())]);
        self.disk = Some(Disk { dir, bytes });
    }

    /// A path on its own disk, as others may use it.
    pub fn on_disk(&self, name: &str) -> Result<PathBuf> {
        let dir = &self.disk.as_ref().context("it has a disk of its own")?.dir;
        let root = PathBuf::from(format!("/proc/{}/root", self.process()?.id()?));
        Ok(root.join(dir.strip_prefix("/").context("an absolute path")?).join(name))
    }

    /// The file that its master key is in.
    pub fn master_key_file(&self) -> PathBuf {
        match (&self.keys, &self.database) {
            (Some(keys), _) => keys.master.clone(),
            (None, Database::Sqlite) => self.data_dir.join("master-key"),
            (None, Database::Postgres { .. }) => self.data_dir.with_extension("master-key"),
        }
    }

    /// Gives it another master key from its next start on, and perhaps one before.
    pub fn set_keys(&mut self, master: PathBuf, previous: Option<PathBuf>) {
        self.keys = Some(Keys { master, previous });
    }

    /// Seals everything under the master key, while it runs or not.
    pub async fn rekey(&self) -> Result<Output> {
        run(self.command()?.arg("rekey")).await
    }

    /// Starts it, and awaits that it serves.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the control plane runs already");
        let mut process = Process::spawn("the control plane", &mut self.command()?)?;
        process.ready().await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it, and awaits that it ends by itself.
    pub async fn fail(&mut self) -> Result<Output> {
        run(&mut self.command()?).await
    }

    fn command(&self) -> Result<Command> {
        let mut command = program("switchyard-control-plane")?;
        command
            .args(["--admin", &self.admin.to_string(), "--fleet", &self.fleet.to_string(), "--log-format", "json"])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.arguments);
        if let Database::Postgres { url } = &self.database {
            command.args(["--database", url]);
        }
        match &self.keys {
            Some(Keys { master, previous }) => {
                command.arg("--master-key-file").arg(master);
                if let Some(previous) = previous {
                    command.arg("--previous-master-key-file").arg(previous);
                }
            }
            None if matches!(self.database, Database::Postgres { .. }) => {
                let path = self.master_key_file();
                key_file::write(&path, MASTER_KEY)?;
                command.arg("--master-key-file").arg(path);
            }
            None => {}
        }
        Ok(match &self.disk {
            Some(disk) => disk.around(&command),
            None => command,
        })
    }

    /// Ends it without any chance to tidy up.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().context("the control plane runs")?.kill().await
    }

    /// Asks it to end, and awaits that it does.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.take().context("the control plane runs")?.terminate().await
    }

    /// Its process.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the control plane runs")
    }

    /// The gRPC API.
    pub fn api(&self) -> Result<Api> {
        Api::new(self.admin, &self.admin_token()?)
    }

    /// The first token of the API.
    pub fn admin_token(&self) -> Result<String> {
        let text = fs::read_to_string(self.data_dir.join("admin-token")).context("read the first token")?;
        Ok(text.trim().to_owned())
    }

    /// What one edge joins with.
    pub async fn join_token(&self) -> Result<String> {
        Ok(self.api()?.invite(1, &[]).await?)
    }
}

/// An edge that always comes back on the same ports.
pub struct Edge {
    /// Its id.
    pub name: String,
    /// Where it serves plain HTTP.
    pub http: SocketAddr,
    /// Where it serves HTTPS.
    pub https: SocketAddr,
    /// Where it tells of itself.
    pub admin: SocketAddr,
    /// Where it keeps what it has received.
    pub state_dir: PathBuf,
    /// How many threads serve traffic.
    pub workers: usize,
    control_plane: SocketAddr,
    token: String,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Edge {
    /// An edge that is yet to be started, with its state below `dir`.
    pub fn new(dir: &Path, name: &str, control_plane: SocketAddr, token: &str, arguments: Vec<String>) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            http: port::free()?,
            https: port::free()?,
            admin: port::free()?,
            state_dir: dir.join(name),
            workers: WORKERS,
            control_plane,
            token: token.to_owned(),
            arguments,
            process: None,
        })
    }

    /// Starts it, and awaits that it listens.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let mut command = program("switchyard-edge-proxy")?;
        command
            .args(["--http", &self.http.to_string(), "--https", &self.https.to_string()])
            .args(["--admin", &self.admin.to_string(), "--log-format", "json", "--workers", &self.workers.to_string()])
            .args(["--name", &self.name, "--control-plane", &format!("https://{}", self.control_plane)])
            .arg("--state-dir")
            .arg(&self.state_dir)
            .args(&self.arguments)
            .env("SWITCHYARD_EDGE_TOKEN", &self.token);
        let mut process = Process::spawn(self.name.clone(), &mut command)?;
        process.ready().await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it without any chance to tidy up.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} runs", self.name))?.kill().await
    }

    /// Asks it to end, and awaits that it does.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} runs", self.name))?.terminate().await
    }

    /// Its process.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} runs", self.name))
    }

    /// Awaits that it has a configuration, and serves it.
    pub async fn configured(&self) -> Result<()> {
        eventually(&format!("{} is configured", self.name), async || {
            let (status, body) = self.ready().await?;
            ensure!(status == 200, "it is not ready: {status} {body}");
            Ok(())
        })
        .await
    }

    /// The status and body of its `/readyz`.
    pub async fn ready(&self) -> Result<(u16, Value)> {
        let answer = Client::http(self.admin).get("http://localhost/readyz").await?;
        Ok((answer.status.as_u16(), answer.json()?))
    }

    /// The revision and digest of what it has received.
    pub async fn received(&self) -> Result<(u64, String)> {
        let (_, body) = self.ready().await?;
        let revision = body["revision"].as_u64().with_context(|| format!("a revision in {body}"))?;
        let digest = body["digest"].as_str().with_context(|| format!("a digest in {body}"))?;
        Ok((revision, digest.to_owned()))
    }

    /// One of its metrics, by the name and labels that it is exposed with.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let answer = Client::http(self.admin).get("http://localhost/metrics").await?;
        for line in answer.text()?.lines() {
            if let Some((series, value)) = line.rsplit_once(' ')
                && series == name
            {
                return Ok(value.parse()?);
            }
        }
        bail!("no metric {name} in:\n{}", answer.text()?)
    }

    /// How many batches of one kind (`delta` or `snapshot`) it has received since it started.
    pub async fn batches(&self, kind: &str) -> Result<u64> {
        let name = format!("switchyard_edge_batches_total{{kind=\"{kind}\"}}");
        // A counter of labels begins with its first batch.
        Ok(self.metric(&name).await.map_or(0, |count| count as u64))
    }
}
