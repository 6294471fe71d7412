//! Rotates the keys of session tickets.
//!
//! For each label set that edges have, a key is made, given to them, issued with once they have it, accepted for as long as its last
//! tickets are good, and forgotten. What is next follows from what is there, so that whoever comes after this process goes on with it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use switchyard_proto::vocab::{Labels, ResourceKey, TicketKeysId};
use tokio::sync::watch;

use super::{
    driver::{Step, StepError, Task, Timing},
    edges::{Edges, Records, Which},
};
use crate::{
    app::{App, AppError, tickets},
    feed::State,
    fleet::{self, FleetView},
    model::{Due, Lease, Timestamp},
    store::StoreError,
};

/// The lease that this works under.
pub const LEASE: &str = "tickets";

/// Between two steps while edges are waited for: some may acknowledge to another control plane.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Before the next step when the lease was lost: it ends before, or the lease is acquired again.
const LEASE_LOST_PAUSE: Duration = Duration::from_secs(1);

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

    /// The task that rotates them under a lease.
    pub fn begin(&self, lease: Lease) -> Rotation {
        Rotation { tickets: self.clone(), lease, states: self.app.feed.subscribe(), edges: self.edges.subscribe() }
    }

    /// Does what is due.
    async fn rotate(&self, lease: &Lease) -> Result<Step, AppError> {
        let state = self.app.feed.state();
        let now = self.app.clock.now();
        let (mut due, mut waiting, mut rotated) = (Duration::MAX, 0, 0);
        let (mut records, mut used) = (Records::default(), HashSet::new());
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
                    due = due.min(from(now, until));
                    continue;
                }
                Some((revision, Due::Acknowledgement { until })) => {
                    due = due.min(from(now, until)).min(ACKNOWLEDGEMENT_INTERVAL);
                    let concern = |of: &Labels| of == labels;
                    if !self.edges.missing(concern, revision, Which::All, &mut records).await.is_empty() {
                        waiting += 1;
                        continue;
                    }
                    Some(revision)
                }
                None | Some((_, Due::Begin | Due::Promote | Due::Forget)) => None,
            };
            rotated += usize::from(tickets::step(&self.app, lease, labels, acknowledged).await?);
        }
        let unused = state.ticket_keys().iter().filter(|(id, _)| !used.contains(*id));
        for (_, stored) in unused {
            rotated += usize::from(tickets::step(&self.app, lease, stored.value.labels(), None).await?);
        }
        let step = match rotated {
            0 => Step::idle(),
            rotated => Step::did(format!("rotated keys of label sets: {rotated}")),
        };
        let step = match waiting {
            0 => step,
            waiting => step.waiting_for(format!("edges to acknowledge the next keys of label sets: {waiting}")),
        };
        Ok(step.due_in(due))
    }
}

/// The rotation for as long as there is a lease for it.
#[derive(Debug)]
pub struct Rotation {
    tickets: Tickets,
    lease: Lease,
    states: watch::Receiver<Arc<State>>,
    edges: watch::Receiver<fleet::Edges>,
}

impl Task for Rotation {
    const TIMING: Timing = Timing {
        rest: Duration::from_millis(200),
        interval: Duration::from_secs(60),
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(15),
    };

    async fn signal(&mut self) {
        tokio::select! {
            // The tickets have both, so they do not go away.
            _ = self.states.changed() => {}
            _ = self.edges.changed() => {}
        }
    }

    async fn step(&mut self) -> Result<Step, StepError> {
        match self.tickets.rotate(&self.lease).await {
            Err(AppError::Store(StoreError::LeaseLost)) => Ok(Step::idle().due_in(LEASE_LOST_PAUSE)),
            ended => Ok(ended?),
        }
    }
}

fn from(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0 - now.0).unwrap_or(0))
}
