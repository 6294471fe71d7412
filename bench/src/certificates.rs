//! From a domain to its certificate from a CA: with one name, and with many at once.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use http::StatusCode;
use switchyard_proto::v1::AcmeSettings;
use switchyard_tests::{
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{Fleet, Plan},
    pebble::{Pebble, PebbleOptions},
};

use crate::{
    machine,
    report::{self, progress, table},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many names are ordered at once
    #[arg(long, value_delimiter = ',', default_value = "1,3,100")]
    names: Vec<usize>,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The file whose section `certificates` is replaced
    #[arg(long)]
    write: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { names, rounds, write } = args;
    let mut rows = Vec::new();
    for names in names {
        let mut times = Vec::new();
        for round in 0..rounds {
            let took = measure(names).await?;
            progress(&format!("{names} names, round {}: {} ms", round + 1, took.as_millis()));
            times.push(took);
        }
        times.sort();
        let seconds = |time: Option<&Duration>| format!("{:.2}", time.copied().unwrap_or_default().as_secs_f64());
        let median = seconds(times.get(times.len() / 2));
        rows.push(vec![names.to_string(), median, seconds(times.first()), seconds(times.last())]);
    }
    let section = format!(
        "Measured {}. Two edges, SQLite with every commit on disk, and Pebble, which validates each name three times. From the call that \
         creates the first domain to the first good handshake of the last name at both edges; medians of {rounds}.\n\n{}\n",
        machine::describe()?,
        table(&["names", "s", "least", "most"], rows),
    );
    match write {
        Some(file) => report::publish(&file, "certificates", &section),
        None => {
            progress(&section);
            Ok(())
        }
    }
}

/// How long it takes to have so many names served with certificates of a CA that has never heard of this fleet.
async fn measure(names: usize) -> Result<Duration> {
    let fleet = Fleet::start_with(Database::Sqlite, Plan { edges: 2, ..Plan::default() }).await?;
    let http_port = fleet.edges[1].http.port();
    let pebble = Pebble::start(PebbleOptions { http_port, ..PebbleOptions::default() }).await?;
    let root = pebble.issuing_root_pem().await?;
    let api = fleet.api()?;
    api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
    let hosts: Vec<String> = (0..names).map(|number| format!("name-{number}.shop.test")).collect();
    let began = Instant::now();
    for host in &hosts {
        api.create_acme_domain(host, AcmeSettings::default()).await?;
    }
    for edge in &fleet.edges {
        for host in &hosts {
            let url = format!("https://{host}/");
            eventually(&format!("{} serves {host}", edge.name), async || {
                // The domain has no backend: the answer is the edge's own.
                let answer = Client::https(edge.https, &root)?.get(&url).await?;
                ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE);
                Ok(())
            })
            .await?;
        }
    }
    Ok(began.elapsed())
}
