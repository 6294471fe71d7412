use std::time::Duration;

use switchyard_process::chain;
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use super::driver::{Step, StepError, Task, Timing};
use crate::fleet::{self, FleetView, Recorder};

/// How often an edge is recorded of which only the acknowledged revision or the last contact has changed.
const COARSE_INTERVAL: Duration = Duration::from_secs(15);

/// Records what must not be forgotten about the edges: at once which are connected, disconnected and reject something, and now and then what
/// they have acknowledged.
#[derive(Debug)]
pub struct EdgeRecords {
    recorder: Recorder,
    edges: watch::Receiver<fleet::Edges>,
}

impl EdgeRecords {
    /// Records the edges of a view by its recorder.
    pub fn new(recorder: Recorder, view: &FleetView) -> Self {
        Self { recorder, edges: view.subscribe() }
    }
}

impl Task for EdgeRecords {
    const TIMING: Timing = Timing {
        rest: Duration::from_secs(1),
        interval: Duration::from_secs(60),
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(15),
    };

    async fn signal(&mut self) {
        // The recorder has the view, so it does not go away.
        let _ = self.edges.changed().await;
    }

    async fn step(&mut self) -> Result<Step, StepError> {
        let recorded = self.recorder.record(COARSE_INTERVAL).await?;
        let step = match recorded.count {
            0 => Step::idle(),
            count => Step::did(format!("recorded edges: {count}")),
        };
        Ok(match recorded.due_at {
            Some(at) => step.due_in(at.saturating_duration_since(Instant::now())),
            None => step,
        })
    }

    /// Records the last acknowledgements.
    async fn end(&mut self) {
        if let Err(error) = self.recorder.record(Duration::ZERO).await {
            warn!(error = chain(&error), "what the edges acknowledged last is not recorded");
        }
    }
}
