use std::{sync::Arc, time::Duration};

use imbl::OrdMap;
use switchyard_process::chain;
use switchyard_proto::vocab::EdgeId;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::view::{Edge, FleetView};
use crate::{
    model::EdgeRecord,
    store::{Store, StoreError},
};

/// Between two looks at what has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often an edge is written of which only the acknowledged revision or the last contact has changed.
const COARSE_INTERVAL: Duration = Duration::from_secs(15);

/// Writes what must not be forgotten about the edges to the database: at once who comes, goes and rejects, and now and then
/// what they have acknowledged.
#[derive(Debug)]
pub struct Recorder {
    view: FleetView,
    store: Arc<dyn Store>,
    recorded: OrdMap<EdgeId, LastRecord>,
}

#[derive(Clone, Debug)]
struct LastRecord {
    edge: Arc<Edge>,
    at: Instant,
}

impl Recorder {
    /// A recorder of a view that was made of what the database had.
    pub fn new(view: FleetView, store: Arc<dyn Store>) -> Self {
        let at = Instant::now();
        let recorded =
            view.edges().iter().map(|(id, edge)| (id.clone(), LastRecord { edge: edge.clone(), at })).collect();
        Self { view, store, recorded }
    }

    /// Records until `ending` is cancelled, and then once more, so that the last acknowledgements are in it.
    pub async fn run(mut self, ending: CancellationToken) {
        tokio::select! {
            () = ending.cancelled() => {}
            () = self.follow() => {}
        }
        if let Err(error) = self.look(Duration::ZERO).await {
            warn!(error = chain(&error), "what the edges acknowledged last is not recorded");
        }
    }

    async fn follow(&mut self) {
        let mut edges = self.view.subscribe();
        let mut outage = false;
        loop {
            edges.borrow_and_update();
            match self.look(COARSE_INTERVAL).await {
                Ok(later) => {
                    if outage {
                        info!("edges can be recorded again");
                    }
                    outage = false;
                    sleep(LOOK_INTERVAL).await;
                    tokio::select! {
                        // The view is held here, so it does not go away.
                        _ = edges.changed() => {}
                        () = wait_until(later) => {}
                    }
                }
                Err(error) => {
                    if !outage {
                        warn!(error = chain(&error), "edges cannot be recorded; it is tried again");
                    }
                    outage = true;
                    sleep(COARSE_INTERVAL).await;
                }
            }
        }
    }

    /// Writes what has changed; what is not urgent, only if it was written before `coarse`. When to look again at that.
    async fn look(&mut self, coarse: Duration) -> Result<Option<Instant>, StoreError> {
        let mut later = None;
        for (id, edge) in &self.view.edges() {
            // One that never said anything: there is nothing to remember.
            let Some(record) = record(id, edge) else { continue };
            let before = self.recorded.get(id);
            if let Some(before) = before {
                if Arc::ptr_eq(&before.edge, edge) {
                    continue;
                }
                let due = before.at + coarse;
                if !is_urgent(&before.edge, edge) && Instant::now() < due {
                    later = Some(later.map_or(due, |later: Instant| later.min(due)));
                    continue;
                }
            }
            self.store.record_edge(&record).await?;
            self.recorded.insert(id.clone(), LastRecord { edge: edge.clone(), at: Instant::now() });
        }
        Ok(later)
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn is_urgent(before: &Edge, now: &Edge) -> bool {
    before.online.is_some() != now.online.is_some()
        || before.version != now.version
        || before.rejections != now.rejections
}

fn record(id: &EdgeId, edge: &Edge) -> Option<EdgeRecord> {
    let Edge {
        version,
        acknowledged_revision,
        acknowledged_at,
        last_contact_at,
        rejections,
        persistence: _,
        online: _,
        absence: _,
    } = edge;
    Some(EdgeRecord {
        id: id.clone(),
        version: version.clone(),
        acknowledged_revision: *acknowledged_revision,
        acknowledged_at: *acknowledged_at,
        last_contact_at: (*last_contact_at)?,
        rejections: rejections.named.clone(),
        rejections_total: rejections.total,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use switchyard_proto::vocab::{BackendId, Digest, ResourceKey, Revision};

    use super::*;
    use crate::{
        clock::SystemClock,
        fleet::{Ack, AckOutcome, Hello, Link, Persistence, Rejections},
        model::{EdgeIdentity, EdgeKey, RejectionRecord},
        store::fixture::{Fixture, enrol},
    };

    const NEVER: Duration = Duration::from_secs(60 * 60);

    struct Edges {
        view: FleetView,
        store: Arc<dyn Store>,
        recorder: Recorder,
        _database: Fixture,
    }

    impl Edges {
        async fn new() -> Self {
            let database = Fixture::sqlite().await;
            let store = database.open().await;
            enrol(&store, &EdgeId::parse("edge-1").unwrap()).await;
            let view = FleetView::new(vec![], Arc::new(SystemClock));
            Self { recorder: Recorder::new(view.clone(), store.clone()), view, store, _database: database }
        }

        fn connect(&self) -> Link {
            let id = EdgeId::parse("edge-1").unwrap();
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let identity = EdgeIdentity { id, key: EdgeKey::of(b"key"), peer };
            let (rejections, digest) = (Rejections::default(), Digest::default());
            let hello =
                Hello { version: "1".into(), revision: Revision(3), digest, rejections, withheld: 0, schema: None };
            self.view.connect(&identity, hello, Some(Revision(3)))
        }

        async fn recorded(&self) -> EdgeRecord {
            self.store.edges().await.unwrap().pop().expect("the edge is recorded")
        }
    }

    fn ack(revision: u64, named: Vec<RejectionRecord>) -> Ack {
        let persistence = Persistence::Persisted;
        let total = if named.is_empty() { 0 } else { 8 };
        let rejections = Rejections { named, total };
        Ack { revision: Revision(revision), outcome: AckOutcome::Applied, rejections, persistence }
    }

    #[tokio::test]
    async fn who_comes_and_rejects_is_written_at_once_and_acknowledgements_now_and_then() {
        let mut edges = Edges::new().await;
        let link = edges.connect();
        assert_eq!(edges.recorder.look(NEVER).await.unwrap(), None);
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(3));

        link.acknowledged(ack(4, vec![]));
        assert!(edges.recorder.look(NEVER).await.unwrap().is_some(), "it is to be looked at again");
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(3));

        let key = ResourceKey::backend(&BackendId::parse("shop-1").unwrap());
        let rejection = RejectionRecord { key, revision: Revision(5), reason: "no".into() };
        link.acknowledged(ack(5, vec![rejection.clone()]));
        edges.recorder.look(NEVER).await.unwrap();
        let recorded = edges.recorded().await;
        assert_eq!((recorded.acknowledged_revision, recorded.rejections), (Revision(5), vec![rejection.clone()]));
        assert_eq!(recorded.rejections_total, 8);

        link.acknowledged(ack(6, vec![rejection]));
        drop(link);
        edges.recorder.look(NEVER).await.unwrap();
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(6));
    }

    #[tokio::test]
    async fn the_last_acknowledgements_are_written_at_the_end() {
        let Edges { view, store, recorder, _database } = Edges::new().await;
        let edges = Edges { recorder: Recorder::new(view.clone(), store.clone()), view, store, _database };
        let link = edges.connect();
        link.acknowledged(ack(4, vec![]));
        let ending = CancellationToken::new();
        ending.cancel();
        recorder.run(ending).await;
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(4));
    }
}
