//! A certificate authority that says when to renew (ARI, RFC 9773): acme2certifier, from PyPI.

use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    authority::Authority,
    port,
    process::{Log, Process},
};

/// Names the Python that has acme2certifier; `scripts/test` sets it.
pub const PYTHON_VARIABLE: &str = "SWITCHYARD_TEST_PYTHON";

const SCRIPT: &str = include_str!("ari_ca.py");

/// The file with the window of the moment.
const WINDOW_FILE: &str = "window.json";

/// When this CA wants its certificates renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As acme2certifier has it: from 85 % of the lifetime until its end.
    Own,
    /// Now: the window began yesterday and ends tomorrow.
    Open,
    /// It is over: it ended an hour ago.
    Past,
    /// Between these, in whole seconds.
    Between(SystemTime, SystemTime),
    /// It fails (500) when it is asked.
    Failing,
}

/// What one such CA does.
#[derive(Clone, Debug)]
pub struct AriOptions {
    /// When it wants renewals.
    pub window: Window,
    /// When it wants to be asked again.
    pub retry_after: Duration,
    /// The port of 127.0.0.1 at which it looks for answers to HTTP-01; if not said, every challenge is met.
    pub http_port: Option<u16>,
    /// Whether every new account must have a contact.
    pub contact_required: bool,
    /// How long its certificates are valid.
    pub validity_days: u32,
    /// Whether it repeats in a new order what that replaces, as RFC 9773 demands; acme2certifier itself does not.
    pub repeats_replaces: bool,
}

impl Default for AriOptions {
    fn default() -> Self {
        Self {
            window: Window::Own,
            retry_after: Duration::from_secs(6 * 60 * 60),
            http_port: None,
            contact_required: false,
            validity_days: 90,
            repeats_replaces: true,
        }
    }
}

/// A CA with renewal information. It ends when this is dropped.
pub struct AriCa {
    server: Process,
    address: SocketAddr,
    root_pem: String,
    issuing_root_pem: String,
    dir: TempDir,
}

impl AriCa {
    /// Starts it; this takes about a second.
    pub async fn start(options: AriOptions) -> Result<Self> {
        let dir = TempDir::with_prefix("switchyard-ari-ca-")?;
        let authority = Authority::generate()?;
        let issued = authority.issue(&["localhost", "127.0.0.1"])?;
        let (issuing_root_pem, issuing_key_pem) = issuing_root()?;
        let address = port::free()?;

        let path = |name: &str| dir.path().join(name);
        fs::write(path("chain.pem"), &issued.chain_pem)?;
        fs::write(path("key.pem"), &issued.key_pem)?;
        fs::write(path("issuing-root.pem"), &issuing_root_pem)?;
        fs::write(path("issuing-key.pem"), issuing_key_pem)?;
        fs::create_dir(path("certificates"))?;
        fs::write(path("ari_ca.py"), SCRIPT)?;
        fs::write(path("acme2certifier.cfg"), config(dir.path(), &options))?;
        let settings = json!({
            "port": address.port(),
            "chain": path("chain.pem"),
            "key": path("key.pem"),
            "window": path(WINDOW_FILE),
            "http_port": options.http_port,
            "repeats_replaces": options.repeats_replaces,
        });
        fs::write(path("settings.json"), settings.to_string())?;

        let server = spawn(dir.path())?;
        let mut this = Self { server, address, root_pem: authority.pem(), issuing_root_pem, dir };
        this.set_window(options.window, options.retry_after)?;
        this.server.ready().await?;
        Ok(this)
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// The root behind its own HTTPS certificate, which is for localhost and 127.0.0.1.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root of the certificates that it issues, with nothing between.
    pub fn issuing_root_pem(&self) -> &str {
        &self.issuing_root_pem
    }

    /// Says from the next question on that certificates are to be renewed then, and that it is to be asked again after
    /// that time.
    pub fn set_window(&self, window: Window, retry_after: Duration) -> Result<()> {
        let now = SystemTime::now();
        let (hour, day) = (Duration::from_secs(60 * 60), Duration::from_secs(24 * 60 * 60));
        let between = match window {
            Window::Own | Window::Failing => None,
            Window::Open => Some((now - day, now + day)),
            Window::Past => Some((now - day, now - hour)),
            Window::Between(start, end) => Some((start, end)),
        };
        let (start, end) = match between {
            None => (None, None),
            Some((start, end)) => (Some(unix_seconds(start)?), Some(unix_seconds(end)?)),
        };
        let window = json!({
            "start": start,
            "end": end,
            "failing": window == Window::Failing,
            "retry_after": retry_after.as_secs(),
        });
        // In one step: it is read at any time.
        let written = self.dir.path().join("window.json.new");
        fs::write(&written, window.to_string())?;
        Ok(fs::rename(written, self.dir.path().join(WINDOW_FILE))?)
    }

    /// The orders that came in since it was last started: `identifiers`, and the id that each `replaces`, or null.
    pub fn orders(&self) -> Vec<Value> {
        self.records("new order")
    }

    /// The questions for renewal information since it was last started: the `certificate` that each was about, and the
    /// `status` of the answer.
    pub fn questions(&self) -> Vec<Value> {
        self.records("renewal info")
    }

    /// Ends it without a goodbye.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// Starts it again on its port after [`AriCa::kill`]. Unlike Pebble, it still knows its accounts and certificates.
    pub async fn restart(&mut self) -> Result<()> {
        self.server = spawn(self.dir.path())?;
        self.server.ready().await?;
        Ok(())
    }

    /// What it has written since it was last started.
    pub fn log(&self) -> &Log {
        self.server.log()
    }

    fn records(&self, message: &str) -> Vec<Value> {
        self.log().records().into_iter().filter(|record| record["message"] == message).collect()
    }
}

fn unix_seconds(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
}

fn spawn(dir: &Path) -> Result<Process> {
    let python = env::var(PYTHON_VARIABLE)
        .with_context(|| format!("{PYTHON_VARIABLE} is not set: run the tests with scripts/test"))?;
    let mut command = Command::new(python);
    command.arg(dir.join("ari_ca.py")).arg(dir.join("settings.json")).current_dir(dir);
    command.env("ACME_SRV_CONFIGFILE", dir.join("acme2certifier.cfg"));
    // Otherwise it does not do without challenges, whatever its configuration says.
    command.env("ACME2CERTIFIER_I_KNOW_THE_RISK", "1");
    Process::spawn("acme2certifier", &mut command)
}

fn config(dir: &Path, options: &AriOptions) -> String {
    let dir = dir.display();
    let days = options.validity_days;
    let validates = options.http_port.is_some();
    format!(
        "[DEFAULT]
debug: False
[DBhandler]
handler: wsgi
dbfile: {dir}/acme2certifier.db
[Account]
contact_check_disable: {}
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {dir}/issuing-key.pem
issuing_ca_cert: {dir}/issuing-root.pem
issuing_ca_crl: {dir}/issuing.crl
cert_save_path: {dir}/certificates
cert_validity_days: {days}
[Challenge]
challenge_validation_disable: {}
dns_01_support: {}
tls_alpn_01_support: {}
[Renewalinfo]
renewalthreshold_pctg: 85
",
        !options.contact_required, !validates, !validates, !validates,
    )
}

/// A root and its key (PEM). acme2certifier names the issuer's key in certificates by its SHA-1, so the root does too.
fn issuing_root() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([])?;
    params.distinguished_name.push(DnType::CommonName, "Issuing root of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let id = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
    params.key_identifier_method = KeyIdMethod::PreSpecified(id.as_ref().to_vec());
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}
