use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use switchyard_proto::v1::ProgressState;
use switchyard_tests::{api::Api, client::Client, eventually::eventually, fleet::Edge};

use super::{relay::Relay, site::Site};
use crate::{
    cores,
    meter::Meter,
    report::{self, progress},
    statistics::{Values, rounded},
};

/// Between two requests that look whether a change is there.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// What was measured with one number of domains.
pub(super) struct Measured {
    domains: usize,
    control_plane_start: Duration,
    /// From nothing, with everything received.
    edge_first_start: Duration,
    /// From its disk.
    edge_start: Duration,
    control_plane_memory_bytes: u64,
    edge_memory_bytes: u64,
    /// From the call to the first answer by the new backend.
    answered_ms: Values,
    /// From the call to when the API says that it is live, and durable, on the edge.
    acknowledged_ms: Values,
    bytes: Values,
    control_plane_cpu_ms: f64,
    edge_cpu_ms: f64,
}

/// One control plane and one edge.
pub(super) async fn measure(domains: usize, changes: usize) -> Result<Measured> {
    let site = Site::with(domains).await?;
    let api = site.api()?;
    let relay = Relay::to(site.control_plane.fleet).await?;
    let token = site.control_plane.join_token().await?;
    let quiet = ["--access-log", "off"].map(str::to_owned).to_vec();
    let mut edge = Edge::new(site.dir.path(), "edge", relay.address, &token, quiet)?;
    edge.workers = 1;
    let edge_first_start = started(&mut edge, &site).await?;
    edge.terminate().await?;
    let edge_start = started(&mut edge, &site).await?;
    let (control_plane, of_edge) = (site.meter()?, Meter::new(edge.process()?.id()?)?);
    eventually("the edge is back", async || {
        let listed = api.list_edges().await?;
        let edge = listed.edges.first().context("the edge is known")?;
        ensure!(edge.acknowledged_revision == listed.revision, "it has {}", edge.acknowledged_revision);
        Ok(())
    })
    .await?;

    let mut measured = Measured {
        domains,
        control_plane_start: site.cold_start,
        edge_first_start,
        edge_start,
        control_plane_memory_bytes: control_plane.memory_bytes()?,
        edge_memory_bytes: of_edge.memory_bytes()?,
        answered_ms: Values::default(),
        acknowledged_ms: Values::default(),
        bytes: Values::default(),
        control_plane_cpu_ms: 0.0,
        edge_cpu_ms: 0.0,
    };
    let (cpu_before, edge_cpu_before) = (control_plane.cpu()?, of_edge.cpu()?);
    for number in 0..changes {
        let host = site.host(number);
        let before = relay.carried_bytes();
        let (answered, acknowledged) = change(&api, &edge, &host).await?;
        measured.answered_ms.push_ms(answered);
        measured.acknowledged_ms.push_ms(acknowledged);
        measured.bytes.push((relay.carried_bytes() - before) as f64);
    }
    let per_change = |used: Duration| used.as_secs_f64() * 1e3 / changes.max(1) as f64;
    measured.control_plane_cpu_ms = per_change(control_plane.cpu()? - cpu_before);
    measured.edge_cpu_ms = per_change(of_edge.cpu()? - edge_cpu_before);
    progress(&format!("{domains} domains: answered after {} ms", measured.answered_ms));
    Ok(measured)
}

/// Starts an edge, and awaits that it answers with what it is to serve.
async fn started(edge: &mut Edge, site: &Site) -> Result<Duration> {
    let begun = Instant::now();
    cores::measured(edge.start()).await?;
    edge.configured().await?;
    let client = Client::http(edge.http);
    let answer = client.get(&format!("http://{}/", site.host(1))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(begun.elapsed())
}

/// Switches a domain to tag `b`; how long it took until the edge answered so, and until it was acknowledged.
async fn change(api: &Api, edge: &Edge, host: &str) -> Result<(Duration, Duration)> {
    // The connection is there when it begins.
    let client = Client::http(edge.http);
    let url = format!("http://{host}/");
    ensure!(client.get(&url).await?.tag() == "a", "{host} is on tag a");
    let begun = Instant::now();
    let acknowledged = async {
        let revision = api.switch_domain(host, "b").await?.revision;
        let edges = api.progress(revision).await?;
        ensure!(edges.iter().all(|edge| edge.state() == ProgressState::Live), "{edges:?}");
        Ok(begun.elapsed())
    };
    let answered = async {
        while client.get(&url).await?.tag() != "b" {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        anyhow::Ok(begun.elapsed())
    };
    tokio::try_join!(answered, acknowledged)
}

pub(super) fn describe(measured: &[Measured]) -> String {
    let mebibytes = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20));
    let seconds = |time: Duration| rounded(time.as_secs_f64());
    let starts = measured.iter().map(|it| {
        vec![
            it.domains.to_string(),
            seconds(it.control_plane_start),
            seconds(it.edge_first_start),
            seconds(it.edge_start),
            mebibytes(it.control_plane_memory_bytes),
            mebibytes(it.edge_memory_bytes),
        ]
    });
    let start_titles = [
        "domains",
        "control plane's start, s",
        "edge's first start, s",
        "edge's start from disk, s",
        "control plane MiB",
        "edge MiB",
    ];
    let changes = measured.iter().map(|it| {
        vec![
            it.domains.to_string(),
            it.answered_ms.to_string(),
            it.acknowledged_ms.to_string(),
            rounded(it.acknowledged_ms.quantile(0.99)),
            it.bytes.to_string(),
            rounded(it.control_plane_cpu_ms),
            rounded(it.edge_cpu_ms),
        ]
    });
    let change_titles = [
        "domains",
        "first answer, ms",
        "live and durable, ms",
        "p99 of that",
        "bytes on the wire",
        "control plane's CPU, ms",
        "edge's CPU, ms",
    ];
    format!(
        "### Many domains\n\nEach with a certificate of its own. A start is over with the first answer; memory is \
         resident, after the start.\n\n{}\n\nOne change, from the call: to the first answer by the new backend, and to the \
         word that it is live and on the edge's disk. The bytes go both ways, with TLS. The edge's CPU includes the \
         requests that look for the change.\n\n{}\n",
        report::table(&start_titles, starts.collect()),
        report::table(&change_titles, changes.collect()),
    )
}
