//! BIND, a name server that takes dynamic updates.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    eventually::eventually,
    port,
    process::{Process, run},
};

/// What updates are signed with.
pub const KEY_NAME: &str = "switchyard";
/// HMAC-SHA256, in base64.
pub const KEY_SECRET: &str = "c3dpdGNoeWFyZC1zd2l0Y2h5YXJkLXN3aXRjaHlhcmQ=";

/// A name server with one zone, in which every name leads to 127.0.0.1. It ends when this is dropped.
pub struct Bind {
    /// Where it answers, and takes updates.
    pub address: SocketAddr,
    /// Its zone.
    pub zone: &'static str,
    _process: Process,
    _dir: TempDir,
}

impl Bind {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let (dir, zone) = (TempDir::with_prefix("switchyard-bind-")?, "zone.test");
        let address = SocketAddr::from(([127, 0, 0, 1], port::free()?.port()));
        let path = dir.path().display();
        let (port, config) = (address.port(), dir.path().join("named.conf"));
        fs::write(
            &config,
            format!(
                "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
                 pid-file none; session-keyfile none; recursion no; allow-query {{ any; }}; }};\n\
                 controls {{ }};\n\
                 key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY_SECRET}\"; }};\n\
                 zone \"{zone}\" {{ type primary; file \"{zone}\"; update-policy {{ grant {KEY_NAME} zonesub TXT; }}; }};\n"
            ),
        )?;
        fs::write(
            dir.path().join(zone),
            "$TTL 1\n@ SOA ns1 admin 1 3600 600 86400 1\n@ NS ns1\nns1 A 127.0.0.1\n@ A 127.0.0.1\n* A 127.0.0.1\n",
        )?;
        let mut command = Command::new("/usr/sbin/named");
        command.args(["-g", "-n", "1", "-c"]).arg(&config);
        let process = Process::spawn("named", &mut command)?;
        let this = Self { address, zone, _process: process, _dir: dir };
        eventually("BIND answers", async || {
            let answer = this.records("@", "SOA").await?;
            ensure!(answer.contains("ns1"), "it says: {answer}");
            Ok(())
        })
        .await?;
        Ok(this)
    }

    /// The records of a name in the zone, as `dig +short` prints them.
    pub async fn records(&self, name: &str, kind: &str) -> Result<String> {
        let name = if name == "@" { self.zone.to_owned() } else { format!("{name}.{}", self.zone) };
        let port = self.address.port().to_string();
        let mut dig = Command::new("dig");
        dig.args(["@127.0.0.1", "-p", &port, "+short", "+time=1", "+tries=1", &name, kind]);
        String::from_utf8(run(&mut dig).await?.stdout).context("text")
    }
}
