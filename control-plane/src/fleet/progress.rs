use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use switchyard_proto::vocab::{EdgeId, Labels, ResourceKey, Revision};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    message::Rejections,
    view::{Absence, Edge, Edges, FleetView},
};
use crate::{
    feed::{Feed, NotRead, State},
    model::{ObjectKey, ObjectKind, RejectionRecord},
    store::{Store, StoreError},
};

/// How long the database may take when somebody asks for a revision that is not known here.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an edge that lost its stream has to open another before it is gone.
const RECONNECT: Duration = Duration::from_secs(5);

/// How far an edge is with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Connected, or not for less than [`RECONNECT`]; not yet acknowledged.
    Pending,
    /// Serving it.
    Live,
    /// Acknowledged, but these of what it changed are not served; or there may be some that the edge does not name.
    Rejected(Rejections),
    /// Not connected, and was not when it began to be followed.
    Offline,
    /// Not connected any more.
    Gone,
}

/// Which edges a revision must be live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Those that were connected when it began to be followed.
    Connected,
    /// All of them.
    All,
}

/// Follows revisions to the edges.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The edges.
    pub view: FleetView,
    /// The newest revision.
    pub feed: Feed,
    /// What revisions changed.
    pub store: Arc<dyn Store>,
}

impl Tracker {
    /// Begins to follow a revision.
    ///
    /// # Errors
    ///
    /// It was never committed, or the database does not answer.
    pub async fn track(&self, revision: Revision, required: Required) -> Result<Track, TrackError> {
        let mut newest = self.feed.state().revision();
        if revision > newest {
            newest = self.feed.read(READ_TIMEOUT).await?.revision();
        }
        if revision == Revision::ZERO || revision > newest {
            return Err(TrackError::NeverCommitted { revision, newest });
        }
        let changed = Changed::of(revision, self.store.changed_at(revision).await?);
        let (feed, edges) = (self.feed.clone(), self.view.subscribe());
        Ok(Track {
            changed,
            which: required,
            feed,
            edges,
            expected: HashSet::new(),
            required: HashSet::new(),
            sent: None,
        })
    }
}

/// What a revision changed.
#[derive(Debug)]
struct Changed {
    revision: Revision,
    /// Of what edges serve.
    resources: HashSet<ResourceKey>,
    /// Edges whose labels it set.
    edges: HashSet<Arc<str>>,
}

impl Changed {
    fn of(revision: Revision, keys: Vec<ObjectKey>) -> Self {
        let edges = keys.iter().filter(|key| key.kind == ObjectKind::Edge).map(|key| key.id.clone()).collect();
        Self { revision, resources: keys.into_iter().filter_map(ObjectKey::served).collect(), edges }
    }

    /// Whether nothing of it is left to be served.
    fn is_nothing_to_serve(&self, state: &State) -> bool {
        self.edges.is_empty() && !self.resources.iter().any(|key| state.has(key))
    }
}

/// A revision that is being followed.
#[derive(Debug)]
pub struct Track {
    changed: Changed,
    which: Required,
    feed: Feed,
    edges: watch::Receiver<Edges>,
    /// The edges that were connected when it began, or might still come back.
    expected: HashSet<EdgeId>,
    /// Those of them that are known to have been connected.
    required: HashSet<EdgeId>,
    sent: Option<Report>,
}

/// How far the edges are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The edges that the revision concerns, by id.
    pub edges: Vec<(EdgeId, Standing)>,
    /// How many more edges there are.
    pub others: u64,
    /// Whether the revision leaves nothing that an edge would have to serve.
    pub nothing_to_serve: bool,
    /// Whether no edge is awaited any more.
    pub is_complete: bool,
}

/// How far one edge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How far.
    pub progress: Progress,
    /// Whether the revision is live only when it is live there.
    pub required: bool,
}

impl Track {
    /// How far the edges are: at once the first time, then when that has changed; `None` after a complete report.
    pub async fn next(&mut self) -> Option<Report> {
        if self.sent.as_ref().is_some_and(|sent| sent.is_complete) {
            return None;
        }
        loop {
            let now = Instant::now();
            let (report, again) = self.report(now);
            if self.sent.as_ref() != Some(&report) {
                self.sent = Some(report.clone());
                return Some(report);
            }
            tokio::select! {
                // The view is gone when the program ends.
                changed = self.edges.changed() => changed.ok()?,
                () = until(again) => {}
            }
        }
    }

    /// How far the edges are, and when one of them will be gone.
    fn report(&mut self, now: Instant) -> (Report, Option<Instant>) {
        let state = self.feed.state();
        let edges = self.edges.borrow_and_update().clone();
        let mut concerned: HashMap<&Labels, bool> = HashMap::new();
        let mut report = Report { edges: Vec::new(), others: 0, nothing_to_serve: false, is_complete: true };
        let mut again: Option<Instant> = None;
        for (id, edge) in &edges {
            // One that is just being removed has no labels any more.
            let Some(labels) = state.labels(id) else { continue };
            let Changed { revision, resources, edges } = &self.changed;
            let is_concerned = edges.contains(id.as_str())
                || *concerned.entry(labels).or_insert_with(|| state.concerns(labels, resources, *revision));
            if !is_concerned {
                report.others += 1;
                continue;
            }
            let deadline = deadline(edge, now);
            let was_connected = self.was_connected(id, edge, deadline);
            let standing = Standing {
                progress: progress(edge, deadline, was_connected, &self.changed),
                required: was_connected || self.which == Required::All,
            };
            again = again.into_iter().chain(deadline).min();
            report.is_complete &= !self.is_awaited(&standing, deadline);
            report.edges.push((id.clone(), standing));
        }
        report.nothing_to_serve = report.edges.is_empty() && self.changed.is_nothing_to_serve(&state);
        (report, again)
    }

    /// Whether an edge was connected when the revision began to be followed. Of one that is remembered that is known when it comes back.
    fn was_connected(&mut self, id: &EdgeId, edge: &Edge, deadline: Option<Instant>) -> bool {
        let may_be_here = edge.online.is_some() || deadline.is_some();
        if self.sent.is_none() && may_be_here {
            self.expected.insert(id.clone());
        }
        match edge.absence {
            Absence::Since(_) if self.expected.contains(id) => {
                self.required.insert(id.clone());
            }
            Absence::Remembered(_) if !may_be_here => {
                self.expected.remove(id);
            }
            Absence::Always | Absence::Remembered(_) | Absence::Since(_) => {}
        }
        self.required.contains(id)
    }

    /// Whether an edge may yet bring the revision to an end.
    fn is_awaited(&self, Standing { progress, required }: &Standing, deadline: Option<Instant>) -> bool {
        match progress {
            Progress::Live | Progress::Rejected(_) => false,
            // One that is remembered counts as soon as it is back, and for that it has as long as others.
            Progress::Pending => *required || deadline.is_some(),
            Progress::Offline | Progress::Gone => self.which == Required::All,
        }
    }
}

/// Until when an edge without a stream may still come back. None: it has one, or the time is up.
fn deadline(edge: &Edge, now: Instant) -> Option<Instant> {
    match edge.absence {
        Absence::Remembered(since) | Absence::Since(since) if edge.online.is_none() => {
            Some(since + RECONNECT).filter(|end| *end > now)
        }
        Absence::Always | Absence::Remembered(_) | Absence::Since(_) => None,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How far an edge is with a revision; without a stream, it may come back until `deadline`.
fn progress(edge: &Edge, deadline: Option<Instant>, was_connected: bool, changed: &Changed) -> Progress {
    if edge.online.is_none() && deadline.is_none() {
        return if was_connected { Progress::Gone } else { Progress::Offline };
    }
    let is_back = edge.online.is_some() || matches!(edge.absence, Absence::Since(_));
    if !is_back || edge.acknowledged_revision < changed.revision {
        return Progress::Pending;
    }
    // A version that is older than the revision was rejected before it, and has nothing to do with it.
    let is_newer = |rejection: &RejectionRecord| rejection.revision >= changed.revision;
    let Rejections { named, total } = &edge.rejections;
    let unnamed = total.saturating_sub(named.len() as u64);
    // The newest are named: if one of them is older than the revision, so are all that are not.
    let unnamed = if named.iter().all(is_newer) { unnamed } else { 0 };
    let concerned = named.iter().filter(|it| is_newer(it) && changed.resources.contains(&it.key));
    let named: Vec<_> = concerned.cloned().collect();
    match named.len() as u64 + unnamed {
        0 => Progress::Live,
        total => Progress::Rejected(Rejections { named, total }),
    }
}

/// Why a revision cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// There is no such revision.
    #[error("revision {revision} was never committed; the newest is {newest}")]
    NeverCommitted {
        /// The revision.
        revision: Revision,
        /// The newest one.
        newest: Revision,
    },
    /// Whether there is such a revision is not known.
    #[error(transparent)]
    Unread(#[from] NotRead),
    /// What it changed is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
