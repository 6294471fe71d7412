//! Pebble, a certificate authority that speaks ACME, and the DNS server that it asks.
//!
//! Both come with the Debian package `pebble`. Version 2.4.0 knows neither ARI nor profiles.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use anyhow::{Result, bail, ensure};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use http::{Request, StatusCode};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{net::UdpSocket, process::Command};

use crate::{
    authority::Authority,
    client::{Client, full},
    eventually::eventually,
    port,
    process::{Log, Process},
};

/// What every name that has no address of its own leads to.
const DEFAULT_ADDRESS: &str = "127.0.0.1";

/// What one Pebble does.
#[derive(Clone, Debug)]
pub struct PebbleOptions {
    /// The one port to which it connects for HTTP-01, whatever address the name leads to; 0 is where nobody answers.
    pub http_port: u16,
    /// The one port to which it connects for TLS-ALPN-01; 0 is where nobody answers.
    pub https_port: u16,
    /// How many of a hundred good nonces it refuses. From 1 on, some requests are refused three times in a row.
    pub nonce_reject_percent: u8,
    /// Whether it takes every challenge for met, without a look.
    pub validations_always_valid: bool,
    /// How long its certificates are valid; five years if not said.
    pub validity_seconds: Option<u64>,
    /// Ids and keys (base64url without padding) of external accounts; if there are any, every new account needs one.
    pub external_accounts: Vec<(String, String)>,
    /// In how many of a hundred orders it tries to use an authorization again that is valid already.
    pub authz_reuse_percent: u8,
    /// How many roots it has beside the first; each gives one more chain to choose from.
    pub alternate_roots: u32,
    /// How many intermediates stand between a certificate and its root.
    pub chain_length: NonZeroU32,
    /// The name server that it asks; a DNS server of its own, if none is given.
    pub name_server: Option<SocketAddr>,
    /// Names for which, and for whatever is under them, it refuses every order.
    pub blocked_names: Vec<String>,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        Self {
            http_port: 0,
            https_port: 0,
            nonce_reject_percent: 0,
            validations_always_valid: false,
            validity_seconds: None,
            external_accounts: Vec::new(),
            authz_reuse_percent: 0,
            alternate_roots: 0,
            chain_length: NonZeroU32::MIN,
            name_server: None,
            blocked_names: Vec::new(),
        }
    }
}

/// A Pebble with a DNS server of its own. Both end when this is dropped.
pub struct Pebble {
    /// Where its DNS server answers, over UDP and TCP.
    pub dns: SocketAddr,
    pebble: Process,
    names: Process,
    listener: SocketAddr,
    management: SocketAddr,
    names_management: SocketAddr,
    options: PebbleOptions,
    root_pem: String,
    dir: TempDir,
}

impl Pebble {
    /// Starts both; every name leads to 127.0.0.1.
    pub async fn start(options: PebbleOptions) -> Result<Self> {
        let dir = TempDir::with_prefix("switchyard-pebble-")?;
        let authority = Authority::generate()?;
        let issued = authority.issue(&["localhost", "127.0.0.1"])?;
        fs::write(dir.path().join("chain.pem"), &issued.chain_pem)?;
        fs::write(dir.path().join("key.pem"), &issued.key_pem)?;

        let (listener, management) = (port::free()?, port::free()?);
        let (dns, names_management) = (port::free()?, port::free()?);
        fs::write(config_path(&dir), config(&dir, &options, listener, management).to_string())?;

        let names = spawn_names(dns, names_management)?;
        let pebble = spawn_pebble(&dir, &options, dns)?;
        let root_pem = authority.pem();
        let mut this = Self { dns, pebble, names, listener, management, names_management, options, root_pem, dir };
        this.names_answer().await?;
        this.pebble_answers().await?;
        Ok(this)
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.listener)
    }

    /// The root behind its own HTTPS certificate, which is for localhost and 127.0.0.1.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root of the certificates that it issues; another one after each restart.
    pub async fn issuing_root_pem(&self) -> Result<String> {
        self.alternate_root_pem(0).await
    }

    /// One of the alternate roots, counted from 1.
    pub async fn alternate_root_pem(&self, n: u32) -> Result<String> {
        let url = format!("https://{}/roots/{n}", self.management);
        let answer = Client::https(self.management, &self.root_pem)?.get(&url).await?;
        ensure!(answer.status == StatusCode::OK, "{url}: {}", answer.status);
        Ok(answer.text()?.to_owned())
    }

    /// Ends Pebble without a goodbye; its DNS server goes on.
    pub async fn kill(&mut self) -> Result<()> {
        self.pebble.kill().await
    }

    /// Starts Pebble again on its ports after [`Pebble::kill`].
    ///
    /// It keeps everything in memory: it has forgotten accounts, orders, certificates and nonces, and has new roots. Only
    /// the root of its HTTPS certificate and the external accounts are the same.
    pub async fn restart(&mut self) -> Result<()> {
        self.pebble = spawn_pebble(&self.dir, &self.options, self.dns)?;
        self.pebble_answers().await
    }

    /// Makes Pebble stop in the middle of what it does: connections are taken, and nothing is answered.
    pub fn stop(&self) -> Result<()> {
        self.pebble.signal(Signal::SIGSTOP)
    }

    /// Makes it go on.
    pub fn cont(&self) -> Result<()> {
        self.pebble.signal(Signal::SIGCONT)
    }

    /// Adds a TXT record: the whole name, as in `_acme-challenge.shop.example`.
    pub async fn set_txt(&self, host: &str, value: &str) -> Result<()> {
        self.tell("set-txt", json!({ "host": fqdn(host), "value": value })).await
    }

    /// Removes all TXT records of a name.
    pub async fn clear_txt(&self, host: &str) -> Result<()> {
        self.tell("clear-txt", json!({ "host": fqdn(host) })).await
    }

    /// Makes a name lead to one address.
    pub async fn set_address(&self, name: &str, address: IpAddr) -> Result<()> {
        let host = fqdn(name);
        self.tell("clear-a", json!({ "host": host })).await?;
        self.tell("clear-aaaa", json!({ "host": host })).await?;
        // Pebble tries IPv6 first, so that the default for IPv4 does no harm.
        let add = if address.is_ipv4() { "add-a" } else { "add-aaaa" };
        self.tell(add, json!({ "host": host, "addresses": [address] })).await
    }

    /// Makes every question for a name fail (SERVFAIL), or not any more.
    pub async fn set_broken(&self, name: &str, broken: bool) -> Result<()> {
        let command = if broken { "set-servfail" } else { "clear-servfail" };
        self.tell(command, json!({ "host": fqdn(name) })).await
    }

    /// What Pebble has written since it was last started.
    pub fn log(&self) -> &Log {
        self.pebble.log()
    }

    /// What its DNS server has written.
    pub fn dns_log(&self) -> &Log {
        self.names.log()
    }

    /// Tells the DNS server something.
    async fn tell(&self, command: &str, body: Value) -> Result<()> {
        let url = format!("http://{}/{command}", self.names_management);
        let request = Request::post(&url).body(full(body.to_string()))?;
        let answer = Client::http(self.names_management).exchange(request).await?;
        ensure!(answer.status == StatusCode::OK, "{url} {body}: {}", answer.status);
        Ok(())
    }

    async fn pebble_answers(&mut self) -> Result<()> {
        let client = Client::https(self.listener, &self.root_pem)?;
        let directory = self.directory();
        let management = Client::https(self.management, &self.root_pem)?;
        let root = format!("https://{}/roots/0", self.management);
        let answers = eventually("Pebble answers", async || {
            client.get(&directory).await?;
            management.get(&root).await
        });
        tokio::select! {
            answer = answers => answer.map(drop),
            status = self.pebble.ended() => bail!("Pebble ended before it answered: {}", status?),
        }
    }

    async fn names_answer(&mut self) -> Result<()> {
        let (dns, management) = (self.dns, self.names_management);
        let answers = eventually("Pebble's DNS server answers", async || {
            Client::http(management).get(&format!("http://{management}/")).await?;
            ask(dns).await
        });
        tokio::select! {
            answer = answers => answer,
            status = self.names.ended() => bail!("Pebble's DNS server ended before it answered: {}", status?),
        }
    }
}

fn spawn_pebble(dir: &TempDir, options: &PebbleOptions, dns: SocketAddr) -> Result<Process> {
    let mut command = Command::new("pebble");
    command.arg("-config").arg(config_path(dir)).args(["-dnsserver", &options.name_server.unwrap_or(dns).to_string()]);
    // Otherwise it lets each validation wait for some seconds.
    command.env("PEBBLE_VA_NOSLEEP", "1");
    command.env("PEBBLE_VA_ALWAYS_VALID", u8::from(options.validations_always_valid).to_string());
    command.env("PEBBLE_WFE_NONCEREJECT", options.nonce_reject_percent.to_string());
    command.env("PEBBLE_AUTHZREUSE", options.authz_reuse_percent.to_string());
    command.env("PEBBLE_ALTERNATE_ROOTS", options.alternate_roots.to_string());
    command.env("PEBBLE_CHAIN_LENGTH", options.chain_length.to_string());
    Process::spawn("pebble", &mut command)
}

fn spawn_names(dns: SocketAddr, management: SocketAddr) -> Result<Process> {
    let mut command = Command::new("pebble-challtestsrv");
    command.args(["-dns01", &dns.to_string(), "-management", &management.to_string()]);
    command.args(["-defaultIPv4", DEFAULT_ADDRESS, "-defaultIPv6", ""]);
    // It answers no challenges: who asks for a certificate does.
    command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
    Process::spawn("pebble-challtestsrv", &mut command)
}

fn config_path(dir: &TempDir) -> PathBuf {
    dir.path().join("pebble.json")
}

fn config(dir: &TempDir, options: &PebbleOptions, listener: SocketAddr, management: SocketAddr) -> Value {
    let keys: Map<String, Value> = options.external_accounts.iter().map(|(id, key)| (id.clone(), json!(key))).collect();
    json!({
        "pebble": {
            "listenAddress": listener,
            "managementListenAddress": management,
            "certificate": dir.path().join("chain.pem"),
            "privateKey": dir.path().join("key.pem"),
            "httpPort": options.http_port,
            "tlsPort": options.https_port,
            "externalAccountBindingRequired": !keys.is_empty(),
            "externalAccountMACKeys": keys,
            "domainBlocklist": options.blocked_names,
            // 0 is its default.
            "certificateValidityPeriod": options.validity_seconds.unwrap_or_default(),
        }
    })
}

/// Asks a DNS server for an address. Where nobody listens yet, the kernel says so.
async fn ask(server: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    let mut question = Message::new(1, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii("ready.example.")?, RecordType::A));
    socket.send(&question.to_vec()?).await?;
    socket.recv(&mut [0; 512]).await?;
    Ok(())
}

/// A name as DNS has it.
fn fqdn(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}
