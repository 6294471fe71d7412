use std::{cmp::Reverse, collections::BTreeSet, time::SystemTime};

use serde::Serialize;
use switchyard_proto::v1::{Edge, EdgeState};
use tonic::Code;

use super::{
    Session,
    problems::{Fleet, Problem},
};
use crate::{
    failure::Failure,
    output::{Output, Show},
    wait::Outcome,
};

/// Problems, and edges, that people are shown; the rest is counted.
const SHOWN_MAX: usize = 20;
/// Domains that people are shown: those that changed last.
const DOMAINS_SHOWN_MAX: usize = 10;

/// The fleet in one document. Numbers of 64 bits are strings, as in the JSON of the messages.
#[derive(Debug, Serialize)]
struct Status {
    revision: String,
    problems: Vec<Problem>,
    edges: Vec<Edge>,
    domains: Count,
}

/// How many domains there are; `switchyard domain list` has them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    total: usize,
    with_problems: usize,
}

pub(super) async fn run(session: &Session) -> Result<Outcome, Failure> {
    let (fleet, revision) = read(session).await?;
    let problems = fleet.problems(SystemTime::now());
    let affected: BTreeSet<&str> = problems.iter().map(|problem| problem.resource.as_str()).collect();
    let with_problems = fleet.domains.iter().filter(|domain| affected.contains(domain.name.as_str())).count();
    let domains = Count { total: fleet.domains.len(), with_problems };
    if session.output.is_for_people() {
        show(&session.output, revision, &problems, fleet, &domains)?;
    } else {
        let revision = revision.to_string();
        session.output.document(&Status { revision, problems, edges: fleet.edges, domains })?;
    }
    Ok(Outcome::Done)
}

async fn read(session: &Session) -> Result<(Fleet, u64), Failure> {
    let client = &session.client;
    let (edges, revision) = client.all_edges().await?;
    let unreadable = match client.all_unreadable().await {
        // Only an admin may know.
        Err(Failure::Api { status, .. }) if status.code() == Code::PermissionDenied => Vec::new(),
        unreadable => unreadable?,
    };
    let fleet = Fleet {
        domains: client.all_domains().await?,
        services: client.all_services().await?,
        backends: client.all_backends().await?,
        issuances: client.all_issuances().await?,
        edges,
        unreadable,
    };
    Ok((fleet, revision))
}

fn show(output: &Output, revision: u64, problems: &[Problem], fleet: Fleet, domains: &Count) -> Result<(), Failure> {
    let Fleet { domains: mut changed, mut edges, .. } = fleet;
    match problems.len() {
        0 => output.text(&format!("revision {revision}, no problems"))?,
        count => {
            output.text(&format!("revision {revision}, {}\n", counted(count, "problem")))?;
            first(output, problems, SHOWN_MAX, "--output json")?;
        }
    }
    let connected = edges.iter().filter(|edge| edge.state() == EdgeState::Connected).count();
    output.text(&format!("\n{}, {connected} connected", counted(edges.len(), "edge")))?;
    edges.sort_by_key(|edge| edge.state() == EdgeState::Connected);
    first(output, &edges, SHOWN_MAX, "switchyard edge list")?;

    let Count { total, with_problems } = domains;
    let newest = if *total > DOMAINS_SHOWN_MAX { "; those that changed last" } else { "" };
    output.text(&format!("\n{}, {with_problems} with problems{newest}", counted(*total, "domain")))?;
    if *total > DOMAINS_SHOWN_MAX {
        changed.sort_by_key(|domain| Reverse(domain.revision));
    }
    first(output, &changed, DOMAINS_SHOWN_MAX, "switchyard domain list")
}

/// Prints the first of several; `all` shows the rest.
fn first<T: Show>(output: &Output, items: &[T], max: usize, all: &str) -> Result<(), Failure> {
    output.table(&items[..items.len().min(max)])?;
    match items.len().saturating_sub(max) {
        0 => Ok(()),
        more => output.text(&format!("and {more} more: {all}")),
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
