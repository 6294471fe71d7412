//! The edge beside other proxies. Each has one worker, on a core of its own; load and backend share the other core. All
//! run at the same time and are loaded in turn, round by round, so that what changes on the machine changes for all.

mod case;
mod contender;
mod idle;
mod load;
mod origin;
mod websocket;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::{
    case::Case,
    contender::{Contender, Kind, Site},
};
use crate::{
    cores, machine,
    report::{self, progress},
    statistics::{Values, rounded},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each case is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// Only these cases
    #[arg(long, value_delimiter = ',', value_enum)]
    case: Vec<Case>,
    /// The file whose section `proxies` is replaced
    #[arg(long)]
    write: Option<PathBuf>,
}

/// What was measured of one proxy in one case.
#[derive(Clone, Debug, Default)]
struct Measured {
    requests_per_second: Values,
    cpu_us_per_request: Values,
    /// As a part of what bare Pingora needed in the same round, when the machine was in the same mood.
    cpu_against_bare: Values,
    p50_ms: Values,
    p99_ms: Values,
    errors: u64,
}

/// What was measured of one proxy.
struct Row {
    contender: Contender,
    cases: Vec<Measured>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { rounds, seconds, only, case: cases, write } = args;
    let kinds = if only.is_empty() { Kind::ALL.to_vec() } else { only };
    let cases = if cases.is_empty() { Case::ALL.to_vec() } else { cases };
    cores::bind(cores::LOAD)?;
    let site = Site::prepare()?;

    let mut rows = Vec::new();
    for kind in kinds {
        let contender = Contender::start(kind, &site).await.with_context(|| format!("start {}", kind.name()))?;
        rows.push(Row { contender, cases: vec![Measured::default(); cases.len()] });
    }
    for round in 1..=rounds {
        for (index, case) in cases.iter().enumerate() {
            let mut round_us = Vec::new();
            for Row { contender, cases } in &mut rows {
                let measured = &mut cases[index];
                let before = contender.meter.cpu()?;
                let load = case.load(contender, seconds).await?;
                let cpu = contender.meter.cpu()? - before;
                let cpu_us = cpu.as_secs_f64() * 1e6 / load.requests.max(1) as f64;
                progress(&format!(
                    "round {round} of {rounds}, {}, {}: {cpu_us:.1} µs of CPU, {} requests",
                    case.name(),
                    contender.kind.name(),
                    load.requests
                ));
                measured.requests_per_second.push(load.requests as f64 / seconds as f64);
                measured.cpu_us_per_request.push(cpu_us);
                measured.p50_ms.push_ms(load.p50);
                measured.p99_ms.push_ms(load.p99);
                measured.errors += load.errors;
                round_us.push((contender.kind, cpu_us));
            }
            let bare = round_us.iter().find(|(kind, _)| *kind == Kind::Bare);
            for (row, (_, cpu_us)) in rows.iter_mut().zip(&round_us) {
                row.cases[index].cpu_against_bare.push(bare.map_or(f64::NAN, |(_, bare_us)| cpu_us / bare_us));
            }
        }
    }
    let section = describe(rounds, seconds, &cases, &rows)? + &memory(rows, &site).await?;
    match write {
        Some(file) => report::publish(&file, "proxies", &section),
        None => {
            progress(&section);
            Ok(())
        }
    }
}

fn describe(rounds: usize, seconds: u64, cases: &[Case], rows: &[Row]) -> Result<String> {
    let mut text = format!(
        "Measured {}. {rounds} rounds of {seconds} s for each case and proxy; medians, with the smallest and largest \
         value; against bare Pingora: the median of what it was in each round. One worker each on core {}, load and backend on core {}.\n\nLoad: wrk {}, h2load {}. ",
        machine::describe()?,
        cores::MEASURED,
        cores::LOAD,
        machine::version("wrk", "-v")?,
        machine::version("h2load", "--version")?,
    );
    let versions: Vec<String> = rows.iter().map(|row| row.contender.version()).collect::<Result<_>>()?;
    text += &format!("Proxies: {}.\n", versions.join(", "));
    for (index, case) in cases.iter().enumerate() {
        let lines = rows.iter().map(|Row { contender, cases }| {
            let Measured { requests_per_second, cpu_us_per_request, cpu_against_bare, p50_ms, p99_ms, errors } =
                &cases[index];
            vec![
                contender.kind.name().to_owned(),
                cpu_us_per_request.to_string(),
                format!("{:+.0} %", (cpu_against_bare.median() - 1.0) * 100.0),
                requests_per_second.to_string(),
                rounded(p50_ms.median()),
                rounded(p99_ms.median()),
                errors.to_string(),
            ]
        });
        let titles = ["", "CPU µs per request", "against bare Pingora", "requests per s", "p50 ms", "p99 ms", "errors"];
        text += &format!("\n### {}\n\n{}\n", case.title(), report::table(&titles, lines.collect()));
    }
    Ok(text)
}

/// Memory after all that load, and of connections that do nothing, in programs that were started anew.
async fn memory(rows: Vec<Row>, site: &Site) -> Result<String> {
    let mut lines = Vec::new();
    for Row { contender, cases: _ } in rows {
        let kind = contender.kind;
        let peak = contender.meter.memory_peak_bytes()?;
        drop(contender);
        let fresh = Contender::start(kind, site).await?;
        let idle = idle::measure(&fresh).await?;
        lines.push(vec![
            kind.name().to_owned(),
            rounded(peak as f64 / f64::from(1 << 20)),
            rounded(idle.start_bytes as f64 / f64::from(1 << 20)),
            rounded(idle.connection_bytes / 1024.0),
        ]);
    }
    let titles = ["", "peak MiB under all load", "MiB after the start", "KiB per idle TLS connection"];
    Ok(format!(
        "\n### Memory\n\nResident, as the kernel counts it. Idle connections: {} that have had one answer each.\n\n{}\n",
        idle::CONNECTIONS,
        report::table(&titles, lines)
    ))
}
