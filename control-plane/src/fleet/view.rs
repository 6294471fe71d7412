use std::{net::SocketAddr, sync::Arc};

use imbl::OrdMap;
use prost_reflect::DynamicMessage;
use switchyard_proto::{
    schema::KnownSchema,
    vocab::{EdgeId, Revision},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    message::{Ack, Hello, Persistence, Rejections},
    schemas::Schemas,
};
use crate::{
    clock::Clock,
    feed::BatchKind,
    model::{EdgeIdentity, EdgeKey, EdgeRecord, Enrolment, Stored, Timestamp},
};

/// The edges as this process sees them; clones share it.
#[derive(Clone, Debug)]
pub struct FleetView {
    edges: watch::Sender<Edges>,
    schemas: Schemas,
    clock: Arc<dyn Clock>,
}

/// The known edges, by id.
pub type Edges = OrdMap<EdgeId, Arc<Edge>>;

/// One edge.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// The version of its program.
    pub version: String,
    /// What it has acknowledged.
    pub acknowledged_revision: Revision,
    /// When it acknowledged that.
    pub acknowledged_at: Option<Timestamp>,
    /// When it said something last, or its stream ended. While it has a stream, keep-alive proves more. None: it never did.
    pub last_contact_at: Option<Timestamp>,
    /// What it cannot serve.
    pub rejections: Rejections,
    /// Whether what it serves is on its disk.
    pub persistence: Persistence,
    /// Its stream, if it has one.
    pub online: Option<Online>,
    /// Since when it has none.
    pub absence: Absence,
}

/// Since when an edge has no stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// It never had one.
    #[default]
    Always,
    /// It is remembered from before this process began, then. Whether it had one until then is not known.
    Remembered(Instant),
    /// Its last one ended then, or it has one.
    Since(Instant),
}

/// The stream of an edge.
#[derive(Clone, Debug)]
pub struct Online {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The key that it was opened with.
    pub key: EdgeKey,
    /// Batches sent on it that were differences.
    pub deltas_sent: u64,
    /// Batches sent on it that held everything.
    pub snapshots_sent: u64,
    /// What it knows, if that is less than this version knows.
    schema: Option<Arc<KnownSchema>>,
    replaced: CancellationToken,
    removed: CancellationToken,
}

/// An edge that will reject a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// Which edge.
    pub edge: EdgeId,
    /// The version of its program.
    pub version: String,
    /// The paths of the fields that it does not know; none: it does not know the kind.
    pub unknown: Vec<String>,
}

impl FleetView {
    /// The edges that are remembered, none of them connected.
    pub fn new(records: Vec<EdgeRecord>, clock: Arc<dyn Clock>) -> Self {
        let began = Instant::now();
        let edges = records.into_iter().map(|record| {
            let EdgeRecord {
                id,
                version,
                acknowledged_revision,
                acknowledged_at,
                last_contact_at,
                rejections,
                rejections_total,
            } = record;
            let edge = Edge {
                version,
                acknowledged_revision,
                acknowledged_at,
                last_contact_at: Some(last_contact_at),
                rejections: Rejections { named: rejections, total: rejections_total },
                absence: Absence::Remembered(began),
                ..Edge::default()
            };
            (id, Arc::new(edge))
        });
        Self { edges: watch::Sender::new(edges.collect()), schemas: Schemas::default(), clock }
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

    /// Keeps these edges, takes in those of them that are not known yet, and forgets all others. Streams of those are told to end.
    pub fn keep(&self, members: &OrdMap<EdgeId, Arc<Stored<Enrolment>>>) {
        // Somebody of the same name and another key is somebody else.
        let is_gone = |id: &EdgeId, edge: &Edge| match (members.get(id), &edge.online) {
            (None, _) => true,
            (Some(member), Some(online)) => member.value.key != online.key,
            (Some(_), None) => false,
        };
        self.edges.send_if_modified(|edges| {
            let gone = edges.iter().filter(|(id, edge)| is_gone(id, edge)).map(|(id, _)| id.clone());
            let gone: Vec<EdgeId> = gone.collect();
            for edge in gone.iter().filter_map(|id| edges.remove(id)) {
                if let Some(online) = &edge.online {
                    online.removed.cancel();
                }
            }
            let new: Vec<EdgeId> = members.keys().filter(|id| !edges.contains_key(*id)).cloned().collect();
            let is_modified = !gone.is_empty() || !new.is_empty();
            for id in new {
                edges.insert(id, Arc::default());
            }
            is_modified
        });
    }

    /// What connected edges know that know less than this version: as a rule, nothing.
    pub fn older_schemas(&self) -> Vec<Arc<KnownSchema>> {
        self.schemas.all()
    }

    /// The connected edges with one of these schemas that will reject a resource, and among them only those that are to receive it.
    pub fn incompatible(
        &self,
        schemas: &[Arc<KnownSchema>],
        kind: &str,
        message: &DynamicMessage,
        receives: impl Fn(&EdgeId) -> bool,
    ) -> Vec<Incompatible> {
        let lacking: Vec<_> = schemas
            .iter()
            .map(|schema| (schema, if schema.has_kind(kind) { schema.unknown_to_it(message) } else { Vec::new() }))
            .filter(|(schema, unknown)| !unknown.is_empty() || !schema.has_kind(kind))
            .collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let incompatible = |(id, edge): (&EdgeId, &Arc<Edge>)| {
            let schema = edge.online.as_ref()?.schema.as_ref()?;
            let (_, unknown) = lacking.iter().find(|(lacking, _)| Arc::ptr_eq(lacking, schema))?;
            receives(id).then(|| Incompatible {
                edge: id.clone(),
                version: edge.version.clone(),
                unknown: unknown.clone(),
            })
        };
        self.edges().iter().filter_map(incompatible).collect()
    }

    /// Takes note of an edge's stream, until the [`Link`] is dropped; another stream of the same edge is told to end.
    ///
    /// `received` is what the edge has of what there is; `None` if it has to be sent everything.
    pub fn connect(&self, identity: &EdgeIdentity, hello: Hello, received: Option<Revision>) -> Link {
        let (now, moment) = (self.clock.now(), Instant::now());
        let Hello { version, revision: _, digest: _, rejections, withheld: _, schema } = hello;
        let (replaced, removed) = (CancellationToken::new(), CancellationToken::new());
        let online = Online {
            peer: identity.peer,
            key: identity.key,
            deltas_sent: 0,
            snapshots_sent: 0,
            schema: schema.and_then(|schema| self.schemas.share(schema)),
            replaced: replaced.clone(),
            removed: removed.clone(),
        };
        let acknowledged_revision = received.unwrap_or(Revision::ZERO);
        self.edges.send_if_modified(|edges| {
            // One that has just joined may be new here.
            let before = edges.get(&identity.id).cloned().unwrap_or_default();
            // A restart of either side is not another acknowledgement.
            let acknowledged_at = if before.acknowledged_revision == acknowledged_revision {
                before.acknowledged_at
            } else {
                received.map(|_| now)
            };
            let edge = Edge {
                version,
                acknowledged_revision,
                acknowledged_at,
                last_contact_at: Some(now),
                rejections,
                persistence: before.persistence,
                online: Some(online),
                absence: Absence::Since(moment),
            };
            edges.insert(identity.id.clone(), Arc::new(edge));
            if let Some(online) = &before.online {
                online.replaced.cancel();
            }
            true
        });
        Link { view: self.clone(), id: identity.id.clone(), replaced, removed }
    }
}

/// The stream of one edge, as the view knows it. Dropped, the edge is offline, unless another stream has taken its place.
#[derive(Debug)]
pub struct Link {
    view: FleetView,
    id: EdgeId,
    replaced: CancellationToken,
    removed: CancellationToken,
}

impl Link {
    /// Returns when the same edge has opened another stream.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// Returns when the edge does not belong to the fleet any more.
    pub async fn removed(&self) {
        self.removed.cancelled().await;
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
            edge.last_contact_at = Some(now);
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
            edge.absence = Absence::Since(Instant::now());
            edge.last_contact_at = Some(now);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use switchyard_proto::vocab::{Digest, Labels};

    use super::*;
    use crate::{clock::SystemClock, fleet::message::AckOutcome};

    fn identity(id: &str) -> EdgeIdentity {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        EdgeIdentity { id: EdgeId::parse(id).unwrap(), key: EdgeKey::of(b"key"), peer }
    }

    fn members(ids: &[(&str, &str)]) -> OrdMap<EdgeId, Arc<Stored<Enrolment>>> {
        let member = |(id, key): &(&str, &str)| {
            let id = EdgeId::parse(id).unwrap();
            let value =
                Enrolment { id: id.clone(), key: EdgeKey::of(key.as_bytes()), labels: Labels::default(), invite: None };
            let (created_at, updated_at) = (Timestamp(1), Timestamp(1));
            (id, Arc::new(Stored { value, revision: Revision(1), created_at, updated_at }))
        };
        ids.iter().map(member).collect()
    }

    fn hello() -> Hello {
        let (rejections, digest) = (Rejections::default(), Digest::default());
        Hello { version: "1".into(), revision: Revision(3), digest, rejections, withheld: 0, schema: None }
    }

    fn ack(revision: u64) -> Ack {
        let persistence = Persistence::NotPersisted;
        let rejections = Rejections::default();
        Ack { revision: Revision(revision), outcome: AckOutcome::Applied, rejections, persistence }
    }

    #[test]
    fn an_edge_is_there_as_long_as_its_link() {
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        let identity = identity("edge-1");
        let link = view.connect(&identity, hello(), Some(Revision(3)));
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
        let old = view.connect(&identity, hello(), Some(Revision(3)));
        let new = view.connect(&identity, hello(), Some(Revision(3)));
        assert!(old.replaced.is_cancelled() && !new.replaced.is_cancelled());
        old.acknowledged(ack(9));
        drop(old);
        let edge = view.edges()[&identity.id].clone();
        assert_eq!(edge.acknowledged_revision, Revision(3));
        assert!(edge.online.is_some());
    }

    #[test]
    fn only_members_are_there_and_their_streams_end_with_their_membership() {
        let view = FleetView::new(vec![], Arc::new(SystemClock));
        let identity = identity("edge-1");
        let both = members(&[("edge-1", "key"), ("edge-2", "key")]);
        view.keep(&both);
        assert_eq!(view.edges().len(), 2);
        assert_eq!(view.edges()[&identity.id].last_contact_at, None);
        let link = view.connect(&identity, hello(), None);
        view.keep(&both);
        assert!(!link.removed.is_cancelled());
        let edge_2 = members(&[("edge-2", "key")]);
        view.keep(&edge_2);
        assert!(link.removed.is_cancelled() && !view.edges().contains_key(&identity.id));
        link.acknowledged(ack(9));
        drop(link);
        assert!(!view.edges().contains_key(&identity.id), "what is removed does not come back");
        let link = view.connect(&identity, hello(), None);
        view.keep(&members(&[("edge-1", "another key")]));
        assert!(link.removed.is_cancelled(), "its name belongs to another now");
    }
}
