//! Rotates the keys of session tickets.
//!
//! For each label set that edges have, a key is made, given to them, issued with once they have it, accepted for as long as its last
//! tickets are good, and forgotten. What is next follows from what is there, so that whoever comes after this process goes on with it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use switchyard_process::chain;
use switchyard_proto::vocab::{Labels, ResourceKey, TicketKeysId};
use tokio::time::sleep;
use tracing::warn;

use super::edges::{Edges, Records, Which};
use crate::{
    app::{App, AppError, tickets},
    fleet::FleetView,
    model::{Due, Lease, Timestamp},
    store::StoreError,
};

/// The lease that this works under.
pub const LEASE: &str = "tickets";

/// The longest between two looks: something may be due of which this process was not told.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks while edges are waited for: some may acknowledge to another control plane.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest between two looks: many changes are looked at once.
const REST: Duration = Duration::from_millis(200);
/// Before the next look when the database did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Rotates the keys of session tickets.
#[derive(Clone, Debug)]
pub struct Tickets {
    app: Arc<App>,
    edges: Edges,
}

impl Tickets {
    /// For what `app` has, as acknowledged by the edges of `view`.
    pub fn new(app: Arc<App>, view: FleetView) -> Self {
        let edges = Edges::new(view, app.clone());
        Self { app, edges }
    }

    /// Works for as long as the lease is held.
    pub async fn run(&self, lease: Lease) {
        let mut states = self.app.feed.subscribe();
        let mut edges = self.edges.subscribe();
        loop {
            states.borrow_and_update();
            edges.borrow_and_update();
            let pause = match self.look(&lease).await {
                Ok(pause) => pause,
                Err(AppError::Store(StoreError::LeaseLost)) => OUTAGE_PAUSE,
                Err(error) => {
                    warn!(error = chain(&error), "the keys of session tickets could not be rotated; it is done again");
                    OUTAGE_PAUSE
                }
            };
            sleep(REST).await;
            tokio::select! {
                // Both are held here, so they do not go away.
                _ = states.changed() => {}
                _ = edges.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Does what is due. How long nothing more is, unless something changes.
    async fn look(&self, lease: &Lease) -> Result<Duration, AppError> {
        let state = self.app.feed.state();
        let now = self.app.clock.now();
        let (mut pause, mut records, mut used) = (LOOK_INTERVAL, Records::default(), HashSet::new());
        for labels in state.classes() {
            let id = TicketKeysId::of(labels);
            // Nobody can say what comes after what cannot be read.
            if state.is_withheld(&ResourceKey::ticket_keys(&id)) {
                continue;
            }
            let stored = state.ticket_keys().get(&id);
            used.insert(id);
            let acknowledged = match stored.map(|stored| (stored.revision, stored.value.due(now))) {
                Some((_, Due::Nothing { until })) => {
                    pause = pause.min(from(now, until));
                    continue;
                }
                Some((revision, Due::Acknowledgement { until })) => {
                    pause = pause.min(from(now, until)).min(ACKNOWLEDGEMENT_INTERVAL);
                    let concern = |of: &Labels| of == labels;
                    if !self.edges.missing(concern, revision, Which::All, &mut records).await.is_empty() {
                        continue;
                    }
                    Some(revision)
                }
                None | Some((_, Due::Begin | Due::Promote | Due::Forget)) => None,
            };
            tickets::step(&self.app, lease, labels, acknowledged).await?;
        }
        let unused = state.ticket_keys().iter().filter(|(id, _)| !used.contains(*id));
        for (_, stored) in unused {
            tickets::step(&self.app, lease, stored.value.labels(), None).await?;
        }
        Ok(pause)
    }
}

fn from(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0 - now.0).unwrap_or(0))
}
