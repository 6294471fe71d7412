use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use switchyard_tests::{
    database::Database,
    eventually::eventually,
    fleet::{ControlPlane, Edge},
    port,
    process::{Process, program},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command};

use super::origin;
use crate::{cores, machine, meter::Meter};

/// What is put side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Switchyard,
    Bare,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Switchyard, Self::Bare, Self::Nginx, Self::Haproxy, Self::Envoy, Self::Caddy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Switchyard => "Switchyard",
            Self::Bare => "bare Pingora",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Caddy => "Caddy",
        }
    }
}

/// What all proxies have in common: the certificate, the backend, a directory.
pub(super) struct Site {
    dir: TempDir,
    origin: SocketAddr,
    chain_pem: String,
    key_pem: String,
    client: Arc<ClientConfig>,
}

impl Site {
    /// Makes the certificate, and starts the backend.
    pub(super) fn prepare() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        let (chain_pem, key_pem) = (cert.pem(), signing_key.serialize_pem());
        fs::write(dir.path().join("chain.pem"), &chain_pem)?;
        fs::write(dir.path().join("key.pem"), &key_pem)?;
        fs::write(dir.path().join("both.pem"), format!("{chain_pem}{key_pem}"))?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { dir, origin: origin::start()?, chain_pem, key_pem, client: Arc::new(client) })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a proxy's configuration for these ports.
    fn configure(&self, name: &str, template: &str, http: SocketAddr, https: SocketAddr) -> Result<PathBuf> {
        let text = template
            .replace("@http@", &http.to_string())
            .replace("@https@", &https.to_string())
            .replace("@http_port@", &http.port().to_string())
            .replace("@https_port@", &https.port().to_string())
            .replace("@origin@", &self.origin.to_string())
            .replace("@origin_port@", &self.origin.port().to_string())
            .replace("@dir@", &self.dir.path().display().to_string());
        let path = self.file(&format!("{}-{name}", http.port()));
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A proxy that runs. It ends when this is dropped.
pub(super) struct Contender {
    pub(super) kind: Kind,
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    pub(super) meter: Meter,
    /// Trusts the certificate.
    pub(super) client: Arc<ClientConfig>,
    _running: Running,
}

/// What ends when it is dropped.
enum Running {
    Process { _process: Process },
    Fleet { _edge: Box<Edge>, _control_plane: Box<ControlPlane>, _dir: TempDir },
}

impl Contender {
    /// Starts a proxy with one worker, and awaits that it listens.
    pub(super) async fn start(kind: Kind, site: &Site) -> Result<Self> {
        if kind == Kind::Switchyard {
            return Self::switchyard(site).await;
        }
        let (http, https) = (port::free()?, port::free()?);
        let configure = |name, template| site.configure(name, template, http, https);
        let mut command = match kind {
            Kind::Switchyard | Kind::Bare => {
                let mut command = program("examples/bare-pingora")?;
                command.args([http, https, site.origin].map(|address| address.to_string()));
                command.args([site.file("chain.pem"), site.file("key.pem")]);
                command
            }
            Kind::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-p").arg(site.dir.path()).arg("-c");
                command.arg(configure("nginx.conf", include_str!("config/nginx.conf"))?);
                command
            }
            Kind::Haproxy => {
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f"]).arg(configure("haproxy.cfg", include_str!("config/haproxy.cfg"))?);
                command
            }
            Kind::Envoy => {
                let mut command = Command::new("envoy");
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]);
                command.arg(configure("envoy.yaml", include_str!("config/envoy.yaml"))?);
                command
            }
            Kind::Caddy => {
                let mut command = Command::new("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(configure("Caddyfile", include_str!("config/Caddyfile"))?);
                command.env("GOMAXPROCS", "1").env("HOME", site.dir.path());
                command
            }
        };
        let process = cores::measured(async { Process::spawn(kind.name(), &mut command) }).await?;
        for address in [http, https] {
            eventually(&format!("{} listens on {address}", kind.name()), async || {
                Ok(TcpStream::connect(address).await?)
            })
            .await?;
        }
        let meter = Meter::new(process.id()?)?;
        Ok(Self {
            kind,
            http,
            https,
            meter,
            client: site.client.clone(),
            _running: Running::Process { _process: process },
        })
    }

    /// An edge, and a control plane that gave it its configuration.
    async fn switchyard(site: &Site) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut control_plane = ControlPlane::new(dir.path(), Database::Sqlite, Vec::new())?;
        control_plane.start().await?;
        let api = control_plane.api()?;
        api.create_service("bench").await?;
        api.create_backend("bench", "bench", &site.origin.to_string(), &["a"]).await?;
        api.create_certificate("bench", &site.chain_pem, &site.key_pem).await?;
        api.create_domain("localhost", "bench", "a").await?;
        let arguments = ["--access-log", "off"].map(str::to_owned).to_vec();
        let mut edge =
            Edge::new(dir.path(), "edge", control_plane.fleet, &control_plane.join_token().await?, arguments)?;
        edge.workers = 1;
        cores::measured(edge.start()).await?;
        edge.configured().await?;
        Ok(Self {
            kind: Kind::Switchyard,
            http: edge.http,
            https: edge.https,
            meter: Meter::new(edge.process()?.id()?)?,
            client: site.client.clone(),
            _running: Running::Fleet { _edge: Box::new(edge), _control_plane: Box::new(control_plane), _dir: dir },
        })
    }

    /// Its name and version.
    pub(super) fn version(&self) -> Result<String> {
        let name = self.kind.name();
        Ok(match self.kind {
            Kind::Switchyard => format!("{name} {}", env!("CARGO_PKG_VERSION")),
            Kind::Bare => format!("{name} {}", machine::locked("pingora-core")?),
            Kind::Nginx => format!("{name} {}", machine::version("nginx", "-v")?),
            Kind::Haproxy => format!("{name} {}", machine::version("haproxy", "-v")?),
            Kind::Envoy => format!("{name} {}", machine::version("envoy", "--version")?),
            Kind::Caddy => format!("{name} {}", machine::version("caddy", "version")?),
        })
    }
}
