//! Following a committed change to the edges.

mod progress;
mod summary;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use switchyard_proto::v1::{ProgressState, Rejection, WatchRevisionRequest, WatchRevisionResponse};
use tonic::{Code, Status};

use self::progress::Progress;
use crate::{client::Client, failure::Failure, headings::WAIT, names, output::Output};

/// Pauses between attempts to follow again after the connection broke: the first, and the longest.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How a command that did what it should ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done,
    /// The change is committed, but not live.
    NotLive,
}

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// When the change was sent: times are counted from there.
    pub(crate) began: Instant,
    /// How long it may take from then on.
    pub(crate) timeout: Duration,
    /// On which edges.
    pub(crate) required: RequiredArgs,
}

/// Which edges a change is waited for on.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(skip)]
pub(crate) struct RequiredArgs {
    /// With --wait: count the edges that are offline as well
    #[arg(long, help_heading = WAIT, requires = "wait")]
    pub(crate) require_all: bool,
    /// With --wait: exit with 0 even if no edge that serves the change is connected
    #[arg(long, help_heading = WAIT, requires = "wait", conflicts_with = "require_all")]
    pub(crate) allow_offline: bool,
}

impl Wait {
    /// How much of the time is left.
    pub(crate) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// Waits until `revision` is live on the edges that are required; shows how far each one is, and reports.
    pub(crate) async fn until_live(self, client: &Client, output: &Output, revision: u64) -> Result<Outcome, Failure> {
        let request = WatchRevisionRequest { revision, require_all: self.required.require_all };
        let mut edges = Edges::default();
        let mut progress = Progress::new(revision);
        let mut broken = None;
        let following = follow(client, request, &mut broken, |response| {
            let changed = edges.update(response, self.began.elapsed());
            progress.show(&edges, &changed);
        });
        let end = tokio::time::timeout(self.left(), following).await;
        let end = end.unwrap_or(End::TimedOut { broken });
        progress.clear();
        summary::report(output, &edges, revision, &end, &self)
    }
}

/// How following a revision ended.
#[derive(Debug)]
enum End {
    /// Nothing more is to be awaited from the edges.
    Complete,
    /// The time was up, perhaps because the connection broke and there is no new one.
    TimedOut { broken: Option<Status> },
    /// The control plane does not tell.
    Refused(Status),
}

/// Follows a revision until it is everywhere; anew whenever the connection breaks, which `broken` tells of.
async fn follow(
    client: &Client,
    request: WatchRevisionRequest,
    broken: &mut Option<Status>,
    mut seen: impl FnMut(WatchRevisionResponse),
) -> End {
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let once = follow_once(client, request, |response| {
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
    request: WatchRevisionRequest,
    mut seen: impl FnMut(WatchRevisionResponse),
) -> Result<Option<End>, Status> {
    let mut stream = client.edges().watch_revision(request).await?.into_inner();
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
    /// Whether the change is live only when it is live there.
    pub(crate) required: bool,
}

impl EdgeStanding {
    /// The state as a word.
    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            ProgressState::Live => "live",
            ProgressState::Rejected => "rejected",
            ProgressState::Offline => "offline",
            ProgressState::Gone => "gone",
            ProgressState::Pending | ProgressState::Unspecified => "pending",
        }
    }
}

/// How far the edges are that the change concerns.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    by_id: BTreeMap<String, EdgeStanding>,
    /// How many more edges there are.
    others: u64,
    nothing_to_serve: bool,
}

impl Edges {
    /// Takes over what the control plane says now; returns the ids of the edges whose state is another than before.
    pub(crate) fn update(&mut self, response: WatchRevisionResponse, elapsed: Duration) -> Vec<String> {
        let WatchRevisionResponse { edges, complete: _, others, nothing_to_serve } = response;
        (self.others, self.nothing_to_serve) = (others, nothing_to_serve);
        let before = std::mem::take(&mut self.by_id);
        let mut changed = Vec::new();
        for edge in edges {
            let id = names::id(&edge.edge).to_owned();
            let before = before.get(&id);
            // A control plane that restarted does not know any more that it was connected.
            let was_required = before.is_some_and(|before| before.required);
            let state = match edge.state() {
                ProgressState::Offline if was_required && !edge.required => ProgressState::Gone,
                state => state,
            };
            let since = match before {
                Some(standing) if standing.state == state => standing.since,
                _ => {
                    changed.push(id.clone());
                    elapsed
                }
            };
            let unnamed = unnamed(edge.rejections_total, &edge.rejections);
            let required = edge.required || was_required;
            self.by_id.insert(id, EdgeStanding { state, since, rejections: edge.rejections, unnamed, required });
        }
        changed
    }

    /// Every edge, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &EdgeStanding)> {
        self.by_id.iter().map(|(id, standing)| (id.as_str(), standing))
    }

    /// The edge of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&EdgeStanding> {
        self.by_id.get(id)
    }

    /// How many of the edges that are required are live, and how many are required.
    pub(crate) fn live_of_required(&self) -> (usize, usize) {
        let required = || self.by_id.values().filter(|standing| standing.required);
        (required().filter(|standing| standing.state == ProgressState::Live).count(), required().count())
    }
}

/// How many rejections there are beside those that are named.
pub(crate) fn unnamed(total: u64, named: &[Rejection]) -> u64 {
    total.saturating_sub(named.len() as u64)
}
