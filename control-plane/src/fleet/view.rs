use std::{net::SocketAddr, sync::Arc};

use imbl::OrdMap;
use switchyard_proto::vocab::{EdgeId, Revision};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::message::{Ack, Hello, Persistence};
use crate::{
    clock::Clock,
    feed::BatchKind,
    model::{EdgeIdentity, EdgeRecord, RejectionRecord, Timestamp},
};

/// Edges that are known at a time, connected or not.
const EDGES_MAX: usize = 10_000;

/// The edges as this process sees them; clones share it.
#[derive(Clone, Debug)]
pub struct FleetView {
    edges: watch::Sender<Edges>,
    clock: Arc<dyn Clock>,
}

/// The known edges, by id.
pub type Edges = OrdMap<EdgeId, Arc<Edge>>;

/// One edge.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The version of its program.
    pub version: String,
    /// What it has acknowledged.
    pub acknowledged_revision: Revision,
    /// When it acknowledged that.
    pub acknowledged_at: Option<Timestamp>,
    /// When it said something last, or its stream ended. While it has a stream, keep-alive proves more.
    pub last_contact_at: Timestamp,
    /// What it cannot serve.
    pub rejections: Vec<RejectionRecord>,
    /// Whether what it serves is on its disk.
    pub persistence: Persistence,
    /// Its stream, if it has one.
    pub online: Option<Online>,
}

/// The stream of an edge.
#[derive(Clone, Debug)]
pub struct Online {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Batches sent on it that were differences.
    pub deltas_sent: u64,
    /// Batches sent on it that held everything.
    pub snapshots_sent: u64,
    replaced: CancellationToken,
}

impl FleetView {
    /// The edges that are remembered, none of them connected.
    pub fn new(records: Vec<EdgeRecord>, clock: Arc<dyn Clock>) -> Self {
        let edges = records.into_iter().map(|record| {
            let EdgeRecord { id, version, acknowledged_revision, acknowledged_at, last_contact_at, rejections } =
                record;
            let edge = Edge {
                version,
                acknowledged_revision,
                acknowledged_at,
                last_contact_at,
                rejections,
                persistence: Persistence::Persisted,
                online: None,
            };
            (id, Arc::new(edge))
        });
        Self { edges: watch::Sender::new(edges.collect()), clock }
    }

    /// The edges now.
    pub fn edges(&self) -> Edges {
        self.edges.borrow().clone()
    }

    /// The present moment, by the clock that the edges' times are from.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The edges now and from now on.
    pub fn subscribe(&self) -> watch::Receiver<Edges> {
        self.edges.subscribe()
    }

    /// Takes note of an edge's stream, until the [`Link`] is dropped; another stream of the same edge is told to end.
    ///
    /// `received` is what the edge has of what there is; `None` if it has to be sent everything.
    ///
    /// # Errors
    ///
    /// The edge is not known, and too many others are.
    pub fn connect(
        &self,
        identity: &EdgeIdentity,
        hello: Hello,
        received: Option<Revision>,
    ) -> Result<Link, TooManyEdges> {
        let now = self.clock.now();
        let Hello { version, revision: _, digest: _, rejections } = hello;
        let replaced = CancellationToken::new();
        let online = Online { peer: identity.peer, deltas_sent: 0, snapshots_sent: 0, replaced: replaced.clone() };
        let acknowledged_revision = received.unwrap_or(Revision::ZERO);
        let mut admitted = Ok(());
        self.edges.send_if_modified(|edges| {
            let before = edges.get(&identity.id);
            if before.is_none() && edges.len() >= EDGES_MAX {
                admitted = Err(TooManyEdges);
                return false;
            }
            // A restart of either side is not another acknowledgement.
            let acknowledged_at = match before {
                Some(before) if before.acknowledged_revision == acknowledged_revision => before.acknowledged_at,
                _ => received.map(|_| now),
            };
            let edge = Edge {
                version,
                acknowledged_revision,
                acknowledged_at,
                last_contact_at: now,
                rejections,
                persistence: before.map_or(Persistence::Persisted, |before| before.persistence),
                online: Some(online),
            };
            let before = edges.insert(identity.id.clone(), Arc::new(edge));
            if let Some(online) = before.as_ref().and_then(|before| before.online.as_ref()) {
                online.replaced.cancel();
            }
            true
        });
        admitted?;
        Ok(Link { view: self.clone(), id: identity.id.clone(), replaced })
    }
}

/// The stream of one edge, as the view knows it. Dropped, the edge is offline, unless another stream has taken its place.
#[derive(Debug)]
pub struct Link {
    view: FleetView,
    id: EdgeId,
    replaced: CancellationToken,
}

impl Link {
    /// Returns when the same edge has opened another stream.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// Takes note of a batch that was sent.
    pub fn sent(&self, kind: BatchKind) {
        self.update(|edge, _now| {
            if let Some(online) = &mut edge.online {
                match kind {
                    BatchKind::Delta => online.deltas_sent += 1,
                    BatchKind::Snapshot => online.snapshots_sent += 1,
                }
            }
        });
    }

    /// Takes note of a batch that was applied.
    pub fn acknowledged(&self, ack: Ack) {
        let Ack { revision, outcome: _, rejections, persistence } = ack;
        self.update(|edge, now| {
            edge.acknowledged_revision = revision;
            edge.acknowledged_at = Some(now);
            edge.last_contact_at = now;
            edge.rejections = rejections;
            edge.persistence = persistence;
        });
    }

    fn update(&self, change: impl FnOnce(&mut Edge, Timestamp)) {
        let now = self.view.clock.now();
        self.view.edges.send_if_modified(|edges| match edges.get_mut(&self.id) {
            // Cancelled under the same lock, so that an old stream never writes over a newer one.
            Some(edge) if !self.replaced.is_cancelled() => {
                change(Arc::make_mut(edge), now);
                true
            }
            _ => false,
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.update(|edge, now| {
            edge.online = None;
            edge.last_contact_at = now;
        });
    }
}

/// There are as many edges as there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{EDGES_MAX} edges are known, and no more can be; remove some")]
pub struct TooManyEdges;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use switchyard_proto::vocab::Digest;

    use super::*;
    use crate::{clock::SystemClock, fleet::message::AckOutcome};

    fn identity(id: &str) -> EdgeIdentity {
        EdgeIdentity { id: EdgeId::parse(id).unwrap(), peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)) }
    }

    fn hello() -> Hello {
        Hello { version: "1".into(), revision: Revision(3), digest: Digest::default(), rejections: vec![] }
    }

    fn ack(revision: u64) -> Ack {
        let persistence = Persistence::NotPersisted;
        Ack { revision: Revision(revision), outcome: AckOutcome::Applied, rejections: vec![], persistence }
    }

    #[test]
    fn an_edge_is_there_as_long_as_its_link() {
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        let identity = identity("edge-1");
        let link = view.connect(&identity, hello(), Some(Revision(3))).unwrap();
        link.sent(BatchKind::Delta);
        link.acknowledged(ack(4));
        let edge = view.edges()[&identity.id].clone();
        assert_eq!((edge.acknowledged_revision, edge.persistence), (Revision(4), Persistence::NotPersisted));
        assert_eq!(edge.online.as_ref().unwrap().deltas_sent, 1);
        drop(link);
        let edge = view.edges()[&identity.id].clone();
        assert!(edge.online.is_none());
        assert_eq!(edge.acknowledged_revision, Revision(4));
    }

    #[test]
    fn a_replaced_link_writes_nothing_any_more() {
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        let identity = identity("edge-1");
        let old = view.connect(&identity, hello(), Some(Revision(3))).unwrap();
        let new = view.connect(&identity, hello(), Some(Revision(3))).unwrap();
        assert!(old.replaced.is_cancelled() && !new.replaced.is_cancelled());
        old.acknowledged(ack(9));
        drop(old);
        let edge = view.edges()[&identity.id].clone();
        assert_eq!(edge.acknowledged_revision, Revision(3));
        assert!(edge.online.is_some());
    }

    #[test]
    fn there_are_at_most_so_many_edges() {
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        for number in 0..EDGES_MAX {
            drop(view.connect(&identity(&format!("edge-{number}")), hello(), None).unwrap());
        }
        assert_eq!(view.connect(&identity("one-more"), hello(), None).unwrap_err(), TooManyEdges);
        assert!(view.connect(&identity("edge-7"), hello(), None).is_ok());
    }
}
