//! U9, U3: `switchyard demo`.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use switchyard_tests::{
    cli::Cli,
    client::Client,
    eventually::eventually,
    install_crypto_provider,
    process::{Process, program},
};

const URL: &str = "http://demo.localhost/";

/// The ids of the processes that a process has started, directly or not.
fn descendants(id: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let child = child.parse()?;
            found.push(child);
            found.extend(descendants(child).unwrap_or_default());
        }
    }
    Ok(found)
}

async fn gone(ids: &[u32]) -> Result<()> {
    eventually("the demo's processes are gone", async || {
        for id in ids {
            // A process that has ended but was not waited for is gone, too.
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            ensure!(status.is_empty() || status.contains("State:\tZ"), "process {id} runs");
        }
        Ok(())
    })
    .await
}

struct Demo {
    process: Process,
    running: Value,
    dir: tempfile::TempDir,
}

impl Demo {
    async fn start() -> Result<Self> {
        install_crypto_provider();
        let dir = tempfile::tempdir()?;
        let ports = ["--http", "0", "--https", "0", "--admin", "0", "--fleet", "0", "--edge-admin", "0"];
        let mut command = program("switchyard")?;
        command.arg("demo").args(ports).args(["--output", "json"]).env("TMPDIR", dir.path());
        command.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME");
        let mut process = Process::spawn("the demo", &mut command)?;
        let running = process.document().await?;
        Ok(Self { process, running, dir })
    }

    fn address(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.running[name].as_str().with_context(|| format!("{name} in {}", self.running))?.parse()?)
    }
}

#[tokio::test]
async fn the_demo_answers_switches_and_leaves_nothing_behind() -> Result<()> {
    let mut demo = Demo::start().await?;
    let client = Client::http(demo.address("http")?);
    let answer = client.get(URL).await?;
    ensure!(answer.status == 200 && answer.header("x-demo-tag") == "a", "{answer:?}");

    // Without being told of a token: the demo keeps a context.
    let home = demo.dir.path().to_owned();
    let cli = Cli::new(demo.address("admin")?, home.clone());
    let switched = cli.run(&["switch", "demo.localhost", "--to", "b", "--wait"]).await?;
    ensure!(switched.code == 0 && switched.stdout.contains("live on 1 of 1"), "{switched:?}");
    ensure!(client.get(URL).await?.header("x-demo-tag") == "b", "it has switched");
    let back = cli.run(&["switch", "demo.localhost", "--back", "--wait"]).await?;
    ensure!(back.code == 0, "{back:?}");
    ensure!(client.get(URL).await?.header("x-demo-tag") == "a", "it is back");

    let root = fs::read_to_string(demo.running["caFile"].as_str().context("a CA file")?)?;
    let secure = Client::https(demo.address("https")?, &root)?;
    ensure!(secure.get("https://demo.localhost/").await?.header("x-demo-tag") == "a", "HTTPS as well");

    let processes = descendants(demo.process.id()?)?;
    ensure!(processes.len() == 2, "a control plane and an edge: {processes:?}");
    let data_dir = demo.running["dataDir"].as_str().context("a data directory")?.to_owned();
    demo.process.terminate().await?;
    gone(&processes).await?;
    ensure!(!fs::exists(&data_dir)?, "{data_dir} is gone");
    let contexts = fs::read_to_string(home.join(".config/switchyard/contexts.toml"))?;
    ensure!(!contexts.contains("sy_"), "its context is gone: {contexts}");
    Ok(())
}

#[tokio::test]
async fn a_demo_that_is_killed_takes_its_programs_with_it() -> Result<()> {
    let mut demo = Demo::start().await?;
    let processes = descendants(demo.process.id()?)?;
    ensure!(processes.len() == 2, "a control plane and an edge: {processes:?}");
    demo.process.signal(Signal::SIGKILL)?;
    demo.process.ended().await?;
    gone(&processes).await
}
