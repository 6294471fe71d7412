use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use switchyard_proto::vocab::{EdgeId, HostPattern, Labels, Revision};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    app::App,
    fleet::{self, FleetView},
    model::EdgeRecord,
};

/// An edge that said nothing for longer is not waited for.
const SEEN_RECENTLY: Duration = Duration::from_secs(30);
/// How long is waited for edges to know what to answer. A CA that asks one of the others gets no answer, and is asked again later.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often the acknowledgements that other control planes have seen are read.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// What edges have acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Edges {
    view: FleetView,
    app: Arc<App>,
}

/// Which edges are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those whose stream this control plane has: the others learn of a change as fast, but tell it later.
    ConnectedHere,
    /// All that were seen recently.
    All,
}

impl Edges {
    pub(super) fn new(view: FleetView, app: Arc<App>) -> Self {
        Self { view, app }
    }

    /// Waits, but not for ever, until the edges that serve a domain have acknowledged a revision.
    pub(super) async fn have(&self, host: &HostPattern, revision: Revision, which: Which) {
        let mut edges = self.view.subscribe();
        let waiting = async {
            loop {
                let missing = self.without_answer(host, revision, which).await;
                if missing.is_empty() {
                    return;
                }
                tokio::select! {
                    // The view is held here, so it does not go away.
                    _ = edges.changed() => {}
                    () = sleep(READ_INTERVAL) => {}
                }
            }
        };
        if timeout(TIMEOUT, waiting).await.is_err() {
            let missing: Vec<String> =
                self.without_answer(host, revision, which).await.iter().map(ToString::to_string).collect();
            warn!(edges = missing.join(", "), "the CA is told to look, though some edges do not know what to answer");
        }
    }

    async fn without_answer(&self, host: &HostPattern, revision: Revision, which: Which) -> BTreeSet<EdgeId> {
        let Some(domain) = self.app.feed.state().domains().get(host).cloned() else { return BTreeSet::new() };
        let serve = |labels: &Labels| labels.contain(&domain.value.edge_selector);
        self.missing(serve, revision, which, &mut Records::default()).await
    }

    /// Whether an edge has acknowledged something, here or at another control plane: before, nobody can answer a CA.
    pub(super) async fn is_any(&self) -> bool {
        let is_here = self.view.edges().values().any(|edge| edge.acknowledged_revision > Revision::ZERO);
        is_here || self.is_edge_elsewhere().await
    }

    /// Whether another control plane has written down that an edge has acknowledged something.
    async fn is_edge_elsewhere(&self) -> bool {
        let state = self.app.feed.state();
        let is_member = |record: &EdgeRecord| state.edges().contains_key(&record.id);
        let has_acknowledged = |record: &EdgeRecord| record.acknowledged_revision > Revision::ZERO && is_member(record);
        // Without members nobody has, and the database is not asked; if it does not answer, it is asked again.
        !state.edges().is_empty()
            && self.app.store.edges().await.is_ok_and(|records| records.iter().any(has_acknowledged))
    }

    /// Told whenever an edge that is connected here has acknowledged something.
    pub(super) fn subscribe(&self) -> watch::Receiver<fleet::Edges> {
        self.view.subscribe()
    }

    /// The edges whose labels `concern`, and that have not acknowledged a revision.
    pub(super) async fn missing(
        &self,
        concern: impl Fn(&Labels) -> bool,
        revision: Revision,
        which: Which,
        records: &mut Records,
    ) -> BTreeSet<EdgeId> {
        let state = self.app.feed.state();
        let view = self.view.edges();
        let now = self.view.now();
        let concerned = state.edges().iter().filter(|(_, edge)| concern(&edge.value.labels));
        let mut missing: BTreeSet<EdgeId> = concerned
            .filter(|(id, _)| {
                let Some(edge) = view.get(*id) else { return which == Which::All };
                edge.acknowledged_revision < revision && (edge.online.is_some() || which == Which::All)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let is_online = |id: &EdgeId| view.get(id).is_some_and(|edge| edge.online.is_some());
        if missing.iter().all(is_online) {
            return missing;
        }
        // What is not connected here may be elsewhere.
        let Some(records) = records.read(&self.app).await else { return missing };
        let recent = |id: &EdgeId| {
            records.get(id).is_some_and(|record| {
                record.acknowledged_revision < revision && record.last_contact_at.plus(SEEN_RECENTLY) > now
            })
        };
        missing.retain(|id| is_online(id) || recent(id));
        missing
    }
}

/// What the control planes have written down of the edges, read at most once.
#[derive(Debug, Default)]
pub(super) struct Records(Option<BTreeMap<EdgeId, EdgeRecord>>);

impl Records {
    async fn read(&mut self, app: &App) -> Option<&BTreeMap<EdgeId, EdgeRecord>> {
        if self.0.is_none() {
            let records = app.store.edges().await.ok()?;
            self.0 = Some(records.into_iter().map(|record| (record.id.clone(), record)).collect());
        }
        self.0.as_ref()
    }
}
