use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// What a load found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// HTTP/1.1 requests, one after the other on each connection.
pub(super) struct Wrk {
    pub(super) connections: usize,
    /// Whether each request has a connection of its own.
    pub(super) close: bool,
    pub(super) seconds: u64,
}

impl Wrk {
    pub(super) async fn run(self, url: &str) -> Result<Load> {
        let Self { connections, close, seconds } = self;
        let dir = tempfile::tempdir()?;
        let script = dir.path().join("summary.lua");
        fs::write(&script, include_str!("config/summary.lua"))?;
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s", "-s"]);
        command.arg(script);
        if close {
            command.args(["-H", "Connection: close"]);
        }
        let text = output(command.arg(url)).await?;
        let summary = text.lines().find_map(|line| line.strip_prefix("summary ")).context("wrk says how it was")?;
        let numbers: Vec<u64> = summary.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, errors, p50, p99] = numbers[..] else { anyhow::bail!("four numbers in {summary:?}") };
        Ok(Load { requests, errors, p50: Duration::from_micros(p50), p99: Duration::from_micros(p99) })
    }
}

/// HTTP/2 requests, several at a time on each connection.
pub(super) async fn h2load(connections: usize, streams: usize, seconds: u64, url: &str) -> Result<Load> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("requests");
    let mut command = Command::new("h2load");
    command.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}"), "-D", &seconds.to_string()]);
    command.arg("--log-file").arg(&log).arg(url);
    output(&mut command).await?;
    // One line for each request: when it began, its status, how long it took in µs.
    let mut took = Vec::new();
    let mut errors = 0;
    for line in fs::read_to_string(log)?.lines() {
        let mut fields = line.split('\t').skip(1);
        match (fields.next(), fields.next()) {
            (Some("200"), Some(micros)) => took.push(micros.parse::<u64>()?),
            _ => errors += 1,
        }
    }
    took.sort_unstable();
    let quantile = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or(0);
    Ok(Load {
        requests: took.len() as u64,
        errors,
        p50: Duration::from_micros(quantile(0.5)),
        p99: Duration::from_micros(quantile(0.99)),
    })
}

async fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("run {:?}", command.as_std()))?;
    ensure!(output.status.success(), "{:?}: {}", command.as_std(), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
