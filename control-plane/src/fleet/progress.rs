use std::{collections::HashSet, sync::Arc, time::Duration};

use switchyard_proto::vocab::{EdgeId, ResourceKey, Revision};
use tokio::sync::watch;

use super::view::{Edge, Edges, FleetView};
use crate::{
    feed::{Feed, NotRead},
    model::{ObjectKey, RejectionRecord},
    store::{Store, StoreError},
};

/// How long the database may take when somebody asks for a revision that is not known here.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How far an edge is with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Connected, not yet acknowledged.
    Pending,
    /// Serving it.
    Live,
    /// Acknowledged, but these of what it changed are not served.
    Rejected(Vec<RejectionRecord>),
    /// Not connected.
    Offline,
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
    pub async fn track(&self, revision: Revision) -> Result<Track, TrackError> {
        let mut newest = self.feed.state().revision();
        if revision > newest {
            newest = self.feed.read(READ_TIMEOUT).await?.revision();
        }
        if revision == Revision::ZERO || revision > newest {
            return Err(TrackError::NeverCommitted { revision, newest });
        }
        let touched = self.store.changed_at(revision).await?.into_iter().filter_map(ObjectKey::served).collect();
        Ok(Track { revision, touched, edges: self.view.subscribe(), told: None })
    }
}

/// A revision that is being followed.
#[derive(Debug)]
pub struct Track {
    revision: Revision,
    touched: HashSet<ResourceKey>,
    edges: watch::Receiver<Edges>,
    told: Option<Report>,
}

/// How far every edge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every known edge, by id.
    pub edges: Vec<(EdgeId, Progress)>,
}

impl Report {
    /// Whether no connected edge is yet to acknowledge.
    pub fn is_complete(&self) -> bool {
        self.edges.iter().all(|(_, progress)| *progress != Progress::Pending)
    }
}

impl Track {
    /// How far the edges are: at once the first time, then when that has changed; `None` after a complete report.
    pub async fn next(&mut self) -> Option<Report> {
        if self.told.as_ref().is_some_and(Report::is_complete) {
            return None;
        }
        loop {
            let report = self.report();
            if self.told.as_ref() != Some(&report) {
                self.told = Some(report.clone());
                return Some(report);
            }
            // The view is gone when the program ends.
            self.edges.changed().await.ok()?;
        }
    }

    fn report(&mut self) -> Report {
        let edges = self.edges.borrow_and_update().clone();
        let progress = |(id, edge): (&EdgeId, &Arc<Edge>)| (id.clone(), progress(edge, self.revision, &self.touched));
        Report { edges: edges.iter().map(progress).collect() }
    }
}

/// How far an edge is with `revision`, which changed `touched`.
fn progress(edge: &Edge, revision: Revision, touched: &HashSet<ResourceKey>) -> Progress {
    if edge.online.is_none() {
        return Progress::Offline;
    }
    if edge.acknowledged_revision < revision {
        return Progress::Pending;
    }
    // A version that is older than the revision was rejected before it, and has nothing to do with it.
    let rejections: Vec<_> = edge
        .rejections
        .iter()
        .filter(|rejection| rejection.revision >= revision && touched.contains(&rejection.key))
        .cloned()
        .collect();
    if rejections.is_empty() { Progress::Live } else { Progress::Rejected(rejections) }
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
