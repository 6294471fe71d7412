use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Snapshot;

/// The snapshot that is served. Cheap to clone: all clones are the same one.
#[derive(Clone, Debug)]
pub struct LiveSnapshot(Arc<Live>);

#[derive(Debug)]
struct Live {
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<()>,
}

impl LiveSnapshot {
    /// Serves `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(Live { snapshot: ArcSwap::from_pointee(snapshot), changed: watch::Sender::default() }))
    }

    /// What is served now. Hold it for a look-up only, never across an `await`.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot.load()
    }

    /// Serves `snapshot` from the next look-up on.
    pub fn store(&self, snapshot: Snapshot) {
        self.0.snapshot.store(Arc::new(snapshot));
        self.0.changed.send_replace(());
    }

    /// Marked as changed whenever another snapshot is served.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}
