//! Logs: standard keys on one level, levels that say what must be seen, nothing where they are off, and files that can be rotated.

use std::{collections::HashSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use switchyard_tests::{
    authority::Authority,
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{Fleet, Plan},
    install_crypto_provider, key_file, port,
    process::{Process, program},
    shop::{HOST, Shop},
};

/// The keys of the outermost object of a line of JSON, in their order, repeated ones included.
fn keys(line: &str) -> Result<Vec<String>> {
    struct Keys(Vec<String>);
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Vec<String>, A::Error> {
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                self.0.push(key);
            }
            Ok(self.0)
        }
    }
    use serde::Deserializer;
    Ok(serde_json::Deserializer::from_str(line).deserialize_map(Keys(Vec::new()))?)
}

fn is_standard(line: &str) -> Result<()> {
    let keys = keys(line).with_context(|| line.to_owned())?;
    ensure!(keys.iter().take(4).eq(["timestamp", "level", "message", "target"]), "{line}");
    ensure!(keys.iter().collect::<HashSet<_>>().len() == keys.len(), "a key is there twice: {line}");
    let record: Value = serde_json::from_str(line)?;
    ensure!(record.as_object().is_some_and(|it| it.values().all(|value| !value.is_object())), "{line}");
    ensure!(record["revision"].is_null() || record["revision"].is_u64(), "{line}");
    Ok(())
}

#[tokio::test]
async fn what_operators_must_see_is_a_warning_in_records_with_standard_keys() -> Result<()> {
    let mut fleet = Fleet::start(Database::Sqlite).await?;
    let Shop { a, b: _b } = Shop::open(&fleet).await?;
    let api = fleet.api()?;
    let plain = api.create_domain("plain.example", "shop", "a").await?;
    fleet.live(plain.revision).await?;
    let warning = async |log: &switchyard_tests::process::Log, message: &str| -> Result<Value> {
        let record = log.record(message).await?;
        ensure!(record["level"] == "WARN", "{record}");
        Ok(record)
    };

    let https = fleet.https().await?;
    ensure!(https.get("https://plain.example/").await.is_err(), "it has no certificate");
    let edge = fleet.edge().process()?.log().clone();
    let missing = warning(&edge, "a domain has no certificate; TLS handshakes for it are refused").await?;
    ensure!(missing["domain"] == "plain.example", "{missing}");

    a.stop().await;
    ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.status.is_server_error(), "its only backend is gone");
    let down = warning(&edge, "a backend is down").await?;
    ensure!(down["backend"] == "shop-a" && down["service"] == "shop" && down["error"].is_string(), "{down}");

    fleet.edge_mut().kill().await?;
    let control_plane = fleet.control_plane.process()?.log().clone();
    let gone = warning(&control_plane, "edge disconnected").await?;
    ensure!(gone["edge"] == "edge-1", "{gone}");

    for line in edge.lines().iter().chain(&control_plane.lines()) {
        is_standard(line)?;
    }
    Ok(())
}

/// The program, told where to keep its files and to listen, and where its health is asked.
fn quiet(name: &str, dir: &Path) -> Result<(tokio::process::Command, std::net::SocketAddr)> {
    let mut command = program(name)?;
    let admin = port::free()?;
    command.args(["--admin", &admin.to_string()]);
    match name {
        "switchyard-control-plane" => command.args(["--fleet", "127.0.0.1:0", "--data-dir"]).arg(dir),
        _ => command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--state-dir"]).arg(dir),
    };
    Ok((command, admin))
}

async fn accepts(admin: std::net::SocketAddr) -> Result<()> {
    eventually("it listens", async || Ok(tokio::net::TcpStream::connect(admin).await?)).await.map(drop)
}

#[tokio::test]
async fn text_in_a_pipe_has_no_colours_and_what_is_off_is_silent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["switchyard-control-plane", "switchyard-edge-proxy"] {
        let (mut command, _) = quiet(name, &dir.path().join(name))?;
        let mut process = Process::spawn(name, &mut command)?;
        let line = process.log().line("ready").await?;
        ensure!(line.contains("INFO") && !line.contains('\x1b'), "{line:?}");
        process.terminate().await?;

        let (mut command, admin) = quiet(name, &dir.path().join(name))?;
        let mut process = Process::spawn(name, command.args(["--log-level", "off"]))?;
        accepts(admin).await?;
        process.terminate().await?;
        ensure!(process.log().lines().is_empty(), "{}", process.log());
    }
    Ok(())
}

#[tokio::test]
async fn sighup_opens_log_files_anew_and_ends_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["switchyard-control-plane", "switchyard-edge-proxy"] {
        let [path, rotated] = ["log", "log.1"].map(|end| dir.path().join(format!("{name}.{end}")));
        let (mut command, _) = quiet(name, &dir.path().join(name))?;
        let mut process = Process::spawn(name, command.args(["--log-format", "json", "--log-file"]).arg(&path))?;
        let contains = async |path: &Path, text: &str| {
            eventually(&format!("{text:?} in {}", path.display()), async || {
                ensure!(fs::read_to_string(path)?.contains(text));
                Ok(())
            })
            .await
        };
        contains(&path, "\"message\":\"ready\"").await?;
        fs::rename(&path, &rotated)?;
        process.signal(Signal::SIGHUP)?;
        contains(&path, "\"message\":\"reloading\"").await?;
        process.terminate().await?;
        contains(&path, "\"message\":\"ending\"").await?;
        ensure!(!fs::read_to_string(&rotated)?.contains("ending"));
    }
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_certificate_of_the_api_again() -> Result<()> {
    install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let (first, second) = (Authority::generate()?, Authority::generate()?);
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| dir.path().join(name));
    let install = |authority: &Authority| -> Result<()> {
        let issued = authority.issue(&["localhost"])?;
        fs::write(&chain, issued.chain_pem)?;
        key_file::write(&key, &issued.key_pem)
    };
    install(&first)?;
    let arguments =
        ["--admin-certificate-file", &chain.to_string_lossy(), "--admin-private-key-file", &key.to_string_lossy()]
            .map(str::to_owned);
    let plan = Plan { edges: 0, control_plane_arguments: arguments.to_vec(), ..Plan::default() };
    let fleet = Fleet::start_with(Database::Sqlite, plan).await?;
    let shows = async |authority: &Authority| {
        let client = Client::https1(fleet.control_plane.admin, &authority.pem())?;
        client.get("https://localhost/metrics").await.map(drop)
    };
    shows(&first).await?;
    install(&second)?;
    fleet.control_plane.process()?.signal(Signal::SIGHUP)?;
    fleet.control_plane.process()?.log().record("the certificate of the API was replaced").await?;
    shows(&second).await?;
    ensure!(shows(&first).await.is_err(), "the old one is gone");
    Ok(())
}
