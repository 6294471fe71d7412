use std::{collections::HashSet, sync::Arc, time::Duration};

use switchyard_proto::vocab::{EdgeId, ResourceKey, Revision};
use tokio::sync::watch;

use super::{
    message::Rejections,
    view::{Edge, Edges, FleetView},
};
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
    /// Acknowledged, but these of what it changed are not served; or there may be some that the edge does not name.
    Rejected(Rejections),
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
    let is_newer = |rejection: &RejectionRecord| rejection.revision >= revision;
    let Rejections { named, total } = &edge.rejections;
    let unnamed = total.saturating_sub(named.len() as u64);
    // The newest are named: if one of them is older than the revision, so are all that are not.
    let unnamed = if named.iter().all(is_newer) { unnamed } else { 0 };
    let concerned = named.iter().filter(|rejection| is_newer(rejection) && touched.contains(&rejection.key));
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
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use switchyard_proto::vocab::{BackendId, Digest};

    use super::*;
    use crate::{
        clock::SystemClock,
        fleet::message::Hello,
        model::{EdgeIdentity, EdgeKey},
    };

    fn key(id: &str) -> ResourceKey {
        ResourceKey::backend(&BackendId::parse(id).unwrap())
    }

    /// How far an edge is with revision 7, which changed `b`, and which of it is rejected. It names rejections of these resources and
    /// revisions, and counts so many more.
    fn with(named: &[(&str, u64)], more: u64) -> Progress {
        let rejection = |(id, revision): &(&str, u64)| RejectionRecord {
            key: key(id),
            revision: Revision(*revision),
            reason: String::new(),
        };
        let named: Vec<_> = named.iter().map(rejection).collect();
        let rejections = Rejections { total: named.len() as u64 + more, named };
        let hello = Hello {
            version: "1".into(),
            revision: Revision(9),
            digest: Digest::default(),
            rejections,
            withheld: 0,
            schema: None,
        };
        let id = EdgeId::parse("edge-1").unwrap();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        let identity = EdgeIdentity { id: id.clone(), key: EdgeKey::of(b"key"), peer };
        let _link = view.connect(&identity, hello, Some(Revision(9)));
        progress(&view.edges()[&id], Revision(7), &HashSet::from([key("b")]))
    }

    fn rejected(named: &[&str], total: u64) -> (Vec<ResourceKey>, u64) {
        (named.iter().map(|id| key(id)).collect(), total)
    }

    fn of(progress: Progress) -> (Vec<ResourceKey>, u64) {
        let Progress::Rejected(Rejections { named, total }) = progress else { panic!("{progress:?}") };
        (named.into_iter().map(|rejection| rejection.key).collect(), total)
    }

    #[test]
    fn what_is_not_named_is_never_taken_for_live_unless_it_must_be_older() {
        assert_eq!(with(&[], 0), Progress::Live);
        assert_eq!(with(&[("a", 8), ("b", 6)], 0), Progress::Live, "another resource, and an older version");
        assert_eq!(of(with(&[("b", 7), ("a", 6)], 0)), rejected(&["b"], 1));
        // A named one of before the revision proves that all newer ones are named.
        assert_eq!(with(&[("a", 8), ("c", 6)], 1_000), Progress::Live);
        assert_eq!(of(with(&[("b", 8), ("c", 6)], 1_000)), rejected(&["b"], 1));
        // Nothing proves it.
        assert_eq!(of(with(&[("a", 8), ("c", 7)], 1_000)), rejected(&[], 1_000));
        assert_eq!(of(with(&[("b", 7)], 1_000)), rejected(&["b"], 1_001));
        assert_eq!(of(with(&[], 1)), rejected(&[], 1));
    }
}
