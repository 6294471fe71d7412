use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerWaitFuture};

/// How all workers come to an end: no new connections, no new requests on old ones, what is under way goes on.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: Arc<watch::Sender<bool>>,
    connections: TaskTracker,
}

impl Drain {
    /// One that has not begun.
    pub fn new() -> Self {
        Self { begun: Arc::new(watch::Sender::new(false)), connections: TaskTracker::new() }
    }

    /// Begins it. It does not wait.
    pub fn begin(&self) {
        self.begun.send_replace(true);
        self.connections.close();
    }

    /// Waits until it has begun and no connection is left.
    pub fn finished(&self) -> TaskTrackerWaitFuture<'_> {
        self.connections.wait()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// The tasks of connections; they are awaited by [`Drain::finished`].
    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.connections
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}
