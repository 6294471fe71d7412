//! Following a committed change to the edges.

mod progress;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use switchyard_proto::v1::{ProgressState, Rejection, WatchRevisionRequest, WatchRevisionResponse};
use tonic::{Code, Status};

use self::progress::Progress;
use crate::{
    client::Client,
    failure::{Failure, headline},
    names,
    output::{self, Output, columns, took},
};

/// Pauses between attempts to follow again after the connection broke: the first, and the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How a command that did what it should ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done,
    /// The change is committed, but not live on every connected edge.
    NotLive,
}

/// Waits, at most for `timeout`, until `revision` is live on every connected edge; shows how far each one is, and reports.
///
/// `began` is when the change was sent: times are counted from there.
pub(crate) async fn until_live(
    client: &Client,
    output: &Output,
    revision: u64,
    timeout: Duration,
    began: Instant,
) -> Result<Outcome, Failure> {
    let mut edges = Edges::default();
    let mut progress = Progress::new(revision);
    let mut broken = None;
    let following = follow(client, revision, &mut broken, |response| {
        let changed = edges.update(response, began.elapsed());
        progress.show(&edges, &changed);
    });
    let end = tokio::time::timeout(timeout, following).await;
    let end = end.unwrap_or(End::TimedOut { broken });
    progress.clear();
    report(output, &edges, revision, &end, began.elapsed())
}

/// How following a revision ended.
#[derive(Debug)]
enum End {
    /// Every connected edge has acknowledged it, whether with rejections or without.
    Complete,
    /// The time was up, perhaps because the connection broke and there is no new one.
    TimedOut { broken: Option<Status> },
    /// The control plane does not tell.
    Refused(Status),
}

/// Follows a revision until it is everywhere; anew whenever the connection breaks, which `broken` tells of.
async fn follow(
    client: &Client,
    revision: u64,
    broken: &mut Option<Status>,
    mut seen: impl FnMut(WatchRevisionResponse),
) -> End {
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let once = follow_once(client, revision, |response| {
            *broken = None;
            seen(response);
        });
        match once.await {
            Ok(Some(end)) => return end,
            Ok(None) => {}
            // The connection broke, or the control plane restarts; nothing else gets better by itself.
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) => {
                *broken = Some(status);
            }
            Err(status) => return End::Refused(status),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// Follows one stream to its end; `None` if that came before the revision was everywhere.
async fn follow_once(
    client: &Client,
    revision: u64,
    mut seen: impl FnMut(WatchRevisionResponse),
) -> Result<Option<End>, Status> {
    let mut stream = client.edges().watch_revision(WatchRevisionRequest { revision }).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let complete = response.complete;
        seen(response);
        if complete {
            return Ok(Some(End::Complete));
        }
    }
    Ok(None)
}

/// What is known about one edge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EdgeStanding {
    pub(crate) state: ProgressState,
    /// How long after the change was sent it was first seen in this state.
    pub(crate) since: Duration,
    pub(crate) rejections: Vec<Rejection>,
    /// How many more there may be.
    pub(crate) unnamed: u64,
}

impl EdgeStanding {
    /// The state as a word.
    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            ProgressState::Live => "live",
            ProgressState::Rejected => "rejected",
            ProgressState::Offline => "offline",
            ProgressState::Pending | ProgressState::Unspecified => "pending",
        }
    }
}

/// How far every known edge is, by its id.
#[derive(Debug, Default)]
pub(crate) struct Edges(BTreeMap<String, EdgeStanding>);

impl Edges {
    /// Takes over what the control plane says now; returns the ids of the edges whose state is another than before.
    pub(crate) fn update(&mut self, response: WatchRevisionResponse, elapsed: Duration) -> Vec<String> {
        let before = std::mem::take(&mut self.0);
        let mut changed = Vec::new();
        for edge in response.edges {
            let id = names::id(&edge.edge).to_owned();
            let state = edge.state();
            let since = match before.get(&id) {
                Some(standing) if standing.state == state => standing.since,
                _ => {
                    changed.push(id.clone());
                    elapsed
                }
            };
            let unnamed = unnamed(edge.rejections_total, &edge.rejections);
            self.0.insert(id, EdgeStanding { state, since, rejections: edge.rejections, unnamed });
        }
        changed
    }

    /// Every edge, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &EdgeStanding)> {
        self.0.iter().map(|(id, standing)| (id.as_str(), standing))
    }

    /// The edge of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&EdgeStanding> {
        self.0.get(id)
    }

    /// How many edges are in this state.
    fn count(&self, state: ProgressState) -> usize {
        self.0.values().filter(|standing| standing.state == state).count()
    }

    /// How many edges are live, and how many are connected.
    pub(crate) fn live_of_connected(&self) -> (usize, usize) {
        (self.count(ProgressState::Live), self.0.len() - self.count(ProgressState::Offline))
    }
}

/// Prints a line for each edge and what it comes to; what went wrong goes to the standard error.
fn report(output: &Output, edges: &Edges, revision: u64, end: &End, elapsed: Duration) -> Result<Outcome, Failure> {
    let rows: Vec<_> = edges
        .iter()
        .map(|(id, edge)| {
            let time = if edge.state == ProgressState::Live { took(edge.since) } else { String::new() };
            vec![id.to_owned(), edge.word().to_owned(), time]
        })
        .collect();
    if !rows.is_empty() {
        output.result(&columns(None, rows))?;
    }
    let (summary, outcome) = summarize(edges, revision, end, elapsed);
    match outcome {
        Outcome::Done => output.result(&summary)?,
        Outcome::NotLive => {
            output::note(&output::clean(&summary));
            for reason in reasons(edges) {
                output::note(&format!("  {}", output::clean(&reason)));
            }
        }
    }
    Ok(outcome)
}

fn summarize(edges: &Edges, revision: u64, end: &End, elapsed: Duration) -> (String, Outcome) {
    let (live, connected) = edges.live_of_connected();
    let offline = match edges.count(ProgressState::Offline) {
        0 => String::new(),
        offline => format!("; {offline} offline"),
    };
    let committed = format!("revision {revision} is committed, but not live everywhere");
    let so_far = format!("live on {live} of {connected} connected edges after {}", took(elapsed));
    match end {
        End::Complete if connected == 0 => (
            format!("no edge is connected; revision {revision} goes live on each as it connects{offline}"),
            Outcome::Done,
        ),
        End::Complete if live == connected => (format!("{so_far}{offline}"), Outcome::Done),
        End::Complete => (format!("{committed}: {so_far}{offline}"), Outcome::NotLive),
        End::TimedOut { broken: Some(status) } => (
            format!("{committed} as far as is known; it cannot be followed any more: {}", headline(status)),
            Outcome::NotLive,
        ),
        End::TimedOut { broken: None } => (format!("{committed}: {so_far} (see --timeout){offline}"), Outcome::NotLive),
        End::Refused(status) => {
            (format!("{committed} as far as is known; it cannot be followed: {}", headline(status)), Outcome::NotLive)
        }
    }
}

/// Why the change is not live, for each connected edge where it is not.
fn reasons(edges: &Edges) -> Vec<String> {
    let mut reasons = Vec::new();
    for (id, edge) in edges.iter() {
        match edge.state {
            ProgressState::Live | ProgressState::Offline => {}
            ProgressState::Pending | ProgressState::Unspecified => {
                reasons.push(format!("{id}: has not acknowledged it yet"))
            }
            ProgressState::Rejected if edge.rejections.is_empty() => match edge.unnamed {
                0 => reasons.push(format!("{id}: rejected it")),
                unnamed => {
                    reasons.push(format!("{id}: rejects {unnamed} that it does not name, perhaps of this revision"))
                }
            },
            ProgressState::Rejected => {
                reasons.extend(edge.rejections.iter().map(|rejection| {
                    let Rejection { resource, revision, reason } = rejection;
                    format!("{id}: rejected {resource} (revision {revision}): {reason}")
                }));
                if edge.unnamed > 0 {
                    reasons.push(format!("{id}: and {} more", edge.unnamed));
                }
            }
        }
    }
    reasons
}

/// How many rejections there are beside those that are named.
pub(crate) fn unnamed(total: u64, named: &[Rejection]) -> u64 {
    total.saturating_sub(named.len() as u64)
}

#[cfg(test)]
mod tests {
    use switchyard_proto::v1::EdgeProgress;

    use super::*;

    fn edges(states: &[(&str, ProgressState)]) -> Edges {
        let mut edges = Edges::default();
        edges.update(response(states), Duration::from_millis(12));
        edges
    }

    fn response(states: &[(&str, ProgressState)]) -> WatchRevisionResponse {
        let progress = |(id, state): &(&str, ProgressState)| EdgeProgress {
            edge: format!("edges/{id}"),
            state: (*state).into(),
            ..EdgeProgress::default()
        };
        WatchRevisionResponse { edges: states.iter().map(progress).collect(), complete: false }
    }

    #[test]
    fn offline_edges_are_counted_but_not_waited_for() {
        let edges = edges(&[("a", ProgressState::Live), ("b", ProgressState::Offline)]);
        let (summary, outcome) = summarize(&edges, 7, &End::Complete, Duration::from_millis(12));
        assert_eq!(summary, "live on 1 of 1 connected edges after 12 ms; 1 offline");
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(reasons(&edges), [""; 0]);
    }

    #[test]
    fn a_rejection_is_not_live() {
        let edges = edges(&[("a", ProgressState::Live), ("b", ProgressState::Rejected)]);
        let (summary, outcome) = summarize(&edges, 7, &End::Complete, Duration::from_millis(12));
        assert!(summary.starts_with("revision 7 is committed, but not live everywhere: live on 1 of 2"), "{summary}");
        assert_eq!(outcome, Outcome::NotLive);
        assert_eq!(reasons(&edges), ["b: rejected it"]);
    }

    #[test]
    fn a_fleet_without_connected_edges_is_done_at_once() {
        let (summary, outcome) =
            summarize(&edges(&[("a", ProgressState::Offline)]), 7, &End::Complete, Duration::from_millis(1));
        assert!(summary.starts_with("no edge is connected") && summary.ends_with("; 1 offline"), "{summary}");
        assert_eq!(outcome, Outcome::Done);
    }

    #[test]
    fn an_edge_keeps_the_time_at_which_it_went_live() {
        let mut edges = edges(&[("a", ProgressState::Live), ("b", ProgressState::Pending)]);
        let changed = edges
            .update(response(&[("a", ProgressState::Live), ("b", ProgressState::Live)]), Duration::from_millis(50));
        assert_eq!(changed, ["b"]);
        assert_eq!(edges.get("a").map(|edge| edge.since), Some(Duration::from_millis(12)));
        assert_eq!(edges.get("b").map(|edge| edge.since), Some(Duration::from_millis(50)));
    }
}
