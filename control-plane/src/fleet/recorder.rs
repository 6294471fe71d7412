use std::{sync::Arc, time::Duration};

use imbl::OrdMap;
use switchyard_proto::vocab::EdgeId;
use tokio::time::Instant;

use super::view::{Edge, FleetView};
use crate::{
    model::EdgeRecord,
    store::{Store, StoreError},
};

/// Writes what must not be forgotten about the edges to the database: at once which are connected, disconnected and reject something,
/// and now and then what they have acknowledged.
#[derive(Debug)]
pub struct Recorder {
    view: FleetView,
    store: Arc<dyn Store>,
    recorded: OrdMap<EdgeId, LastRecord>,
}

/// What a recorder has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many edges it wrote.
    pub count: usize,
    /// When what it left is to be written.
    pub due_at: Option<Instant>,
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

    /// Writes what has changed; what is not urgent, only if it was not written for as long as `coarse`.
    ///
    /// # Errors
    ///
    /// The database does not answer; what was not written is written by the next call.
    pub async fn record(&mut self, coarse: Duration) -> Result<Written, StoreError> {
        let mut written = Written::default();
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
                    written.due_at = Some(written.due_at.map_or(due, |at| at.min(due)));
                    continue;
                }
            }
            self.store.record_edge(&record).await?;
            self.recorded.insert(id.clone(), LastRecord { edge: edge.clone(), at: Instant::now() });
            written.count += 1;
        }
        Ok(written)
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
    async fn connections_and_rejections_are_written_at_once_and_acknowledgements_now_and_then() {
        let mut edges = Edges::new().await;
        let link = edges.connect();
        assert_eq!(edges.recorder.record(NEVER).await.unwrap(), Written { count: 1, due_at: None });
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(3));

        link.acknowledged(ack(4, vec![]));
        assert!(edges.recorder.record(NEVER).await.unwrap().due_at.is_some(), "it is written later");
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(3));

        let key = ResourceKey::backend(&BackendId::parse("shop-1").unwrap());
        let rejection = RejectionRecord { key, revision: Revision(5), reason: "no".into() };
        link.acknowledged(ack(5, vec![rejection.clone()]));
        edges.recorder.record(NEVER).await.unwrap();
        let recorded = edges.recorded().await;
        assert_eq!((recorded.acknowledged_revision, recorded.rejections), (Revision(5), vec![rejection.clone()]));
        assert_eq!(recorded.rejections_total, 8);

        link.acknowledged(ack(6, vec![rejection]));
        drop(link);
        edges.recorder.record(NEVER).await.unwrap();
        assert_eq!(edges.recorded().await.acknowledged_revision, Revision(6));
    }
}
