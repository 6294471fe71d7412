use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Snapshot;

/// The snapshot that is served. Cheap to clone: all clones are the same one.
#[derive(Clone, Debug)]
pub struct LiveSnapshot(Arc<ArcSwap<Snapshot>>);

impl LiveSnapshot {
    /// Serves `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// What is served now. Hold it for a look-up only, never across an `await`.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// Serves `snapshot` from the next look-up on.
    pub fn store(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
